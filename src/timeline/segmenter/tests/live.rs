//! What live segments promise: ids, ends, second thoughts, little memory.

use super::*;

/// Feeds footage as it comes; cues a second after they are over.
fn live(footage: &Footage, fps: f64, lag_s: u64, profile: &Profile) -> Vec<SegmentEvent> {
    let lag = Duration::from_secs(lag_s);
    let mut segmenter = LiveSegmenter::new("content", &labels(&LABELS), profile, lag);
    let mut cues = footage.cues.clone();
    cues.sort_by_key(|c| c.end);
    let mut cues = cues.into_iter().peekable();
    let mut events = Vec::new();
    let mut next_s = 0.0;
    for (time, answer) in footage.at(fps) {
        while let Some(cue) = cues.next_if(|c| c.end.as_secs_f64() + 1.0 <= time) {
            segmenter.cue(cue);
        }
        segmenter.observe(Pts::from_secs_f64(time), false, &answer);
        if time >= next_s {
            events.extend(segmenter.advance(Pts::from_secs_f64(time)));
            next_s += 1.0;
        }
    }
    cues.for_each(|c| segmenter.cue(c));
    events.extend(segmenter.finish(Pts::from_secs_f64(footage.seconds)));
    events
}

/// What a careful reader of the events knows at the end; asserts the promises.
fn followed(events: &[SegmentEvent], lag_s: u64) -> Vec<Segment> {
    #[derive(Default, Clone, PartialEq)]
    struct Known {
        start: Option<State>,
        end: Option<State>,
        start_at: Pts,
    }
    let mut known: Vec<Known> = Vec::new();
    let mut done = Vec::new();
    for event in events {
        let index = event.id as usize - 1;
        if index == known.len() {
            assert_eq!(event.edge, Edge::Start, "first mentioned by its end: {event:?}");
            known.push(Known::default());
        }
        let it = &mut known[index];
        assert_ne!(it.start, Some(State::Retracted), "mentioned after it was retracted");
        assert!(event.segment.start <= event.segment.end && event.segment.end <= event.at);
        let behind = |edge: Pts| event.at.secs_since(edge) >= lag_s as f64;
        let at_end = event.at == events.last().unwrap().at;
        match event.edge {
            Edge::Start => {
                assert_ne!(it.start, Some(State::Final), "a final start was mentioned again");
                assert!(event.state != State::Final || behind(event.segment.start) || at_end);
                it.start = Some(event.state);
                it.start_at = event.segment.start;
            }
            Edge::End => {
                assert_ne!(it.end, Some(State::Final), "a final end was mentioned again");
                assert!(event.state != State::Final || it.start == Some(State::Final));
                assert!(event.state != State::Final || behind(event.segment.end) || at_end);
                assert_eq!(event.segment.start, it.start_at, "a start moved silently");
                it.end = Some(event.state);
                if event.state == State::Final {
                    done.push(event.segment.clone());
                }
            }
        }
    }
    for (i, it) in known.iter().enumerate() {
        let over = it.start == Some(State::Retracted)
            || (it.start, it.end) == (Some(State::Final), Some(State::Final));
        assert!(over, "segment {} has no end", i + 1);
    }
    for pair in done.windows(2) {
        assert_eq!(pair[0].end, pair[1].start);
        assert_ne!(pair[0].label, pair[1].label);
    }
    done
}

#[test]
fn live_says_after_the_lag_what_a_recording_gives() {
    for fps in [2.0, 5.0] {
        let footage = Footage { sure: 0.97, ..Footage::usual() };
        let wanted = footage.segments(&footage.at(fps), &default());
        for lag_s in [30, 60] {
            let found = followed(&live(&footage, fps, lag_s, &default()), lag_s);
            assert_eq!(outline(&found), outline(&wanted), "{fps} fps, {lag_s} s");
            for (f, w) in found.iter().zip(&wanted) {
                assert!((f.confidence - w.confidence).abs() < 0.02);
                assert_eq!((&f.start_cues, &f.end_cues), (&w.start_cues, &w.end_cues));
                assert!(f.margin > 0.0, "{f:?}");
            }
        }
    }
}

