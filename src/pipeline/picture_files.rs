//! Which pictures are explained, and where each result goes. Looks at files,
//! writes none; must not know what is done with the pictures.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::outputs::{check_free, check_parent};
use crate::dataset::{is_picture, pictures_in};
use crate::still::{Format, Still};

/// A picture file above this is not read, in bytes.
const LARGEST_FILE: u64 = 512 << 20;
/// Characters by which a pattern is known.
const WILD: [char; 3] = ['*', '?', '['];

/// The pictures that were meant.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) pictures: Vec<PathBuf>,
    /// Why one of the names stands for no picture, a sentence each.
    pub(super) missing: Vec<String>,
    /// Whether a single file was named.
    pub(super) single: bool,
}

/// Finds the pictures of `names`: files, folders, and patterns as a shell has
/// them, for those who quote them. Each picture comes once.
pub(super) fn find(names: &[PathBuf]) -> Found {
    let (mut pictures, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match of_name(name) {
            Ok(found) => pictures.extend(found),
            Err(why) => missing.push(format!("{why:#}")),
        }
    }
    let mut seen = HashSet::new();
    pictures.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    let single = matches!(names, [only] if only.is_file());
    Found { pictures, missing, single }
}

fn of_name(name: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if name.is_dir() {
        return Ok(pictures_in(name)?);
    }
    let pattern = name.to_string_lossy();
    if name.exists() || !pattern.contains(WILD) {
        std::fs::metadata(name).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                anyhow!("{}: there is no such file; check the name", name.display())
            }
            _ => anyhow!("{} cannot be read: {e}", name.display()),
        })?;
        return Ok(vec![name.to_owned()]);
    }
    let options =
        glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
    let paths =
        glob::glob_with(&pattern, options).with_context(|| format!("{pattern} is no pattern"))?;
    // Sorted by the library. What cannot be looked into holds no pictures.
    let found: Vec<_> = paths.flatten().filter(|p| is_picture(p) && p.is_file()).collect();
    if found.is_empty() {
        bail!("{pattern}: no JPEG, PNG or WebP picture has such a name; check the pattern");
    }
    Ok(found)
}

/// Where the results go.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// One for each picture; none where nothing is drawn.
    pub(super) files: Vec<Option<PathBuf>>,
    /// A folder that is to be made first.
    pub(super) folder: Option<PathBuf>,
}

/// Where the result of each picture of `found` goes: `output` itself for a
/// single file, else under the picture's own name in the folder `output`.
///
/// # Errors
/// When a result has no known type or would replace something, unless that is
/// an earlier result and `force` is given.
pub(super) fn targets(found: &Found, output: &Path, force: bool) -> anyhow::Result<Targets> {
    let shown = output.display();
    let is_folder = output.is_dir() || output.as_os_str().to_string_lossy().ends_with('/');
    let mut targets = Targets::default();
    if found.single && !is_folder {
        format_of(output)?;
        targets.files = vec![Some(output.to_owned()); found.pictures.len()];
    } else {
        if !is_folder && (output.exists() || is_picture(output)) {
            bail!("{shown} is to hold the results of several pictures; name a folder instead");
        }
        let mut taken = HashMap::new();
        for picture in &found.pictures {
            let target = output.join(result_name(picture));
            if let Some(other) = taken.insert(target.clone(), picture) {
                bail!(
                    "{} and {} would both become {}; explain them in two runs",
                    other.display(),
                    picture.display(),
                    target.display()
                );
            }
            targets.files.push(Some(target));
        }
        targets.folder = (!output.is_dir()).then(|| output.to_owned());
    }
    check_parent(output)?;
    for target in targets.files.iter().flatten() {
        check_free(target, force)?;
        if let Ok(real) = target.canonicalize()
            && found.pictures.iter().any(|p| p.canonicalize().is_ok_and(|p| p == real))
        {
            bail!("{} is an input; name another output", target.display());
        }
    }
    Ok(targets)
}

/// What a result is written as, by its name.
pub(super) fn format_of(path: &Path) -> anyhow::Result<Format> {
    let extension = path.extension().map(|e| e.to_string_lossy().into_owned());
    extension.as_deref().and_then(Format::of_extension).with_context(|| {
        format!("{}: unknown output type; name it .png, .jpg or .webp", path.display())
    })
}

