//! `heatcast model learn`: new heads from pictures and from recordings.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::{Dir, counter_model, encode, fails, heatcast, json_of};
use crate::pictures::{number_in_i420, write_number};

const MS: u64 = 1_000_000;

fn learn(model: &Path, head: &str, output: &Path, more: &[&str]) -> Command {
    let mut command = heatcast(["model", "learn", "-q", "--json", "--head", head, "--model"]);
    command.arg(model).arg("-o").arg(output).args(more);
    command
}

/// Six spots of eight pictures each, half of low numbers, half of high ones.
fn halves(dir: &Dir) -> PathBuf {
    for spot in 0..6u8 {
        for i in 0..8u8 {
            let (class, n) = if spot % 2 == 0 { ("low", i % 4) } else { ("high", 64 + i % 4) };
            write_number(&dir.path(&format!("halves/{class}/spot{spot}_{i}.png")), n);
        }
    }
    dir.path("halves")
}

fn eval(model: &Path, head: &str, set: &Path) -> Value {
    let mut command = heatcast(["eval", "-q", "--json", "--head", head, "--model"]);
    command.arg(model).arg(set);
    json_of(command)
}

#[test]
fn a_new_head_is_learnt_and_used_beside_the_old_one() {
    let dir = Dir::new();
    let (set, taught) = (halves(&dir), dir.path("halves-model"));
    let from = ["--from", set.to_str().unwrap()];
    let summary = json_of(learn(&counter_model(), "half", &taught, &from));
    assert_eq!(summary["after"]["balanced_accuracy"], 1.0, "{summary}");
    assert!(summary["before"].is_null() && summary["replaced"] == false);
    assert_eq!(summary["classes"][0]["label"], "high");
    // Two of the six spots are held out: one of each class.
    assert_eq!(summary["after"]["n"], 16);
    let names = std::fs::read_dir(&taught).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = names.map(|n| n.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["README.md", "model.onnx", "model.toml"]);
    assert_eq!(dir.names(), ["halves", "halves-model"], "nothing else is left");

    let scores = eval(&taught, "half", &set);
    assert_eq!((&scores["accuracy"], &scores["auc"]), (&1.0.into(), &1.0.into()));
    assert!(scores["ece"].as_f64().unwrap() < 0.1, "{scores}");
    // The old head still reads numbers.
    write_number(&dir.path("numbers/n007/a.png"), 7);
    assert_eq!(eval(&taught, "number", &dir.path("numbers"))["accuracy"], 1.0);

    // The new head explains a video.
    let clip = dir.path("clip.mkv");
    let pictures = (0..25).map(|i| (i * 40 * MS, 40 * MS, number_in_i420(65, 320, 160)));
    let sink = format!(
        "appsrc name=v ! x264enc ! h264parse ! matroskamux ! filesink location={}",
        clip.display()
    );
    encode(&sink, (320, 160), pictures);
    let events = dir.path("e.jsonl");
    let mut annotate = heatcast(["annotate", "-q", "--json", "--head", "half", "--model"]);
    annotate.arg(&taught).arg(&clip).arg("-o").arg(dir.path("o.mkv")).arg("--events").arg(&events);
    json_of(annotate);
    let text = std::fs::read_to_string(events).unwrap();
    let seen: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let mine: Vec<_> = seen.iter().filter(|l| l["head"] == "half").collect();
    assert!(mine.len() >= 5 && mine.iter().all(|l| l["label"] == "high"), "{text}");
    assert!(mine.iter().all(|l| l["explained"]["peak"].as_f64().unwrap() > 0.3), "{text}");
}

#[test]
fn a_head_with_the_same_classes_is_compared_and_held_on_to() {
    let dir = Dir::new();
    let (set, first) = (halves(&dir), dir.path("first"));
    let from = ["--from", set.to_str().unwrap()];
    json_of(learn(&counter_model(), "half", &first, &from));
    // Three examples of each class that the first head has never seen.
    for i in 0..6 {
        write_number(&dir.path(&format!("few/low/{i}.png")), 8 + i % 2);
        write_number(&dir.path(&format!("few/high/{i}.png")), 72 + i % 2);
    }
    let few = dir.path("few");
    let from = ["--from", few.to_str().unwrap()];
    let second = dir.path("second");
    let summary = json_of(learn(&first, "half", &second, &from));
    assert_eq!((&summary["replaced"], &summary["mix"]), (&true.into(), &1.0.into()));
    assert_eq!(summary["before"]["balanced_accuracy"], 0.5, "it has not seen these numbers");
    assert_eq!(summary["after"]["balanced_accuracy"], 1.0, "{summary}");
    // What it knew is still there, and goes when it is not held on to.
    assert_eq!(eval(&second, "half", &set)["accuracy"], 1.0);
    assert_eq!(eval(&second, "half", &few)["accuracy"], 1.0);
    let third = dir.path("third");
    json_of(learn(&first, "half", &third, &[from[0], from[1], "--mix", "0"]));
    assert!(eval(&third, "half", &set)["accuracy"].as_f64().unwrap() < 0.9);
}

