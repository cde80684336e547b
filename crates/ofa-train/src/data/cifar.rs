//! CIFAR-10 and CIFAR-100 in their binary form.
//!
//! A record is one label byte (CIFAR-100: the coarse label, then the fine one, which is used), then 1,024 bytes each
//! of red, green and blue (<https://www.cs.toronto.edu/~kriz/cifar.html>).

use crate::data::DataError;
use crate::data::reading::pixels::{Pixels, Store};
use crate::data::splitting::{Labelled, Parts};
use ofa_space::input_file;
use ofa_space::plain_text::plain;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// The published files have less than 160 MB.
const MAX_BYTES: u64 = 1 << 30;

/// A folder with CIFAR files.
pub(crate) struct Cifar {
    folder: PathBuf,
    kind: &'static Kind,
}

/// What the two sets differ in.
struct Kind {
    layout: &'static str,
    classes: usize,
    label_bytes: usize,
    train: &'static [&'static str],
    test: &'static str,
    names: &'static str,
    /// What the archive calls its folder.
    archive_folder: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        layout: "CIFAR-10 binary",
        classes: 10,
        label_bytes: 1,
        train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        test: "test_batch.bin",
        names: "batches.meta.txt",
        archive_folder: "cifar-10-batches-bin",
    },
    Kind {
        layout: "CIFAR-100 binary",
        classes: 100,
        label_bytes: 2,
        train: &["train.bin"],
        test: "test.bin",
        names: "fine_label_names.txt",
        archive_folder: "cifar-100-binary",
    },
];

impl Cifar {
    /// Looks in `folder`, and in the folder inside it that the official archive unpacks to.
    pub fn find(folder: &Path) -> Option<Self> {
        KINDS.iter().find_map(|kind| {
            let candidates = [folder.to_owned(), folder.join(kind.archive_folder)];
            let folder = candidates.into_iter().find(|folder| folder.join(kind.train[0]).is_file())?;
            Some(Self { folder, kind })
        })
    }

    /// For provenance.
    pub fn layout(&self) -> &'static str {
        self.kind.layout
    }

    /// Reads all files.
    pub fn load(&self) -> Result<Parts, DataError> {
        let train = self.read(self.kind.train)?;
        Ok(Parts { train, validation: None, test: Some(self.read(&[self.kind.test])?) })
    }

    /// From the names file, or `0`, `1`, … without one.
    pub fn class_names(&self) -> Result<Vec<String>, DataError> {
        let path = self.folder.join(self.kind.names);
        if !path.is_file() {
            return Ok((0..self.kind.classes).map(|class| class.to_string()).collect());
        }
        let text = input_file::read_text(&path, input_file::LARGEST_TEXT).map_err(DataError::io(&path))?;
        let names: Vec<String> =
            text.lines().map(str::trim).filter(|l| !l.is_empty()).map(|l| plain(l).into_owned()).collect();
        if names.len() != self.kind.classes {
            let expected = format!("{}, one a line", self.kind.classes);
            let problem = format!("holds {} class names", names.len());
            return Err(DataError::malformed(&path, problem, expected, "repair or remove the file"));
        }
        Ok(names)
    }

    fn read(&self, files: &[&str]) -> Result<Labelled, DataError> {
        let (mut data, mut labels) = (Vec::new(), Vec::new());
        for name in files {
            let path = self.folder.join(name);
            let bytes = input_file::read(&path, MAX_BYTES).map_err(DataError::io(&path))?;
            self.parse(&bytes, &path, &mut data, &mut labels)?;
        }
        let store = Store::Fixed { width: SIDE, height: SIDE, channels: 3, data };
        Ok(Labelled { pixels: Arc::new(Pixels { store, files: Vec::new() }), labels })
    }

    fn parse(&self, bytes: &[u8], path: &Path, data: &mut Vec<u8>, labels: &mut Vec<usize>) -> Result<(), DataError> {
        const REMEDY: &str = "download and unpack the archive again";
        let Kind { classes, label_bytes, .. } = *self.kind;
        let record_bytes = label_bytes + 3 * PLANE;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record_bytes) {
            let expected = format!("whole records of {record_bytes} bytes ({})", self.kind.layout);
            return Err(DataError::malformed(path, format!("is {} bytes long", bytes.len()), expected, REMEDY));
        }
        for (number, record) in bytes.chunks_exact(record_bytes).enumerate() {
            let label = usize::from(record[label_bytes - 1]);
            if label >= classes {
                let problem = format!("has label {label} in record {number}");
                return Err(DataError::malformed(path, problem, format!("0 to {}", classes - 1), REMEDY));
            }
            labels.push(label);
            let planes = &record[label_bytes..];
            data.extend((0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]));
        }
        Ok(())
    }
}
