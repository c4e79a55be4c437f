//! Stand-in: the numbers a classifier's input needs. Replaced at merge.

use serde::{Deserialize, Serialize};

/// Order of the axes of the classifier's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Image, channel, row, column.
    #[default]
    Nchw,
    /// Image, row, column, channel.
    Nhwc,
}

/// Order of the colour channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// How a picture is brought to the input's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Both sides, ignoring the shape of the picture.
    #[default]
    Stretch,
    /// Centre part of the right shape.
    Crop,
    /// Whole picture with bars.
    Letterbox,
}

/// What the classifier wants to see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Pixels from left to right.
    pub width: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Order of the axes.
    #[serde(default)]
    pub layout: Layout,
    /// Order of the colour channels.
    #[serde(default)]
    pub color: Color,
    /// How the size is reached.
    #[serde(default)]
    pub resize: Resize,
    /// Subtracted from each channel, 0..255.
    pub mean: [f32; 3],
    /// Each channel is divided by this.
    pub std: [f32; 3],
}
