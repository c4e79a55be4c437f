//! The settings of live operation: streams, the RTSP server, the monitor page.
//! Read through [`Config`](super::Config); must not know what the settings do.

use serde::{Deserialize, Serialize};

use super::{Audio, Config, Error, Preset, SourceUri};

/// Characters in the name of a stream, at most.
const NAME_LENGTH: usize = 64;

/// What holds for every live stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveConfig {
    /// Milliseconds from decoded to encoded picture beyond which a picture is
    /// left out.
    pub max_latency_ms: u32,
    /// Milliseconds after which an explanation is no longer painted.
    pub max_explanation_age_ms: u32,
    /// Milliseconds without a picture after which the slate is shown.
    pub slate_after_ms: u32,
    /// Seconds without a picture after which the source is opened again.
    pub stall_timeout_s: f64,
    /// Milliseconds before the source is opened again for the first time.
    pub retry_first_ms: u32,
    /// Seconds between two attempts, at most.
    pub retry_most_s: f64,
    /// False to take sources whose certificate cannot be trusted.
    pub check_certificates: bool,
    /// Width of the output; 0 for that of the first picture.
    pub width_px: u32,
    /// Height of the output; 0 for that of the first picture.
    pub height_px: u32,
    /// Slates per second.
    pub slate_fps: u32,
    /// Speed of the encoder.
    pub preset: Preset,
    /// Constant rate factor, 0 (lossless) to 51 (worst).
    pub crf: u32,
    /// Bit rate of the picture, at most, kilobits per second.
    pub max_bitrate_kbps: u32,
    /// Seconds between key frames, at most.
    pub keyframe_interval_s: f64,
    /// Milliseconds by which every analysis is held up, to rehearse a slow
    /// classifier.
    pub analysis_delay_ms: u32,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            max_latency_ms: 250,
            max_explanation_age_ms: 3000,
            slate_after_ms: 1500,
            stall_timeout_s: 5.0,
            retry_first_ms: 500,
            retry_most_s: 15.0,
            check_certificates: true,
            width_px: 0,
            height_px: 0,
            slate_fps: 25,
            preset: Preset::Superfast,
            crf: 23,
            max_bitrate_kbps: 8000,
            keyframe_interval_s: 1.0,
            analysis_delay_ms: 0,
        }
    }
}

/// Where the annotated streams are served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtspConfig {
    /// Address and port; empty to serve none.
    pub address: String,
}

impl Default for RtspConfig {
    fn default() -> Self {
        Self { address: "127.0.0.1:8554".into() }
    }
}

/// The monitor page.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// Address and port; empty to serve none.
    pub address: String,
    /// What people must know to get in, by web or RTSP; empty on loopback
    /// addresses only.
    pub token: String,
    /// Names under which the page is asked for, beside `localhost`: those of a
    /// proxy in front of it.
    pub hosts: Vec<String>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { address: "127.0.0.1:8080".into(), token: String::new(), hosts: Vec::new() }
    }
}

impl std::fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebConfig").field("address", &self.address).finish_non_exhaustive()
    }
}

/// How RTSP sources send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Within the RTSP connection: nothing is lost.
    #[default]
    Tcp,
    /// Beside it.
    Udp,
}

/// File format of recordings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordFormat {
    /// `.mp4`
    #[default]
    Mp4,
    /// `.mkv`
    Mkv,
    /// `.ts`
    Ts,
}

impl RecordFormat {
    /// The extension of the files.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mkv => "mkv",
            Self::Ts => "ts",
        }
    }
}

/// One live stream.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// Its name, and its path in addresses.
    pub name: String,
    /// Address of the source; may hold credentials.
    pub source: String,
    /// How an RTSP source sends.
    pub transport: Transport,
    /// Milliseconds that packets of an RTSP, RTP or SRT source may be late.
    pub jitter_ms: u32,
    /// Whether a file starts again at its end.
    pub r#loop: bool,
    /// Head to explain; empty for `model.head`.
    pub head: String,
    /// Class to explain; empty for `explain.class`.
    pub class: String,
    /// Analyses per second; 0 for `analysis.fps`.
    pub analysis_fps: f64,
    /// What happens to sound.
    pub audio: Audio,
    /// Whether the picture without heat is served too.
    pub clean: bool,
    /// Folder for recordings; empty for none.
    pub record: String,
    /// File format of recordings.
    pub record_format: RecordFormat,
    /// Length of one recording in seconds.
    pub record_segment_s: f64,
    /// File the events are appended to; empty for none.
    pub events: String,
    /// Heads that are segmented; empty for the model's first.
    pub segment: Vec<String>,
    /// What programmes and breaks are like: the name of a profile, or its file.
    pub profile: String,
    /// Seconds behind the stream at which boundaries become final.
    pub lag_s: f64,
    /// Folder for the files about the timeline; empty for none.
    pub timeline: String,
    /// Label of the segments that are breaks.
    pub r#break: String,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            source: String::new(),
            transport: Transport::Tcp,
            jitter_ms: 100,
            r#loop: false,
            head: String::new(),
            class: String::new(),
            analysis_fps: 0.0,
            audio: Audio::Auto,
            clean: false,
            record: String::new(),
            record_format: RecordFormat::Mp4,
            record_segment_s: 600.0,
            events: String::new(),
            segment: Vec::new(),
            profile: "default".into(),
            lag_s: 30.0,
            timeline: String::new(),
            r#break: crate::timeline::formats::BREAK.into(),
        }
    }
}

