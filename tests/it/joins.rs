//! Clients of a mount come, freeze and go, and the stream does not notice.
//! `benches/joins.py` does the same with hundreds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::common::{Dir, text};
use crate::live_server::{Server, play};
use crate::serve::{SMALL, clip};

/// A player that can be frozen; gone at the end of the test.
struct Client(Child);

impl Client {
    fn join(address: &str) -> Self {
        Self::join_over("tcp", address)
    }

    fn join_over(transport: &str, address: &str) -> Self {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "quiet", "-rtsp_transport", transport, "-i", address]);
        Self(command.args(["-c", "copy", "-f", "null", "-"]).spawn().unwrap())
    }

    fn freeze(&self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-STOP", &id]).status().unwrap().success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn clients_that_come_freeze_and_go_do_not_hold_the_stream_up() {
    let dir = Dir::new();
    let file = clip(&dir);
    // The second stream has no clients, and tells how fast this machine is.
    let names = ["--loop", "--name", "busy", "--name", "quiet", "--hud", "off"];
    let mut server = Server::start([&file, &file], &names);
    let frames = |name: &str| server.stream(name)["frames"].as_u64().unwrap();
    server.wait_for("busy", "running");
    server.wait_for("quiet", "running");
    let begun = ["busy", "quiet"].map(frames);
    let mut frozen = Vec::new();
    for round in 0..6 {
        // Until it plays, or not so long.
        let clients = [0, 1].map(|_| Client::join(&server.rtsp[0]));
        let asked = Instant::now();
        let patience = Duration::from_millis(300 * round);
        while asked.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        clients[0].freeze();
        let [stays, leaves] = clients;
        drop(leaves);
        frozen.push(stays);
        play(&server.rtsp[0], SMALL, 10);
        if round % 2 == 1 {
            // Nobody is left.
            frozen.clear();
        }
    }
    frozen.clear();
    server.wait("busy", "played for ten seconds", |s| s["frames"].as_u64() >= Some(begun[0] + 250));
    let ended = ["busy", "quiet"].map(frames);
    let came = [0, 1].map(|n| (ended[n] - begun[n]) as f64);
    assert!(came[0] > 0.9 * came[1], "{came:?} frames with and without clients");
    play(&server.rtsp[0], SMALL, 10);
    let log = server.log();
    assert!(!log.contains("started anew"), "{log}");
}

/// Asks until it is so, for two minutes.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn clients_of_a_mount_that_ends_are_sent_away_and_nothing_of_it_is_left_running() {
    let sources = ["test:smpte,640x360,25", "test:ball,640x360,25"];
    let server = Server::start(sources, &["--name", "stays", "--name", "goes", "--hud", "off"]);
    server.wait_for("stays", "running");
    server.wait_for("goes", "running");
    let [stays, goes] = [0, 1].map(|n| {
        ["tcp", "tcp", "udp"].map(|transport| Client::join_over(transport, &server.rtsp[n]))
    });
    let metrics = || text(&server.ask("GET", "/metrics", "").1);
    for name in ["stays", "goes"] {
        let line = format!("heatcast_rtsp_clients{{stream=\"{name}\"}} 3\n");
        until(&line, || metrics().contains(&line));
    }
    assert_eq!(server.ask("DELETE", "/api/v1/streams/goes", "").0, 204);
    for mut client in goes {
        until("the clients of a stream that was taken away end", || {
            client.0.try_wait().unwrap().is_some()
        });
    }
    let three = "heatcast_rtsp_clients{stream=\"stays\"} 3\n";
    assert!(metrics().contains(three), "{}", metrics());
    // The others watch while the program ends.
    let log = server.last_words("-TERM");
    drop(stays);
    assert!(!log.contains("CRITICAL"), "{log}");
}

#[test]
fn a_client_that_only_asks_is_sent_away_and_one_that_plays_is_not() {
    let server = Server::start(["test:smpte,320x180,25"], &["--name", "cam", "--hud", "off"]);
    server.wait_for("cam", "running");
    let mut plays = Client::join(&server.rtsp[0]);
    let address = server.rtsp[0].trim_start_matches("rtsp://");
    let mut asks = TcpStream::connect(address.split('/').next().unwrap()).unwrap();
    let question = format!("DESCRIBE {} RTSP/1.0\r\nCSeq: 1\r\n\r\n", server.rtsp[0]);
    asks.write_all(question.as_bytes()).unwrap();
    asks.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    let mut said = Vec::new();
    asks.read_to_end(&mut said).unwrap();
    assert!(text(&said).starts_with("RTSP/1.0 200 OK"), "{}", text(&said));
    assert!(plays.0.try_wait().unwrap().is_none(), "a client that plays was sent away");
    let metrics = text(&server.ask("GET", "/metrics", "").1);
    assert!(metrics.contains("heatcast_rtsp_clients{stream=\"cam\"} 1\n"), "{metrics}");
}
