//! Finds the files of two sides, reads them and compares their timelines, for
//! `heatcast score`. Must not know how the figures are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use crate::names;
use crate::timeline::formats::{self, OPEN_END};
use crate::timeline::score::{self, Scores, Tally};

/// Characters by which a pattern is known.
const WILD: [char; 3] = ['*', '?', '['];
/// Endings of timeline files, those that say most first.
const ENDINGS: [&str; 7] = ["segments.jsonl", "jsonl", "csv", "edl", "vtt", "ffmeta", "txt"];
/// Endings that look like those, but cannot be read.
const OTHERS: [&str; 1] = ["scte35.csv"];
/// What names of the same recording may have before their ending.
const WORDS: [&str; 6] = ["truth", "segments", "events", "annotated", "chapters", "predicted"];
/// Durations that differ by less are the same, seconds.
const SAME_S: f64 = 1.0;
/// The label of everything that is no break.
const SHOW: &str = "show";

/// What is compared with what.
#[derive(Clone, Debug)]
pub struct Score {
    /// The truth: a file, a folder or a pattern.
    pub truth: PathBuf,
    /// What is scored: likewise.
    pub predicted: PathBuf,
    /// Only segments of this head.
    pub head: Option<String>,
    /// The label that is scored.
    pub label: Option<String>,
    /// Seconds that every recording lasts.
    pub duration_s: Option<f64>,
}

/// Files that belong together.
#[derive(Debug)]
struct Pair {
    name: String,
    truth: PathBuf,
    predicted: PathBuf,
}

/// A [`Score`] whose files were found.
#[derive(Debug)]
pub struct ScorePlan {
    job: Score,
    pairs: Vec<Pair>,
    notes: Vec<String>,
}

/// How one recording scored.
#[derive(Debug)]
pub struct ScoredFile {
    /// Its name: what both file names have in common.
    pub name: String,
    /// Where the duration comes from: `--duration`, `truth` or `predicted`.
    pub duration_from: &'static str,
    /// The figures.
    pub scores: Scores,
}

/// How all recordings scored.
#[derive(Debug)]
pub struct Scored {
    /// The label that was scored.
    pub label: String,
    /// All together.
    pub pooled: Scores,
    /// Each.
    pub files: Vec<ScoredFile>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// Finds the files and which of them belong together.
///
/// # Errors
/// When a name stands for nothing, or a truth has no partner.
pub fn plan_score(job: Score) -> anyhow::Result<ScorePlan> {
    if let Some(s) = job.duration_s.filter(|s| !(s.is_finite() && *s > 0.0)) {
        bail!("--duration is {s}, but must be a number of seconds above 0");
    }
    let (truth, predicted) = (files(&job.truth)?, files(&job.predicted)?);
    let mut notes = Vec::new();
    let single = |side: &Side| side.single.clone();
    let pairs = match (single(&truth), single(&predicted)) {
        (Some(truth), Some(predicted)) => vec![Pair { name: stem(&truth), truth, predicted }],
        _ => {
            let mut rest = predicted.files;
            let mut pairs = Vec::new();
            for (name, truth) in truth.files {
                let predicted = rest.remove(&name).with_context(|| {
                    format!(
                        "{} has no partner in {}: no file there is called {name} before its ending",
                        truth.display(),
                        job.predicted.display()
                    )
                })?;
                pairs.push(Pair { name, truth, predicted });
            }
            // One truth among many results is meant to be alone.
            if truth.single.is_none() {
                let alone =
                    |path: &PathBuf| format!("{} has no truth and is left out", path.display());
                notes.extend(rest.values().map(alone));
            }
            pairs
        }
    };
    Ok(ScorePlan { job, pairs, notes })
}

/// The files of one side, by the name of their recording.
struct Side {
    files: BTreeMap<String, PathBuf>,
    /// The file, where one was named.
    single: Option<PathBuf>,
}

fn files(name: &Path) -> anyhow::Result<Side> {
    let shown = name.display();
    if name.is_file() {
        let files = BTreeMap::from([(stem(name), name.to_owned())]);
        return Ok(Side { files, single: Some(name.to_owned()) });
    }
    let pattern = name.to_string_lossy();
    let found: Vec<PathBuf> = if name.is_dir() {
        let entries = std::fs::read_dir(name).with_context(|| format!("{shown} cannot be read"))?;
        entries.flatten().map(|e| e.path()).filter(|p| rank(p).is_some()).collect()
    } else if pattern.contains(WILD) {
        let paths = glob::glob(&pattern).with_context(|| format!("{shown} is no pattern"))?;
        paths.flatten().collect()
    } else {
        bail!("{shown}: there is no such file or folder; check the name");
    };
    let mut best: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in found.into_iter().filter(|p| p.is_file()) {
        let rank = |p: &Path| (rank(p).unwrap_or(usize::MAX), p.to_owned());
        let known = best.get(&stem(&path));
        if known.is_none_or(|known| rank(&path) < rank(known)) {
            best.insert(stem(&path), path);
        }
    }
    if best.is_empty() {
        bail!("{shown} holds no timeline: no file that ends in .{}", ENDINGS.join(", ."));
    }
    Ok(Side { files: best, single: None })
}

/// Which of the endings a file has; none for other files.
fn rank(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let ends = |ending: &str| name.strip_suffix(ending).is_some_and(|rest| rest.ends_with('.'));
    if name.starts_with('.') || OTHERS.iter().any(|ending| ends(ending)) {
        return None;
    }
    ENDINGS.iter().position(|ending| ends(ending))
}

/// The name of the recording that a timeline file is about.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut rest = name.rsplit_once('.').map_or(&*name, |(rest, _)| rest);
    while let Some((before, word)) = rest.rsplit_once('.') {
        if before.is_empty() || !WORDS.contains(&word.to_lowercase().as_str()) {
            break;
        }
        rest = before;
    }
    rest.to_owned()
}

