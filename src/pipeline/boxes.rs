//! Where objects are in pictures, from a CSV table. Read before pictures are
//! measured against it; must not know how.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::eval::class_of;

/// The class that a box holds for, if it is one alone, and left, top, width and
/// height of the box in pixels.
type ClassBox = (Option<usize>, [f64; 4]);

/// The boxes of pictures.
#[derive(Debug, Default)]
pub(super) struct Boxes(HashMap<PathBuf, Vec<ClassBox>>);

impl Boxes {
    /// Reads the table `path` with the columns `path`, `label`, `x`, `y`, `w`
    /// and `h`: pictures relative to the table's folder, pixels of the upright
    /// picture. A row without a label holds for every class of the `head` with
    /// these `labels`.
    pub(super) fn open<L: AsRef<str>>(
        path: &Path,
        labels: &[L],
        head: &str,
    ) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {shown}"))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
        let header = reader.headers().with_context(|| format!("{shown} is no CSV table"))?;
        let named = header.iter().map(|h| h.trim_start_matches('\u{feff}').to_lowercase());
        let named: Vec<String> = named.collect();
        let column = |name: &str| {
            named.iter().position(|h| h == name).with_context(|| {
                format!("{shown} has no column `{name}`; it needs path, label, x, y, w and h")
            })
        };
        let (picture, label) = (column("path")?, column("label")?);
        let sides = [column("x")?, column("y")?, column("w")?, column("h")?];
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut boxes = Self::default();
        for record in reader.records() {
            let record = record.with_context(|| format!("{shown} is no CSV table"))?;
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |c: usize| record.get(c).unwrap_or("");
            let number = |c: usize| cell(c).parse().ok().filter(|v: &f64| v.is_finite());
            let [Some(x), Some(y), Some(w), Some(h)] = sides.map(number) else {
                bail!("{shown}: line {line} has no number in x, y, w or h; give pixels");
            };
            if w <= 0.0 || h <= 0.0 {
                bail!("{shown}: line {line} has a box of {w} x {h} pixels; make it larger than 0");
            }
            let file = folder.join(cell(picture));
            let Ok(file) = file.canonicalize() else {
                bail!(
                    "{shown}: line {line} names {}, which does not exist; paths are relative to the table's folder",
                    file.display()
                );
            };
            let class = match cell(label) {
                "" => None,
                name => Some(
                    class_of(labels, name, head)
                        .with_context(|| format!("{shown}: line {line}"))?,
                ),
            };
            boxes.0.entry(file).or_default().push((class, [x, y, w, h]));
        }
        Ok(boxes)
    }

    /// The boxes of `class` in `picture`: x, y, width, height in pixels.
    pub(super) fn of(&self, picture: &Path, class: usize) -> Vec<[f64; 4]> {
        let found = picture.canonicalize().ok().and_then(|file| self.0.get(&file));
        let meant = |(of, _): &&(Option<usize>, _)| of.is_none_or(|of| of == class);
        found.into_iter().flatten().filter(meant).map(|(_, at)| *at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_belong_to_a_picture_and_a_class() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("boxes.csv");
        std::fs::write(dir.path().join("a.png"), "x").unwrap();
        let read = |rows: &str| {
            std::fs::write(&table, format!("\u{feff}path,label,x,y,w,h\n{rows}")).unwrap();
            Boxes::open(&table, &["cat", "dog"], "pet")
        };
        let boxes = read("a.png, Dog, 1, 2, 3, 4.5\na.png,,0,0,9,9\n").unwrap();
        let picture = dir.path().join("./a.png");
        assert_eq!(boxes.of(&picture, 1), [[1.0, 2.0, 3.0, 4.5], [0.0, 0.0, 9.0, 9.0]]);
        assert_eq!(boxes.of(&picture, 0), [[0.0, 0.0, 9.0, 9.0]]);
        assert!(boxes.of(&dir.path().join("b.png"), 0).is_empty());
        for (rows, says) in [
            ("b.png,cat,1,1,1,1\n", "line 2 names"),
            ("a.png,cat,1,1,1,1\na.png,cat,1,1,0,1\n", "line 3 has a box of 0 x 1"),
            ("a.png,cat,1,1,one,1\n", "line 2 has no number"),
            ("a.png,dogg,1,1,1,1\n", "did you mean \"dog\""),
            ("a.png,cat,1\n", "is no CSV table"),
        ] {
            let error = format!("{:#}", read(rows).unwrap_err());
            assert!(error.contains(says) && error.contains("boxes.csv"), "{error}");
        }
        std::fs::write(&table, "path,label,x,y,w\n").unwrap();
        let error = Boxes::open(&table, &["cat"], "pet").unwrap_err().to_string();
        assert!(error.contains("no column `h`"), "{error}");
    }
}
