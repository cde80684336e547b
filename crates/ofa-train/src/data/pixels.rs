//! The images of a data set, in memory or decoded on demand.

use crate::data::error::DataError;
use crate::data::image_file::{self, Detail};
use crate::data::raster::Raster;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The images of a file or of a listing of files, all with the same number of channels.
#[derive(Clone, Debug)]
pub(crate) struct Pixels {
    /// How they are kept.
    pub store: Store,
    /// The file of each, if each is a file.
    pub files: Vec<PathBuf>,
}

/// How images are kept.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// All of one size, one after the other.
    Fixed { width: usize, height: usize, channels: usize, data: Vec<u8> },
    /// Of different sizes.
    Decoded(Vec<Raster<'static>>),
    /// Decoded from their files at each use and reduced to this shorter side.
    OnDemand { channels: usize, shorter_side: usize, detail: Detail },
}

impl Pixels {
    /// Whether reading an image costs nothing.
    pub fn in_memory(&self) -> bool {
        !matches!(self.store, Store::OnDemand { .. })
    }

    /// The longer side of the largest image as it is kept, pixels; of images on demand, the side that they are reduced to.
    pub fn longest_side(&self) -> usize {
        match &self.store {
            Store::Fixed { width, height, .. } => *width.max(height),
            Store::Decoded(images) => images.iter().map(|image| image.width.max(image.height)).max().unwrap_or(0),
            Store::OnDemand { shorter_side, .. } => *shorter_side,
        }
    }

    /// The file of image number `position`, if each image is a file.
    pub fn file(&self, position: usize) -> Option<&Path> {
        self.files.get(position).map(PathBuf::as_path)
    }

    /// Image number `position`, which must exist.
    pub fn image(&self, position: usize) -> Result<Raster<'_>, DataError> {
        match &self.store {
            &Store::Fixed { width, height, channels, ref data } => {
                let size = width * height * channels;
                let data = Cow::Borrowed(&data[position * size..(position + 1) * size]);
                Ok(Raster { width, height, channels, data })
            }
            Store::Decoded(images) => {
                let Raster { width, height, channels, data } = &images[position];
                Ok(Raster { width: *width, height: *height, channels: *channels, data: Cow::Borrowed(data) })
            }
            Store::OnDemand { channels, shorter_side, detail } => {
                let path = &self.files[position];
                Ok(image_file::decode_reduced(path, *shorter_side, *detail)?.image.with_channels(*channels))
            }
        }
    }
}
