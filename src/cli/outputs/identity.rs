//! Which paths lead to the same file.

use std::path::{Path, PathBuf};

/// What a path leads to, whatever its spelling and whichever links are on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// A file that is there: device and number of the inode.
    #[cfg(unix)]
    Inode(u64, u64),
    /// A path without links, as far as it is there.
    Path(PathBuf),
}

impl Identity {
    /// The identity of a file that may not be there yet.
    pub fn of(path: &Path) -> Self {
        #[cfg(unix)]
        if let Ok(found) = std::fs::metadata(path) {
            use std::os::unix::fs::MetadataExt;
            return Identity::Inode(found.dev(), found.ino());
        }
        Identity::Path(without_links(path))
    }
}

/// Whether a file is in a folder, at any depth.
pub fn is_below(file: &Path, folder: &Path) -> bool {
    without_links(file).starts_with(without_links(folder))
}

fn without_links(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}
