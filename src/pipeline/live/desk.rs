//! The analyst of all live streams: one thread, one classifier, and in turn the
//! newest frame of every stream that has one. A frame that was not looked at
//! when the next one came is forgotten, and counted.
//!
//! Another method of explaining needs another classifier; it is loaded beside,
//! and the old one serves until it is there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::stream::{Controls, Stream};
use crate::annotation::Annotation;
use crate::config::Config;
use crate::explain::MethodChoice;
use crate::media::Frame;
use crate::model::{Classifier, Model};
use crate::pipeline::analyst::{Analyst, Sample};
use crate::sync_cell::Locked;

/// Classifiers kept for methods that nobody uses at the moment.
const SPARE: usize = 1;

/// What is known about one frame, with the frame.
pub(super) struct Answer {
    pub(super) annotation: Arc<Annotation>,
    pub(super) frame: Frame,
}

/// The place of one stream.
struct Seat {
    stream: Arc<Stream>,
    sample: Locked<Option<Sample>>,
    answers: Sender<Answer>,
    /// The analyst's memory of the stream, and the version of the controls it
    /// follows.
    memory: Locked<Option<(Analyst, u64)>>,
}

/// Where streams hand in their frames.
pub(super) struct Desk {
    seats: Locked<Vec<Arc<Seat>>>,
    bell: Sender<()>,
}

impl Desk {
    /// A desk, and the bell that its analyst listens to.
    pub(super) fn new() -> (Arc<Self>, Receiver<()>) {
        let (bell, listener) = bounded(1);
        (Arc::new(Self { seats: Locked::default(), bell }), listener)
    }

    /// Takes a place for `stream`; what is known comes to `answers`.
    pub(super) fn sit(self: &Arc<Self>, stream: &Arc<Stream>, answers: Sender<Answer>) -> Place {
        let seat = Arc::new(Seat {
            stream: Arc::clone(stream),
            sample: Locked::default(),
            answers,
            memory: Locked::default(),
        });
        self.seats.lock().push(Arc::clone(&seat));
        Place { desk: Arc::clone(self), seat }
    }

    fn seats(&self) -> Vec<Arc<Seat>> {
        self.seats.lock().clone()
    }
}

/// A stream's place at the desk; given up when dropped.
pub(super) struct Place {
    desk: Arc<Desk>,
    seat: Arc<Seat>,
}