/// Reads a picture.
///
/// # Errors
/// A sentence that names it.
pub fn read_still(path: &Path) -> Result<Still, String> {
    let say = |why: &dyn std::fmt::Display| format!("{} {why}", path.display());
    let unreadable = |e: std::io::Error| say(&format!("cannot be read: {e}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // What is no ordinary file need not tell its size.
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(say(&"is too large for a picture (more than 512 MB)"));
    }
    Still::decode(&bytes).map_err(|e| say(&e))
}

/// The name of a picture's result: its own, if that is a picture's.
fn result_name(picture: &Path) -> PathBuf {
    let mut name = PathBuf::from(picture.file_name().unwrap_or_default());
    if !is_picture(picture) {
        name.as_mut_os_string().push(".png");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with `a/1.jpg`, `a/2.PNG`, `a/n.txt`, `b/1.jpg` and `b/raw`.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/1.jpg", "a/2.PNG", "a/n.txt", "a/.h.png", "b/1.jpg", "b/raw"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        dir
    }

    fn found(dir: &Path, names: &[&str]) -> Found {
        find(&names.iter().map(|n| dir.join(n)).collect::<Vec<_>>())
    }

    fn names(found: &Found, dir: &Path) -> Vec<String> {
        let name = |p: &PathBuf| p.strip_prefix(dir).unwrap().display().to_string();
        found.pictures.iter().map(name).collect()
    }

    #[test]
    fn files_folders_and_patterns_give_each_picture_once() {
        let dir = folder();
        let dir = dir.path();
        for (given, wanted) in [
            (&["b/raw"][..], &["b/raw"][..]),
            (&["a"], &["a/1.jpg", "a/2.PNG"]),
            (&["a/2.PNG", "a"], &["a/2.PNG", "a/1.jpg"]),
            (&["*/1.*"], &["a/1.jpg", "b/1.jpg"]),
            (&["a/*"], &["a/1.jpg", "a/2.PNG"]),
        ] {
            let found = found(dir, given);
            assert_eq!(names(&found, dir), wanted, "{given:?}");
            assert!(found.missing.is_empty());
            assert_eq!(found.single, given == ["b/raw"]);
        }
    }

    #[test]
    fn names_that_stand_for_nothing_are_told_beside_the_others() {
        let dir = folder();
        let found = found(dir.path(), &["a/3.jpg", "empty", "c*", "b", "[", "b/1.jpg"]);
        assert_eq!(names(&found, dir.path()), ["b/1.jpg"]);
        let words = ["no such file", "holds no JPEG", "no JPEG", "is no pattern"];
        assert_eq!(found.missing.len(), words.len(), "{:?}", found.missing);
        for (why, word) in found.missing.iter().zip(words) {
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn results_keep_their_names_in_a_folder_and_replace_nothing() {
        let dir = folder();
        let dir = dir.path();
        let to = |given: &[&str], output: &str, force| {
            targets(&found(dir, given), &dir.join(output), force)
                .map(|t| {
                    let names = t.files.iter().flatten().map(|p| p.strip_prefix(dir).unwrap());
                    (names.map(|n| n.display().to_string()).collect::<Vec<_>>(), t.folder.is_some())
                })
                .map_err(|e| e.to_string())
        };
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(to(&["b/raw"], "o.WebP", false), Ok((names(&["o.WebP"]), false)));
        assert_eq!(to(&["b/raw"], "empty", false), Ok((names(&["empty/raw.png"]), false)));
        assert_eq!(to(&["b/raw"], "new/", false), Ok((names(&["new/raw.png"]), true)));
        assert_eq!(to(&["a"], "new", false), Ok((names(&["new/1.jpg", "new/2.PNG"]), true)));
        assert_eq!(to(&["b/raw"], "a/1.jpg", true), Ok((names(&["a/1.jpg"]), false)));
        for (given, output, force, word) in [
            (&["b/raw"][..], "o.tiff", false, "unknown output type"),
            (&["b/raw"], "o", false, "unknown output type"),
            (&["b/raw"], "c/o.png", false, "no folder"),
            (&["b/raw"], "a/1.jpg", false, "exists; use --force"),
            (&["a"], "o.png", false, "name a folder"),
            (&["a"], "a/n.txt", true, "name a folder"),
            (&["a"], "b", false, "exists; use --force"),
            (&["a"], "a", true, "is an input"),
            (&["a/1.jpg"], "a/1.jpg", true, "is an input"),
            (&["a", "b"], "new", true, "would both become"),
        ] {
            let error = to(given, output, force).unwrap_err();
            assert!(error.contains(word), "{given:?} {output}: {error}");
        }
    }
}
