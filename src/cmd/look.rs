//! The flags about how heat is painted: the same wherever something is painted.

use anyhow::bail;

use crate::explain::FeatureLayout;

/// How a picture is painted.
#[derive(Debug, clap::Args)]
pub(super) struct Look {
    /// How heat is shown: heatmap, shade, blur, contour or off [default: heatmap]
    #[arg(long)]
    style: Option<String>,
    /// Opacity of full heat, 0 to 1 [default: 0.45, on contact sheets 0.65]
    #[arg(long)]
    opacity: Option<f64>,
    /// Colours of heat: inferno, viridis, turbo, jet, grey, orange, blue, green or purple
    #[arg(long)]
    colormap: Option<String>,
    /// How much text is drawn: full, compact or off
    #[arg(long)]
    hud: Option<String>,
}

impl Look {
    pub(super) const fn is_opacity_given(&self) -> bool {
        self.opacity.is_some()
    }

    /// The settings that stand for it.
    pub(super) fn settings(&self) -> Vec<String> {
        let style = self.style.as_ref().map(|name| format!("overlay.style={name}"));
        let opacity = self.opacity.map(|n| format!("overlay.opacity={n:?}"));
        let colormap = self.colormap.as_ref().map(|name| format!("overlay.colormap={name}"));
        let hud = self.hud.as_ref().map(|mode| format!("overlay.hud={mode}"));
        [style, opacity, colormap, hud].into_iter().flatten().collect()
    }
}

/// `--layout` of pictures and of feature maps, which have no layout in common.
#[derive(Debug, clap::Args)]
pub(super) struct Layouts {
    /// Of the picture: over (painted over) or side (the original to the left, twice as
    /// wide); or of the feature map's axes: nchw, nhwc or tokens [default: over; found
    /// by itself]
    #[arg(long)]
    layout: Vec<String>,
}

impl Layouts {
    /// The settings that stand for it.
    ///
    /// # Errors
    /// When there is no such layout.
    pub(super) fn settings(&self) -> anyhow::Result<Vec<String>> {
        let setting = |layout: &String| match layout.as_str() {
            "over" | "side" => Ok(format!("overlay.layout={layout}")),
            other if other.parse::<FeatureLayout>().is_ok() => {
                Ok(format!("explain.layout={layout}"))
            }
            other => bail!(
                "--layout {other}: give over or side for the picture, or nchw, nhwc or tokens for the feature map"
            ),
        };
        self.layout.iter().map(setting).collect()
    }
}
