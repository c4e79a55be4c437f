//! The text of every format, what reads it back, and what cannot be read.

mod kodi;

use super::*;
use crate::timeline::CueKind;

fn at(seconds: f64) -> Pts {
    Pts::from_secs_f64(seconds)
}

fn segment(head: &str, label: &str, start: f64, end: f64) -> Segment {
    Segment {
        head: head.into(),
        label: label.into(),
        start: at(start),
        end: at(end),
        confidence: 0.975,
        margin: 12.5,
        start_cues: if start > 0.0 { vec![CueKind::Black, CueKind::Silence] } else { Vec::new() },
        end_cues: vec![CueKind::ShotCut],
    }
}

/// Ten minutes with two breaks; the second one lasts to the end.
fn recording() -> Vec<Segment> {
    vec![
        segment("content", "show", 0.0, 240.2),
        segment("content", "commercial", 240.2, 360.24),
        segment("content", "show", 360.24, 570.0),
        segment("content", "commercial", 570.0, 600.04),
    ]
}

fn about() -> About {
    About { media: "rec 1.ts".to_owned(), frame_rate: Some(25.0), ..About::default() }
}

/// The text of a stream that has ended.
fn written(format: Format, segments: &[Segment], about: &About) -> String {
    let duration = segments.iter().map(|s| s.end).max().unwrap_or(Pts(0));
    format.write(&Timeline { segments, duration, settled: duration, about })
}

#[test]
fn the_text_of_every_format_is_this() {
    let text = |format| written(format, &recording(), &about());
    assert_eq!(text(Format::Edl), "240.200 360.240 3\n570.000 600.040 3\n");
    assert_eq!(
        text(Format::Comskip),
        "FILE PROCESSING COMPLETE  15001 FRAMES AT  2500\n-------------------\n\
         6005\t9006\n14250\t15001\n"
    );
    assert!(text(Format::Chapters).starts_with(
        ";FFMETADATA1\n\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=240200\ntitle=show\n\n\
         [CHAPTER]\nTIMEBASE=1/1000\nSTART=240200\nEND=360240\ntitle=commercial\n"
    ));
    assert!(text(Format::WebVtt).starts_with(
        "WEBVTT\n\n1\n00:00:00.000 --> 00:04:00.200\n\
         {\"head\":\"content\",\"label\":\"show\",\"confidence\":0.975,\"start_cues\":[],\
         \"end_cues\":[\"shot_cut\"]}\n\n2\n00:04:00.200 --> 00:06:00.240\n"
    ));
    assert!(text(Format::AsRun).starts_with(
        "head,label,date,start,end,duration,start_s,end_s,duration_s,confidence,margin,start_cues,end_cues\n\
         content,show,,00:00:00.000,00:04:00.200,00:04:00.200,0.000,240.200,240.200,0.975,12.5,,shot_cut\n\
         content,commercial,,00:04:00.200,00:06:00.240,00:02:00.040,240.200,360.240,120.040,0.975,12.5,black silence,shot_cut\n"
    ));
    assert_eq!(
        text(Format::Scte35),
        "time_s,event_id,command,duration_s,section\n\
         240.200,240201,out,120.040,/DAlAAAAAAAAAP/wFAUAA6pJf+/+AUndUH4ApNmQAAEAAAAA4BCeyA==\n\
         360.240,240201,in,,/DAgAAAAAAAAAP/wDwUAA6pJf0/+Ae624AABAAAAALUZ+mQ=\n\
         570.000,570001,out,30.040,/DAlAAAAAAAAAP/wFAUACLKRf+/+Aw7GoH4AKUDwAAEAAAAA6hvUzw==\n\
         600.040,570001,in,,/DAgAAAAAAAAAP/wDwUACLKRf0/+AzgHkAABAAAAAN9Y6BM=\n"
    );
    let hls = text(Format::Hls);
    assert!(hls.starts_with(
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:241\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:00.000Z\n\
         #EXTINF:240.200,\nrec%201.ts#t=0.000,240.200\n\
         #EXT-X-DATERANGE:ID=\"break-240201\",CLASS=\"heatcast.commercial\",\
         START-DATE=\"1970-01-01T00:04:00.200Z\",PLANNED-DURATION=120.040,SCTE35-OUT=0xFC3025"
    ));
    assert!(
        hls.contains("\n#EXT-X-CUE-OUT:120.040\n#EXTINF:120.040,\nrec%201.ts#t=240.200,360.240\n")
    );
    assert!(hls.contains("END-DATE=\"1970-01-01T00:06:00.240Z\",DURATION=120.040,SCTE35-IN=0xFC"));
    assert!(hls.ends_with("#EXT-X-ENDLIST\n"), "{hls}");
}