/// A file as it was read.
struct Read {
    path: PathBuf,
    spans: Vec<formats::Span>,
    /// Of live results, when they were announced.
    announced: Vec<formats::Announced>,
    duration_s: Option<f64>,
}

impl Read {
    fn file(path: &Path, is_truth: bool) -> anyhow::Result<Self> {
        let shown = || path.display().to_string();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", shown()))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| anyhow!("{} is not text in UTF-8, so it is no timeline", shown()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A truth that overlaps itself is in doubt; a result is what it is.
        let read = if is_truth { formats::stated } else { formats::read };
        let spans = read(&text, &name).with_context(shown)?;
        let duration_s = formats::duration(&text).map(|d| d.as_secs_f64());
        let announced = formats::announced(&text).unwrap_or_default();
        Ok(Self { path: path.to_owned(), spans, announced, duration_s })
    }

    /// Where the recording ends, as far as this file tells: its duration, or
    /// the end of its last segment.
    fn end_s(&self) -> f64 {
        let ends = self.spans.iter().map(|s| s.end).filter(|end| *end < OPEN_END);
        let last = ends.max().map_or(0.0, crate::frame::Pts::as_secs_f64);
        self.duration_s.unwrap_or(0.0).max(last)
    }

    fn segments(&self, wanted: &Wanted) -> anyhow::Result<Vec<score::Span>> {
        let of_head = |s: &&formats::Span| match (&wanted.head, &s.head) {
            (Some(wanted), Some(head)) => names::plain(head) == *wanted,
            _ => true,
        };
        let meant: Vec<_> = self
            .spans
            .iter()
            .filter(of_head)
            .filter(|s| names::plain(&s.label) == wanted.label)
            .collect();
        let heads: BTreeSet<&str> = meant.iter().filter_map(|s| s.head.as_deref()).collect();
        if heads.len() > 1 {
            let heads: Vec<&str> = heads.into_iter().collect();
            bail!(
                "{}: several heads have the label {:?}; choose one with --head: {}",
                self.path.display(),
                wanted.label,
                heads.join(", ")
            );
        }
        let span = |s: &&formats::Span| {
            let end_s = if s.end < OPEN_END { s.end.as_secs_f64() } else { f64::INFINITY };
            let said = self.announced.iter().find(|a| a.span == **s);
            score::Span {
                start_s: s.start.as_secs_f64(),
                end_s,
                start_said_s: said.map(|a| a.start_said.as_secs_f64()),
                end_said_s: said.map(|a| a.end_said.as_secs_f64()),
            }
        };
        Ok(meant.iter().map(span).collect())
    }
}

/// Which segments are scored.
struct Wanted {
    head: Option<String>,
    label: String,
}

