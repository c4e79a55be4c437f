//! Finds the splice points that a transport stream announces (SCTE-35, ANSI/SCTE
//! 35). Fed with the payloads of transport packets by [`super::PesTimes`]; must
//! not know what a splice is good for.

use std::collections::HashMap;

use super::section::crc32;

/// Bytes a section has at most.
const LONGEST: usize = 4096;
/// Stream type of SCTE-35 in a programme's table.
const SCTE35: u8 = 0x86;
const PROGRAMMES: u16 = 0;
/// One turn of the 33-bit clock.
const TURN: u64 = 1 << 33;
/// Splices that are kept until they are asked for.
const KEEP: usize = 256;

/// A moment at which something is spliced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice {
    /// The elementary stream that announces it.
    pub pid: u16,
    /// 90 kHz ticks of 33 bits; none for "at once".
    pub pts: Option<u64>,
}

/// The tables of a stream, as far as they were seen.
#[derive(Debug, Default)]
pub(super) struct Splices {
    /// PIDs of programme tables, and of SCTE-35 with its programme's PIDs.
    tables: Vec<u16>,
    announcers: HashMap<u16, Vec<u16>>,
    /// Sections that have begun.
    open: HashMap<u16, Vec<u8>>,
    found: Vec<Splice>,
}

impl Splices {
    /// Takes the payload of a packet.
    pub(super) fn packet(&mut self, pid: u16, starts: bool, payload: &[u8]) {
        let known =
            pid == PROGRAMMES || self.tables.contains(&pid) || self.announcers.contains_key(&pid);
        if !known {
            return;
        }
        if !starts {
            if let Some(open) = self.open.get_mut(&pid) {
                open.extend_from_slice(payload);
                self.close(pid);
            }
            return;
        }
        // What belongs to the section before comes first.
        let Some((pointer, rest)) = payload.split_first() else { return };
        let (before, new) = rest.split_at(usize::from(*pointer).min(rest.len()));
        if let Some(open) = self.open.get_mut(&pid) {
            open.extend_from_slice(before);
            self.close(pid);
        }
        self.open.insert(pid, new.to_vec());
        self.close(pid);
    }

    /// The splices found since this was last asked for.
    pub(super) fn take(&mut self) -> Vec<Splice> {
        std::mem::take(&mut self.found)
    }

    /// Whether `pid` announces splices of the programme of `other`.
    pub(super) fn are_of(&self, pid: u16, other: u16) -> bool {
        self.announcers.get(&pid).is_some_and(|pids| pids.contains(&other))
    }

    /// Reads the whole sections at the start of what is open.
    fn close(&mut self, pid: u16) {
        let Some(mut data) = self.open.remove(&pid) else { return };
        while let [table, high, low, ..] = data[..] {
            // Stuffing fills the rest of a packet.
            if table == 0xff {
                return;
            }
            let length = 3 + usize::from(u16::from_be_bytes([high & 0x0f, low]));
            if data.len() < length {
                break;
            }
            let rest = data.split_off(length);
            if crc32(&data) == 0 {
                self.section(pid, &data);
            }
            data = rest;
        }
        if !data.is_empty() && data.len() <= LONGEST {
            self.open.insert(pid, data);
        }
    }

    fn section(&mut self, pid: u16, section: &[u8]) {
        match section.first() {
            Some(0x00) if pid == PROGRAMMES => {
                let body = section.get(8..section.len() - 4).unwrap_or_default();
                for [a, b, c, d] in body.as_chunks().0 {
                    let table = u16::from_be_bytes([c & 0x1f, *d]);
                    // Programme 0 is the network's own table.
                    if [*a, *b] != [0, 0] && !self.tables.contains(&table) {
                        self.tables.push(table);
                    }
                }
            }
            Some(0x02) => {
                let _ = self.programme(section);
            }
            Some(0xfc) if self.announcers.contains_key(&pid) && self.found.len() < KEEP => {
                let moments = moments(section).into_iter();
                self.found.extend(moments.map(|pts| Splice { pid, pts }));
            }
            _ => {}
        }
    }

    /// A programme's table: which of its streams announce splices.
    fn programme(&mut self, section: &[u8]) -> Option<()> {
        let length = |high: u8, low: u8| usize::from(u16::from_be_bytes([high & 0x0f, low]));
        let information = length(*section.get(10)?, *section.get(11)?);
        let mut rest = section.get(12 + information..section.len() - 4)?;
        let mut streams = Vec::new();
        while let [kind, a, b, c, d, more @ ..] = rest {
            streams.push((*kind, u16::from_be_bytes([a & 0x1f, *b])));
            rest = more.get(length(*c, *d)..).unwrap_or_default();
        }
        let pids: Vec<u16> = streams.iter().map(|(_, pid)| *pid).collect();
        for (_, pid) in streams.iter().filter(|(kind, _)| *kind == SCTE35) {
            self.announcers.insert(*pid, pids.clone());
        }
        Some(())
    }
}

/// The moments that a splice information section tells of (SCTE 35, 9.6).
fn moments(section: &[u8]) -> Vec<Option<u64>> {
    read(section).unwrap_or_default()
}