#[test]
fn the_documented_segments_are_the_written_ones() {
    let doc = include_str!("../../../docs/reference/timeline.md");
    let example: Vec<_> = doc.lines().filter(|l| l.starts_with("{\"type\"")).collect();
    let segments = &recording()[..2];
    let timeline = Timeline {
        segments,
        duration: at(361.0),
        settled: at(331.0),
        about: &About { media: "rec.ts".to_owned(), ..about() },
    };
    let text = Format::Segments.write(&timeline);
    assert_eq!(example, text.lines().collect::<Vec<_>>(), "\n{text}");
}

#[test]
fn without_segments_every_file_is_empty_but_valid() {
    for format in Format::ALL {
        let text = written(format, &[], &about());
        match format {
            Format::Edl => assert_eq!(text, ""),
            Format::Otio => assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok()),
            Format::Scte35 => assert_eq!(text.lines().count(), 1),
            Format::Hls => assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}"),
            _ => assert_eq!(read(&text, format.extension()), Ok(Vec::new()), "{text}"),
        }
    }
}

/// Labels that formats need to quote, and segments that lie against each other,
/// apart, and across hours; some shorter than a format's resolution.
fn awkward() -> Vec<Segment> {
    let labels = ["show", "a=b;c#d\\e", "x --> y <b>&", "comma, \"quoted\"", "commercial", "ünï"];
    let mut segments = Vec::new();
    let (mut start, mut seed) = (0u64, 7u64);
    for i in 0..200 {
        // A linear congruential generator (Knuth's MMIX).
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = 1 + (seed >> 33) % 400_000_000_000;
        let length = if i % 9 == 0 { length % 300_000 } else { length };
        let mut s = segment("content", labels[i % labels.len()], 0.0, 1.0);
        (s.start, s.end) = (Pts(start), Pts(start + length));
        start += length + if i % 5 == 0 { (seed >> 20) % 3_000_000_000 } else { 0 };
        segments.push(s);
    }
    segments
}

#[test]
fn what_is_written_reads_back_within_the_formats_resolution() {
    let segments = awkward();
    for (format, resolution_ns, only_breaks) in [
        (Format::Segments, 200, false),
        (Format::WebVtt, 500_000, false),
        (Format::AsRun, 500_000, false),
        (Format::Chapters, 500_000, false),
        (Format::Edl, 500_000, true),
        (Format::Comskip, 40_000_000, true),
    ] {
        let text = written(format, &segments, &about());
        let back = read(&text, "").unwrap_or_else(|e| panic!("{format:?}: {e}"));
        let survives =
            |s: &&Segment| format == Format::Segments || s.end.0 - s.start.0 >= 2 * resolution_ns;
        let wanted = segments.iter().filter(|s| !only_breaks || &*s.label == "commercial");
        let wanted: Vec<_> = wanted.filter(survives).collect();
        // What was too short to be written may be missing, no more.
        let short = segments.len() - segments.iter().filter(survives).count();
        assert!(wanted.len() <= back.len() && back.len() <= wanted.len() + short, "{format:?}");
        for s in wanted {
            let near = |a: Pts, b: Pts| a.0.abs_diff(b.0) <= resolution_ns;
            let found = back.iter().find(|b| near(b.start, s.start) && near(b.end, s.end));
            let found = found.unwrap_or_else(|| panic!("{format:?} lost {s:?}"));
            assert_eq!(found.label, s.label, "{format:?}");
        }
    }
}

