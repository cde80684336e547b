//! A profile in the making: what is measured so far, as a file, so that a run that was cut off goes on.

use super::stopwatch::Group;
use crate::error::HwError;
use ofa_space::{atomic_file, input_file, json};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is measured so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Everything that the times depend on; measurements with another fingerprint are never added.
    pub fingerprint: String,
    /// Groups of times, each with the pacer's time.
    pub groups: Vec<Group>,
}

impl Unfinished {
    /// Where an unfinished profile waits: beside the output, with `.partial` added to its name.
    pub fn beside(output: &Path) -> PathBuf {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        output.with_file_name(name)
    }

    /// Reads a file of [`save`](Self::save); a missing one is an empty start.
    ///
    /// # Errors
    /// [`HwError::Io`]; [`HwError::Profile`] for a file of something else.
    pub fn load(path: &Path) -> Result<Self, HwError> {
        match input_file::read(path, input_file::LARGEST_RECORDS) {
            Ok(bytes) => json::from_slice(&bytes).map_err(|e| {
                let problem = format!("is not an unfinished profile ({e}); remove it to start afresh");
                HwError::Profile { origin: path.display().to_string(), problem }
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(HwError::reading(path)(error)),
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`HwError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), HwError> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        atomic_file::write(path, &bytes).map_err(HwError::writing(path))
    }
}
