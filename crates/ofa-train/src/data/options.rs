//! How a data set is loaded and divided.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a data set is loaded.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `seed` | 0 | which images are set apart for validation | any |
/// | `max_resolution` | 224 | the largest resolution that will be used; photos are kept no larger than it needs | ≥ 1 |
/// | `validation` | 2,000 | validation images: of a folder, how many of them are scored; of CIFAR and IDX sets, how many are set apart | 0 = none |
/// | `on_corrupt` | error | what to do about images that cannot be decoded | |
/// | `rule` | content | how a folder without given parts is divided | |
/// | `drop_duplicates` | no | leave images out of training that are validation or test images too | |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Seed of the validation split.
    pub seed: u64,
    /// Largest resolution that will be used, pixels.
    pub max_resolution: u32,
    /// Validation images.
    pub validation: usize,
    /// What to do about images that cannot be decoded.
    pub on_corrupt: OnCorrupt,
    /// How a folder is divided where its parts are not given.
    pub rule: SplitRule,
    /// Whether images with the bytes of a validation or test image are left out of training, and those with the bytes of
    /// a test image out of validation.
    pub drop_duplicates: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            max_resolution: 224,
            validation: 2000,
            on_corrupt: OnCorrupt::Error,
            rule: SplitRule::Content,
            drop_duplicates: false,
        }
    }
}

/// What to do about images that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCorrupt {
    /// Stop with an error that names the file.
    #[default]
    Error,
    /// Leave them out, list them in [`Dataset::skipped`](super::Dataset::skipped) and report their number in its
    /// [`split_note`](super::Dataset::split_note).
    Skip,
}

impl OnCorrupt {
    /// Whether it is the default.
    pub fn is_error(&self) -> bool {
        *self == Self::Error
    }
}

/// How the images of a folder are divided where the folder itself does not tell training, validation and test images
/// apart. CIFAR binaries, IDX sets and the bundled digits are always divided by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SplitRule {
    /// By position in the listing of files, as networks without this record were trained: an added or renamed file
    /// divides all images anew.
    Position,
    /// By the SHA-256 of each file's bytes: an image stays where it is when others come or go.
    #[default]
    Content,
}

impl SplitRule {
    /// Its name in model files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::Content => "content",
        }
    }
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
    /// Every image of the data set, for networks that were trained on another one.
    All,
}

impl fmt::Display for SplitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::All => "all",
        })
    }
}

/// How the images of a data set are divided into training, validation and test images.
///
/// Two loads of the same data set with equal records have the same images in each part. A model file keeps the record
/// of the data that its network was trained on (metadata keys `split_seed`, `validation_images`, `split_rule` and
/// `duplicates`), so that images it learnt from are never mistaken for validation or test images.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SplitRecord {
    /// Seed of the validation split.
    pub seed: u64,
    /// Images asked for as validation images.
    pub validation_images: usize,
    /// How a folder was divided. Data sets that are always divided by position, and models of before this record, have
    /// [`SplitRule::Position`].
    pub rule: SplitRule,
    /// Whether images of more than one part were dropped.
    pub drop_duplicates: bool,
}

impl Default for SplitRecord {
    /// The split of [`LoadOptions::default`].
    fn default() -> Self {
        Self::from(&LoadOptions::default())
    }
}

impl From<&LoadOptions> for SplitRecord {
    fn from(options: &LoadOptions) -> Self {
        Self {
            seed: options.seed,
            validation_images: options.validation,
            rule: options.rule,
            drop_duplicates: options.drop_duplicates,
        }
    }
}
