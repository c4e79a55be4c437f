//! Integration tests: the program as a user meets it, on recordings the tests
//! make themselves.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_docs,
    reason = "a test that cannot go on fails, and says so"
)]

mod annotate;
mod bad_input;
mod bad_models;
mod bad_pictures;
mod carried;
mod common;
mod eval;
mod explain;
mod explain_pictures;
#[allow(dead_code, reason = "the example `monitor` uses more of it")]
mod fake_station;
mod footage;
mod foreign;
mod geometry;
mod identity;
mod joins;
mod learn;
mod lip_sync;
mod live_server;
mod live_timeline;
mod looks;
mod onnx;
mod packages;
mod peers;
mod pictures;
mod real_tv;
mod recordings;
mod scan;
mod scan_many;
mod score;
mod segmenter;
mod serve;
mod timeline;
mod web;
mod web_guard;
