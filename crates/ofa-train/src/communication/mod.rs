//! Several processes, or threads, that train and measure together: their ranks, and what they send each other.
//!
//! A [`Communicator`] delivers messages. Sums of [`shards`](crate::training::shards) are built on it here, in the order of
//! one binary tree over the numbers of the shards, so that their bits do not depend on how many ranks there are. The order
//! of a library's own sum (`MPI_Allreduce`, NCCL) does.

mod agreement;
#[cfg(feature = "mpi")]
mod mpi;
mod pace;
mod single;
mod threads;
mod tree;
#[cfg(any(feature = "mpi", test))]
mod watch;
mod work;

#[cfg(feature = "mpi")]
pub use self::mpi::Mpi;
pub use agreement::{agree, program};
pub(crate) use pace::Pace;
pub use pace::SlowRank;
pub use single::Single;
pub use threads::Threads;
pub use tree::TreeSum;
pub use work::{Attend, attended, hand_out};

use ofa_space::plugin::{self, Entry, UnknownName};

/// One of several ranks that work together.
///
/// Ranks call the collective methods ([`sum`](Self::sum), [`broadcast`](Self::broadcast), [`gather`](Self::gather),
/// [`barrier`](Self::barrier), [`any`](Self::any)) all of them and in the same order.
pub trait Communicator: Send + Sync {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// The number of this rank among those on the same machine, and how many those are.
    fn on_this_machine(&self) -> (usize, usize) {
        (self.rank(), self.size())
    }

    /// Sends values to another rank, and takes as many of that rank's as `incoming` holds; both call it.
    ///
    /// # Errors
    /// [`CommunicationError`] if the other rank is gone.
    fn exchange(&self, partner: usize, outgoing: &[f32], incoming: &mut [f32]) -> Result<(), CommunicationError>;

    /// Sends a message. Messages from one rank to another arrive in their order.
    ///
    /// # Errors
    /// [`CommunicationError`] if the other rank is gone.
    fn send(&self, to: usize, message: &[u8]) -> Result<(), CommunicationError>;

    /// Waits for a message from this rank.
    ///
    /// # Errors
    /// [`CommunicationError`] if it can no longer come.
    fn receive(&self, from: usize) -> Result<Vec<u8>, CommunicationError>;

    /// A message of any rank, with the rank, if one has arrived.
    ///
    /// # Errors
    /// [`CommunicationError`] if none can come any more.
    fn poll(&self) -> Result<Option<(usize, Vec<u8>)>, CommunicationError>;

    /// This rank ends without the others, because of an error that it has reported: they need not report that it is gone.
    fn fail(&self) {}

    /// Adds up the values of all ranks, element by element, in the order of a binary tree: ranks 0 and 1, 2 and 3, …, then the
    /// sums of those. Every rank ends with the same bits.
    ///
    /// Every rank sends and takes twice the values, but for one part in [`size`](Self::size): halves are exchanged with ever
    /// more distant ranks and added, and the sums go back the same way (Rabenseifner's algorithm, which sends as little as a
    /// ring does).
    ///
    /// # Errors
    /// [`CommunicationError`] if a rank is gone.
    ///
    /// # Panics
    /// If the number of ranks is no power of two.
    fn sum(&self, values: &mut [f32]) -> Result<(), CommunicationError> {
        tree::sum_of_ranks(self, values)
    }

    /// Gives every rank the bytes of rank 0.
    ///
    /// # Errors
    /// [`CommunicationError`] if a rank is gone.
    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), CommunicationError> {
        if self.rank() > 0 {
            *bytes = self.receive(0)?;
            return Ok(());
        }
        (1..self.size()).try_for_each(|rank| self.send(rank, bytes))
    }

    /// The bytes of every rank, in order, on rank 0; nothing on the others.
    ///
    /// # Errors
    /// [`CommunicationError`] if a rank is gone.
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, CommunicationError> {
        if self.rank() > 0 {
            self.send(0, &bytes)?;
            return Ok(Vec::new());
        }
        let others = (1..self.size()).map(|rank| self.receive(rank));
        std::iter::once(Ok(bytes)).chain(others).collect()
    }

    /// Waits until all ranks are here.
    ///
    /// # Errors
    /// [`CommunicationError`] if a rank is gone.
    fn barrier(&self) -> Result<(), CommunicationError> {
        self.gather(Vec::new())?;
        self.broadcast(&mut Vec::new())
    }

    /// Whether the flag is set on any rank, on all of them: a request to stop that has reached one stops all at the same place.
    ///
    /// # Errors
    /// [`CommunicationError`] if a rank is gone.
    fn any(&self, flag: bool) -> Result<bool, CommunicationError> {
        let mut one = vec![u8::from(self.gather(vec![u8::from(flag)])?.iter().any(|flag| flag == &[1]))];
        self.broadcast(&mut one)?;
        Ok(one == [1])
    }
}

