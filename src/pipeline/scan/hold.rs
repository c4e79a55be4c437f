//! Spares the classifier pictures like the one that it saw last: knows that one, and
//! for how long what was said about it holds. Must not know what that was.

use crate::frame::Pts;
use crate::shot::Glance;

/// Mean change of luma since the picture classified last, in levels, up to which a
/// picture is alike.
const ALIKE: f32 = 30.0;

/// The picture that was classified last.
#[derive(Debug)]
pub(super) struct Hold {
    hold_s: f64,
    last: Option<(Pts, Glance)>,
}

impl Hold {
    /// An answer holds for so many seconds at most.
    pub(super) const fn new(hold_s: f64) -> Self {
        Self { hold_s, last: None }
    }

    /// Another scene begins.
    pub(super) fn end(&mut self) {
        self.last = None;
    }

    /// True when the answer about the picture classified last will do for this one,
    /// which may be `black`.
    pub(super) fn covers(&self, pts: Pts, glance: &Glance, black: bool) -> bool {
        let recent = |(since, _): &&(Pts, Glance)| pts.secs_since(*since) < self.hold_s;
        self.last.as_ref().filter(recent).is_some_and(|(_, last)| black || alike(glance, last))
    }

    /// A picture was classified. Gives back from when on what was said about it
    /// holds better than what was said before.
    pub(super) fn begin(&mut self, pts: Pts, glance: &Glance) -> Pts {
        let before = self.last.replace((pts, glance.clone()));
        let before = before.filter(|(_, last)| alike(glance, last));
        before.map_or(pts, |(since, _)| Pts(since.0.midpoint(pts.0)))
    }
}

fn alike(glance: &Glance, last: &Glance) -> bool {
    glance.difference(last) <= ALIKE && !glance.is_another_scene(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Colorimetry, Picture, Plane, Size};

    /// A picture of stripes, all of it so much brighter.
    fn glance(stripe: usize, brighter: u8) -> Glance {
        let size = Size::new(64, 36);
        let luma: Vec<u8> = (0..64 * 36)
            .map(|i| if (i % 64 / stripe).is_multiple_of(2) { 40 } else { 160 } + brighter)
            .collect();
        let grey = vec![128; 32 * 18];
        let chroma = || Plane { data: &grey, stride: 32 };
        Glance::of(&Picture {
            size,
            colorimetry: Colorimetry::BT709,
            pixel_aspect: 1.0,
            planes: [Plane { data: &luma, stride: 64 }, chroma(), chroma()],
        })
    }

    fn s(seconds: f64) -> Pts {
        Pts::from_secs_f64(seconds)
    }

    #[test]
    fn an_answer_holds_while_the_picture_is_alike_and_for_no_longer_than_it_may() {
        let mut hold = Hold::new(5.0);
        assert!(!hold.covers(s(0.0), &glance(4, 0), false), "nothing was said yet");
        assert_eq!(hold.begin(s(0.0), &glance(4, 0)), s(0.0));
        assert!(hold.covers(s(1.0), &glance(4, 5), false));
        assert!(!hold.covers(s(5.0), &glance(4, 5), false), "too long ago");
        assert!(!hold.covers(s(1.0), &glance(4, 60), false), "another light");
        assert!(!hold.covers(s(1.0), &glance(16, 0), false), "another picture");
        assert!(hold.covers(s(1.0), &glance(16, 0), true), "black says nothing");
        hold.end();
        assert!(!hold.covers(s(1.0), &glance(4, 0), false), "another scene");
    }

    #[test]
    fn of_two_answers_about_one_scene_the_nearer_one_counts() {
        let mut hold = Hold::new(5.0);
        hold.begin(s(10.0), &glance(4, 0));
        assert_eq!(hold.begin(s(15.0), &glance(4, 5)), s(12.5));
        assert_eq!(hold.begin(s(19.0), &glance(16, 0)), s(19.0), "not of another one");
    }
}
