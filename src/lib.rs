//! Heatcast burns class-activation explanations of an ONNX classifier into video.

pub mod annotation;
pub mod frame;
pub mod model;
pub mod preprocess;
