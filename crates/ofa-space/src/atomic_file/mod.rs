//! Writing files whole or not at all.
//!
//! A file is written under a temporary name in the same folder, synced, and renamed. It has the permissions of the file that it
//! replaces, or those that the user's umask gives a new one. A symbolic link is followed: the file that it leads to is replaced,
//! and the link stays. What is no regular file (a pipe, a terminal, `/dev/null`, `/dev/stdout`) is written to directly.

mod destination;
mod temporary;

use destination::Destination;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};
pub use temporary::{sweep, sweep_all};

/// Writes `bytes` so that a reader or a crash never meets half a file and an existing one survives a failed write.
///
/// # Errors
/// Whatever the system reports; `path` is then untouched.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_together(&[(path, bytes)]).map_err(|(_, error)| error)
}

/// Writes files that belong together: all of them into temporary files first, which are then renamed in this order. If one
/// cannot be renamed, those before it become what they were.
///
/// # Errors
/// The file and what the system reports. What can be found before anything is renamed (a full disk, a folder that is not there
/// or cannot be written to, a folder in the place of a file) leaves all paths untouched.
pub fn write_together<'a>(files: &[(&'a Path, &[u8])]) -> Result<(), (&'a Path, io::Error)> {
    let (mut staged, mut direct) = (Vec::new(), Vec::new());
    for (path, bytes) in files {
        let failed = |error| (*path, error);
        match Destination::of(path).map_err(failed)? {
            Destination::File(place) => {
                let file = temporary::written(&place, bytes).map_err(failed)?;
                staged.push(Staged { path, place, file });
            }
            Destination::Direct(place) => direct.push((*path, place, *bytes)),
        }
    }
    for (path, place, bytes) in direct {
        let opened = std::fs::File::options().append(true).open(place);
        opened.and_then(|mut file| file.write_all(bytes)).map_err(|error| (path, error))?;
    }
    // One rename either happens or does not; only several need to be undone.
    let is_undone = staged.len() > 1;
    let mut replaced = Vec::new();
    for Staged { path, place, file } in staged {
        let before = if is_undone { Before::of(&place) } else { Before::Unknown };
        if let Err(failed) = file.persist(&place) {
            replaced.into_iter().rev().for_each(|(place, before): (PathBuf, Before)| before.restore(&place));
            return Err((path, failed.error));
        }
        replaced.push((place, before));
    }
    Ok(())
}

/// Finds what would stop [`write()`] at `path` before there is anything to write: no such folder, no right to write there, a name
/// that is too long, a folder in the place of the file. Leaves nothing behind.
///
/// # Errors
/// Whatever the system reports.
pub fn check(path: &Path) -> io::Result<()> {
    match Destination::of(path)? {
        Destination::File(place) => temporary::new_beside(&place).map(drop),
        Destination::Direct(_) => Ok(()),
    }
}

/// The file that [`write()`] replaces or creates at `path`: that at the end of symbolic links. `None` where it writes directly,
/// into a pipe or a device.
///
/// # Errors
/// Whatever the system reports; a folder in the place of the file.
pub fn place(path: &Path) -> io::Result<Option<PathBuf>> {
    match Destination::of(path)? {
        Destination::File(place) => Ok(Some(place)),
        Destination::Direct(_) => Ok(None),
    }
}

/// A file that waits for its name.
struct Staged<'a> {
    path: &'a Path,
    place: PathBuf,
    file: NamedTempFile,
}

/// What was in the place of a file.
enum Before {
    Nothing,
    /// A file, which still has this name.
    File(TempPath),
    /// A file system without hard links, or one file alone.
    Unknown,
}

impl Before {
    fn of(place: &Path) -> Self {
        match std::fs::symlink_metadata(place) {
            Err(error) if error.kind() == ErrorKind::NotFound => Before::Nothing,
            _ => temporary::second_name(place).map_or(Before::Unknown, Before::File),
        }
    }

    /// Puts it back. That it cannot be adds nothing to the error that is on its way.
    fn restore(self, place: &Path) {
        match self {
            Before::Nothing => drop(std::fs::remove_file(place)),
            Before::File(name) => drop(name.persist(place)),
            Before::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn files_appear_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        let both = |first: &'static [u8]| [(one.as_path(), first), (other.as_path(), b"2".as_slice())];
        std::fs::create_dir(&other).unwrap();
        assert_eq!(write_together(&both(b"1")).unwrap_err().0, other);
        assert!(!one.exists());
        std::fs::remove_dir(&other).unwrap();
        let nowhere = folder.path().join("absent").join("file");
        assert_eq!(write_together(&[(&one, b"1"), (&nowhere, b"2")]).unwrap_err().0, nowhere);
        assert!(!one.exists());
        write_together(&both(b"1")).unwrap();
        write_together(&both(b"3")).unwrap();
        assert_eq!([std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap()], [b"3", b"2"]);
        assert_eq!(names(folder.path()), 2);
    }

    #[test]
    fn what_was_there_before_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
        std::fs::write(&old, "old").unwrap();
        let before = [Before::of(&old), Before::of(&new)];
        for path in [&old, &new] {
            write(path, b"changed").unwrap();
        }
        before.into_iter().zip([&old, &new]).for_each(|(before, path)| before.restore(path));
        assert_eq!(std::fs::read(&old).unwrap(), b"old");
        assert_eq!(names(folder.path()), 1);
    }

    #[test]
    fn what_cannot_be_written_is_found_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        check(&at("new")).unwrap();
        assert_eq!(names(folder.path()), 0);
        assert_eq!(check(&at("absent/new")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(check(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        check(&at(&"n".repeat(300))).unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_permissions_kept() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("elsewhere")).unwrap();
        symlink("elsewhere/target", at("link")).unwrap();
        symlink("link", at("link to a link")).unwrap();
        // The first call makes the target of a link that led nowhere, the second one replaces it.
        for content in ["first", "second"] {
            write(&at("link to a link"), content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(at("elsewhere/target")).unwrap(), content);
            assert!(at("link").is_symlink() && at("link to a link").is_symlink());
            std::fs::set_permissions(at("link"), std::fs::Permissions::from_mode(0o640)).unwrap();
        }
        write(&at("link"), b"third").unwrap();
        assert_eq!(std::fs::metadata(at("elsewhere/target")).unwrap().permissions().mode() & 0o777, 0o640);
        symlink("round", at("round")).unwrap();
        check(&at("round")).unwrap_err();
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("file");
        let in_use = temporary::written(&place, b"half").unwrap();
        let (file, left) = temporary::written(&place, b"half").unwrap().keep().unwrap();
        drop(file);
        std::fs::write(folder.path().join(".tmpAbCdEf"), "another program's").unwrap();
        std::fs::create_dir(folder.path().join("below")).unwrap();
        let below = folder.path().join("below").join(left.file_name().unwrap());
        std::fs::copy(&left, &below).unwrap();
        sweep(folder.path());
        assert!(!left.exists() && below.exists() && in_use.path().exists());
        sweep_all(folder.path());
        assert!(!below.exists());
        assert_eq!(names(folder.path()), 3);
    }
}
