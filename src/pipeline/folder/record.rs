//! The folder of a run: which steps are done, under which key, and how long they took.
//!
//! What is done (`steps.json`) repeats byte for byte; how long it took (`timings.json`) does not, so they are apart. With each
//! step is kept what it depended on and the SHA-256 of every file that it wrote, so that it is done again if either differs.

use crate::failure::Failure;
use crate::folder_lock::FolderLock;
use crate::pipeline::folder::kept_networks;
use crate::pipeline::folder::keys::Key;
use crate::pipeline::folder::layout::{
    DATA_FILES, Holds, OTHERS_WORK, RECORD, TIMINGS, WORK, look, place, remove_half_written, work_of,
};
use crate::pipeline::steps::Step;
use crate::pipeline::steps::collect::PAIRS_KEY;
use crate::pipeline::time_left::TimeLeft;
use crate::pipeline::{Existing, PLAN, Progress, Reading};
use crate::report::Timings;
use ofa_space::dependencies::{self, Dependencies, Difference};
use ofa_space::file_digest::KnownFiles;
use ofa_space::{atomic_file, digest, input_file};
use ofa_train::data::{Dataset, SPLIT_TABLE};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is known of a finished step. Earlier versions wrote the key alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Done {
    /// Digest of `depends_on`.
    key: String,
    /// What the step depended on.
    #[serde(default, skip_serializing_if = "Dependencies::is_empty")]
    depends_on: Dependencies,
    /// SHA-256 of every file that it wrote, by its path in the folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<String, String>,
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

/// The folder of a run, locked against a second run. What lies where: see [`layout`](crate::pipeline::folder::layout).
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

/// Copies the work of the run at `from`, up to the predictor and with every network that left the supernet, into the new
/// folder `to`: a run there begins with the search.
///
/// # Errors
/// [`Failure::Input`] if `to` is not empty; [`Failure::Running`] if something cannot be copied.
pub fn copy_work(from: &Path, to: &Path) -> Result<(), Failure> {
    if look(to) != Holds::Nothing || to.is_file() {
        return Err(Failure::Input(format!("{}: is not empty, expected a new folder", to.display())));
    }
    let (work, copied_work) = (work_of(from), to.join(WORK));
    std::fs::create_dir_all(&copied_work).map_err(|e| Failure::writing(&copied_work, e))?;
    let mut done = recorded(&work, &mut Vec::new());
    done.retain(|step, _| !matches!(step, Step::Refine | Step::Search | Step::Deploy));
    let files = done.values().flat_map(|done| done.files.keys().cloned());
    let others = [DATA_FILES, SPLIT_TABLE, PAIRS_KEY].map(str::to_owned);
    let folder = work.join(kept_networks::FOLDER);
    let networks = std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
    let networks = networks.filter(|entry| entry.path().is_file());
    let networks = networks.map(|entry| format!("{}/{}", kept_networks::FOLDER, entry.file_name().to_string_lossy()));
    for file in files.chain(others).chain(networks) {
        let (source, target) = (place(from, &work, &file), place(to, &copied_work, &file));
        if !source.is_file() {
            continue;
        }
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(|e| Failure::writing(parent, e))?;
        }
        std::fs::copy(&source, &target).map_err(|e| Failure::writing(&target, e))?;
    }
    // What the copied work took is what it cost here, too.
    let mut timings = timings_in(&work);
    for step in [Step::Refine, Step::Search, Step::Deploy] {
        timings.forget(step.name());
    }
    (timings.host, timings.fine_tuning) = (None, BTreeMap::new());
    write_json(&copied_work.join(TIMINGS), &timings)?;
    write_json(&copied_work.join(RECORD), &done)
}

/// Whether the training in both folders is the same.
pub fn have_the_same_training(one: &Path, other: &Path) -> bool {
    let key = |folder: &Path| Some(recorded(&work_of(folder), &mut Vec::new()).remove(&Step::Train)?.key);
    key(one).is_some_and(|known| key(other).as_ref() == Some(&known))
}

impl RunFolder {
    /// Creates or opens the folder.
    ///
    /// # Errors
    /// [`Failure::Input`] if it cannot be created, is in use, or holds what `existing` refuses.
    pub fn open(root: &Path, existing: Existing) -> Result<Self, Failure> {
        let input = |problem: String| Failure::Input(format!("{}: {problem}", root.display()));
        std::fs::create_dir_all(root).map_err(|e| {
            input(format!("the folder cannot be created ({e}); choose a place that you may write to with --out"))
        })?;
        match (look(root), existing) {
            (Holds::Run, Existing::Refuse) => {
                return Err(input(
                    "holds a run already: add --resume to go on with it, or choose another --out".into(),
                ));
            }
            (Holds::Plan, Existing::Refuse) => {
                let problem = "holds a plan already: add --resume to run it, or choose another --out";
                return Err(input(format!("{problem} ({PLAN})")));
            }
            (Holds::Other(name), Existing::Resume | Existing::Retrain) => {
                return Err(input(format!(
                    "holds {name}, but no run to go on with ({PLAN} is missing): choose another --out"
                )));
            }
            _ => {}
        }
        // A run that was killed right after it began has written its plan and the parts of the data, and no work yet.
        let is_begun = look(root) == Holds::Plan && FolderLock::was_taken(root);
        let is_own = |name: &str| is_begun && name == SPLIT_TABLE;
        if look(root) != Holds::Run
            && let Some(name) = OTHERS_WORK.iter().find(|name| root.join(name).exists() && !is_own(name))
        {
            return Err(input(format!(
                "holds {name}, which a run would overwrite, but no run: choose another --out, or move it away"
            )));
        }
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
        let mut heard = Heard { inner: progress, warnings: Vec::new() };
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

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Failure> {
        write_json(&self.path(name), value)
    }

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

/// The text of a file in which a run keeps its state.
fn state(path: &Path) -> std::io::Result<String> {
    input_file::read_text(path, input_file::LARGEST_RECORDS)
}

/// Measured times of a run, whose work is in this folder; none if there are none.
pub fn timings_in(work: &Path) -> Timings {
    let text = state(&work.join(TIMINGS)).ok();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Shows progress, and keeps the warnings.
struct Heard<'a> {
    inner: &'a mut dyn Progress,
    warnings: Vec<String>,
}

impl Progress for Heard<'_> {
    fn note(&mut self, text: &str) {
        self.inner.note(text);
    }

    fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
        self.inner.warn(text);
    }

    fn begin(&mut self, label: &str, total: usize) {
        self.inner.begin(label, total);
    }

    fn advance(&mut self, done: usize, message: &str) {
        self.inner.advance(done, message);
    }

    fn end(&mut self) {
        self.inner.end();
    }

    fn training(&mut self) -> &mut dyn ofa_train::shrinking::Observer {
        self.inner.training()
    }
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let json = serde_json::to_vec_pretty(value).map_err(|e| Failure::Running(e.to_string()))?;
    atomic_file::write(path, &json).map_err(|e| Failure::writing(path, e))
}

/// The file of a step's result.
fn result_of(step: Step) -> String {
    format!("{}.json", step.name())
}

/// What is known of finished steps. What is damaged is not known: those steps are done again from what there is.
fn recorded(root: &Path, notes: &mut Vec<String>) -> BTreeMap<Step, Done> {
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
