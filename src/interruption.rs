//! How work ends that is asked to stop: most of it at once, since files are written whole or not at all; a training once it has
//! saved a checkpoint.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long work that saves nothing at the end may take to answer by itself.
const PATIENCE: Duration = Duration::from_millis(800);
const PAUSE: Duration = Duration::from_millis(20);

static SAVING: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicBool = AtomicBool::new(false);

/// A training in progress, which saves a checkpoint when it is asked to stop.
#[derive(Debug)]
pub(crate) struct Saving(());

impl Saving {
    /// From here on, until it is dropped.
    pub(crate) fn begin() -> Self {
        SAVING.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        SAVING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a training is in progress.
pub(crate) fn is_saving() -> bool {
    SAVING.load(Ordering::SeqCst) > 0
}

/// Whether this process was asked to stop.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Notes that this process is asked to stop, and calls `end` on a thread of its own as soon as no training has been in progress for a while. By then the command has mostly
/// ended by itself, with a message of its own.
pub(crate) fn end_soon(end: impl FnOnce() + Send + 'static) {
    ASKED.store(true, Ordering::SeqCst);
    std::thread::spawn(move || {
        let mut idle = Duration::ZERO;
        while idle < PATIENCE {
            std::thread::sleep(PAUSE);
            idle = if is_saving() { Duration::ZERO } else { idle + PAUSE };
        }
        end();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn the_end_waits_for_a_training() {
        let (sender, end) = channel();
        let saving = Saving::begin();
        end_soon(move || {
            let _ = sender.send(());
        });
        assert!(end.recv_timeout(2 * PATIENCE).is_err());
        drop(saving);
        assert!(end.recv_timeout(4 * PATIENCE).is_ok());
    }
}