/// Reads and compares.
///
/// # Errors
/// When a file cannot be read, contradicts itself, or has other labels.
pub fn score(plan: ScorePlan) -> anyhow::Result<Scored> {
    let ScorePlan { job, pairs, mut notes } = plan;
    let mut read = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let truth = Read::file(&pair.truth, true)?;
        let predicted = Read::file(&pair.predicted, false)?;
        read.push((pair.name, truth, predicted));
    }
    let label = job.label.as_deref().unwrap_or(formats::BREAK);
    let wanted = Wanted { head: job.head.as_deref().map(names::plain), label: names::plain(label) };
    check_label(&read, &wanted)?;
    let (mut pooled, mut files) = (Tally::default(), Vec::new());
    for (name, truth, predicted) in read {
        let (duration_s, duration_from) = duration(&job, &name, (&truth, &predicted), &mut notes)?;
        let line = |side: &Read| -> anyhow::Result<Vec<score::Span>> {
            let shown = side.path.display().to_string();
            score::timeline(side.segments(&wanted)?, duration_s).context(shown)
        };
        let tally = Tally::of(&line(&truth)?, &line(&predicted)?, duration_s);
        pooled.add(&tally);
        files.push(ScoredFile { name, duration_from, scores: tally.scores() });
    }
    Ok(Scored { label: label.to_owned(), pooled: pooled.scores(), files, notes })
}

/// A label that nobody uses would score as if there was nothing to find.
fn check_label(read: &[(String, Read, Read)], wanted: &Wanted) -> anyhow::Result<()> {
    let spans = || read.iter().flat_map(|(_, t, p)| t.spans.iter().chain(&p.spans));
    let mut labels: BTreeSet<String> = spans().map(|s| names::plain(&s.label)).collect();
    if labels.contains(&wanted.label) {
        return Ok(());
    }
    let known = labels.iter().cloned().collect::<Vec<_>>().join(", ");
    if wanted.label == formats::BREAK {
        labels.remove(SHOW);
    }
    if !labels.is_empty() {
        bail!("no segment is labelled {:?}; choose with --label among: {known}", wanted.label);
    }
    Ok(())
}

/// How long a recording is, and who says so.
fn duration(
    job: &Score,
    name: &str,
    (truth, predicted): (&Read, &Read),
    notes: &mut Vec<String>,
) -> anyhow::Result<(f64, &'static str)> {
    if let Some(duration_s) = job.duration_s {
        let later = |side: &&&Read| side.end_s() > duration_s + SAME_S;
        for side in [truth, predicted].iter().filter(later) {
            notes.push(format!(
                "{} goes on until {:.3} s; what lies behind --duration is left out",
                side.path.display(),
                side.end_s()
            ));
        }
        return Ok((duration_s, "--duration"));
    }
    let ends = [truth.end_s(), predicted.end_s()];
    let (end_s, from) =
        if ends[0] >= ends[1] { (ends[0], "truth") } else { (ends[1], "predicted") };
    let open = |side: &Read| side.spans.iter().any(|s| s.end == OPEN_END);
    let said = |side: &Read| side.duration_s.is_some();
    if end_s <= 0.0 {
        bail!(
            "{name}: neither file tells how long the recording is; give its seconds with --duration"
        );
    }
    if said(truth) && said(predicted) {
        if (ends[0] - ends[1]).abs() > SAME_S {
            notes.push(format!(
                "{name}: the truth lasts {:.3} s, the prediction {:.3} s; compared over the longer, the {from}'s",
                ends[0], ends[1]
            ));
        }
    } else if !said(if from == "truth" { truth } else { predicted }) {
        let open =
            if open(truth) || open(predicted) { ", where open segments are cut off" } else { "" };
        notes.push(format!(
            "{name}: compared up to the last end of a segment, {end_s:.3} s in the {from}{open}; for the whole recording give its seconds with --duration"
        ));
    }
    Ok((end_s, from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_recording_is_what_its_files_share() {
        for (file, name) in [
            ("a/rec.edl", "rec"),
            ("rec.segments.jsonl", "rec"),
            ("rec.Annotated.events.jsonl", "rec"),
            ("show.2024.01.truth.txt", "show.2024.01"),
            ("rec", "rec"),
            ("truth.edl", "truth"),
            (".truth.edl", ".truth"),
        ] {
            assert_eq!(stem(Path::new(file)), name, "{file}");
        }
    }

    #[test]
    fn of_several_files_of_a_recording_the_fullest_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            ["a.edl", "a.segments.jsonl", "a.txt", "a.scte35.csv", "b.csv", "b.m3u8", ".c.edl"];
        for name in names {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let side = files(dir.path()).unwrap();
        let found: Vec<_> =
            side.files.values().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(found, ["a.segments.jsonl", "b.csv"]);
        assert!(files(&dir.path().join("*.nothing")).is_err());
    }
}
