//! Checkpoints: everything that training needs to go on, checksummed, with the previous one kept.

use crate::error::TrainError;
use crate::progressive_shrinking::{History, Window};
use ofa_space::{Tensor, Weights, atomic_file};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"OFACKPT1";
const CHECKSUM_BYTES: usize = 32;

/// The state of a training run between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Hash of the configuration and data that the run was started with.
    pub fingerprint: String,
    /// Index of the current phase; the number of phases once training is done.
    pub phase: usize,
    /// Steps done in the phase.
    pub step: usize,
    /// Metrics so far.
    pub history: History,
    /// Metrics since the last logged step.
    pub window: Window,
    /// Weights and running statistics.
    pub weights: Weights,
    /// The frozen teacher, once there is one.
    pub teacher: Option<Weights>,
    /// Momentum buffers, as the optimizer writes them.
    pub optimizer: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    fingerprint: String,
    phase: usize,
    step: usize,
    history: History,
    window: Window,
    weights: Index,
    teacher: Option<Index>,
    optimizer_bytes: usize,
}

/// Name and shape of every tensor, in the order of their data.
type Index = BTreeMap<String, Vec<usize>>;

impl Checkpoint {
    /// Path of the newest checkpoint in a run's folder.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join("checkpoint.ofa")
    }

    fn previous_path(folder: &Path) -> PathBuf {
        folder.join("checkpoint.previous.ofa")
    }

    /// Writes the checkpoint whole or not at all, keeping the previous one beside it.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), TrainError> {
        let path = Self::path(folder);
        let io = |source| TrainError::Io { action: "write", path: path.clone(), source };
        if path.exists() {
            // A hard link keeps both names valid at every moment, unlike a rename.
            let previous = Self::previous_path(folder);
            let staged = folder.join("checkpoint.previous.part");
            let _ = std::fs::remove_file(&staged);
            std::fs::hard_link(&path, &staged).and_then(|()| std::fs::rename(&staged, &previous)).map_err(io)?;
        }
        atomic_file::write(&path, &self.to_bytes()?).map_err(io)
    }

    /// The newest readable checkpoint of a folder, and a message if the newest had to be passed over.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if there are checkpoints but none is readable.
    pub fn load_latest(folder: &Path) -> Result<Option<(Self, Option<String>)>, TrainError> {
        let (newest, previous) = (Self::path(folder), Self::previous_path(folder));
        if !newest.exists() && !previous.exists() {
            return Ok(None);
        }
        match Self::load(&newest) {
            Ok(checkpoint) => Ok(Some((checkpoint, None))),
            Err(problem) => match Self::load(&previous) {
                Ok(checkpoint) => Ok(Some((checkpoint, Some(format!("{problem}; using the one before it"))))),
                Err(_) => Err(problem),
            },
        }
    }

    fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes =
            std::fs::read(path).map_err(|source| TrainError::Io { action: "read", path: path.to_owned(), source })?;
        Self::from_bytes(&bytes).map_err(|problem| TrainError::Checkpoint { path: path.to_owned(), problem })
    }

    fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let index = |weights: &Weights| -> Index {
            weights.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect()
        };
        let header = Header {
            fingerprint: self.fingerprint.clone(),
            phase: self.phase,
            step: self.step,
            history: self.history.clone(),
            window: self.window,
            weights: index(&self.weights),
            teacher: self.teacher.as_ref().map(index),
            optimizer_bytes: self.optimizer.len(),
        };
        let header = serde_json::to_vec(&header).map_err(|e| TrainError::Compute(e.to_string()))?;
        let mut body = Vec::new();
        body.extend_from_slice(&(header.len() as u64).to_le_bytes());
        body.extend_from_slice(&header);
        for weights in std::iter::once(&self.weights).chain(self.teacher.as_ref()) {
            for (_, tensor) in weights.iter() {
                body.extend(tensor.data.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
        body.extend_from_slice(&self.optimizer);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&Sha256::digest(&body));
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let body = bytes.strip_prefix(MAGIC).ok_or("is not a checkpoint of this version; remove it to start afresh")?;
        let (checksum, body) = body.split_at_checked(CHECKSUM_BYTES).ok_or("is truncated")?;
        if checksum != Sha256::digest(body).as_slice() {
            return Err("is damaged (its checksum does not match)".into());
        }
        let (length, rest) = body.split_at_checked(8).ok_or("is truncated")?;
        let length = length.iter().rev().fold(0u64, |n, b| (n << 8) | u64::from(*b));
        let (header, mut data) = rest.split_at_checked(length as usize).ok_or("is truncated")?;
        let header: Header = serde_json::from_slice(header).map_err(|e| format!("has a bad header: {e}"))?;
        let weights = take_weights(&header.weights, &mut data)?;
        let teacher = header.teacher.as_ref().map(|index| take_weights(index, &mut data)).transpose()?;
        if data.len() != header.optimizer_bytes {
            return Err("has optimizer state of another length than its header says".into());
        }
        Ok(Self {
            fingerprint: header.fingerprint,
            phase: header.phase,
            step: header.step,
            history: header.history,
            window: header.window,
            weights,
            teacher,
            optimizer: data.to_vec(),
        })
    }
}

fn take_weights(index: &Index, data: &mut &[u8]) -> Result<Weights, String> {
    let mut weights = Weights::default();
    for (name, shape) in index {
        let count: usize = shape.iter().product();
        let (bytes, rest) = data.split_at_checked(4 * count).ok_or("is truncated")?;
        *data = rest;
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        weights.insert(name.clone(), Tensor { shape: shape.clone(), data: values });
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Checkpoint {
        let mut weights = Weights::default();
        weights.insert("a".into(), Tensor { shape: vec![2], data: vec![1.0, -2.5] });
        weights.insert("b".into(), Tensor { shape: vec![1, 2], data: vec![f32::MIN_POSITIVE, 3.0] });
        Checkpoint {
            fingerprint: "f".into(),
            phase: 1,
            step: 7,
            history: History::default(),
            window: Window::default(),
            teacher: Some(weights.clone()),
            weights,
            optimizer: vec![1, 2, 3],
        }
    }

    #[test]
    fn round_trips_and_detects_every_flipped_or_missing_byte() {
        let bytes = sample().to_bytes().unwrap();
        assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), sample());
        for i in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..i]).is_err(), "truncated at {i}");
            let mut flipped = bytes.clone();
            flipped[i] ^= 1;
            assert!(Checkpoint::from_bytes(&flipped).is_err(), "flipped at {i}");
        }
    }

    #[test]
    fn a_damaged_checkpoint_falls_back_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Checkpoint::load_latest(folder.path()).unwrap().is_none());
        let first = sample();
        first.save(folder.path()).unwrap();
        let second = Checkpoint { step: 8, ..sample() };
        second.save(folder.path()).unwrap();
        assert_eq!(Checkpoint::load_latest(folder.path()).unwrap().unwrap().0, second);
        std::fs::write(Checkpoint::path(folder.path()), b"OFACKPT1 nonsense").unwrap();
        let (found, message) = Checkpoint::load_latest(folder.path()).unwrap().unwrap();
        assert_eq!(found, first);
        assert!(message.unwrap().contains("damaged"));
    }
}
