//! Chooses which coded pictures are decoded, one group of pictures at a time.
//! Called by the skimming source; must not know GStreamer.
//!
//! A group begins with a picture that needs no other one (a key frame). Any
//! picture behind it can be had only by decoding every reference picture in
//! between, so the further in, the dearer.

use crate::frame::Pts;

/// A coded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) pts: Pts,
    /// Needs no other picture.
    pub(super) key: bool,
    /// Others may need it.
    pub(super) reference: bool,
}

/// Which pictures of a recording are wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Pick {
    /// All of them.
    Every,
    /// One about every so many seconds, key frames where there are any.
    Sparse {
        /// Seconds from one to the next, at least.
        apart_s: f64,
    },
    /// All within these stretches, in order: from the first to before the second time.
    Within(Vec<(Pts, Pts)>),
}

/// What becomes of a coded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not decoded.
    Skipped,
    /// Decoded for the sake of others.
    Helps,
    /// Decoded and handed on.
    Wanted,
}

/// Chooses group by group.
#[derive(Debug)]
pub(super) struct Chooser {
    pick: Pick,
    /// The picture wanted last.
    last: Option<Pts>,
    /// The group before was decoded too.
    follows: bool,
}

impl Chooser {
    pub(super) fn new(pick: Pick) -> Self {
        Self { pick, last: None, follows: true }
    }

    /// True when groups need not be held together to choose.
    pub(super) fn takes_all(&self) -> bool {
        self.pick == Pick::Every
    }

    /// The fate of every picture of a group, which are in the order of decoding
    /// and end before `end`.
    pub(super) fn choose(&mut self, group: &[Unit], end: Pts) -> Vec<Fate> {
        match &self.pick {
            Pick::Every => vec![Fate::Wanted; group.len()],
            Pick::Sparse { apart_s } => {
                let apart_s = *apart_s;
                self.sparse(group, end, apart_s)
            }
            Pick::Within(stretches) => {
                let start = group.iter().map(|u| u.pts).min().unwrap_or(end);
                let wanted = stretches.iter().any(|(from, to)| start < *to && end > *from);
                let follows = std::mem::replace(&mut self.follows, wanted);
                let key = group.first().map_or(start, |u| u.pts);
                let fate = |unit: &Unit| {
                    let in_stretch = |(from, to): &(Pts, Pts)| unit.pts >= *from && unit.pts < *to;
                    // Pictures shown before the key frame need the group before.
                    if !wanted || (!follows && unit.pts < key) {
                        Fate::Skipped
                    } else if stretches.iter().any(in_stretch) {
                        Fate::Wanted
                    } else {
                        Fate::Helps
                    }
                };
                let mut fates: Vec<_> = group.iter().map(fate).collect();
                // Behind the last wanted picture nothing is needed, unless the
                // next group goes on from it.
                if !stretches.iter().any(|(from, to)| *from < end && *to > end)
                    && let Some(last) = fates.iter().rposition(|f| *f == Fate::Wanted)
                {
                    fates[last + 1..].fill(Fate::Skipped);
                }
                fates
            }
        }
    }

    fn sparse(&mut self, group: &[Unit], end: Pts, apart_s: f64) -> Vec<Fate> {
        let mut fates = vec![Fate::Skipped; group.len()];
        let Some(first) = group.first().filter(|u| u.key) else { return fates };
        // A picture a little early saves waiting for the next group.
        let due = |last: Option<Pts>, pts: Pts| {
            last.is_none_or(|last| pts < last || pts.secs_since(last) >= 0.9 * apart_s)
        };
        if due(self.last, first.pts) {
            fates[0] = Fate::Wanted;
            self.last = Some(first.pts);
        }
        // Only a group that goes on for long is looked into.
        for i in 1..group.len() {
            let unit = group[i];
            let long = end.secs_since(self.last.unwrap_or(first.pts)) > 2.0 * apart_s;
            let needed = |unit: &Unit| unit.reference && unit.pts >= first.pts;
            if !long || !needed(&unit) || !due(self.last, unit.pts) {
                continue;
            }
            for (fate, before) in fates[..i].iter_mut().zip(group) {
                if *fate == Fate::Skipped && needed(before) {
                    *fate = Fate::Helps;
                }
            }
            fates[i] = Fate::Wanted;
            self.last = Some(unit.pts);
        }
        fates
    }
}

/// Whether another picture may need the one coded in `data`, as far as the
/// format says.
pub(super) fn is_reference(format: &str, data: &[u8]) -> bool {
    match format {
        "video/x-h264" => nal_units(data)
            .find(|nal| (1..=5).contains(&(nal & 31)))
            .is_none_or(|nal| nal & 0x60 != 0),
        // Sub-layer non-reference pictures have even types below 16 (ITU-T H.265, table 7-1).
        "video/x-h265" => nal_units(data)
            .map(|nal| nal >> 1 & 63)
            .find(|kind| *kind < 32)
            .is_none_or(|kind| kind >= 16 || kind % 2 == 1),
        // picture_start_code, ten bits of temporal_reference, three of picture_coding_type.
        "video/mpeg" => {
            let header = data.windows(6).take(4096).find(|w| w.starts_with(&[0, 0, 1, 0]));
            header.is_none_or(|w| w[5] >> 3 & 7 != 3)
        }
        _ => true,
    }
}

