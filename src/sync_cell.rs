//! A mutex that cannot be poisoned: a thread that panicked while holding it
//! leaves the last value, and the video goes on.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value shared between threads.
#[derive(Debug, Default)]
pub struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits for the value.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Locked<T> {
    /// Takes the value out and leaves the default.
    pub fn take(&self) -> T {
        std::mem::take(&mut *self.lock())
    }
}
