//! A loaded data set in three parts.

use crate::data::error::DataError;
use crate::data::options::{SplitName, SplitRecord};
use crate::data::reading::kinds::Skipped;
use crate::data::reading::pixels::Pixels;
use ofa_space::InputFormat;
use ofa_space::file_digest::FileDigest;
use std::path::Path;
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
    /// Width and height of the smallest and of the largest image in the files, pixels, upright; of images that are decoded
    /// at each use, among some of them.
    pub sizes: Option<[(usize, usize); 2]>,
    /// Normalisation, computed from the training split, and how images reach a resolution. Put a model's own format
    /// here to make the batches that it was trained with; images follow its number of channels.
    pub input: InputFormat,
    /// How the splits were made, for the user.
    pub split_note: String,
    /// What may have gone otherwise than the user meant, one sentence each.
    pub warnings: Vec<String>,
    /// Files in the folder that are not among the images.
    pub skipped: Vec<Skipped>,
    /// Where the images come from.
    pub origin: Origin,
    /// Images that are in none of the three parts: validation images beyond the number that was asked for.
    pub(super) unscored: Split,
    /// Images that were dropped as duplicates.
    pub(super) dropped: Split,
    pub(super) all: Split,
    pub(super) split_record: SplitRecord,
    /// Resolution that decoded photos were kept for, pixels.
    pub(super) kept_for: u32,
    /// Whether the division depends on the rule of the record.
    pub(super) is_carved: bool,
}

impl Dataset {
    /// One part of the data.
    pub fn split(&self, name: SplitName) -> &Split {
        match name {
            SplitName::Train => &self.train,
            SplitName::Validation => &self.validation,
            SplitName::Test => &self.test,
            SplitName::All => &self.all,
        }
    }

    /// An error if a part that is needed has no images.
    ///
    /// # Errors
    /// [`DataError::NoImages`].
    pub fn require(&self, name: SplitName) -> Result<(), DataError> {
        match self.split(name).is_empty() {
            false => Ok(()),
            true => Err(self.no_images(name)),
        }
    }

    /// The error for a part without images.
    pub(crate) fn no_images(&self, split: SplitName) -> DataError {
        DataError::NoImages { dataset: self.name.clone(), split, note: self.split_note.clone() }
    }

    /// What a user should know before the images are used, a line each: how they are divided, warnings, and what is not
    /// read; with `details`, every file that is not.
    pub fn remarks(&self, details: bool) -> Vec<String> {
        let mut lines = vec![format!("{}: {}", self.name, self.split_note)];
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        if !self.skipped.is_empty() {
            lines.push(format!("not read: {}", Skipped::in_words(&self.skipped)));
        }
        if details {
            lines.extend(self.skipped.iter().map(|file| format!("  {}: {}", file.path.display(), file.kind)));
        }
        lines
    }

    /// Every image file that was read, with the digest of its bytes; none if the images are not files of their own.
    pub fn files(&self) -> impl Iterator<Item = &FileDigest> {
        self.all.positions.iter().filter_map(|position| self.all.pixels.file(*position))
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
        self.file_digest(i).map(|digest| digest.path.as_path())
    }

    /// The digest of the file of image `i`, if the data set is a folder of image files.
    pub fn file_digest(&self, i: usize) -> Option<&FileDigest> {
        self.pixels.file(*self.positions.get(i)?)
    }
}
