//! The images of a data set, in memory or decoded on demand.

use crate::data::error::DataError;
use crate::data::reading::image_file::{self, Detail};
use crate::data::reading::raster::Raster;
use ofa_space::digest;
use ofa_space::file_digest::FileDigest;
use std::borrow::Cow;
use std::sync::Arc;

/// The images of a file or of a listing of files, all with the same number of channels.
#[derive(Clone, Debug)]
pub(crate) struct Pixels {
    /// How they are kept.
    pub store: Store,
    /// The file of each with the digest of its bytes, if each is a file.
    pub files: Vec<FileDigest>,
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
    /// Several lots one after the other, each with its number of images.
    Joined(Vec<(Arc<Pixels>, usize)>),
}

impl Pixels {
    /// Whether reading an image costs nothing.
    pub fn in_memory(&self) -> bool {
        match &self.store {
            Store::OnDemand { .. } => false,
            Store::Joined(lots) => lots.iter().all(|(lot, _)| lot.in_memory()),
            Store::Fixed { .. } | Store::Decoded(_) => true,
        }
    }

    /// Width and height, if all images are of one size.
    pub fn fixed_size(&self) -> Option<(usize, usize)> {
        match &self.store {
            Store::Fixed { width, height, .. } => Some((*width, *height)),
            Store::Decoded(_) | Store::OnDemand { .. } | Store::Joined(_) => None,
        }
    }

    /// The longer side of the largest image as it is kept, pixels; of images on demand, the side that they are reduced to.
    pub fn longest_side(&self) -> usize {
        match &self.store {
            Store::Fixed { width, height, .. } => *width.max(height),
            Store::Decoded(images) => images.iter().map(|image| image.width.max(image.height)).max().unwrap_or(0),
            Store::OnDemand { shorter_side, .. } => *shorter_side,
            Store::Joined(lots) => lots.iter().map(|(lot, _)| lot.longest_side()).max().unwrap_or(0),
        }
    }

    /// The file of image number `position`, if each image is a file.
    pub fn file(&self, position: usize) -> Option<&FileDigest> {
        match &self.store {
            Store::Joined(lots) => located(lots, position).and_then(|(lot, inner)| lot.file(inner)),
            _ => self.files.get(position),
        }
    }

    /// A digest of image number `position`: of its file's bytes, or of its pixels where many images are in one file.
    pub fn sha256(&self, position: usize) -> Result<String, DataError> {
        match self.file(position) {
            Some(file) => Ok(file.sha256.clone()),
            None => Ok(digest::sha256(&self.image(position)?.data)),
        }
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
                let path = &self.files[position].path;
                Ok(image_file::decode_reduced(path, *shorter_side, *detail)?.image.with_channels(*channels))
            }
            Store::Joined(lots) => match located(lots, position) {
                Some((lot, inner)) => lot.image(inner),
                None => Err(DataError::Request {
                    what: "the image",
                    found: position.to_string(),
                    expected: "one that exists".into(),
                }),
            },
        }
    }
}

/// The lot that holds image number `position` of all lots, and its number there.
fn located(lots: &[(Arc<Pixels>, usize)], mut position: usize) -> Option<(&Pixels, usize)> {
    for (lot, count) in lots {
        if position < *count {
            return Some((lot, position));
        }
        position -= count;
    }
    None
}
