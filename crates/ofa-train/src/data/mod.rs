//! Data sets: found, read, split, and turned into batches.
//!
//! Three splits, disjoint by construction: *train* (training and BN recalibration), *validation* (accuracy pairs for
//! predictors; never trained on), *test* (final figures only).

pub mod augmentation;
pub mod batches;
pub mod bundled;
pub mod cifar;
pub mod detect;
pub mod idx;
pub mod image_folder;
pub mod pixels;
pub mod stratified;

pub use augmentation::Augmentation;
pub use batches::read_image;
pub use detect::load;
pub use pixels::Pixels;

use ofa_space::model::InputFormat;
use std::path::PathBuf;

/// A data set that cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The system refused to read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason given by the system.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// The folder holds no data set of a known layout.
    #[error("{}: {problem}", path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        problem: String,
    },
}

/// What to do with an image that cannot be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnCorrupt {
    /// Stop and name it.
    #[default]
    Error,
    /// Leave it out and count it.
    Skip,
}

/// How to read a data set.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Seed of the splits.
    pub seed: u64,
    /// Largest resolution that will be asked for: larger photos are kept reduced.
    pub max_resolution: u32,
    /// Images kept out of training for validation (at most a fifth of them).
    pub validation: usize,
    /// What to do with an image that cannot be decoded.
    pub on_corrupt: OnCorrupt,
}

/// One of the three splits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SplitName {
    /// Training and BN recalibration.
    Train,
    /// Kept out of training, for predictors.
    Validation,
    /// Final figures only.
    Test,
}

/// Labelled images.
#[derive(Clone, Debug, Default)]
pub struct Split {
    images: Vec<Pixels>,
    labels: Vec<usize>,
}

impl Split {
    /// Images and their classes.
    ///
    /// # Panics
    /// If the two differ in length.
    pub fn new(images: Vec<Pixels>, labels: Vec<usize>) -> Self {
        assert_eq!(images.len(), labels.len(), "an image without a label");
        Self { images, labels }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Class of image `index`.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn label(&self, index: usize) -> usize {
        self.labels[index]
    }

    /// Image `index`.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, index: usize) -> &Pixels {
        &self.images[index]
    }

    /// Class of every image.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Moves the images at `indices` (ascending) out into a split of their own.
    fn take(&mut self, indices: &[usize]) -> Split {
        let mut taken = Split::default();
        let mut rest = Split::default();
        let mut wanted = indices.iter().peekable();
        for (index, (image, label)) in self.images.drain(..).zip(self.labels.drain(..)).enumerate() {
            let into = if wanted.next_if_eq(&&index).is_some() { &mut taken } else { &mut rest };
            into.images.push(image);
            into.labels.push(label);
        }
        *self = rest;
        taken
    }
}

/// A labelled data set in three splits.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Name for outputs.
    pub name: String,
    /// Class names, in the order of the labels.
    pub class_names: Vec<String>,
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// Training and BN recalibration.
    pub train: Split,
    /// Kept out of training, for predictors.
    pub validation: Split,
    /// Final figures only.
    pub test: Split,
    /// How pixels become the network's input; mean and deviation are those of the training split.
    pub input: InputFormat,
    /// How the splits were made, for outputs.
    pub split_note: String,
    /// Files left out because they could not be decoded.
    pub skipped: Vec<PathBuf>,
}

impl Dataset {
    /// A split by name.
    pub fn split(&self, name: SplitName) -> &Split {
        match name {
            SplitName::Train => &self.train,
            SplitName::Validation => &self.validation,
            SplitName::Test => &self.test,
        }
    }
}
