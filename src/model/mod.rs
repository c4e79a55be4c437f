//! Finds a classifier, explains what it is, and runs it: the only module that
//! knows ONNX Runtime and the ONNX file format.
//!
//! [`Model::find`] turns a name or a path into a [`Model`];
//! [`Classifier::load`] appends activation maps to its network and hands it to
//! ONNX Runtime; [`Classifier::run`] gives logits, probabilities and maps of
//! one picture in one pass.

mod bounds;
mod classifier;
mod error;
mod explain;
mod graph;
mod huggingface;
mod library;
mod net;
mod onnx;
mod options;
mod package;
mod shapes;
mod spec;
mod writer;

pub use classifier::Classifier;
pub use error::Error;
pub use explain::{Finding, HeadKind, NoMap};
pub use library::{Places as LibraryPlaces, find_library};
pub use options::{ClassMap, Explain, Head, HeadOutput, Heads, Options, Output, Wanted};
pub use package::{KnownWeights, NewHead};
pub use spec::{Activation, HeadSmoothing, HeadSpec, Model, ModelSpec, Places};

#[cfg(test)]
mod golden;
#[cfg(test)]
mod nets;
#[cfg(test)]
mod properties;
