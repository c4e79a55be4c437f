//! Heatcast burns class-activation explanations of an ONNX classifier into video.

pub mod annotation;
pub mod clock;
pub mod cmd;
pub mod config;
pub mod explain;
pub mod frame;
pub mod media;
pub mod model;
pub mod overlay;
pub mod pipeline;
pub mod preprocess;
pub mod sampling;
pub mod shot;
pub mod sync;
pub mod sync_cell;
pub mod timeline;
