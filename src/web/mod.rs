//! The monitor: a web server that shows streams and changes how they are
//! explained. Started by `serve`; knows the streams only as a [`Station`].

pub mod feed;
pub mod station;

pub use station::Station;
