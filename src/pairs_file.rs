//! A pairs file that grows line by line and survives being cut off.

use crate::failure::Failure;
use ofa_predictors::pairs;
use ofa_space::{Arch, SearchSpace};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Pairs on their way into a file: lines go to `FILE.part`, which becomes `FILE` when all are there.
pub struct PairsFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
    done: usize,
}

impl PairsFile {
    /// Opens the growing file; a last line that was cut off is dropped.
    ///
    /// # Errors
    /// [`Failure`] if the file cannot be written, or holds something else.
    pub fn open(path: &Path, space: &dyn SearchSpace) -> Result<Self, Failure> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let text = std::fs::read_to_string(&part).unwrap_or_default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        for (index, line) in whole.lines().enumerate() {
            pairs::parse(line, space).map_err(|e| {
                Failure::Input(format!("{}:{}: {e}; remove the file to start afresh", part.display(), index + 1))
            })?;
        }
        ofa_space::atomic_file::write(&part, whole.as_bytes()).map_err(|e| Failure::writing(&part, e))?;
        let file = File::options().append(true).open(&part).map_err(|e| Failure::writing(&part, e))?;
        Ok(Self { path: path.to_owned(), part, file, done: whole.lines().count() })
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
