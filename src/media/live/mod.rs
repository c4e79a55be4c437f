//! Live streams: sources that come and go, one encode, and everybody who gets
//! it.
//!
//! ```text
//! LiveSource ─ frames ─▶ (pipeline) ─▶ LiveEncoder ─▶ Hub ─┬─ RTSP mount
//!      └─ sound ───────────────────────────────────▶ Hub   ├─ fragments for the web
//!                                                          └─ recording
//! ```
//!
//! The hub hands every encoded picture to every tap, and never waits for one.

mod encoder;
mod fragments;
mod hub;
mod inputs;
mod recorder;
mod rtsp;
mod silence;
mod sound;
mod source;
mod splices;
mod video;

pub use encoder::{EncoderSettings, LiveEncoder};
pub use fragments::{Fragment, Fragmenter};
pub use hub::Hub;
pub use recorder::{RecordSettings, Recorder};
pub use rtsp::{Mount, RtspServer};
pub use silence::Silence;
pub use sound::Sound;
pub use source::{LiveEvent, LiveFrame, LiveOptions, LiveSource, Outlet};
pub use video::PictureFormat;
