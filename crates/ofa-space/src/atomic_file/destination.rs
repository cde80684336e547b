//! Where a path leads: to a file that may be replaced, or to something to write into.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Where a path leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Destination {
    /// To this file, whether it is there or not.
    File(PathBuf),
    /// To a pipe, a character device, or a descriptor of the process.
    Direct(PathBuf),
}

/// Links in a row, as many as Linux follows.
const MOST_LINKS: usize = 40;

/// Where systems list the descriptors of a process, as links that are none: following them by name loses the position in the
/// file, and with it what a shell appends to.
const DESCRIPTORS: [&str; 2] = ["/proc/self/fd", "/dev/fd"];

impl Destination {
    /// Follows symbolic links, also to a file that is not there yet.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut place = path.to_owned();
        for _ in 0..MOST_LINKS {
            if DESCRIPTORS.iter().any(|folder| place.starts_with(folder)) {
                return Ok(Destination::Direct(place));
            }
            match std::fs::read_link(&place) {
                Ok(target) => place = place.parent().map_or_else(|| target.clone(), |folder| folder.join(&target)),
                Err(_) => return Self::at(place),
            }
        }
        Err(io::Error::other("leads round in a circle of symbolic links"))
    }

    fn at(place: PathBuf) -> io::Result<Self> {
        let kind = match std::fs::metadata(&place) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Destination::File(place)),
            Err(error) => return Err(error),
        };
        match kind {
            kind if kind.is_dir() => Err(ErrorKind::IsADirectory.into()),
            kind if kind.is_file() => Ok(Destination::File(place)),
            kind if is_block_device(kind) => Err(io::Error::other("is a whole disk, expected a file")),
            _ => Ok(Destination::Direct(place)),
        }
    }
}

#[cfg(unix)]
fn is_block_device(kind: std::fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(&kind)
}

#[cfg(not(unix))]
fn is_block_device(_: std::fs::FileType) -> bool {
    false
}
