//! The embedded RTSP server. Every mount takes what a hub hands out; however
//! many clients there are, nothing is encoded for them, and none of them can
//! hold anything up.
//!
//! ```text
//! hub ─▶ appsrc - h264parse - rtph264pay ─▶ every client of the mount
//!   └──▶ appsrc - (parser) - payloader ───▶
//! ```

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::glib::translate::IntoGlib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as gst_rtsp;
use gstreamer_rtsp_server::prelude::*;

use super::super::Error;
use super::hub::{Hub, SoundUnit, Tap, Unit};
use crate::frame::Pts;
use crate::sync_cell::Locked;

/// Encoded pictures that may wait in a mount: beyond, it goes on at the next
/// key frame.
const MOST_WAITING: u64 = 50;
/// A mount that plays and sends nothing for so long is started anew.
const STUCK: Duration = Duration::from_secs(4);
/// Nanoseconds that stream time may differ from the mount's clock before the
/// two are brought together again.
const DRIFT: i128 = 2_000_000_000;
/// Sessions at a time.
const MOST_SESSIONS: u32 = 256;
/// A client that takes nothing for so long is sent away.
const IDLE: Duration = Duration::from_secs(15);
/// How often those who take nothing are looked for, in seconds.
const CLEANING_S: u32 = 5;
/// The user whose password is the token.
const USER: &str = "heatcast";
/// Both of the library's flags, which its bindings take for an enumeration.
const BASIC_AND_DIGEST: gst_rtsp::gst_rtsp::RTSPAuthMethod =
    gst_rtsp::gst_rtsp::RTSPAuthMethod::__Unknown(0b11);
