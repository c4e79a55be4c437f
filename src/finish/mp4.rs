//! Chapters in MP4 files, in both ways that players know: a text track that the
//! video refers to (`QuickTime File Format`, "Chapter Lists") and the list that
//! Nero introduced (`chpl`). The index of the file is written anew after
//! everything else, and the old one made `free`. Must not know a file.

use std::io::{Read, Seek, SeekFrom};

use super::{Error, Patch, read_at};
use crate::timeline::formats::Chapter;

/// An index larger than this is none: a day of video has about 100 MB.
const LARGEST_INDEX: u64 = 1 << 30;
/// Ticks per second of the chapters' track.
const TIMESCALE: u32 = 1000;
/// The list of Nero counts its chapters, and the letters of a title, in a byte.
const NERO_MOST: usize = 255;

/// A box within `bytes`.
struct Atom<'a> {
    kind: [u8; 4],
    /// Header and all.
    whole: &'a [u8],
    data: &'a [u8],
}

/// The boxes that lie one after the other in `bytes`.
fn atoms(mut bytes: &[u8]) -> Result<Vec<Atom<'_>>, Error> {
    let broken = || Error::Structure("index cannot be followed");
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(broken)?;
        let (kind, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        let (header, size) = match u32::from_be_bytes(*size) {
            1 => {
                let large = rest.first_chunk::<8>().ok_or_else(broken)?;
                (16, usize::try_from(u64::from_be_bytes(*large)).map_err(|_| broken())?)
            }
            size => (8, size as usize),
        };
        let whole = bytes.get(..size).ok_or_else(broken)?;
        let data = whole.get(header..).ok_or_else(broken)?;
        found.push(Atom { kind: *kind, whole, data });
        bytes = bytes.get(size..).unwrap_or_default();
    }
    Ok(found)
}

fn child<'a>(atoms: &'a [Atom<'a>], kind: &[u8; 4]) -> Option<&'a Atom<'a>> {
    atoms.iter().find(|a| a.kind == *kind)
}

fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let data = parts.concat();
    let size = u32::try_from(data.len() + 8).unwrap_or(u32::MAX);
    [&size.to_be_bytes()[..], kind, &data].concat()
}

/// A box with version 0 and flags.
fn full(kind: &[u8; 4], flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    atom(kind, &[&[&flags.to_be_bytes()[..]], parts].concat())
}

fn be32(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes()
}

/// What to write where, so that a finished file has these chapters.
///
/// # Errors
/// When the file has no ordinary index, as while it is being written.
pub fn chapters(file: &mut (impl Read + Seek), chapters: &[Chapter]) -> Result<Vec<Patch>, Error> {
    let length = file.seek(SeekFrom::End(0))?;
    let (at, size) = index(file, length)?;
    let old = read_at(file, at, size)?;
    let old = atoms(&old)?;
    let moov = child(&old, b"moov").ok_or(Error::Structure("index is missing"))?;

    let samples: Vec<Vec<u8>> = chapters.iter().map(sample).collect();
    let text = atom(b"mdat", &[&samples.concat()]);
    let new = with_chapters(moov.data, chapters, &samples, length + 8)?;
    Ok(vec![
        Patch { at: length, bytes: [text, new].concat() },
        // The old index becomes unused space; from now on the new one counts.
        Patch { at: at + 4, bytes: b"free".to_vec() },
    ])
}

/// Place and size of the index.
fn index(file: &mut (impl Read + Seek), length: u64) -> Result<(u64, usize), Error> {
    let mut at = 0;
    while at + 8 <= length {
        let header = read_at(file, at, 8)?;
        let (size, kind) = header.split_at(4);
        let size = match <[u8; 4]>::try_from(size).map_or(0, u32::from_be_bytes) {
            1 => {
                let large = read_at(file, at + 8, 8)?;
                <[u8; 8]>::try_from(large.as_slice()).map_or(0, u64::from_be_bytes)
            }
            size => u64::from(size),
        };
        match kind {
            b"moof" => return Err(Error::Structure("video is in fragments")),
            b"moov" if size <= LARGEST_INDEX.min(length - at) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                return Ok((at, size));
            }
            _ if size < 8 => break,
            _ => at = at.saturating_add(size),
        }
    }
    Err(Error::Structure("index is missing"))
}

