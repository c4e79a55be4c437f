//! SCTE-35 in transport streams (ISO/IEC 13818-1, ANSI/SCTE 35): a stream of its
//! own in the programme map, and a section some seconds ahead of every splice.
//! All packets that were there stay as they are, but the programme map. Must
//! not know a file.

use std::io::{self, Read, Write};

use super::Error;
use crate::frame::Pts;
use crate::mpegts::{crc32, ticks, ticks_of, unwrap};
use crate::timeline::formats::Splice;

const PACKET: usize = 188;
const SYNC: u8 = 0x47;
/// Stream type of SCTE-35 sections.
const SPLICES: u8 = 0x86;
/// Stream types of video: MPEG-1, MPEG-2, MPEG-4, H.264 and H.265.
const VIDEO: [u8; 5] = [0x01, 0x02, 0x10, 0x1b, 0x24];
/// Says that the programme carries SCTE-35 (section 8.1).
const REGISTRATION: [u8; 6] = [5, 4, b'C', b'U', b'E', b'I'];
/// PIDs looked at, in this order, for a free one.
const FREE: std::ops::Range<u16> = 0x1f0..0x1ff0;
/// Ticks of notice that a splicer is given; SCTE 67 asks for four seconds.
const NOTICE: u64 = 4 * 90_000;
/// One turn of the clock.
const TURN: u64 = 1 << 33;

/// Copies a transport stream of one programme and inserts sections for
/// `splices`, which must be in order. `first` is the stream time of its first
/// picture.
///
/// # Errors
/// When the stream is not one of 188-byte packets, its map has no room, or
/// something cannot be read or written.
pub fn insert(
    mut from: impl Read,
    mut to: impl Write,
    splices: &[Splice],
    first: Pts,
) -> Result<(), Error> {
    let mut stream = Stream {
        first,
        splices,
        map: None,
        video: None,
        cue: None,
        zero: None,
        last: 0,
        counter: 0,
    };
    let mut packet = [0; PACKET];
    loop {
        match fill(&mut from, &mut packet)? {
            0 => break,
            PACKET if packet[0] == SYNC => {}
            _ => return Err(Error::Structure("packets are not in step")),
        }
        stream.look(&mut packet)?;
        for cue in stream.due() {
            to.write_all(&cue)?;
        }
        to.write_all(&packet)?;
    }
    if stream.zero.is_none() && !splices.is_empty() {
        return Err(Error::Structure("programme map or video was not found"));
    }
    to.flush()?;
    Ok(())
}

/// Reads as much as there is.
fn fill(from: &mut impl Read, packet: &mut [u8; PACKET]) -> io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = packet.get_mut(have..).filter(|r| !r.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

/// What has been learnt of a stream so far.
struct Stream<'a> {
    first: Pts,
    /// Those that are still to be sent.
    splices: &'a [Splice],
    /// PID of the programme map.
    map: Option<u16>,
    video: Option<u16>,
    /// PID of the sections.
    cue: Option<u16>,
    /// What the clock shows when stream time begins.
    zero: Option<u64>,
    /// Stream time of the latest picture, in ticks.
    last: i64,
    counter: u8,
}

