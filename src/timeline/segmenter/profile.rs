//! What is known about the segments of a kind of broadcast: how long they
//! last, what their boundaries look like, how much a picture counts. Read from
//! TOML; given to the segmenter; must not know a file.
//!
//! `pipelines/profiles/default.toml` has every key and is tested to equal the
//! defaults of this file. `docs/reference/profiles.md` explains the keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names;
use crate::timeline::cue::CueKind;

/// Every shipped profile: its name and its text.
const SHIPPED: [(&str, &str); 5] = [
    ("default", include_str!("../../../pipelines/profiles/default.toml")),
    ("eu", include_str!("../../../pipelines/profiles/eu.toml")),
    ("news", include_str!("../../../pipelines/profiles/news.toml")),
    ("sports-action", include_str!("../../../pipelines/profiles/sports-action.toml")),
    ("us", include_str!("../../../pipelines/profiles/us.toml")),
];

/// The key of the durations of labels that have none of their own.
const OTHER: &str = "other";

/// Everything the segmenter assumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// What it is for, in a sentence.
    pub description: String,
    /// How much the classifier counts.
    pub evidence: Evidence,
    /// How much each kind of cue counts.
    pub cues: Cues,
    /// Where boundaries may be.
    pub candidates: Candidates,
    /// Spots of standard length.
    pub slots: Slots,
    /// What is added around segments.
    pub padding: Padding,
    /// How long segments last, by label; `other` for all that are not named.
    pub durations: BTreeMap<String, Duration>,
}

/// How much the classifier counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evidence {
    /// Nats per second for each logit between two labels. Frames of one second
    /// repeat each other: at full weight (one nat per logit and frame) they
    /// would drown everything else.
    pub weight: f64,
    /// Logits by which one label is above another at most.
    pub clip: f64,
    /// Seconds around a frame for which it speaks at most; longer gaps say
    /// nothing.
    pub reach_s: f64,
}

impl Default for Evidence {
    fn default() -> Self {
        Self { weight: 0.03, clip: 4.0, reach_s: 5.0 }
    }
}

/// Nats for a boundary, and more for each kind of cue that is found at it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cues {
    /// Every boundary.
    pub boundary: f64,
    /// A shot cut.
    pub shot_cut: f64,
    /// Black.
    pub black: f64,
    /// Silence.
    pub silence: f64,
    /// A frozen picture.
    pub freeze: f64,
    /// A change of the bars around the picture.
    pub aspect: f64,
    /// A change of the sound channels.
    pub audio_channels: f64,
    /// A splice announced by the stream.
    pub scte35: f64,
}

impl Default for Cues {
    fn default() -> Self {
        Self {
            boundary: -2.5,
            shot_cut: 1.2,
            black: 0.5,
            silence: 0.8,
            freeze: 0.0,
            aspect: 0.5,
            audio_channels: 0.8,
            scte35: 4.0,
        }
    }
}

impl Cues {
    /// Nats for this kind of cue.
    pub const fn weight(&self, kind: CueKind) -> f64 {
        match kind {
            CueKind::ShotCut => self.shot_cut,
            CueKind::Black => self.black,
            CueKind::Silence => self.silence,
            CueKind::Freeze => self.freeze,
            CueKind::Aspect => self.aspect,
            CueKind::AudioChannels => self.audio_channels,
            CueKind::Scte35 => self.scte35,
        }
    }
}

/// Where boundaries may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Candidates {
    /// Cues this close together are one, seconds.
    pub merge_s: f64,
    /// Black, silence or freeze of more than so many seconds is a state: its
    /// two ends may be boundaries, not its middle.
    pub moment_s: f64,
    /// Seconds without a cue after which there are boundaries without cues.
    pub cueless_s: f64,
    /// Seconds between those.
    pub grid_s: f64,
}

impl Default for Candidates {
    fn default() -> Self {
        Self { merge_s: 0.3, moment_s: 5.0, cueless_s: 30.0, grid_s: 5.0 }
    }
}

