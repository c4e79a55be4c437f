//! Live sources as others send them: SRT, transport streams in UDP and RTP
//! packets, HLS. The peers are ffmpeg and Python's web server.

use std::cell::RefCell;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::Dir;
use crate::live_server::{Server, play};
use crate::serve::{SMALL, assert_bars, clip, free_port};

const LOOK: [&str; 6] = ["--name", "n", "--hud", "off", "--style", "off"];

/// A program that is started again when it ends, until the test does.
struct Peer {
    command: Command,
    child: Child,
}

impl Peer {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        Self { command, child }
    }

    fn keep(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.child = self.command.spawn().unwrap();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a clip again and again, in real time.
fn sender(clip: &Path, format: &[&str], to: &str) -> Peer {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    command.args(["-c", "copy", "-f"]).args(format).arg(to);
    Peer::start(command)
}

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The source is annotated, its sound with it.
fn assert_plays(server: &Server, peer: Peer, what: &str) {
    let peer = RefCell::new(peer);
    let has_both = |s: &Value| s["state"] == "running" && s["av_offset_ms"].is_number();
    let status = server.wait("n", what, |s| {
        peer.borrow_mut().keep();
        has_both(s)
    });
    let offset = status["av_offset_ms"].as_f64().unwrap();
    assert!(offset.abs() < 40.0, "{what}: {status:#}");
    assert_bars(&play(&server.rtsp[0], SMALL, 1).pictures[0], what);
}

#[test]
fn an_srt_source_is_taken_whoever_calls() {
    let dir = Dir::new();
    let clip = clip(&dir);
    for (ours, theirs) in [("", "?mode=listener"), ("?mode=listener", "?mode=caller")] {
        let address = format!("srt://127.0.0.1:{}", free_udp_port());
        let server = Server::start([format!("{address}{ours}")], &LOOK);
        let peer = sender(&clip, &["mpegts"], &format!("{address}{theirs}"));
        assert_plays(&server, peer, ours);
    }
}

#[test]
fn an_srt_source_that_refuses_is_said_to() {
    let dir = Dir::new();
    let address = format!("srt://127.0.0.1:{}", free_udp_port());
    let theirs = format!("{address}?mode=listener&passphrase=correct-horse");
    let peer = RefCell::new(sender(&clip(&dir), &["mpegts"], &theirs));
    let ours = [format!("{address}?passphrase=wrong-horse"), "srt://127.0.0.1:9".to_owned()];
    let mut server = Server::start(ours, &["--name", "wrong", "--name", "nobody"]);
    for name in ["wrong", "nobody"] {
        let status = server.wait(name, "refused three times", |s| {
            peer.borrow_mut().keep();
            s["reconnect_attempts"].as_u64() >= Some(3)
        });
        let detail = status["detail"].as_str().unwrap();
        assert!(detail.contains("no SRT connection"), "{detail}");
        assert!(detail.contains("passphrase") && !detail.contains("wrong-horse"), "{detail}");
    }
    let log = server.log();
    assert!(!log.contains("wrong-horse"), "{log}");
}

#[test]
fn transport_streams_in_udp_and_rtp_packets_are_taken() {
    let dir = Dir::new();
    let clip = clip(&dir);
    for (format, scheme) in [("mpegts", "udp"), ("rtp_mpegts", "rtp")] {
        let address = format!("{scheme}://127.0.0.1:{}", free_udp_port());
        let server = Server::start([&address], &LOOK);
        let peer = sender(&clip, &[format], &format!("{address}?pkt_size=1316"));
        assert_plays(&server, peer, scheme);
    }
}

#[test]
fn a_live_hls_playlist_plays_evenly_and_not_by_segments() {
    let dir = Dir::new();
    let playlist = dir.path("live.m3u8");
    let live = ["hls", "-hls_time", "2", "-hls_list_size", "4", "-hls_flags", "omit_endlist"];
    let _sender = sender(&clip(&dir), &live, playlist.to_str().unwrap());
    let port = free_port();
    let mut files = Command::new("python3");
    files.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"]);
    let _files = Peer::start({
        files.current_dir(dir.path(""));
        files
    });
    let is_ready =
        || dir.path("live3.ts").exists() && TcpStream::connect(("127.0.0.1", port)).is_ok();
    while !is_ready() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let server = Server::start([format!("http://127.0.0.1:{port}/live.m3u8")], &LOOK);
    let status = server.wait("n", "played for ten seconds", |s| {
        s["frames"].as_u64() >= Some(250) && s["av_offset_ms"].is_number()
    });
    // By segments there would be a slate between any two of them.
    assert!(status["reconnects"].as_u64() <= Some(1), "{status:#}");
    assert!(status["av_offset_ms"].as_f64().unwrap().abs() < 40.0, "{status:#}");
    assert_bars(&play(&server.rtsp[0], SMALL, 1).pictures[0], "HLS");
}
