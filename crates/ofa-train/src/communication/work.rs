//! Independent pieces of work that ranks take one at a time, with results in the order of the pieces.

use super::{CommunicationError, Communicator};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Looks for messages of other ranks, which long work does now and then: on rank 0, for ranks that wait for more work; on others,
/// for a request to stop.
pub type Attend<'a> = &'a mut (dyn FnMut() -> Result<(), CommunicationError> + Send);

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(1);

/// To a rank: there is nothing more to do.
const END: u64 = u64::MAX;
/// To a rank: what it does is not wanted any more, if it can be left.
const STOP: u64 = u64::MAX - 1;

/// Does the pieces `0..pieces`, each on the rank that is free first. `work` gives the result of a piece as bytes, and calls its
/// second argument often, so that no rank waits for another. `done` takes the results on rank 0 in the order of the pieces, and has
/// taken a beginning of them if `stop` was set there meanwhile. `stop` is then set on the other ranks, too, so that long work can
/// give what it has. Returns how many results were taken; 0 on other ranks.
///
/// # Errors
/// What `work` reports on this rank, and `done` on rank 0, or [`CommunicationError`] if a rank is gone.
pub fn hand_out<E: From<CommunicationError>>(
    ranks: &dyn Communicator,
    pieces: usize,
    stop: &AtomicBool,
    mut work: impl FnMut(usize, Attend<'_>) -> Result<Vec<u8>, E>,
    mut done: impl FnMut(usize, Vec<u8>) -> Result<(), E>,
) -> Result<usize, E> {
    if ranks.rank() > 0 {
        loop {
            let order = ranks.receive(0)?;
            match number(&order).ok_or_else(|| unexpected(0, "a piece of work"))? {
                END => return Ok(0),
                STOP => stop.store(true, Ordering::Relaxed),
                piece => {
                    let result = work(piece as usize, &mut || listen(ranks, stop))?;
                    ranks.send(0, &[&order[..], &result].concat())?;
                }
            }
        }
    }
    let mut desk = Desk { ranks, pieces, stop, next: 0, busy: 0, is_stopped: false, results: BTreeMap::new() };
    (1..ranks.size()).try_for_each(|rank| desk.give(rank))?;
    let mut taken = 0;
    loop {
        desk.attend()?;
        while let Some(result) = desk.results.remove(&taken) {
            done(taken, result)?;
            taken += 1;
        }
        match desk.take() {
            Some(piece) => {
                let result = work(piece, &mut || desk.attend())?;
                desk.results.insert(piece, result);
            }
            None if desk.busy > 0 => thread::sleep(PAUSE),
            None if desk.results.contains_key(&taken) => {}
            None => break,
        }
    }
    (1..ranks.size()).try_for_each(|rank| ranks.send(rank, &END.to_le_bytes()))?;
    Ok(taken)
}

/// Looks, on another rank than 0, for a request to stop.
fn listen(ranks: &dyn Communicator, stop: &AtomicBool) -> Result<(), CommunicationError> {
    while let Some((rank, message)) = ranks.poll()? {
        match number(&message) {
            Some(STOP) if rank == 0 => stop.store(true, Ordering::Relaxed),
            _ => return Err(unexpected(rank, "a request to stop")),
        }
    }
    Ok(())
}

/// Does work that cannot call `attend` itself, while another thread does.
///
/// # Errors
/// What `attend` reports, once the work is done.
pub fn attended<T>(attend: Attend<'_>, work: impl FnOnce() -> T) -> Result<T, CommunicationError> {
    /// Set when it is dropped, also by a panic: the thread would attend for ever.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let attending = scope.spawn(|| -> Result<(), CommunicationError> {
            while !over.load(Ordering::Relaxed) {
                attend()?;
                thread::sleep(PAUSE);
            }
            Ok(())
        });
        let result = {
            let _over = Over(&over);
            work()
        };
        attending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(result)
    })
}

/// Where rank 0 keeps what is handed out and what has come back.
struct Desk<'a> {
    ranks: &'a dyn Communicator,
    pieces: usize,
    stop: &'a AtomicBool,
    next: usize,
    /// Pieces that other ranks work on.
    busy: usize,
    /// Whether the others know that they are to stop.
    is_stopped: bool,
    results: BTreeMap<usize, Vec<u8>>,
}

