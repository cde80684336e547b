//! Bringing 8-bit images to a resolution: for evaluation to the pixels that Pillow makes ([`pillow_resize`]), for training with a
//! faster bilinear filter with antialiasing, which may round differently by a grey level.

use crate::data::augmentation::{Orientation, Variation};
use crate::data::pillow_resize;
use crate::data::reading::raster::Raster;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use ofa_space::Resize;
use std::borrow::Cow;

/// Buffers and coefficients that a thread uses again for each image.
#[derive(Default)]
pub(crate) struct Scratch {
    resizer: Resizer,
    resized: Vec<u8>,
    prepared: Vec<u8>,
}

/// Pixels of an image between resizing and cropping.
const MOST_PIXELS: usize = 1 << 27;

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rectangle {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// `resolution` × `resolution` pixels of an image, still 8-bit, as evaluation sees it.
pub(crate) fn for_evaluation<'a>(
    image: &'a Raster<'_>,
    resize: Resize,
    resolution: usize,
    scratch: &'a mut Scratch,
) -> Result<&'a [u8], String> {
    match resize {
        Resize::Stretch => Ok(scratch.resized_as_pillow(image, (resolution, resolution))),
        Resize::CenterCrop { numerator, denominator } => {
            let shorter = scaled_side(resolution, numerator, denominator);
            let (width, height) = with_shorter_side(image, shorter);
            if width.saturating_mul(height) > MOST_PIXELS {
                let (from, to) = (format!("{} × {}", image.width, image.height), format!("{width} × {height}"));
                return Err(format!("its centre of {resolution} pixels is cut out of {to}, made of {from} pixels"));
            }
            scratch.resized_as_pillow(image, (width, height));
            let left = half_to_even(width - resolution);
            let top = half_to_even(height - resolution);
            let Scratch { resized, prepared, .. } = scratch;
            let source: &[u8] = if (width, height) == (image.width, image.height) { &image.data } else { resized };
            let channels = image.channels;
            prepared.clear();
            for row in top..top + resolution {
                let start = (row * width + left) * channels;
                prepared.extend_from_slice(&source[start..start + resolution * channels]);
            }
            Ok(prepared)
        }
    }
}

/// `resolution` × `resolution` pixels of a varied image, still 8-bit. Mirroring is left to the caller.
pub(crate) fn for_training<'a>(
    image: &'a Raster<'_>,
    variation: Variation,
    resolution: usize,
    scratch: &'a mut Scratch,
) -> Result<(&'a [u8], Orientation), String> {
    match variation {
        Variation::Shift { right: 0, down: 0, orientation } => {
            Ok((scratch.resized(image, (resolution, resolution), None)?, orientation))
        }
        Variation::Shift { right, down, orientation } => {
            let mut moved = std::mem::take(&mut scratch.prepared);
            shift(image, right as isize, down as isize, &mut moved);
            let raster = Raster { data: Cow::Borrowed(&moved[..]), ..*image };
            let unchanged = (image.width, image.height) == (resolution, resolution);
            scratch.resized(&raster, (resolution, resolution), None)?;
            scratch.prepared = moved;
            Ok((if unchanged { &scratch.prepared } else { &scratch.resized }, orientation))
        }
        Variation::Crop { left, top, width, height, orientation } => {
            let rectangle = Rectangle { left, top, width, height };
            Ok((scratch.resized(image, (resolution, resolution), Some(rectangle))?, orientation))
        }
    }
}

/// The image with its shorter side reduced to `shorter` pixels; one that is not larger stays as it is.
pub(crate) fn reduced<'a>(image: Raster<'a>, shorter: usize, scratch: &mut Scratch) -> Result<Raster<'a>, String> {
    if image.width.min(image.height) <= shorter {
        return Ok(image);
    }
    let (width, height) = with_shorter_side(&image, shorter);
    let data = scratch.resized_as_pillow(&image, (width, height)).to_vec();
    Ok(Raster { width, height, channels: image.channels, data: Cow::Owned(data) })
}

/// `int(resolution · numerator / denominator)`, but never less than the crop that is taken from it.
pub(crate) fn scaled_side(resolution: usize, numerator: u32, denominator: u32) -> usize {
    let scaled = resolution as u64 * u64::from(numerator) / u64::from(denominator.max(1));
    resolution.max(scaled as usize)
}

/// Width and height with the shorter side as given and the longer one `int(shorter · long / short)`.
fn with_shorter_side(image: &Raster<'_>, shorter: usize) -> (usize, usize) {
    let (width, height) = (image.width, image.height);
    match width <= height {
        true => (shorter, shorter * height / width.max(1)),
        false => (shorter * width / height.max(1), shorter),
    }
}

/// Half of an even margin, or the even one of the two halves of an odd margin, as Python's `round` gives it.
fn half_to_even(margin: usize) -> usize {
    let half = margin / 2;
    half + (margin % 2) * (half % 2)
}

/// Moves an image, black coming in.
fn shift(image: &Raster<'_>, right: isize, down: isize, into: &mut Vec<u8>) {
    let row_bytes = image.width * image.channels;
    into.clear();
    into.resize(image.height * row_bytes, 0);
    let bytes = right.unsigned_abs().min(image.width) * image.channels;
    for (y, row) in into.chunks_exact_mut(row_bytes).enumerate() {
        let Some(from) = y.checked_add_signed(-down).filter(|&from| from < image.height) else { continue };
        let source = &image.data[from * row_bytes..(from + 1) * row_bytes];
        if right >= 0 {
            row[bytes..].copy_from_slice(&source[..row_bytes - bytes]);
        } else {
            row[..row_bytes - bytes].copy_from_slice(&source[bytes..]);
        }
    }
}

impl Scratch {
    /// The image at another size, as Pillow makes it; the image's own pixels where nothing is to be done.
    fn resized_as_pillow<'a>(&'a mut self, image: &'a Raster<'_>, size: (usize, usize)) -> &'a [u8] {
        if size == (image.width, image.height) {
            return &image.data;
        }
        pillow_resize::resize(&image.data, (image.width, image.height), size, image.channels, &mut self.resized);
        &self.resized
    }

    /// The image, or a part of it, at another size; the image's own pixels where nothing is to be done.
    fn resized<'a>(
        &'a mut self,
        image: &'a Raster<'_>,
        (width, height): (usize, usize),
        part: Option<Rectangle>,
    ) -> Result<&'a [u8], String> {
        if part.is_none() && (width, height) == (image.width, image.height) {
            return Ok(&image.data);
        }
        let pixel = match image.channels {
            1 => PixelType::U8,
            3 => PixelType::U8x3,
            other => return Err(format!("{other} channels")),
        };
        self.resized.clear();
        self.resized.resize(width * height * image.channels, 0);
        let source = ImageRef::new(image.width as u32, image.height as u32, &image.data, pixel)
            .map_err(|error| error.to_string())?;
        let mut target = Image::from_slice_u8(width as u32, height as u32, &mut self.resized, pixel)
            .map_err(|error| error.to_string())?;
        let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        if let Some(part) = part {
            options = options.crop(part.left, part.top, part.width, part.height);
        }
        self.resizer.resize(&source, &mut target, &options).map_err(|error| error.to_string())?;
        Ok(&self.resized)
    }
}
