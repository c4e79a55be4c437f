//! What is explained and how its evidence becomes steady heat: class choice,
//! scale, smoothing in time, the attended area. Used by the analyst and the timeline;
//! must not know how maps are computed or painted.
//!
//! Flicker of class-activation video has two sources: the explained class
//! switching, which [`ClassSteadier`] calms, and the map itself, which
//! [`MapSmoother`] calms. Both start afresh at every shot.

mod area;
mod choice;
mod method;
mod scale;
mod smooth;

pub use area::{Area, attended_area};
pub use choice::{ClassChoice, NoSuchIndex, UnknownClass, choose, choose_index, choose_several};
pub use method::{
    FeatureLayout, Method, MethodChoice, Methods, Seed, UnknownMethod, UnknownMethods,
};
pub use scale::{Normalize, Normalizer};
pub use smooth::{ClassSteadier, MapSmoother};