/// Spots of standard length: two cues with black or silence, so far apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slots {
    /// The label they speak for.
    pub label: String,
    /// Their lengths in seconds; empty for none.
    pub lengths_s: Vec<f64>,
    /// Seconds by which a length may be missed.
    pub tolerance_s: f64,
    /// Logits in favour of the label between the two cues.
    pub logits: f64,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            label: "commercial".into(),
            lengths_s: vec![10.0, 15.0, 20.0, 30.0, 45.0, 60.0],
            tolerance_s: 0.35,
            logits: 1.5,
        }
    }
}

/// What is added before and after the segments of one label, at the expense of
/// their neighbours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Padding {
    /// The label; empty for none.
    pub label: String,
    /// Seconds before.
    pub before_s: f64,
    /// Seconds after.
    pub after_s: f64,
}

/// How long segments of one label last: log-normal, flat beyond one and a half
/// standard deviations, nothing outside `min_s` and `max_s`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duration {
    /// Half of them are shorter, seconds.
    pub median_s: f64,
    /// Standard deviation of the natural logarithm of the seconds.
    pub sigma: f64,
    /// None is shorter, seconds; except at the ends of the stream.
    #[serde(default)]
    pub min_s: f64,
    /// None is longer, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_s: Option<f64>,
}

impl Duration {
    /// Of labels about which nothing is known.
    pub const UNKNOWN: Self = Self { median_s: 60.0, sigma: 1.2, min_s: 5.0, max_s: None };
}

/// Why a profile was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not TOML, or not the keys of a profile.
    #[error("{}{message}", .line.map(|n| format!("line {n}: ")).unwrap_or_default())]
    Form {
        /// Counted from one, where it is known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A value outside its range.
    #[error("`{key}` is {value}, but must be {wanted}")]
    Range {
        /// The key with its section.
        key: String,
        /// Its value.
        value: String,
        /// The range, with its unit.
        wanted: &'static str,
    },
    /// A name that no shipped profile has.
    #[error("there is no profile {name:?}{}; there are {}, or name a .toml file",
        .nearest.map(|n| format!(", did you mean {n:?}?")).unwrap_or_default(),
        Profile::names().join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The shipped one that looks most like it.
        nearest: Option<&'static str>,
    },
}

impl Profile {
    /// The names of the shipped profiles.
    pub fn names() -> [&'static str; SHIPPED.len()] {
        SHIPPED.map(|(name, _)| name)
    }

    /// The shipped profile `name`.
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is none.
    pub fn named(name: &str) -> Result<Self, Error> {
        let plain = names::plain(name);
        match SHIPPED.iter().find(|(shipped, _)| *shipped == plain) {
            Some((_, text)) => Self::parse(text),
            None => Err(Error::Unknown {
                name: name.to_owned(),
                nearest: names::nearest(SHIPPED.map(|(n, _)| (n, n)), &plain),
            }),
        }
    }

