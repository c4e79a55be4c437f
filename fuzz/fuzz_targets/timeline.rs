//! Any bytes as a timeline file, and as a file that gets chapters or SCTE-35: an
//! error or a result, never a panic, a hang or memory without bound.
#![no_main]

use std::io::Cursor;

use heatcast::finish;
use heatcast::frame::Pts;
use heatcast::timeline::formats::{Chapter, Splice, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for name in ["", "a.edl", "a.txt", "a.csv", "a.vtt", "a.ffmeta", "a.jsonl"] {
        let _ = read(&text, name);
    }
    let (start, end) = (Pts(0), Pts(1_000_000_000));
    let chapters = [Chapter { start, end, title: "x".to_owned() }];
    let _ = finish::mp4::chapters(&mut Cursor::new(bytes), &chapters);
    let _ = finish::matroska::chapters(&mut Cursor::new(bytes), &chapters);
    let splice = Splice { at: start, event_id: 1, out: true, duration: None };
    let _ = finish::transport::insert(bytes, Vec::new(), &[splice], start);
});
