//! Which steps of a run are done, and under which key. With each step is kept what it depended on and the SHA-256 of every file
//! that it wrote, so that it is done again if either differs.

use crate::failure::Failure;
use crate::pipeline::folder::keys::Key;
use crate::pipeline::folder::layout::{RECORD, TIMINGS};
use crate::pipeline::folder::{RunFolder, state};
use crate::pipeline::progress::{KeepingWarnings, Progress};
use crate::pipeline::steps::Step;
use ofa_space::dependencies::{self, Dependencies, Difference};
use ofa_space::digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// What is known of a finished step. Earlier versions wrote the key alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    /// Digest of `depends_on`.
    pub key: String,
    /// What the step depended on.
    #[serde(default, skip_serializing_if = "Dependencies::is_empty")]
    depends_on: Dependencies,
    /// SHA-256 of every file that it wrote, by its path in the folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// What it warned of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// SHA-256 of the warnings; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warnings_sha256: Option<String>,
}

/// The checksum of warnings.
fn checksum(warnings: &[String]) -> Option<String> {
    (!warnings.is_empty()).then(|| digest::sha256(warnings.join("\n")))
}

impl Done {
    fn is_of_an_earlier_version(&self) -> bool {
        self.depends_on.is_empty()
    }
}

/// A step of the folder, compared with the one that is wanted.
pub enum Known<T> {
    /// Never finished, as far as is known.
    Nothing,
    /// Done, with this result, and every file is as it was written.
    Done(T),
    /// Done, but this file is gone, or not as it was written.
    Damaged(String),
    /// Done otherwise; what differs is empty if an earlier version did it.
    Changed(Vec<Difference>),
}

impl RunFolder {
    /// Runs a step, or reads its result if it is done under the same key and the files are there as they were written.
    /// `outputs` names the files that it writes, besides the result, from the result.
    ///
    /// # Errors
    /// What the step reports.
    pub fn step<T: Serialize + DeserializeOwned>(
        &mut self,
        step: Step,
        key: &Key,
        progress: &mut dyn Progress,
        outputs: impl Fn(&Self, &T) -> Vec<String>,
        work: impl FnOnce(&mut Self, &mut dyn Progress) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let name = step.name();
        match self.known(step, key, &outputs) {
            Known::Done(result) => {
                progress.note(&format!("{name}: done before"));
                // What an earlier version did is recorded as this one does it.
                if self.done.get(&step).is_some_and(Done::is_of_an_earlier_version) {
                    self.record(step, key, outputs(self, &result), Vec::new())?;
                }
                self.warnings.extend(self.done.get(&step).into_iter().flat_map(|done| done.warnings.clone()));
                return Ok(result);
            }
            Known::Nothing => {}
            Known::Damaged(file) => {
                progress.note(&format!("{name}: {file} is gone or not as it was written, and is made again"));
            }
            Known::Changed(differences) => {
                let since = match differences.as_slice() {
                    [] => "with other settings or data".to_owned(),
                    known => dependencies::in_words(known),
                };
                progress.note(&format!("{name}: changed since it was done: {since}"));
                // Done under another key: its time does not count any more. Networks are deployed one by one, and those that
                // are known are not deployed again.
                if step != Step::Deploy {
                    self.timings.forget(name);
                }
            }
        }
        if let Some(line) = self.time_left.begins(step) {
            progress.note(&line);
        }
        let started = Instant::now();
        let mut heard = KeepingWarnings { inner: progress, warnings: Vec::new() };
        let result = work(self, &mut heard);
        let warnings = heard.warnings;
        let seconds = started.elapsed().as_secs_f64();
        self.timings.add(name, seconds);
        self.time_left.ended(step, seconds);
        let timed = self.write(TIMINGS, &self.timings);
        let result = result?;
        timed?;
        self.write(&result_of(step), &result)?;
        self.warnings.extend(warnings.iter().cloned());
        self.record(step, key, outputs(self, &result), warnings)?;
        Ok(result)
    }

    /// Compares a step of the folder with the one that is wanted.
    pub fn known<T: DeserializeOwned>(
        &self,
        step: Step,
        key: &Key,
        outputs: &impl Fn(&Self, &T) -> Vec<String>,
    ) -> Known<T> {
        let Some(done) = self.done.get(&step) else { return Known::Nothing };
        match done.is_of_an_earlier_version() {
            true if done.key != key.earlier => return Known::Changed(Vec::new()),
            false if done.depends_on != key.depends_on => {
                return Known::Changed(key.depends_on.since(&done.depends_on));
            }
            _ => {}
        }
        let damaged = |(file, written): (&String, &String)| {
            digest::sha256_of_file(&self.path(file)).map_or(true, |found| found != *written).then(|| file.clone())
        };
        if let Some(file) = done.files.iter().find_map(damaged) {
            return Known::Damaged(file);
        }
        let text = state(&self.path(&result_of(step))).unwrap_or_default();
        let Ok(result) = serde_json::from_str(&text) else { return Known::Damaged(result_of(step)) };
        match outputs(self, &result).into_iter().find(|file| !self.path(file).is_file()) {
            Some(missing) => Known::Damaged(missing),
            None => Known::Done(result),
        }
    }

    /// The files that a step is known to have written.
    pub fn written_by(&self, step: Step) -> Vec<String> {
        self.done.get(&step).map_or_else(Vec::new, |done| done.files.keys().cloned().collect())
    }

    /// Forgets that a step was done.
    ///
    /// # Errors
    /// [`Failure::Running`] if the folder cannot be written.
    pub fn forget(&mut self, step: Step) -> Result<(), Failure> {
        self.done.remove(&step);
        self.timings.forget(step.name());
        self.write(RECORD, &self.done)
    }

    /// Notes a step as done, with the files as they are now.
    fn record(&mut self, step: Step, key: &Key, outputs: Vec<String>, warnings: Vec<String>) -> Result<(), Failure> {
        let mut files = BTreeMap::new();
        for file in outputs.into_iter().chain([result_of(step)]) {
            let path = self.path(&file);
            let digest = digest::sha256_of_file(&path)
                .map_err(|e| Failure::Running(format!("cannot read {}: {e}", path.display())))?;
            files.insert(file, digest);
        }
        let depends_on = key.depends_on.clone();
        self.done.insert(
            step,
            Done { key: depends_on.digest(), depends_on, files, warnings_sha256: checksum(&warnings), warnings },
        );
        self.write(RECORD, &self.done)
    }
}

/// The file of a step's result.
fn result_of(step: Step) -> String {
    format!("{}.json", step.name())
}

/// What is known of finished steps. What is damaged is not known: those steps are done again from what there is.
pub(super) fn recorded(root: &Path, notes: &mut Vec<String>) -> BTreeMap<Step, Done> {
    let Ok(text) = state(&root.join(RECORD)) else { return BTreeMap::new() };
    let mut done: BTreeMap<Step, Done> = match serde_json::from_str(&text) {
        Ok(done) => done,
        Err(e) => {
            notes.push(format!("{RECORD} is damaged ({e}): every step is done again from what there is"));
            return BTreeMap::new();
        }
    };
    done.retain(|step, done| {
        let whole = done.is_of_an_earlier_version()
            || (done.depends_on.digest() == done.key && checksum(&done.warnings) == done.warnings_sha256);
        if !whole {
            notes.push(format!("{RECORD} is damaged: {} is done again from what there is", step.name()));
        }
        whole
    });
    done
}
