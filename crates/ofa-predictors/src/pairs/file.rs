//! A pairs file that grows line by line and survives being cut off.

use super::{Pair, format_line, parsed};
use crate::error::PredictorError;
use crate::target::Target;
use ofa_space::{Arch, SearchSpace, atomic_file, input_file};
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A pairs file that grows by one line with every pair, and is locked against a second writer.
///
/// A line is on disk before [`push`](Self::push) returns. If the disk refuses, the file is cut back to its last whole
/// line; a line that a crash cut short is dropped when the file is opened again.
#[derive(Debug)]
pub struct PairsFile {
    path: PathBuf,
    /// The name of the file once it is complete, if it has another one until then.
    complete: Option<PathBuf>,
    file: File,
    /// Length of the whole lines in bytes.
    end: u64,
    target: Target,
    pairs: Vec<Pair>,
}

impl PairsFile {
    /// Opens `FILE.part`, or creates it: the lines of a job that has a known number of pairs. [`finish`](Self::finish)
    /// renames it to `FILE`.
    ///
    /// # Errors
    /// [`PredictorError::Io`] if the file cannot be written, [`PredictorError::InUse`] if another process writes it,
    /// [`PredictorError::Format`] if it holds anything but pairs.
    pub fn begin(path: &Path, space: &dyn SearchSpace, target: Target) -> Result<Self, PredictorError> {
        Self::opened(Self::part(path), Some(path.to_owned()), space, target)
    }

    /// Opens a pairs file to add to it; an absent one is created.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn open(path: &Path, space: &dyn SearchSpace, target: Target) -> Result<Self, PredictorError> {
        Self::opened(path.to_owned(), None, space, target)
    }

    /// Copies the pairs file `from` to `to`, line by line as it is, and opens the copy. The same file is opened in place.
    ///
    /// # Errors
    /// As [`begin`](Self::begin); [`PredictorError::Io`] if `from` cannot be read.
    pub fn copy(from: &Path, to: &Path, space: &dyn SearchSpace, target: Target) -> Result<Self, PredictorError> {
        let is_same = matches!((from.canonicalize(), to.canonicalize()), (Ok(one), Ok(other)) if one == other);
        if !is_same {
            let mut text = input_file::read(from, input_file::LARGEST_RECORDS).map_err(io("read", from))?;
            if text.last().is_some_and(|last| *last != b'\n') {
                text.push(b'\n');
            }
            atomic_file::write(to, &text).map_err(io("write", to))?;
        }
        Self::open(to, space, target)
    }

    /// The name of the pairs file `path` until it is complete: `FILE.part`.
    pub fn part(path: &Path) -> PathBuf {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        PathBuf::from(part)
    }

    fn opened(
        path: PathBuf,
        complete: Option<PathBuf>,
        space: &dyn SearchSpace,
        target: Target,
    ) -> Result<Self, PredictorError> {
        let writing = |source| PredictorError::Io { action: "write", path: path.clone(), source };
        let remedy = if complete.is_some() { "; remove the file to start afresh" } else { "" };
        let bad = |line, problem: String| PredictorError::Format {
            path: path.clone(),
            line,
            problem: format!("{problem}{remedy}"),
        };
        // A file that grows under a name of our own choice is not one that somebody else has put a link to.
        let kind = if complete.is_some() { std::fs::symlink_metadata(&path) } else { std::fs::metadata(&path) };
        if kind.is_ok_and(|kind| !kind.is_file()) {
            return Err(writing(std::io::Error::other("is a link or no regular file, expected a file; remove it")));
        }
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(writing)?;
        // A file system without locks is no reason to refuse the work.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(PredictorError::InUse { path });
        }
        let length = file.metadata().map_err(writing)?.len();
        if length > input_file::LARGEST_RECORDS {
            let most = input_file::LARGEST_RECORDS;
            return Err(bad(None, format!("it has {length} bytes, expected at most {most}")));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|e| bad(None, format!("cannot be read: {e}")))?;
        let (lines, last) = text.split_at(text.rfind('\n').map_or(0, |end| end + 1));
        // Without a line break the last line is whole, or a crash cut it short.
        let kept = if is_cut_short(last) { lines } else { text.as_str() };
        let pairs = parsed(kept, space, target, |line, problem| bad(Some(line), problem))?;
        let mut end = kept.len() as u64;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(writing)?;
        if !kept.is_empty() && !kept.ends_with('\n') {
            file.write_all(b"\n").map_err(writing)?;
            end += 1;
        }
        Ok(Self { path, complete, file, end, target, pairs })
    }

    /// The pairs in the file, in order.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// The file that grows.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a pair and makes sure that it is on disk.
    ///
    /// # Errors
    /// [`PredictorError::Io`] if the disk refuses; the file then ends with the pair before.
    pub fn push(&mut self, space: &dyn SearchSpace, arch: &Arch, value: f64) -> Result<(), PredictorError> {
        let line = format_line(space, arch, self.target, value) + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Nothing more can be done if this fails too; the next opening drops the line.
            let _ = self.file.set_len(self.end).and_then(|()| self.file.seek(SeekFrom::Start(self.end)));
            return Err(io("write", &self.path)(error));
        }
        self.end += line.len() as u64;
        self.pairs.push(Pair { arch: arch.clone(), value });
        Ok(())
    }

    /// Gives a file that was [begun](Self::begin) its final name; returns its pairs.
    ///
    /// # Errors
    /// [`PredictorError::Io`] if it cannot be renamed.
    pub fn finish(self) -> Result<Vec<Pair>, PredictorError> {
        if let Some(complete) = &self.complete {
            let writing = io("write", complete);
            let place = atomic_file::place(complete).map_err(&writing)?;
            match place.map(|place| std::fs::rename(&self.path, place)) {
                Some(Ok(())) => {}
                Some(Err(error)) if error.kind() != ErrorKind::CrossesDevices => return Err(writing(error)),
                // A link may lead to another disk, or to what is no file.
                Some(Err(_)) | None => {
                    let text = std::fs::read(&self.path).map_err(io("read", &self.path))?;
                    atomic_file::write(complete, &text).map_err(writing)?;
                    std::fs::remove_file(&self.path).map_err(io("write", &self.path))?;
                }
            }
        }
        Ok(self.pairs)
    }
}

