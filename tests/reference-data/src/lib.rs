//! Where tests and benchmarks find the reference results: files that are too large for the repository, or not ours to
//! publish (the authors' checkpoints, tables and predictors, and logits of their PyTorch code).
//!
//! They are read from the folder that `OFA_SHARED` names, by default `../shared` beside the workspace. A test names the
//! files it reads and is skipped where one of them is absent:
//!
//! ```
//! let Some(shared) = ofa_reference_data::folder_with(&["golden/cost.json"]) else { return };
//! let costs = std::fs::read_to_string(shared.join("golden/cost.json"));
//! # assert!(costs.is_ok());
//! ```
//!
//! The reason is printed as one line that starts with `skipped:`. With `OFA_SHARED_REQUIRED=1` an absent file is a
//! failure instead.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

/// The folder of the reference results, if it holds all of `names` (files or folders, relative to it).
///
/// # Panics
///
/// If one of them is absent and `OFA_SHARED_REQUIRED` is `1`.
#[track_caller]
pub fn folder_with(names: &[&str]) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("OFA_SHARED").map_or_else(beside, PathBuf::from);
    let Some(absent) = names.iter().map(|name| folder.join(name)).find(|path| !path.exists()) else {
        return Some(folder);
    };
    let reason = format!("{} is absent (set OFA_SHARED)", absent.display());
    assert!(std::env::var_os("OFA_SHARED_REQUIRED").is_none_or(|value| value != "1"), "{reason}");
    eprintln!("skipped: {reason}");
    None
}
