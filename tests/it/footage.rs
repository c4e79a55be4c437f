//! Runs over real footage that is not part of the project: set
//! `HEATCAST_FOOTAGE` to a folder of recordings. Skipped without it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::{Dir, annotate, decode, text};

#[test]
fn real_footage_is_annotated_or_refused_with_one_sentence() {
    let Some(folder) = std::env::var_os("HEATCAST_FOOTAGE").map(PathBuf::from) else {
        eprintln!("skipped: HEATCAST_FOOTAGE is not set");
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let dir = Dir::new();
        let output = dir.path("o.mkv");
        let begun = Instant::now();
        let out = annotate(&file, &output, &["--set", "output.preset=ultrafast"]).output().unwrap();
        let said = text(&out.stderr);
        eprintln!("{:?} {} {said}", out.status.code(), file.display());
        assert!(matches!(out.status.code(), Some(0 | 1)), "{}: {said}", file.display());
        assert!(begun.elapsed() < Duration::from_secs(120), "{} took too long", file.display());
        assert!(!said.contains("panicked"), "{said}");
        if out.status.success() {
            let summary: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            assert_eq!(summary["frames_in"], summary["frames_out"], "{}", file.display());
            assert_eq!(decode(&output).len() as u64, summary["frames_out"].as_u64().unwrap());
        } else {
            assert!(said.lines().count() == 1, "{said}");
        }
    }
}
