//! Times as formats write them, and what the channel's own clock showed. Used
//! by the writers and readers of this folder; must not know what is timed.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use crate::frame::Pts;

/// To the nearest millisecond.
pub(super) const fn millis(at: Pts) -> u64 {
    at.0.saturating_add(500_000) / 1_000_000
}

/// `240.200`.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// `00:04:00.200`; hours go beyond 24.
pub(super) fn clock(ms: u64) -> String {
    let s = ms / 1000;
    format!("{:02}:{:02}:{:02}.{:03}", s / 3600, s / 60 % 60, s % 60, ms % 1000)
}

/// Stream time of `12.5`, `1:02.5` or `0:01:02.5`, exact to the nanosecond.
pub(super) fn parse(text: &str) -> Option<Pts> {
    let parts: Vec<&str> = text.split(':').collect();
    let (last, whole) = parts.split_last()?;
    let (s, fraction) = last.split_once('.').unwrap_or((last, ""));
    let digits = |t: &str| t.chars().all(|c| c.is_ascii_digit());
    if s.is_empty() || whole.len() > 2 || !digits(fraction) {
        return None;
    }
    let mut total: u64 = 0;
    for part in whole.iter().copied().chain([s]) {
        if part.is_empty() || !digits(part) {
            return None;
        }
        total = total.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    let nanos: u64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Pts(total.checked_mul(1_000_000_000)?.checked_add(nanos)?))
}

/// What the clock of the channel showed when stream time began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody knows: times count from the start of the recording.
    #[default]
    Unknown,
    /// A timecode, as on a tape or in a programme file.
    Timecode(Timecode),
    /// Date and time.
    Wall(WallTime),
}

impl Origin {
    /// Date and time of the start, where it is known.
    pub(super) const fn wall(self) -> Option<WallTime> {
        match self {
            Self::Wall(wall) => Some(wall),
            _ => None,
        }
    }
}

/// A SMPTE timecode, `HH:MM:SS:FF`; with `;` before the frames it drops frames
/// (SMPTE ST 12-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timecode {
    seconds: u64,
    frames: u64,
    drop: bool,
}

impl FromStr for Timecode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault =
            || format!("{text:?} is no timecode; write it as HH:MM:SS:FF, e.g. 10:00:00:00");
        let drop = text.contains(';');
        let fields: Vec<u64> = text
            .split([':', ';'])
            .map(|f| f.parse().ok().filter(|n| f.len() == 2 && *n < 100))
            .collect::<Option<_>>()
            .ok_or_else(fault)?;
        match fields[..] {
            [h, m, s, frames] if m < 60 && s < 60 => {
                Ok(Self { seconds: h * 3600 + m * 60 + s, frames, drop })
            }
            _ => Err(fault()),
        }
    }
}

impl Timecode {
    /// Frames that a minute's first second skips at this rate, and frames a
    /// second counts.
    fn counting(self, rate: f64) -> (u64, u64) {
        let base = (rate.round() as u64).max(1);
        // Frames are dropped at 29.97 and its multiples only.
        let drops = self.drop && base.is_multiple_of(30) && (rate - base as f64).abs() > 0.01;
        (if drops { base / 15 } else { 0 }, base)
    }

    /// Number of the frame with this timecode.
    fn frame(self, rate: f64) -> u64 {
        let (dropped, base) = self.counting(rate);
        let minutes = self.seconds / 60;
        self.seconds * base + self.frames - dropped * (minutes - minutes / 10)
    }

    /// The timecode of the frame that is shown `after` this one; hours go beyond 24.
    pub(super) fn after(self, after: Pts, rate: f64) -> String {
        let (dropped, base) = self.counting(rate);
        let mut n = self.frame(rate) + frames(after, rate);
        if dropped > 0 {
            let (minute, ten) = (60 * base - dropped, 600 * base - 9 * dropped);
            let (tens, rest) = (n / ten, n % ten);
            n += 9 * dropped * tens + dropped * (rest.saturating_sub(dropped) / minute);
        }
        let (s, f) = (n / base, n % base);
        let mark = if dropped > 0 { ';' } else { ':' };
        format!("{:02}:{:02}:{:02}{mark}{f:02}", s / 3600, s / 60 % 60, s % 60)
    }

    /// Seconds at `rate` from timecode zero.
    pub(super) fn frame_number(self, rate: f64) -> u64 {
        self.frame(rate)
    }
}

/// Number of the frame that starts nearest to `at`.
pub(super) fn frames(at: Pts, rate: f64) -> u64 {
    (at.as_secs_f64() * rate).round() as u64
}

/// A moment with the offset of the place it was read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime {
    at: Timestamp,
    offset: Offset,
}

impl FromStr for WallTime {
    type Err = String;

