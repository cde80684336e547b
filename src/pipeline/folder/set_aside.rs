//! Work in a run's folder that belongs to other settings: what is left of an unfinished step is removed, a training is moved aside.

use crate::failure::Failure;
use crate::pipeline::folder::keys::Key;
use crate::pipeline::folder::{RunFolder, state};
use ofa_space::dependencies::Dependencies;
use std::path::PathBuf;

impl RunFolder {
    /// Empties leftovers of an unfinished step that was started under another key, and remembers this one. Returns whether
    /// the work begins anew.
    ///
    /// # Errors
    /// [`Failure::Running`] if the folder cannot be written.
    pub fn claim(&self, key_file: &str, key: &Key, leftovers: &[PathBuf]) -> Result<bool, Failure> {
        let path = self.path(key_file);
        let known = Dependencies::read(&path);
        if known.as_ref() == Some(&key.depends_on) {
            return Ok(false);
        }
        let by_an_earlier_version = known.is_none() && state(&path).is_ok_and(|text| text == key.earlier);
        if !by_an_earlier_version {
            for leftover in leftovers {
                if leftover.exists() {
                    std::fs::remove_file(leftover).map_err(|e| Failure::writing(leftover, e))?;
                }
            }
        }
        key.depends_on.write(&path).map_err(|e| Failure::writing(&path, e))?;
        Ok(!by_an_earlier_version)
    }

    /// A new folder for what is moved out of the folder `name`: `NAME-aside-1`, or the next that is free.
    ///
    /// # Errors
    /// [`Failure::Running`] if it cannot be made.
    pub fn new_aside(&self, name: &str) -> Result<String, Failure> {
        let aside = self.free_aside(name);
        let path = self.path(&aside);
        std::fs::create_dir(&path).map_err(|e| Failure::writing(&path, e))?;
        Ok(aside)
    }

    fn free_aside(&self, name: &str) -> String {
        let names = (1..).map(|number| format!("{name}-aside-{number}"));
        names.into_iter().find(|aside| !self.path(aside).exists()).unwrap_or_default()
    }

    /// Moves a folder in this one to a new name, as [`new_aside`](Self::new_aside) chooses them; returns it.
    ///
    /// # Errors
    /// [`Failure::Running`] if it cannot be moved.
    pub fn set_aside(&self, name: &str) -> Result<String, Failure> {
        let aside = self.free_aside(name);
        let from = self.path(name);
        std::fs::rename(&from, self.path(&aside))
            .map_err(|e| Failure::Running(format!("cannot move {} to {aside}: {e}", from.display())))?;
        Ok(aside)
    }
}
