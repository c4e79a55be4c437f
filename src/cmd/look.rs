//! The flags about how heat is painted: the same wherever something is painted.

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
