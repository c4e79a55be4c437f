//! Live sources as others send them: RTSP over TLS, SRT, transport streams in UDP
//! and RTP packets, to one or many, HLS. The peers are ffmpeg, Python's web server,
//! and TLS in front of a server of our own.

use std::cell::RefCell;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::{Dir, text};
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

/// Puts TLS in front of a server: certificate and key in one file, the port to
/// listen on, the port behind.
const TLS: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
def pass_on(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in source, target:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
def serve(client):
    try:
        client = context.wrap_socket(client, server_side=True)
        behind = socket.create_connection(("127.0.0.1", int(sys.argv[3])))
    except OSError:
        return
    threading.Thread(target=pass_on, args=(behind, client), daemon=True).start()
    pass_on(client, behind)
door = socket.create_server(("127.0.0.1", int(sys.argv[2])))
while True:
    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"#;

#[test]
fn rtsp_over_tls_is_taken_from_whom_somebody_vouches_for_or_from_anybody_if_wanted() {
    let dir = Dir::new();
    let (key, made) = (dir.path("key.pem"), dir.path("made.pem"));
    let out = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&made)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let both = dir.path("both.pem");
    let pem = [&key, &made].map(|file| std::fs::read_to_string(file).unwrap());
    std::fs::write(&both, pem.concat()).unwrap();

    let behind = free_port();
    let at = format!("127.0.0.1:{behind}");
    let _camera = Server::start_on(["test:smpte,640x360,25"], &at, &["--name", "cam", "--hud=off"]);
    let front = free_port();
    let mut tls = Command::new("python3");
    tls.args(["-c", TLS]).arg(&both).args([front.to_string(), behind.to_string()]);
    let _tls = Peer::start(tls);
    let source = format!("rtsps://127.0.0.1:{front}/cam");

    let careful = Server::start([&source], &LOOK);
    let refused = careful.wait("n", "refused for its certificate", |s| {
        s["detail"].as_str().is_some_and(|why| why.contains("certificate"))
    });
    assert_eq!(refused["frames"], 0, "{refused:#}");
    drop(careful);
    let trusting = ["--set", "live.check_certificates=false"];
    let server = Server::start([&source], &[&LOOK[..], &trusting].concat());
    server.wait_for("n", "running");
    assert_bars(&play(&server.rtsp[0], SMALL, 1).pictures[0], "TLS");
}

#[test]
fn a_transport_stream_to_many_is_taken_on_the_interface_that_the_address_names() {
    let dir = Dir::new();
    let clip = clip(&dir);
    // A group that is used nowhere else, on this machine alone.
    let group = format!("udp://239.255.71.71:{}", free_udp_port());
    let server = Server::start([format!("{group}?interface=lo")], &LOOK);
    let to = format!("{group}?localaddr=127.0.0.1&ttl=0&pkt_size=1316");
    assert_plays(&server, sender(&clip, &["mpegts"], &to), "multicast");
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
