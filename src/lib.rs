//! Heatcast burns class-activation explanations of an ONNX classifier into video.

pub mod annotation;
pub mod config;
pub mod explain;
pub mod frame;
pub mod preprocess;
pub mod sampling;
pub mod shot;
pub mod sync;
pub mod timeline;
