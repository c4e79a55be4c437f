//! SCTE-35 (ANSI/SCTE 35): a `splice_insert` out of the programme at the start
//! of every break and one back at its end. Must not know a file, nor what clock
//! a stream's timestamps follow.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Timeline;
use super::time::{millis, seconds};
use crate::frame::Pts;
use crate::mpegts::{crc32, ticks_of};

/// Bits of MPEG's clock.
const CLOCK_MASK: u64 = (1 << 33) - 1;
/// `splice_insert()`, section 9.7.3.
const SPLICE_INSERT: u8 = 5;

/// A point where the stream leaves the programme or comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice {
    /// When.
    pub at: Pts,
    /// The same at both ends of a break.
    pub event_id: u32,
    /// True where a break begins.
    pub out: bool,
    /// Nanoseconds that the break lasts, where that is settled.
    pub duration: Option<u64>,
}

/// The ends of the breaks, in order. A break that may still grow has neither a
/// duration nor a way back yet.
pub fn splices(timeline: &Timeline<'_>) -> Vec<Splice> {
    let mut found = Vec::new();
    for b in timeline.breaks() {
        // By its start: breaks that come and go elsewhere leave it alone.
        let event_id = 1 + u32::try_from(millis(b.start) % u64::from(u32::MAX)).unwrap_or(0);
        let settled = !timeline.is_open(b.end);
        let duration = settled.then_some(b.end.0 - b.start.0);
        found.push(Splice { at: b.start, event_id, out: true, duration });
        if settled {
            found.push(Splice { at: b.end, event_id, out: false, duration: None });
        }
    }
    found
}

impl Splice {
    /// The `splice_info_section` whose clock shows `zero` (90 kHz) when stream
    /// time begins.
    pub fn section(&self, zero: u64) -> Vec<u8> {
        let command = self.command(zero);
        // Neither encrypted nor adjusted, any tier; section 9.6.
        let length = 17 + command.len();
        let mut section = vec![0xfc];
        section.extend(be16(0x3000 | length));
        section.extend([0, 0, 0, 0, 0, 0, 0]);
        let tier_and_length = 0x00ff_f000 | u32::try_from(command.len()).unwrap_or(0xfff);
        section.extend(tier_and_length.to_be_bytes().into_iter().skip(1));
        section.push(SPLICE_INSERT);
        section.extend(command);
        // No descriptors.
        section.extend([0, 0]);
        section.extend(crc32(&section).to_be_bytes());
        section
    }

    fn command(&self, zero: u64) -> Vec<u8> {
        let mut command = self.event_id.to_be_bytes().to_vec();
        // Not cancelled; reserved bits are ones.
        command.push(0x7f);
        // Out or back, the whole programme, at a time, reserved.
        let duration = if self.duration.is_some() { 0x20 } else { 0 };
        command.push(0x4f | duration | if self.out { 0x80 } else { 0 });
        let time = zero.wrapping_add(ticks_of(self.at.0)) & CLOCK_MASK;
        command.extend(be40(0xfe << 32 | time));
        if let Some(ns) = self.duration {
            // No automatic return: the way back has a section of its own.
            command.extend(be40(0x7e << 32 | ticks_of(ns) & CLOCK_MASK));
        }
        // Programme 1 of the avails; no numbering.
        command.extend([0, 1, 0, 0]);
        command
    }
}

fn be16(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes()
}

/// The lower 40 bits.
fn be40(value: u64) -> impl Iterator<Item = u8> {
    value.to_be_bytes().into_iter().skip(3)
}

/// Sections for a clock that begins with the stream, as text.
pub(super) fn hex(splice: &Splice) -> String {
    let digits: String = splice.section(0).iter().map(|b| format!("{b:02X}")).collect();
    format!("0x{digits}")
}

pub(super) fn write(timeline: &Timeline<'_>) -> String {
    let mut text = "time_s,event_id,command,duration_s,section\n".to_owned();
    for splice in splices(timeline) {
        text.push_str(&format!(
            "{},{},{},{},{}\n",
            seconds(millis(splice.at)),
            splice.event_id,
            if splice.out { "out" } else { "in" },
            splice.duration.map_or_else(String::new, |ns| seconds(millis(Pts(ns)))),
            STANDARD.encode(splice.section(0)),
        ));
    }
    text
}
