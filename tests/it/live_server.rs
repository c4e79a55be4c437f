//! The harness for live operation: a server process on free ports, questions to
//! its API, and pictures from its mounts as an ordinary player decodes them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Picture, counter_model, heatcast, text};

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running `heatcast serve`; killed at the end of the test.
pub(crate) struct Server {
    child: Child,
    /// Addresses of the mounts.
    pub(crate) rtsp: Vec<String>,
    /// Host and port of the monitor.
    pub(crate) web: String,
    log: mpsc::Receiver<String>,
    said: String,
}

impl Server {
    /// Serves `sources` with the tiny model on free ports.
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(
        sources: impl IntoIterator<Item = S>,
        more: &[&str],
    ) -> Self {
        Self::start_on(sources, "127.0.0.1:0", more)
    }

    /// As [`start`](Self::start), with the mounts at an address that is given.
    pub(crate) fn start_on<S: AsRef<std::ffi::OsStr>>(
        sources: impl IntoIterator<Item = S>,
        rtsp: &str,
        more: &[&str],
    ) -> Self {
        Self::start_model(&counter_model(), sources, rtsp, more)
    }

    /// The same with another model.
    pub(crate) fn start_model<S: AsRef<std::ffi::OsStr>>(
        model: &Path,
        sources: impl IntoIterator<Item = S>,
        rtsp: &str,
        more: &[&str],
    ) -> Self {
        let mut command = heatcast(["serve", "--web", "127.0.0.1:0", "--rtsp", rtsp, "--model"]);
        command.arg(model).args(more).args(sources);
        // GStreamer 1.22 warns of its own sticky events when clients join.
        command.env_remove("G_DEBUG").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (to, log) = mpsc::sync_channel(10_000);
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::Builder::new()
            .spawn(move || {
                for line in errors.lines().map_while(Result::ok) {
                    let _ = to.try_send(line);
                }
            })
            .unwrap();
        let mut server =
            Self { child, rtsp: Vec::new(), web: String::new(), log, said: String::new() };
        let mut out = BufReader::new(server.child.stdout.take().unwrap());
        let mut line = String::new();
        while out.read_line(&mut line).unwrap() > 0 {
            let address = line.trim().to_owned();
            line.clear();
            if let Some(web) = address.strip_prefix("http://") {
                server.web = web.trim_end_matches('/').to_owned();
                return server;
            }
            server.rtsp.push(address);
        }
        panic!("no server: {}", server.log());
    }

    /// Everything it has logged.
    pub(crate) fn log(&mut self) -> String {
        while let Ok(line) = self.log.recv_timeout(Duration::from_millis(50)) {
            self.said += &line;
            self.said += "\n";
        }
        self.said.clone()
    }

    /// Status and body of a request.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let mut connection = TcpStream::connect(&self.web).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.web,
            body.len()
        )
        .unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = text(&answer[..end]);
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        let mut body = answer.split_off(end + 4);
        if head.to_lowercase().contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        (status, body)
    }

    /// The status of a stream.
    pub(crate) fn stream(&self, name: &str) -> Value {
        let (status, body) = self.ask("GET", &format!("/api/v1/streams/{name}"), "");
        assert_eq!(status, 200, "{}", text(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Changes a stream; its status afterwards.
    pub(crate) fn patch(&self, name: &str, patch: &str) -> (u16, Value) {
        let (status, body) = self.ask("PATCH", &format!("/api/v1/streams/{name}"), patch);
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Asks for the status of a stream until it is as wanted.
    pub(crate) fn wait(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let stream = self.stream(name);
            if is_so(&stream) {
                return stream;
            }
            assert!(begun.elapsed() < PATIENCE, "not {what}: {stream:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a stream is in this state.
    pub(crate) fn wait_for(&self, name: &str, state: &str) -> Value {
        self.wait(name, state, |stream| stream["state"] == state)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status();
        assert!(done.unwrap().success());
    }

    /// Asks it to end; its exit code and how long that took.
    pub(crate) fn end(mut self, signal: &str) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.signal(signal);
        let status = self.child.wait().unwrap();
        (status.code(), begun.elapsed())
    }

    /// Asks it to end; everything it has logged by then.
    pub(crate) fn last_words(mut self, signal: &str) -> String {
        self.signal(signal);
        self.child.wait().unwrap();
        while let Ok(line) = self.log.recv() {
            self.said += &line;
            self.said += "\n";
        }
        std::mem::take(&mut self.said)
    }

    /// Ends it at once, as a power failure would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(text(&rest[..end]).trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..][..size]);
        rest = &rest[end + 2 + size + 2..];
    }
    body
}

/// What a player got.
pub(crate) struct Played {
    pub(crate) pictures: Vec<Picture>,
    /// What it complained about.
    pub(crate) complaints: String,
}

/// Plays `frames` pictures of a mount of size `width` x `height`.
pub(crate) fn play(address: &str, (width, height): (usize, usize), frames: usize) -> Played {
    let mut command = player(address, frames);
    command.args(["-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]);
    let out = command.output().unwrap();
    let complaints = text(&out.stderr);
    let size = width * height * 3 / 2;
    let pictures: Vec<_> = out
        .stdout
        .chunks_exact(size)
        .map(|bytes| Picture::from_i420(width, height, bytes))
        .collect();
    assert_eq!(pictures.len(), frames, "{address}: {complaints}");
    Played { pictures, complaints }
}

/// A player that ends after so many pictures, or three minutes.
pub(crate) fn player(address: &str, frames: usize) -> Command {
    let mut command = Command::new("timeout");
    command.args(["180", "ffmpeg", "-hide_banner", "-loglevel", "warning", "-nostdin"]);
    command.args(["-rtsp_transport", "tcp", "-fflags", "nobuffer", "-i", address, "-an"]);
    command.args(["-fps_mode", "passthrough", "-frames:v", &frames.to_string()]);
    command
}

/// A TOML file that serves `text`.
pub(crate) fn settings(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    path.display().to_string()
}
