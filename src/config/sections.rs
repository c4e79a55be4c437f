//! The sections of the settings, their keys and defaults. Read through
//! [`Config`](super::Config); must not know what the settings do.

use crate::explain::{MethodChoice, Normalize, Seed};
use crate::overlay::{Colormap, HeatStyle, HudMode, Style};
use crate::sync::Interpolation;
use serde::{Deserialize, Serialize};

/// Which classifier, and what runs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Name of a shipped model, or path of a folder or `.onnx` file.
    pub name: String,
    /// File of class names, one a line, in place of the model's own; empty for
    /// none.
    pub labels: String,
    /// Head that is explained; empty for the model's first.
    pub head: String,
    /// ONNX Runtime execution provider; `auto` for the best there is.
    pub provider: String,
    /// Threads of the classifier.
    pub threads: usize,
    /// Path of the ONNX Runtime library; empty to search for it.
    pub onnxruntime: String,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            name: "broadcast".into(),
            labels: String::new(),
            head: String::new(),
            provider: "auto".into(),
            threads: 1,
            onnxruntime: String::new(),
        }
    }
}

/// Which frames are analysed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnalysisConfig {
    /// Analysed frames per second of stream time.
    pub fps: f64,
}

impl Default for AnalysisConfig {
    fn default() -> Self {
        Self { fps: 5.0 }
    }
}

/// What is explained and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplainConfig {
    /// Label or index of the class, or `top` for the shown one; several are
    /// separated by commas.
    pub class: String,
    /// How activation maps are computed.
    pub method: MethodChoice,
    /// Which combination of logits is explained.
    pub seed: Seed,
    /// Tensor to take as the feature map; empty to search for it.
    pub feature: String,
    /// Tensor to take as the head's logits; empty to search for it.
    pub logits: String,
    /// Order of the feature map's axes; empty to find out.
    pub layout: String,
    /// Time constant of the probabilities' average, milliseconds; 0 is off.
    pub class_smoothing_ms: u32,
    /// Lead in probability (0..1) another class needs to be shown.
    pub class_switch_margin: f64,
    /// Time constant of the map's average, milliseconds; 0 is off.
    pub map_smoothing_ms: u32,
    /// Milliseconds in which the heat of one class gives way to that of the
    /// next; 0 is at once.
    pub crossfade_ms: u32,
    /// What heat the frames between two analysed ones get.
    pub interpolation: Interpolation,
    /// What full heat stands for.
    pub normalize: Normalize,
    /// Logit units that paint full heat; 0 for the model's own scale.
    pub full_scale: f64,
}

impl Default for ExplainConfig {
    fn default() -> Self {
        Self {
            class: "top".into(),
            method: MethodChoice::Auto,
            seed: Seed::Auto,
            feature: String::new(),
            logits: String::new(),
            layout: String::new(),
            class_smoothing_ms: 500,
            class_switch_margin: 0.1,
            map_smoothing_ms: 250,
            crossfade_ms: 200,
            interpolation: Interpolation::Linear,
            normalize: Normalize::Fixed,
            full_scale: 0.0,
        }
    }
}

/// What goes into the picture beside what is painted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Nothing: the picture is painted over.
    #[default]
    Over,
    /// The original, to its left: pictures become twice as wide.
    Side,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverlayConfig {
    /// How heat is shown.
    pub style: HeatStyle,
    /// What goes beside the painted picture.
    pub layout: Layout,
    /// Opacity of full heat, 0..1.
    pub opacity: f64,
    /// Colours of heat.
    pub colormap: Colormap,
    /// How much text is drawn.
    pub hud: HudMode,
}

impl Default for OverlayConfig {
    fn default() -> Self {
        Self {
            style: HeatStyle::Heatmap,
            layout: Layout::Over,
            opacity: 0.45,
            colormap: Colormap::Inferno,
            hud: HudMode::Full,
        }
    }
}

impl OverlayConfig {
    /// The look of pictures on which so many classes are explained at the same
    /// time: one in the chosen colours, several each in a hue of its own.
    pub fn look(&self, classes: usize) -> Style {
        let several = || Colormap::HUES.into_iter().take(classes).collect();
        Style {
            opacity: self.opacity as f32,
            colormaps: if classes > 1 { several() } else { vec![self.colormap] },
            heat: self.style,
            hud: self.hud,
        }
    }
}

/// Speed presets of the x264 encoder, fastest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the encoder's own")]
pub enum Preset {
    Ultrafast,
    Superfast,
    #[default]
    Veryfast,
    Faster,
    Fast,
    Medium,
    Slow,
    Slower,
    Veryslow,
    Placebo,
}

impl Preset {
    /// The encoder's name for this preset.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ultrafast => "ultrafast",
            Self::Superfast => "superfast",
            Self::Veryfast => "veryfast",
            Self::Faster => "faster",
            Self::Fast => "fast",
            Self::Medium => "medium",
            Self::Slow => "slow",
            Self::Slower => "slower",
            Self::Veryslow => "veryslow",
            Self::Placebo => "placebo",
        }
    }
}

/// What happens to sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audio {
    /// Kept, copied where the container can hold it.
    #[default]
    Auto,
    /// Left out.
    None,
}

/// How the result is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// Speed of the encoder.
    pub preset: Preset,
    /// Constant rate factor, 0 (lossless) to 51 (worst).
    pub crf: u32,
    /// Seconds between key frames, at most.
    pub keyframe_interval_s: f64,
    /// What happens to sound.
    pub audio: Audio,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self { preset: Preset::Veryfast, crf: 20, keyframe_interval_s: 2.0, audio: Audio::Auto }
    }
}

/// When to give up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Seconds without progress after which a run fails.
    pub stall_timeout_s: f64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { stall_timeout_s: 30.0 }
    }
}
