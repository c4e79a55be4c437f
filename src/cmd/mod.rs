//! The command line: one file per verb, each with its arguments and its `run`.
//! Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.

mod annotate;
mod check;
mod doctor;
mod eval;
mod explain;
mod explain_pictures;
mod faithful;
mod learn;
mod look;
mod model;
mod progress;
mod scan;
mod score;
mod serve;
mod settings;
mod timeline_args;

use std::fmt;
use std::io::{IsTerminal, Write};

use clap::{Parser, Subcommand};
use serde::Serialize;

/// Skipped files that are named.
const NAMED: usize = 10;

/// Burns the explanations of a video classifier into the video.
#[derive(Debug, Parser)]
#[command(name = "heatcast", version, about, max_term_width = 100)]
pub struct Cli {
    /// Say more: -v what is decided, -vv everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// How to write the log
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(subcommand)]
    verb: Verb,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Turn a recording into an annotated recording
    Annotate(Box<annotate::Args>),
    /// Annotate live streams: RTSP mounts and a monitor page
    Serve(Box<serve::Args>),
    /// Explain pictures: where the evidence for a class lies
    Explain(Box<explain::Args>),
    /// Tell how good a model is on labelled pictures
    Eval(Box<eval::Args>),
    /// Find programme, breaks and other segments of recordings, fast
    Scan(Box<scan::Args>),
    /// Tell how well timelines agree with the truth
    Score(Box<score::Args>),
    /// List, check and teach models
    Model(model::Args),
    /// Check what is installed, and say how to get what is missing
    Doctor(doctor::Args),
}

/// Where maps come from, for networks in which the search goes wrong.
#[derive(Clone, Debug, Default, clap::Args)]
struct Tensors {
    /// Tensor to take as the feature map [default: found by itself]
    #[arg(long, value_name = "TENSOR")]
    feature: Option<String>,
    /// Tensor to take as the head's logits [default: found by itself]
    #[arg(long, value_name = "TENSOR")]
    logits: Option<String>,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or configuration: nothing was started.
    Usage(anyhow::Error),
    /// Failed while running.
    Run(anyhow::Error),
}

impl Failure {
    /// The exit code that says so.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Run(_) => 1,
        }
    }

    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    fn run(error: impl Into<anyhow::Error>) -> Self {
        Self::Run(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(error) | Self::Run(error)) = self;
        write!(f, "{error:#}")
    }
}

/// Runs the command that was typed.
///
/// # Errors
/// With the sentence to print and the exit code.
pub fn run(cli: Cli) -> Result<(), Failure> {
    // Who runs a server wants to know what it does.
    let verbose = cli.verbose + u8::from(matches!(cli.verb, Verb::Serve(_)));
    start_logging(verbose, cli.quiet, cli.log_format);
    match cli.verb {
        Verb::Annotate(args) => annotate::run(*args, cli.quiet),
        Verb::Serve(args) => serve::run(&args, cli.quiet),
        Verb::Explain(args) => explain::run(&args, cli.quiet),
        Verb::Eval(args) => eval::run(*args, cli.quiet),
        Verb::Scan(args) => scan::run(&args, cli.quiet),
        Verb::Score(args) => score::run(*args, cli.quiet),
        Verb::Model(args) => model::run(&args, cli.quiet),
        Verb::Doctor(args) => doctor::run(&args),
    }
}

fn start_logging(verbose: u8, quiet: bool, format: LogFormat) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "heatcast=warn,error",
        (_, 1) => "heatcast=info,warn",
        (_, 2) => "heatcast=debug,info",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("HEATCAST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // A second subscriber (tests call `run` more than once) changes nothing.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let _ = match format {
        LogFormat::Text => log.without_time().try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Prints a result. A reader that went away is no error.
fn result(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints a result as one JSON object.
fn json_result(object: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(object).map_err(Failure::run)?;
    result(format_args!("{text}"));
    Ok(())
}

/// Says what people should know about a look at many pictures.
fn remarks(notes: &[String], skipped: &[String]) {
    for note in notes {
        talk(format_args!("note: {note}"));
    }
    for why in skipped.iter().take(NAMED) {
        talk(format_args!("skipped: {why}"));
    }
    if skipped.len() > NAMED {
        talk(format_args!("skipped: {} more", skipped.len() - NAMED));
    }
}

/// Prints talk, which goes beside the results.
fn talk(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
