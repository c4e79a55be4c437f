//! What can go wrong between a model's name and its answer.

use std::path::{Path, PathBuf};

/// Why a model could not be found, loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No folder or file answers to the name.
    #[error("there is no model {name:?}{}; looked at {}; give the path of a model folder or of an .onnx file, or set HEATCAST_MODELS to the folder that holds it",
        hint(nearest.as_deref()), list(places))]
    NotFound {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        places: Vec<PathBuf>,
        /// The most similar model that does exist.
        nearest: Option<String>,
    },
    /// A file of the model cannot be read.
    #[error("cannot read {}: {source}; check that it exists, is a file and may be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of a new model cannot be written.
    #[error("cannot write {}: {source}; check that the folder may be written into and has room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The network is larger than the format or the machine allows.
    #[error("{} is too large: {reason}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How large it is, and what to do.
        reason: String,
    },
    /// `model.toml` is not valid.
    #[error("{} is not a valid model description: {reason}", path.display())]
    Spec {
        /// The file, or the ONNX file it describes.
        path: PathBuf,
        /// What is wrong with it and what to write instead.
        reason: String,
    },
    /// The file is not an ONNX network.
    #[error("{} is not a usable ONNX file: {reason}; export or copy the model again", path.display())]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What was seen.
        reason: String,
    },
    /// The network is ONNX but not one this program can feed or read.
    #[error("{} cannot be used as an image classifier: {reason}", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// What does not fit and what to do.
        reason: String,
    },
    /// ONNX Runtime's shared library was not found.
    #[error(
        "ONNX Runtime was not found; run `make setup`, or set HEATCAST_ONNXRUNTIME to the path of libonnxruntime.so (looked at {})",
        list(places)
    )]
    NoRuntime {
        /// Where it was looked for.
        places: Vec<PathBuf>,
    },
    /// ONNX Runtime's shared library is there but does not load.
    #[error("cannot use ONNX Runtime {}: {reason}; run `make setup` or set HEATCAST_ONNXRUNTIME to a libonnxruntime.so of version 1.24 or later", path.display())]
    Runtime {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The execution provider cannot be had.
    #[error("execution provider {name:?} is not available in this build; use \"auto\" or \"cpu\"")]
    Provider {
        /// What was asked for.
        name: String,
    },
    /// The model has no head of this name.
    #[error("the model has no head {name:?}; its heads are {}", heads.join(", "))]
    NoSuchHead {
        /// What was asked for.
        name: String,
        /// What there is.
        heads: Vec<String>,
    },
    /// The network has no tensor of this name that depends on the picture.
    #[error("{} has no tensor {name:?} that depends on the picture{}", path.display(), hint(nearest.as_deref()))]
    NoSuchTensor {
        /// The ONNX file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// The most similar tensor.
        nearest: Option<String>,
    },
    /// A class of a head that is not among the explained ones was asked for.
    #[error("head number {head} is not explained; the explained heads are {}", heads.join(", "))]
    NotExplained {
        /// Index of the head.
        head: usize,
        /// Names of the explained heads.
        heads: Vec<String>,
    },
    /// The explained head has no such class.
    #[error("head {head:?} has no class {class}; its classes are 0 to {}", classes.saturating_sub(1))]
    NoSuchClass {
        /// The head.
        head: String,
        /// What was asked for.
        class: usize,
        /// How many there are.
        classes: usize,
    },
    /// The picture has the wrong number of samples.
    #[error(
        "the classifier takes {expected} numbers ({shape}), not {got}; prepare the picture with the input settings of this model"
    )]
    InputLength {
        /// How many numbers it takes.
        expected: usize,
        /// The same as channels x height x width.
        shape: String,
        /// How many it was given.
        got: usize,
    },
    /// ONNX Runtime refused to load or run the network.
    #[error("ONNX Runtime could not {action} {}: {reason}", path.display())]
    Inference {
        /// "load" or "run".
        action: &'static str,
        /// The ONNX file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// The network answered with NaN or infinity.
    #[error("head {head:?} of {} answered {value} for class {class}; the weights or the input are damaged, or the numbers overflowed (try the float32 model)", path.display())]
    NotFinite {
        /// The ONNX file.
        path: PathBuf,
        /// The head.
        head: String,
        /// The first class with such a value.
        class: usize,
        /// The value.
        value: f32,
    },
}

impl Error {
    pub(crate) fn spec(path: &Path, reason: impl Into<String>) -> Self {
        Self::Spec { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn not_onnx(path: &Path, reason: impl Into<String>) -> Self {
        Self::NotOnnx { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn network(path: &Path, reason: impl Into<String>) -> Self {
        Self::Network { path: path.to_path_buf(), reason: reason.into() }
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean {name:?}?)")).unwrap_or_default()
}

fn list(places: &[PathBuf]) -> String {
    let names: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