impl std::fmt::Debug for StreamConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// True for names that can stand in an address.
pub fn is_stream_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= NAME_LENGTH && name.chars().all(plain)
}

impl Config {
    /// Puts the values of variables in place of `${NAME}` in the sources and
    /// the token; `lookup` knows them.
    ///
    /// # Errors
    /// When there is no such variable, or a brace is not closed.
    pub fn expand(&mut self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        self.web.token = expanded("web.token", &self.web.token, lookup)?;
        for stream in &mut self.stream {
            let key = format!("the source of stream `{}`", stream.name);
            stream.source = expanded(&key, &stream.source, lookup)?;
        }
        Ok(())
    }

    /// Everything about the streams that can be known beforehand.
    ///
    /// # Errors
    /// A sentence about the first thing that is wrong.
    pub fn check_streams(&self) -> Result<(), String> {
        if self.stream.is_empty() {
            return Err("there is no stream: name a source, or add a [[stream]] section".into());
        }
        for (n, stream) in self.stream.iter().enumerate() {
            let StreamConfig { name, source, .. } = stream;
            if !is_stream_name(name) {
                return Err(format!(
                    "stream {} is called {name:?}: a name has 1 to {NAME_LENGTH} letters, digits, `-` or `_`",
                    n + 1
                ));
            }
            if self.stream[..n].iter().any(|other| other.name == *name) {
                return Err(format!("two streams are called `{name}`; rename one of them"));
            }
            source.parse::<SourceUri>().map_err(|why| format!("stream `{name}`: {why}"))?;
        }
        Ok(())
    }

    /// Whether the settings of live operation are within their ranges.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn check_live_ranges(&self) -> Result<(), Error> {
        let check = |key, value: f64, good: bool, wanted| {
            if good && value.is_finite() {
                Ok(())
            } else {
                Err(Error::Range { key, value: value.to_string(), wanted })
            }
        };
        let live = &self.live;
        for (key, ms) in [
            ("live.max_latency_ms", live.max_latency_ms),
            ("live.max_explanation_age_ms", live.max_explanation_age_ms),
            ("live.slate_after_ms", live.slate_after_ms),
            ("live.retry_first_ms", live.retry_first_ms),
        ] {
            check(key, ms.into(), (20..=60_000).contains(&ms), "20 to 60000 milliseconds")?;
        }
        let delay = live.analysis_delay_ms;
        let delays = "0 to 60000 milliseconds";
        check("live.analysis_delay_ms", delay.into(), delay <= 60_000, delays)?;
        for (key, s, least, most, wanted) in [
            ("live.stall_timeout_s", live.stall_timeout_s, 0.5, 3600.0, "0.5 to 3600 seconds"),
            ("live.retry_most_s", live.retry_most_s, 0.1, 3600.0, "0.1 to 3600 seconds"),
            ("live.keyframe_interval_s", live.keyframe_interval_s, 0.1, 60.0, "0.1 to 60 seconds"),
        ] {
            check(key, s, (least..=most).contains(&s), wanted)?;
        }
        for (key, px) in [("live.width_px", live.width_px), ("live.height_px", live.height_px)] {
            let good = px == 0 || (16..=8192).contains(&px) && px % 2 == 0;
            check(key, px.into(), good, "0 (that of the first picture), or even, 16 to 8192")?;
        }
        let (width, height) = (live.width_px, live.height_px);
        check("live.height_px", height.into(), (width == 0) == (height == 0), "0 or not as width")?;
        let fps = live.slate_fps;
        check("live.slate_fps", fps.into(), (1..=120).contains(&fps), "1 to 120 per second")?;
        check("live.crf", live.crf.into(), live.crf <= 51, "0 (lossless) to 51 (worst)")?;
        let kbps = live.max_bitrate_kbps;
        let rates = "50 to 1000000 kilobits per second";
        check("live.max_bitrate_kbps", kbps.into(), (50..=1_000_000).contains(&kbps), rates)?;
        for stream in &self.stream {
            let fps = stream.analysis_fps;
            let wanted = "0 (as analysis.fps), up to 1000 frames per second";
            check("stream.analysis_fps", fps, (0.0..=1000.0).contains(&fps), wanted)?;
            let jitter = stream.jitter_ms;
            check("stream.jitter_ms", jitter.into(), jitter <= 60_000, delays)?;
            let length = stream.record_segment_s;
            let wanted = "2 to 86400 seconds";
            check("stream.record_segment_s", length, (2.0..=86_400.0).contains(&length), wanted)?;
            let lag = stream.lag_s;
            check("stream.lag_s", lag, (0.0..=300.0).contains(&lag), "0 to 300 seconds")?;
        }
        Ok(())
    }
}

