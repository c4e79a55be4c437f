//! Heatcast burns class-activation explanations of an ONNX classifier into video.
//!
//! One recording flows through four stages: [`media`] decodes it to I420 frames
//! with stream time; [`pipeline`] sends some of them to the classifier of
//! [`model`], which answers with probabilities and activation maps; [`sync`]
//! pairs every frame with the heat that belongs to it and [`overlay`] paints it;
//! [`media`] encodes and multiplexes, other tracks passing beside.
//!
//! Only [`media`] names GStreamer, only [`model`] names ONNX Runtime, only
//! [`pipeline`] has threads and sees every part. The rest is pure: it takes
//! stream time, never a clock.

pub mod annotation;
pub mod clock;
pub mod cmd;
pub mod config;
pub mod dataset;
pub mod eval;
pub mod explain;
pub mod finish;
pub mod frame;
pub mod learn;
pub mod media;
pub mod model;
pub mod mpegts;
pub mod names;
pub mod npy;
pub mod overlay;
pub mod pipeline;
pub mod preprocess;
pub mod sampling;
pub mod shot;
pub mod still;
pub mod sync;
pub mod sync_cell;
pub mod timeline;
pub mod web;
