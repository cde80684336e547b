//! Writing files whole or not at all.

use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes `bytes` to a temporary file beside `path`, syncs it, and renames it into place, so that a reader or a crash
/// never meets half a file and an existing one survives a failed write.
///
/// # Errors
/// Whatever the system reports; `path` is then untouched.
pub fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    temporary(path, bytes)?.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Writes files that belong together: all of them into temporary files first, which are then renamed in this order. If one
/// cannot be renamed, those before it are removed again, unless they replaced a file.
///
/// # Errors
/// The file and what the system reports. What can be found before anything is renamed (a full disk, a folder that is not there
/// or cannot be written to, a folder in the place of a file) leaves all paths untouched.
pub fn write_together<'a>(files: &[(&'a Path, &[u8])]) -> Result<(), (&'a Path, std::io::Error)> {
    let mut written = Vec::new();
    for (path, bytes) in files {
        if path.is_dir() {
            return Err((path, std::io::ErrorKind::IsADirectory.into()));
        }
        written.push((*path, temporary(path, bytes).map_err(|error| (*path, error))?));
    }
    let mut new: Vec<&Path> = Vec::new();
    for (path, file) in written {
        let is_new = !path.exists();
        if let Err(failed) = file.persist(path) {
            for path in new {
                let _ = std::fs::remove_file(path);
            }
            return Err((path, failed.error));
        }
        new.extend(is_new.then_some(path));
    }
    Ok(())
}

/// A synced file with these bytes, in the folder of `path`.
fn temporary(path: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // NamedTempFile is private to the user; what we leave behind should be an ordinary file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
