//! Whether a disk has room for the checkpoints of a training.

use super::Checkpoint;
use crate::error::TrainError;
use std::path::Path;

/// What the checkpoints of a training take.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointSpace {
    /// Bytes of the weights alone.
    pub weights: u64,
    /// How often a checkpoint holds them or as much: weights, momentum, teacher, moving average.
    pub copies: u64,
    /// Newest checkpoints kept.
    pub keep: usize,
}

impl CheckpointSpace {
    /// Refuses a folder whose disk has less room than the checkpoints and the model take at most: one checkpoint more than are
    /// kept, since the next one is written before the oldest is removed.
    ///
    /// # Errors
    /// [`TrainError::DiskSpace`]. A disk that does not give its free space is not refused.
    pub fn require(self, folder: &Path) -> Result<(), TrainError> {
        let Some(available) = available(folder) else { return Ok(()) };
        let there = Checkpoint::files(folder).iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        self.require_of(folder, available, there)
    }

    fn require_of(self, folder: &Path, available: u64, there: u64) -> Result<(), TrainError> {
        let Self { weights, copies, keep } = self;
        let needed = (weights * copies * (keep as u64 + 1) + weights).saturating_sub(there);
        match available < needed {
            true => Err(TrainError::DiskSpace { folder: folder.to_owned(), available, needed }),
            false => Ok(()),
        }
    }
}

/// Bytes that the user may still write.
#[cfg(unix)]
fn available(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
fn available(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_there_counts_as_room() {
        let space = CheckpointSpace { weights: 100, copies: 3, keep: 2 };
        let folder = Path::new("run");
        space.require_of(folder, 1000, 0).unwrap();
        space.require_of(folder, 400, 600).unwrap();
        let error = space.require_of(folder, 999, 0).unwrap_err();
        assert!(matches!(error, TrainError::DiskSpace { available: 999, needed: 1000, .. }), "{error}");
        space.require(&std::env::temp_dir()).unwrap();
    }
}
