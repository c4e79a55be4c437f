//! Labelled pictures on disk: a folder for each class, or a table in a CSV
//! file. Called before they are looked at; must not know what is done with
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::names::plain;

/// Extensions of the pictures that are read.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Extensions of pictures that are not.
const OTHERS: [&str; 9] = ["gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "svg"];
/// Folders within folders that are followed; links can make circles.
const DEEPEST: usize = 16;

/// What is wrong with a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}; check that it exists and may be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no data set.
    #[error("{}: {reason}", path.display())]
    Shape {
        /// The data set, or the part that is wrong.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}

fn shape(path: &Path, reason: impl Into<String>) -> Error {
    Error::Shape { path: path.to_owned(), reason: reason.into() }
}

/// Which rows of a table are meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The table; the pictures' paths are then relative to the data set.
    pub manifest: Option<PathBuf>,
    /// Rows with this `task`.
    pub task: Option<String>,
    /// Rows with this `split`.
    pub split: Option<String>,
}

/// One labelled picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The file.
    pub path: PathBuf,
    /// Name of its class.
    pub label: String,
    /// Video or source it is from, where that is known.
    pub group: Option<String>,
}

/// Labelled pictures, in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// The pictures.
    pub items: Vec<Item>,
    /// What people should know about what was left out.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Finds the pictures of `path`: a folder with one folder for each class,
    /// or a CSV file with the columns `path`, `label` (or `cls`, `class`) and
    /// optionally `group`, `split` and `task`.
    ///
    /// In a class's folder, further folders are the groups.
    ///
    /// # Errors
    /// [`Error`] says what cannot be read or does not fit.
    pub fn open(path: &Path, selection: &Selection) -> Result<Self, Error> {
        let meta = std::fs::metadata(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let selects = selection.task.is_some() || selection.split.is_some();
        let beside = path.join("manifest.csv");
        let table = match &selection.manifest {
            Some(table) => Some(table.clone()),
            None if meta.is_file() => Some(path.to_owned()),
            None if selects && beside.is_file() => Some(beside),
            None => None,
        };
        let Some(table) = table else {
            if selects {
                return Err(shape(
                    path,
                    "--task and --split choose rows of a table, and there is no manifest.csv here; leave them out or name the table with --manifest",
                ));
            }
            return Self::from_folder(path);
        };
        let base = if meta.is_file() { path.parent().unwrap_or(Path::new("")) } else { path };
        Self::from_table(&table, base, selection)
    }

    fn from_folder(path: &Path) -> Result<Self, Error> {
        let mut found = Self::default();
        let (mut folders, mut loose) = (Vec::new(), 0);
        for entry in entries(path)? {
            if entry.is_dir() {
                folders.push(entry);
            } else if has_extension(&entry, &PICTURES) {
                loose += 1;
            }
        }
        if folders.is_empty() {
            return Err(shape(
                path,
                "has no folders; make one for each class, named like it, and put its pictures there",
            ));
        }
        if loose > 0 {
            found
                .notes
                .push(format!("{loose} pictures outside the folders of the classes are left out"));
        }
        let mut left_out = 0;
        for folder in folders {
            let label = name_of(&folder);
            let before = found.items.len();
            found.collect(&folder, &label, None, 0, &mut left_out)?;
            if found.items.len() == before {
                return Err(shape(
                    &folder,
                    "holds no JPEG, PNG or WebP pictures; fill it or remove it",
                ));
            }
        }
        if left_out > 0 {
            found.notes.push(format!(
                "{left_out} files of other types are left out; only JPEG, PNG and WebP are read"
            ));
        }
        Ok(found)
    }

    fn collect(
        &mut self,
        folder: &Path,
        label: &str,
        group: Option<&str>,
        depth: usize,
        left_out: &mut usize,
    ) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(shape(folder, "lies too deep; is there a link to a folder above it?"));
        }
        for entry in entries(folder)? {
            if entry.is_dir() {
                let name = name_of(&entry);
                self.collect(&entry, label, Some(group.unwrap_or(&name)), depth + 1, left_out)?;
            } else if has_extension(&entry, &PICTURES) {
                let (label, group) = (label.to_owned(), group.map(str::to_owned));
                self.items.push(Item { path: entry, label, group });
            } else if has_extension(&entry, &OTHERS) {
                *left_out += 1;
            }
        }
        Ok(())
    }

    fn from_table(table: &Path, base: &Path, selection: &Selection) -> Result<Self, Error> {
        let file = std::fs::File::open(table)
            .map_err(|source| Error::Read { path: table.to_owned(), source })?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(file);
        let unreadable = |e: csv::Error| shape(table, format!("is no CSV table: {e}"));
        let header = reader.headers().map_err(unreadable)?.clone();
        let column = |names: &[&str]| {
            header
                .iter()
                .position(|h| names.contains(&h.to_lowercase().trim_start_matches('\u{feff}')))
        };
        let needed = |names: &[&str]| {
            column(names).ok_or_else(|| {
                let has = header.iter().collect::<Vec<_>>().join(", ");
                shape(table, format!("has no column `{}`; its columns are {has}", names[0]))
            })
        };
        let path = needed(&["path", "file", "filename"])?;
        let label = needed(&["label", "cls", "class"])?;
        let (group, split, task) = (column(&["group"]), column(&["split"]), column(&["task"]));
        for (asked, there, name) in
            [(&selection.split, split, "split"), (&selection.task, task, "task")]
        {
            if asked.is_some() && there.is_none() {
                return Err(shape(table, format!("has no column `{name}`; leave --{name} out")));
            }
        }
        let (mut found, mut tasks, mut splits) =
            (Self::default(), BTreeSet::new(), BTreeSet::new());
        for record in reader.records() {
            let record = record.map_err(unreadable)?;
            let cell =
                |column: Option<usize>| column.and_then(|c| record.get(c)).unwrap_or("").trim();
            let (row_task, row_split) = (cell(task), cell(split));
            tasks.insert(row_task.to_owned());
            splits.insert(row_split.to_owned());
            let meant = |asked: &Option<String>, is: &str| asked.as_ref().is_none_or(|a| a == is);
            if !meant(&selection.task, row_task) || !meant(&selection.split, row_split) {
                continue;
            }
            let (file, label) = (cell(Some(path)), cell(Some(label)));
            if file.is_empty() || label.is_empty() {
                let line = record.position().map_or(0, csv::Position::line);
                return Err(shape(
                    table,
                    format!("line {line} has no path or no label; fill it in"),
                ));
            }
            let group = Some(cell(group)).filter(|g| !g.is_empty()).map(str::to_owned);
            found.items.push(Item { path: base.join(file), label: label.to_owned(), group });
        }
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        if selection.task.is_none() && tasks.len() > 1 {
            let reason = format!("holds several tasks; choose one with --task: {}", list(&tasks));
            return Err(shape(table, reason));
        }
        if found.items.is_empty() {
            let reason = match (&selection.task, &selection.split) {
                (None, None) => "has no rows; add one for each picture".to_owned(),
                _ => format!(
                    "has no rows of that kind; tasks: {}; splits: {}",
                    list(&tasks),
                    list(&splits)
                ),
            };
            return Err(shape(table, reason));
        }
        if selection.split.is_none() && splits.len() > 1 {
            found.notes.push(format!("rows of all splits are taken ({})", list(&splits)));
        }
        Ok(found)
    }

    /// The classes with the number of their pictures, by name.
    pub fn labels(&self) -> BTreeMap<&str, usize> {
        let mut labels = BTreeMap::new();
        for item in &self.items {
            *labels.entry(item.label.as_str()).or_default() += 1;
        }
        labels
    }

    /// Two labels that differ only in case or space, if there are any.
    pub fn clash(&self) -> Option<(&str, &str)> {
        let mut seen = BTreeMap::new();
        for label in self.labels().into_keys() {
            if let Some(other) = seen.insert(plain(label), label) {
                return Some((other, label));
            }
        }
        None
    }
}