#[test]
fn ids_stay_with_their_segments_and_every_start_gets_an_end() {
    let footage = Footage { sure: 0.97, ..Footage::usual() };
    for lag_s in [0, 10, 30, 60] {
        let events = live(&footage, 5.0, lag_s, &default());
        let done = followed(&events, lag_s);
        assert!(done.len() >= 5, "{lag_s}: {:?}", outline(&done));
        // The break that begins at 300 s keeps its number from first to last.
        let about = |e: &&SegmentEvent| {
            &*e.segment.label == "commercial"
                && (290.0..310.0).contains(&e.segment.start.as_secs_f64())
        };
        let last = events.iter().rfind(about).unwrap();
        let mut own = events.iter().filter(|e| e.id == last.id);
        assert!(own.all(|e| &*e.segment.label == "commercial"), "{lag_s}");
        if lag_s >= 30 {
            let ids: std::collections::BTreeSet<u64> =
                events.iter().filter(about).map(|e| e.id).collect();
            assert_eq!(ids.len(), 1, "{lag_s}: {ids:?}");
            // Provisional before it is final.
            let states: Vec<State> = events
                .iter()
                .filter(|e| e.id == last.id && e.edge == Edge::Start)
                .map(|e| e.state)
                .collect();
            assert_eq!(states.first(), Some(&State::Provisional));
            assert_eq!(states.last(), Some(&State::Final));
        }
    }
}

#[test]
fn what_looked_like_a_break_is_taken_back() {
    // Twenty seconds that look like commercials, and then do not.
    let mut footage = Footage { sure: 0.97, ..Footage::usual() };
    footage.breaks = vec![(300.0, 318.0)];
    footage.cues = separators(&[300.0]);
    let events = live(&footage, 5.0, 60, &default());
    let taken_back =
        events.iter().any(|e| e.state == State::Retracted && &*e.segment.label == "commercial");
    assert!(taken_back, "{events:?}");
    let done = followed(&events, 60);
    check(&done, &[("show", 0.0, 1400.0)]);
}

#[test]
fn live_padding_is_that_of_recordings() {
    let profile = Profile::named("sports-action").unwrap();
    let names = labels(&["action", "non_action"]);
    let mut batch = Segmenter::new("action", &names, &profile);
    let mut live = LiveSegmenter::new("action", &names, &profile, Duration::from_secs(30));
    let mut events = Vec::new();
    for n in 0..2000 {
        let time = f64::from(n) / 5.0;
        let p = if (time / 20.0) as u32 % 2 == 1 { 0.95 } else { 0.05 };
        let pts = Pts::from_secs_f64(time);
        if n % 100 == 1 && n > 1 {
            let at = ((time / 20.0).round()) * 20.0;
            batch.cue(cue(CueKind::ShotCut, at, at));
            live.cue(cue(CueKind::ShotCut, at, at));
        }
        batch.observe(pts, false, &[p, 1.0 - p]);
        live.observe(pts, false, &[p, 1.0 - p]);
        events.extend(live.advance(pts));
    }
    let end = Pts::from_secs_f64(400.0);
    events.extend(live.finish(end));
    let found = followed(&events, 27);
    assert_eq!(outline(&found), outline(&batch.finish(end)));
    assert_eq!(found.len(), 20);
}

