//! Ranks that an MPI launcher started, over the MPI library of the system.

use super::watch::{Address, Post, Watch};
use super::{CommunicationError, Communicator, CommunicatorEntry, OnLost};
use mpi::environment::{Universe, processor_name};
use mpi::point_to_point::{self, MatchedReceiveVec};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, Destination, Root, Source};
use mpi::{Threading, initialize_with_threading};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Tag of values that are exchanged.
const VALUES: i32 = 1;
/// Tag of messages.
const MESSAGE: i32 = 2;
/// Between two looks for a message.
const PAUSE: Duration = Duration::from_micros(200);

/// A rank of `MPI_COMM_WORLD`.
pub struct Mpi {
    rank: usize,
    size: usize,
    on_this_machine: (usize, usize),
    /// Ends MPI when it is dropped, which waits for the other ranks.
    universe: Mutex<Option<Universe>>,
    /// Parts with the others after that.
    watch: Option<Watch>,
    /// MPI is called from one thread at a time.
    turn: Mutex<()>,
}

inventory::submit! {
    CommunicatorEntry {
        name: "mpi",
        about: "the processes that mpirun or srun started",
        connect: |on_lost| Ok(Box::new(Mpi::start(on_lost)?)),
    }
}

impl Mpi {
    /// Joins the ranks that this process was started with; without a launcher it is the only one.
    ///
    /// # Errors
    /// [`CommunicationError::Start`] if MPI was started before in this process, or cannot be called from several threads in turn.
    pub fn start(on_lost: OnLost) -> Result<Self, CommunicationError> {
        let (universe, threading) = initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| CommunicationError::Start("MPI is started already".to_owned()))?;
        if threading < Threading::Serialized {
            let problem = "the MPI library was built without support for threads";
            return Err(CommunicationError::Start(problem.to_owned()));
        }
        let world = universe.world();
        let own = world.split_shared(0);
        let mut started = Self {
            rank: world.rank() as usize,
            size: world.size() as usize,
            on_this_machine: (own.rank() as usize, own.size() as usize),
            watch: None,
            universe: Mutex::new(Some(universe)),
            turn: Mutex::new(()),
        };
        started.watch = started.watched(on_lost)?;
        Ok(started)
    }

    /// Connects the ranks so that they notice when one is gone. Where that is not possible, the launcher alone notices.
    fn watched(&self, on_lost: OnLost) -> Result<Option<Watch>, CommunicationError> {
        if self.size == 1 {
            return Ok(None);
        }
        let host = processor_name().unwrap_or_default();
        if self.rank == 0 {
            let random = RandomState::new();
            let halves = [0, 1].map(|half: u8| random.hash_one(half).to_le_bytes());
            let mut token = [0; 16];
            token.iter_mut().zip(halves.iter().flatten()).for_each(|(slot, byte)| *slot = *byte);
            let post = Post::open(token).ok();
            let port = post.as_ref().and_then(|post| post.address().ok()).map_or(0, |(port, _)| port);
            self.broadcast(&mut [&port.to_le_bytes()[..], &token, host.as_bytes()].concat())?;
            return Ok(post.filter(|_| port > 0).and_then(|post| post.watch(self.size, on_lost).ok()));
        }
        let mut place = Vec::new();
        self.broadcast(&mut place)?;
        let parts = place.split_first_chunk::<2>().and_then(|(port, rest)| {
            let (token, first) = rest.split_first_chunk::<16>()?;
            Some((u16::from_le_bytes(*port), *token, String::from_utf8_lossy(first).into_owned()))
        });
        let Some((port, token, first)) = parts.filter(|(port, ..)| *port > 0) else { return Ok(None) };
        let address: Address = (port, token);
        let at = if first == host { "localhost" } else { first.as_str() };
        Ok(Watch::join(at, address, self.rank, on_lost).ok())
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn on_this_machine(&self) -> (usize, usize) {
        self.on_this_machine
    }

    fn exchange(&self, partner: usize, outgoing: &[f32], incoming: &mut [f32]) -> Result<(), CommunicationError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let world = SimpleCommunicator::world();
        let other = world.process_at_rank(partner as i32);
        point_to_point::send_receive_into_with_tags(outgoing, &other, VALUES, incoming, &other, VALUES);
        Ok(())
    }

    fn send(&self, to: usize, message: &[u8]) -> Result<(), CommunicationError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        SimpleCommunicator::world().process_at_rank(to as i32).send_with_tag(message, MESSAGE);
        Ok(())
    }

    fn receive(&self, from: usize) -> Result<Vec<u8>, CommunicationError> {
        // MPI itself would wait with a core at full load, which another rank may need.
        loop {
            {
                let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                let world = SimpleCommunicator::world();
                let found = world.process_at_rank(from as i32).immediate_matched_probe_with_tag(MESSAGE);
                if let Some(found) = found {
                    return Ok(found.matched_receive_vec().0);
                }
            }
            thread::sleep(PAUSE);
        }
    }

    fn poll(&self) -> Result<Option<(usize, Vec<u8>)>, CommunicationError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let found = SimpleCommunicator::world().any_process().immediate_matched_probe_with_tag(MESSAGE);
        Ok(found.map(|found| {
            let rank = found.1.source_rank() as usize;
            (rank, found.matched_receive_vec().0)
        }))
    }

    fn fail(&self) {
        if let Some(watch) = &self.watch {
            watch.fail();
        }
        // Ending MPI as usual would wait for the others.
        std::mem::forget(self.universe.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), CommunicationError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let world = SimpleCommunicator::world();
        let first = world.process_at_rank(0);
        let mut length = bytes.len() as u64;
        first.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        // The address of an empty slice can be the value that MPI calls MPI_IN_PLACE.
        if bytes.is_empty() {
            return Ok(());
        }
        first.broadcast_into(&mut bytes[..]);
        Ok(())
    }
}
