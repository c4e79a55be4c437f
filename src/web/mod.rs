//! The monitor: a web server that shows streams and changes how they are
//! explained. Started by whoever runs streams; knows them only as a
//! [`Station`], and must know no other part of the program. The only place that
//! names the HTTP library.
//!
//! `server` has the thread, the connections and their limits; `guard` decides
//! who may ask; `routes` answers; `page` holds the monitor page.

mod answer;
mod body;
pub mod feed;
mod guard;
mod live;
mod metrics;
mod page;
mod routes;
mod server;
mod session;
pub mod station;

pub use server::{Error, Server, Settings};
pub use station::Station;
