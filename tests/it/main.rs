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
mod common;
mod eval;
mod explain;
mod explain_pictures;
mod footage;
mod foreign;
mod identity;
mod learn;
mod packages;
mod pictures;
mod score;
mod segmenter;
mod timeline;
