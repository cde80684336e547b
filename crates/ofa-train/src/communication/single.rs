//! One process that works alone.

use super::{CommunicationError, Communicator, CommunicatorEntry};

/// The only rank.
#[derive(Clone, Copy, Debug)]
pub struct Single;

inventory::submit! {
    CommunicatorEntry { name: "single", about: "one process", connect: |_| Ok(Box::new(Single)) }
}

impl Communicator for Single {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, partner: usize, _: &[f32], _: &mut [f32]) -> Result<(), CommunicationError> {
        Err(CommunicationError::Gone { rank: partner })
    }

    fn send(&self, to: usize, _: &[u8]) -> Result<(), CommunicationError> {
        Err(CommunicationError::Gone { rank: to })
    }

    fn receive(&self, from: usize) -> Result<Vec<u8>, CommunicationError> {
        Err(CommunicationError::Gone { rank: from })
    }

    fn poll(&self) -> Result<Option<(usize, Vec<u8>)>, CommunicationError> {
        Ok(None)
    }
}
