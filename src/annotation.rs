//! What the classifier said about one moment of the stream, ready to be drawn
//! and written down. Made by the analyst, paired with frames by `sync`.

use std::sync::Arc;

use crate::frame::Pts;

/// Evidence for one class over the picture, row by row, on the classifier's
/// own coarse grid (a 7 x 12 grid is typical).
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationMap {
    /// Rows of the grid.
    pub rows: usize,
    /// Columns of the grid.
    pub cols: usize,
    /// `rows * cols` values. Logit units as they come from the classifier,
    /// 0..1 once scaled.
    pub values: Vec<f32>,
}

impl ActivationMap {
    /// A map without evidence anywhere.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, values: vec![0.0; rows * cols] }
    }

    /// Positive evidence stretched to 0..1, as still pictures are often shown:
    /// `(r - min r) / (max r - min r)` with `r = max(value, 0)`; zeros where
    /// that is the same everywhere. Never for video: it would paint strong
    /// heat without evidence.
    pub fn normalised(&self) -> Self {
        let positive = |v: &f32| if v.is_finite() { v.max(0.0) } else { 0.0 };
        let values: Vec<f32> = self.values.iter().map(positive).collect();
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        let span = values.iter().copied().fold(0.0, f32::max) - least;
        let stretched = |v: f32| if span > 0.0 { (v - least) / span } else { 0.0 };
        Self { values: values.into_iter().map(stretched).collect(), ..*self }
    }

    /// The heat of a map in logit units: 1 from `full_scale` on, 0 without
    /// evidence.
    pub fn heat(&self, full_scale: f32) -> Self {
        let values = self.values.iter().map(|v| (v / full_scale).clamp(0.0, 1.0)).collect();
        Self { values, ..*self }
    }

    /// The largest value, or zero for an empty map.
    pub fn max(&self) -> f32 {
        self.values.iter().copied().fold(0.0, f32::max)
    }
}

/// Where in the picture the classifier's input came from, in luma pixels.
///
/// The activation map is stretched over exactly this rectangle. It is the whole
/// picture for `stretch`, lies inside it for `crop` and reaches beyond it for
/// `letterbox`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Extent from left to right.
    pub width: f64,
    /// Extent from top to bottom.
    pub height: f64,
}

/// One class with its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassProb {
    /// Index of the class in the head's labels.
    pub index: usize,
    /// Label as shown to people.
    pub label: Arc<str>,
    /// 0..1.
    pub probability: f32,
}

/// The answer of one head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadResult {
    /// Name of the head.
    pub head: Arc<str>,
    /// The most probable classes of this very frame, best first.
    pub top: Vec<ClassProb>,
    /// The class people are shown: steadied in time, with its smoothed
    /// probability.
    pub shown: ClassProb,
    /// The probability of every class in this very frame, in the order of the
    /// head's labels.
    pub probabilities: Arc<[f32]>,
}

/// Heat over the picture at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// Whose heat it is: which of the classes that are explained at the same
    /// time, counted from zero. It decides the colour.
    pub layer: usize,
    /// Heat 0..1.
    pub map: ActivationMap,
    /// Where the map lies in the picture.
    pub view: View,
}

/// An explained class and where the evidence for it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Which of [`Annotation::heads`] is explained.
    pub head: usize,
    /// The class the map is evidence for, with its probability in this frame.
    pub class: ClassProb,
    /// True for a class that was asked for, false for whichever is shown.
    pub asked: bool,
    /// Its heat, smoothed in time.
    pub heat: Heat,
    /// Logit units that paint full heat.
    pub full_scale: f32,
}

/// What is known about one analysed frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Stream time of the analysed frame.
    pub pts: Pts,
    /// True when this frame is the first of a new shot: nothing before it says
    /// anything about it.
    pub starts_shot: bool,
    /// One answer per head; empty when the classifier failed on this frame.
    pub heads: Vec<HeadResult>,
    /// The explained classes, in the order of their layers; none where there
    /// is no map.
    pub explanations: Vec<Explanation>,
}
