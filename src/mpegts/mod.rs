//! Reads the timestamps of PES packets straight from an MPEG transport stream.
//!
//! Used by the source beside `tsdemux`: GStreamer 1.22 interpolates between
//! clock references and invents wrong times where these are sparse or missing,
//! so the source looks up what the stream itself says ([`PesTimes::find`]) and
//! puts that back on the demultiplexer's buffers.
//!
//! Standard: ISO/IEC 13818-1 (ITU-T H.222.0), sections 2.4.3.2 to 2.4.3.7.
//! Understood are packets of 188 bytes, of 192 (M2TS, four bytes ahead of each)
//! and of 204 (Reed-Solomon bytes after each), with junk between them.
//!
//! The reader runs a bounded stretch ahead of the demultiplexer and keeps one
//! short record per PES packet, so memory stays bounded for files of any length.

mod section;
mod splice;

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read};

pub use splice::Splice;

pub use section::{crc32, ticks_of};

/// Bytes of payload that identify a PES packet.
const PREFIX: usize = 32;
/// A shorter buffer must be all of a PES packet's payload to match.
const FRAGMENT: usize = 8;
/// Bytes per read.
const BLOCK: usize = 64 * 1024;
/// How far beyond the latest match of any PID a search reads.
const AHEAD: u64 = 16 << 20;
/// Added to `AHEAD` with every failed search in a row: what is looked for may
/// lie behind a stretch which the demultiplexer dropped.
const SLACK: u64 = 256 << 10;
/// Records older than this many bytes are dropped...
const KEEP: u64 = 32 << 20;
/// ...except the newest of each PID: subtitles can be minutes apart.
const KEEP_RECORDS: usize = 64;

const SYNC: u8 = 0x47;
const PACKET: usize = 188;
/// Distances between two sync bytes.
const STRIDES: [usize; 3] = [188, 192, 204];
/// Sync bytes that must follow at that distance.
const CHECKS: usize = 4;
/// All bytes that a check may look at, counted from the first sync byte.
const REACH: usize = CHECKS * 204 + 4;
const NULL_PID: u16 = 0x1fff;
/// Stream ids whose PES packets have no optional header (table 2-21).
const BARE: [u8; 8] = [0xbc, 0xbe, 0xbf, 0xf0, 0xf1, 0xf2, 0xf8, 0xff];
/// One turn of the 33-bit clock.
const TURN: i64 = 1 << 33;

/// Times of one PES packet, in 90 kHz ticks as written in the stream (33 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PesTime {
    /// Presentation time.
    pub pts: Option<u64>,
    /// Decoding time; absent where it equals the presentation time.
    pub dts: Option<u64>,
}

/// The time nearest to `near` that a 33-bit tick count can stand for.
pub fn unwrap(ticks: u64, near: i64) -> i64 {
    // The clock's turn divides 2^64, so wrapping does no harm.
    let ahead = ticks.cast_signed().wrapping_sub(near).rem_euclid(TURN);
    near.wrapping_add(if ahead < TURN / 2 { ahead } else { ahead - TURN })
}

/// The timestamps of all PES packets of a transport stream, in file order.
#[derive(Debug)]
pub struct PesTimes<R: Read> {
    reader: R,
    /// Bytes read but not parsed yet, with the file position of the first.
    block: Vec<u8>,
    at: u64,
    ended: bool,
    /// Distance between sync bytes, while in sync.
    stride: Option<usize>,
    streams: HashMap<u16, Stream>,
    /// File position of the furthest match of any PID.
    reached: u64,
    /// Extra look-ahead after failed searches.
    slack: u64,
    splices: splice::Splices,
}

