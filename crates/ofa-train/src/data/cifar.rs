//! CIFAR-10 and CIFAR-100 in their binary form.

use super::{DataError, Pixels, Split};
use std::path::Path;

const SIZE: usize = 32;
const PLANE: usize = SIZE * SIZE;

/// Which CIFAR a folder holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cifar {
    /// One label byte a record.
    Ten,
    /// A coarse and a fine label byte a record; the fine one is used.
    Hundred,
}

impl Cifar {
    /// The kind of a folder, by its files.
    pub fn detect(folder: &Path) -> Option<Self> {
        if folder.join("data_batch_1.bin").is_file() {
            Some(Cifar::Ten)
        } else if folder.join("train.bin").is_file() && folder.join("test.bin").is_file() {
            Some(Cifar::Hundred)
        } else {
            None
        }
    }

    fn label_bytes(self) -> usize {
        match self {
            Cifar::Ten => 1,
            Cifar::Hundred => 2,
        }
    }

    fn classes(self) -> usize {
        match self {
            Cifar::Ten => 10,
            Cifar::Hundred => 100,
        }
    }

    /// Training and test images, and class names.
    ///
    /// # Errors
    /// [`DataError`] naming the file and what is wrong.
    pub fn read(self, folder: &Path) -> Result<(Split, Split, Vec<String>), DataError> {
        let (train, test, names): (Vec<String>, &str, &str) = match self {
            Cifar::Ten => {
                ((1..=5).map(|i| format!("data_batch_{i}.bin")).collect(), "test_batch.bin", "batches.meta.txt")
            }
            Cifar::Hundred => (vec!["train.bin".into()], "test.bin", "fine_label_names.txt"),
        };
        let mut images = (Vec::new(), Vec::new());
        for name in train {
            self.read_file(&folder.join(name), &mut images)?;
        }
        let train = Split::new(images.0, images.1);
        let mut images = (Vec::new(), Vec::new());
        self.read_file(&folder.join(test), &mut images)?;
        let listed: Vec<String> = std::fs::read_to_string(folder.join(names))
            .map(|text| text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect())
            .unwrap_or_default();
        let names = match listed.len() == self.classes() {
            true => listed,
            false => (0..self.classes()).map(|class| class.to_string()).collect(),
        };
        Ok((train, Split::new(images.0, images.1), names))
    }

    fn read_file(self, path: &Path, into: &mut (Vec<Pixels>, Vec<usize>)) -> Result<(), DataError> {
        let bytes = std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        let record = self.label_bytes() + 3 * PLANE;
        let bad = |problem: String| DataError::Format { path: path.to_owned(), problem };
        if bytes.is_empty() || bytes.len() % record != 0 {
            return Err(bad(format!("is {} bytes long, expected a multiple of {record} (CIFAR binary)", bytes.len())));
        }
        for (index, record) in bytes.chunks_exact(record).enumerate() {
            let label = usize::from(record[self.label_bytes() - 1]);
            if label >= self.classes() {
                return Err(bad(format!("record {index} has label {label}, expected 0 to {}", self.classes() - 1)));
            }
            let planes = &record[self.label_bytes()..];
            let data = (0..PLANE).flat_map(|p| [planes[p], planes[PLANE + p], planes[2 * PLANE + p]]).collect();
            into.0.push(Pixels { width: SIZE, height: SIZE, channels: 3, data });
            into.1.push(label);
        }
        Ok(())
    }
}