/// Why ranks cannot work together.
#[derive(Debug, thiserror::Error)]
pub enum CommunicationError {
    /// No such way is registered.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// A way that this binary was built without.
    #[error("this binary was built without `{feature}`; build with `--features {feature}`")]
    NotBuilt {
        /// The cargo feature to enable.
        feature: &'static str,
    },
    /// What connects the ranks could not be started.
    #[error("cannot connect the processes: {0}")]
    Start(String),
    /// The number of shards, or of ranks.
    #[error("{ranks} ranks cannot share {shards} shards: {problem}")]
    Division {
        /// Ranks.
        ranks: usize,
        /// Shards of a batch.
        shards: usize,
        /// What was expected and what to do.
        problem: &'static str,
    },
    /// A rank works on something else.
    #[error("rank {rank} differs from rank 0 in {differences}: all must have the same program, settings and data")]
    Differs {
        /// The rank.
        rank: usize,
        /// What differs, in words.
        differences: String,
    },
    /// A rank has ended, or stopped listening.
    #[error("rank {rank} is gone")]
    Gone {
        /// The rank.
        rank: usize,
    },
    /// A message that does not belong here.
    #[error("rank {rank} sent something unexpected ({problem})")]
    Message {
        /// The rank.
        rank: usize,
        /// What is wrong.
        problem: String,
    },
}

/// Called when another rank is found to have ended, from another thread: with the rank, and whether it is this rank's part to
/// report it. The work cannot go on.
pub type OnLost = fn(rank: usize, reports: bool);

/// A registered way to connect ranks.
pub struct CommunicatorEntry {
    /// Name to select it by.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
    /// Joins the ranks that this process was started with.
    pub connect: fn(OnLost) -> Result<Box<dyn Communicator>, CommunicationError>,
}

inventory::collect!(CommunicatorEntry);

impl Entry for CommunicatorEntry {
    const WHAT: &'static str = "communicator";

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

/// The ways that a cargo feature adds.
const OF_FEATURES: [&str; 1] = ["mpi"];

/// Joins the ranks that this process was started with, by the way of this name.
///
/// # Errors
/// [`CommunicationError`] if there is no such way, or it does not work.
pub fn connect(name: &str, on_lost: OnLost) -> Result<Box<dyn Communicator>, CommunicationError> {
    match plugin::find::<CommunicatorEntry>(name) {
        Ok(entry) => (entry.connect)(on_lost),
        Err(unknown) => Err(match OF_FEATURES.into_iter().find(|feature| *feature == name) {
            Some(feature) => CommunicationError::NotBuilt { feature },
            None => unknown.into(),
        }),
    }
}

/// Checks that this many ranks can share this many shards.
///
/// # Errors
/// [`CommunicationError::Division`] unless both are powers of two and there are at least as many shards as ranks.
pub fn check_division(ranks: usize, shards: usize) -> Result<(), CommunicationError> {
    let problem = match (ranks.is_power_of_two(), shards.is_power_of_two()) {
        (false, _) => "the number of ranks must be a power of two",
        (_, false) => "`shards` must be a power of two",
        _ if ranks > shards => "set `shards` in the training configuration to at least the number of ranks",
        _ => return Ok(()),
    };
    Err(CommunicationError::Division { ranks, shards, problem })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_way_that_is_not_there_is_named() {
        let error = |name| connect(name, |_, _| ()).err().unwrap().to_string();
        assert!(error("singles").contains("did you mean `single`?"), "{}", error("singles"));
        #[cfg(not(feature = "mpi"))]
        assert!(error("mpi").contains("--features mpi"));
        assert_eq!(connect("single", |_, _| ()).unwrap().size(), 1);
    }

    #[test]
    fn powers_of_two_that_divide() {
        for (ranks, shards) in [(1, 1), (1, 4), (2, 4), (4, 4)] {
            check_division(ranks, shards).unwrap();
        }
        for (ranks, shards) in [(3, 4), (2, 1), (4, 2), (1, 3), (0, 1)] {
            check_division(ranks, shards).unwrap_err();
        }
    }
}