/// How long a client waits for a stream that has only begun to know whether it
/// has sound: what a mount sends is fixed when its first client joins.
const SOUND_WAIT: Duration = Duration::from_secs(3);
/// How long the server may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server.
pub struct RtspServer {
    server: gst_rtsp::RTSPServer,
    address: SocketAddr,
    protected: bool,
    watches: Watches,
    context: glib::MainContext,
    main_loop: glib::MainLoop,
    source: Option<glib::SourceId>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for RtspServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtspServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl RtspServer {
    /// Listens on `address`; port 0 takes any that is free. With a `token`,
    /// clients must be the user `heatcast` with that password.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(address: SocketAddr, token: Option<&str>) -> Result<Self, Error> {
        // The library only says that it failed; the system says why.
        if address.port() != 0 {
            TcpListener::bind(address).map_err(|e| refused(address, &e))?;
        }
        let server = gst_rtsp::RTSPServer::new();
        server.set_address(&address.ip().to_string());
        server.set_service(&address.port().to_string());
        if let Some(pool) = server.session_pool() {
            pool.set_max_sessions(MOST_SESSIONS);
        }
        if let Some(token) = token {
            server.set_auth(Some(&auth(token)));
        }
        // Clients are served on the server's own thread: the library cannot be
        // trusted to send one away from another.
        if let Some(threads) = server.thread_pool() {
            threads.set_max_threads(0);
        }
        let watches = Watches::default();
        let known = Arc::clone(&watches);
        let guests = Arc::new(Locked::new(Vec::new()));
        let coming = Arc::clone(&guests);
        server.connect_client_connected(move |_, client| {
            coming.lock().push(Guest { client: client.downgrade(), seen: Instant::now() });
            let known = Arc::clone(&known);
            client.connect_pre_describe_request(move |_, _| {
                wait_for_sound(&known);
                gst_rtsp::gst_rtsp::RTSPStatusCode::Ok
            });
        });
        let context = glib::MainContext::new();
        let failed = |why: &str| Error::Address { address: address.to_string(), why: why.into() };
        let source = server
            .attach(Some(&context))
            .map_err(|_| failed("the RTSP server cannot listen there; is the port in use?"))?;
        let port = u16::try_from(server.bound_port()).unwrap_or(address.port());
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let (running, on, cleaned) = (main_loop.clone(), context.clone(), server.downgrade());
        let thread = std::thread::Builder::new()
            .name("rtsp".to_owned())
            .spawn(move || {
                let clean = move || {
                    if let Some(server) = cleaned.upgrade() {
                        clean(&server, &mut guests.lock());
                    }
                    glib::ControlFlow::Continue
                };
                let priority = glib::Priority::DEFAULT;
                let cleaning = glib::timeout_source_new_seconds(CLEANING_S, None, priority, clean);
                cleaning.attach(Some(&on));
                running.run();
                cleaning.destroy();
            })
            .map_err(|_| failed("no thread can be started"))?;
        Ok(Self {
            server,
            address: SocketAddr::new(address.ip(), port),
            protected: token.is_some(),
            watches,
            context,
            main_loop,
            source: Some(source),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves what `hub` hands out under `path`, until the mount is dropped.
    pub fn mount(&self, path: &str, hub: &Arc<Hub>) -> Mount {
        let factory = gst_rtsp::RTSPMediaFactory::new();
        factory.set_shared(true);
        factory.set_latency(0);
        factory.set_suspend_mode(gst_rtsp::RTSPSuspendMode::None);
        factory.set_stop_on_disconnect(true);
        if self.protected {
            let role = gst::Structure::builder(USER)
                .field("media.factory.access", true)
                .field("media.factory.construct", true)
                .build();
            factory.add_role_from_structure(&role);
        }
        let medias: Medias = Arc::default();
        factory.set_launch(&launch(None));
        let (feed, known) = (Arc::downgrade(hub), Arc::clone(&medias));
        factory.connect_media_configure(move |_, media| {
            if let Some(hub) = feed.upgrade() {
                configure(media, &hub, &known);
            }
        });
        let path = format!("/{path}");
        if let Some(mounts) = self.server.mount_points() {
            mounts.add_factory(&path, factory.clone());
        }
        let (server, context) = (self.server.clone(), self.context.clone());
        let watch = Arc::new(Watch { server, context, factory, hub: Arc::downgrade(hub), medias });
        let watching = Arc::downgrade(&watch);
        let mut watches = self.watches.lock();
        watches.retain(|watch| watch.strong_count() > 0);
        watches.push(watching.clone());
        drop(watches);
        let timer = glib::timeout_source_new(
            Duration::from_millis(500),
            None,
            glib::Priority::DEFAULT,
            move || match watching.upgrade() {
                Some(watch) => {
                    watch.look();
                    glib::ControlFlow::Continue
                }
                None => glib::ControlFlow::Break,
            },
        );
        timer.attach(Some(&self.context));
        Mount { path, watch }
    }

    /// Ends the server and sends every client away.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let server = self.server.clone();
        self.context.invoke(move || send_away(&server, |_| true));
        if let Some(source) = self.source.take() {
            self.context.find_source_by_id(&source).inspect(glib::Source::destroy);
        }
        let ending = self.main_loop.clone();
        let timer = glib::timeout_source_new(
            Duration::from_millis(100),
            None,
            glib::Priority::DEFAULT,
            move || {
                ending.quit();
                glib::ControlFlow::Break
            },
        );
        timer.attach(Some(&self.context));
        let begun = Instant::now();
        while !thread.is_finished() && begun.elapsed() < STOP_TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn refused(address: SocketAddr, error: &std::io::Error) -> Error {
    let why = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "the port is in use; choose another, or stop what uses it".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            "the port needs privileges; choose one above 1023".to_owned()
        }
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => format!("cannot be listened on: {error}"),
    };
    Error::Address { address: address.to_string(), why }
}

/// Somebody connected.
struct Guest {
    client: glib::WeakRef<gst_rtsp::RTSPClient>,
    /// When it was last seen to have a session; at first, when it came.
    seen: Instant,
}

/// Forgets clients that vanished without saying so, and sends away those that
/// came and take nothing; to be called on the server's thread.
fn clean(server: &gst_rtsp::RTSPServer, guests: &mut Vec<Guest>) {
    if let Some(pool) = server.session_pool() {
        pool.cleanup();
    }
    let mut idle = Vec::new();
    guests.retain_mut(|guest| {
        let Some(client) = guest.client.upgrade() else { return false };
        if !client.session_filter(None).is_empty() {
            guest.seen = Instant::now();
        } else if guest.seen.elapsed() > IDLE {
            idle.push(client);
            return false;
        }
        true
    });
    if !idle.is_empty() {
        send_away(server, |client| idle.contains(client));
    }
}

/// Ends the connections of those that `leave`; to be called on the server's thread.
fn send_away(server: &gst_rtsp::RTSPServer, leave: impl Fn(&gst_rtsp::RTSPClient) -> bool) {
    server.client_filter(Some(&mut |_, client| {
        if leave(client) {
            gst_rtsp::RTSPFilterResult::Remove
        } else {
            gst_rtsp::RTSPFilterResult::Keep
        }
    }));
}

fn auth(token: &str) -> gst_rtsp::RTSPAuth {
    let auth = gst_rtsp::RTSPAuth::new();
    let role = gst_rtsp::RTSPToken::builder().field("media.factory.role", USER).build();
    auth.set_supported_methods(BASIC_AND_DIGEST);
    auth.add_basic(&gst_rtsp::RTSPAuth::make_basic(USER, token), &role);
    auth.add_digest(USER, token, &role);
    auth
}

/// What a mount sends, with sound of media type `sound` if there is any.
fn launch(sound: Option<&gst::Caps>) -> String {
    let picture = "( appsrc name=picture ! h264parse config-interval=-1 \
                   ! rtph264pay name=pay0 pt=96 config-interval=0";
    match sound.and_then(payloader) {
        Some(payloader) => format!("{picture} appsrc name=sound ! {payloader} name=pay1 pt=97 )"),
        None => format!("{picture} )"),
    }
}

/// The payloader for sound; none for what RTP has no form for.
fn payloader(caps: &gst::Caps) -> Option<&'static str> {
    let s = caps.structure(0)?;
    match (s.name().as_str(), s.get::<i32>("mpegversion").ok()) {
        ("audio/mpeg", Some(1)) => Some("mpegaudioparse ! rtpmpapay"),
        ("audio/mpeg", _) => Some("aacparse ! rtpmp4gpay"),
        ("audio/x-ac3", _) => Some("ac3parse ! rtpac3pay"),
        ("audio/x-opus", _) => Some("opusparse ! rtpopuspay"),
        _ => None,
    }
}

/// A path that is served.
pub struct Mount {
    path: String,
    watch: Arc<Watch>,
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mount").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Mount {
    /// Clients that are playing.
    pub fn clients(&self) -> u64 {
        let medias = self.watch.medias.lock();
        let playing = medias.iter().filter_map(|m| m.media.upgrade()).filter_map(|m| m.stream(0));
        playing.map(|s| s.transport_filter(None).len() as u64).sum()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(mounts) = self.watch.server.mount_points() {
            mounts.remove_factory(&self.path);
        }
        let (medias, server) = (self.watch.medias.take(), self.watch.server.clone());
        medias.iter().for_each(Serving::leave);
        self.watch.context.invoke(move || {
            medias.iter().for_each(|serving| serving.dismiss(&server));
        });
    }
}

/// What is being sent to the clients of a mount.
struct Serving {
    media: glib::WeakRef<gst_rtsp::RTSPMedia>,
    tap: Arc<MountTap>,
    hub: Weak<Hub>,
    number: u64,
}

impl Serving {
    fn leave(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.remove(self.number);
        }
    }

