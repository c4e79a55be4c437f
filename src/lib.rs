//! Heatcast burns class-activation explanations of an ONNX classifier into video.

pub mod annotation;
pub mod clock;
pub mod frame;
pub mod media;
pub mod sync_cell;
