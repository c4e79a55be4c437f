//! `heatcast serve`: live sources in, annotated RTSP mounts and a monitor page
//! out, until it is told to stop.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};

use super::annotate::stop_on_signal;
use super::look::Look;
use super::settings::{self, Analysis, set};
use super::{Failure, result, talk};
use crate::config::{Config, RecordFormat, SourceKind, SourceUri, StreamConfig, Transport};
use crate::pipeline;

/// Arguments of `heatcast serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Sources (rtsp://, rtsps://, srt://, udp://, rtp://, http://, https://, a file, test:),
    /// or one settings file (.toml)
    #[arg(required = true, value_name = "SOURCE|TOML")]
    sources: Vec<String>,
    /// Name of each source, in their order [default: from the address]
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Where to serve the annotated streams [default: 127.0.0.1:8554]
    #[arg(long, value_name = "ADDRESS:PORT")]
    rtsp: Option<String>,
    /// Where to serve the monitor page [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    web: Option<String>,
    /// What people must know to get in; needed for addresses other than loopback. Others on this
    /// machine can see it here: HEATCAST_TOKEN in the environment is better
    #[arg(long)]
    token: Option<String>,
    /// Start files again at their end
    #[arg(long = "loop")]
    looped: bool,
    /// Longest time from decoded to encoded picture [default: 250]
    #[arg(long, value_name = "N")]
    max_latency_ms: Option<u32>,
    /// Record the annotated picture into this folder
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,
    /// File format of recordings: mp4, mkv or ts [default: mp4]
    #[arg(long, value_name = "FORMAT", requires = "record")]
    record_format: Option<String>,
    /// Serve the picture without heat too, as /NAME/clean
    #[arg(long)]
    clean: bool,
    /// Ask RTSP sources to send beside the connection (UDP)
    #[arg(long)]
    udp: bool,
    /// Keep the timeline of each stream up to date in this folder, in every format, as NAME.edl
    /// and so on
    #[arg(long, value_name = "DIR")]
    timeline: Option<PathBuf>,
    /// Heads to segment, separated by commas [default: the model's first]
    #[arg(long, value_name = "HEADS", value_delimiter = ',')]
    segment: Vec<String>,
    /// What programmes and breaks are like [default: default]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Seconds behind the stream at which boundaries become final: 0, 10, 30 or 60 are useful
    /// [default: 30]
    #[arg(long, value_name = "SECONDS")]
    lag: Option<f64>,
    /// Label of the segments that are breaks [default: commercial]
    #[arg(long = "break", value_name = "LABEL")]
    break_label: Option<String>,
    #[command(flatten)]
    analysis: Analysis,
    #[command(flatten)]
    look: Look,
    /// One setting, e.g. --set live.crf=26
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

pub(super) fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let config = configuration(args).map_err(Failure::usage)?;
    let plan = pipeline::plan_live(config).map_err(Failure::usage)?;
    let stop = stop_on_signal().map_err(Failure::run)?;
    pipeline::serve(plan, &stop, &mut |reachable| {
        for address in &reachable.rtsp {
            result(format_args!("{address}"));
        }
        if let Some(web) = &reachable.web {
            result(format_args!("{web}"));
        }
        if !quiet {
            talk(format_args!("serving; Ctrl-C ends it"));
        }
    })
    .map_err(Failure::run)
}

/// Defaults, then the file, then `--set`, then the flags.
fn configuration(args: &Args) -> anyhow::Result<Config> {
    let file = settings_file(args)?;
    let own = [
        set("rtsp.address", args.rtsp.as_ref()),
        set("web.address", args.web.as_ref()),
        set("live.max_latency_ms", args.max_latency_ms),
    ];
    let mut sets = args.sets.clone();
    sets.extend(own.into_iter().flatten());
    sets.extend(args.analysis.settings());
    sets.extend(args.look.settings());
    let mut config = settings::load(file, &[], &sets)?;
    if file.is_none() {
        config.stream = streams(args)?;
        config.check_live_ranges()?;
    }
    config.expand(&|name| std::env::var(name).ok()).map_err(|why| anyhow!(why))?;
    let from_environment = || std::env::var("HEATCAST_TOKEN").ok();
    if let Some(token) = args.token.clone().or_else(from_environment) {
        config.web.token = token;
    }
    Ok(config)
}

