//! Streams made packet by packet, and what the reader makes of them.

use super::*;

const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;

/// Writes transport packets.
#[derive(Default)]
struct Ts {
    bytes: Vec<u8>,
    counters: HashMap<u16, u8>,
}

impl Ts {
    /// One packet with as much of `data` as `room` allows, stuffed in the
    /// adaptation field; returns how much that was.
    fn packet(&mut self, pid: u16, start: bool, data: &[u8], room: usize) -> usize {
        let counter = self.counters.entry(pid).or_default();
        let taken = data.len().min(room);
        let [high, low] = pid.to_be_bytes();
        self.bytes.extend([SYNC, high | u8::from(start) << 6, low]);
        let stuffing = 184 - taken;
        self.bytes.push(*counter | if stuffing > 0 { 0x30 } else { 0x10 });
        *counter = (*counter + 1) & 15;
        if stuffing > 0 {
            let mut field = vec![0xff; stuffing];
            field[0] = u8::try_from(stuffing - 1).unwrap();
            if stuffing > 1 {
                field[1] = 0;
            }
            self.bytes.extend(field);
        }
        self.bytes.extend(&data[..taken]);
        taken
    }

    /// A PES packet, `room` bytes of it in its first transport packet.
    fn pes_split(&mut self, pid: u16, pes: &[u8], room: usize) {
        let mut at = self.packet(pid, true, pes, room);
        while at < pes.len() {
            at += self.packet(pid, false, &pes[at..], 184);
        }
    }

    fn pes(&mut self, pid: u16, time: PesTime, payload: &[u8]) {
        self.pes_split(pid, &pes(time, payload), 184);
    }
}

fn field(mark: u8, t: u64) -> [u8; 5] {
    let byte = |shift: u32, mask: u64| u8::try_from(t >> shift & mask).unwrap();
    [
        mark << 4 | byte(30, 7) << 1 | 1,
        byte(22, 255),
        byte(15, 127) << 1 | 1,
        byte(7, 255),
        byte(0, 127) << 1 | 1,
    ]
}

fn pes(time: PesTime, payload: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut flags = 0;
    if let Some(pts) = time.pts {
        flags = 0x80;
        fields.extend(field(2, pts));
    }
    if let Some(dts) = time.dts {
        flags = 0xc0;
        fields.extend(field(1, dts));
    }
    fields.extend([0xff; 3]);
    let mut out = vec![0, 0, 1, 0xe0, 0, 0, 0x80, flags, u8::try_from(fields.len()).unwrap()];
    out.extend(fields);
    out.extend(payload);
    out
}

fn pts(pts: u64) -> PesTime {
    PesTime { pts: Some(pts), dts: None }
}

/// A payload that tells its number within the first bytes.
fn frame(n: u8) -> Vec<u8> {
    let mut data = vec![n; 500];
    data[..4].copy_from_slice(&[0, 0, 0, 1]);
    data
}

/// Twenty frames with times 0, 3600, ...
fn stream() -> Vec<u8> {
    let mut ts = Ts::default();
    for n in 0..20 {
        ts.pes(VIDEO, pts(u64::from(n) * 3600), &frame(n));
    }
    ts.bytes
}

/// Checks that all frames but `lost` are found.
fn check(bytes: &[u8], lost: &[u8]) {
    let mut times = PesTimes::new(bytes);
    for n in 0..20 {
        let want = Some(pts(u64::from(n) * 3600)).filter(|_| !lost.contains(&n));
        assert_eq!(times.find(VIDEO, &frame(n)), want, "frame {n}");
    }
    assert_eq!(times.find(VIDEO, &frame(0)), None);
}

#[test]
fn reads_both_times() {
    let all = PesTime { pts: Some((1 << 33) - 1), dts: Some(0x1_2345_6789) };
    let mut ts = Ts::default();
    ts.pes(VIDEO, all, &frame(1));
    ts.pes(VIDEO, PesTime::default(), &frame(2));
    // Padding streams have no header fields.
    ts.pes_split(AUDIO, &[0, 0, 1, 0xbe, 0, 3, 0x80, 0x80, 5], 184);
    let mut times = PesTimes::new(&ts.bytes[..]);
    assert_eq!(times.find(VIDEO, &frame(1)), Some(all));
    assert_eq!(times.find(VIDEO, &frame(2)), Some(PesTime::default()));
    assert_eq!(times.find(AUDIO, &[0x80, 0x80, 5]), Some(PesTime::default()));
}

