//! Who has shown the token: sessions of the login form, and how often somebody
//! guessed wrong. Asked by the guard; must not know HTTP.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::sync_cell::Locked;

/// Sessions at once; the oldest goes first.
const SESSIONS: usize = 256;
/// Life of a session.
const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Wrong guesses of one address within `GUESS_TIME`.
const GUESSES: usize = 20;
/// Time after which a guess is forgotten.
const GUESS_TIME: Duration = Duration::from_secs(60);
/// Guesses that are remembered.
const GUESSES_KEPT: usize = 4096;

/// A name that nobody guesses: 256 random bits in hexadecimal.
type Id = String;

/// Keeps what must be known to be let in.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Digest of the token, so that lengths are equal and it is not in memory.
    token: [u8; 32],
    open: Locked<VecDeque<(Id, Instant)>>,
    guesses: Locked<VecDeque<(IpAddr, Instant)>>,
}

impl Sessions {
    pub(super) fn new(token: &str) -> Self {
        Self {
            token: Sha256::digest(token).into(),
            open: Locked::default(),
            guesses: Locked::default(),
        }
    }

    /// Whether `given` is the token. Takes equally long for every wrong one.
    pub(super) fn is_token(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.token.ct_eq(&given).into()
    }

    /// Opens a session.
    pub(super) fn open(&self) -> Result<Id, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let id: Id = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut open = self.open.lock();
        open.push_back((id.clone(), Instant::now()));
        while open.len() > SESSIONS {
            open.pop_front();
        }
        Ok(id)
    }

    /// Whether there is such a session.
    pub(super) fn is_open(&self, id: &str) -> bool {
        let mut open = self.open.lock();
        open.retain(|(_, since)| since.elapsed() < LIFE);
        open.iter().any(|(known, _)| known.as_bytes().ct_eq(id.as_bytes()).into())
    }

    /// Ends a session.
    pub(super) fn close(&self, id: &str) {
        self.open.lock().retain(|(known, _)| !bool::from(known.as_bytes().ct_eq(id.as_bytes())));
    }

    /// Whether somebody at `address` has guessed too often to be heard.
    pub(super) fn is_guessing(&self, address: IpAddr) -> bool {
        let mut guesses = self.guesses.lock();
        guesses.retain(|(_, when)| when.elapsed() < GUESS_TIME);
        guesses.iter().filter(|(from, _)| *from == address).count() >= GUESSES
    }

    /// Remembers a wrong guess.
    pub(super) fn guessed(&self, address: IpAddr) {
        let mut guesses = self.guesses.lock();
        guesses.push_back((address, Instant::now()));
        while guesses.len() > GUESSES_KEPT {
            guesses.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lasts_until_it_is_closed_and_the_oldest_makes_room() {
        let sessions = Sessions::new("token");
        let first = sessions.open().unwrap();
        let second = sessions.open().unwrap();
        assert_ne!(first, second);
        assert!(sessions.is_open(&first) && sessions.is_open(&second));
        assert!(!sessions.is_open(&first[1..]) && !sessions.is_open(""));
        sessions.close(&second);
        assert!(sessions.is_open(&first) && !sessions.is_open(&second));
        for _ in 0..SESSIONS {
            sessions.open().unwrap();
        }
        assert!(!sessions.is_open(&first));
    }

    #[test]
    fn who_guesses_too_often_is_not_heard_and_others_are() {
        let sessions = Sessions::new("token");
        let [guesser, other] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        for _ in 0..GUESSES {
            assert!(!sessions.is_guessing(guesser));
            sessions.guessed(guesser);
        }
        assert!(sessions.is_guessing(guesser) && !sessions.is_guessing(other));
        assert!(sessions.is_token("token") && !sessions.is_token("tokens"));
    }
}
