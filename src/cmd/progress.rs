//! Shows how far a job has come: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::talk;
use crate::pipeline::Progress;

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How often the bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// Where progress is shown, and how often.
struct Screen {
    bar: Option<ProgressBar>,
    quiet: bool,
    begun: Instant,
    last: Instant,
}

impl Screen {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = Instant::now();
        Self { bar, quiet, begun: now, last: now }
    }

    /// Whether it is time to show something again.
    fn is_due(&mut self) -> bool {
        let every = if self.bar.is_some() { BAR_EVERY } else { LINE_EVERY };
        let due = !self.quiet && self.last.elapsed() >= every;
        if due {
            self.last = Instant::now();
        }
        due
    }

    fn show(&self, done: u64, of: Option<u64>, text: String) {
        match &self.bar {
            Some(bar) => {
                if let Some(of) = of {
                    bar.set_length(of);
                }
                bar.set_position(done);
                bar.set_message(text);
            }
            None => talk(format_args!("{text}")),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows how far a recording has been annotated.
pub(super) struct Display(Screen);

impl Display {
    pub(super) fn new(quiet: bool) -> Self {
        Self(Screen::new(quiet))
    }

    pub(super) fn update(&mut self, progress: Progress) {
        let screen = &mut self.0;
        if screen.is_due() {
            let text = describe(progress, screen.begun.elapsed().as_secs_f64());
            let total = progress.total.map(|total| total.0 / 1_000_000);
            screen.show(progress.reached.0 / 1_000_000, total, text);
        }
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}

/// Counts things that are done, of a known number.
pub(super) struct Count {
    screen: Screen,
    what: &'static str,
}

impl Count {
    pub(super) fn new(what: &'static str, quiet: bool) -> Self {
        Self { screen: Screen::new(quiet), what }
    }

    pub(super) fn update(&mut self, done: usize, of: usize) {
        let screen = &mut self.screen;
        if screen.is_due() {
            let rate = done as f64 / screen.begun.elapsed().as_secs_f64().max(1e-3);
            let left = of.saturating_sub(done) as f64 / rate.max(1e-3);
            let text = format!("{done} of {of} {}  {rate:.0}/s  {} left", self.what, clock(left));
            screen.show(done as u64, Some(of as u64), text);
        }
    }

    /// Shows how much of one of several tasks is done, 0..1.
    pub(super) fn part(&mut self, task: &str, part: f64) {
        let screen = &mut self.screen;
        if screen.is_due() {
            let percent = (part * 100.0).clamp(0.0, 100.0);
            let text = match &screen.bar {
                Some(_) => task.to_owned(),
                None => format!("{task}: {percent:.0} %"),
            };
            screen.show(percent as u64, Some(100), text);
        }
    }

    pub(super) fn clear(&self) {
        self.screen.clear();
    }
}

fn describe(progress: Progress, elapsed_s: f64) -> String {
    let (frames, reached) = (progress.frames, progress.reached.as_secs_f64());
    let elapsed_s = elapsed_s.max(1e-3);
    let (fps, speed) = (frames as f64 / elapsed_s, reached / elapsed_s);
    let mut text = format!("frame {frames}  {fps:.0} fps  {speed:.2}x real time");
    if let Some(total) = progress.total.map(|t| t.as_secs_f64()) {
        if speed > 0.0 && total >= reached {
            text += &format!("  {} left", clock((total - reached) / speed));
        }
    } else {
        text += &format!("  at {}", clock(reached));
    }
    text
}

/// Seconds as people read them: `1:02:03`.
pub(super) fn clock(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Pts;

    #[test]
    fn tells_frames_speed_and_what_is_left() {
        let at = |s| Pts::from_secs_f64(s);
        let progress = Progress { frames: 300, reached: at(12.0), total: Some(at(60.0)) };
        assert_eq!(describe(progress, 6.0), "frame 300  50 fps  2.00x real time  0:24 left");
        let unknown = Progress { total: None, ..progress };
        assert_eq!(describe(unknown, 6.0), "frame 300  50 fps  2.00x real time  at 0:12");
        assert_eq!(clock(3723.0), "1:02:03");
    }
}
