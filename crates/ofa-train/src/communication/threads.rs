//! Ranks that are threads of one process, for tests.

use super::{CommunicationError, Communicator};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Mutex, PoisonError};

/// What one rank has for another.
enum Parcel {
    Values(Vec<f32>),
    Message(Vec<u8>),
}

/// One of several threads. A rank that is dropped is gone for the others.
pub struct Threads {
    rank: usize,
    /// To every rank; the channel to itself is never read.
    to: Vec<Mutex<Sender<Parcel>>>,
    from: Vec<Mutex<Receiver<Parcel>>>,
}

impl Threads {
    /// So many ranks, in order.
    pub fn ranks(size: usize) -> Vec<Self> {
        let mut to: Vec<Vec<Mutex<Sender<Parcel>>>> = (0..size).map(|_| Vec::new()).collect();
        let mut from: Vec<Vec<Mutex<Receiver<Parcel>>>> = (0..size).map(|_| Vec::new()).collect();
        for sender in &mut to {
            for receiver in &mut from {
                let (one, other) = channel();
                sender.push(Mutex::new(one));
                receiver.push(Mutex::new(other));
            }
        }
        to.into_iter().zip(from).enumerate().map(|(rank, (to, from))| Self { rank, to, from }).collect()
    }

    fn post(&self, to: usize, parcel: Parcel) -> Result<(), CommunicationError> {
        let sender = self.to[to].lock().unwrap_or_else(PoisonError::into_inner);
        sender.send(parcel).map_err(|_| CommunicationError::Gone { rank: to })
    }

    fn next(&self, from: usize) -> Result<Parcel, CommunicationError> {
        let receiver = self.from[from].lock().unwrap_or_else(PoisonError::into_inner);
        receiver.recv().map_err(|_| CommunicationError::Gone { rank: from })
    }
}

/// Values in place of a message, or the other way round: the ranks do not do the same.
fn out_of_turn(rank: usize) -> CommunicationError {
    CommunicationError::Message { rank, problem: "out of turn".to_owned() }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn exchange(&self, partner: usize, outgoing: &[f32], incoming: &mut [f32]) -> Result<(), CommunicationError> {
        self.post(partner, Parcel::Values(outgoing.to_vec()))?;
        match self.next(partner)? {
            Parcel::Values(values) if values.len() == incoming.len() => {
                incoming.copy_from_slice(&values);
                Ok(())
            }
            _ => Err(out_of_turn(partner)),
        }
    }

    fn send(&self, to: usize, message: &[u8]) -> Result<(), CommunicationError> {
        self.post(to, Parcel::Message(message.to_vec()))
    }

    fn receive(&self, from: usize) -> Result<Vec<u8>, CommunicationError> {
        match self.next(from)? {
            Parcel::Message(message) => Ok(message),
            Parcel::Values(_) => Err(out_of_turn(from)),
        }
    }

    fn poll(&self) -> Result<Option<(usize, Vec<u8>)>, CommunicationError> {
        for rank in (0..self.size()).filter(|rank| *rank != self.rank) {
            let receiver = self.from[rank].lock().unwrap_or_else(PoisonError::into_inner);
            match receiver.try_recv() {
                Ok(Parcel::Message(message)) => return Ok(Some((rank, message))),
                Ok(Parcel::Values(_)) => return Err(out_of_turn(rank)),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(CommunicationError::Gone { rank }),
            }
        }
        Ok(None)
    }
}
