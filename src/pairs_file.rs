//! A pairs file that grows line by line and survives being cut off.

use crate::failure::Failure;
use ofa_predictors::pairs;
use ofa_space::{Arch, SearchSpace};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Pairs on their way into a file: lines go to `FILE.part`, which becomes `FILE` when all are there.
pub struct PairsFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
    done: usize,
}

impl PairsFile {
    /// Opens the growing file and locks it against a second run; a last line that was cut off is dropped.
    ///
    /// # Errors
    /// [`Failure`] if the file cannot be written, is in use, or holds something else.
    pub fn open(path: &Path, space: &dyn SearchSpace) -> Result<Self, Failure> {
        let part = Self::part(path);
        let writing = |e| Failure::writing(&part, e);
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&part).map_err(writing)?;
        // A file system without locks is no reason to refuse the work.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Failure::Input(format!(
                "{}: another run is writing this file: wait for it, or choose another output",
                part.display()
            )));
        }
        let mut text = String::new();
        file.read_to_string(&mut text)
            .map_err(|e| Failure::Input(format!("cannot read {}: {e}; remove it to start afresh", part.display())))?;
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        for (index, line) in whole.lines().enumerate() {
            pairs::parse(line, space).map_err(|e| {
                Failure::Input(format!("{}:{}: {e}; remove the file to start afresh", part.display(), index + 1))
            })?;
        }
        let end = whole.len() as u64;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(writing)?;
        Ok(Self { path: path.to_owned(), part, file, done: whole.lines().count() })
    }

    /// Where the pairs of `path` are while it grows.
    pub fn part(path: &Path) -> PathBuf {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        PathBuf::from(part)
    }

    /// Pairs in the file.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Adds a pair and makes sure that it is on disk.
    ///
    /// # Errors
    /// [`Failure::Running`] if the disk refuses.
    pub fn push(&mut self, space: &dyn SearchSpace, arch: &Arch, top1: f64) -> Result<(), Failure> {
        let line = pairs::format_line(space, arch, top1) + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| Failure::writing(&self.part, e))?;
        self.done += 1;
        Ok(())
    }

    /// All pairs are there.
    ///
    /// # Errors
    /// [`Failure::Running`] if the file cannot be renamed.
    pub fn finish(self) -> Result<(), Failure> {
        std::fs::rename(&self.part, &self.path).map_err(|e| Failure::writing(&self.path, e))
    }
}
