//! The settings of a run: types, defaults, ranges, and how a file and `--set`
//! change them. Called by the commands before anything starts; must not know
//! what the settings do. Text comes in, so that no file is read here.
//!
//! Precedence: defaults, then the file, then each `--set` in turn.
//! `pipelines/reference.toml` shows every key.

mod live;
mod sections;
mod source_uri;

pub use live::*;
pub use sections::*;
pub use source_uri::{SourceKind, SourceUri};

use crate::explain::FeatureLayout;
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// Everything that can be set for a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which classifier, and what runs it.
    pub model: ModelConfig,
    /// Which frames are analysed.
    pub analysis: AnalysisConfig,
    /// What is explained and how.
    pub explain: ExplainConfig,
    /// What is drawn.
    pub overlay: OverlayConfig,
    /// How the result is encoded.
    pub output: OutputConfig,
    /// When to give up.
    pub limits: LimitsConfig,
    /// What holds for every live stream. Records of a run quote the settings
    /// above, never those from here on.
    #[serde(skip_serializing)]
    pub live: LiveConfig,
    /// Where live streams are served.
    #[serde(skip_serializing)]
    pub rtsp: RtspConfig,
    /// The monitor page.
    #[serde(skip_serializing)]
    pub web: WebConfig,
    /// The live streams.
    #[serde(skip_serializing)]
    pub stream: Vec<StreamConfig>,
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, counted from one.
    Line(usize),
    /// A `--set`, as it was given.
    Set(String),
    /// The settings as a whole.
    Whole,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}: "),
            Self::Set(text) => write!(f, "--set {text}: "),
            Self::Whole => Ok(()),
        }
    }
}

/// Why settings were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such key.
    #[error(
        "{origin}unknown key `{key}`{}",
        .nearest.as_ref().map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
    )]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key with its section.
        key: String,
        /// The known key that looks most like it, if one does.
        nearest: Option<String>,
    },
    /// The text is not TOML, or a value is of the wrong kind.
    #[error("{origin}{message}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// What is wrong with it.
        message: String,
    },
    /// A value is outside its range.
    #[error("`{key}` is {value}, but must be {wanted}")]
    Range {
        /// The key with its section.
        key: &'static str,
        /// The value that was given.
        value: String,
        /// The range, with its unit.
        wanted: &'static str,
    },
    /// A `--set` without a key or a value.
    #[error("--set {0}: give it as section.key=value")]
    Form(String),
}

impl Config {
    /// The defaults, changed by the `text` of a file and then by every
    /// `section.key=value` of `sets`. A value is TOML, or else plain text.
    ///
    /// # Errors
    ///
    /// [`Error`] for the first thing that is wrong: keys and kinds in the file,
    /// then in `sets`, then ranges.
    pub fn load(text: Option<&str>, sets: &[String]) -> Result<Self, Error> {
        Self::load_over(&[], text, sets)
    }

    /// As [`load`](Self::load), with other `defaults` for some keys, in the form of `sets`.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load).
    pub fn load_over(
        defaults: &[String],
        text: Option<&str>,
        sets: &[String],
    ) -> Result<Self, Error> {
        let known = known().map_err(|e| whole(&e))?;
        let file = text.map(|text| parse_file(text, &known)).transpose()?;
        let mut table = Table::new();
        for set in defaults {
            change(&mut table, set, &known)?;
        }
        for (section, value) in file.unwrap_or_default() {
            match (table.get_mut(&section), value) {
                (Some(Value::Table(keys)), Value::Table(given)) => keys.extend(given),
                (_, value) => {
                    table.insert(section, value);
                }
            }
        }
        for set in sets {
            change(&mut table, set, &known)?;
        }
        let config: Self = table.try_into().map_err(|e: toml::de::Error| whole(&e.message()))?;
        config.check_ranges()?;
        config.check_live_ranges()?;
        Ok(config)
    }

