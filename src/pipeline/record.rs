//! The folder of a run: which steps are done, under which key, and how long they took.
//!
//! What is done (`steps.json`) repeats byte for byte; how long it took (`timings.json`) does not, so they are apart.

use super::{Existing, Progress};
use crate::failure::Failure;
use crate::folder_lock::FolderLock;
use crate::report::Timings;
use ofa_space::atomic_file;
use ofa_space::digest::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// This machine's blocks timed.
    Profile,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Train => "train",
            Step::Collect => "collect",
            Step::Fit => "fit",
            Step::Search => "search",
            Step::Deploy => "deploy",
            Step::Profile => "profile",
        }
    }
}

/// What is known of a finished step.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Done {
    key: String,
}

/// The folder of a run, locked against a second run.
pub struct RunFolder {
    root: PathBuf,
    done: BTreeMap<Step, Done>,
    /// Measured times.
    pub timings: Timings,
    _lock: FolderLock,
}

const RECORD: &str = "steps.json";
const TIMINGS: &str = "timings.json";
/// What a run writes besides; a folder that holds one of these, but no run, is somebody else's.
const OTHERS_WORK: [&str; 9] = [
    "pipeline.toml",
    "results.json",
    "report.html",
    "report.md",
    "pairs.jsonl",
    "predictor.json",
    "nets",
    "plots",
    super::host_profile::FILE,
];

impl RunFolder {
    /// Creates or opens the folder.
    ///
    /// # Errors
    /// [`Failure::Input`] if it cannot be created, is in use, or holds a run and `existing` refuses that.
    pub fn open(root: &Path, existing: Existing) -> Result<Self, Failure> {
        let input = |problem: String| Failure::Input(format!("{}: {problem}", root.display()));
        std::fs::create_dir_all(root).map_err(|e| {
            input(format!("the folder cannot be created ({e}); choose a place that you may write to with --out"))
        })?;
        let lock = FolderLock::take(root)?;
        let record = root.join(RECORD);
        let holds_a_run = record.exists() || root.join("train").exists();
        if holds_a_run && existing == Existing::Refuse {
            return Err(input("holds a run already: add --resume to go on with it, or choose another --out".into()));
        }
        if !holds_a_run && let Some(name) = OTHERS_WORK.iter().find(|name| root.join(name).exists()) {
            // A run that was stopped before its first step leaves its plan behind, nothing else.
            if existing == Existing::Refuse || *name != "pipeline.toml" {
                return Err(input(format!(
                    "holds {name}, which a run would overwrite, but no run: choose another --out, or move it away"
                )));
            }
        }
        let done = match std::fs::read_to_string(&record) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|e| input(format!("{RECORD} is damaged ({e}): remove it to redo every step")))?,
            Err(_) => BTreeMap::new(),
        };
        // Times are for the report only: a damaged file is not an error.
        let timings = std::fs::read_to_string(root.join(TIMINGS)).ok();
        let timings = timings.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(Self { root: root.to_owned(), done, timings, _lock: lock })
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
        work: impl FnOnce(&mut Self, &mut dyn Progress) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let result_path = self.path(&format!("{}.json", step.name()));
        if self.done.get(&step).is_some_and(|done| done.key == key) {
            let text = std::fs::read_to_string(&result_path).unwrap_or_default();
            if let Ok(result) = serde_json::from_str(&text) {
                progress.note(&format!("{}: done before", step.name()));
                return Ok(result);
            }
        }
        if self.done.contains_key(&step) {
            // Done under another key: its time does not count any more.
            self.timings.forget(step.name());
        }
        let started = Instant::now();
        let result = work(self, progress);
        self.timings.add(step.name(), started.elapsed().as_secs_f64());
        let timed = self.write(TIMINGS, &self.timings);
        let result = result?;
        timed?;
        self.write(&format!("{}.json", step.name()), &result)?;
        self.done.insert(step, Done { key: key.to_owned() });
        self.write(RECORD, &self.done)?;
        Ok(result)
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Failure> {
        let path = self.path(name);
        let json = serde_json::to_vec_pretty(value).map_err(|e| Failure::Running(e.to_string()))?;
        atomic_file::write(&path, &json).map_err(|e| Failure::writing(&path, e))
    }

    /// Empties leftovers of an unfinished step that was started under another key, and remembers this one.
    ///
    /// # Errors
    /// [`Failure::Running`] if the folder cannot be written.
    pub fn claim(&self, key_file: &str, key: &str, leftovers: &[PathBuf]) -> Result<(), Failure> {
        let path = self.path(key_file);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == key) {
            return Ok(());
        }
        for leftover in leftovers {
            if leftover.exists() {
                std::fs::remove_file(leftover).map_err(|e| Failure::writing(leftover, e))?;
            }
        }
        atomic_file::write(&path, key.as_bytes()).map_err(|e| Failure::writing(&path, e))
    }
}

/// Hash over everything that a step depends on.
pub fn key(parts: &[&dyn erased::Part]) -> String {
    let mut digest = Digest::default();
    for part in parts {
        digest.add(part.json());
        digest.add([0]);
    }
    digest.hex()
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
