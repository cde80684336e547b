//! Folders in which a run does not begin: those that hold a run that is not to be gone on with, or what it would overwrite.

use crate::failure::Failure;
use crate::folder_lock::FolderLock;
use crate::pipeline::folder::layout::{Holds, OTHERS_WORK, look};
use crate::pipeline::{Existing, PLAN};
use ofa_train::data::SPLIT_TABLE;
use std::path::Path;

/// The error for a folder that holds `name`, but neither a plan nor a run to go on with.
pub fn no_run_in(root: &Path, name: &str) -> Failure {
    Failure::Input(format!(
        "{}: holds {name}, but no run to go on with ({PLAN} is missing): choose another --out",
        root.display()
    ))
}

/// Checks that a run may work in a folder, as far as what it holds.
///
/// # Errors
/// [`Failure::Input`] if it holds what `existing` refuses, or work of others.
pub fn check(root: &Path, existing: Existing) -> Result<(), Failure> {
    let input = |problem: String| Failure::Input(format!("{}: {problem}", root.display()));
    match (look(root), existing) {
        (Holds::Run, Existing::Refuse) => {
            return Err(input("holds a run already: add --resume to go on with it, or choose another --out".into()));
        }
        (Holds::Plan, Existing::Refuse) => {
            let problem = "holds a plan already: add --resume to run it, or choose another --out";
            return Err(input(format!("{problem} ({PLAN})")));
        }
        (Holds::Other(name), Existing::Resume | Existing::Retrain) => return Err(no_run_in(root, &name)),
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
    Ok(())
}
