//! Files that are written: whether they may be, and never half. Used wherever a
//! result goes to disk; must not know what is in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The name a file has until it is complete.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Writes a file under a temporary name and renames it.
///
/// # Errors
/// When it cannot be written; nothing is left behind then.
pub fn write_whole(path: &Path, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let part = temporary(path);
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&part);
        })
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Makes sure that nothing stands in the way of the file `path`.
///
/// # Errors
/// When it is a folder, or exists and may not be replaced.
pub fn check_free(path: &Path, force: bool) -> anyhow::Result<()> {
    if path.is_dir() {
        bail!("{} is a folder; name a file in it", path.display());
    }
    if path.exists() && !force {
        bail!("{} exists; use --force to overwrite it", path.display());
    }
    Ok(())
}

/// The folder of `path`, once it is known to be there.
///
/// # Errors
/// When it is not.
pub fn check_parent(path: &Path) -> anyhow::Result<&Path> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!("{}: there is no folder {}; create it first", path.display(), folder.display());
    }
    Ok(folder)
}

/// Whether two names are those of one file that exists.
pub fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
