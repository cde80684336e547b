//! Checkpoints: everything that is needed to resume training, with a checksum; earlier ones are kept too.

mod files;
mod space;

use crate::error::TrainError;
use crate::shrinking::{History, Window};
use files::{Disk, RealDisk};
use ofa_space::digest::{self, Digest};
use ofa_space::{Tensor, Weights, input_file};
use serde::{Deserialize, Serialize};
pub use space::CheckpointSpace;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"OFACKPT2";

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
    /// The moving average of weights and statistics, if one is kept.
    pub average: Option<Weights>,
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
    average: Option<Index>,
    optimizer_bytes: usize,
}

/// Name and shape of every tensor, in the order of their data.
type Index = BTreeMap<String, Vec<usize>>;

impl Checkpoint {
    /// Path of the newest checkpoint in a run's folder.
    pub fn path(folder: &Path) -> PathBuf {
        files::path(folder, 0)
    }

    /// Every file that belongs to the checkpoints of a folder and is there, the newest checkpoint first.
    pub fn files(folder: &Path) -> Vec<PathBuf> {
        files::all(folder)
    }

    /// Writes the checkpoint whole or not at all, keeping the newest `keep` with it (at least this one).
    ///
    /// # Errors
    /// [`TrainError::Io`] if the folder cannot be written.
    pub fn save(&self, folder: &Path, keep: usize) -> Result<(), TrainError> {
        self.save_to(&mut RealDisk, folder, keep)
    }

    fn save_to(&self, disk: &mut dyn Disk, folder: &Path, keep: usize) -> Result<(), TrainError> {
        let io = |source| TrainError::Io { action: "write", path: Self::path(folder), source };
        files::add(disk, folder, &self.to_bytes()?, keep.max(1)).map_err(io)
    }

    /// The newest readable checkpoint of a folder, and a message if newer ones had to be passed over.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if there are checkpoints but none is readable.
    pub fn load_latest(folder: &Path) -> Result<Option<(Self, Option<String>)>, TrainError> {
        let mut problems: Vec<TrainError> = Vec::new();
        for path in files::checkpoints(folder) {
            match Self::load(&path) {
                Ok(checkpoint) => {
                    let skipped: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    let message = (!skipped.is_empty()).then(|| {
                        format!("{}; resuming from the one before it, {}", skipped.join("; "), path.display())
                    });
                    return Ok(Some((checkpoint, message)));
                }
                Err(problem) => problems.push(problem),
            }
        }
        // Written whole, but cut off before it was renamed. One that was not written whole does not load.
        let unnamed = Self::load(&files::unfinished(folder)).ok();
        match (unnamed, problems.into_iter().next()) {
            (Some(checkpoint), newest) => Ok(Some((checkpoint, newest.map(|problem| problem.to_string())))),
            (None, Some(newest)) => Err(newest),
            (None, None) => Ok(None),
        }
    }

    fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes = input_file::read(path, input_file::LARGEST_MODEL).map_err(|source| TrainError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(&bytes).map_err(|problem| TrainError::Checkpoint { path: path.to_owned(), problem })
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
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
            average: self.average.as_ref().map(index),
            optimizer_bytes: self.optimizer.len(),
        };
        let header = serde_json::to_vec(&header).map_err(|e| TrainError::Compute(e.to_string()))?;
        let mut body = Vec::new();
        body.extend_from_slice(&(header.len() as u64).to_le_bytes());
        body.extend_from_slice(&header);
        for weights in std::iter::once(&self.weights).chain(&self.teacher).chain(&self.average) {
            for (_, tensor) in weights.iter() {
                body.extend(tensor.data.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
        body.extend_from_slice(&self.optimizer);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&checksum(&body));
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let body = bytes.strip_prefix(MAGIC).ok_or("is not a checkpoint of this version; remove it to start afresh")?;
        let (claimed, body) = body.split_at_checked(digest::BYTES).ok_or("is truncated")?;
        if claimed != checksum(body) {
            return Err("is damaged (its checksum does not match)".into());
        }
        let (length, rest) = body.split_at_checked(8).ok_or("is truncated")?;
        let length = length.iter().rev().fold(0u64, |n, b| (n << 8) | u64::from(*b));
        let (header, mut data) = rest.split_at_checked(length as usize).ok_or("is truncated")?;
        let header: Header = serde_json::from_slice(header).map_err(|e| format!("has a bad header: {e}"))?;
        let weights = take_weights(&header.weights, &mut data)?;
        let teacher = header.teacher.as_ref().map(|index| take_weights(index, &mut data)).transpose()?;
        let average = header.average.as_ref().map(|index| take_weights(index, &mut data)).transpose()?;
        if data.len() != header.optimizer_bytes {
            return Err("has optimizer state whose length differs from the header's".into());
        }
        Ok(Self {
            fingerprint: header.fingerprint,
            phase: header.phase,
            step: header.step,
            history: header.history,
            window: header.window,
            weights,
            teacher,
            average,
            optimizer: data.to_vec(),
        })
    }
}

fn checksum(body: &[u8]) -> [u8; digest::BYTES] {
    let mut digest = Digest::default();
    digest.add(body);
    digest.bytes()
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
            average: Some(weights.clone()),
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

    /// The checkpoint after this many steps.
    fn after(step: usize) -> Checkpoint {
        Checkpoint { step, ..sample() }
    }

    #[test]
    fn a_damaged_checkpoint_falls_back_to_the_one_before() {
        let whole = after(8).to_bytes().unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x40;
        for (damage, expected) in [
            (whole[..whole.len() / 2].to_vec(), "damaged"),
            (flipped, "damaged"),
            (whole[..20].to_vec(), "truncated"),
            (b"something else".to_vec(), "not a checkpoint"),
            (Vec::new(), "not a checkpoint"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            assert!(Checkpoint::load_latest(folder.path()).unwrap().is_none());
            after(7).save(folder.path(), 2).unwrap();
            after(8).save(folder.path(), 2).unwrap();
            assert_eq!(Checkpoint::load_latest(folder.path()).unwrap().unwrap(), (after(8), None));
            std::fs::write(Checkpoint::path(folder.path()), &damage).unwrap();
            let (found, message) = Checkpoint::load_latest(folder.path()).unwrap().unwrap();
            assert_eq!(found, after(7));
            let message = message.unwrap();
            assert!(message.contains(expected) && message.contains("one before"), "{message}");
        }
    }

    #[test]
    fn with_nothing_readable_left_the_newest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(Checkpoint::path(folder.path()), b"OFACKPT2 nonsense").unwrap();
        let error = Checkpoint::load_latest(folder.path()).unwrap_err().to_string();
        assert!(error.contains("checkpoint.ofa") && error.contains("truncated"), "{error}");
    }

    #[test]
    fn as_many_are_kept_as_asked_for() {
        for keep in [0, 1, 2, 4] {
            let folder = tempfile::tempdir().unwrap();
            for step in 1..=9 {
                after(step).save(folder.path(), keep).unwrap();
            }
            let kept = Checkpoint::files(folder.path());
            let steps: Vec<usize> = kept.iter().map(|path| Checkpoint::load(path).unwrap().step).collect();
            let expected: Vec<usize> = (0..keep.max(1)).map(|back| 9 - back).collect();
            assert_eq!(steps, expected);
            // Fewer from now on: the others go.
            after(10).save(folder.path(), 1).unwrap();
            assert_eq!(Checkpoint::files(folder.path()).len(), 1);
        }
    }

    #[test]
    fn damage_does_not_push_out_the_last_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        after(7).save(folder.path(), 2).unwrap();
        after(8).save(folder.path(), 2).unwrap();
        std::fs::write(Checkpoint::path(folder.path()), b"damage").unwrap();
        // The damaged one has taken the place of the whole one when the power fails.
        let written = after(9).save_to(&mut FailingDisk { operations_left: 2, part_written: 1.0 }, folder.path(), 2);
        assert!(written.is_err());
        assert_eq!(Checkpoint::load_latest(folder.path()).unwrap().unwrap().0, after(9));
    }

    /// A disk on which the power fails after some operations; of the file being written at that moment a part is left.
    struct FailingDisk {
        operations_left: usize,
        part_written: f64,
    }

