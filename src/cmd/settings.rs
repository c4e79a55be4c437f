//! The flags that stand for settings in several commands, and how settings are
//! put together: defaults, then the file, then `--set`, then the flags.

use std::path::Path;

use anyhow::{Context, anyhow};

use crate::config::Config;

/// `key=value` for a flag that was given.
pub(super) fn set(key: &str, value: Option<impl ToString>) -> Option<String> {
    value.map(|value| format!("{key}={}", value.to_string()))
}

/// The configuration by `file` and `sets`, over `defaults` of the command's own.
///
/// # Errors
/// When the file cannot be read, or something in it or in `sets` is wrong.
pub(super) fn load(
    file: Option<&Path>,
    defaults: &[String],
    sets: &[String],
) -> anyhow::Result<Config> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the settings file {}", path.display()))
    };
    let text = file.map(read).transpose()?;
    let config = Config::load_over(defaults, text.as_deref(), sets);
    config.map_err(|e| match file {
        Some(path) => anyhow!(e).context(path.display().to_string()),
        None => anyhow!(e),
    })
}

/// Which model.
#[derive(Debug, clap::Args)]
pub(super) struct ModelChoice {
    /// Model: a name (see `heatcast model list`), a folder or an .onnx file
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Class names, one a line, for a model without
    #[arg(long, value_name = "FILE")]
    labels: Option<String>,
}

impl ModelChoice {
    /// The settings that stand for it.
    pub(super) fn settings(&self) -> Vec<String> {
        let all =
            [set("model.name", self.model.as_ref()), set("model.labels", self.labels.as_ref())];
        all.into_iter().flatten().collect()
    }
}

/// What is analysed in a video, by what, and how often.
#[derive(Debug, clap::Args)]
pub(super) struct Analysis {
    #[command(flatten)]
    model: ModelChoice,
    /// Which of the model's questions to explain [default: the first]
    #[arg(long)]
    head: Option<String>,
    /// Class to explain: `top`, a label or an index; up to four at the same time,
    /// separated by commas [default: top]
    #[arg(long)]
    class: Option<String>,
    /// How maps are computed: auto, cam, gradcam, gradcam++, layercam or hirescam [default: auto]
    #[arg(long)]
    method: Option<String>,
    /// Analyses per second of video [default: 5]
    #[arg(long, value_name = "N")]
    analysis_fps: Option<f64>,
    /// Threads of the classifier [default: 1]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where the classifier runs: auto or cpu
    #[arg(long)]
    provider: Option<String>,
}

impl Analysis {
    /// The settings that stand for it.
    pub(super) fn settings(&self) -> Vec<String> {
        let own = [
            set("model.head", self.head.as_ref()),
            set("explain.class", self.class.as_ref()),
            set("explain.method", self.method.as_ref()),
            set("analysis.fps", self.analysis_fps.map(|n| format!("{n:?}"))),
            set("model.threads", self.threads),
            set("model.provider", self.provider.as_ref()),
        ];
        self.model.settings().into_iter().chain(own.into_iter().flatten()).collect()
    }
}
