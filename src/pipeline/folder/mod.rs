//! The folder of a run: what lies where, which steps are done and what they depended on, and the networks that are kept.
//!
//! What is done (`steps.json`) repeats byte for byte; how long it took (`timings.json`) does not, so they are apart.

mod copied_work;
pub mod kept_networks;
pub mod keys;
pub mod layout;
mod refusal;
mod set_aside;
mod step_record;

use crate::failure::Failure;
use crate::folder_lock::FolderLock;
use crate::pipeline::steps::Step;
use crate::pipeline::time_left::TimeLeft;
use crate::pipeline::{Existing, Reading};
use crate::report::Timings;
pub use copied_work::{copy_work, have_the_same_training};
use layout::{DATA_FILES, TIMINGS, place, remove_half_written, work_of};
use ofa_space::file_digest::KnownFiles;
use ofa_space::{atomic_file, input_file};
use ofa_train::data::Dataset;
pub use refusal::no_run_in;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
pub use step_record::Known;
use step_record::{Done, recorded};

/// The folder of a run, locked against a second run. What lies where: see [`layout`].
pub struct RunFolder {
    root: PathBuf,
    /// Where everything but the results is: the folder itself in runs of earlier versions.
    work: PathBuf,
    done: BTreeMap<Step, Done>,
    /// Measured times.
    pub timings: Timings,
    /// Notes on the folder, for the user.
    pub notes: Vec<String>,
    /// How far the run is.
    pub time_left: TimeLeft,
    /// What the steps so far warned of, whenever they were done.
    pub warnings: Vec<String>,
    _lock: FolderLock,
}

impl RunFolder {
    /// Creates or opens the folder.
    ///
    /// # Errors
    /// [`Failure::Input`] if it cannot be created, is in use, or holds what `existing` refuses.
    pub fn open(root: &Path, existing: Existing) -> Result<Self, Failure> {
        std::fs::create_dir_all(root).map_err(|e| {
            Failure::Input(format!(
                "{}: the folder cannot be created ({e}); choose a place that you may write to with --out",
                root.display()
            ))
        })?;
        refusal::check(root, existing)?;
        let lock = FolderLock::take(root)?;
        // The lock is ours, so what is half written is left from a killed process.
        remove_half_written(root);
        let work = work_of(root);
        std::fs::create_dir_all(&work).map_err(|e| Failure::writing(&work, e))?;
        let mut notes = Vec::new();
        let done = recorded(&work, &mut notes);
        // Times are for the report only: a damaged file is not an error.
        let timings = timings_in(&work);
        Ok(Self {
            root: root.to_owned(),
            work,
            done,
            timings,
            notes,
            time_left: TimeLeft::default(),
            warnings: Vec::new(),
            _lock: lock,
        })
    }

    /// The error for work that was stopped, with what is saved of it.
    pub fn interrupted(&self, saved: &str) -> Failure {
        let run = self.root.display();
        Failure::Interrupted(format!("interrupted{saved}: `ofa run {run}` goes on, or the same command with --resume"))
    }

    /// Whether the work is below the results.
    pub fn has_work_apart(&self) -> bool {
        self.work != self.root
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the folder, by its name in the record.
    pub fn path(&self, name: &str) -> PathBuf {
        place(&self.root, &self.work, name)
    }

    /// Files of the data that this run has read before.
    pub fn known_data(&self, reading: Reading) -> KnownFiles {
        match reading {
            Reading::Changed => KnownFiles::load(&self.path(DATA_FILES)),
            Reading::All => KnownFiles::default(),
        }
    }

    /// Keeps the digests of the data's files.
    ///
    /// # Errors
    /// [`Failure::Running`] if the folder cannot be written.
    pub fn keep_known_data(&self, dataset: &Dataset) -> Result<(), Failure> {
        let mut known = KnownFiles::default();
        dataset.files().for_each(|file| known.insert(file.clone()));
        let path = self.path(DATA_FILES);
        known.save(&path).map_err(|e| Failure::writing(&path, e))
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Failure> {
        write_json(&self.path(name), value)
    }
}

/// The text of a file in which a run keeps its state.
fn state(path: &Path) -> std::io::Result<String> {
    input_file::read_text(path, input_file::LARGEST_RECORDS)
}

/// Measured times of a run, whose work is in this folder; none if there are none.
pub fn timings_in(work: &Path) -> Timings {
    let text = state(&work.join(TIMINGS)).ok();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Writes a file of the folder as JSON.
///
/// # Errors
/// [`Failure::Running`] if it cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let json = serde_json::to_vec_pretty(value).map_err(|e| Failure::Running(e.to_string()))?;
    atomic_file::write(path, &json).map_err(|e| Failure::writing(path, e))
}
