//! A decoded image: 8-bit, interleaved channels.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

/// A decoded 8-bit image, grey or RGB, rows top to bottom, channels interleaved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pixels {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 or 3.
    pub channels: usize,
    /// `height · width · channels` values.
    pub data: Vec<u8>,
}

/// A rectangle inside an image, in pixels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Region {
    /// Left edge.
    pub left: f64,
    /// Top edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Pixels {
    /// The whole image as a region.
    pub fn whole(&self) -> Region {
        Region { left: 0.0, top: 0.0, width: self.width as f64, height: self.height as f64 }
    }

    /// A region resized to `width × height` with an antialiased bilinear filter; a region that already has that size
    /// and starts on a pixel is copied, not resampled.
    pub fn resized(&self, region: Region, width: usize, height: usize) -> Pixels {
        let aligned = region.left.fract() == 0.0 && region.top.fract() == 0.0;
        if aligned && region.width == width as f64 && region.height == height as f64 {
            return self.cropped(region.left as usize, region.top as usize, width, height);
        }
        let kind = if self.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
        let mut output = Image::new(width as u32, height as u32, kind);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(region.left, region.top, region.width, region.height);
        let resized = ImageRef::new(self.width as u32, self.height as u32, &self.data, kind)
            .map_err(|e| e.to_string())
            .and_then(|input| Resizer::new().resize(&input, &mut output, &options).map_err(|e| e.to_string()));
        if let Err(problem) = resized {
            // Sizes and types are our own; only a region outside the image could get here.
            unreachable!("cannot resize {}×{}: {problem}", self.width, self.height);
        }
        Pixels { width, height, channels: self.channels, data: output.into_vec() }
    }

    fn cropped(&self, left: usize, top: usize, width: usize, height: usize) -> Pixels {
        if width == self.width && height == self.height {
            return self.clone();
        }
        let mut data = Vec::with_capacity(width * height * self.channels);
        for row in top..top + height {
            let start = (row * self.width + left) * self.channels;
            data.extend_from_slice(&self.data[start..start + width * self.channels]);
        }
        Pixels { width, height, channels: self.channels, data }
    }

    /// The image moved by whole pixels, with black where nothing is left.
    pub fn shifted(&self, right: isize, down: isize) -> Pixels {
        let mut data = vec![0; self.data.len()];
        for row in 0..self.height {
            let Some(from_row) = row.checked_add_signed(-down).filter(|r| *r < self.height) else { continue };
            for column in 0..self.width {
                let Some(from) = column.checked_add_signed(-right).filter(|c| *c < self.width) else { continue };
                let (into, from) =
                    ((row * self.width + column) * self.channels, (from_row * self.width + from) * self.channels);
                data[into..into + self.channels].copy_from_slice(&self.data[from..from + self.channels]);
            }
        }
        Pixels { data, ..*self }
    }

    /// The mirror image, left to right.
    pub fn flipped(&self) -> Pixels {
        let mut data = Vec::with_capacity(self.data.len());
        for row in self.data.chunks_exact(self.width * self.channels) {
            for pixel in row.chunks_exact(self.channels).rev() {
                data.extend_from_slice(pixel);
            }
        }
        Pixels { data, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Pixels {
        Pixels { width: 3, height: 2, channels: 1, data: vec![1, 2, 3, 4, 5, 6] }
    }

    #[test]
    fn shifts_fill_with_black() {
        assert_eq!(ramp().shifted(1, 0).data, [0, 1, 2, 0, 4, 5]);
        assert_eq!(ramp().shifted(0, -1).data, [4, 5, 6, 0, 0, 0]);
        assert_eq!(ramp().shifted(9, 9).data, [0; 6]);
    }

    #[test]
    fn flips_and_crops() {
        assert_eq!(ramp().flipped().data, [3, 2, 1, 6, 5, 4]);
        let region = Region { left: 1.0, top: 0.0, width: 2.0, height: 2.0 };
        assert_eq!(ramp().resized(region, 2, 2).data, [2, 3, 5, 6]);
        assert_eq!(ramp().resized(ramp().whole(), 3, 2), ramp());
    }

    #[test]
    fn resizing_keeps_a_constant_image() {
        let grey = Pixels { width: 7, height: 5, channels: 3, data: vec![77; 105] };
        assert!(grey.resized(grey.whole(), 4, 4).data.iter().all(|v| *v == 77));
    }
}
