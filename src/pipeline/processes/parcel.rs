//! What ranks send each other besides numbers: something short, as JSON, and files with it.

use crate::failure::Failure;
use ofa_space::input_file;
use ofa_train::TrainError;
use ofa_train::communication::CommunicationError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Something short, and files that belong to it.
pub(crate) struct Parcel<T> {
    pub content: T,
    pub files: Files,
}

/// The first line of a message; the files follow it, one after another.
#[derive(Serialize, Deserialize)]
struct Label<T> {
    content: T,
    /// Names and lengths of the files.
    files: Vec<(String, usize)>,
}

impl<T: Serialize + DeserializeOwned> Parcel<T> {
    /// A parcel without files.
    pub fn of(content: T) -> Self {
        Self { content, files: Files::new() }
    }

    /// The message.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        let files = self.files.iter().map(|(name, file)| (name.clone(), file.len())).collect();
        let label = Label { content: &self.content, files };
        let mut bytes = serde_json::to_vec(&label).map_err(|e| Failure::Running(e.to_string()))?;
        bytes.push(b'\n');
        self.files.values().for_each(|file| bytes.extend_from_slice(file));
        Ok(bytes)
    }

    /// Reads a message of this rank.
    pub fn from_bytes(bytes: &[u8], rank: usize) -> Result<Self, Failure> {
        let unexpected = |problem: &str| {
            Failure::from(TrainError::from(CommunicationError::Message { rank, problem: problem.to_owned() }))
        };
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| unexpected("a line without an end"))?;
        let label: Label<T> = serde_json::from_slice(&bytes[..end]).map_err(|e| unexpected(&e.to_string()))?;
        let mut rest = &bytes[end + 1..];
        let mut files = Files::new();
        for (name, length) in label.files {
            let (file, after) = rest.split_at_checked(length).ok_or_else(|| unexpected("a file that is cut off"))?;
            files.insert(name, file.to_vec());
            rest = after;
        }
        Ok(Self { content: label.content, files })
    }
}

/// These files, by their names without folders.
pub(crate) fn read(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Files, Failure> {
    let mut files = Files::new();
    for path in paths {
        let path = path.as_ref();
        let bytes = input_file::read(path, input_file::LARGEST_MODEL)
            .map_err(|e| Failure::Running(format!("cannot read {}: {e}", path.display())))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, bytes);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_parcel_arrives_as_it_was_sent() {
        let files = Files::from([("a".to_owned(), vec![b'\n', 0, 255]), ("b".to_owned(), Vec::new())]);
        let sent = Parcel { content: (0.1 + 0.2, "two\nlines".to_owned()), files: files.clone() };
        let bytes = sent.to_bytes().unwrap();
        let parcel = Parcel::<(f64, String)>::from_bytes(&bytes, 1).unwrap();
        assert_eq!((parcel.content, parcel.files), (sent.content, files));
        for end in 0..bytes.len() {
            let error = Parcel::<(f64, String)>::from_bytes(&bytes[..end], 1).err().unwrap();
            assert!(error.to_string().contains("rank 1"), "{error}");
        }
    }
}