    impl FailingDisk {
        fn turn(&mut self) -> std::io::Result<()> {
            if self.operations_left == 0 {
                return Err(std::io::Error::other("the power failed"));
            }
            self.operations_left -= 1;
            Ok(())
        }
    }

    impl Disk for FailingDisk {
        fn write(&mut self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
            match self.turn() {
                // Not waiting for the real disk makes the tests quick.
                Ok(()) => std::fs::write(path, bytes),
                Err(error) => {
                    let part = (bytes.len() as f64 * self.part_written) as usize;
                    std::fs::write(path, &bytes[..part])?;
                    Err(error)
                }
            }
        }

        fn rename(&mut self, from: &Path, to: &Path) -> std::io::Result<()> {
            self.turn().and_then(|()| std::fs::rename(from, to))
        }

        fn remove(&mut self, path: &Path) -> std::io::Result<()> {
            self.turn().and_then(|()| RealDisk.remove(path))
        }
    }

    #[test]
    fn wherever_writing_is_cut_off_a_whole_checkpoint_is_left() {
        for keep in [1, 2, 3] {
            for before in 0..4 {
                for part_written in [0.0, 0.5, 1.0] {
                    let mut failures = 0;
                    for operations_left in 0.. {
                        let folder = tempfile::tempdir().unwrap();
                        for step in 1..=before {
                            after(step).save(folder.path(), keep).unwrap();
                        }
                        let mut disk = FailingDisk { operations_left, part_written };
                        let written = after(9).save_to(&mut disk, folder.path(), keep);
                        let found = Checkpoint::load_latest(folder.path()).unwrap();
                        let steps = found.as_ref().map(|(checkpoint, message)| {
                            assert_eq!(*message, None, "a cut in writing is no damage");
                            checkpoint.step
                        });
                        match (steps, before) {
                            (None, 0) => assert!(written.is_err()),
                            (Some(9), _) => {}
                            (Some(step), _) => {
                                assert!(written.is_err());
                                assert_eq!(step, before, "cut after {operations_left} operations");
                            }
                            (None, _) => panic!("nothing is left after {operations_left} operations"),
                        }
                        // And the next one is written as if nothing had happened.
                        after(10).save(folder.path(), keep).unwrap();
                        assert_eq!(Checkpoint::load_latest(folder.path()).unwrap().unwrap().0, after(10));
                        if written.is_ok() {
                            break;
                        }
                        failures += 1;
                    }
                    assert!(failures >= 2, "the disk never failed");
                }
            }
        }
    }

    #[test]
    fn going_on_after_a_cut_leaves_the_same_files_as_never_being_cut() {
        let steps_of = |folder: &Path| -> Vec<Option<usize>> {
            let step = |age| Checkpoint::load(&files::path(folder, age)).ok().map(|checkpoint| checkpoint.step);
            (0..6).map(step).collect()
        };
        for keep in [1, 3] {
            let whole = tempfile::tempdir().unwrap();
            (1..=6).for_each(|step| after(step).save(whole.path(), keep).unwrap());
            // The power fails twice, at any pair of operations.
            for first in 0..5 * (keep + 2) {
                for second in 0..2 * (keep + 2) {
                    let cut = tempfile::tempdir().unwrap();
                    let mut disks =
                        [first, second].map(|operations_left| FailingDisk { operations_left, part_written: 0.5 });
                    let mut disks = disks.iter_mut();
                    let mut disk = disks.next();
                    loop {
                        let done = Checkpoint::load_latest(cut.path()).unwrap().map_or(0, |(found, _)| found.step);
                        if done == 6 {
                            break;
                        }
                        let mut steady = FailingDisk { operations_left: usize::MAX, part_written: 1.0 };
                        let disk_now = disk.as_deref_mut().unwrap_or(&mut steady);
                        let saved = after(done + 1).save_to(disk_now, cut.path(), keep);
                        if saved.is_err() {
                            disk = disks.next();
                        }
                    }
                    assert_eq!(
                        steps_of(cut.path()),
                        steps_of(whole.path()),
                        "{keep} kept, cut after {first}, {second}"
                    );
                }
            }
        }
    }
}
