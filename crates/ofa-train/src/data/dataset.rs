//! A loaded data set in three parts.

use crate::data::options::{SplitName, SplitRecord};
use crate::data::pixels::Pixels;
use ofa_space::InputFormat;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    pub(super) split_record: SplitRecord,
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

    /// The longer side of the largest training image, pixels; of photos that are kept reduced, as they are kept.
    pub fn longest_side(&self) -> usize {
        self.train.pixels.longest_side()
    }

    /// How the images were divided into the three parts.
    pub fn split_record(&self) -> SplitRecord {
        self.split_record
    }
}

/// One part of a data set: images and their labels. Cloning is cheap in pixels: they are shared.
#[derive(Clone, Debug)]
pub struct Split {
    pub(super) pixels: Arc<Pixels>,
    pub(super) positions: Vec<usize>,
    pub(super) labels: Vec<usize>,
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

    /// Position of image `i` in the file or listing that it was read from. A split that was carved from the training
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