    fn check_ranges(&self) -> Result<(), Error> {
        let check = |key, value: f64, good: bool, wanted| {
            if good && value.is_finite() {
                Ok(())
            } else {
                Err(Error::Range { key, value: value.to_string(), wanted })
            }
        };
        let fraction = |v: f64| (0.0..=1.0).contains(&v);
        let threads = self.model.threads;
        check("model.threads", threads as f64, (1..=1024).contains(&threads), "1 to 1024 threads")?;
        let fps = self.analysis.fps;
        check(
            "analysis.fps",
            fps,
            fps > 0.0 && fps <= 1000.0,
            "above 0, up to 1000 frames per second",
        )?;
        for (key, ms) in [
            ("explain.class_smoothing_ms", self.explain.class_smoothing_ms),
            ("explain.map_smoothing_ms", self.explain.map_smoothing_ms),
            ("explain.crossfade_ms", self.explain.crossfade_ms),
        ] {
            check(key, ms.into(), ms <= 60_000, "0 to 60000 milliseconds")?;
        }
        let margin = self.explain.class_switch_margin;
        check("explain.class_switch_margin", margin, fraction(margin), "a probability, 0 to 1")?;
        let layout = &self.explain.layout;
        if !layout.is_empty() && layout.parse::<FeatureLayout>().is_err() {
            let wanted = "nchw, nhwc, tokens or empty";
            return Err(Error::Range { key: "explain.layout", value: layout.clone(), wanted });
        }
        let scale = self.explain.full_scale;
        let scales = "above 0 logits, or 0 for the model's own scale";
        check("explain.full_scale", scale, scale >= 0.0, scales)?;
        let opacity = self.overlay.opacity;
        check("overlay.opacity", opacity, fraction(opacity), "0 (invisible) to 1 (opaque)")?;
        let crf = self.output.crf;
        check("output.crf", crf.into(), crf <= 51, "0 (lossless) to 51 (worst)")?;
        let interval = self.output.keyframe_interval_s;
        let intervals = "0.1 to 60 seconds";
        check("output.keyframe_interval_s", interval, (0.1..=60.0).contains(&interval), intervals)?;
        let stall = self.limits.stall_timeout_s;
        let stalls = "1 to 3600 seconds";
        check("limits.stall_timeout_s", stall, (1.0..=3600.0).contains(&stall), stalls)
    }
}

fn whole(error: &dyn std::fmt::Display) -> Error {
    Error::Value { origin: Origin::Whole, message: error.to_string() }
}

/// Every key there is, with its default.
fn known() -> Result<Table, toml::ser::Error> {
    let defaults = Config::default();
    let mut known = Table::try_from(&defaults)?;
    known.insert("live".into(), Value::try_from(&defaults.live)?);
    known.insert("rtsp".into(), Value::try_from(&defaults.rtsp)?);
    known.insert("web".into(), Value::try_from(&defaults.web)?);
    known.insert("stream".into(), Value::Array(vec![Value::try_from(StreamConfig::default())?]));
    Ok(known)
}