impl<R: Read> PesTimes<R> {
    /// Reads from the start of `reader`; nothing is read before the first question.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            block: Vec::new(),
            at: 0,
            ended: false,
            stride: None,
            streams: HashMap::new(),
            reached: 0,
            slack: 0,
            splices: splice::Splices::default(),
        }
    }

    /// Times of the next PES packet of `pid` whose payload starts with `start`,
    /// the first bytes (32 are enough) of a demultiplexer's buffer.
    ///
    /// The search goes forward from the last match of that PID; packets in
    /// between, which the demultiplexer dropped, are forgotten. `None` if there
    /// is no such packet within a bounded look-ahead: nothing is forgotten then.
    /// Fewer than eight bytes match only a payload that is not longer.
    pub fn find(&mut self, pid: u16, start: &[u8]) -> Option<PesTime> {
        let start = start.get(..PREFIX).unwrap_or(start);
        if start.is_empty() {
            return None;
        }
        let limit = self.reached.saturating_add(AHEAD).saturating_add(self.slack);
        let mut settle = false;
        loop {
            let found = self.streams.get_mut(&pid).and_then(|s| s.take(start, settle));
            if let Some(found) = found {
                self.reached = self.reached.max(found.at);
                self.slack = 0;
                return Some(found.time);
            }
            if settle {
                self.slack = self.slack.saturating_add(SLACK);
                return None;
            }
            settle = self.position() >= limit || !self.advance();
        }
    }

    /// Presentation time of the first PES packet of `pid` that has one.
    ///
    /// Looks at the first `limit` bytes of the file (16 MiB at most) and at
    /// what was read already; takes nothing away from [`Self::find`].
    pub fn first(&mut self, pid: u16, limit: usize) -> Option<u64> {
        let limit = u64::try_from(limit).unwrap_or(AHEAD).min(AHEAD);
        loop {
            let first = self.streams.get(&pid).and_then(|s| s.first);
            if first.is_some() || self.position() >= limit || !self.advance() {
                return first;
            }
        }
    }

    /// The splices announced in what was read since this was last asked, for
    /// the programme that the stream `of` belongs to.
    pub fn splices(&mut self, of: u16) -> Vec<Splice> {
        let mut found = self.splices.take();
        found.retain(|splice| self.splices.are_of(splice.pid, of));
        found
    }

    /// File position of the furthest packet that was found.
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// How far the file has been read.
    fn position(&self) -> u64 {
        self.at.saturating_add(u64::try_from(self.block.len()).unwrap_or(u64::MAX))
    }

    /// Reads and parses one more block; false at the end of the file.
    fn advance(&mut self) -> bool {
        if self.ended {
            return false;
        }
        self.fill();
        self.parse();
        let oldest = self.at.saturating_sub(KEEP);
        for stream in self.streams.values_mut() {
            if self.ended {
                stream.close();
            }
            stream.forget(oldest);
        }
        true
    }

    fn fill(&mut self) {
        let have = self.block.len();
        self.block.resize(have + BLOCK, 0);
        let space = self.block.get_mut(have..).unwrap_or_default();
        let got = loop {
            match self.reader.read(space) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                got => break got.unwrap_or(0),
            }
        };
        self.block.truncate(have + got);
        self.ended = got == 0;
    }

    /// Parses all packets of the block; keeps the rest for the next one.
    fn parse(&mut self) {
        let block = std::mem::take(&mut self.block);
        let mut rest = block.as_slice();
        // Enough to look for the next packet inside of a truncated one.
        while !rest.is_empty() && (self.ended || rest.len() > PACKET + REACH) {
            let used = match self.stride {
                Some(stride) if rest.first() == Some(&SYNC) => self.packet(rest, stride),
                _ => {
                    let searched = if self.ended { rest.len() } else { rest.len() - REACH };
                    let found =
                        (0..searched).find_map(|i| Some((i, stride(rest.get(i..)?, self.ended)?)));
                    self.stride = found.map(|(_, stride)| stride);
                    found.map_or(searched, |(i, _)| i)
                }
            };
            let used = used.min(rest.len());
            self.at += used as u64;
            rest = rest.get(used..).unwrap_or_default();
        }
        self.block = rest.to_vec();
    }

    /// Parses the packet at the start of `data`; returns how many bytes it takes.
    fn packet(&mut self, data: &[u8], stride: usize) -> usize {
        let mut used = stride;
        let mut length = PACKET;
        if data.get(stride).is_some_and(|&byte| byte != SYNC) {
            // Cut short, or junk follows.
            let next = (1..PACKET)
                .find(|&i| data.get(i..).is_some_and(|d| self::stride(d, self.ended).is_some()));
            length = next.unwrap_or(PACKET);
            used = length;
            self.stride = None;
        }
        self.payload(data.get(..length).unwrap_or(data));
        used
    }

    /// Hands the payload of a packet to its stream (section 2.4.3.3).
    fn payload(&mut self, packet: &[u8]) {
        let [_, flags, low, control, rest @ ..] = packet else { return };
        // Transport error, scrambled, no payload.
        if flags & 0x80 != 0 || control & 0xc0 != 0 || control & 0x10 == 0 {
            return;
        }
        let payload = match rest {
            [adaptation, rest @ ..] if control & 0x20 != 0 => {
                rest.get(usize::from(*adaptation)..).unwrap_or_default()
            }
            _ => rest,
        };
        let pid = u16::from_be_bytes([flags & 0x1f, *low]);
        let starts = flags & 0x40 != 0;
        if pid == NULL_PID {
            return;
        }
        self.splices.packet(pid, starts, payload);
        if starts && pes_code(payload) {
            self.streams.entry(pid).or_default().start(self.at, control & 15, payload);
        } else if let Some(stream) = self.streams.get_mut(&pid) {
            if starts { stream.close() } else { stream.resume(control & 15, payload) }
        }
    }
}

