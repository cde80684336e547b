//! What files held when they were last read: size, time of the last change, and SHA-256 of the bytes. Kept in a file, the
//! digests of files that have not changed since need not be computed again.
//!
//! ```
//! use ofa_space::file_digest::{FileDigest, KnownFiles};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("photo.jpg");
//! std::fs::write(&path, "abc")?;
//! let digest = FileDigest::of(&path)?;
//! assert_eq!((digest.size, &digest.sha256[..8]), (3, "ba7816bf"));
//!
//! let mut known = KnownFiles::default();
//! assert_eq!(known.digest(&path)?, digest.sha256);
//! # Ok::<(), std::io::Error>(())
//! ```

use crate::atomic_file;
use crate::digest;
use crate::input_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file as it was when it was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileDigest {
    /// Where it was.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Time of the last change, nanoseconds since 1970.
    pub modified: u64,
    /// SHA-256 of the bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl FileDigest {
    /// Reads a file.
    ///
    /// # Errors
    /// What the system reports, or that it is no regular file: a pipe is not waited for.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = regular(path)?;
        Ok(Self::with(path, &metadata, digest::sha256_of_file(path)?))
    }

    /// The digest of a file whose bytes were read already, with the metadata from before reading.
    pub fn of_bytes(path: &Path, metadata: &Metadata, bytes: &[u8]) -> Self {
        Self::with(path, metadata, digest::sha256(bytes))
    }

    fn with(path: &Path, metadata: &Metadata, sha256: String) -> Self {
        Self { path: path.to_owned(), size: metadata.len(), modified: modified(metadata), sha256 }
    }

    fn fits(&self, metadata: &Metadata) -> bool {
        self.size == metadata.len() && self.modified == modified(metadata)
    }
}

/// The metadata of a regular file, links followed.
fn regular(path: &Path) -> io::Result<Metadata> {
    let metadata = std::fs::metadata(path)?;
    match metadata.is_file() {
        true => Ok(metadata),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

/// Nanoseconds since 1970; 0 where the file system has no such time, so that nothing is taken for unchanged by it alone.
fn modified(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Digests of files that were read before, by path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KnownFiles {
    by_path: BTreeMap<PathBuf, FileDigest>,
}

/// A file that was changed this shortly before it was read may be changed again without another time of change: file
/// systems count time in steps, of up to 2 s on FAT. Its digest is not kept.
const SETTLED: Duration = Duration::from_secs(2);

/// The file of [`KnownFiles::save`].
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// SHA-256 over the list.
    checksum: String,
    files: Vec<FileDigest>,
}

fn checksum(files: &[FileDigest]) -> String {
    digest::sha256(serde_json::to_vec(files).unwrap_or_default())
}

impl KnownFiles {
    /// Reads the digests that [`save`](Self::save) wrote. A file that is missing or damaged costs time only: nothing is
    /// known then.
    pub fn load(path: &Path) -> Self {
        let text = input_file::read(path, input_file::LARGEST_RECORDS).unwrap_or_default();
        let kept: Kept = serde_json::from_slice(&text).unwrap_or_default();
        let digests = if kept.checksum == checksum(&kept.files) { kept.files } else { Vec::new() };
        Self { by_path: digests.into_iter().map(|digest| (digest.path.clone(), digest)).collect() }
    }

    /// Writes them as JSON, with a checksum.
    ///
    /// # Errors
    /// What the system reports.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let files: Vec<FileDigest> = self.by_path.values().cloned().collect();
        atomic_file::write(path, &serde_json::to_vec(&Kept { checksum: checksum(&files), files })?)
    }

    /// The digest of a file that has kept its size and time of change.
    pub fn current(&self, path: &Path) -> Option<&FileDigest> {
        let known = self.by_path.get(path)?;
        regular(path).is_ok_and(|metadata| known.fits(&metadata)).then_some(known)
    }

    /// Remembers a digest, unless the file was changed so recently that a further change might go unnoticed.
    pub fn insert(&mut self, digest: FileDigest) {
        let changed = UNIX_EPOCH + Duration::from_nanos(digest.modified);
        match SystemTime::now().duration_since(changed) {
            Ok(age) if age > SETTLED => self.by_path.insert(digest.path.clone(), digest),
            _ => self.by_path.remove(&digest.path),
        };
    }

    /// The SHA-256 of a file: as known if it is unchanged, or else by reading it.
    ///
    /// # Errors
    /// As [`FileDigest::of`].
    pub fn digest(&mut self, path: &Path) -> io::Result<String> {
        if let Some(known) = self.current(path) {
            return Ok(known.sha256.clone());
        }
        let read = FileDigest::of(path)?;
        let sha256 = read.sha256.clone();
        self.insert(read);
        Ok(sha256)
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.by_path.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::{self, File};

    /// A file that was last changed `seconds` ago.
    fn aged(path: &Path, text: &str, seconds: u64) {
        fs::write(path, text).unwrap();
        let changed = SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(changed).unwrap();
    }

    #[test]
    fn a_change_is_noticed_by_size_or_time_and_a_recent_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, list) = (folder.path().join("a"), folder.path().join("known.json"));
        aged(&path, "one", 100);
        let mut known = KnownFiles::default();
        let first = known.digest(&path).unwrap();
        known.save(&list).unwrap();
        let mut known = KnownFiles::load(&list);
        assert_eq!((known.len(), &known.current(&path).unwrap().sha256), (1, &first));
        // The same size at another time, another size at the same time.
        aged(&path, "two", 50);
        assert_eq!(known.current(&path), None);
        assert_eq!(known.digest(&path).unwrap(), digest::sha256("two"));
        aged(&path, "three", 50);
        assert_eq!(known.current(&path), None);
        // Just written: its digest is right, but not kept.
        fs::write(&path, "four").unwrap();
        assert_eq!(known.digest(&path).unwrap(), digest::sha256("four"));
        assert!(known.is_empty());
    }

    #[test]
    fn a_damaged_list_is_an_empty_one_and_a_folder_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("known.json");
        fs::write(&list, "[{").unwrap();
        assert!(KnownFiles::load(&list).is_empty());
        let file = folder.path().join("a");
        aged(&file, "one", 100);
        let mut known = KnownFiles::default();
        known.digest(&file).unwrap();
        known.save(&list).unwrap();
        assert_eq!(KnownFiles::load(&list).len(), 1);
        let edited = fs::read_to_string(&list).unwrap().replace(&digest::sha256("one"), &digest::sha256("two"));
        fs::write(&list, edited).unwrap();
        assert!(KnownFiles::load(&list).is_empty());
        assert!(KnownFiles::load(&folder.path().join("missing")).is_empty());
        let error = FileDigest::of(folder.path()).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error}");
    }
}
