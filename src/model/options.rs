//! What a classifier is asked for and what it answers.

use std::path::PathBuf;
use std::sync::Arc;

use super::spec::{Activation, HeadSmoothing};
use crate::annotation::ActivationMap;
use crate::explain::{FeatureLayout, Method, Methods, Seed};

/// How a classifier is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// ONNX Runtime's shared library; found by itself when absent.
    pub library: Option<PathBuf>,
    /// Threads used within one pass.
    pub threads: usize,
    /// Execution provider: `auto` or `cpu`.
    pub provider: String,
    /// What is explained.
    pub explain: Explain,
}

impl Default for Options {
    fn default() -> Self {
        Self { library: None, threads: 1, provider: "auto".to_owned(), explain: Explain::default() }
    }
}

/// What is explained, and how.
#[derive(Clone, Debug)]
pub struct Explain {
    /// Heads whose classes are explained, all in the same pass.
    pub heads: Heads,
    /// How maps are computed, each in its own way.
    pub methods: Methods,
    /// Which combination of logits is explained.
    pub seed: Seed,
    /// So many of the best classes of every explained head are explained in
    /// every pass, in addition to those asked for.
    pub top_k: usize,
    /// Tensor to take as the feature map, instead of the one that is found.
    pub feature: Option<String>,
    /// Tensor to take as the logits of the first explained head.
    pub logits: Option<String>,
    /// Order of the feature map's axes, where the search gets it wrong.
    pub layout: Option<FeatureLayout>,
}

impl Default for Explain {
    fn default() -> Self {
        Self {
            heads: Heads::First,
            methods: Methods::Auto,
            seed: Seed::Logit,
            top_k: 1,
            feature: None,
            logits: None,
            layout: None,
        }
    }
}

impl Explain {
    /// Explains `heads` as recordings are explained unless settings say
    /// otherwise.
    pub fn of(heads: Heads) -> Self {
        Self { heads, seed: Seed::Auto, ..Self::default() }
    }
}

/// Which heads are explained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Heads {
    /// None: probabilities only, the network is left as it is.
    None,
    /// The first of the model's description.
    #[default]
    First,
    /// Those of these names.
    Named(Vec<String>),
    /// Every head.
    All,
}

impl Heads {
    /// The head of this name, or the first where none is given.
    pub fn of(name: Option<String>) -> Self {
        name.map_or(Self::First, |name| Self::Named(vec![name]))
    }
}

/// A head of a loaded classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Name as shown to people.
    pub name: Arc<str>,
    /// Names of the classes.
    pub labels: Vec<Arc<str>>,
    /// How logits become probabilities.
    pub activation: Activation,
    /// The logits are divided by this before the activation.
    pub temperature: f32,
    /// Logit units that paint full heat.
    pub explain_scale: f32,
    /// Steadying in time, where this head wants its own.
    pub smoothing: Option<HeadSmoothing>,
}

impl Activation {
    /// Probabilities of `logits` that are divided by `temperature` first; the
    /// logits themselves for [`Activation::None`].
    pub fn probabilities(self, logits: &[f32], temperature: f32) -> Vec<f32> {
        let scaled = logits.iter().map(|v| v / temperature);
        match self {
            Self::None => logits.to_vec(),
            Self::Sigmoid => scaled.map(|v| 1.0 / (1.0 + (-v).exp())).collect(),
            Self::Softmax => {
                let max = scaled.clone().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f32> = scaled.map(|v| (v - max).exp()).collect();
                let sum: f32 = powers.iter().sum();
                powers.into_iter().map(|p| p / sum).collect()
            }
        }
    }
}

/// The answer of one head to one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadOutput {
    /// One per class, before activation and temperature.
    pub logits: Vec<f32>,
    /// One per class; 0..1 unless the activation is `none`.
    pub probabilities: Vec<f32>,
}

impl HeadOutput {
    /// The classes, the most probable first; of equals the first one.
    pub fn ranked(&self) -> Vec<usize> {
        let p = &self.probabilities;
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&a, &b| p[b].total_cmp(&p[a]).then(a.cmp(&b)));
        order
    }
}

/// A class to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Index of the head.
    pub head: usize,
    /// Index of the class among the head's.
    pub class: usize,
}

/// Evidence for one class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMap {
    /// Index of the head.
    pub head: usize,
    /// Index of the class among the head's.
    pub class: usize,
    /// How the map was computed.
    pub method: Method,
    /// As the method's formula has it: signed, neither rectified nor scaled.
    pub map: ActivationMap,
}

impl ClassMap {
    /// The map in logit units, see [`Method::logit_units`].
    pub fn in_logit_units(&self) -> ActivationMap {
        let factor = self.method.logit_units(self.map.values.len());
        let ActivationMap { rows, cols, ref values } = self.map;
        ActivationMap { rows, cols, values: values.iter().map(|v| v * factor).collect() }
    }
}

/// The answer to one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// One per head, in the order of the model's description.
    pub heads: Vec<HeadOutput>,
    /// For every explained head the classes asked for, then its best ones,
    /// each once and with every method. Heads without a map are left out.
    pub maps: Vec<ClassMap>,
}

impl Output {
    /// The map of one class, by the first of the methods.
    pub fn map(&self, wanted: Wanted) -> Option<&ClassMap> {
        self.maps.iter().find(|m| (m.head, m.class) == (wanted.head, wanted.class))
    }
}
