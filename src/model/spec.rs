//! What a model says about itself (`model.toml`), and where models are found.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::graph::{FinalActivation, Graph};
use super::huggingface;
use crate::names::{nearest, plain};
use crate::preprocess::{InputSpec, Layout};

/// The file that describes a model.
pub(super) const DESCRIPTION: &str = "model.toml";
/// The network beside it.
pub(super) const NETWORK: &str = "model.onnx";
/// Logit units that paint full heat when a model does not say.
pub(super) const DEFAULT_EXPLAIN_SCALE: f32 = 6.0;
/// Bytes that a protobuf message, and so an ONNX file, stays below.
const LARGEST_NETWORK: u64 = 1 << 31;
/// Copies of the network that exist while it is loaded: the file, the extended
/// network, and ONNX Runtime's.
const COPIES: u64 = 3;
/// A declared number of classes above this is not believed.
const MOST_CLASSES: usize = 1_000_000;

/// How the logits of a head become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Exactly one class is right; probabilities add up to 1.
    Softmax,
    /// Each class is right or not by itself.
    Sigmoid,
    /// The output is taken as it is.
    None,
}

/// Steadying of the shown class in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSmoothing {
    /// Time constant in seconds.
    pub seconds: Option<f64>,
    /// Probability by which another class must lead before it is shown.
    pub margin: Option<f64>,
}

/// One question the model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSpec {
    /// Name as shown to people.
    pub name: String,
    /// Output of the network, before or after its activation.
    pub output: String,
    /// How logits become probabilities.
    pub activation: Activation,
    /// Names of the classes; taken from [`labels_file`](Self::labels_file)
    /// when a model is opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// File with one class name a line, relative to the model's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_file: Option<PathBuf>,
    /// Logit units that paint full heat.
    #[serde(default = "default_explain_scale")]
    pub explain_scale: f32,
    /// The logits are divided by this before the activation.
    #[serde(default = "default_temperature")]
    pub temperature: f32,
    /// Steadying in time, where this head wants its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<HeadSmoothing>,
}

fn default_explain_scale() -> f32 {
    DEFAULT_EXPLAIN_SCALE
}

fn default_temperature() -> f32 {
    1.0
}

/// The contents of `model.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Name as shown to people.
    pub name: String,
    /// Version of the weights.
    #[serde(default)]
    pub version: String,
    /// Licence of the weights.
    #[serde(default)]
    pub licence: String,
    /// What the network wants to see.
    pub input: InputSpec,
    /// The questions it answers.
    #[serde(rename = "head")]
    pub heads: Vec<HeadSpec>,
}

impl ModelSpec {
    /// Parses and checks the text of the `model.toml` at `path`. Label files
    /// are read from the same folder.
    ///
    /// # Errors
    /// [`Error::Spec`] says which setting is wrong, [`Error::Read`] which
    /// label file cannot be read.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let mut spec: Self = toml::from_str(text).map_err(|e| Error::spec(path, e.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for head in &mut spec.heads {
            match head.labels_file.take() {
                Some(_) if !head.labels.is_empty() => {
                    let reason =
                        format!("head {:?} has both labels and labels_file; keep one", head.name);
                    return Err(Error::spec(path, reason));
                }
                Some(file) => head.labels = read_labels(&folder.join(file))?,
                None => {}
            }
        }
        match spec.fault() {
            Some(reason) => Err(Error::spec(path, reason)),
            None => Ok(spec),
        }
    }

    /// What is wrong with the settings, as far as that shows without the
    /// network.
    pub(super) fn fault(&self) -> Option<String> {
        if self.name.trim().is_empty() {
            return Some("name is empty; give the model a name".into());
        }
        self.input_fault().or_else(|| self.heads_fault())
    }

    fn input_fault(&self) -> Option<String> {
        let i = &self.input;
        if i.width == 0 || i.height == 0 {
            let size = format!("{} x {}", i.width, i.height);
            return Some(format!(
                "the input size is {size} pixels; width and height must be at least 1"
            ));
        }
        if i.width.max(i.height) > 8192 {
            return Some(format!(
                "the input size is {} x {} pixels; at most 8192 are possible",
                i.width, i.height
            ));
        }
        if let Some(c) = i.std.iter().position(|s| *s == 0.0 || !s.is_finite()) {
            return Some(format!(
                "input.std[{c}] is {}; each channel is divided by it, so it must not be 0",
                i.std[c]
            ));
        }
        if let Some(c) = i.mean.iter().position(|m| !m.is_finite()) {
            return Some(format!("input.mean[{c}] is {}; it must be a number", i.mean[c]));
        }
        if !(i.crop_fraction > 0.0 && i.crop_fraction <= 1.0) {
            let fraction = i.crop_fraction;
            return Some(format!(
                "input.crop_fraction is {fraction}; it must be above 0 and at most 1"
            ));
        }
        None
    }

    fn heads_fault(&self) -> Option<String> {
        if self.heads.is_empty() {
            return Some(
                "it has no [[head]]; say which output of the network answers which question".into(),
            );
        }
        for (n, head) in self.heads.iter().enumerate() {
            if self.heads[..n].iter().any(|h| h.name == head.name) {
                return Some(format!(
                    "two heads are called {:?}; give each its own name",
                    head.name
                ));
            }
            if let Some(reason) = head.fault() {
                return Some(format!("head {:?}: {reason}", head.name));
            }
        }
        None
    }
}

