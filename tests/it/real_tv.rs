//! Breaks found in recordings spliced from real broadcasts: `HEATCAST_FOOTAGE` names a
//! folder of clips, and beside it the folder `dataset` holds frames of real spots.
//! Nothing of this is part of the project; skipped where it is absent. The model
//! `broadcast` has learnt from pictures of these spots; the head that is taught here
//! from neither the spots nor the clips that are shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{Dir, heatcast, json_of, text};
use crate::recordings::{FPS, Part, splice_at};

/// Frames of a spot follow each other after so many frames of the recording.
const SHOT: u32 = 40;

/// Clips, and spots by their pictures.
struct Footage {
    clips: PathBuf,
    /// Pictures of each spot or programme, by class, part of the data set and name.
    groups: BTreeMap<[String; 3], Vec<PathBuf>>,
}

impl Footage {
    /// Names and pictures of a class in a part of the data set.
    fn of(&self, class: &str, split: &str) -> Vec<(&str, &[PathBuf])> {
        let wanted = self.groups.iter().filter(|([c, s, _], _)| c == class && s == split);
        wanted.map(|([_, _, group], pictures)| (group.as_str(), pictures.as_slice())).collect()
    }
}

/// What there is; none, with the reason, where something is missing.
fn footage() -> Option<Footage> {
    let Some(clips) = std::env::var_os("HEATCAST_FOOTAGE").map(PathBuf::from) else {
        eprintln!("skipped: HEATCAST_FOOTAGE is not set");
        return None;
    };
    let dataset = clips.join("../dataset");
    let Ok(table) = std::fs::read_to_string(dataset.join("manifest.csv")) else {
        eprintln!("skipped: there is no dataset/manifest.csv beside {}", clips.display());
        return None;
    };
    let mut groups: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
    for line in table.lines() {
        let columns: Vec<&str> = line.split(',').take(5).collect();
        let [path, "a_show_vs_commercial", class, split, group] = columns[..] else {
            continue;
        };
        // These pictures are from the clips.
        if !group.starts_with("clips-") {
            let key = [class, split, group].map(str::to_owned);
            groups.entry(key).or_default().push(dataset.join(path));
        }
    }
    let needed = SHOWN.iter().map(|(name, _)| *name).chain([PARODY]);
    for name in needed {
        if !clips.join(name).exists() {
            eprintln!("skipped: {name} is not in {}", clips.display());
            return None;
        }
    }
    Some(Footage { clips, groups })
}

