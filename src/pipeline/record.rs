//! The folder of a run: which steps are done, under which key, and how long they took.

use super::{Existing, Progress};
use crate::failure::Failure;
use ofa_space::atomic_file;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A step of the pipeline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Progressive shrinking.
    Train,
    /// Accuracy pairs.
    Collect,
    /// Accuracy predictor.
    Fit,
    /// Best net for every case.
    Search,
    /// Extraction, export, verification.
    Deploy,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Train => "train",
            Step::Collect => "collect",
            Step::Fit => "fit",
            Step::Search => "search",
            Step::Deploy => "deploy",
        }
    }
}

/// What is known of a finished step.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Done {
    key: String,
    seconds: f64,
}

/// The folder of a run, locked against a second run.
pub struct RunFolder {
    root: PathBuf,
    done: BTreeMap<Step, Done>,
    /// Held until the run ends.
    _lock: File,
}

const RECORD: &str = "steps.json";

impl RunFolder {
    /// Creates or opens the folder.
    ///
    /// # Errors
    /// [`Failure::Input`] if it cannot be created, is in use, or holds a run and `existing` refuses that.
    pub fn open(root: &Path, existing: Existing) -> Result<Self, Failure> {
        let input = |problem: String| Failure::Input(format!("{}: {problem}", root.display()));
        std::fs::create_dir_all(root).map_err(|e| input(format!("cannot be created: {e}")))?;
        let lock = File::create(root.join(".lock")).map_err(|e| input(format!("cannot be written: {e}")))?;
        lock.try_lock().map_err(|_| input("another run is working in this folder".into()))?;
        let record = root.join(RECORD);
        let holds_a_run = record.exists() || root.join("train").exists();
        if holds_a_run && existing == Existing::Refuse {
            return Err(input("holds a run already: add --resume to go on with it, or choose another --out".into()));
        }
        let done = match std::fs::read_to_string(&record) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|e| input(format!("{RECORD} is damaged ({e}): remove it to redo every step")))?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { root: root.to_owned(), done, _lock: lock })
    }

    /// A path inside the folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Runs a step, or reads its result if it is done under the same key.
    ///
    /// # Errors
    /// What the step reports.
    pub fn step<T: Serialize + DeserializeOwned>(
        &mut self,
        step: Step,
        key: &str,
        progress: &mut dyn Progress,
        work: impl FnOnce(&Self, &mut dyn Progress) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let result_path = self.path(&format!("{}.json", step.name()));
        if self.done.get(&step).is_some_and(|done| done.key == key) {
            let text = std::fs::read_to_string(&result_path).unwrap_or_default();
            if let Ok(result) = serde_json::from_str(&text) {
                progress.note(&format!("{}: done before", step.name()));
                return Ok(result);
            }
        }
        let started = Instant::now();
        let result = work(self, progress)?;
        let json = serde_json::to_vec(&result).map_err(|e| Failure::Running(e.to_string()))?;
        atomic_file::write(&result_path, &json).map_err(|e| Failure::writing(&result_path, e))?;
        self.done.insert(step, Done { key: key.to_owned(), seconds: started.elapsed().as_secs_f64() });
        let record = self.path(RECORD);
        let json = serde_json::to_vec_pretty(&self.done).map_err(|e| Failure::Running(e.to_string()))?;
        atomic_file::write(&record, &json).map_err(|e| Failure::writing(&record, e))?;
        Ok(result)
    }

    /// Seconds of every finished step, in order.
    pub fn seconds(&self) -> Vec<(String, f64)> {
        self.done.iter().map(|(step, done)| (step.name().to_owned(), done.seconds)).collect()
    }

    /// Empties leftovers of an unfinished step that was started under another key, and remembers this one.
    ///
    /// # Errors
    /// [`Failure::Running`] if the folder cannot be written.
    pub fn claim(&self, key_file: &str, key: &str, leftovers: &[&str]) -> Result<(), Failure> {
        let path = self.path(key_file);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == key) {
            return Ok(());
        }
        for name in leftovers {
            let leftover = self.path(name);
            if leftover.exists() {
                std::fs::remove_file(&leftover).map_err(|e| Failure::writing(&leftover, e))?;
            }
        }
        atomic_file::write(&path, key.as_bytes()).map_err(|e| Failure::writing(&path, e))
    }
}

/// Hash over everything that a step depends on.
pub fn key(parts: &[&dyn erased::Part]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.json());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Values that can be part of a key.
pub mod erased {
    /// Anything serialisable.
    pub trait Part {
        /// Its JSON.
        fn json(&self) -> Vec<u8>;
    }

    impl<T: serde::Serialize> Part for T {
        fn json(&self) -> Vec<u8> {
            serde_json::to_vec(self).unwrap_or_default()
        }
    }
}