#[test]
fn header_may_span_packets() {
    let whole = pes(PesTime { pts: Some(7200), dts: Some(3600) }, &frame(1));
    for room in 1..60 {
        let mut ts = Ts::default();
        ts.pes_split(VIDEO, &whole, room);
        ts.pes(VIDEO, pts(9000), &frame(2));
        let mut times = PesTimes::new(&ts.bytes[..]);
        assert_eq!(times.first(VIDEO, 1 << 20), Some(7200), "{room}");
        let found = times.find(VIDEO, &frame(1)).and_then(|t| t.dts);
        assert_eq!(found, Some(3600), "{room}");
        assert_eq!(times.find(VIDEO, &frame(2)), Some(pts(9000)), "{room}");
    }
}

#[test]
fn other_packet_sizes() {
    let plain = stream();
    let m2ts: Vec<u8> = plain.chunks(188).flat_map(|p| [&[0x47, 1, 2, 3], p].concat()).collect();
    check(&m2ts, &[]);
    let coded: Vec<u8> =
        plain.chunks(188).flat_map(|p| [p, &[0x47, 9, 9, 9].repeat(4)].concat()).collect();
    check(&coded, &[]);
    check(&plain, &[]);
    check(&plain[..188 * 3], &(1..20).collect::<Vec<_>>());
}

#[test]
fn junk_and_truncation() {
    let plain = stream();
    // Three packets to a frame. Starting inside of frame 0:
    check(&plain[100..], &[0]);
    check(&[b"junk G junk G".as_slice(), &plain].concat(), &[]);
    // Junk between, and the last packet of frame 4 cut short.
    let cut = 15 * 188;
    check(&[&plain[..cut], &[0x47; 1000], &plain[cut..]].concat(), &[]);
    check(&[&plain[..cut - 88], &plain[cut..]].concat(), &[]);
    // The first packet of frame 5 cut within its header.
    check(&[&plain[..cut + 12], &plain[cut + 188..]].concat(), &[5]);
    // A broken sync byte.
    let mut bad = plain.clone();
    bad[cut] = 0;
    check(&bad, &[5]);
    // All garbage, and pieces of packets: nothing to find, no panic.
    let mut seed = 1u32;
    let noise: Vec<u8> = (0..300_000)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if seed >> 30 == 0 { SYNC } else { seed.to_be_bytes()[0] }
        })
        .collect();
    assert_eq!(PesTimes::new(&noise[..]).find(VIDEO, &frame(1)), None);
    for length in 0..600 {
        PesTimes::new(&plain[..length]).find(VIDEO, &frame(1));
        let mut times = PesTimes::new(&noise[..length]);
        times.find(VIDEO, &frame(1));
        assert_eq!(times.first(VIDEO, 1 << 20), None);
    }
    // Headers of all kinds in intact packets.
    for piece in noise.chunks(40).take(500) {
        let mut ts = Ts::default();
        for length in 0..piece.len() {
            ts.pes_split(VIDEO, &[&[0, 0, 1], &piece[..length]].concat(), 7);
        }
        PesTimes::new(&ts.bytes[..]).find(VIDEO, &frame(1));
    }
}

#[test]
fn skips_what_the_demultiplexer_dropped() {
    let plain = stream();
    let mut times = PesTimes::new(&plain[..]);
    assert_eq!(times.find(VIDEO, &frame(3)), Some(pts(3 * 3600)));
    // Not found: nothing is lost.
    assert_eq!(times.find(VIDEO, &frame(99)), None);
    assert_eq!(times.find(AUDIO, &frame(4)), None);
    assert_eq!(times.find(VIDEO, &[]), None);
    assert_eq!(times.find(VIDEO, &frame(4)[..7]), None);
    assert_eq!(times.find(VIDEO, &frame(2)), None);
    assert_eq!(times.find(VIDEO, &frame(4)[..8]), Some(pts(4 * 3600)));
    assert_eq!(times.find(VIDEO, &frame(19)), Some(pts(19 * 3600)));
}

