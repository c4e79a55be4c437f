//! Integration tests: the program as a user meets it, on recordings the tests
//! make themselves.

mod annotate;
mod bad_input;
mod common;
mod footage;
mod identity;