/// Whether a line is the beginning of a JSON object, and no more.
fn is_cut_short(line: &str) -> bool {
    line.starts_with('{') && serde_json::from_str::<serde_json::Value>(line).is_err_and(|error| error.is_eof())
}

fn io<'a>(action: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> PredictorError + 'a {
    move |source| PredictorError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pairs;
    use ofa_space::registry;

    #[test]
    fn what_was_cut_off_is_dropped_and_what_is_whole_stays() {
        let space = registry::named("tiny-28").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        let (small, large) = (space.min_arch(), space.max_arch());
        let mut file = PairsFile::begin(&path, space.as_ref(), Target::Accuracy).unwrap();
        file.push(space.as_ref(), &small, 0.5).unwrap();
        file.push(space.as_ref(), &large, 0.75).unwrap();
        assert!(!path.exists());
        let second = PairsFile::begin(&path, space.as_ref(), Target::Accuracy).unwrap_err();
        assert!(matches!(second, PredictorError::InUse { .. }), "{second}");
        drop(file);

        let part = PairsFile::part(&path);
        let whole = std::fs::read_to_string(&part).unwrap();
        let first = whole.find('\n').unwrap() + 1;
        for kept in 0..=whole.len() {
            std::fs::write(&part, &whole[..kept]).unwrap();
            let file = PairsFile::begin(&path, space.as_ref(), Target::Accuracy).unwrap();
            // A line is whole with or without its line break.
            let expected = usize::from(kept + 1 >= first) + usize::from(kept + 1 >= whole.len());
            assert_eq!(file.pairs().len(), expected, "{kept} bytes");
            let end = [0, first, whole.len()][expected];
            assert_eq!(std::fs::read_to_string(&part).unwrap(), whole[..end]);
        }
        PairsFile::begin(&path, space.as_ref(), Target::Accuracy).unwrap().finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        assert!(!part.exists());
    }

    #[test]
    fn a_copy_keeps_the_lines_and_grows() {
        let space = registry::named("tiny-28").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (given, grown) = (folder.path().join("given.jsonl"), folder.path().join("grown.jsonl"));
        let small = pairs::format_line(space.as_ref(), &space.min_arch(), Target::Latency, 0.5);
        let text = format!("{}\n\n{small}", small.replace("\"latency_ms\"", " \"source\":\"table\", \"latency_ms\""));
        std::fs::write(&given, &text).unwrap();
        let mut file = PairsFile::copy(&given, &grown, space.as_ref(), Target::Latency).unwrap();
        file.push(space.as_ref(), &space.max_arch(), 3.25).unwrap();
        assert_eq!(file.pairs().len(), 3);
        let pairs = file.finish().unwrap();
        assert_eq!(pairs::read(&grown, space.as_ref(), Target::Latency).unwrap(), pairs);
        assert!(std::fs::read_to_string(&grown).unwrap().starts_with(&format!("{text}\n")));
        assert_eq!(std::fs::read_to_string(&given).unwrap(), text);
        // Opened in place, it stays the same file.
        PairsFile::copy(&grown, &grown, space.as_ref(), Target::Latency).unwrap();
        assert_eq!(pairs::read(&grown, space.as_ref(), Target::Latency).unwrap(), pairs);
    }

    #[test]
    fn a_file_of_something_else_is_left_as_it_is() {
        let space = registry::named("tiny-28").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        let latency = pairs::format_line(space.as_ref(), &space.max_arch(), Target::Latency, 0.5);
        for text in ["a note without a line break", "{\"top1\":0.5}", latency.as_str()] {
            std::fs::write(&path, text).unwrap();
            let error = PairsFile::open(&path, space.as_ref(), Target::Accuracy).unwrap_err().to_string();
            assert!(error.contains("notes.txt:1"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