/// First bytes of the NAL units of a byte stream, as far as the first slice lies.
fn nal_units(data: &[u8]) -> impl Iterator<Item = u8> {
    data.windows(4).filter(|w| w.starts_with(&[0, 0, 1])).map(|w| w[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `I`, `P`, `b` in the order of decoding; a `b` is shown before the
    /// picture that precedes it here. Pictures are half a second apart.
    fn group(start: u64, script: &str) -> (Vec<Unit>, Pts) {
        let half = 500_000_000;
        let mut units: Vec<Unit> = Vec::new();
        for (i, c) in script.chars().enumerate() {
            let at = Pts((start + i as u64) * half);
            let unit = Unit { pts: at, key: c == 'I', reference: c != 'b' };
            units.push(unit);
            if c == 'b' && i > 0 {
                let before = units[i - 1].pts;
                units[i - 1].pts = at;
                units[i].pts = before;
            }
        }
        (units, Pts((start + script.len() as u64) * half))
    }

    /// `W`anted, `h`elps or `.`, for groups one after the other.
    fn chosen(pick: Pick, groups: &[&str]) -> Vec<String> {
        let mut chooser = Chooser::new(pick);
        let mut start = 0;
        let mut show = |script: &&str| {
            let (units, end) = group(start, script);
            start += script.len() as u64;
            let letter = |fate: &Fate| match fate {
                Fate::Wanted => 'W',
                Fate::Helps => 'h',
                Fate::Skipped => '.',
            };
            chooser.choose(&units, end).iter().map(letter).collect()
        };
        groups.iter().map(&mut show).collect()
    }

    #[test]
    fn key_frames_do_where_they_are_close() {
        let pick = || Pick::Sparse { apart_s: 1.0 };
        assert_eq!(chosen(pick(), &["IPP", "IPP", "IPP"]), ["W..", "W..", "W.."]);
        assert_eq!(chosen(pick(), &["I", "I", "I", "I"]), ["W", ".", "W", "."]);
        assert_eq!(chosen(pick(), &["IPPP", "IPPP"]), ["W...", "W..."]);
    }

    #[test]
    fn a_long_group_is_looked_into_without_decoding_what_nothing_needs() {
        let pick = Pick::Sparse { apart_s: 1.0 };
        assert_eq!(chosen(pick, &["IPbPbPbPb"]), ["WW.W.W..."]);
        let pick = Pick::Sparse { apart_s: 2.0 };
        assert_eq!(chosen(pick, &["IPPPPPPPPPPP", "IPPP"]), ["WhhhW.......", "W..."]);
    }

    #[test]
    fn a_group_without_its_key_frame_is_left_out() {
        assert_eq!(chosen(Pick::Sparse { apart_s: 1.0 }, &["PPPP", "IP"]), ["....", "W."]);
        assert_eq!(chosen(Pick::Every, &["PP", "IP"]), ["WW", "WW"]);
    }

    #[test]
    fn whole_groups_are_decoded_for_a_stretch_within_them() {
        let s = Pts::from_secs_f64;
        let within = |from, to| Pick::Within(vec![(s(from), s(to))]);
        assert_eq!(chosen(within(1.0, 2.0), &["IPPPPP", "IP"]), ["hhWW..", ".."]);
        assert_eq!(chosen(within(2.6, 3.4), &["IPPPPP", "IPP"]), ["hhhhhh", "W.."]);
        assert_eq!(chosen(Pick::Within(Vec::new()), &["IP", "IP"]), ["..", ".."]);
    }

    #[test]
    fn formats_say_which_pictures_nothing_needs() {
        let h264 = |nal: u8| [0, 0, 0, 1, 9, 16, 0, 0, 1, nal, 0x9a, 0];
        assert!(is_reference("video/x-h264", &h264(0x65)));
        assert!(is_reference("video/x-h264", &h264(0x41)));
        assert!(!is_reference("video/x-h264", &h264(0x01)));
        let h265 = |kind: u8| [0, 0, 1, 35 << 1, 1, 0, 0, 1, kind << 1, 1];
        assert!(is_reference("video/x-h265", &h265(1)));
        assert!(!is_reference("video/x-h265", &h265(8)));
        assert!(is_reference("video/x-h265", &h265(19)));
        let mpeg2 = |kind: u8| [0, 0, 1, 0, 0x01, kind << 3, 0xff];
        assert!(is_reference("video/mpeg", &mpeg2(1)));
        assert!(!is_reference("video/mpeg", &mpeg2(3)));
        assert!(is_reference("video/x-vp9", &[1, 2, 3]) && is_reference("video/x-h264", &[]));
    }
}
