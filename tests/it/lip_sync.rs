//! Sound and picture of live streams stay together: clips whose picture flashes
//! while their sound beeps are served, recorded from the mount, and measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::{Dir, counter_model, heatcast, run_to_end};
use crate::live_server::Server;
use crate::serve::free_port;

/// Milliseconds; people notice more.
const NOTICEABLE: f64 = 40.0;

/// A clip of four seconds: a flash at 1 s and 3 s, and a beep so many seconds later.
fn clip(dir: &Dir, name: &str, beep_after_s: f64, sound: &[&str]) -> PathBuf {
    let path = dir.path(name);
    let picture = "color=black:s=320x240:r=25:d=4,\
                   drawbox=0:0:320:240:white:t=fill:enable='between(mod(t,2),0.99,1.11)'";
    let tone = format!(
        "aevalsrc='if(between(mod(t,2)-{beep_after_s},1,1.12),sin(2*PI*1000*t)/2,0)':s=48000:d=4"
    );
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", &tone]);
    make.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p"]);
    run_to_end(make.args(sound).arg(&path));
    path
}

/// When a measure of a file's frames rises above a threshold, in seconds.
fn rises(graph: &str, tag: &str, threshold: f64) -> Vec<f64> {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-f", "lavfi", "-i", graph, "-of", "csv=p=0", "-show_entries"]);
    let all = run_to_end(probe.arg(format!("frame=pts_time:frame_tags={tag}")));
    let mut found: Vec<f64> = Vec::new();
    let mut is_above = false;
    for line in all.lines() {
        let (time, value) = line.split_once(',').unwrap();
        let was_above = is_above;
        // Silence is minus infinity, which may be written in several ways.
        is_above = value.parse::<f64>().is_ok_and(|value| value > threshold);
        let time = time.parse().unwrap();
        // A tone crosses the threshold more than once.
        if is_above && !was_above && found.last().is_none_or(|last| time > last + 0.5) {
            found.push(time);
        }
    }
    found
}

/// How many milliseconds each beep is behind its flash.
fn beeps_behind_flashes(file: &Path) -> Vec<f64> {
    let file = file.display();
    let flashes = rises(&format!("movie={file},signalstats"), "lavfi.signalstats.YAVG", 120.0);
    let beeps = rises(
        // One value for each millisecond.
        &format!("amovie={file},aresample=48000,asetnsamples=48,astats=metadata=1:reset=1"),
        "lavfi.astats.Overall.RMS_level",
        -25.0,
    );
    let nearest = |flash: &f64| {
        let apart = beeps.iter().map(|beep| (beep - flash) * 1e3);
        apart.filter(|ms| ms.abs() < 900.0).min_by(|a, b| a.abs().total_cmp(&b.abs()))
    };
    flashes.iter().filter_map(nearest).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn record(address: &str, seconds: u32, to: &Path) {
    let mut record = Command::new("timeout");
    record.args(["180", "ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i"]);
    run_to_end(record.args([address, "-t", &seconds.to_string(), "-c", "copy"]).arg(to));
}

#[test]
fn sound_stays_with_the_picture_from_file_to_mount_to_mount() {
    let dir = Dir::new();
    let aac = ["-c:a", "aac"];
    let clips = [("even", 0.0), ("late", 0.2)]
        .map(|(name, after)| clip(&dir, &format!("{name}.mp4"), after, &aac));
    let names = ["--name", "even", "--name", "late"];
    let look = ["--hud", "off", "--style", "off"];
    let camera = Server::start(&clips, &[&names[..], &look, &["--loop"]].concat());
    let server = Server::start(&camera.rtsp, &[&names[..], &look].concat());
    for (n, (name, made_ms)) in [("even", 0.0), ("late", 200.0)].into_iter().enumerate() {
        let file = dir.path(&format!("{name}.mkv"));
        // The clip begins anew in between.
        record(&server.rtsp[n], 10, &file);
        let behind = beeps_behind_flashes(&file);
        assert!(behind.len() >= 3, "{name}: {behind:?}");
        let found = median(behind.clone());
        assert!((found - made_ms).abs() < NOTICEABLE, "{name}: {found} of {behind:?}");
        let status = server.wait(name, "heard", |s| s["av_offset_ms"].is_number());
        let told = status["av_offset_ms"].as_f64().unwrap();
        assert!((told - (found - made_ms)).abs() < NOTICEABLE, "{name}: {told}, {behind:?}");
    }
}

#[test]
fn sound_that_is_converted_stays_with_the_picture() {
    let dir = Dir::new();
    let file = clip(&dir, "raw.mkv", 0.0, &["-c:a", "pcm_s16le"]);
    let out = dir.path("annotated.mp4");
    let mut annotate = heatcast(["annotate", "-q", "--hud", "off", "--style", "off", "--model"]);
    run_to_end(annotate.arg(counter_model()).arg(&file).arg("-o").arg(&out));
    let behind = beeps_behind_flashes(&out);
    assert!(behind.len() >= 2, "{behind:?}");
    assert!(median(behind.clone()).abs() < 10.0, "{behind:?}");
}

#[test]
fn sound_goes_on_as_silence_while_the_source_is_away_and_comes_back_in_time() {
    let dir = Dir::new();
    let clip = clip(&dir, "clip.mp4", 0.0, &["-c:a", "aac"]);
    let at = format!("127.0.0.1:{}", free_port());
    let look = ["--hud", "off", "--style", "off", "--name", "n"];
    let camera = || Server::start_on([&clip], &at, &[&look[..], &["--loop"]].concat());
    let first = camera();
    let quick = ["--set", "live.retry_first_ms=100", "--set", "live.retry_most_s=0.5"];
    let server = Server::start([format!("rtsp://{at}/n")], &[&look[..], &quick].concat());
    server.wait("n", "heard", |s| s["av_offset_ms"].is_number());
    let (file, mount) = (dir.path("through.mkv"), server.rtsp[0].clone());
    let recorder = std::thread::Builder::new()
        .spawn({
            let file = file.clone();
            move || record(&mount, 40, &file)
        })
        .unwrap();
    let frames = |s: &Value| s["frames"].as_u64().unwrap();
    let begun = frames(&server.stream("n"));
    server.wait("n", "played for six seconds", |s| frames(s) > begun + 150);
    first.kill();
    // On a slate for a while.
    server.wait("n", "away", |s| s["reconnect_attempts"].as_u64() >= Some(8));
    let _second = camera();
    recorder.join().unwrap();
    let packets = |kind: &str| -> Vec<f64> {
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-select_streams", kind, "-of", "csv=p=0"]);
        let all = run_to_end(probe.args(["-show_entries", "packet=pts_time"]).arg(&file));
        all.lines().map(|line| line.trim_end_matches(',').parse().unwrap()).collect()
    };
    for kind in ["v", "a"] {
        let times = packets(kind);
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        assert!(gap < 3.0 && *times.last().unwrap() > 35.0, "{kind}: {gap} {:?}", times.last());
    }
    let behind = beeps_behind_flashes(&file);
    // Some from before, most from after.
    assert!(behind.len() >= 8, "{behind:?}");
    let after = behind[behind.len() / 2..].to_vec();
    assert!(median(after.clone()).abs() < NOTICEABLE, "{behind:?}");
}