/// The pictures that lie in a folder itself, sorted.
///
/// # Errors
/// When it cannot be read or holds none.
pub fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = entries(folder)?;
    found.retain(|path| is_picture(path) && !path.is_dir());
    if found.is_empty() {
        return Err(shape(folder, "holds no JPEG, PNG or WebP pictures; name a folder that does"));
    }
    Ok(found)
}

/// Whether a file's name is that of a picture that can be read.
pub fn is_picture(path: &Path) -> bool {
    has_extension(path, &PICTURES)
}

/// What lies in a folder, sorted; hidden files are left out.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !name_of(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let own = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    own.is_some_and(|own| extensions.contains(&own.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(dir: &Path, files: &[&str]) {
        for file in files {
            let path = dir.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
    }

    fn table(
        dir: &Path,
        text: &str,
        task: Option<&str>,
        split: Option<&str>,
    ) -> Result<Dataset, String> {
        std::fs::write(dir.join("t.csv"), text).unwrap();
        let [task, split] = [task, split].map(|s| s.map(str::to_owned));
        Dataset::open(&dir.join("t.csv"), &Selection { manifest: None, task, split })
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_folder_for_each_class_with_folders_for_the_groups() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &["b/2.JPG", "b/1.png", "a/spot 1/x.webp", "a/spot 1/cut/y.jpg", "a/n.gif", "a/.z.jpg"],
        );
        let found = Dataset::open(dir.path(), &Selection::default()).unwrap();
        let seen: Vec<_> = found
            .items
            .iter()
            .map(|i| (name_of(&i.path), i.label.clone(), i.group.clone().unwrap_or_default()))
            .collect();
        let wanted = [
            ("y.jpg", "a", "spot 1"),
            ("x.webp", "a", "spot 1"),
            ("1.png", "b", ""),
            ("2.JPG", "b", ""),
        ];
        assert_eq!(seen, wanted.map(|(p, l, g)| (p.to_owned(), l.to_owned(), g.to_owned())));
        assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
        assert_eq!(found.labels().into_iter().collect::<Vec<_>>(), [("a", 2), ("b", 2)]);
    }

    #[test]
    fn a_table_gives_the_rows_that_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let text = "path,task,cls,split,group,note\n\
                    i/1.jpg,content,show,val,s1,\"a, b\"\n\
                    i/2.jpg,content,commercial,train,s2,\n\
                    i/1.jpg,animation,live,val,s1,\n";
        let found = table(dir.path(), text, Some("content"), Some("val")).unwrap();
        let wanted = Item {
            path: dir.path().join("i/1.jpg"),
            label: "show".to_owned(),
            group: Some("s1".to_owned()),
        };
        assert_eq!(found.items, [wanted]);
        assert_eq!(table(dir.path(), text, Some("content"), None).unwrap().items.len(), 2);
        for (text, task, split, says) in [
            (text, None, None, "choose one with --task: animation, content"),
            (text, Some("sport"), None, "no rows of that kind"),
            ("a,b\n1,2\n", None, None, "no column `path`; its columns are a, b"),
            ("path,label\nx.jpg,a\n", None, Some("val"), "no column `split`"),
            ("path,label\nx.jpg,\n", None, None, "line 2 has no path or no label"),
            ("path,label\n", None, None, "has no rows"),
            ("path,label\nx,y,z\n", None, None, "is no CSV table"),
        ] {
            let said = table(dir.path(), text, task, split).unwrap_err();
            assert!(said.contains(says), "{says}: {said}");
        }
    }

    #[test]
    fn what_is_no_data_set_is_said_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let open =
            |path: &Path| Dataset::open(path, &Selection::default()).unwrap_err().to_string();
        assert!(open(&dir.path().join("none")).contains("check that it exists"));
        assert!(open(dir.path()).contains("has no folders"));
        touch(dir.path(), &["a/1.jpg", "b/notes.txt"]);
        let said = open(dir.path());
        assert!(said.contains("/b: holds no JPEG"), "{said}");
        let split = Selection { split: Some("val".to_owned()), ..Selection::default() };
        let said = Dataset::open(dir.path(), &split).unwrap_err().to_string();
        assert!(said.contains("--manifest"), "{said}");
        touch(dir.path(), &["b/1.jpg", "B/1.jpg"]);
        let found = Dataset::open(dir.path(), &Selection::default()).unwrap();
        assert_eq!(found.clash(), Some(("B", "b")));
    }
}
