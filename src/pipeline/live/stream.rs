//! A live stream as all of its threads know it: who it is, how it is to be
//! explained, what it is doing, and what it last showed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use super::changes::Changes;
use super::measures::Measures;
use crate::annotation::Annotation;
use crate::config::{SourceUri, StreamConfig};
use crate::explain::{ClassChoice, MethodChoice};
use crate::media::{Frame, Hub, PictureFormat};
use crate::overlay::HeatStyle;
use crate::sync_cell::Locked;
use crate::web::feed::{EventFeed, LiveVideo};
use crate::web::station::State;

/// How a stream is explained and drawn; changes while it runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Controls {
    /// Index of the explained head.
    pub(super) head: usize,
    /// The class as it was asked for.
    pub(super) class: String,
    /// The classes that are explained: one, or several beside each other.
    pub(super) choices: Vec<ClassChoice>,
    pub(super) method: MethodChoice,
    pub(super) style: HeatStyle,
    pub(super) opacity: f64,
    pub(super) analysis_fps: f64,
}

/// What a stream is doing.
#[derive(Clone, Debug)]
pub(super) struct Doing {
    pub(super) state: State,
    pub(super) detail: Option<String>,
    pub(super) since_unix_ms: u64,
    /// Number of the newest opening of the source that is over.
    lost: u64,
}

/// The newest picture, before and after it was painted over.
#[derive(Clone)]
pub(super) struct Latest {
    pub(super) clean: Frame,
    pub(super) painted: Frame,
}

/// The format of an output.
struct OutputFormat {
    format: PictureFormat,
    /// It is that of the slate, and the first picture may change it.
    is_provisional: bool,
}

/// One stream.
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) uri: SourceUri,
    pub(super) config: StreamConfig,
    controls: Locked<Controls>,
    /// Grows with every change of the controls.
    pub(super) version: AtomicU64,
    doing: Locked<Doing>,
    /// Format of the output, once it is known.
    format: Locked<Option<OutputFormat>>,
    pub(super) latest: Locked<Option<Latest>>,
    pub(super) annotation: Locked<Option<Arc<Annotation>>>,
    pub(super) measures: Measures,
    pub(super) changes: Locked<Changes>,
    pub(super) events: Arc<EventFeed>,
    pub(super) video: Arc<LiveVideo>,
    /// The annotated picture, encoded.
    pub(super) hub: Arc<Hub>,
    /// The picture without heat, encoded while somebody takes it.
    pub(super) clean: Arc<Hub>,
    pub(super) stop: AtomicBool,
    /// The source is to be opened anew: its pictures have the wrong size.
    pub(super) reopen: AtomicBool,
    /// Pictures that wait for the compositor.
    pub(super) waiting: AtomicU64,
}

impl Stream {
    /// A stream where these heads are segmented.
    pub(super) fn new(
        uri: SourceUri,
        config: StreamConfig,
        controls: Controls,
        segmented: Vec<Arc<str>>,
    ) -> Self {
        Self {
            name: config.name.clone(),
            uri,
            config,
            controls: Locked::new(controls),
            version: AtomicU64::new(0),
            doing: Locked::new(Doing {
                state: State::Starting,
                detail: None,
                since_unix_ms: unix_ms(),
                lost: 0,
            }),
            format: Locked::default(),
            latest: Locked::default(),
            annotation: Locked::default(),
            measures: Measures::default(),
            changes: Locked::new(Changes::of_segments(segmented)),
            events: Arc::default(),
            video: Arc::default(),
            hub: Arc::default(),
            clean: Arc::new(Hub::mute()),
            stop: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
        }
    }

    pub(super) fn controls(&self) -> Controls {
        self.controls.lock().clone()
    }

    pub(super) fn set_controls(&self, controls: Controls) {
        *self.controls.lock() = controls;
        self.version.fetch_add(1, Relaxed);
    }

    /// The format of the output, once there is one.
    pub(super) fn format(&self) -> Option<PictureFormat> {
        self.format.lock().as_ref().map(|known| known.format.clone())
    }

    /// The format that pictures must have; any while only slates were sent.
    pub(super) fn wanted_format(&self) -> Option<PictureFormat> {
        let known = self.format.lock();
        known.as_ref().filter(|known| !known.is_provisional).map(|known| known.format.clone())
    }

    /// The format of the output now that a picture of `format` has come. True
    /// when it is another one from now on.
    pub(super) fn settle_format(&self, format: PictureFormat) -> (PictureFormat, bool) {
        let mut known = self.format.lock();
        match &*known {
            Some(known) if !known.is_provisional => (known.format.clone(), false),
            _ => {
                *known = Some(OutputFormat { format: format.clone(), is_provisional: false });
                (format, true)
            }
        }
    }

    /// The format of a slate, which is `standard` where nothing is known.
    pub(super) fn slate_format(&self, standard: PictureFormat, is_fixed: bool) -> PictureFormat {
        let mut known = self.format.lock();
        let made = || OutputFormat { format: standard, is_provisional: !is_fixed };
        known.get_or_insert_with(made).format.clone()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    pub(super) fn doing(&self) -> Doing {
        self.doing.lock().clone()
    }

    /// Notes what the stream is doing from now on.
    pub(super) fn set_doing(&self, state: State, detail: Option<String>) {
        self.change_doing(&mut self.doing.lock(), state, detail);
    }

    /// An opening of the source is over; it may come back.
    pub(super) fn note_loss(&self, opening: u64, why: String) {
        let mut doing = self.doing.lock();
        doing.lost = opening;
        let never_came = doing.state == State::Starting;
        let state = if never_came { State::Starting } else { State::Reconnecting };
        self.change_doing(&mut doing, state, Some(why));
    }

    /// The file was played to its end, and does not come back.
    pub(super) fn note_end(&self, opening: u64, why: String) {
        let mut doing = self.doing.lock();
        doing.lost = opening;
        self.change_doing(&mut doing, State::Ended, Some(why));
    }

    /// A picture of an opening has come. Where the stream was without, this is
    /// the return; the last pictures of a lost opening, which were still on
    /// their way, are none.
    pub(super) fn note_picture(&self, opening: u64) {
        let mut doing = self.doing.lock();
        if opening <= doing.lost || doing.state == State::Running {
            return;
        }
        if doing.state == State::Reconnecting {
            self.measures.reconnects.fetch_add(1, Relaxed);
        }
        self.change_doing(&mut doing, State::Running, None);
    }

    fn change_doing(&self, doing: &mut Doing, state: State, detail: Option<String>) {
        if doing.state != state {
            tracing::info!(
                "stream {}: {}{}",
                self.name,
                word(state),
                detail.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
            );
            doing.since_unix_ms = unix_ms();
        } else if doing.detail != detail
            && let Some(why) = &detail
        {
            tracing::info!("stream {}: {}: {why}", self.name, word(state));
        }
        doing.state = state;
        doing.detail = detail;
    }
}

const fn word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Running => "running",
        State::Reconnecting => "reconnecting",
        State::Ended => "ended",
        State::Failed => "failed",
    }
}

/// Milliseconds since 1970 (UTC).
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
