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
mod class_map;
mod class_matching;
mod colour_jitter;
mod content;
mod dataset;
pub mod detect;
mod error;
mod idx;
mod image_file;
mod image_folder;
mod normalisation;
mod options;
mod pillow_resize;
mod pixels;
pub mod prefetch;
mod raster;
mod reduced_jpeg;
mod resize;
mod splitting;
pub mod stratified;
mod trained_on;

pub use augmentation::{Augmentation, Flip};
pub use class_map::ClassMap;
pub use class_matching::{ClassMatching, MatchedClasses};
pub use dataset::{Dataset, Origin, Split};
pub use detect::{DEFAULT_MEMORY_BYTES, load, load_within};
pub use error::DataError;
pub use image_file::read_image;
pub use options::{LoadOptions, OnCorrupt, SplitName, SplitRecord};
pub use trained_on::TrainedOn;
