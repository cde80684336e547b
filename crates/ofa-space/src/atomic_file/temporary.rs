//! Temporary files: recognised by their names, and locked as long as a process writes them, so that those of killed processes
//! can be removed.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use tempfile::{Builder, NamedTempFile, TempPath};

/// How names begin and end, with random letters between.
const NAME: [&str; 2] = [".ofa-", ".tmp"];
/// Random letters of a name.
const RANDOM: usize = 10;
/// A sweep holds the lock of a new file for a moment; this often another one is made.
const ATTEMPTS: usize = 8;
/// How far below a folder [`sweep_all`] looks: runs have files in `work/train`.
const DEPTH: usize = 3;

/// A synced file with these bytes beside `place`, which it may replace.
pub(super) fn written(place: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = new_beside(place)?;
    file.write_all(bytes)?;
    like_the_one_before(file.as_file(), place)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// An empty, locked file in the folder of `place`, with the permissions of a new file.
pub(super) fn new_beside(place: &Path) -> io::Result<NamedTempFile> {
    let mut file = builder().tempfile_in(folder_of(place))?;
    for _ in 0..ATTEMPTS {
        match file.as_file().try_lock() {
            // Between its making and its lock, a sweep may have taken it for a left one.
            Ok(()) if file.path().exists() => break,
            // On a file system without locks, sweeps remove nothing.
            Err(TryLockError::Error(_)) => break,
            Ok(()) | Err(TryLockError::WouldBlock) => file = builder().tempfile_in(folder_of(place))?,
        }
    }
    Ok(file)
}

/// A second name for the file at `place`, which outlives its replacement.
pub(super) fn second_name(place: &Path) -> io::Result<TempPath> {
    let made = builder().make_in(folder_of(place), |name| std::fs::hard_link(place, name))?;
    Ok(made.into_temp_path())
}

/// Removes the temporary files in a folder that no living process writes. What cannot be removed stays.
pub fn sweep(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| is_temporary(&entry.file_name().to_string_lossy())) {
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if file.try_lock().is_ok() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// [`sweep`] in a folder and those below it.
pub fn sweep_all(folder: &Path) {
    sweep_below(folder, DEPTH);
}

fn sweep_below(folder: &Path, depth: usize) {
    sweep(folder);
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        sweep_below(&entry.path(), depth - 1);
    }
}

fn is_temporary(name: &str) -> bool {
    let [beginning, end] = NAME;
    name.len() == beginning.len() + RANDOM + end.len() && name.starts_with(beginning) && name.ends_with(end)
}

fn builder() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(NAME[0]).suffix(NAME[1]).rand_bytes(RANDOM);
    // The umask takes away what the user does not grant.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Gives a file the permissions of that at `place`, and its owner where the process may.
fn like_the_one_before(file: &File, place: &Path) -> io::Result<()> {
    let Ok(before) = std::fs::metadata(place) else { return Ok(()) };
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let now = file.metadata()?;
        if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
            // Only a superuser may give files away; others keep what they make.
            let _ = fchown(file, Some(before.uid()), Some(before.gid()));
        }
    }
    file.set_permissions(before.permissions())
}
