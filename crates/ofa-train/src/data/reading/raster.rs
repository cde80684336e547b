//! Decoded images: 8-bit pixels in grey or RGB.

use std::borrow::Cow;

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

/// A decoded photo, and its size in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// The pixels.
    pub image: Raster<'static>,
    /// Width and height in the file; the image may have fewer.
    pub size: (usize, usize),
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