impl HeadSpec {
    fn fault(&self) -> Option<String> {
        let positive = |v: f32| v.is_finite() && v > 0.0;
        if self.name.trim().is_empty() || self.output.trim().is_empty() {
            return Some("name and output must not be empty".into());
        }
        if self.labels.is_empty() {
            return Some("it has no labels; write labels = [...] or labels_file = \"...\"".into());
        }
        if let Some(n) = self.labels.iter().position(|l| l.trim().is_empty()) {
            return Some(format!("label {n} is empty; every class needs a name"));
        }
        if let Some(n) =
            (1..self.labels.len()).find(|&n| self.labels[..n].contains(&self.labels[n]))
        {
            // Public label lists do have such pairs ("crane" the bird, "crane" the machine).
            tracing::debug!(head = self.name, label = self.labels[n], "two classes share a label");
        }
        if !positive(self.explain_scale) {
            return Some(format!("explain_scale is {}; it must be above 0", self.explain_scale));
        }
        if !positive(self.temperature) {
            return Some(format!("temperature is {}; it must be above 0", self.temperature));
        }
        let smoothing = self.smoothing.unwrap_or_default();
        if smoothing.seconds.is_some_and(|s| !s.is_finite() || s < 0.0) {
            return Some("smoothing.seconds must be 0 or more".into());
        }
        if smoothing.margin.is_some_and(|m| !(0.0..=1.0).contains(&m)) {
            return Some("smoothing.margin must be between 0 and 1".into());
        }
        None
    }
}

/// Class names, one a line; empty lines at the end do not count.
fn read_labels(path: &Path) -> Result<Vec<String>, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    Ok(text
        .trim_start_matches('\u{feff}')
        .trim_end()
        .lines()
        .map(|l| l.trim().to_owned())
        .collect())
}

/// Where models are looked for by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(pub Vec<PathBuf>);

impl Places {
    /// The folders in the environment variable `HEATCAST_MODELS`, then `models`
    /// beside and above the working folder and the program, then the system's.
    pub fn from_env() -> Self {
        let mut folders: Vec<PathBuf> = std::env::var_os("HEATCAST_MODELS")
            .map(|v| std::env::split_paths(&v).filter(|p| !p.as_os_str().is_empty()).collect())
            .unwrap_or_default();
        let program = std::env::current_exe().ok().and_then(|p| p.parent().map(Path::to_path_buf));
        for start in [std::env::current_dir().ok(), program].into_iter().flatten() {
            folders.extend(start.ancestors().map(|a| a.join("models")));
        }
        folders.extend(
            ["/usr/local/share/heatcast/models", "/usr/share/heatcast/models"].map(PathBuf::from),
        );
        let mut seen = std::collections::HashSet::new();
        folders.retain(|f| seen.insert(f.clone()));
        Self(folders)
    }

