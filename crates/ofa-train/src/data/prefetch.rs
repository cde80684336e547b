//! Batches prepared on another thread while the network computes, in order, no more than a few ahead.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Hands the items `make(from)`, `make(from + 1)`, … `make(to - 1)` to `consume`, in order. Up to `ahead` of them wait
/// in memory or are being made; with 0 each is made when it is asked for. What is made does not depend on when.
///
/// `consume` may stop early; making stops then, too.
pub fn prefetch<T: Send, R>(
    from: usize,
    to: usize,
    ahead: usize,
    make: impl Fn(usize) -> T + Sync,
    consume: impl FnOnce(&mut dyn FnMut() -> Option<T>) -> R,
) -> R {
    if ahead == 0 {
        let mut next = from..to;
        return consume(&mut || next.next().map(&make));
    }
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(ahead - 1);
        let make = &make;
        scope.spawn(move || {
            for index in from..to {
                if sender.send(make(index)).is_err() {
                    break;
                }
            }
        });
        // Dropped before the scope waits for the thread, which then stops.
        let receiver: Receiver<T> = receiver;
        consume(&mut || receiver.recv().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_item_comes_once_and_in_order() {
        for ahead in [0, 1, 3, 100] {
            let got = prefetch(5, 25, ahead, |i| i * i, |next| std::iter::from_fn(next).collect::<Vec<_>>());
            assert_eq!(got, (5..25).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn who_stops_early_stops_the_making_and_no_more_than_allowed_is_made_ahead() {
        for ahead in [0, 1, 4] {
            let made = AtomicUsize::new(0);
            let make = |i| {
                made.fetch_add(1, Ordering::SeqCst);
                i
            };
            let taken = prefetch(0, 1000, ahead, make, |next| (0..10).filter_map(|_| next()).count());
            assert_eq!(taken, 10);
            // One more may have been begun between the last one taken and the end.
            assert!(made.load(Ordering::SeqCst) <= 10 + ahead + 1, "{} were made", made.load(Ordering::SeqCst));
        }
    }
}