fn expanded(
    key: &str,
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, behind) = rest.split_at(at);
        let (name, after) = behind[2..]
            .split_once('}')
            .ok_or_else(|| format!("{key}: a `${{` without `}}` behind it"))?;
        let value = lookup(name).ok_or_else(|| {
            format!("{key} names ${{{name}}}, but the environment has no {name}; set it")
        })?;
        out += before;
        out += &value;
        rest = after;
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, Error> {
        Config::load(Some(text), &[])
    }

    #[test]
    fn streams_are_sections_of_their_own() {
        let text = "[live]\nmax_latency_ms = 100\n[[stream]]\nname = 'a'\nsource = 'test:'\n\
                    [[stream]]\nname = 'b'\nsource = 'udp://239.0.0.1:5000'\nclean = true\n";
        let config = config(text).unwrap();
        assert_eq!(config.live.max_latency_ms, 100);
        let names: Vec<_> = config.stream.iter().map(|s| (s.name.as_str(), s.clean)).collect();
        assert_eq!(names, [("a", false), ("b", true)]);
        assert_eq!(config.check_streams(), Ok(()));
    }

    #[test]
    fn what_is_wrong_with_streams_is_said_before_they_start() {
        for (text, wanted) in [
            ("", "there is no stream"),
            ("[[stream]]\nsource='test:'", "stream 1 is called \"\""),
            ("[[stream]]\nname='a/b'\nsource='test:'", "letters, digits"),
            (
                "[[stream]]\nname='a'\nsource='test:'\n[[stream]]\nname='a'\nsource='test:'",
                "two streams are called `a`",
            ),
            ("[[stream]]\nname='a'", "stream `a`: "),
            ("[[stream]]\nname='a'\nsource='gopher://x/'", "gopher"),
        ] {
            let found = config(text).unwrap().check_streams().unwrap_err();
            assert!(found.contains(wanted), "{found}");
        }
    }

    #[test]
    fn slips_in_streams_are_named_with_line_and_neighbour() {
        let found = config("[[stream]]\nname = 'a'\nsuorce = 'x'\n").unwrap_err().to_string();
        assert_eq!(found, "line 3: unknown key `stream.suorce`, did you mean `stream.source`?");
        let found = config("[live]\nmax_latency = 3\n").unwrap_err().to_string();
        assert!(found.contains("did you mean `live.max_latency_ms`?"), "{found}");
        let found = config("[live]\nwidth_px = 33\n").unwrap_err().to_string();
        assert!(found.starts_with("`live.width_px` is 33"), "{found}");
    }

    #[test]
    fn secrets_come_from_variables_and_are_never_shown() {
        let text = "[web]\ntoken = '${T}'\n[[stream]]\nname = 'a'\nsource = 'rtsp://u:${P}@h/x'\n";
        let mut config = config(text).unwrap();
        let lookup = |name: &str| match name {
            "T" => Some("tok".to_owned()),
            "P" => Some("pass".to_owned()),
            _ => None,
        };
        config.expand(&lookup).unwrap();
        assert_eq!(config.web.token, "tok");
        assert_eq!(config.stream[0].source, "rtsp://u:pass@h/x");
        let shown = format!("{config:?}");
        assert!(!shown.contains("pass") && !shown.contains("tok\""), "{shown}");
        config.web.token = "${NO}".into();
        let why = config.expand(&lookup).unwrap_err();
        assert!(why.contains("has no NO"), "{why}");
        // Records quote the settings; what is secret stays out of them.
        let quoted = serde_json::to_string(&config).unwrap();
        assert!(!quoted.contains("pass"), "{quoted}");
    }
}