/// Applies a `section.key=value` to settings.
fn change(table: &mut Table, set: &str, known: &Table) -> Result<(), Error> {
    let form = || Error::Form(set.to_owned());
    let origin = || Origin::Set(set.to_owned());
    let (key, text) = set.split_once('=').ok_or_else(form)?;
    let (key, text) = (key.trim(), text.trim());
    let (section, name) = key.split_once('.').ok_or_else(form)?;
    let standard = known.get(section).and_then(|s| s.get(name));
    let standard = standard.ok_or_else(|| unknown(origin(), key, known))?;
    let parsed = format!("v = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
    // A class called 281 is still text.
    let value = parsed
        .filter(|v| !standard.is_str() || v.is_str())
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let keys = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(keys) = keys {
        keys.insert(name.to_owned(), value);
    }
    let checked: Result<Config, toml::de::Error> = table.clone().try_into();
    checked
        .map(|_| ())
        .map_err(|e| Error::Value { origin: origin(), message: e.message().to_owned() })
}

fn parse_file(text: &str, known: &Table) -> Result<Table, Error> {
    let line = |at: usize| 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
    let refused = |e: toml::de::Error| Error::Value {
        origin: e.span().map_or(Origin::Whole, |span| Origin::Line(line(span.start))),
        message: e.message().trim().replace('\n', ", "),
    };
    // Unknown keys first: the parser would name them without their section.
    let file = DeTable::parse(text).map_err(refused)?;
    for (key, value) in file.get_ref() {
        let stranger = match known.get(key.get_ref().as_ref()) {
            None => Some((key.span().start, key.get_ref().to_string())),
            Some(section) => stranger_in(value, section)
                .map(|(at, name)| (at, format!("{}.{name}", key.get_ref()))),
        };
        if let Some((at, key)) = stranger {
            return Err(unknown(Origin::Line(line(at)), &key, known));
        }
    }
    toml::from_str::<Config>(text).map_err(refused)?;
    text.parse().map_err(refused)
}

/// The first key of a section that is not among the known ones, and its place.
/// Of a section that may stand several times, in any of them.
fn stranger_in(section: &Spanned<DeValue<'_>>, known: &Value) -> Option<(usize, String)> {
    if let (Some(sections), Some(known)) = (section.get_ref().as_array(), known.get(0)) {
        return sections.iter().find_map(|section| stranger_in(section, known));
    }
    let keys = section.get_ref().as_table()?;
    keys.iter()
        .find(|(key, _)| known.get(key.get_ref().as_ref()).is_none())
        .map(|(key, _)| (key.span().start, key.get_ref().to_string()))
}

fn unknown(origin: Origin, key: &str, known: &Table) -> Error {
    let keys = known.iter().flat_map(|(section, keys)| {
        let keys = keys.get(0).unwrap_or(keys).as_table().into_iter().flatten();
        std::iter::once(section.clone()).chain(keys.map(move |(k, _)| format!("{section}.{k}")))
    });
    let wanted = key.rsplit('.').next().unwrap_or(key);
    let likeness = |candidate: &str| {
        // A right key in a wrong section is as likely as a slip of the pen.
        let name = candidate.rsplit('.').next().unwrap_or(candidate);
        let misplaced = strsim::normalized_damerau_levenshtein(name, wanted) - 0.1;
        strsim::normalized_damerau_levenshtein(candidate, key).max(misplaced)
    };
    let nearest = keys
        .map(|candidate| (likeness(&candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate);
    Error::UnknownKey { origin, key: key.to_owned(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::{Colormap, HudMode};

    const REFERENCE: &str = include_str!("../../pipelines/reference.toml");

    fn load(text: &str, sets: &[&str]) -> Result<Config, Error> {
        let sets: Vec<_> = sets.iter().map(|s| (*s).to_owned()).collect();
        Config::load(Some(text), &sets)
    }

    fn complaint(text: &str, sets: &[&str]) -> String {
        load(text, sets).unwrap_err().to_string()
    }

    #[test]
    fn the_reference_file_is_the_defaults_and_has_every_key() {
        let reference = Config { stream: vec![StreamConfig::default()], ..Config::default() };
        assert_eq!(load(REFERENCE, &[]), Ok(reference));
        assert_eq!(Config::load(None, &[]), Ok(Config::default()));
        let file: Table = REFERENCE.parse().unwrap();
        // The defaults as a table have every key there is.
        assert_eq!(file, known().unwrap());
    }

    #[test]
    fn every_shipped_pipeline_loads() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue; // profiles, which the segmenter reads
            }
            let text = std::fs::read_to_string(&path).unwrap();
            load(&text, &[]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            count += 1;
        }
        assert!(count >= 2);
    }

    #[test]
    fn the_file_beats_the_defaults_and_set_beats_the_file() {
        let file = "[overlay]\nopacity = 0.3\nhud = 'off'\n";
        let config = load(file, &["overlay.opacity=1", "overlay.opacity = 0.7"]).unwrap();
        assert_eq!((config.overlay.opacity, config.overlay.hud), (0.7, HudMode::Off));
        assert_eq!(config.output, OutputConfig::default());
    }

    #[test]
    fn defaults_of_a_command_give_way_to_file_and_set() {
        let defaults = ["analysis.fps=1.0", "model.threads=3"].map(str::to_owned);
        let of = |text, sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
            let config = Config::load_over(&defaults, text, &sets).unwrap();
            (config.analysis.fps, config.model.threads)
        };
        assert_eq!(of(None, &[]), (1.0, 3));
        assert_eq!(of(Some("[analysis]\nfps = 4.0\n"), &[]), (4.0, 3));
        assert_eq!(of(Some("[analysis]\nfps = 4.0\n"), &["model.threads=2"]), (4.0, 2));
    }

    #[test]
    fn set_takes_toml_or_plain_text() {
        let sets = [
            "explain.class=tiger cat, big",
            "model.name='my model'",
            "model.head=281",
            "overlay.colormap=viridis",
            "explain.method=cam",
            "model.onnxruntime=/opt/a=b.so",
            "output.crf=18",
        ];
        let config = load("", &sets).unwrap();
        assert_eq!(config.explain.class, "tiger cat, big");
        assert_eq!((&*config.model.name, &*config.model.head), ("my model", "281"));
        assert_eq!(config.overlay.colormap, Colormap::Viridis);
        assert!(Config::load(None, &["explain.method=gradcan".to_owned()]).is_err());
        assert_eq!(config.model.onnxruntime, "/opt/a=b.so");
        assert_eq!(config.output.crf, 18);
    }

    #[test]
    fn unknown_keys_are_named_with_line_and_neighbour() {
        assert_eq!(
            complaint("# hello\n[overlay]\nopacty = 0.3\n", &[]),
            "line 3: unknown key `overlay.opacty`, did you mean `overlay.opacity`?"
        );
        assert_eq!(
            complaint("\n[overlya]\n", &[]),
            "line 2: unknown key `overlya`, did you mean `overlay`?"
        );
        assert_eq!(
            complaint("", &["overlay.fps=3"]),
            "--set overlay.fps=3: unknown key `overlay.fps`, did you mean `analysis.fps`?"
        );
        assert_eq!(complaint("", &["q.zzz=3"]), "--set q.zzz=3: unknown key `q.zzz`");
    }

    #[test]
    fn wrong_kinds_are_named_with_their_line() {
        for (text, wanted) in [
            ("[output]\ncrf = 'x'", "line 2: invalid type: string \"x\", expected u32"),
            ("[overlay]\n\nhud = 'big'", "line 3: unknown variant `big`, expected one of"),
            ("overlay = 3", "line 1: invalid type"),
            ("[output]\ncrf = -1", "line 2: invalid value"),
            ("[output\ncrf = 1", "line 1: "),
            ("[output]\ncrf = 1\ncrf = 2", "line 3: duplicate key"),
        ] {
            let found = complaint(text, &[]);
            assert!(found.starts_with(wanted), "{found}");
        }
        let found = complaint("", &["output.crf=low"]);
        assert!(found.starts_with("--set output.crf=low: invalid type"), "{found}");
        for set in ["output.crf", "crf=3", "=", ""] {
            assert_eq!(complaint("", &[set]), format!("--set {set}: give it as section.key=value"));
        }
    }

    #[test]
    fn values_out_of_range_are_named_with_their_unit() {
        assert_eq!(
            complaint("", &["overlay.opacity=1.5"]),
            "`overlay.opacity` is 1.5, but must be 0 (invisible) to 1 (opaque)"
        );
        for set in [
            "model.threads=0",
            "analysis.fps=0",
            "analysis.fps=nan",
            "explain.class_smoothing_ms=70000",
            "explain.map_smoothing_ms=70000",
            "explain.crossfade_ms=70000",
            "explain.class_switch_margin=-0.1",
            "explain.full_scale=inf",
            "output.crf=52",
            "output.keyframe_interval_s=0",
            "limits.stall_timeout_s=0",
        ] {
            let key = set.split('=').next().unwrap();
            let found = complaint("", &[set]);
            assert!(found.starts_with(&format!("`{key}` is ")), "{found}");
        }
    }

    #[test]
    fn presets_are_called_what_the_encoder_calls_them() {
        let config = load("", &["output.preset=slower"]).unwrap();
        assert_eq!(config.output.preset.name(), "slower");
        assert_eq!(Value::try_from(Preset::Veryfast).unwrap().as_str(), Some("veryfast"));
    }
}