    /// Sends its clients away; to be called on the server's thread. With the last
    /// of them the library ends it: whoever ends it under their feet leaves parts
    /// of it running for ever.
    fn dismiss(&self, server: &gst_rtsp::RTSPServer) {
        let Some(media) = self.media.upgrade() else { return };
        send_away(server, |client| {
            let mut takes_it = false;
            client.session_filter(Some(&mut |_, session| {
                session.filter(Some(&mut |_, taken| {
                    takes_it |= taken.media().as_ref() == Some(&media);
                    gst_rtsp::RTSPFilterResult::Keep
                }));
                gst_rtsp::RTSPFilterResult::Keep
            }));
            takes_it
        });
    }
}

type Medias = Arc<Locked<Vec<Serving>>>;

/// Looks after a mount.
struct Watch {
    server: gst_rtsp::RTSPServer,
    context: glib::MainContext,
    factory: gst_rtsp::RTSPMediaFactory,
    hub: Weak<Hub>,
    medias: Medias,
}

type Watches = Arc<Locked<Vec<Weak<Watch>>>>;

fn wait_for_sound(watches: &Watches) {
    let watches: Vec<_> = watches.lock().iter().filter_map(Weak::upgrade).collect();
    let is_known = |watch: &Arc<Watch>| watch.hub.upgrade().is_none_or(|hub| hub.knows_its_sound());
    let begun = Instant::now();
    while !watches.iter().all(is_known) && begun.elapsed() < SOUND_WAIT {
        std::thread::sleep(Duration::from_millis(10));
    }
    watches.iter().for_each(|watch| watch.announce());
}

impl Watch {
    /// Has new clients get sound where there is some.
    fn announce(&self) {
        if let Some(hub) = self.hub.upgrade() {
            let wanted = launch(hub.sound_caps().as_ref());
            if self.factory.launch().is_none_or(|now| now != wanted) {
                self.factory.set_launch(&wanted);
            }
        }
    }

    fn look(&self) {
        self.announce();
        let stuck: Vec<Serving> = {
            let mut medias = self.medias.lock();
            let all = std::mem::take(&mut *medias);
            let (stuck, well) = all.into_iter().partition(|serving| serving.tap.is_stuck());
            *medias = well;
            stuck
        };
        for serving in stuck {
            tracing::warn!("an RTSP mount sent nothing for {STUCK:?}; it is started anew");
            serving.leave();
            serving.dismiss(&self.server);
        }
    }
}

