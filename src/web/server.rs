//! The server's thread: takes connections, bounds them, and ends them in good
//! order. Must not know what is asked or answered.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use super::guard::Guard;
use super::routes::{self, App};
use super::station::Station;
use crate::sync_cell::Locked;

/// Connections at once.
const CONNECTIONS: usize = 128;
/// Time for a whole request head, also the first; idle connections end so too.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request head.
const HEAD_BYTES: usize = 16 << 10;
/// Connections at once from one address; the rest is left to others.
const CONNECTIONS_OF_ONE: usize = 96;
/// Header fields of a request.
const HEADERS: usize = 64;
/// Time in which a client must take some of what is sent to it.
const SEND_TIME: Duration = Duration::from_secs(20);
/// Bytes that wait in the system for a client; the less, the sooner a slow
/// viewer skips to the newest picture.
const SEND_BYTES: usize = 256 << 10;
/// Time for answers that are under way when the server stops.
const END_TIME: Duration = Duration::from_secs(2);
/// Threads for work that takes longer: pictures, starting streams.
const WORKERS: usize = 4;

/// Where the server listens and who may ask.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address and port; port 0 for any that is free.
    pub address: SocketAddr,
    /// What every request must know; none only on this machine's own addresses.
    pub token: Option<String>,
    /// Names under which this machine's own address is asked, beside
    /// `localhost`: those of a proxy in front of the server.
    pub hosts: Vec<String>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "...");
        f.debug_struct("Settings")
            .field("address", &self.address)
            .field("token", &token)
            .field("hosts", &self.hosts)
            .finish()
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Other machines can reach it, and would be let in.
    #[error(
        "the web address {0} can be reached by other machines: give a token, or use 127.0.0.1 in its place"
    )]
    NeedsToken(SocketAddr),
    /// The token is no token.
    #[error("the web token must be 1 to 256 printable ASCII characters without spaces")]
    Token,
    /// The address cannot be had.
    #[error("cannot listen for the web monitor on {0}: {1}; choose another address or port")]
    Listen(SocketAddr, io::Error),
    /// The system refuses the rest.
    #[error("cannot start the web server: {0}")]
    System(#[from] io::Error),
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens and answers from a thread of its own.
    ///
    /// # Errors
    /// [`Error`] when the address cannot be had, or must not be without a token.
    pub fn start(settings: &Settings, station: Arc<dyn Station>) -> Result<Self, Error> {
        let is_own = settings.address.ip().to_canonical().is_loopback();
        match &settings.token {
            None if !is_own => return Err(Error::NeedsToken(settings.address)),
            Some(token) if !is_token(token) => return Err(Error::Token),
            Some(token) if token.len() < 16 => {
                tracing::warn!("the web token is short; 16 random characters are hard to guess");
            }
            _ => {}
        }
        let listen = |e| Error::Listen(settings.address, e);
        let listener = TcpListener::bind(settings.address).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        listener.set_nonblocking(true)?;
        let (stop, stopping) = watch::channel(false);
        let guard = Guard::new(settings.token.as_deref(), is_own, &settings.hosts);
        let app = Arc::new(App::new(station, guard, stopping.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("web-worker")
            .max_blocking_threads(WORKERS)
            .build()?;
        let work = move || {
            runtime.block_on(accept(listener, app, stopping));
            // What still works is left behind, and ends by itself.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("web".into()).spawn(work)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends what is followed, finishes what is being answered, and returns
    /// within a few seconds.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the web server's thread failed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_token(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Who is asking; handed to the handlers with each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// One of the connections from an address; leaves when dropped.
struct Guest {
    crowd: Arc<Crowd>,
    peer: Peer,
}

/// Connections by address.
type Crowd = Locked<HashMap<IpAddr, usize>>;

impl Guest {
    /// None when there are too many from this address.
    fn arrive(crowd: &Arc<Crowd>, peer: Peer) -> Option<Self> {
        let mut there = crowd.lock();
        let count = there.entry(peer.0).or_default();
        (*count < CONNECTIONS_OF_ONE).then(|| {
            *count += 1;
            Self { crowd: crowd.clone(), peer }
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut there = self.crowd.lock();
        if let Entry::Occupied(mut count) = there.entry(self.peer.0) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

async fn accept(listener: TcpListener, app: Arc<App>, mut stopping: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => return tracing::error!("the web server cannot listen: {e}"),
    };
    let routes = TowerToHyperService::new(routes::router(app));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let crowd = Arc::new(Locked::new(HashMap::new()));
    let open = GracefulShutdown::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!("the web server could not take a connection: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if let Err(e) = prepare(&socket) {
            tracing::debug!("a connection ended at once: {e}");
            continue;
        }
        let peer = Peer(peer.ip().to_canonical());
        let Some(guest) = Guest::arrive(&crowd, peer) else { continue };
        let routes = routes.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            routes.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(socket), answer);
        let connection = open.watch(connection);
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("a connection ended: {e}");
            }
            drop((place, guest));
        });
    }
    drop(listener);
    if tokio::time::timeout(END_TIME, open.shutdown()).await.is_err() {
        tracing::debug!("connections were cut off");
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = socket2::SockRef::from(socket);
    socket.set_send_buffer_size(SEND_BYTES)?;
    socket.set_tcp_user_timeout(Some(SEND_TIME))
}