#[test]
fn kodi_takes_every_line_and_finds_the_breaks() {
    let touching = [
        segment("content", "commercial", 10.0, 22.0),
        segment("content", "Commercial", 22.000_3, 30.0),
        segment("content", "commercial", 40.0, 40.000_1),
        segment("content", "commercial", 50.0, 60.000_6),
        segment("content", "commercial", 60.001_2, 70.0),
    ];
    let text = written(Format::Edl, &touching, &about());
    let (edits, rejected) = kodi::edl(&text);
    assert_eq!(rejected, Vec::<String>::new(), "{text}");
    assert_eq!(edits, [(10_000, 30_000, 3), (50_000, 70_000, 3)]);

    let (edits, rejected) = kodi::edl(&written(Format::Edl, &awkward(), &about()));
    assert!(rejected.is_empty() && edits.len() > 20, "{rejected:?}");
    let (edits, rejected) = kodi::comskip(&written(Format::Comskip, &awkward(), &about()));
    assert!(rejected.is_empty() && edits.len() > 20, "{rejected:?}");
}

#[test]
fn kodi_and_this_reader_agree_on_lists_of_others() {
    let text = "5.3   7.1    0\n15    16.7   1\n## a remark\n00:01:00.5 0:02:00 3\n420 822.25 3\n255.3 2\n";
    let (edits, rejected) = kodi::edl(text);
    assert!(rejected.is_empty(), "{rejected:?}");
    let of_breaks = edits.into_iter().filter(|e| e.2 == 0 || e.2 == 3).map(|e| (e.0, e.1));
    let ours = read(text, "x.edl").unwrap();
    let ours = ours.iter().map(|s| (s.start.0 / 1_000_000, s.end.0 / 1_000_000));
    assert!(of_breaks.eq(ours));
    // The rule behind the joining: touching is overlapping.
    assert_eq!(kodi::edl("10 22 3\n22 30 3\n").1, ["22 30 3"]);
    assert_eq!(kodi::edl("9 5 0\n").1, ["9 5 0"]);
}

#[test]
fn comskips_own_list_is_read_at_its_rate() {
    let text = "FILE PROCESSING COMPLETE  12032 FRAMES AT  2997\n-------------------\n899\t2697\n5994 7193\n";
    let spans = read(text, "rec.txt").unwrap();
    let times: Vec<_> =
        spans.iter().map(|s| (s.start.as_secs_f64(), s.end.as_secs_f64())).collect();
    assert!((times[0].0 - 29.997).abs() < 0.001 && (times[0].1 - 89.99).abs() < 0.001);
    assert!((times[1].0 - 200.0).abs() < 1e-6, "{times:?}");
    assert_eq!(kodi::comskip(text).0[1], (200_000, 240_006, 3));
    // A film in a file that says 23.98 comes back where it was, hours later.
    let film = About { frame_rate: Some(24_000.0 / 1001.0), ..about() };
    let text = written(Format::Comskip, &[segment("c", "commercial", 7200.0, 7320.0)], &film);
    let back = &read(&text, "").unwrap()[0];
    assert!((back.start.as_secs_f64() - 7200.0).abs() < 0.021, "{back:?}");
    assert!(kodi::comskip(&text).0[0].0.abs_diff(7_200_000) < 21);
}

