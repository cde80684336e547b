//! Where checkpoints are, and the order of file operations that never leaves a folder without a whole one.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What writing a checkpoint does to the disk, so that tests can cut it off at any moment.
pub(super) trait Disk {
    /// Writes a whole file and waits until it is on the disk.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name, replacing what had it.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
}

/// The file system.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        // The new name should outlive a power cut, too; systems that cannot sync a folder do without.
        if let Some(Ok(folder)) = to.parent().map(File::open) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

/// Most checkpoints that a folder can hold.
const MOST: usize = 100;

/// The checkpoint that is `age` saves old.
pub(super) fn path(folder: &Path, age: usize) -> PathBuf {
    match age {
        0 => folder.join("checkpoint.ofa"),
        age => folder.join(format!("checkpoint.{age}.ofa")),
    }
}

/// Checkpoints that are there, the newest first.
pub(super) fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    (0..MOST).map(|age| path(folder, age)).filter(|path| path.exists()).collect()
}

/// [`checkpoints`], and one that was being written when the power failed.
pub(super) fn all(folder: &Path) -> Vec<PathBuf> {
    let mut files = checkpoints(folder);
    files.extend(Some(unfinished(folder)).filter(|path| path.exists()));
    files
}

/// The checkpoint that is being written.
pub(super) fn unfinished(folder: &Path) -> PathBuf {
    folder.join("checkpoint.part")
}

/// Adds a newest checkpoint and removes all but `keep`.
///
/// It is written under another name first; then each that is kept becomes one older, oldest first, and the new one
/// takes its name. Between any two of these operations the newest whole checkpoint is the first whole one of
/// [`checkpoints`], or else [`unfinished`]; and adding the same checkpoint again after a cut anywhere leaves the files
/// that adding it once would have left.
pub(super) fn add(disk: &mut dyn Disk, folder: &Path, bytes: &[u8], keep: usize) -> io::Result<()> {
    let part = unfinished(folder);
    if let Err(error) = disk.write(&part, bytes) {
        // What could not be written whole is not left behind; that it cannot be removed either adds nothing.
        let _ = disk.remove(&part);
        return Err(error);
    }
    // A name without a file was left by a cut in these renames: what is older has moved already.
    let oldest = keep.min(MOST) - 1;
    let free = (0..oldest).find(|age| !path(folder, *age).exists()).unwrap_or(oldest);
    for age in (0..free).rev() {
        disk.rename(&path(folder, age), &path(folder, age + 1))?;
    }
    disk.rename(&part, &path(folder, 0))?;
    for age in keep..MOST {
        let file = path(folder, age);
        if file.exists() {
            disk.remove(&file)?;
        }
    }
    Ok(())
}
