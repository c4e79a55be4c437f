//! What is added to an output once it is written, without touching its packets:
//! chapters in MP4 and Matroska files, SCTE-35 in transport streams. Called by
//! the pipeline before a file gets its name; works on anything that can be read
//! and sought, so it must not know a file.
//!
//! Each finds out what to change first, and gives it back as [`Patch`]es: a file
//! that is not understood stays as it is.

pub mod matroska;
pub mod mp4;
pub mod transport;

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes to be written at a place, in this order: until the last patch is
/// applied, the file is still the one it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Position from the start of the file; its end, to append.
    pub at: u64,
    /// What to put there.
    pub bytes: Vec<u8>,
}

/// Why nothing can be added to a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is built differently from what is understood here.
    #[error("its {0}")]
    Structure(&'static str),
    /// There is no room where something has to be noted.
    #[error("there is no room for {0}")]
    NoRoom(&'static str),
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the patches into `file`.
///
/// # Errors
/// When it cannot be written.
pub fn apply(file: &mut (impl Write + Seek), patches: &[Patch]) -> io::Result<()> {
    for patch in patches {
        file.seek(SeekFrom::Start(patch.at))?;
        file.write_all(&patch.bytes)?;
    }
    file.flush()
}

fn read_at(file: &mut (impl Read + Seek), at: u64, size: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
