//! How a data set is loaded and divided.

use std::fmt;

/// How a data set is loaded.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `seed` | 0 | which images are set apart for validation | any |
/// | `max_resolution` | 224 | the largest resolution that will be used; photos are kept no larger than it needs | ≥ 1 |
/// | `validation` | 2,000 | images set apart from the training data; at most a fifth of each class is | 0 = none |
/// | `on_corrupt` | error | what to do about images that cannot be decoded | |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Seed of the validation split.
    pub seed: u64,
    /// Largest resolution that will be used, pixels.
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
    /// Leave them out, list them in [`Dataset::skipped`](super::Dataset::skipped) and report their number in its
    /// [`split_note`](super::Dataset::split_note).
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

/// How the images of a data set are divided into training, validation and test images.
///
/// Two loads of the same data set with equal records have the same images in each part. A model file keeps the record
/// of the data that its network was trained on (metadata keys `split_seed` and `validation_images`), so that images it
/// learnt from are never mistaken for validation or test images.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SplitRecord {
    /// Seed of the validation split.
    pub seed: u64,
    /// Images asked for as validation images. Fewer are set apart where this is more than a fifth of each class.
    pub validation_images: usize,
}

impl Default for SplitRecord {
    /// The split of [`LoadOptions::default`].
    fn default() -> Self {
        Self::from(&LoadOptions::default())
    }
}

impl From<&LoadOptions> for SplitRecord {
    fn from(options: &LoadOptions) -> Self {
        Self { seed: options.seed, validation_images: options.validation }
    }
}