/// Connects what was just made for the first client of a mount with the hub.
fn configure(media: &gst_rtsp::RTSPMedia, hub: &Arc<Hub>, medias: &Medias) {
    // Pictures are sent when they come: whoever encodes them keeps the time.
    media.set_rate_control(false);
    let Ok(bin) = media.element().downcast::<gst::Bin>() else { return };
    let source = |name: &str| {
        let source = bin.by_name(name)?.downcast::<gst_app::AppSrc>().ok()?;
        source.set_format(gst::Format::Time);
        source.set_is_live(true);
        source.set_block(false);
        source.set_max_bytes(0);
        source.set_max_buffers(2 * MOST_WAITING);
        Some(source)
    };
    let Some(picture) = source("picture") else { return };
    picture.set_caps(Some(
        &gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build(),
    ));
    let sent = Arc::new(AtomicU64::new(0));
    if let Some(pad) = bin.by_name("pay0").and_then(|pay| pay.static_pad("src")) {
        let sent = Arc::clone(&sent);
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        pad.add_probe(kinds, move |_, _| {
            sent.fetch_add(1, Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
    let tap = Arc::new(MountTap {
        picture,
        sound: source("sound"),
        sent,
        state: Locked::default(),
        plays: AtomicBool::new(false),
    });
    let number = hub.add(Arc::clone(&tap) as Arc<dyn Tap>);
    let (feed, known) = (Arc::downgrade(hub), Arc::clone(medias));
    media.connect_unprepared(move |_| {
        if let Some(hub) = feed.upgrade() {
            hub.remove(number);
        }
        known.lock().retain(|serving| serving.number != number);
    });
    let watched = Arc::downgrade(&tap);
    media.connect_new_state(move |_, state| {
        if let Some(tap) = watched.upgrade() {
            tap.note_state(state == gst::State::Playing.into_glib());
        }
    });
    medias.lock().push(Serving { media: media.downgrade(), tap, hub: Arc::downgrade(hub), number });
}

/// Leads what a hub hands out into a mount.
struct MountTap {
    picture: gst_app::AppSrc,
    sound: Option<gst_app::AppSrc>,
    /// RTP packets of the picture that were made.
    sent: Arc<AtomicU64>,
    state: Locked<TapState>,
    /// Some client is playing.
    plays: AtomicBool,
}

#[derive(Default)]
struct TapState {
    /// Added to stream time to get the mount's; none until a key frame has
    /// begun it.
    offset: Option<i128>,
    /// The packets that were sent when the picture was last seen to move, and
    /// when that was.
    moved: Option<(u64, Instant)>,
    /// A picture was handed over since.
    fed: bool,
}

impl MountTap {
    fn note_state(&self, plays: bool) {
        self.plays.store(plays, Relaxed);
        let mut state = self.state.lock();
        state.moved = None;
        state.fed = false;
    }

    /// True when clients wait for pictures that come in and do not go out.
    fn is_stuck(&self) -> bool {
        let mut state = self.state.lock();
        let sent = self.sent.load(Relaxed);
        let moved = match state.moved {
            Some((before, at)) if before == sent && state.fed => at,
            _ => {
                state.moved = Some((sent, Instant::now()));
                state.fed = false;
                return false;
            }
        };
        self.plays.load(Relaxed) && moved.elapsed() > STUCK
    }

    /// The mount's time of a stream time.
    fn time(&self, pts: Pts, offset: i128) -> Option<gst::ClockTime> {
        let time = i128::from(pts.0) + offset;
        u64::try_from(time).ok().map(gst::ClockTime::from_nseconds)
    }
}

impl Tap for MountTap {
    fn picture(&self, unit: &Unit, hub: &Hub) {
        let mut state = self.state.lock();
        let Some(now) = self.picture.current_running_time() else { return };
        let now = i128::from(now.nseconds());
        if self.picture.current_level_buffers() > MOST_WAITING {
            // Nobody takes it, or not fast enough: go on at a key frame.
            state.offset = None;
            state.fed = true;
            return;
        }
        let here = now - i128::from(unit.pts.0);
        let offset = match state.offset {
            Some(offset) if (here - offset).abs() < DRIFT => offset,
            _ if unit.keyframe => *state.offset.insert(here),
            _ => {
                hub.ask_for_keyframe();
                return;
            }
        };
        let mut buffer = unit.buffer.clone();
        let target = buffer.make_mut();
        target.set_pts(self.time(unit.pts, offset));
        target.set_dts(None);
        state.fed = true;
        drop(state);
        // A mount that is not ready yet refuses it, and gets the next one.
        let _ = self.picture.push_buffer(buffer);
    }

    fn sound(&self, unit: &SoundUnit) {
        let Some(source) = &self.sound else { return };
        let Some(offset) = self.state.lock().offset else { return };
        if source.current_level_buffers() > MOST_WAITING {
            return;
        }
        if source.caps().as_ref() != Some(&unit.caps) {
            source.set_caps(Some(&unit.caps));
        }
        let mut buffer = unit.buffer.clone();
        buffer.make_mut().set_pts(self.time(unit.pts, offset));
        let _ = source.push_buffer(buffer);
    }
}