impl Desk<'_> {
    /// The next piece, unless all are taken or no more are wanted.
    fn take(&mut self) -> Option<usize> {
        let piece = (self.next < self.pieces && !self.stop.load(Ordering::Relaxed)).then_some(self.next)?;
        self.next += 1;
        Some(piece)
    }

    fn give(&mut self, rank: usize) -> Result<(), CommunicationError> {
        let Some(piece) = self.take() else { return Ok(()) };
        self.busy += 1;
        self.ranks.send(rank, &(piece as u64).to_le_bytes())
    }

    /// Takes the results that have come, and gives their ranks more to do.
    fn attend(&mut self) -> Result<(), CommunicationError> {
        if !self.is_stopped && self.stop.load(Ordering::Relaxed) {
            self.is_stopped = true;
            (1..self.ranks.size()).try_for_each(|rank| self.ranks.send(rank, &STOP.to_le_bytes()))?;
        }
        while let Some((rank, message)) = self.ranks.poll()? {
            let piece = number(&message).filter(|piece| *piece < self.pieces as u64);
            let piece = piece.ok_or_else(|| unexpected(rank, "a result"))?;
            self.results.insert(piece as usize, message[8..].to_vec());
            self.busy -= 1;
            self.give(rank)?;
        }
        Ok(())
    }
}

/// The number that a message begins with.
fn number(message: &[u8]) -> Option<u64> {
    message.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn unexpected(rank: usize, expected: &str) -> CommunicationError {
    CommunicationError::Message { rank, problem: format!("expected {expected}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::communication::{Single, Threads};

    /// What rank 0 has taken, and who did how much.
    fn done_by(ranks: usize, pieces: usize, stop_after: usize) -> (Vec<String>, Vec<usize>) {
        let stop = AtomicBool::new(false);
        let run = |ranks: &dyn Communicator| {
            let (mut taken, mut own) = (Vec::new(), 0);
            let work = |piece: usize, attend: Attend<'_>| -> Result<Vec<u8>, CommunicationError> {
                own += 1;
                std::thread::sleep(Duration::from_millis(piece as u64 % 3));
                attend()?;
                Ok(format!("piece {piece}").into_bytes())
            };
            let done = |piece: usize, result: Vec<u8>| {
                assert_eq!(piece, taken.len());
                taken.push(String::from_utf8(result).unwrap());
                stop.store(taken.len() >= stop_after, Ordering::Relaxed);
                Ok(())
            };
            let count = hand_out(ranks, pieces, &stop, work, done).unwrap();
            assert_eq!(count, taken.len());
            (taken, own)
        };
        if ranks == 1 {
            let (taken, own) = run(&Single);
            return (taken, vec![own]);
        }
        let ranks = Threads::ranks(ranks);
        let mut taken = Vec::new();
        let own = std::thread::scope(|scope| {
            let threads: Vec<_> = ranks.iter().map(|rank| scope.spawn(|| run(rank))).collect();
            let results = threads.into_iter().map(|thread| thread.join().unwrap());
            results.map(|(result, own)| (taken.extend(result), own).1).collect()
        });
        (taken, own)
    }

    #[test]
    fn results_come_in_order_whoever_does_the_work() {
        let alone = done_by(1, 40, usize::MAX).0;
        assert_eq!(alone.len(), 40);
        for ranks in [2, 3, 8] {
            let (taken, own) = done_by(ranks, 40, usize::MAX);
            assert_eq!(taken, alone);
            assert_eq!(own.iter().sum::<usize>(), 40);
            assert!(own.iter().all(|own| *own > 0), "{own:?}");
        }
        assert!(done_by(4, 0, usize::MAX).0.is_empty());
        assert_eq!(done_by(4, 2, usize::MAX).0.len(), 2);
    }

    #[test]
    fn whoever_works_for_long_learns_that_it_is_to_stop() {
        // Rank 0 is asked to stop while all work on pieces that do not end by themselves.
        let work = |ranks: &dyn Communicator| {
            let stop = AtomicBool::new(false);
            let mut taken = Vec::new();
            let long = |piece: usize, attend: Attend<'_>| -> Result<Vec<u8>, CommunicationError> {
                let begun = std::time::Instant::now();
                attended(attend, || {
                    while !stop.load(Ordering::Relaxed) {
                        thread::sleep(PAUSE);
                        if ranks.rank() == 0 && begun.elapsed() > Duration::from_millis(50) {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    vec![piece as u8]
                })
            };
            hand_out(ranks, 9, &stop, long, |_, result| {
                taken.extend(result);
                Ok::<(), CommunicationError>(())
            })
            .unwrap();
            taken
        };
        let ranks = Threads::ranks(3);
        let taken = thread::scope(|scope| {
            let threads: Vec<_> = ranks.iter().map(|rank| scope.spawn(|| work(rank))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<u8>>()
        });
        assert_eq!(taken, [0, 1, 2]);
    }

    #[test]
    fn what_is_taken_after_a_stop_is_a_beginning() {
        let alone = done_by(1, 40, usize::MAX).0;
        for ranks in [1, 3] {
            let taken = done_by(ranks, 40, 5).0;
            // On several ranks, the first may be the last to come.
            assert!(taken.len() == 5 || (ranks > 1 && taken.len() > 5), "{}", taken.len());
            assert_eq!(taken, alone[..taken.len()]);
        }
    }
}