/// The settings file, when the sources are one.
fn settings_file(args: &Args) -> anyhow::Result<Option<&Path>> {
    let is_settings = |source: &String| {
        Path::new(source).extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"))
    };
    match args.sources.as_slice() {
        [one] if is_settings(one) => {
            if !args.name.is_empty()
                || args.looped
                || args.clean
                || args.udp
                || args.record.is_some()
                || args.timeline.is_some()
                || !args.segment.is_empty()
                || args.profile.is_some()
                || args.lag.is_some()
                || args.break_label.is_some()
            {
                bail!(
                    "{one} says what its streams are: set name, loop, clean, transport, record, timeline, segment, profile, lag_s and break there"
                );
            }
            Ok(Some(Path::new(one)))
        }
        several if several.iter().any(is_settings) => {
            bail!("give either sources or one settings file")
        }
        _ => Ok(None),
    }
}

/// The streams of the sources on the command line.
fn streams(args: &Args) -> anyhow::Result<Vec<StreamConfig>> {
    if args.name.len() > args.sources.len() {
        bail!("there are {} names for {} sources", args.name.len(), args.sources.len());
    }
    let record_format = match args.record_format.as_deref() {
        None | Some("mp4") => RecordFormat::Mp4,
        Some("mkv") => RecordFormat::Mkv,
        Some("ts") => RecordFormat::Ts,
        Some(other) => bail!("--record-format {other}: use mp4, mkv or ts"),
    };
    let mut streams: Vec<StreamConfig> = Vec::new();
    for (n, source) in args.sources.iter().enumerate() {
        let uri: SourceUri = source.parse().map_err(|why: String| anyhow!(why))?;
        let given = args.name.get(n).cloned();
        let mut name = given.clone().unwrap_or_else(|| name_of(&uri));
        if given.is_none() && streams.iter().any(|s| s.name == name) {
            name = format!("{name}-{}", n + 1);
        }
        let is_file = matches!(uri.kind, SourceKind::File(_));
        let usual = StreamConfig::default();
        streams.push(StreamConfig {
            name,
            source: source.clone(),
            transport: if args.udp { Transport::Udp } else { Transport::Tcp },
            r#loop: args.looped && is_file,
            clean: args.clean,
            record: args.record.as_ref().map(|f| f.display().to_string()).unwrap_or_default(),
            record_format,
            timeline: args.timeline.as_ref().map(|f| f.display().to_string()).unwrap_or_default(),
            segment: args.segment.clone(),
            profile: args.profile.clone().unwrap_or(usual.profile),
            lag_s: args.lag.unwrap_or(usual.lag_s),
            r#break: args.break_label.clone().unwrap_or(usual.r#break),
            ..StreamConfig::default()
        });
    }
    Ok(streams)
}

/// A name for a stream, from the last part of its address.
fn name_of(uri: &SourceUri) -> String {
    let shown = uri.to_string();
    let path = shown.split('?').next().unwrap_or_default();
    let last = match &uri.kind {
        SourceKind::File(path) => {
            path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
        }
        SourceKind::Test(_) => "test".to_owned(),
        _ => path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = last.chars().map(plain).take(64).collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() { "stream".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_after_their_address() {
        for (source, name) in [
            ("rtsp://user:secret@cam:554/live/main?x=1", "main"),
            ("rtsp://cam", "cam"),
            ("udp://239.1.1.1:5000", "239-1-1-1-5000"),
            ("clips/my clip.mp4", "my-clip"),
            ("test:ball", "test"),
            ("srt://:9000", "9000"),
        ] {
            assert_eq!(name_of(&source.parse().unwrap()), name, "{source}");
        }
    }
}
