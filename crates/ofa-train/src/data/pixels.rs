//! Decoded images, in memory or on demand.

use crate::data::DataError;
use crate::data::image_file::{self, Detail};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// One image of 8-bit pixels, rows from the top, channels interleaved (HWC); 1 or 3 channels, no side of length 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raster<'a> {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub data: Cow<'a, [u8]>,
}

impl Raster<'_> {
    /// The same image in grey or colour. Grey is `(19595 R + 38470 G + 7471 B + 2¹⁵) / 2¹⁶`, as Pillow and
    /// torchvision compute it (ITU-R 601).
    pub fn with_channels(self, channels: usize) -> Self {
        let data: Vec<u8> = match (self.channels, channels) {
            (1, 3) => self.data.iter().flat_map(|&v| [v, v, v]).collect(),
            (3, 1) => self.data.as_chunks::<3>().0.iter().map(|&pixel| luma(pixel)).collect(),
            _ => return self,
        };
        Self { channels, data: Cow::Owned(data), ..self }
    }
}

pub(crate) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_of_a_grey_colour_is_itself() {
        let grey = Raster { width: 256, height: 1, channels: 1, data: Cow::Owned((0..=255).collect()) };
        assert_eq!(grey.clone().with_channels(3).with_channels(1), grey);
    }
}