#[test]
fn events_are_stretches_from_the_first_of_a_class_to_the_next_of_another() {
    let event = |pts: f64, head: &str, label: &str| {
        format!(
            r#"{{"type":"analysis","pts_s":{pts},"head":"{head}","label":"x","shown":{{"label":"{label}","probability":0.9}}}}"#
        )
    };
    let lines = [
        r#"{"type":"header","schema":1}"#.to_owned(),
        event(0.0, "content", "show"),
        event(0.5, "content", "commercial"),
        event(0.5, "sport", "tennis"),
        event(1.0, "content", "commercial"),
        event(1.5, "content", "show"),
        event(2.0, "content", "commercial"),
        event(2.5, "content", "commercial"),
    ];
    let spans = read(&lines.join("\n"), "").unwrap();
    let whole = breaks(&spans, BREAK).unwrap();
    assert_eq!(
        whole,
        [Break { start: at(0.5), end: at(1.5) }, Break { start: at(2.0), end: Pts(u64::MAX) }]
    );
    // With its last line, the end is known.
    let end = r#"{"type":"end","duration_s":3.25}"#.to_owned();
    let spans = read(&[&lines[..], &[end]].concat().join("\n"), "").unwrap();
    assert_eq!(breaks(&spans, BREAK).unwrap()[1].end, at(3.25));
    assert!(spans.iter().any(|s| s.head.as_deref() == Some("sport") && s.end == at(3.25)));
}

#[test]
fn tables_subtitles_and_chapters_of_others_are_read() {
    let table = "start,end,label\n0:01:00,0:02:00.5,ad\n";
    let spans = read(table, "truth.csv").unwrap();
    assert_eq!((spans[0].start, spans[0].end, &*spans[0].label), (at(60.0), at(120.5), "ad"));
    let track = "WEBVTT - made by hand\n\nNOTE a note\n\n01:00.000 --> 02:00.500 align:start\nad\n";
    assert_eq!(read(track, "").unwrap()[0], spans[0]);
    let chapters = ";FFMETADATA1\nmajor_brand=isom\n[STREAM]\ntitle=x\n[CHAPTER]\nTIMEBASE=1/90000\nSTART=5400000\nEND=10845000\n; a remark\ntitle=a\\\nd\n";
    let read_back = &read(chapters, "").unwrap()[0];
    assert_eq!((read_back.start, read_back.end), (spans[0].start, spans[0].end));
    assert_eq!(&*read_back.label, "a\nd");
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    for (text, name, says) in [
        ("1 2 3\nhello\n", "a.edl", "line 2 is \"hello\"; an edit decision list has"),
        ("#12 #40 3", "", "line 1 counts frames"),
        ("9 5 0", "", "line 1 ends before"),
        ("1 1 3", "", "line 1 ends before"),
        ("1 2 x", "", "line 1 is"),
        ("-1 2 3", "", "line 1 is"),
        ("nan 2 3", "", "line 1 is"),
        ("{\"type\":\"header\"}\n{oops", "", "line 2 is neither an event nor a segment"),
        ("{\"type\":\"segment\",\"label\":\"x\",\"start_s\":1}", "", "it has no `end_s`"),
        (
            "{\"type\":\"segment\",\"label\":\"x\",\"start_s\":-1,\"end_s\":2}",
            "",
            "it has no `start_s`",
        ),
        ("FILE PROCESSING COMPLETE\n", "a.txt", "FRAMES AT"),
        ("FILE PROCESSING COMPLETE 1 FRAMES AT 0\n", "", "FRAMES AT"),
        ("FILE PROCESSING COMPLETE 1 FRAMES AT 2500\n5 x\n", "", "line 2 is \"5 x\""),
        ("FILE PROCESSING COMPLETE 1 FRAMES AT 2500\n9 4\n", "", "line 2 ends before"),
        ("WEBVTT\n\n1:00 --> x\nad\n", "", "line 3 is"),
        ("hello", "a.vtt", "begins with `WEBVTT`"),
        (";FFMETADATA1\n[CHAPTER]\nSTART=x\n", "", "line 3 is \"START=x\""),
        (";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/0\n", "", "line 3 is"),
        (";FFMETADATA1\nhello\n", "", "line 2 is \"hello\""),
        ("label,start_s\nx,1\n", "a.csv", "columns `label`, `start_s` and `end_s`"),
        ("label,start_s,end_s\nx,1,oops\n", "", "line 2 is \"oops\""),
        ("label,start_s,end_s\nx,3,1\n", "", "line 2 ends before"),
        ("label,start_s,end_s\nx,1,9\ny,3,12\n", "", "at 3.000 s it is both \"x\" and \"y\""),
    ] {
        let said = read(text, name).unwrap_err().to_string();
        assert!(said.contains(says), "{text}: {said}");
    }
    for text in ["1 2 1\n", "", "label,start_s,end_s\nshow,1,2\n"] {
        let said = breaks(&read(text, "").unwrap(), BREAK).unwrap_err().to_string();
        assert!(said.contains("no commercial break"), "{said}");
    }
}

