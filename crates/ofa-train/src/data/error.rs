//! What can be wrong with a data set.

use crate::data::options::{SplitName, SplitRecord};
use std::path::{Path, PathBuf};

/// Why a data set or an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason given by the system.
        source: std::io::Error,
    },
    /// A file or folder does not hold what its layout promises.
    #[error("{}: {problem}; expected {expected}: {remedy}", path.display())]
    Malformed {
        /// The file or folder.
        path: PathBuf,
        /// What was found.
        problem: String,
        /// What should be there.
        expected: String,
        /// What to do.
        remedy: &'static str,
    },
    /// An image file that cannot be decoded.
    #[error("{}: {problem}; expected {expected}: repair or remove the file, or skip such files", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
        /// What should be there.
        expected: &'static str,
    },
    /// No known layout was found.
    #[error(
        "{}: no data set found here. Looked for {looked_for}. Give `bundled`, or a folder in one of these layouts",
        path.display()
    )]
    NotFound {
        /// The folder.
        path: PathBuf,
        /// Every layout that was tried.
        looked_for: &'static str,
    },
    /// A part of a data set that is needed has no images.
    #[error(
        "{dataset}: there are no {split} images ({note}): add images (a class needs two to have a validation image and          three to have a test image as well), or a folder of them"
    )]
    NoImages {
        /// Name of the data set.
        dataset: String,
        /// The part.
        split: SplitName,
        /// How the images are divided.
        note: String,
    },
    /// A request for an image that does not exist.
    #[error("image {index} of the {split} split was requested, but the split has {len} images (numbered from 0)")]
    OutOfRange {
        /// The split.
        split: SplitName,
        /// The number requested.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// A request that does not fit the data: resolution 0, a normalisation for another number of channels.
    #[error("{what} is {found}; expected {expected}")]
    Request {
        /// The parameter.
        what: &'static str,
        /// Its value.
        found: String,
        /// What would fit.
        expected: String,
    },
    /// A data set with another number of classes than the network.
    #[error("the network has {expected} classes, {dataset} has {found}")]
    Classes {
        /// Name of the data set.
        dataset: String,
        /// Classes of the network.
        expected: usize,
        /// Classes of the data set.
        found: usize,
    },
    /// A data set with a class that the network does not have.
    #[error(
        "{dataset} has a class `{class}`{}, which the network does not have; its nearest class is `{nearest}`: rename the \
         class, or map it to one of the network's",
        also(*more)
    )]
    UnknownClass {
        /// Name of the data set.
        dataset: String,
        /// The class.
        class: String,
        /// The network's class with the most similar name.
        nearest: String,
        /// Further classes that the network does not have.
        more: usize,
    },
    /// Classes whose names are so similar that it is open which is which.
    #[error(
        "{theirs} of {dataset} could be {ours} of the network, by names without regard to case, spaces and Unicode \
         normalisation: rename or map them, so that each class has one name"
    )]
    AmbiguousClasses {
        /// Name of the data set.
        dataset: String,
        /// Its classes.
        theirs: String,
        /// The network's.
        ours: String,
    },
    /// A data set whose classes are not the network's, or not in their order.
    #[error(
        "class {position} of {dataset} is `{found}`, that of the network `{expected}`. Load the data with \
         `TrainedOn::load`, which gives them the network's classes"
    )]
    OtherClasses {
        /// Name of the data set.
        dataset: String,
        /// The first class that differs.
        position: usize,
        /// The network's.
        expected: String,
        /// The data set's.
        found: String,
    },
    /// A map of classes with a line that cannot be followed.
    #[error("{}: line {line} {problem}; expected two fields, `theirs,ours`", path.display())]
    ClassMap {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A data set divided differently from the one that the network was trained on: some of its validation or test
    /// images may be training images of the network.
    #[error(
        "{dataset} is divided by {} with seed {} and {} validation images, but the network was trained on a division by {} \
         with seed {} and {}: its training images would count as validation images. Load the data with `TrainedOn::load`",
        found.rule.name(), found.seed, found.validation_images,
        trained.rule.name(), trained.seed, trained.validation_images
    )]
    OtherSplit {
        /// Name of the data set.
        dataset: String,
        /// The division that the network was trained with.
        trained: SplitRecord,
        /// The division of the data set.
        found: SplitRecord,
    },
    /// A data set whose images are normalised or resized differently from what the network expects.
    #[error(
        "the images of {dataset} are normalised or resized differently from the network's input format. Load the data \
         with `TrainedOn::load`, or set `Dataset::input` to the model's"
    )]
    OtherInput {
        /// Name of the data set.
        dataset: String,
    },
}

/// Words for more of the same kind.
fn also(more: usize) -> String {
    match more {
        0 => String::new(),
        _ => format!(" and {more} more"),
    }
}

impl DataError {
    /// For `map_err` on file operations.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }

    /// An image file that cannot be decoded.
    pub(crate) fn undecodable(path: &Path, problem: String, expected: &'static str) -> Self {
        Self::Undecodable { path: path.to_owned(), problem, expected }
    }

    /// An image that the resizer refused.
    pub(crate) fn cannot_resize(path: &Path, problem: String) -> Self {
        Self::undecodable(path, format!("cannot be resized ({problem})"), "grey or RGB pixels")
    }

    /// A file or folder that does not hold what was expected.
    pub(crate) fn malformed(
        path: &Path,
        problem: impl Into<String>,
        expected: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self::Malformed { path: path.to_owned(), problem: problem.into(), expected: expected.into(), remedy }
    }
}
