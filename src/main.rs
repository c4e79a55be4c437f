//! The `heatcast` program: parse, run, say what went wrong, exit.

use std::process::ExitCode;

use clap::Parser;
use heatcast::cmd::{Cli, run};

#[expect(clippy::print_stderr, reason = "the one place where errors end")]
fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("heatcast: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