/// A recording of `(seconds, first number)` parts, ten frames a second.
fn recording(path: &Path, parts: &[(u64, u8)]) {
    let numbers: Vec<u8> = parts
        .iter()
        .flat_map(|&(seconds, first)| (0..seconds * 10).map(move |i| first + (i / 7 % 4) as u8))
        .collect();
    let pictures = (0u64..).zip(numbers);
    let pictures = pictures.map(|(i, n)| (i * 100 * MS, 100 * MS, number_in_i420(n, 160, 80)));
    let sink = format!(
        "appsrc name=v ! x264enc speed-preset=ultrafast key-int-max=20 ! h264parse ! mpegtsmux name=m ! filesink location={} audiotestsrc num-buffers=400 ! avenc_aac ! aacparse ! queue ! m.",
        path.display()
    );
    encode(&sink, (160, 80), pictures);
}

#[test]
fn a_recording_and_the_list_of_its_breaks_are_enough() {
    let dir = Dir::new();
    let (video, cuts, taught) = (dir.path("rec.ts"), dir.path("rec.edl"), dir.path("mine"));
    recording(&video, &[(12, 0), (8, 64), (12, 0), (8, 64), (12, 0), (8, 64), (4, 0)]);
    std::fs::write(&cuts, "12.0 20.0 3\n0:00:32 0:00:40.0 0\n52.0\t60.0\t0\n").unwrap();
    let from = ["--from-recording", video.to_str().unwrap(), "--cuts", cuts.to_str().unwrap()];
    let summary = json_of(learn(&counter_model(), "content", &taught, &from));
    assert_eq!(summary["after"]["balanced_accuracy"], 1.0, "{summary}");
    let n = |i: usize| {
        (summary["classes"][i]["label"].clone(), summary["classes"][i]["n"].as_u64().unwrap())
    };
    // Two frames a second, without one second at each side of six edges.
    let (show, commercial) = (n(0), n(1));
    assert_eq!((show.0, commercial.0), ("show".into(), "commercial".into()));
    assert!((62..=72).contains(&show.1) && (34..=40).contains(&commercial.1), "{summary}");
    write_number(&dir.path("set/show/a.png"), 2);
    write_number(&dir.path("set/commercial/a.png"), 66);
    assert_eq!(eval(&taught, "content", &dir.path("set"))["accuracy"], 1.0);

    let list = |text: &str, words: &[&str]| {
        std::fs::write(&cuts, text).unwrap();
        let code = if text.starts_with("900") { 1 } else { 2 };
        fails(learn(&counter_model(), "content", &dir.path("x"), &from), code, words);
    };
    list("900 1000 3\n", &["no frame lies inside the breaks"]);
    list("hello\n", &["rec.edl", "line 1 is \"hello\""]);
    list("1 2 1\n", &["no commercial break"]);
    assert!(!dir.path("x").exists());
    let names = dir.names();
    assert!(names.iter().all(|n| !n.contains(".part")), "{names:?}");
}

#[test]
fn examples_that_cannot_teach_are_refused() {
    let dir = Dir::new();
    let set = halves(&dir);
    let from = |set: &Path, more: &[&str]| {
        let mut command = learn(&counter_model(), "half", &dir.path("out"), more);
        command.arg("--from").arg(set);
        command
    };
    let one = dir.path("one");
    write_number(&one.join("low/1.png"), 1);
    fails(from(&one, &[]), 2, &["all pictures are of one class, \"low\""]);
    write_number(&one.join("high/1.png"), 70);
    fails(from(&one, &[]), 2, &["class \"high\" has 1 pictures", "at least 5"]);
    write_number(&one.join("Low/1.png"), 1);
    fails(from(&one, &[]), 2, &["\"Low\" and \"low\""]);
    fails(from(&set, &["--mix", "0.5"]), 2, &["no head \"half\"", "leave --mix out"]);
    fails(from(&set, &["--mix", "2"]), 2, &["--mix is 2"]);
    for i in 0..6 {
        write_number(&dir.path(&format!("bad/low/{i}.png")), 1);
        let broken = dir.path(&format!("bad/high/{i}.png"));
        std::fs::create_dir_all(broken.parent().unwrap()).unwrap();
        std::fs::write(broken, "x").unwrap();
    }
    fails(from(&dir.path("bad"), &[]), 1, &["only 0 examples of \"high\""]);
    std::fs::create_dir(dir.path("out")).unwrap();
    fails(from(&set, &[]), 2, &["exists", "--force"]);
    json_of(from(&set, &["--force"]));
    assert!(dir.path("out/model.toml").exists());
}
