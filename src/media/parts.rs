//! Reading parts of a file as if there was nothing between them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::iter;
use std::ops::Range;
use std::path::Path;

use crate::frame::Pts;

/// Bytes at the start that are read in any case: they say what the file holds.
const HEAD: u64 = 256 << 10;
/// Seconds read beside those that are wanted: what is shown at one time is not
/// stored at one place.
const BESIDE_S: f64 = 3.0;
/// Parts that are no further apart are read as one.
const NEAR: u64 = 512 << 10;
/// Seconds from one known place to the next, at least.
const APART_S: f64 = 0.4;

/// Parts of a file, one after the other.
#[derive(Debug)]
pub(super) struct PartReader {
    file: File,
    left: VecDeque<Range<u64>>,
    /// The part that is read is entered.
    entered: bool,
}

impl PartReader {
    /// All of it, unless there are `parts`.
    pub(super) fn open(path: &Path, parts: Option<&Parts>) -> std::io::Result<Self> {
        let all = || iter::once(0..u64::MAX).collect();
        let left = parts.map_or_else(all, |parts| parts.bytes.iter().cloned().collect());
        Ok(Self { file: File::open(path)?, left, entered: false })
    }
}

impl Read for PartReader {
    fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
        while let Some(part) = self.left.front_mut() {
            if !self.entered {
                self.file.seek(SeekFrom::Start(part.start))?;
                self.entered = true;
            }
            let most = usize::try_from(part.end.saturating_sub(part.start)).unwrap_or(usize::MAX);
            let most = most.min(space.len());
            let got = self.file.read(space.get_mut(..most).unwrap_or_default())?;
            part.start += got as u64;
            if got > 0 || space.is_empty() {
                return Ok(got);
            }
            self.left.pop_front();
            self.entered = false;
        }
        Ok(0)
    }
}

/// Parts of a transport stream without a splice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Where they are, in order and apart.
    pub(super) bytes: Vec<Range<u64>>,
    /// 90 kHz ticks from which the stream time counts.
    pub(super) base: i64,
}

/// Where in a transport stream its pictures are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places {
    /// 90 kHz ticks from which the stream time counts.
    pub(super) base: i64,
    /// Pictures that need no other one, in order.
    pub(super) keys: Vec<Pts>,
    /// Times of pictures and the places of their packets, in order.
    pub(super) found: Vec<(Pts, u64)>,
}

impl Places {
    /// Notes the place of a picture.
    pub(super) fn note(&mut self, pts: Pts, at: u64) {
        let last = self.found.last();
        if last.is_none_or(|(before, to)| pts.secs_since(*before) >= APART_S && at > *to) {
            self.found.push((pts, at));
        }
    }

    /// What must be read to decode all pictures within `stretches`, which are in
    /// order: those from the group of pictures before each.
    pub fn parts(&self, stretches: &[(Pts, Pts)]) -> Parts {
        let mut bytes: Vec<_> = iter::once(0..HEAD).collect();
        for (from, to) in stretches {
            let group = self.keys.partition_point(|key| key <= from).saturating_sub(2);
            let first = self.keys.get(group).map_or(0.0, |key| key.as_secs_f64()) - BESIDE_S;
            let before = self.found.partition_point(|(pts, _)| pts.as_secs_f64() <= first);
            let start = before.checked_sub(1).map_or(0, |i| self.found[i].1);
            let last = to.as_secs_f64() + BESIDE_S;
            let after = self.found.partition_point(|(pts, _)| pts.as_secs_f64() <= last);
            let end = self.found.get(after).map_or(u64::MAX, |(_, at)| *at);
            match bytes.last_mut() {
                Some(part) if start <= part.end.saturating_add(NEAR) => {
                    part.end = part.end.max(end)
                }
                _ => bytes.push(start..end),
            }
        }
        Parts { bytes, base: self.base }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn parts_are_read_as_one() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&(0..200).collect::<Vec<u8>>()).unwrap();
        let read = |parts: Option<&Parts>| {
            let mut all = Vec::new();
            PartReader::open(file.path(), parts).unwrap().read_to_end(&mut all).unwrap();
            all
        };
        assert_eq!(read(None), (0..200).collect::<Vec<u8>>());
        let bytes = vec![3..5, 10..10, 100..103, 198..u64::MAX, 300..400];
        assert_eq!(read(Some(&Parts { bytes, base: 0 })), [3, 4, 100, 101, 102, 198, 199]);
    }

    #[test]
    fn a_part_begins_a_group_before_its_stretch_and_those_that_touch_are_one() {
        let s = Pts::from_secs_f64;
        let mut places = Places { base: 7, ..Places::default() };
        // A group of two seconds, a megabyte a second.
        for half in 0..1200u32 {
            let at = f64::from(half) / 2.0;
            places.note(s(at), u64::from(half) << 19);
            if half % 4 == 0 {
                places.keys.push(s(at));
            }
        }
        let at = |half: u64| half << 19;
        let stretches = [(101.0, 103.0), (104.0, 105.0), (598.0, 599.0)].map(|(a, b)| (s(a), s(b)));
        let Parts { bytes, base } = places.parts(&stretches);
        assert_eq!((base, bytes), (7, vec![0..HEAD, at(190)..at(217), at(1186)..u64::MAX]));
        let bytes = places.parts(&[(s(0.0), s(9.0))]).bytes;
        assert!(bytes.len() == 1 && bytes[0] == (0..at(25)), "{bytes:?}");
    }
}
