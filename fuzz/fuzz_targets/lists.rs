//! Any text as a timeline, in every format that is read; the first letter chooses
//! the name of the file.
#![no_main]

use heatcast::timeline::formats::{BREAK, breaks, read};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 7] = ["", "a.edl", "a.txt", "a.vtt", "a.csv", "a.ffmeta", "a.jsonl"];

fuzz_target!(|text: &str| {
    let Some(first) = text.chars().next() else { return };
    let name = NAMES[first as usize % NAMES.len()];
    let Ok(spans) = read(&text[first.len_utf8()..], name) else { return };
    for span in &spans {
        assert!(span.start <= span.end, "a stretch ends before it begins: {span:?}");
    }
    if let Ok(found) = breaks(&spans, BREAK) {
        for pair in found.windows(2) {
            assert!(pair[0].end < pair[1].start, "breaks touch or overlap: {pair:?}");
        }
    }
});
