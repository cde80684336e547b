//! Image data sets: found, checked, split, kept in memory, and turned into batches.
//!
//! [`load`] accepts `bundled` (a part of MNIST inside the program) or a folder and detects its layout ([`detect`]).
//! The three splits of a [`Dataset`] never share an image: networks learn from `train`, and batch norm is
//! recalibrated on it; accuracy pairs for predictors come from `validation`, which is taken out of the training data;
//! `test` is for final figures. Folders that are not divided are divided by the content of their files ([`SplitRule`]).
//! Batches ([`batches`]) depend on seed, epoch and image number only, never on the
//! number of threads.

pub mod augmentation;
pub mod batches;
mod bundled;
mod cifar;
mod class_map;
mod class_matching;
mod colour_jitter;
mod content;
mod dataset;
pub mod detect;
mod error;
mod folders;
mod idx;
mod normalisation;
mod options;
mod pillow_resize;
pub mod prefetch;
mod reading;
mod resize;
mod splitting;
pub mod stratified;
mod trained_on;

pub use augmentation::{Augmentation, Flip};
pub use class_map::ClassMap;
pub use class_matching::{ClassMatching, MatchedClasses};
pub use dataset::{Dataset, Origin, Split};
pub use detect::{DEFAULT_MEMORY_BYTES, load, load_known, load_within};
pub use error::DataError;
pub use folders::image_files;
pub use options::{LoadOptions, OnCorrupt, SplitName, SplitRecord, SplitRule};
pub use reading::image_file::read_image;
pub use reading::kinds::Skipped;
pub use splitting::duplicates::Duplicates;
pub use splitting::split_file::SPLIT_TABLE;
pub use trained_on::TrainedOn;
