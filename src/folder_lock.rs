//! A folder that one run works in at a time.

use crate::failure::Failure;
use std::fs::{File, TryLockError};
use std::path::Path;

/// The lock of a folder, held as long as this lives; the system lets go of it when the process ends, however it ends.
pub struct FolderLock(#[expect(dead_code, reason = "held, never read")] File);

const NAME: &str = ".lock";

impl FolderLock {
    /// Removes the file of a lock that is about to be released, and with it what an emptied folder would be left with.
    pub fn remove(folder: &Path) {
        let _ = std::fs::remove_file(folder.join(NAME));
    }

    /// Whether a command has ever worked in a folder.
    pub fn was_taken(folder: &Path) -> bool {
        folder.join(NAME).exists()
    }

    /// Takes the lock of an existing folder.
    ///
    /// # Errors
    /// [`Failure::Input`] if another run holds it, or the folder cannot be written.
    pub fn take(folder: &Path) -> Result<Self, Failure> {
        let input = |problem: String| Failure::Input(format!("{}: {problem}", folder.display()));
        let file = File::options().create(true).truncate(false).write(true).open(folder.join(NAME)).map_err(|e| {
            input(format!("the folder cannot be written ({e}); choose a place that you may write to with --out"))
        })?;
        match file.try_lock() {
            // On a file system without locks the work goes on without one.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                Err(input("another run is working in this folder: wait for it, or choose another --out".into()))
            }
        }
    }
}