/// Name and seconds.
type Clip = (&'static str, u32);

const PARODY: &str = "ad_ai_parody_starbucks.mp4";
/// Programme of the recording that is scanned.
const SHOWN: [Clip; 3] = [
    ("sport_soccer_laliga_h264_720p30_aac.mp4", 24),
    ("tv_talkshow_channel1ru_h264_576p25_aac.ts", 12),
    ("sport_tennis_supertennis_h264_1080p30_aac.mp4", 10),
];

/// A recording with its true breaks.
#[derive(Default)]
struct Evening {
    parts: Vec<Part>,
    breaks: Vec<(f64, f64)>,
}

impl Evening {
    fn at(&self) -> f64 {
        f64::from(self.parts.iter().map(Part::frames).sum::<u32>()) / f64::from(FPS)
    }

    fn clip(&mut self, clips: &Path, (name, seconds): Clip, from_s: f64) {
        let file = clips.join(name);
        let options = "-stream_loop -1".to_owned();
        self.parts.push(Part::Footage {
            file,
            options,
            from_s,
            frames: seconds * FPS,
            sound: true,
        });
    }

    fn black(&mut self, frames: u32) {
        self.parts.push(Part::Black { frames });
    }

    /// The pictures of a spot or programme one after the other, again and again.
    fn spot(&mut self, dir: &Dir, name: &str, pictures: &[PathBuf], seconds: u32) {
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let file = dir.path(&format!("{name}.mjpeg"));
        let count = (seconds * FPS / SHOT + 2) as usize;
        let shown = pictures.iter().cycle().take(count);
        let bytes: Vec<u8> = shown.flat_map(|p| std::fs::read(p).unwrap()).collect();
        std::fs::write(&file, bytes).unwrap();
        self.parts.push(Part::Footage {
            file,
            options: format!("-f mjpeg -framerate {FPS}/{SHOT}"),
            from_s: 0.0,
            frames: seconds * FPS,
            sound: false,
        });
    }

    /// A break of some spots of `split`, with black and silence around each or none.
    fn spots(&mut self, dir: &Dir, footage: &Footage, split: &str, which: &[usize], dark: bool) {
        let spots = footage.of("commercial", split);
        for n in which {
            let (group, pictures) = spots[n % spots.len()];
            self.spot(dir, &format!("{split}-{group}"), pictures, 10 + 5 * (*n as u32 % 2));
            if dark {
                self.black(6);
            }
        }
    }

    fn splice(&self, dir: &Dir, name: &str) -> (PathBuf, PathBuf) {
        let encoder = "-c:v mpeg2video -q:v 4 -g 12 -bf 2 -c:a mp2";
        let input = splice_at((720, 576), dir, &format!("{name}.ts"), &self.parts, "", encoder);
        let lines = self.breaks.iter().map(|(from, to)| format!("{from:.3}\t{to:.3}\t0\n"));
        let cuts = dir.path(&format!("{name}.edl"));
        std::fs::write(&cuts, lines.collect::<String>()).unwrap();
        (input, cuts)
    }
}

/// Football, a talk show and tennis, with two breaks of spots and parody adverts: the
/// first with hard cuts only, the second with black and silence.
fn evening(dir: &Dir, footage: &Footage) -> Evening {
    let mut evening = Evening::default();
    let [soccer, talk, tennis] = SHOWN;
    for (n, dark) in [false, true].into_iter().enumerate() {
        for (clip, from_s) in
            [(soccer, 0.0), (talk, 0.0), (tennis, 0.0), (soccer, 9.0), (talk, 5.0)]
        {
            evening.clip(&footage.clips, clip, from_s);
        }
        let start = evening.at() + if dark { 0.24 } else { 0.0 };
        if dark {
            evening.black(12);
        }
        evening.clip(&footage.clips, (PARODY, 8), 0.0);
        let which: Vec<usize> = (0..4).map(|i| 4 * n + i).collect();
        evening.spots(dir, footage, "val", &which, dark);
        evening.clip(&footage.clips, (PARODY, 4), 0.0);
        evening.breaks.push((start, evening.at() + if dark { 0.24 } else { 0.0 }));
        if dark {
            evening.black(12);
        }
    }
    evening.clip(&footage.clips, tennis, 0.0);
    evening.clip(&footage.clips, talk, 0.0);
    evening.clip(&footage.clips, soccer, 3.0);
    evening
}

/// Another evening, with frames of many programmes: neither a clip nor a spot is in both.
fn other_evening(dir: &Dir, footage: &Footage) -> Evening {
    let mut evening = Evening::default();
    let programmes = footage.of("show", "train");
    for (n, some) in programmes.chunks(programmes.len().div_ceil(5)).enumerate() {
        for (group, pictures) in some {
            let seconds = (pictures.len() as u32 * SHOT / FPS).min(12);
            evening.spot(dir, &format!("show-{group}"), pictures, seconds.max(1));
        }
        if n == 4 {
            break;
        }
        let start = evening.at();
        let which: Vec<usize> = (0..8).map(|i| 8 * n + i).collect();
        evening.spots(dir, footage, "train", &which, false);
        evening.breaks.push((start, evening.at()));
    }
    evening
}

fn scores(dir: &Dir, input: &Path, truth: &Path, model: &str) -> Value {
    let found = dir.path("found.segments.jsonl");
    let mut scan = heatcast(["scan", "-q", "--force", "--model", model, "--segments"]);
    let out = scan.arg(&found).arg(input).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let mut score = heatcast(["score", "--json"]);
    score.arg(truth).arg(&found);
    let scores = json_of(score);
    eprintln!(
        "{model}: accuracy {} F1 {} boundaries {} error {}\n{}",
        scores["frame_accuracy"],
        scores["segment_f1"],
        scores["boundary_f1"],
        scores["boundary_error_s"],
        std::fs::read_to_string(&found).unwrap()
    );
    scores
}

#[test]
fn breaks_of_a_real_broadcast_are_found_by_a_head_taught_with_another_evening() {
    let Some(footage) = footage() else { return };
    let dir = Dir::new();
    let made = evening(&dir, &footage);
    let (input, truth) = made.splice(&dir, "evening");
    let shipped = scores(&dir, &input, &truth, "broadcast");
    let (other, cuts) = other_evening(&dir, &footage).splice(&dir, "other");
    let taught = dir.path("taught");
    let mut learn = heatcast(["model", "learn", "-q", "--head", "content"]);
    learn.arg("--from-recording").arg(&other).arg("--cuts").arg(&cuts).arg("-o").arg(&taught);
    let out = learn.output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let taught = scores(&dir, &input, &truth, taught.to_str().unwrap());
    for (scores, least) in [(shipped, 0.96), (taught, 0.96)] {
        // The truth is about this recording: every part is as long as it should be.
        let length_s = scores["per_file"][0]["duration_s"].as_f64().unwrap();
        assert!((length_s - made.at()).abs() < 0.1, "{length_s}, but {} were made", made.at());
        assert!(scores["frame_accuracy"].as_f64().unwrap() >= least, "{scores}");
        assert_eq!(scores["segment_f1"]["0.75"], 1.0, "{scores}");
        // Those with black and silence; the others are at a cut some seconds away.
        assert!(scores["boundary_f1"]["0.5"].as_f64().unwrap() >= 0.5, "{scores}");
    }
}
