//! What lies where in the folder of a run, and whether a folder holds one. Results are at its top, everything else is in
//! [`WORK`]; runs of earlier versions have everything at the top.

use crate::pipeline::PLAN;
use crate::pipeline::steps::train::SUPERNET;
use ofa_space::atomic_file;
use ofa_train::checkpoint::Checkpoint;
use ofa_train::data::SPLIT_TABLE;
use std::path::{Path, PathBuf};

/// What is in a folder before a run begins there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holds {
    /// Nothing, or no folder.
    Nothing,
    /// A plan, and no work yet.
    Plan,
    /// A run.
    Run,
    /// This, and no plan.
    Other(String),
}

/// What a run works with, below its results.
pub const WORK: &str = "work";
/// Results, at the top of a run's folder.
const RESULTS: [&str; 7] = [PLAN, SPLIT_TABLE, "results.json", "report.html", "report.md", "plots", README];
/// Explains the folder.
pub const README: &str = "README.txt";
pub(crate) const RECORD: &str = "steps.json";
pub(crate) const TIMINGS: &str = "timings.json";
/// SHA-256 of the data's files by path, size and time of change.
pub(crate) const DATA_FILES: &str = "data-files.json";
/// Folder of the training.
pub const TRAIN: &str = "train";
/// What a run writes besides; a folder that holds one of these, but no run, is somebody else's.
pub(crate) const OTHERS_WORK: [&str; 8] =
    [SPLIT_TABLE, "results.json", "report.html", "report.md", "nets", "plots", "pairs.jsonl", "predictor.json"];

/// Whether a folder holds the record of a run's steps.
pub fn is_run(root: &Path) -> bool {
    work_of(root).join(RECORD).is_file()
}

/// What is in a folder before a run begins there. Hidden files do not count, nor do models to start from, which are made before
/// a run begins.
pub fn look(root: &Path) -> Holds {
    let (mut names, at_work) = (names_in(root), names_in(&root.join(WORK)));
    if at_work.is_empty() {
        names.retain(|name| name != WORK);
    }
    let holds = |names: &[String], name: &str| names.iter().any(|known| known == name);
    match names.first() {
        None => Holds::Nothing,
        Some(_) if is_flat(root) || holds(&at_work, RECORD) || holds(&at_work, TRAIN) => Holds::Run,
        Some(_) if holds(&names, PLAN) => Holds::Plan,
        Some(first) => Holds::Other(first.clone()),
    }
}

/// What a folder holds, by name, but hidden files and models to start from.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| !name.starts_with('.') && !crate::pipeline::plan::is_start_model(name)).collect();
    names.sort();
    names
}

/// Removes temporary files that a killed process left in the folder of a run, which must be locked: those of this version, and of
/// earlier ones, which did not lock them.
pub(crate) fn remove_half_written(root: &Path) {
    atomic_file::sweep_all(root);
    let work = root.join(WORK);
    let folders = [root.to_owned(), root.join(NETS), root.join("plots"), root.join(TRAIN), work.join(TRAIN), work];
    let entries = folders.iter().flat_map(std::fs::read_dir).flatten().filter_map(Result::ok);
    let is_earlier = |name: &str| {
        let letters = name.strip_prefix(".tmp").unwrap_or_default();
        letters.len() == 6 && letters.chars().all(|letter| letter.is_ascii_alphanumeric())
    };
    for entry in entries.filter(|entry| is_earlier(&entry.file_name().to_string_lossy())) {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether a folder holds a run of an earlier version, which has everything at the top. Data may have a folder `train`, too.
fn is_flat(root: &Path) -> bool {
    let checkpoints = Checkpoint::files(&root.join(TRAIN));
    [RECORD, SUPERNET].iter().any(|name| root.join(name).exists()) || checkpoints.iter().any(|file| file.exists())
}

/// Where a run in the folder `root` has everything but its results.
pub fn work_of(root: &Path) -> PathBuf {
    if is_flat(root) { root.to_owned() } else { root.join(WORK) }
}

/// A file of the run in the folder `root`, whose work is in `work`, by its name in the record.
pub(crate) fn place(root: &Path, work: &Path, name: &str) -> PathBuf {
    let first = name.split('/').next().unwrap_or(name);
    // Unknown files among the networks are moved to a folder beside them.
    match RESULTS.contains(&first) || first == NETS || first.starts_with(NETS_ASIDE) {
        true => root.join(name),
        false => work.join(name),
    }
}

/// Folder of the networks.
pub const NETS: &str = "nets";
const NETS_ASIDE: &str = "nets-aside-";
