//! Image data sets: found, checked, split, kept in memory, and turned into batches.
//!
//! [`load`] accepts `bundled` (a part of MNIST inside the program) or a folder and detects its layout ([`detect`]).
//! The three splits of a [`Dataset`] never share an image: networks learn from `train`, and batch norm is
//! recalibrated on it; accuracy pairs for predictors come from `validation`, which is taken out of the training data;
//! `test` is for final figures. Batches ([`batches`]) depend on seed, epoch and image number only, never on the
//! number of threads.

pub mod augmentation;
pub mod batches;
mod bundled;
mod cifar;
mod colour_jitter;
pub mod detect;
mod error;
mod idx;
mod image_file;
mod image_folder;
mod pillow_resize;
mod pixels;
pub mod prefetch;
mod reduced_jpeg;
mod resize;
mod split_record;
mod splitting;
pub mod stratified;
mod trained_on;

pub use augmentation::{Augmentation, Flip};
pub use detect::{DEFAULT_MEMORY_BYTES, load, load_within};
pub use error::DataError;
pub use image_file::read_image;
pub use split_record::SplitRecord;
pub use trained_on::TrainedOn;

use ofa_space::InputFormat;
use pixels::Pixels;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a data set is loaded.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `seed` | 0 | which images are set apart for validation | any |
/// | `max_resolution` | 224 | the largest resolution that will be asked for; photos are kept no larger than it needs | ≥ 1 |
/// | `validation` | 2,000 | images set apart from the training data; at most a fifth of each class is | 0 = none |
/// | `on_corrupt` | error | what to do about images that cannot be decoded | |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Seed of the validation split.
    pub seed: u64,
    /// Largest resolution that will be asked for, pixels.
    pub max_resolution: u32,
    /// Images to set apart from the training data.
    pub validation: usize,
    /// What to do about images that cannot be decoded.
    pub on_corrupt: OnCorrupt,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { seed: 0, max_resolution: 224, validation: 2000, on_corrupt: OnCorrupt::Error }
    }
}

/// What to do about images that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnCorrupt {
    /// Stop with an error that names the file.
    #[default]
    Error,
    /// Leave them out, list them in [`Dataset::skipped`] and say how many in [`Dataset::split_note`].
    Skip,
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SplitName {
    /// Networks learn from these images, and batch norm is recalibrated on them.
    Train,
    /// Accuracies that guide decisions come from these.
    Validation,
    /// For final figures only.
    Test,
}

impl fmt::Display for SplitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// Where the images of a data set come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The folder, or what is bundled.
    pub source: String,
    /// The file layout: `IDX`, `CIFAR-10 binary`, `image folder`, …
    pub layout: &'static str,
    /// Licence and attribution, if known.
    pub licence: Option<&'static str>,
}

/// A data set in three parts.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// For outputs: the folder's name, or what is bundled.
    pub name: String,
    /// Names of the classes, in the order of the labels.
    pub class_names: Vec<String>,
    /// Channels of the images: 1 (all are grey) or 3 (RGB).
    pub channels: usize,
    /// Images to learn from, in an order whose beginnings are samples with the classes in proportion.
    pub train: Split,
    /// Images set apart from the training data.
    pub validation: Split,
    /// Images for final figures.
    pub test: Split,
    /// Normalisation, computed from the training split, and how images reach a resolution. Put a model's own format
    /// here to make the batches that it was trained with; images follow its number of channels.
    pub input: InputFormat,
    /// How the splits were made, for the user.
    pub split_note: String,
    /// Files left out because they could not be decoded.
    pub skipped: Vec<PathBuf>,
    /// Where the images come from.
    pub origin: Origin,
    split_record: SplitRecord,
}

impl Dataset {
    /// One part of the data.
    pub fn split(&self, name: SplitName) -> &Split {
        match name {
            SplitName::Train => &self.train,
            SplitName::Validation => &self.validation,
            SplitName::Test => &self.test,
        }
    }

    /// How the images were divided into the three parts.
    pub fn split_record(&self) -> SplitRecord {
        self.split_record
    }
}

/// One part of a data set: images and their labels. Cloning is cheap in pixels: they are shared.
#[derive(Clone, Debug)]
pub struct Split {
    pixels: Arc<Pixels>,
    positions: Vec<usize>,
    labels: Vec<usize>,
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Class of image `i`.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len), as indexing a slice would.
    pub fn label(&self, i: usize) -> usize {
        self.labels[i]
    }

    /// Classes of all images, in order.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Where image `i` stands in the file or listing that it was read from. A split that was carved from the training
    /// images counts in the same listing as the training split.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn position(&self, i: usize) -> usize {
        self.positions[i]
    }

    /// The file of image `i`, if the data set is a folder of image files.
    pub fn file(&self, i: usize) -> Option<&Path> {
        self.pixels.file(*self.positions.get(i)?)
    }
}