impl Stream<'_> {
    /// Learns from a packet, and notes the new stream in the programme map.
    fn look(&mut self, packet: &mut [u8; PACKET]) -> Result<(), Error> {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let starts = packet[1] & 0x40 != 0;
        let skipped = match packet[3] & 0x30 {
            0x10 => 0,
            0x30 => usize::from(packet[4]) + 1,
            _ => return Ok(()),
        };
        if !starts {
            return Ok(());
        }
        let Some(payload) = packet.get_mut(4 + skipped..) else { return Ok(()) };
        if pid == 0 {
            self.map = program_map(payload).or(self.map);
        } else if Some(pid) == self.map {
            self.note(payload)?;
        } else if Some(pid) == self.video
            && let Some(time) = presentation_time(payload)
        {
            self.see(time);
        }
        Ok(())
    }

    /// A picture begins.
    fn see(&mut self, time: u64) {
        let first = ticks_of(self.first.0);
        let zero = *self.zero.get_or_insert(time.wrapping_sub(first) % TURN);
        self.last = unwrap(time.wrapping_sub(zero) % TURN, self.last.max(0));
    }

    /// The packets that must come before the next one of the stream.
    fn due(&mut self) -> Vec<[u8; PACKET]> {
        let (Some(cue), Some(zero)) = (self.cue, self.zero) else { return Vec::new() };
        let reached = u64::try_from(self.last).unwrap_or(0);
        let is_due = |s: &&Splice| ticks_of(s.at.0) <= reached + NOTICE;
        let n = self.splices.iter().take_while(is_due).count();
        let (now, later) = self.splices.split_at(n);
        self.splices = later;
        now.iter()
            .map(|splice| {
                let mut packet = [0xff; PACKET];
                let [high, low] = (cue | 0x4000).to_be_bytes();
                let section = splice.section(zero);
                let head = [SYNC, high, low, 0x10 | self.counter, 0];
                self.counter = (self.counter + 1) & 15;
                for (place, byte) in packet.iter_mut().zip(head.into_iter().chain(section)) {
                    *place = byte;
                }
                packet
            })
            .collect()
    }

    /// Reads the programme map and adds the stream of sections to it
    /// (13818-1, 2.4.4.8).
    fn note(&mut self, payload: &mut [u8]) -> Result<(), Error> {
        let broken = || Error::Structure("programme map cannot be followed");
        let pointer = usize::from(*payload.first().ok_or_else(broken)?);
        let room = payload.get_mut(1 + pointer..).ok_or_else(broken)?;
        let length = section_length(room).filter(|n| *n <= room.len());
        let length = length.ok_or(Error::NoRoom("SCTE-35 in the programme map"))?;
        let section = room.get(..length).ok_or_else(broken)?;
        if section.first() != Some(&2) || length < 16 {
            return Err(broken());
        }
        let (fixed, rest) = section.split_at(12);
        let info = usize::from(u16::from_be_bytes([fixed[10] & 0x0f, fixed[11]]));
        let rest = rest.get(..rest.len() - 4).ok_or_else(broken)?;
        let (about, streams) = rest.split_at_checked(info).ok_or_else(broken)?;
        let found = elementary(streams).ok_or_else(broken)?;
        let is_video = |s: &&(u8, u16)| VIDEO.contains(&s.0);
        self.video = found.iter().find(is_video).map(|s| s.1);
        let taken = |pid: &u16| Some(*pid) == self.map || found.iter().any(|s| s.1 == *pid);
        let cue = match self.cue {
            Some(cue) => cue,
            None => FREE.clone().find(|pid| !taken(pid)).ok_or_else(broken)?,
        };
        self.cue = Some(cue);

        let mut new = fixed.to_vec();
        let info = u16::try_from(info + REGISTRATION.len()).unwrap_or(0xfff);
        new[10..12].copy_from_slice(&(0xf000 | info).to_be_bytes());
        new.extend(about);
        new.extend(REGISTRATION);
        new.extend(streams);
        let [high, low] = (0xe000 | cue).to_be_bytes();
        new.extend([SPLICES, high, low, 0xf0, 0]);
        let size = u16::try_from(new.len() + 4 - 3).unwrap_or(0xfff);
        new[1..3].copy_from_slice(&(0xb000 | size).to_be_bytes());
        new.extend(crc32(&new).to_be_bytes());
        let place = room.get_mut(..new.len());
        place.ok_or(Error::NoRoom("SCTE-35 in the programme map"))?.copy_from_slice(&new);
        Ok(())
    }
}

/// Bytes of a section, header and checksum included.
fn section_length(bytes: &[u8]) -> Option<usize> {
    let [_, high, low, ..] = bytes else { return None };
    Some(3 + usize::from(u16::from_be_bytes([high & 0x0f, *low])))
}

/// PID of the first programme's map (2.4.4.3).
fn program_map(payload: &[u8]) -> Option<u16> {
    let section = payload.get(1 + usize::from(*payload.first()?)..)?;
    let length = section_length(section)?;
    let programs = section.get(8..length.checked_sub(4)?)?;
    let mut maps = programs.as_chunks::<4>().0.iter().filter(|p| p[..2] != [0, 0]);
    maps.next().map(|p| u16::from_be_bytes([p[2] & 0x1f, p[3]]))
}

/// Stream type and PID of the streams of a programme map.
fn elementary(mut bytes: &[u8]) -> Option<Vec<(u8, u16)>> {
    let mut found = Vec::new();
    while let [kind, high, low, info, more, rest @ ..] = bytes {
        found.push((*kind, u16::from_be_bytes([high & 0x1f, *low])));
        bytes = rest.get(usize::from(u16::from_be_bytes([info & 0x0f, *more]))..)?;
    }
    bytes.is_empty().then_some(found)
}

/// Presentation time in the header of a video's PES packet (2.4.3.6).
fn presentation_time(payload: &[u8]) -> Option<u64> {
    let [0, 0, 1, 0xe0..=0xef, _, _, _, flags, _, times @ ..] = payload else { return None };
    (flags & 0x80 != 0).then(|| ticks(times.get(..5)?)).flatten()
}