    /// Names of the models that are there, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .0
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|p| is_package(p))
            .filter_map(|p| Some(p.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// True for a folder that describes a model.
fn is_package(folder: &Path) -> bool {
    folder.join(DESCRIPTION).is_file() || huggingface::is_folder(folder)
}

/// A model that was found: its network's file and its description.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The ONNX file.
    pub onnx: PathBuf,
    /// Where the description comes from: `model.toml`, or the ONNX file itself.
    pub described_by: PathBuf,
    /// The description, labels filled in.
    pub spec: ModelSpec,
}

impl Model {
    /// Opens the model called `name` at the first of `places` that has it, or
    /// the folder or `.onnx` file of that path.
    ///
    /// # Errors
    /// [`Error::NotFound`] lists the places and the nearest name; other errors
    /// are those of [`Model::open`].
    pub fn find(name: &str, places: &Places) -> Result<Self, Error> {
        Self::find_labelled(name, places, None)
    }

    /// As [`Model::find`], with the class names of the file `labels` (one a
    /// line) in place of the model's own, if a file is given.
    ///
    /// # Errors
    /// As [`Model::find`]; [`Error::Read`] when `labels` cannot be read.
    pub fn find_labelled(
        name: &str,
        places: &Places,
        labels: Option<&Path>,
    ) -> Result<Self, Error> {
        if Path::new(name).exists() && !name.is_empty() {
            let here = Path::new(name);
            // A folder that happens to be called like a model is not one.
            if here.is_file() || is_package(here) || name.contains('/') {
                return Self::open(here, labels);
            }
        }
        let is_name =
            !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
        let folders = if is_name { places.0.as_slice() } else { &[] };
        if let Some(folder) = folders.iter().map(|f| f.join(name)).find(|f| is_package(f)) {
            return Self::open(&folder, labels);
        }
        let names = places.names();
        let nearest = nearest(names.iter().map(|n| (plain(n), n)), &plain(name)).cloned();
        let here = std::iter::once(PathBuf::from(name)).filter(|p| !p.as_os_str().is_empty());
        let looked = here.chain(folders.iter().cloned()).collect();
        Err(Error::NotFound { name: name.to_owned(), places: looked, nearest })
    }

    /// Opens a model folder (this program's or Hugging Face's), a `model.toml`, or an `.onnx` file without a
    /// description, whose labels are then the lines of `labels`.
    ///
    /// An undescribed network is taken to want RGB pictures normalised like
    /// ImageNet's, stretched to its own input size.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Spec`], and for undescribed networks
    /// [`Error::NotOnnx`] and [`Error::Network`].
    pub fn open(path: &Path, labels: Option<&Path>) -> Result<Self, Error> {
        if path.is_dir() && !path.join(DESCRIPTION).is_file() && huggingface::is_folder(path) {
            return huggingface::open(path, labels.map(read_labels).transpose()?);
        }
        let is_toml = path.extension().is_some_and(|e| e == "toml");
        let described_by = if path.is_dir() {
            Some(path.join(DESCRIPTION))
        } else {
            is_toml.then(|| path.to_path_buf())
        };
        let Some(described_by) = described_by else { return Self::undescribed(path, labels) };
        let read = std::fs::read_to_string(&described_by);
        let text = read.map_err(|source| Error::Read { path: described_by.clone(), source })?;
        let mut spec = ModelSpec::parse(&text, &described_by)?;
        if let Some(labels) = labels {
            match spec.heads.as_mut_slice() {
                [only] => only.labels = read_labels(labels)?,
                _ => {
                    return Err(Error::spec(
                        &described_by,
                        "it has several heads, so one file of labels is not enough; write labels_file for each head",
                    ));
                }
            }
        }
        let onnx = described_by.with_file_name(NETWORK);
        if !onnx.is_file() {
            let reason =
                format!("there is no {NETWORK} beside it; fetch or build the network first");
            return Err(Error::spec(&described_by, reason));
        }
        Ok(Self { onnx, described_by, spec })
    }

    fn undescribed(path: &Path, labels: Option<&Path>) -> Result<Self, Error> {
        let graph = Graph::parse(read_file(path)?.into(), path)?;
        let inputs = graph.inputs();
        let [input] = inputs.as_slice() else {
            let reason = format!("it has {} inputs instead of one picture", inputs.len());
            return Err(Error::network(path, reason));
        };
        let (layout, height, width) = match input.dims[..] {
            [_, Some(3), h, w] => (Layout::Nchw, h, w),
            [_, h, w, Some(3)] => (Layout::Nhwc, h, w),
            [_, None, h, w] => (Layout::Nchw, h, w),
            _ => {
                let reason =
                    format!("its input {:?} is not one picture of three channels", input.name);
                return Err(Error::network(path, reason));
            }
        };
        // Of several outputs, the first with one number for each class.
        let mut outputs = graph.outputs();
        let scores = outputs.iter().position(|o| o.dims.len() == 2 || o.dims.is_empty());
        let output = (!outputs.is_empty()).then(|| outputs.swap_remove(scores.unwrap_or(0)));
        let output = output.ok_or_else(|| Error::network(path, "it has no output"))?;
        let mut wide = output.dims.iter().skip(1).filter(|d| **d != Some(1));
        let classes = match (wide.next(), wide.next()) {
            (Some(only), None) => *only,
            (None, _) if output.dims.len() > 1 => Some(1),
            // A detector's output, say; or nothing is declared.
            _ => None,
        };
        let classes = classes.filter(|&c| c <= MOST_CLASSES);
        let labels = match labels {
            Some(file) => read_labels(file)?,
            None => (0..classes.unwrap_or(0)).map(|c| format!("class {c}")).collect(),
        };
        let activation = match graph.logits_of(&output.name).1 {
            Some(FinalActivation::Sigmoid) => Activation::Sigmoid,
            _ if classes == Some(1) => Activation::Sigmoid,
            _ => Activation::Softmax,
        };
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("model");
        let name = path.parent().filter(|_| stem == "model").and_then(|p| p.file_name()?.to_str());
        let head = HeadSpec {
            name: "class".to_owned(),
            output: output.name,
            activation,
            labels,
            labels_file: None,
            explain_scale: DEFAULT_EXPLAIN_SCALE,
            temperature: 1.0,
            smoothing: None,
        };
        let input = InputSpec {
            layout,
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
            ..InputSpec::new(width.unwrap_or(224), height.unwrap_or(224))
        };
        let spec = ModelSpec {
            name: name.unwrap_or(stem).to_owned(),
            version: String::new(),
            licence: String::new(),
            input,
            heads: vec![head],
        };
        if let Some(reason) = spec.input_fault() {
            return Err(Error::network(path, reason));
        }
        // Without labels the classes are numbered once they can be counted.
        match spec.fault().filter(|_| !spec.heads.iter().all(|h| h.labels.is_empty())) {
            Some(reason) => Err(Error::spec(path, reason)),
            None => Ok(Self { onnx: path.to_path_buf(), described_by: path.to_path_buf(), spec }),
        }
    }
}

/// The bytes of a network, once it is known that there is room for it.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let meta = std::fs::metadata(path)
        .map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    if !meta.is_file() {
        // A device or a pipe may never end.
        let source = std::io::Error::other("it is not a file");
        return Err(Error::Read { path: path.to_path_buf(), source });
    }
    if let Some(reason) = too_large(meta.len(), available_memory()) {
        return Err(Error::TooLarge { path: path.to_path_buf(), reason });
    }
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })
}