    /// `2026-11-24T20:00:00+01:00` or `...Z` (RFC 3339).
    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || {
            format!("{text:?} is no time with its offset; write it as 2026-11-24T20:00:00+01:00")
        };
        let pieces = Pieces::parse(text).map_err(|_| fault())?;
        let time = pieces.time().ok_or_else(fault)?;
        let offset = match pieces.offset().ok_or_else(fault)? {
            PiecesOffset::Numeric(n) => n.offset(),
            _ => Offset::UTC,
        };
        let at = offset.to_timestamp(pieces.date().to_datetime(time)).map_err(|_| fault())?;
        Ok(Self { at, offset })
    }
}

impl WallTime {
    /// The beginning of Unix time, for formats that insist on a date.
    pub(super) const EPOCH: Self = Self { at: Timestamp::UNIX_EPOCH, offset: Offset::UTC };

    /// So many milliseconds after the beginning of 1970, in UTC; none for a
    /// moment that no calendar has.
    pub fn from_unix_ms(ms: u64) -> Option<Self> {
        let at = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
        Some(Self { at, offset: Offset::UTC })
    }

    /// The moment so much later.
    pub(super) fn after(self, after: Pts) -> Self {
        let ms = i64::try_from(millis(after)).unwrap_or(i64::MAX);
        let at = self.at.checked_add(SignedDuration::from_millis(ms)).unwrap_or(self.at);
        Self { at, ..self }
    }

    fn civil(self) -> DateTime {
        self.offset.to_datetime(self.at)
    }

    /// The broadcast day this moment belongs to, when days begin at
    /// `day_start_s`.
    pub(super) fn broadcast_day(self, day_start_s: u32) -> Date {
        let start = SignedDuration::from_secs(i64::from(day_start_s));
        let shifted = self.civil().checked_sub(start);
        shifted.unwrap_or(self.civil()).date()
    }

    /// Milliseconds from midnight of `day` on the clock of the place.
    pub(super) fn millis_of(self, day: Date) -> u64 {
        let since = self.civil().duration_since(day.to_datetime(jiff::civil::Time::midnight()));
        u64::try_from(since.as_millis()).unwrap_or(0)
    }
}

impl fmt::Display for WallTime {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: f64) -> Pts {
        Pts::from_secs_f64(seconds)
    }

    #[test]
    fn times_are_read_to_the_nanosecond() {
        for (text, ns) in [
            ("0", Some(0)),
            ("12.5", Some(12_500_000_000)),
            ("0.1", Some(100_000_000)),
            ("1:02.5", Some(62_500_000_000)),
            ("25:00:00.000000001", Some(90_000_000_000_001)),
            ("1.", Some(1_000_000_000)),
            ("", None),
            (".5", None),
            ("1:", None),
            ("1:2:3:4", None),
            ("-1", None),
            ("1e3", None),
            ("nan", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse(text), ns.map(Pts), "{text}");
        }
    }

    #[test]
    fn timecodes_count_frames_and_drop_some() {
        let after = |text: &str, at: f64, rate: f64| -> String {
            text.parse::<Timecode>().unwrap().after(s(at), rate)
        };
        let ntsc = 30_000.0 / 1001.0;
        assert_eq!(after("10:00:00:00", 61.04, 25.0), "10:01:01:01");
        assert_eq!(after("23:59:59:24", 0.04, 25.0), "24:00:00:00");
        // The first minute ends after 1800 frames and skips two numbers.
        assert_eq!(after("00:00:00;00", 1799.0 / ntsc, ntsc), "00:00:59;29");
        assert_eq!(after("00:00:00;00", 1800.0 / ntsc, ntsc), "00:01:00;02");
        // The tenth minute skips none: a clock hour is an hour.
        assert_eq!(after("00:00:00;00", 17_982.0 / ntsc, ntsc), "00:10:00;00");
        assert_eq!(after("01:00:00;00", 3600.0, ntsc), "02:00:00;00");
        assert_eq!(after("00:00:00:00", 3600.0, ntsc), "00:59:56:12");
        for bad in ["", "10:00:00", "10:60:00:00", "a:b:c:d", "1:2:3:4", "10:00:00.00"] {
            assert!(bad.parse::<Timecode>().unwrap_err().contains("HH:MM:SS:FF"), "{bad}");
        }
    }

    #[test]
    fn wall_times_keep_their_place() {
        let start: WallTime = "2026-11-24T23:50:00+01:00".parse().unwrap();
        let later = start.after(s(4200.25));
        assert_eq!(later.to_string(), "2026-11-25T00:00:00.250Z");
        let day = later.broadcast_day(6 * 3600);
        assert_eq!(day.to_string(), "2026-11-24");
        assert_eq!(clock(later.millis_of(day)), "25:00:00.250");
        assert_eq!(later.broadcast_day(3600).to_string(), "2026-11-25");
        assert!("2026-11-24T20:00:00Z".parse::<WallTime>().is_ok());
        for bad in ["", "2026-11-24", "2026-11-24T20:00:00", "20:00", "2026-13-24T20:00:00Z"] {
            assert!(bad.parse::<WallTime>().unwrap_err().contains("+01:00"), "{bad}");
        }
    }
}