/// Whether the bytes are, or may yet become, the start of a PES packet.
fn pes_code(data: &[u8]) -> bool {
    data.iter().zip([0, 0, 1]).all(|(&byte, code)| byte == code)
}

/// The distance between sync bytes if one begins `data` and others confirm it.
fn stride(data: &[u8], ended: bool) -> Option<usize> {
    STRIDES.into_iter().find(|&stride| {
        // The four bytes ahead of an M2TS packet may look like sync bytes too.
        let early = stride == 192 && data.get(4..).is_some_and(|d| in_sync(d, stride, ended));
        in_sync(data, stride, ended) && !early
    })
}

/// Whether `data` begins with sync bytes at this distance.
fn in_sync(data: &[u8], stride: usize, ended: bool) -> bool {
    let seen = data.iter().step_by(stride).take(CHECKS + 1);
    // The last packets of a file have fewer after them.
    let enough = match seen.len() {
        0 => false,
        1 => ended && (data.len() == PACKET || data.len() == 204),
        n => ended || n > CHECKS,
    };
    enough && seen.copied().all(|byte| byte == SYNC)
}

/// How much of a PES packet arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Whole,
    /// Transport packets are missing or came twice: the demultiplexer may have dropped it.
    Broken,
}

/// The record of one PES packet.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// File position of its first transport packet.
    at: u64,
    time: PesTime,
    prefix: [u8; PREFIX],
    /// Used length of `prefix`.
    known: u8,
    state: State,
}

impl Record {
    /// Whether its payload agrees with the start of a buffer.
    fn matches(&self, start: &[u8]) -> bool {
        let known = usize::from(self.known).min(start.len());
        // What is left of a PES packet longer than its header says comes as a
        // buffer of its own, often of a few zeros: that is no start of a frame.
        let enough = known >= FRAGMENT || known == usize::from(self.known);
        known > 0 && enough && self.prefix.get(..known) == start.get(..known)
    }
}

/// One PID's records, oldest first, and the PES packet being read.
#[derive(Debug, Default)]
struct Stream {
    records: VecDeque<Record>,
    first: Option<u64>,
    counter: u8,
    current: Option<Current>,
    /// First bytes of the current PES packet, until its record is made.
    head: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    at: u64,
    /// Bytes that arrived.
    size: usize,
    /// Bytes to come in all, if the header said so.
    length: Option<usize>,
    recorded: bool,
    /// Some transport packets came twice.
    repeats: bool,
}

impl Stream {
    /// A new PES packet begins. A copy of a transport packet with the same
    /// counter begins one too, as it does for `tsdemux`.
    fn start(&mut self, at: u64, counter: u8, payload: &[u8]) {
        self.close();
        self.counter = counter;
        self.current = Some(Current { at, size: 0, length: None, recorded: false, repeats: false });
        self.add(payload);
    }

    /// The current PES packet goes on, unless the counter tells of a loss.
    fn resume(&mut self, counter: u8, payload: &[u8]) {
        let expected = (self.counter + 1) & 15;
        let repeated = counter == self.counter;
        self.counter = counter;
        if counter == expected {
            self.add(payload);
        } else if !repeated {
            self.end(State::Broken);
        } else if let Some(current) = &mut self.current {
            current.repeats = true;
        }
    }

    fn add(&mut self, payload: &[u8]) {
        let Some(current) = &mut self.current else { return };
        current.size = current.size.saturating_add(payload.len());
        if !current.recorded {
            self.head.extend_from_slice(payload);
            match Head::parse(&self.head) {
                Head::Whole { length, record } => self.record(record, length),
                Head::Part { .. } => {}
                Head::Bad => self.end(State::Broken),
            }
        }
        if self.current.is_some_and(|c| c.length == Some(c.size)) {
            self.close();
        }
    }

