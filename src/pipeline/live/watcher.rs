//! Opens a stream's source, watches over it, and opens it again when it ends,
//! fails or falls silent: for ever, with growing waits.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::backoff::Backoff;
use super::stream::Stream;
use crate::config::{Audio, LiveConfig, SourceKind};
use crate::frame::Size;
use crate::media::{LiveEvent, LiveOptions, LiveSource, Outlet, PictureFormat};
use crate::timeline::Cue;

/// How often a source is looked at.
const TICK: Duration = Duration::from_millis(50);
/// A source that was there for so long is opened again without a long wait.
const PROVEN: Duration = Duration::from_secs(5);

/// How an opened source ended.
enum End {
    /// The stream is over, or the source is to be opened at once.
    Asked,
    /// As the source says; it may come back.
    Lost(String),
    /// The file was played to its end.
    Finished,
}

/// Watches over the source of one stream until the stream stops.
pub(super) fn watch(
    stream: &Stream,
    live: &LiveConfig,
    outlet: &Outlet,
    cues: &Sender<(u64, Cue)>,
) {
    let seed = std::collections::hash_map::RandomState::new();
    let seed = std::hash::BuildHasher::hash_one(&seed, &stream.name);
    let first = Duration::from_millis(live.retry_first_ms.into());
    let mut backoff = Backoff::new(first, Duration::from_secs_f64(live.retry_most_s), seed);
    let mut opening = 0;
    while !stream.is_stopping() {
        opening += 1;
        let begun = Instant::now();
        let end = once(stream, live, outlet, cues, opening);
        match end {
            End::Asked => continue,
            End::Finished => {
                stream.note_end(opening, "the file was played to its end".to_owned());
                return;
            }
            End::Lost(why) => stream.note_loss(opening, why),
        }
        if begun.elapsed() > PROVEN {
            backoff.reset();
        }
        let until = Instant::now() + backoff.wait();
        while Instant::now() < until && !stream.is_stopping() {
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
        stream.measures.attempts.fetch_add(1, Relaxed);
    }
}

fn once(
    stream: &Stream,
    live: &LiveConfig,
    outlet: &Outlet,
    cues: &Sender<(u64, Cue)>,
    opening: u64,
) -> End {
    let config = &stream.config;
    let options = LiveOptions {
        transport: config.transport,
        jitter: Duration::from_millis(config.jitter_ms.into()),
        format: stream.wanted_format().or_else(|| configured(live)),
        with_sound: config.audio == Audio::Auto,
        check_certificates: live.check_certificates,
        opening,
    };
    let mut source = match LiveSource::open(&stream.uri, options, outlet.clone()) {
        Ok(source) => source,
        Err(error) => return End::Lost(stream.uri.without_secrets(&error.to_string())),
    };
    let end = attend(stream, live, &source, &|noticed| {
        // Whoever is so far behind has lost its pictures, too.
        for cue in noticed {
            let _ = cues.try_send((opening, cue));
        }
    });
    let repairs = u64::try_from(source.clock_repairs()).unwrap_or(0);
    stream.measures.clock_repairs.fetch_add(repairs, Relaxed);
    // Closing may take its time where a server does not answer, and nothing
    // waits for it.
    let closing = std::thread::Builder::new().name("closing".to_owned());
    let cell = Arc::new(crate::sync_cell::Locked::new(Some(source)));
    let owned = Arc::clone(&cell);
    if closing.spawn(move || drop(owned.take())).is_err() {
        source = match cell.take() {
            Some(source) => source,
            None => return end,
        };
        source.close();
    }
    end
}

/// The format of the output, where the settings fix it.
fn configured(live: &LiveConfig) -> Option<PictureFormat> {
    let size = Size::new(live.width_px as usize, live.height_px as usize);
    (size.width > 0).then(|| PictureFormat::plain(size, 0).ok()).flatten()
}

fn attend(stream: &Stream, live: &LiveConfig, source: &LiveSource, tell: &dyn Fn(Vec<Cue>)) -> End {
    let patience = Duration::from_secs_f64(live.stall_timeout_s);
    let is_file = matches!(stream.uri.kind, SourceKind::File(_));
    let mut moved = (0, Instant::now());
    // Servers have a little longer for the first picture.
    let mut allowed = patience.max(Duration::from_secs(10));
    loop {
        if stream.is_stopping() {
            return End::Asked;
        }
        if stream.reopen.swap(false, Relaxed) {
            return End::Asked;
        }
        tell(source.take_cues());
        match source.poll(TICK) {
            Some(LiveEvent::Eos) if is_file && stream.config.r#loop => {
                let goes_on = source.rewind();
                if !goes_on {
                    return End::Asked;
                }
            }
            Some(LiveEvent::Eos) if is_file => return End::Finished,
            Some(LiveEvent::Eos) => {
                return End::Lost(format!("{}: the source ended", stream.uri));
            }
            Some(LiveEvent::Failed(why)) => return End::Lost(why),
            None => {}
        }
        let frames = source.frames();
        if frames != moved.0 {
            moved = (frames, Instant::now());
            allowed = patience;
        }
        if frames == 0 && source.has_only_sound() && moved.1.elapsed() > patience {
            return End::Lost(source.only_sound());
        }
        if moved.1.elapsed() > allowed {
            let seconds = moved.1.elapsed().as_secs_f64();
            let hint = match &stream.uri.kind {
                _ if frames > 0 => "",
                SourceKind::Srt => "; check address, mode and passphrase",
                SourceKind::Udp { .. } | SourceKind::Rtp { .. } => "; is anything sent there?",
                _ => "",
            };
            return End::Lost(format!("{}: no picture for {seconds:.0} s{hint}", stream.uri));
        }
    }
}
