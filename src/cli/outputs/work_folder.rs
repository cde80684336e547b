//! Folders that a command works in. One that comes from elsewhere may hold links, through which the command would write somewhere
//! else, and pipes, which it would wait for.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders below a run's: `work/train/…` is the deepest that the program makes.
const DEPTH: usize = 4;

/// Something in a folder that a command would not read or write as a file there.
#[derive(Debug, PartialEq, Eq)]
pub struct NoFile {
    pub path: PathBuf,
    pub problem: &'static str,
}

/// The first link out of the folder of a run, or anything else in it that is neither a file nor a folder.
pub fn first_in(root: &Path) -> Option<NoFile> {
    let root = fs::canonicalize(root).ok()?;
    below(&root, &root, DEPTH)
}

/// The same for files of these names in a folder that may hold others, too.
pub fn first_of<'a>(root: &Path, mut names: impl Iterator<Item = &'a Path>) -> Option<NoFile> {
    let root = fs::canonicalize(root).ok()?;
    names.find_map(|name| at(&root, root.join(name)))
}

fn below(root: &Path, folder: &Path, depth: usize) -> Option<NoFile> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.into_iter().find_map(|path| {
        let inner = |path: &Path| if depth > 0 && path.is_dir() { below(root, path, depth - 1) } else { None };
        at(root, path.clone()).or_else(|| if path.is_symlink() { None } else { inner(&path) })
    })
}

fn at(root: &Path, path: PathBuf) -> Option<NoFile> {
    let kind = fs::symlink_metadata(&path).ok()?;
    if kind.is_symlink() {
        let leads_out = !fs::canonicalize(&path).is_ok_and(|target| target.starts_with(root));
        let problem = "is a link that leads out of the folder; put what it leads to in its place, or remove it";
        return leads_out.then_some(NoFile { path, problem });
    }
    let is_other = !kind.is_file() && !kind.is_dir();
    is_other.then_some(NoFile { path, problem: "is a pipe, a socket or a device, expected a file; remove it" })
}