    /// Nothing more of the current PES packet will come.
    fn close(&mut self) {
        let Some(current) = self.current else { return };
        if !current.recorded
            && let Head::Part { record: Some(record) } = Head::parse(&self.head)
        {
            self.record(record, None);
        }
        // Copies within make `tsdemux` drop the whole packet.
        self.end(if current.repeats { State::Broken } else { State::Whole });
    }

    fn record(&mut self, mut record: Record, length: Option<usize>) {
        if let Some(current) = &mut self.current {
            current.recorded = true;
            current.length = length;
            record.at = current.at;
            self.first = self.first.or(record.time.pts.or(record.time.dts));
            self.records.push_back(record);
        }
        self.head.clear();
    }

    fn end(&mut self, state: State) {
        self.head.clear();
        if let Some(current) = self.current.take()
            && let Some(last) = self.records.back_mut().filter(|r| r.at == current.at)
        {
            last.state = state;
        }
    }

    /// Takes the first record that matches, and drops those before it. With
    /// `settle` there is no more to come that could make another one fit better.
    fn take(&mut self, start: &[u8], settle: bool) -> Option<Record> {
        let mut found = None;
        let mut sure = settle;
        for (i, record) in self.records.iter().enumerate() {
            match (record.matches(start), record.state) {
                // The demultiplexer hands out packets when they are complete.
                (true, State::Whole) => (found, sure) = (Some(i), true),
                // One that was dropped may look like its successor.
                (true, State::Broken) => {
                    found = found.or(Some(i));
                    continue;
                }
                (true, State::Open) => found = found.or(Some(i)),
                (false, _) if found.is_none() => continue,
                (false, _) => sure = true,
            }
            break;
        }
        let found = found.filter(|_| sure)?;
        self.records.drain(..=found).next_back()
    }

    /// Drops records from before a file position, except the newest ones.
    fn forget(&mut self, oldest: u64) {
        while self.records.len() > KEEP_RECORDS
            && self.records.front().is_some_and(|r| r.at < oldest)
        {
            self.records.pop_front();
        }
    }
}

/// What the first bytes of a PES packet say (section 2.4.3.6).
enum Head {
    /// Header and prefix are there. `length` counts from the start code.
    Whole {
        record: Record,
        length: Option<usize>,
    },
    /// More bytes would help; the record is what there is.
    Part {
        record: Option<Record>,
    },
    Bad,
}

impl Head {
    fn parse(data: &[u8]) -> Self {
        let [0, 0, 1, id, high, low, rest @ ..] = data else {
            return if data.len() < 6 && pes_code(data) {
                Self::Part { record: None }
            } else {
                Self::Bad
            };
        };
        let mut time = PesTime::default();
        let mut header = 0;
        if !BARE.contains(id) {
            let [mark, flags, size, fields @ ..] = rest else { return Self::Part { record: None } };
            if mark & 0xc0 != 0x80 {
                return Self::Bad;
            }
            let Some(fields) = fields.get(..usize::from(*size)) else {
                return Self::Part { record: None };
            };
            if flags & 0x80 != 0 {
                time.pts = fields.get(..5).and_then(ticks);
            }
            if flags & 0xc0 == 0xc0 {
                time.dts = fields.get(5..10).and_then(ticks);
            }
            header = 3 + fields.len();
        }
        let body = rest.get(header..).unwrap_or_default();
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // Zero: unbounded. Smaller than the header: not to be believed.
        let length = Some(length).filter(|&l| l > header);
        let whole = body.len() >= PREFIX || length.is_some_and(|l| rest.len() >= l);
        let mut prefix = [0; PREFIX];
        let mut known = 0;
        for (to, from) in prefix.iter_mut().zip(body) {
            *to = *from;
            known += 1;
        }
        let record = Record { at: 0, time, prefix, known, state: State::Open };
        if whole {
            Self::Whole { record, length: length.map(|l| l + 6) }
        } else {
            Self::Part { record: Some(record) }
        }
    }
}

/// The 33 bits of a time stamp, spread over five bytes with three marker bits.
pub(crate) fn ticks(field: &[u8]) -> Option<u64> {
    let [a, b, c, d, e] = *field else { return None };
    if a & c & e & 1 == 0 {
        return None;
    }
    let high = u64::from(a >> 1 & 7) << 30;
    let middle = u64::from(b) << 22 | u64::from(c >> 1) << 15;
    Some(high | middle | u64::from(d) << 7 | u64::from(e >> 1))
}

#[cfg(test)]
mod tests;