#[test]
fn half_a_day_of_live_programme_is_remembered_in_little() {
    let footage = Footage {
        seconds: 6.0 * 3600.0,
        breaks: Vec::new(),
        sure: 0.9,
        cues: (1..3000).map(|n| f64::from(n) * 7.1).map(|t| cue(CueKind::ShotCut, t, t)).collect(),
        gap: None,
    };
    let mut live =
        LiveSegmenter::new("content", &labels(&LABELS), &default(), Duration::from_secs(30));
    let mut cues = footage.cues.iter().peekable();
    for (time, answer) in footage.at(5.0) {
        while let Some(cue) = cues.next_if(|c| c.end.as_secs_f64() <= time) {
            live.cue(*cue);
        }
        let pts = Pts::from_secs_f64(time);
        live.observe(pts, false, &answer);
        if time.fract() < 0.1 && (time as u32).is_multiple_of(10) {
            live.advance(pts);
        }
    }
    assert!(live.remembered() < 10_000, "{}", live.remembered());
    let events = live.finish(Pts::from_secs_f64(footage.seconds));
    assert_eq!(events.len(), 1, "the end of the programme: {events:?}");
}

/// Feeds a stream of so many hours that has one break, in its middle; gives the
/// outline of what was said, and the most that was remembered at a time.
fn days_of_live(hours: f64, cues_apart: Option<f64>) -> (Vec<(String, f64, f64)>, usize) {
    let (end_s, step_s) = (hours * 3600.0, 10.0);
    let middle = (end_s / 2.0).floor();
    let mut live =
        LiveSegmenter::new("content", &labels(&LABELS), &default(), Duration::from_secs(30));
    let (mut events, mut most, mut next_cue) = (Vec::new(), 0, cues_apart);
    for n in 0..(end_s / step_s) as u32 {
        let time = f64::from(n) * step_s;
        while let Some(at) = next_cue.filter(|at| *at <= time) {
            live.cue(cue(CueKind::ShotCut, at, at));
            next_cue = cues_apart.map(|apart| at + apart);
        }
        let in_break = (middle..middle + 200.0).contains(&time);
        // The answers of ten seconds.
        for second in 0..10 {
            let pts = Pts::from_secs_f64(time + f64::from(second));
            let show = if in_break { 0.05 } else { 0.95 };
            live.observe(pts, false, &[show, 1.0 - show]);
        }
        events.extend(live.advance(Pts::from_secs_f64(time + 9.0)));
        most = most.max(live.remembered());
    }
    events.extend(live.finish(Pts::from_secs_f64(end_s)));
    (outline(&followed(&events, 30)), most)
}

#[test]
fn three_days_of_live_programme_take_no_more_memory_than_one_hour() {
    // With a cut every five seconds, and a camera that nobody cuts.
    for cues_apart in [Some(5.0), None] {
        let (_, hour) = days_of_live(1.5, cues_apart);
        let (found, days) = days_of_live(72.0, cues_apart);
        assert!(days < hour + 1500 && days < 4000, "{cues_apart:?}: {days}, after an hour {hour}");
        let labels: Vec<&str> = found.iter().map(|(label, ..)| &**label).collect();
        assert_eq!(labels, ["show", "commercial", "show"], "{cues_apart:?}: {found:?}");
        let (start, end) = (found[1].1, found[1].2);
        let middle = 36.0 * 3600.0;
        assert!((start - middle).abs() < 10.0 && (end - middle - 200.0).abs() < 10.0, "{found:?}");
    }
}

#[test]
fn after_a_break_in_the_stream_ids_go_on() {
    let mut live =
        LiveSegmenter::new("content", &labels(&LABELS), &default(), Duration::from_secs(30));
    let mut events = Vec::new();
    for (from, to) in [(0, 100), (500, 600)] {
        for n in from..to {
            let pts = Pts::from_secs_f64(f64::from(n));
            live.observe(pts, false, &[0.95, 0.05]);
            events.extend(live.advance(pts));
        }
        events.extend(live.close(Pts::from_secs_f64(f64::from(to))));
    }
    let ends = events.iter().filter(|e| (e.edge, e.state) == (Edge::End, State::Final));
    let ends: Vec<_> =
        ends.map(|e| (e.id, e.segment.start.as_secs_f64(), e.segment.end.as_secs_f64())).collect();
    assert_eq!(ends, [(1, 0.0, 100.0), (2, 500.0, 600.0)]);
    assert!(live.close(Pts::from_secs_f64(700.0)).is_empty(), "nothing is open");
}