#[test]
fn fragments_take_no_record() {
    let plain = stream();
    let mut times = PesTimes::new(&plain[..]);
    assert_eq!(times.find(VIDEO, &frame(0)), Some(pts(0)));
    assert_eq!(times.find(VIDEO, &[0]), None);
    assert_eq!(times.find(VIDEO, &frame(1)), Some(pts(3600)));
}

#[test]
fn identical_starts_in_order() {
    let mut ts = Ts::default();
    for n in 0..10 {
        ts.pes(VIDEO, pts(n * 3600), &[5; 700]);
        ts.pes(AUDIO, pts(n * 1800), &[5; 20]);
    }
    let mut times = PesTimes::new(&ts.bytes[..]);
    for n in 0..10 {
        assert_eq!(times.find(VIDEO, &[5; 32]), Some(pts(n * 3600)));
    }
    // Asked for late: its records are still there.
    for n in 0..10 {
        assert_eq!(times.find(AUDIO, &[5; 20]), Some(pts(n * 1800)));
    }
}

#[test]
fn lost_packets_do_not_shift_identical_starts() {
    let mut ts = Ts::default();
    for n in 0..10 {
        ts.pes(VIDEO, pts(n * 3600), &[5; 700]);
    }
    // Four packets each: the third of frame 2 is lost, so is the frame.
    ts.bytes.drain(10 * 188..11 * 188);
    let mut times = PesTimes::new(&ts.bytes[..]);
    for n in [0, 1, 3, 4] {
        assert_eq!(times.find(VIDEO, &[5; 32]), Some(pts(n * 3600)));
    }
}

#[test]
fn repeated_packets_do_not_disturb() {
    let twice: Vec<u8> = stream().chunks(188).flat_map(|p| [p, p].concat()).collect();
    let mut times = PesTimes::new(&twice[..]);
    for n in 0..20 {
        // Both copies of the first packet begin a buffer.
        assert_eq!(times.find(VIDEO, &frame(n)), Some(pts(u64::from(n) * 3600)));
        assert_eq!(times.find(VIDEO, &frame(n)), Some(pts(u64::from(n) * 3600)));
    }
    assert_eq!(times.find(VIDEO, &frame(19)), None);
}

#[test]
fn far_ahead_is_reached_and_memory_bounded() {
    let mut ts = Ts::default();
    let filler = vec![7; 60_000];
    for n in 0..1000 {
        ts.pes(AUDIO, pts(n), &filler);
    }
    ts.pes(VIDEO, pts(1), &frame(1));
    let mut times = PesTimes::new(&ts.bytes[..]);
    assert_eq!(times.find(VIDEO, &frame(1)), None);
    assert!(times.position() < AHEAD + 2 * BLOCK as u64);
    assert_eq!(times.find(AUDIO, &[7; 32]), Some(pts(0)));
    let found = (0..300).find_map(|_| times.find(VIDEO, &frame(1)));
    assert_eq!(found, Some(pts(1)));
    assert!(times.streams[&AUDIO].records.len() < 600);
}

#[test]
fn first_is_when_the_first_picture_is_shown() {
    let mut ts = Ts::default();
    ts.pes(AUDIO, PesTime::default(), &frame(1));
    ts.pes(AUDIO, pts(5), &frame(2));
    ts.pes(VIDEO, PesTime { pts: Some(5), dts: Some((1 << 33) - 5) }, &frame(1));
    ts.pes(VIDEO, pts(9), &frame(2));
    let mut times = PesTimes::new(&ts.bytes[..]);
    assert_eq!(times.first(VIDEO, 0), None);
    assert_eq!(times.first(VIDEO, 1 << 20), Some(5));
    assert_eq!(times.first(AUDIO, 1 << 20), Some(5));
    assert!(times.find(AUDIO, &frame(1)).is_some());
    assert_eq!(times.first(AUDIO, 0), Some(5));
}

#[test]
fn unwraps_to_the_nearest() {
    assert_eq!(unwrap(10, 0), 10);
    assert_eq!(unwrap(10, TURN - 10), TURN + 10);
    assert_eq!(unwrap((1 << 33) - 10, 5), -10);
    assert_eq!(unwrap(7, 3 * TURN + 1000), 3 * TURN + 7);
    assert_eq!(unwrap(7, -3 * TURN), -3 * TURN + 7);
    unwrap(u64::MAX, i64::MIN);
    unwrap(0, i64::MAX);
}
