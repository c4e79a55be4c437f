//! Chapters in Matroska files (RFC 9559): an element after everything else,
//! which the seek head at the front points to. Must not know a file.

use std::io::{Read, Seek, SeekFrom};

use super::{Error, Patch, read_at};
use crate::timeline::formats::Chapter;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114d_9b74;
const SEEK: u32 = 0x4dbb;
const SEEK_ID: u32 = 0x53ab;
const SEEK_POSITION: u32 = 0x53ac;
const VOID: u32 = 0xec;
const CHAPTERS: u32 = 0x1043_a770;
const EDITION: u32 = 0x45b9;
const ATOM: u32 = 0xb6;
const UID: u32 = 0x73c4;
const TIME_START: u32 = 0x91;
const TIME_END: u32 = 0x92;
const DISPLAY: u32 = 0x80;
const STRING: u32 = 0x85;
const LANGUAGE: u32 = 0x437c;
/// A seek head is a few hundred bytes.
const LARGEST_HEAD: u64 = 1 << 16;

/// An element's header: what it is, where its data lies.
#[derive(Clone, Copy, Debug)]
struct Element {
    id: u32,
    /// Position of the header.
    at: u64,
    /// Bytes of the header.
    header: u64,
    /// Bytes of the length within it.
    length_bytes: u64,
    /// Bytes of data; `None` where that is not known.
    size: Option<u64>,
}

impl Element {
    fn data(&self) -> u64 {
        self.at + self.header
    }

    fn end(&self) -> Option<u64> {
        self.data().checked_add(self.size?)
    }
}

fn element(file: &mut (impl Read + Seek), at: u64) -> Result<Element, Error> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(12).read_to_end(&mut bytes)?;
    let broken = Error::Structure("elements cannot be followed");
    let Some(id_bytes) = bytes.first().map(|b| b.leading_zeros() as usize + 1).filter(|n| *n <= 4)
    else {
        return Err(broken);
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let id = bytes.get(..id_bytes).map(number);
    let rest = bytes.get(id_bytes..).unwrap_or_default();
    let length = rest.first().map(|b| b.leading_zeros() as usize + 1).filter(|n| *n <= 8);
    let size = length.and_then(|n| Some((n, number(rest.get(..n)?))));
    let (Some(id), Some((n, size))) = (id, size) else { return Err(broken) };
    let mask = (1 << (7 * n)) - 1;
    Ok(Element {
        id: u32::try_from(id).unwrap_or(0),
        at,
        header: (id_bytes + n) as u64,
        length_bytes: n as u64,
        size: Some(size & mask).filter(|s| *s != mask),
    })
}

/// What to write where, so that a finished file has these chapters.
///
/// # Errors
/// When the file is not built as GStreamer builds them.
pub fn chapters(file: &mut (impl Read + Seek), chapters: &[Chapter]) -> Result<Vec<Patch>, Error> {
    let length = file.seek(SeekFrom::End(0))?;
    let ebml = element(file, 0)?;
    let segment = ebml.end().map(|end| element(file, end)).transpose()?;
    let Some(segment) = segment.filter(|s| ebml.id == EBML && s.id == SEGMENT) else {
        return Err(Error::Structure("header is not that of Matroska"));
    };
    if segment.end() != Some(length) || segment.length_bytes != 8 {
        return Err(Error::Structure("segment does not end with the file"));
    }
    let place = free_entry(file, segment)?;
    let added = element_of(CHAPTERS, &edition(chapters));
    // The chapters first: nothing knows of them before the last patch.
    let size = length + added.len() as u64 - segment.data();
    let entry = [
        element_of(SEEK_ID, &CHAPTERS.to_be_bytes()),
        element_of(SEEK_POSITION, &(length - segment.data()).to_be_bytes()),
    ]
    .concat();
    let header = id_bytes(SEEK);
    let data_size = place.1 - (header.len() + 8) as u64;
    let mut entry_bytes = header;
    entry_bytes.extend((1 << 56 | data_size).to_be_bytes());
    let filler = data_size.checked_sub(entry.len() as u64);
    let filler = filler.ok_or(Error::NoRoom("chapters in the seek head"))?;
    entry_bytes.extend(entry);
    entry_bytes.extend(void(filler).ok_or(Error::NoRoom("chapters in the seek head"))?);
    Ok(vec![
        Patch { at: length, bytes: added },
        Patch {
            at: segment.data() - segment.length_bytes,
            bytes: (1 << 56 | size).to_be_bytes().to_vec(),
        },
        Patch { at: place.0, bytes: entry_bytes },
    ])
}

/// Place and size of the void in the seek head that is kept for chapters.
fn free_entry(file: &mut (impl Read + Seek), segment: Element) -> Result<(u64, u64), Error> {
    let head = element(file, segment.data())?;
    let end = head.end().filter(|_| head.id == SEEK_HEAD && head.size < Some(LARGEST_HEAD));
    let end = end.ok_or(Error::Structure("segment does not begin with a seek head"))?;
    let mut at = head.data();
    while at < end {
        let entry = element(file, at)?;
        let next = entry.end().ok_or(Error::Structure("seek head cannot be followed"))?;
        // Another entry, and the chapters it points to, must not be there yet.
        if entry.id == SEEK {
            let size = usize::try_from(entry.size.unwrap_or(0)).unwrap_or(usize::MAX);
            let data = read_at(file, entry.data(), size.min(LARGEST_HEAD as usize))?;
            if data.windows(4).any(|w| w == CHAPTERS.to_be_bytes()) {
                return Err(Error::Structure("chapters are there already"));
            }
        }
        if entry.id == VOID && next - at >= 28 && next <= end {
            return Ok((at, next - at));
        }
        at = next;
    }
    Err(Error::NoRoom("chapters in the seek head"))
}

fn edition(chapters: &[Chapter]) -> Vec<u8> {
    let atom = |(i, chapter): (usize, &Chapter)| {
        let display = [element_of(STRING, chapter.title.as_bytes()), element_of(LANGUAGE, b"und")];
        element_of(
            ATOM,
            &[
                element_of(UID, &(i as u64 + 1).to_be_bytes()),
                element_of(TIME_START, &chapter.start.0.to_be_bytes()),
                element_of(TIME_END, &chapter.end.0.to_be_bytes()),
                element_of(DISPLAY, &display.concat()),
            ]
            .concat(),
        )
    };
    element_of(EDITION, &chapters.iter().enumerate().flat_map(atom).collect::<Vec<_>>())
}

fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect()
}

/// An element with its length in eight bytes.
fn element_of(id: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = id_bytes(id);
    // Lengths of one byte save room where there is little.
    match u8::try_from(data.len()).ok().filter(|n| *n < 0x7f) {
        Some(n) => bytes.push(0x80 | n),
        None => bytes.extend((1 << 56 | data.len() as u64).to_be_bytes()),
    }
    bytes.extend(data);
    bytes
}

/// Nothing, `size` bytes of it; no element is one byte long.
fn void(size: u64) -> Option<Vec<u8>> {
    match size {
        0 => Some(Vec::new()),
        1 => None,
        _ => Some(element_of(VOID, &vec![0; usize::try_from(size).ok()? - 2])),
    }
}