    /// A profile from its TOML text. Keys that are left out are those of the
    /// default profile; `durations` adds to the default ones, label by label.
    ///
    /// # Errors
    /// For the first unknown key, wrong kind or value out of range.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut profile: Self = toml::from_str(text).map_err(|e| Error::Form {
            line: e.span().map(|s| 1 + text[..s.start].matches('\n').count()),
            message: e.message().trim().replace('\n', ", "),
        })?;
        for (label, duration) in default_durations() {
            profile.durations.entry(label.to_owned()).or_insert(duration);
        }
        profile.check()?;
        Ok(profile)
    }

    /// How long segments with this label last.
    pub fn duration(&self, label: &str) -> Duration {
        let named = self.durations.get(label).or_else(|| self.durations.get(OTHER));
        named.copied().unwrap_or(Duration::UNKNOWN)
    }

    fn check(&self) -> Result<(), Error> {
        let check = |key: &str, value: f64, good: bool, wanted| {
            if good && value.is_finite() {
                Ok(())
            } else {
                Err(Error::Range { key: key.to_owned(), value: value.to_string(), wanted })
            }
        };
        let e = &self.evidence;
        let weights = "0 to 10 nats per second and logit";
        check("evidence.weight", e.weight, (0.0..=10.0).contains(&e.weight), weights)?;
        check("evidence.clip", e.clip, e.clip > 0.0 && e.clip <= 20.0, "above 0, up to 20 logits")?;
        let reaches = "0.05 to 60 seconds";
        check("evidence.reach_s", e.reach_s, (0.05..=60.0).contains(&e.reach_s), reaches)?;
        let c = &self.cues;
        for (key, nats) in [
            ("cues.boundary", c.boundary),
            ("cues.shot_cut", c.shot_cut),
            ("cues.black", c.black),
            ("cues.silence", c.silence),
            ("cues.freeze", c.freeze),
            ("cues.aspect", c.aspect),
            ("cues.audio_channels", c.audio_channels),
            ("cues.scte35", c.scte35),
        ] {
            check(key, nats, nats.abs() <= 100.0, "-100 to 100 nats")?;
        }
        let c = &self.candidates;
        check("candidates.merge_s", c.merge_s, (0.0..=5.0).contains(&c.merge_s), "0 to 5 seconds")?;
        let moments = "0 to 15 seconds";
        check("candidates.moment_s", c.moment_s, (0.0..=15.0).contains(&c.moment_s), moments)?;
        let seconds = "1 to 600 seconds";
        check("candidates.cueless_s", c.cueless_s, (1.0..=600.0).contains(&c.cueless_s), seconds)?;
        check("candidates.grid_s", c.grid_s, (1.0..=600.0).contains(&c.grid_s), seconds)?;
        let s = &self.slots;
        let lengths = "more than the tolerance, up to 600 seconds";
        for &length in &s.lengths_s {
            let good = length > s.tolerance_s && length <= 600.0;
            check("slots.lengths_s", length, good, lengths)?;
        }
        let tolerances = "0 to 5 seconds";
        check(
            "slots.tolerance_s",
            s.tolerance_s,
            (0.0..=5.0).contains(&s.tolerance_s),
            tolerances,
        )?;
        check("slots.logits", s.logits, s.logits.abs() <= 20.0, "-20 to 20 logits")?;
        for (label, d) in &self.durations {
            let key = |name: &str| format!("durations.{label}.{name}");
            let days = "above 0, up to 86400 seconds";
            let fits = |s: f64| s > 0.0 && s <= 86_400.0;
            check(&key("median_s"), d.median_s, fits(d.median_s), days)?;
            check(&key("sigma"), d.sigma, (0.05..=5.0).contains(&d.sigma), "0.05 to 5")?;
            check(
                &key("min_s"),
                d.min_s,
                (0.0..=86_400.0).contains(&d.min_s),
                "0 to 86400 seconds",
            )?;
            if let Some(max) = d.max_s {
                check(
                    &key("max_s"),
                    max,
                    max > d.min_s && fits(max),
                    "more than min_s, up to 86400 seconds",
                )?;
            }
        }
        self.check_padding()
    }

    /// A padded segment must never swallow its neighbour.
    fn check_padding(&self) -> Result<(), Error> {
        let Padding { label, before_s, after_s } = &self.padding;
        for (key, value) in [("padding.before_s", before_s), ("padding.after_s", after_s)] {
            let room = self.durations.iter().filter(|(l, _)| *l != label).map(|(_, d)| d.min_s);
            let room = room.fold(f64::INFINITY, f64::min);
            let good = *value >= 0.0 && (label.is_empty() || before_s + after_s < room);
            if !good || !value.is_finite() {
                return Err(Error::Range {
                    key: key.to_owned(),
                    value: value.to_string(),
                    wanted: "0 seconds or more, and both together less than min_s of every other label",
                });
            }
        }
        Ok(())
    }
}

