//! Independent pieces of work that ranks take one at a time, with results in the order of the pieces.

use super::{CommunicationError, Communicator};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Answers the ranks that wait for work, which long work on rank 0 does now and then.
pub type Attend<'a> = &'a mut dyn FnMut() -> Result<(), CommunicationError>;

/// How long rank 0 waits before it looks again.
const PAUSE: Duration = Duration::from_millis(1);

/// To a rank: there is nothing more to do.
const END: u64 = u64::MAX;

/// Does the pieces `0..pieces`, each on the rank that is free first. `work` gives the result of a piece as bytes; on rank 0 it
/// calls its second argument often, so that others need not wait. `done` takes the results on rank 0 in the order of the pieces,
/// and has taken a beginning of them if `stop` was set there meanwhile. Returns how many those were; 0 on other ranks.
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
            let piece = number(&order).ok_or_else(|| unexpected(0, "a piece of work"))?;
            if piece == END {
                return Ok(0);
            }
            let result = work(piece as usize, &mut || Ok(()))?;
            ranks.send(0, &[&order[..], &result].concat())?;
        }
    }
    let mut desk = Desk { ranks, pieces, stop, next: 0, busy: 0, results: BTreeMap::new() };
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
            None if desk.busy > 0 => std::thread::sleep(PAUSE),
            None if desk.results.contains_key(&taken) => {}
            None => break,
        }
    }
    (1..ranks.size()).try_for_each(|rank| ranks.send(rank, &END.to_le_bytes()))?;
    Ok(taken)
}

/// Where rank 0 keeps what is handed out and what has come back.
struct Desk<'a> {
    ranks: &'a dyn Communicator,
    pieces: usize,
    stop: &'a AtomicBool,
    next: usize,
    /// Pieces that other ranks work on.
    busy: usize,
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
    fn what_is_taken_after_a_stop_is_a_beginning() {
        let alone = done_by(1, 40, usize::MAX).0;
        for ranks in [1, 3] {
            let taken = done_by(ranks, 40, 5).0;
            assert!((5..40).contains(&taken.len()), "{}", taken.len());
            assert_eq!(taken, alone[..taken.len()]);
        }
    }
}