/// The text of a chapter as `QuickTime` has it: length, letters, encoding (UTF-8).
fn sample(chapter: &Chapter) -> Vec<u8> {
    let title = shortened(&chapter.title, usize::from(u16::MAX));
    let length = u16::try_from(title.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], title.as_bytes(), &atom(b"encd", &[&256u32.to_be_bytes()])].concat()
}

/// As many whole letters as fit into so many bytes.
fn shortened(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// The index with a text track whose samples lie at `place`.
fn with_chapters(
    moov: &[u8],
    chapters: &[Chapter],
    samples: &[Vec<u8>],
    place: u64,
) -> Result<Vec<u8>, Error> {
    let parts = atoms(moov)?;
    let broken = Error::Structure("index has no movie header");
    let mvhd = child(&parts, b"mvhd").ok_or(broken)?;
    let header = MovieHeader::of(mvhd.data)?;
    let video = parts.iter().position(|p| p.kind == *b"trak" && is_video(p.data));
    let video = video.ok_or(Error::Structure("index has no video"))?;

    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut nero = Some(nero(chapters));
    for (i, part) in parts.iter().enumerate() {
        match &part.kind {
            b"mvhd" => out.push(header.with_next_track(mvhd.whole)),
            b"trak" if i == video => {
                let refers = atom(b"tref", &[&atom(b"chap", &[&header.next_track.to_be_bytes()])]);
                out.push(atom(b"trak", &[part.data, &refers]));
            }
            b"udta" => {
                let list = nero.take().unwrap_or_default();
                out.push(atom(b"udta", &[&list, part.data]));
            }
            _ => out.push(part.whole.to_vec()),
        }
        // Tracks stay together, before what describes the file.
        if part.kind == *b"trak" && !parts.iter().skip(i + 1).any(|p| p.kind == *b"trak") {
            out.push(track(&header, chapters, samples, place));
        }
    }
    if let Some(list) = nero {
        out.push(atom(b"udta", &[&list]));
    }
    Ok(atom(b"moov", &[&out.concat()]))
}

/// What is needed of the movie header.
struct MovieHeader {
    next_track: u32,
    timescale: u32,
}

impl MovieHeader {
    fn of(data: &[u8]) -> Result<Self, Error> {
        let scale = if data.first() == Some(&1) { 20 } else { 12 };
        let be = |at: usize| data.get(at..)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
        // The number of the next track is the last field.
        let last = data.len().checked_sub(4);
        match (be(scale), last.and_then(be)) {
            (Some(timescale), Some(next_track)) if timescale > 0 && next_track > 0 => {
                Ok(Self { next_track, timescale })
            }
            _ => Err(Error::Structure("movie header is short")),
        }
    }

    fn with_next_track(&self, whole: &[u8]) -> Vec<u8> {
        let kept = whole.get(..whole.len().saturating_sub(4)).unwrap_or_default();
        [kept, &self.next_track.saturating_add(1).to_be_bytes()].concat()
    }
}

fn is_video(trak: &[u8]) -> bool {
    let handler = || -> Option<[u8; 4]> {
        let parts = atoms(trak).ok()?;
        let media = atoms(child(&parts, b"mdia")?.data).ok()?;
        child(&media, b"hdlr")?.data.get(8..)?.first_chunk::<4>().copied()
    };
    handler() == Some(*b"vide")
}

/// Version 1: starts in units of 100 ns, titles counted in a byte.
fn nero(chapters: &[Chapter]) -> Vec<u8> {
    let listed = chapters.get(..NERO_MOST).unwrap_or(chapters);
    let mut data = vec![1, 0, 0, 0, 0, 0, 0, 0];
    data.push(u8::try_from(listed.len()).unwrap_or(u8::MAX));
    for chapter in listed {
        let title = shortened(&chapter.title, NERO_MOST);
        data.extend((chapter.start.0 / 100).to_be_bytes());
        data.push(u8::try_from(title.len()).unwrap_or(u8::MAX));
        data.extend(title.as_bytes());
    }
    atom(b"chpl", &[&data])
}

/// A text track, not shown, one sample per chapter. It lasts from the start of
/// the movie, and each chapter until the next: a track has no holes.
fn track(header: &MovieHeader, chapters: &[Chapter], samples: &[Vec<u8>], place: u64) -> Vec<u8> {
    let ms = |ns: u64| u32::try_from((ns + 500_000) / 1_000_000).unwrap_or(u32::MAX);
    let starts = chapters.iter().skip(1).map(|c| ms(c.start.0));
    let end = chapters.last().map_or(0, |c| ms(c.end.0));
    let edges: Vec<u32> = [0].into_iter().chain(starts).chain([end]).collect();
    let lengths = edges.windows(2).map(|w| w.last().copied().unwrap_or(0).saturating_sub(w[0]));
    let stts: Vec<u8> =
        lengths.flat_map(|n| [1u32.to_be_bytes(), n.to_be_bytes()].concat()).collect();
    let in_movie = u64::from(end) * u64::from(header.timescale) / u64::from(TIMESCALE);
    let in_movie = u32::try_from(in_movie).unwrap_or(u32::MAX).to_be_bytes();

    let matrix: Vec<u8> = [1u32 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    // Part of the movie, but not enabled: it is not to be drawn.
    let tkhd = full(
        b"tkhd",
        2,
        &[
            &[0; 8],
            &header.next_track.to_be_bytes(),
            &[0; 4],
            &in_movie,
            &[0; 16],
            &matrix,
            &[0; 8],
        ],
    );
    // 0x55c4 is `und` in five bits a letter.
    let mdhd = full(
        b"mdhd",
        0,
        &[&[0; 8], &TIMESCALE.to_be_bytes(), &end.to_be_bytes(), &[0x55, 0xc4, 0, 0]],
    );
    let hdlr = full(b"hdlr", 0, &[&[0; 4], b"text", &[0; 12], b"Chapters\0"]);
    // General media information: copy mode, grey operation colour, no balance.
    let gmin = full(b"gmin", 0, &[&[0, 0x40, 0x80, 0, 0x80, 0, 0x80, 0, 0, 0, 0, 0]]);
    let gmhd = atom(b"gmhd", &[&gmin, &atom(b"text", &[&matrix])]);
    let url = full(b"url ", 1, &[]);
    let dinf = atom(b"dinf", &[&full(b"dref", 0, &[&be32(1), &url])]);
    // The description of plain text: everything unset, no font.
    let text = atom(b"text", &[&[0, 0, 0, 0, 0, 0, 0, 1], &[0; 43]]);
    let sizes: Vec<u8> = samples.iter().flat_map(|s| be32(s.len())).collect();
    let n = be32(samples.len());
    let stbl = atom(
        b"stbl",
        &[
            &full(b"stsd", 0, &[&be32(1), &text]),
            &full(b"stts", 0, &[&n, &stts]),
            &full(b"stsc", 0, &[&be32(1), &be32(1), &n, &be32(1)]),
            &full(b"stsz", 0, &[&be32(0), &n, &sizes]),
            &full(b"co64", 0, &[&be32(1), &place.to_be_bytes()]),
        ],
    );
    let minf = atom(b"minf", &[&gmhd, &dinf, &stbl]);
    atom(b"trak", &[&tkhd, &atom(b"mdia", &[&mdhd, &hdlr, &minf])])
}
