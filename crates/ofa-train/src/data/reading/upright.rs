//! Turning images as their EXIF data require, so that networks see them as people do.

use crate::data::reading::raster::Raster;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use std::borrow::Cow;

/// The image turned upright.
pub(super) fn upright(raster: Raster<'static>, orientation: Orientation) -> Raster<'static> {
    if orientation == Orientation::NoTransforms {
        return raster;
    }
    let (width, height, channels) = (raster.width as u32, raster.height as u32, raster.channels);
    let data = raster.data.into_owned();
    let image = match channels {
        1 => GrayImage::from_raw(width, height, data).map(DynamicImage::ImageLuma8),
        _ => RgbImage::from_raw(width, height, data).map(DynamicImage::ImageRgb8),
    };
    // A raster's pixels fill its size.
    let mut image = image.unwrap_or_default();
    image.apply_orientation(orientation);
    let (width, height) = (image.width() as usize, image.height() as usize);
    Raster { width, height, channels, data: Cow::Owned(image.into_bytes()) }
}

/// Whether width and height change places.
pub(super) fn exchanges_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}