fn read(section: &[u8]) -> Option<Vec<Option<u64>>> {
    let &[flags, a, b, c, d] = section.get(4..9)? else { return None };
    if flags & 0x80 != 0 {
        // Encrypted.
        return None;
    }
    let adjustment = u64::from(flags & 1) << 32 | u64::from(u32::from_be_bytes([a, b, c, d]));
    let moved = |ticks: u64| (ticks + adjustment) % TURN;
    let command = section.get(14..section.len() - 4)?;
    match section.get(13)? {
        // splice_insert
        5 => {
            let &[cancel, flags, ..] = command.get(4..)? else { return None };
            if cancel & 0x80 != 0 {
                return None;
            }
            let (whole, lasts, now) = (flags & 0x40 != 0, flags & 0x20 != 0, flags & 0x10 != 0);
            if !whole {
                // Single components: rare, and of no use here.
                return None;
            }
            let rest = command.get(6..)?;
            let (start, used) = if now { (None, 0) } else { time(rest)? };
            let mut found = vec![start.map(moved)];
            if let (true, Some(start), Some(field)) = (lasts, start, rest.get(used..used + 5)) {
                // It returns by itself.
                if field[0] & 0x80 != 0 {
                    found.push(Some(moved(start + ticks(field)) % TURN));
                }
            }
            Some(found)
        }
        // time_signal
        6 => Some(vec![time(command)?.0.map(moved)]),
        _ => None,
    }
}

/// splice_time(): its ticks, if it says a time, and its length in bytes.
fn time(data: &[u8]) -> Option<(Option<u64>, usize)> {
    if data.first()? & 0x80 == 0 {
        return Some((None, 1));
    }
    Some((Some(ticks(data.get(..5)?)), 5))
}

/// The lower 33 bits of five bytes.
fn ticks(field: &[u8]) -> u64 {
    field.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) & (TURN - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section with its length and checksum.
    fn sealed(mut section: Vec<u8>) -> Vec<u8> {
        let length = section.len() + 4 - 3;
        section[1] = section[1] & 0xf0 | (length >> 8) as u8;
        section[2] = length as u8;
        section.extend(crc32(&section).to_be_bytes());
        section
    }

    fn with_pointer(section: Vec<u8>) -> Vec<u8> {
        [vec![0], section, vec![0xff; 8]].concat()
    }

    /// Programme 1 at PID 0x100: video 0x101, SCTE-35 0x102.
    fn tables() -> Splices {
        let mut splices = Splices::default();
        let pat = sealed(vec![0, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0, 1, 0xe1, 0x00]);
        let pmt = sealed(vec![
            2, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0xe1, 0x01, 0xf0, 0, // no information
            0x1b, 0xe1, 0x01, 0xf0, 0, SCTE35, 0xe1, 0x02, 0xf0, 0,
        ]);
        splices.packet(0, true, &with_pointer(pat));
        splices.packet(0x100, true, &with_pointer(pmt));
        splices
    }

    fn insert(adjustment: u32, command: &[u8]) -> Vec<u8> {
        let mut section = vec![0xfc, 0x30, 0, 0, 0];
        section.extend(adjustment.to_be_bytes());
        section.extend([0, 0xff, 0xf0 | (command.len() >> 8) as u8, command.len() as u8 - 1]);
        section.extend(command);
        section.extend([0, 0]);
        sealed(section)
    }

    #[test]
    fn a_splice_with_a_duration_tells_of_both_ends() {
        let mut splices = tables();
        // Event 7, out of network, whole programme, duration; at 900000 ticks for 2700000.
        let mut command = vec![5, 0, 0, 0, 7, 0x7f, 0xef];
        command.extend([0xfe, 0x00, 0x0d, 0xbb, 0xa0, 0xfe, 0x00, 0x29, 0x32, 0xe0, 0, 1, 0, 0]);
        splices.packet(0x102, true, &with_pointer(insert(90, &command)));
        let pid = 0x102;
        let wanted = [900_090, 3_600_090].map(|pts| Splice { pid, pts: Some(pts) });
        assert_eq!(splices.take(), wanted);
        assert!(splices.are_of(0x102, 0x101) && !splices.are_of(0x102, 0x201));
    }

    #[test]
    fn signals_come_in_pieces_and_broken_or_strange_ones_do_not_count() {
        let mut splices = tables();
        let section = insert(0, &[6, 0xfe, 0x00, 0x0d, 0xbb, 0xa0]);
        let (head, tail) = section.split_at(9);
        splices.packet(0x102, true, &[&[0], head].concat());
        splices.packet(0x102, false, tail);
        assert_eq!(splices.take(), [Splice { pid: 0x102, pts: Some(900_000) }]);
        let mut broken = section.clone();
        broken[16] ^= 1;
        splices.packet(0x102, true, &with_pointer(broken));
        splices.packet(0x300, true, &with_pointer(section));
        assert_eq!(splices.take(), []);
        // At once.
        let now = insert(0, &[5, 0, 0, 0, 7, 0x7f, 0xdf, 0, 1, 0, 0]);
        splices.packet(0x102, true, &with_pointer(now));
        assert_eq!(splices.take(), [Splice { pid: 0x102, pts: None }]);
        for junk in [&[][..], &[0], &[0, 0xfc], &[200, 1, 2, 3]] {
            splices.packet(0x102, true, junk);
        }
        assert_eq!(splices.take(), []);
    }
}