impl Place {
    /// Hands in a frame, in the place of one that still waits. Never waits.
    pub(super) fn hand_in(&self, sample: Sample) {
        if self.seat.sample.lock().replace(sample).is_some() {
            self.seat.stream.measures.busy.fetch_add(1, Relaxed);
        }
        let _ = self.desk.bell.try_send(());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.desk.seats.lock().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

type Loaded = (String, Result<Classifier, String>);

/// Loads a classifier that explains by a method.
pub(super) type Load = Arc<dyn Fn(MethodChoice) -> anyhow::Result<Classifier> + Send + Sync>;

/// The analyst at the desk.
pub(super) struct DeskAnalyst {
    desk: Arc<Desk>,
    config: Arc<Config>,
    model: Arc<Model>,
    load: Load,
    /// Classifiers by method; `None` while one is being loaded.
    classifiers: HashMap<String, Option<Classifier>>,
    arrivals: (Sender<Loaded>, Receiver<Loaded>),
    /// The method that is there from the start, and serves where another is
    /// not.
    standard: String,
    turn: usize,
}

impl DeskAnalyst {
    pub(super) fn new(
        desk: &Arc<Desk>,
        config: Arc<Config>,
        model: Arc<Model>,
        first: Classifier,
        load: Load,
    ) -> Self {
        let standard = String::from(config.explain.method);
        Self {
            desk: Arc::clone(desk),
            config,
            model,
            load,
            classifiers: HashMap::from([(standard.clone(), Some(first))]),
            arrivals: bounded(4),
            standard,
            turn: 0,
        }
    }

    /// Works until `stop` says so or the bell is gone.
    pub(super) fn run(mut self, bell: &Receiver<()>, stop: &dyn Fn() -> bool) {
        while !stop() {
            match bell.recv_timeout(Duration::from_millis(200)) {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            }
            while let Ok((method, classifier)) = self.arrivals.1.try_recv() {
                self.welcome(method, classifier);
            }
            while let Some((seat, sample)) = self.next() {
                self.serve(&seat, sample);
                if stop() {
                    return;
                }
            }
        }
    }

    /// The next stream in turn that has a frame.
    fn next(&mut self) -> Option<(Arc<Seat>, Sample)> {
        let seats = self.desk.seats();
        for step in 0..seats.len() {
            let at = (self.turn + step) % seats.len();
            if let Some(sample) = seats[at].sample.lock().take() {
                self.turn = at + 1;
                return Some((Arc::clone(&seats[at]), sample));
            }
        }
        None
    }

    fn serve(&mut self, seat: &Seat, sample: Sample) {
        let version = seat.stream.version.load(Relaxed);
        let controls = seat.stream.controls();
        let method = self.method_for(&controls, seat);
        let config = Arc::clone(&self.config);
        let Some(Some(classifier)) = self.classifiers.get_mut(&method) else { return };
        let begun = Instant::now();
        let annotation = {
            let mut memory = seat.memory.lock();
            let wanted = (controls.head, &controls.choices[..]);
            let (analyst, known) = memory.get_or_insert_with(|| {
                (Analyst::new(classifier, self.model.spec.input, wanted, &config), version)
            });
            if *known != version {
                analyst.explain(classifier, wanted, &config);
                *known = version;
            }
            analyst.annotate_or_note(classifier, &sample, &seat.stream.measures.analyst)
        };
        let delay = self.config.live.analysis_delay_ms;
        if delay > 0 {
            std::thread::sleep(Duration::from_millis(delay.into()));
        }
        seat.stream.measures.analyst.analysed.fetch_add(1, Relaxed);
        seat.stream.measures.inferred(begun.elapsed());
        // A compositor that is behind gets the next one.
        let answer = Answer { annotation: Arc::new(annotation), frame: sample.frame };
        let _ = seat.answers.try_send(answer);
    }

    /// The method whose classifier serves a stream now; asks for the wanted one
    /// where it is not there yet.
    fn method_for(&mut self, controls: &Controls, seat: &Seat) -> String {
        let wanted = String::from(controls.method);
        match self.classifiers.get(&wanted) {
            Some(Some(_)) => return wanted,
            Some(None) => {}
            None => {
                self.classifiers.insert(wanted.clone(), None);
                let (load, to) = (Arc::clone(&self.load), self.arrivals.0.clone());
                let (method, name) = (controls.method, wanted);
                let loader = std::thread::Builder::new().name("loader".to_owned());
                let spawned = loader.spawn(move || {
                    let loaded = load(method).map_err(|error| format!("{error:#}"));
                    let _ = to.send((name, loaded));
                });
                if let Err(error) = spawned {
                    tracing::warn!("no classifier can be loaded: {error}");
                }
            }
        }
        seat.stream.measures.loading.fetch_add(1, Relaxed);
        self.standard.clone()
    }

    fn welcome(&mut self, method: String, classifier: Result<Classifier, String>) {
        match classifier {
            Ok(classifier) => {
                self.classifiers.insert(method, Some(classifier));
            }
            // The entry stays, so that it is not tried for every frame.
            Err(why) => tracing::warn!("the method {method} cannot be had: {why}"),
        }
        let in_use: Vec<String> =
            self.desk.seats().iter().map(|s| String::from(s.stream.controls().method)).collect();
        let idle: Vec<String> = self
            .classifiers
            .iter()
            .filter(|(name, there)| {
                there.is_some() && **name != self.standard && !in_use.contains(name)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in idle.iter().skip(SPARE) {
            self.classifiers.remove(name);
        }
    }
}
