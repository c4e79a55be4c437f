//! The rules by which Kodi reads edit lists (`xbmc/cores/VideoPlayer/Edl.cpp`),
//! written anew: what it takes, and what it refuses.

/// Start and end in milliseconds, and the action.
type Edit = (u64, u64, i64);

/// The edits that Kodi takes, and the lines that it refuses.
pub(super) fn edl(text: &str) -> (Vec<Edit>, Vec<String>) {
    let (mut edits, mut rejected) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with("##")) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let taken = match fields[..] {
            // A scene marker is no edit.
            [at, "2"] => time(at).is_some(),
            [start, end, action] => match (time(start), time(end), action.parse()) {
                (Some(start), Some(end), Ok(action)) => add(&mut edits, (start, end, action)),
                _ => false,
            },
            _ => false,
        };
        if !taken {
            rejected.push(line.to_owned());
        }
    }
    (edits, rejected)
}

/// The same for Comskip's lists: C's `%lf`, truncated to milliseconds.
pub(super) fn comskip(text: &str) -> (Vec<Edit>, Vec<String>) {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header[..3], ["FILE", "PROCESSING", "COMPLETE"]);
    let rate = header[6].parse::<f64>().unwrap() / 100.0;
    let (mut edits, mut rejected) = (Vec::new(), Vec::new());
    for line in lines.skip(1) {
        let fields: Vec<f64> = line.split_whitespace().map(|f| f.parse().unwrap()).collect();
        let ms = |frame: f64| (frame / rate * 1000.0) as u64;
        if !add(&mut edits, (ms(fields[0]), ms(fields[1]), 3)) {
            rejected.push(line.to_owned());
        }
    }
    (edits, rejected)
}

fn time(text: &str) -> Option<u64> {
    if text.starts_with('#') {
        return None;
    }
    let parts: Vec<&str> = text.split(':').collect();
    let [h, m, s] = match parts[..] {
        // `atof`, rounded.
        [seconds] => return Some((seconds.parse::<f64>().ok()? * 1000.0).round() as u64),
        [h, m, s] => [h, m, s],
        _ => return None,
    };
    let (whole, fraction) = s.split_once('.').unwrap_or((s, ""));
    let number = |t: &str| t.parse::<u64>().ok();
    let ms = number(format!("{fraction:0<3}").get(..3)?)?;
    Some((number(h)? * 3600 + number(m)? * 60 + number(whole)?) * 1000 + ms)
}

/// `CEdl::AddEdit`: no edit may start or end within another, ends included, nor
/// surround one.
fn add(edits: &mut Vec<Edit>, edit: Edit) -> bool {
    let (start, end, action) = edit;
    let within = |t: u64, e: &Edit| e.0 <= t && t <= e.1;
    let clash = |e: &Edit| within(start, e) || within(end, e) || (start < e.0 && end > e.1);
    if !matches!(action, 0 | 1 | 3) || start >= end || edits.iter().any(clash) {
        return false;
    }
    edits.push(edit);
    true
}