/// Why a network of so many bytes cannot be loaded, if it cannot.
fn too_large(bytes: u64, available: Option<u64>) -> Option<String> {
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    if bytes >= LARGEST_NETWORK {
        let is = gigabytes(bytes);
        return Some(format!(
            "it has {is}, and an ONNX file has less than 2 GB; export it with its weights in a file of their own"
        ));
    }
    let available = available.filter(|&a| bytes.saturating_mul(COPIES) > a)?;
    let (is, free) = (gigabytes(bytes), gigabytes(available));
    Some(format!(
        "loading its {is} takes about {COPIES} times that, and {free} of memory are free; end other programs or use a smaller model"
    ))
}

/// Memory that can be had without swapping, in bytes, where the system says.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "broadcast"
version = "1"
licence = "CC0"
[input]
width = 384
height = 224
layout = "nchw"
color = "rgb"
resize = "stretch"
mean = [127, 127, 127]
std = [128, 128, 128]
[[head]]
name = "content"
output = "content_logits"
activation = "softmax"
labels = ["show", "commercial"]
explain_scale = 6.1
[head.smoothing]
seconds = 0.5
[[head]]
name = "action"
output = "action_logits"
activation = "sigmoid"
labels = ["action"]
"#;

    fn parse(text: &str) -> Result<ModelSpec, String> {
        ModelSpec::parse(text, Path::new("/m/model.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_example_of_the_design_is_read_and_written_back() {
        let spec = parse(GOOD).unwrap();
        assert_eq!((spec.input.width, spec.input.mean[0]), (384, 127.0));
        assert_eq!(spec.heads[0].smoothing.unwrap().seconds, Some(0.5));
        assert_eq!((spec.heads[1].temperature, spec.heads[1].explain_scale), (1.0, 6.0));
        assert_eq!(parse(&toml::to_string(&spec).unwrap()).unwrap(), spec);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (from, to, says) in [
            ("width = 384", "width = 0", "0 x 224 pixels"),
            ("std = [128,", "std = [0,", "input.std[0] is 0"),
            ("name = \"action\"", "name = \"content\"", "two heads are called \"content\""),
            ("explain_scale = 6.1", "explain_scale = -1", "explain_scale is -1"),
            ("explain_scale = 6.1", "temperature = 0", "temperature is 0"),
            ("explain_scale = 6.1", "labels_file = \"l.txt\"", "both labels and labels_file"),
            ("labels = [\"show\", \"commercial\"]", "", "no labels"),
            ("licence", "license", "license"),
            ("\"softmax\"", "\"softmaxx\"", "softmaxx"),
            ("seconds = 0.5", "seconds = -1", "smoothing.seconds"),
            ("width = 384", "", "width"),
        ] {
            let text = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(text.contains(says) && text.contains("/m/model.toml"), "{to}: {text}");
        }
    }

    #[test]
    fn a_wrong_name_lists_places_and_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let models = dir.path().join("models");
        std::fs::create_dir_all(models.join("broadcast")).unwrap();
        std::fs::write(models.join("broadcast/model.toml"), GOOD).unwrap();
        let places = Places(vec![models.clone()]);
        let text = Model::find("brodcast", &places).unwrap_err().to_string();
        assert!(text.contains("did you mean \"broadcast\"?"), "{text}");
        assert!(text.contains(&models.display().to_string()), "{text}");
        let text = Model::find("broadcast", &places).unwrap_err().to_string();
        assert!(text.contains("no model.onnx beside it"), "{text}");
        std::fs::write(models.join("broadcast/model.onnx"), "x").unwrap();
        assert_eq!(Model::find("broadcast", &places).unwrap().spec.name, "broadcast");
        for odd in ["", ".", "/", "../models", "no/such", "x.onnx"] {
            assert!(Model::find(odd, &places).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_network_without_room_is_refused_before_it_is_read() {
        assert_eq!(too_large(100, None), None);
        assert_eq!(too_large(1_000_000_000, Some(4_000_000_000)), None);
        let said = too_large(1_000_000_000, Some(2_000_000_000)).unwrap();
        assert!(said.contains("1.0 GB") && said.contains("2.0 GB of memory"), "{said}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.onnx");
        // A file with a hole: it has a size but takes no room.
        std::fs::File::create(&path).unwrap().set_len(3 << 30).unwrap();
        let said = Model::open(&path, None).unwrap_err().to_string();
        assert!(said.contains("3.2 GB") && said.contains("less than 2 GB"), "{said}");
        assert!(available_memory().is_none_or(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn a_labels_file_is_read_from_the_models_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.toml");
        let text =
            GOOD.replacen("labels = [\"show\", \"commercial\"]", "labels_file = \"l.txt\"", 1);
        let missing = ModelSpec::parse(&text, &path).unwrap_err().to_string();
        assert!(missing.contains("l.txt"), "{missing}");
        std::fs::write(dir.path().join("l.txt"), "show\r\ncommercial\n\n").unwrap();
        assert_eq!(ModelSpec::parse(&text, &path).unwrap().heads[0].labels, ["show", "commercial"]);
    }
}
