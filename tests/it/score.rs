//! `heatcast score` on timeline files of every format.

use std::path::Path;
use std::process::Command;

use crate::common::{Dir, fails, heatcast, json_of, text};

fn write(dir: &Dir, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn score(truth: &Path, predicted: &Path, more: &[&str]) -> Command {
    let mut command = heatcast(["score"]);
    command.arg(truth).arg(predicted).args(more);
    command
}

/// Two breaks of half an hour, as each format has them.
const EDL: &str = "100.000 200.000 3\n600.000 700.000 3\n";

#[test]
fn the_contract_has_its_keys_and_known_errors_their_figures() {
    let dir = Dir::new();
    let truth = write(&dir, "t.edl", EDL);
    let predicted = write(&dir, "p.edl", "110 201.5 3\n1000 1020 3\n");
    let s = json_of(score(&truth, &predicted, &["--json", "--duration", "1800"]));
    let near = |value: &serde_json::Value, wanted: f64| {
        let got = value.as_f64().unwrap_or(f64::NAN);
        assert!((got - wanted).abs() < 1e-6, "{got}, wanted {wanted}: {s:#}");
    };
    near(&s["frame_accuracy"], 1668.5 / 1800.0);
    near(&s["segment_f1"]["0.5"], 0.5);
    near(&s["segment_f1"]["0.75"], 0.5);
    near(&s["segment_f1"]["0.9"], 0.0);
    near(&s["boundary_f1"]["0.5"], 0.0);
    near(&s["boundary_f1"]["1"], 0.0);
    near(&s["boundary_f1"]["2"], 0.25);
    near(&s["boundary_error_s"]["median"], 5.75);
    near(&s["boundary_error_s"]["p90"], 9.15);
    near(&s["boundary_error_s"]["bias"], 5.75);
    near(&s["show_lost_s_per_h"], 43.0);
    near(&s["ads_missed_s_per_h"], 220.0);
    assert!(s["mcc"].as_f64().unwrap() > 0.5);
    near(&s["all_show"]["frame_accuracy"], 1600.0 / 1800.0);
    assert_eq!(s["label"], "commercial");
    assert_eq!(s["per_file"][0]["name"], "t");
    assert_eq!(s["per_file"][0]["duration_from"], "--duration");
}

#[test]
fn every_format_on_either_side_agrees_with_every_other() {
    let dir = Dir::new();
    let chapters = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=100000\ntitle=show\n\
        [CHAPTER]\nTIMEBASE=1/1000\nSTART=100000\nEND=200000\ntitle=commercial\n\
        [CHAPTER]\nTIMEBASE=1/1000\nSTART=200000\nEND=600000\ntitle=show\n\
        [CHAPTER]\nTIMEBASE=1/1000\nSTART=600000\nEND=700000\ntitle=commercial\n\
        [CHAPTER]\nTIMEBASE=1/1000\nSTART=700000\nEND=1800000\ntitle=show\n";
    let comskip = "FILE PROCESSING COMPLETE  45000 FRAMES AT  2500\n-------------------\n2500\t5000\n15000\t17500\n";
    let table = "head,label,start_s,end_s\ncontent,show,0,100\ncontent,commercial,100,200\n\
        content,show,200,600\ncontent,commercial,600,700\ncontent,show,700,1800\n";
    let lines = |rows: &[(&str, u32, u32)]| {
        let row = |(label, start, end): &(&str, u32, u32)| {
            format!(
                r#"{{"type":"segment","head":"content","label":"{label}","start_s":{start},"end_s":{end}}}"#
            )
        };
        rows.iter().map(row).collect::<Vec<_>>().join("\n")
    };
    let segments = lines(&[
        ("show", 0, 100),
        ("commercial", 100, 200),
        ("show", 200, 600),
        ("commercial", 600, 700),
        ("show", 700, 1800),
    ]);
    let events: String = (0..180)
        .map(|n| {
            let inside = (10..20).contains(&n) || (60..70).contains(&n);
            let label = if inside { "commercial" } else { "show" };
            format!(
                "{{\"type\":\"analysis\",\"pts_s\":{},\"head\":\"content\",\"label\":\"x\",\"shown\":{{\"label\":\"{label}\",\"probability\":0.9}}}}\n",
                n * 10
            )
        })
        .chain(["{\"type\":\"end\",\"frames\":180,\"analysed\":180,\"duration_s\":1800.0,\"complete\":true,\"reason\":null}\n".to_owned()])
        .collect();
    let files = [
        write(&dir, "a.edl", EDL),
        write(&dir, "a.ffmeta", chapters),
        write(&dir, "a.txt", comskip),
        write(&dir, "a.csv", table),
        write(&dir, "a.segments.jsonl", &segments),
        write(&dir, "a.events.jsonl", &events),
    ];
    for truth in &files {
        for predicted in &files {
            let s = json_of(score(truth, predicted, &["--json", "-q"]));
            // Comskip counts frames from one: half a second will do.
            for part in [&s["segment_f1"]["0.9"], &s["boundary_f1"]["0.5"]] {
                assert_eq!(part.as_f64(), Some(1.0), "{truth:?} {predicted:?}: {s:#}");
            }
            assert_eq!(s["segments"]["truth"], 2);
        }
    }
}

#[test]
fn folders_are_matched_by_name_pooled_and_told_file_by_file() {
    let dir = Dir::new();
    write(&dir, "truth/one.edl", EDL);
    write(&dir, "truth/two.truth.edl", "");
    write(&dir, "pred/one.annotated.edl", EDL);
    write(&dir, "pred/two.csv", "head,label,start_s,end_s\ncontent,commercial,10,46\n");
    write(&dir, "pred/three.edl", EDL);
    let (truth, pred) = (dir.path("truth"), dir.path("pred"));
    let s = json_of(score(&truth, &pred, &["--json", "--duration", "1800"]));
    assert_eq!((&s["files"], &s["duration_s"]), (&2.into(), &3600.0.into()));
    assert_eq!(s["show_lost_s_per_h"], 36.0);
    let names: Vec<_> = s["per_file"].as_array().unwrap().iter().map(|f| &f["name"]).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(s["per_file"][0]["mcc"], 1.0);
    assert!(s["per_file"][1]["segment_f1"]["0.5"] == 0.0);
    let out = score(&truth, &pred, &["--duration", "1800"]).output().unwrap();
    let (said, talk) = (text(&out.stdout), text(&out.stderr));
    assert!(said.contains("2 recordings, 60.0 minutes"), "{said}");
    assert!(said.lines().any(|l| l.starts_with("two ")), "{said}");
    assert!(talk.contains("three.edl has no truth and is left out"), "{talk}");
    // A pattern does as well, and one truth is compared with its own result only.
    let pattern = json_of(score(&truth.join("o*.edl"), &pred, &["--json", "-q"]));
    let single = json_of(score(&truth.join("one.edl"), &pred, &["--json", "-q"]));
    assert_eq!((&pattern["mcc"], &single["files"]), (&1.0.into(), &1.into()));
    std::fs::remove_file(dir.path("pred/two.csv")).unwrap();
    fails(score(&truth, &pred, &[]), 2, &["two.truth.edl has no partner in", "called two"]);
}

#[test]
fn the_duration_is_the_longer_one_and_it_is_said_whose() {
    let dir = Dir::new();
    let truth = write(&dir, "t.edl", EDL);
    let long = "{\"type\":\"timeline\",\"schema\":1,\"media\":\"\",\"duration_s\":1800.0,\"settled_s\":1800.0}\n\
        {\"type\":\"segment\",\"head\":\"content\",\"label\":\"show\",\"start_s\":0,\"end_s\":1800}\n";
    let long = write(&dir, "p.jsonl", long);
    let s = json_of(score(&truth, &long, &["--json"]));
    assert_eq!(
        (&s["duration_s"], &s["per_file"][0]["duration_from"]),
        (&1800.0.into(), &"predicted".into())
    );
    assert_eq!(s["notes"].as_array().unwrap().len(), 0, "{s:#}");
    let s = json_of(score(&truth, &truth, &["--json"]));
    assert_eq!(s["duration_s"], 700.0);
    assert!(
        s["notes"][0]
            .as_str()
            .unwrap()
            .contains("up to the last end of a segment, 700.000 s in the truth")
    );
    let s = json_of(score(&truth, &truth, &["--json", "--duration", "650"]));
    assert!(s["notes"][0].as_str().unwrap().contains("goes on until 700.000 s"), "{s:#}");
    let shorter = "{\"type\":\"timeline\",\"schema\":1,\"media\":\"\",\"duration_s\":1700.0,\"settled_s\":1700.0}\n";
    let shorter = write(&dir, "s.jsonl", shorter);
    let s = json_of(score(&long, &shorter, &["--json"]));
    assert!(
        s["notes"][0]
            .as_str()
            .unwrap()
            .contains("the truth lasts 1800.000 s, the prediction 1700.000 s"),
        "{s:#}"
    );
}

#[test]
fn of_a_live_stream_the_latency_is_told() {
    let dir = Dir::new();
    let truth = write(&dir, "t.edl", "300 420 3\n");
    let line = |edge: &str, state: &str, at: f64| {
        format!(
            "{{\"type\":\"boundary\",\"at_s\":{at},\"id\":1,\"edge\":\"{edge}\",\"state\":\"{state}\",\"head\":\"content\",\"label\":\"commercial\",\"start_s\":300.5,\"end_s\":420}}\n"
        )
    };
    let live = line("start", "provisional", 312.0)
        + &line("start", "final", 330.0)
        + &line("end", "provisional", 441.0)
        + &line("end", "final", 450.0);
    let live = write(&dir, "live.jsonl", &live);
    let s = json_of(score(&truth, &live, &["-q", "--json", "--duration", "900"]));
    assert_eq!(s["latency_s"]["start"], serde_json::json!({"n": 1, "median": 12.0, "p90": 12.0}));
    assert_eq!(s["latency_s"]["end"]["median"], 21.0);
    assert_eq!(s["boundary_error_s"]["start_bias"], 0.5);
    let out = score(&truth, &live, &["-q", "--duration", "900"]).output().unwrap();
    assert!(
        text(&out.stdout).contains("starts announced   median 12.00 s"),
        "{}",
        text(&out.stdout)
    );
}

#[test]
fn heads_and_labels_are_chosen_by_name() {
    let dir = Dir::new();
    let line = |head: &str, label: &str, start: u32, end: u32| {
        format!(
            "{{\"head\":\"{head}\",\"label\":\"{label}\",\"start_s\":{start},\"end_s\":{end}}}\n"
        )
    };
    let both = line("sport", "tennis", 0, 50) + &line("topic", "tennis", 0, 100);
    let both = write(&dir, "t.jsonl", &both);
    fails(
        score(&both, &both, &["-q"]),
        1,
        &["no segment is labelled \"commercial\"", "among: tennis"],
    );
    fails(
        score(&both, &both, &["-q", "--label", "tennis"]),
        1,
        &["choose one with --head: sport, topic"],
    );
    let s = json_of(score(&both, &both, &["-q", "--json", "--label", "Tennis", "--head", "SPORT"]));
    assert_eq!((&s["mcc"], &s["all_show"]["frame_accuracy"]), (&1.0.into(), &0.5.into()));
    // A recording without breaks is no fault of anybody.
    let show = write(&dir, "s.jsonl", &line("content", "show", 0, 100));
    let s = json_of(score(&show, &show, &["-q", "--json"]));
    assert_eq!(s["frame_accuracy"], 1.0);
    assert!(s["segment_f1"]["0.5"].is_null());
}

#[test]
fn what_cannot_be_scored_is_said_in_one_sentence() {
    let dir = Dir::new();
    let good = write(&dir, "good.edl", EDL);
    for (name, contents, says) in [
        (
            "overlap.edl",
            "10 50 3\n40 80 3\n",
            "10.000 s to 50.000 s and 40.000 s to 80.000 s overlap",
        ),
        ("backwards.edl", "50 10 3\n", "line 1 ends before"),
        ("prose.edl", "10 20 3\nAll happy families\n", "line 2 is \"All happy families\""),
        ("frames.edl", "#10 #20 3\n", "line 1 counts frames"),
        ("broken.jsonl", "{\"type\":\"segment\"\n", "line 1"),
    ] {
        let bad = write(&dir, name, contents);
        fails(score(&bad, &good, &["-q"]), 1, &[name, says]);
    }
    let binary = dir.path("binary.edl");
    std::fs::write(&binary, [0xff, 0xfe, 0x00, 0x01]).unwrap();
    fails(score(&binary, &good, &["-q"]), 1, &["binary.edl is not text"]);
    // A result that overlaps itself is what it is.
    let messy = write(&dir, "messy.edl", "10 50 3\n40 80 3\n");
    assert_eq!(json_of(score(&good, &messy, &["-q", "--json"]))["segments"]["predicted"], 1);
    let empty = write(&dir, "empty.edl", "");
    fails(score(&empty, &empty, &["-q"]), 1, &["neither file tells how long", "--duration"]);
    fails(score(&dir.path("none.edl"), &good, &[]), 2, &["none.edl", "no such file"]);
    std::fs::create_dir(dir.path("bare")).unwrap();
    fails(score(&dir.path("bare"), &good, &[]), 2, &["holds no timeline", ".edl"]);
    fails(score(&good, &good, &["--duration", "-5"]), 2, &["--duration"]);
}
