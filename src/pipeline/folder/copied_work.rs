//! The work of a run in a new folder, for another search with the same supernet.

use crate::failure::Failure;
use crate::pipeline::folder::kept_networks;
use crate::pipeline::folder::layout::{DATA_FILES, Holds, RECORD, TIMINGS, WORK, look, place, work_of};
use crate::pipeline::folder::step_record::recorded;
use crate::pipeline::folder::{timings_in, write_json};
use crate::pipeline::steps::Step;
use crate::pipeline::steps::collect::PAIRS_KEY;
use ofa_train::data::SPLIT_TABLE;
use std::collections::BTreeMap;
use std::path::Path;

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