/// The durations of the default profile.
fn default_durations() -> [(&'static str, Duration); 3] {
    [
        ("commercial", Duration { median_s: 170.0, sigma: 0.55, min_s: 25.0, max_s: Some(420.0) }),
        ("show", Duration { median_s: 560.0, sigma: 0.8, min_s: 60.0, max_s: None }),
        (OTHER, Duration::UNKNOWN),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_has_every_key_at_its_default() {
        let text = SHIPPED[0].1;
        let shipped = Profile::parse(text).unwrap();
        let defaults =
            Profile { description: shipped.description.clone(), ..Profile::parse("").unwrap() };
        assert_eq!(shipped, defaults);
        let written: toml::Table = text.parse().unwrap();
        let all = toml::Table::try_from(&defaults).unwrap();
        for (section, keys) in &all {
            let there = written.get(section).unwrap_or_else(|| panic!("no {section}"));
            for key in keys.as_table().into_iter().flat_map(|t| t.keys()) {
                assert!(there.get(key).is_some(), "default.toml lacks {section}.{key}");
            }
        }
    }

    #[test]
    fn every_shipped_profile_is_good_documented_and_found_by_its_name() {
        let doc = include_str!("../../../docs/reference/profiles.md");
        let all = toml::Table::try_from(Profile::parse("").unwrap()).unwrap();
        for (section, keys) in &all {
            for key in keys.as_table().into_iter().flat_map(|t| t.keys()) {
                let named = section == "durations" || doc.contains(&format!("`{key}`"));
                assert!(named, "{section}.{key} is not documented");
            }
        }
        for name in Profile::names() {
            let profile = Profile::named(&format!(" {} ", name.to_uppercase())).unwrap();
            assert!(profile.description.ends_with('.'), "{name} does not say what it is for");
            assert!(doc.contains(&format!("`{name}`")), "{name} is not documented");
            assert!(
                profile.durations.values().any(|d| d.max_s.is_none()),
                "{name}: a stream without change has no timeline"
            );
        }
        let said = Profile::named("new").unwrap_err().to_string();
        assert!(
            said.contains("did you mean \"news\"?") && said.contains("sports-action"),
            "{said}"
        );
    }

    #[test]
    fn what_is_left_out_is_the_default_and_labels_without_durations_get_others() {
        let text = "[evidence]\nweight = 0.1\n[durations.tennis]\nmedian_s = 30\nsigma = 1";
        let profile = Profile::parse(text).unwrap();
        assert_eq!((profile.evidence.weight, profile.evidence.clip), (0.1, 4.0));
        assert_eq!(profile.duration("commercial").max_s, Some(420.0));
        let tennis = Duration { median_s: 30.0, sigma: 1.0, min_s: 0.0, max_s: None };
        assert_eq!(profile.duration("tennis"), tennis);
        assert_eq!(profile.duration("cricket"), Duration::UNKNOWN);
    }

    #[test]
    fn faults_are_named_with_their_place_and_range() {
        for (text, says) in [
            ("[evidence]\nweigth = 1", "line 2: unknown field `weigth`"),
            ("[evidence]\nweight = \"much\"", "line 2: invalid type"),
            ("[evidence", "line 1: "),
            ("x = 1", "line 1: unknown field `x`"),
            ("[evidence]\nweight = -1", "`evidence.weight` is -1, but must be 0 to 10 nats"),
            ("[evidence]\nclip = nan", "`evidence.clip` is NaN"),
            ("[cues]\nblack = inf", "`cues.black` is inf"),
            ("[candidates]\ngrid_s = 0", "`candidates.grid_s` is 0, but must be 1 to 600 seconds"),
            ("[slots]\nlengths_s = [30, 0.1]", "`slots.lengths_s` is 0.1"),
            ("[durations.show]\nmedian_s = 60\nsigma = 0", "`durations.show.sigma` is 0"),
            ("[durations.a]\nmedian_s = 60\nsigma = 1\nmin_s = 9\nmax_s = 5", "more than min_s"),
            ("[durations.a]\nmedian_s = 60", "missing field `sigma`"),
            (
                "[padding]\nlabel = \"show\"\nbefore_s = 3\nafter_s = 3",
                "`padding.before_s` is 3, but must be 0 seconds or more, and both together",
            ),
            ("[padding]\nafter_s = -1", "`padding.after_s` is -1"),
        ] {
            let said = Profile::parse(text).unwrap_err().to_string();
            assert!(said.contains(says), "{text}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }
}
