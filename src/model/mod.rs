//! Finds a classifier, explains what it is, and runs it: the only module that
//! knows ONNX Runtime and the ONNX file format.
//!
//! [`Model::find`] turns a name or a path into a [`Model`];
//! [`Classifier::load`] appends the class activation map to its network and
//! hands it to ONNX Runtime; [`Classifier::run`] gives logits, probabilities
//! and maps of one picture in one pass.

mod cam;
mod classifier;
mod error;
mod graph;
mod huggingface;
mod library;
mod onnx;
mod package;
mod spec;

pub use cam::{HeadKind, NoMap};
pub use classifier::{Classifier, Head, HeadOutput, Options, Output};
pub use error::Error;
pub use library::{Places as LibraryPlaces, find_library};
pub use package::{KnownWeights, NewHead};
pub use spec::{Activation, HeadSmoothing, HeadSpec, Model, ModelSpec, Places};

#[cfg(test)]
mod golden;
#[cfg(test)]
mod nets;