#[test]
fn readers_survive_any_damage_to_what_writers_wrote() {
    for format in Format::ALL {
        let text = written(format, &recording(), &about());
        for cut in (0..text.len()).filter(|i| text.is_char_boundary(*i)) {
            let _ = read(&text[..cut], "");
            let mut damaged = text.clone().into_bytes();
            damaged[cut] = b"9-:x\n{"[cut % 6];
            let _ = read(&String::from_utf8_lossy(&damaged), "");
        }
    }
}

#[test]
fn a_live_timeline_says_what_may_still_change() {
    let segments = recording();
    let live = Timeline {
        segments: &segments[..2],
        duration: at(360.24),
        settled: at(330.24),
        about: &about(),
    };
    let text = Format::Segments.write(&live);
    assert_eq!(text.matches("\"final\":true").count(), 1, "{text}");
    let splices = splices(&live);
    assert_eq!((splices.len(), splices[0].duration), (1, None));
    let hls = Format::Hls.write(&live);
    assert!(hls.contains("#EXT-X-CUE-OUT\n") && !hls.contains("ENDLIST"), "{hls}");
}

#[test]
fn the_break_may_be_any_label_and_players_may_be_asked_to_cut() {
    let segments =
        [segment("action", "action", 0.0, 12.0), segment("action", "non_action", 12.0, 30.0)];
    let about = About { break_label: "Non_Action".to_owned(), action: Action::Cut, ..about() };
    assert_eq!(written(Format::Edl, &segments, &about), "12.000 30.000 0\n");
}

#[test]
fn the_channels_clock_is_told_beyond_midnight() {
    let fields = |origin: Origin| {
        let table = written(Format::AsRun, &recording(), &About { origin, ..about() });
        let line = table.lines().nth(2).unwrap().to_owned();
        line.split(',').skip(2).take(3).map(str::to_owned).collect::<Vec<_>>()
    };
    let timecode = Origin::Timecode("23:58:00:00".parse().unwrap());
    assert_eq!(fields(timecode), ["", "24:02:00:05", "24:04:00:06"]);
    let wall = Origin::Wall("2026-11-25T01:30:00+01:00".parse().unwrap());
    assert_eq!(fields(wall), ["2026-11-24", "25:34:00.200", "25:36:00.240"]);
    let hls = written(Format::Hls, &recording(), &About { origin: wall, ..about() });
    assert!(hls.contains("PROGRAM-DATE-TIME:2026-11-25T00:30:00.000Z"), "{hls}");
}

#[test]
fn an_editing_timeline_has_no_holes_and_no_overlaps() {
    let ntsc = About { frame_rate: Some(30_000.0 / 1001.0), ..about() };
    let text = written(Format::Otio, &awkward(), &ntsc);
    let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut reached = 0.0;
    let mut clips = 0;
    for child in whole["tracks"]["children"][0]["children"].as_array().unwrap() {
        let range = &child["source_range"];
        let (start, length) = (
            range["start_time"]["value"].as_f64().unwrap(),
            range["duration"]["value"].as_f64().unwrap(),
        );
        if child["OTIO_SCHEMA"] == "Clip.2" {
            assert_eq!(start, reached, "a clip lies where it is in the recording");
            clips += 1;
        }
        reached += length;
    }
    assert_eq!(clips, 200);
    assert!(text.contains("\"target_url\": \"rec%201.ts\""));
}
