//! JPEGs at a half, a quarter or an eighth of their size, by a smaller inverse cosine transform.
//!
//! A block of 8 × 8 pixels is stored as frequencies; the lowest 4 × 4, 2 × 2 or 1 × 1 of them give the block at a smaller
//! size at once. What stays is the cost of unpacking the frequencies: a photo of 12 megapixels is decoded nearly twice as
//! fast, and takes a fraction of the memory.

use crate::data::reading::raster::{Decoded, Raster};
use crate::data::reading::upright::{exchanges_sides, upright};
use image::metadata::Orientation;
use jpeg_decoder::{Decoder, PixelFormat};
use std::borrow::Cow;

/// The image limit of the `image` crate, for a damaged header.
const MAX_BYTES: usize = 512 << 20;

/// The smallest size whose shorter side has `shorter` pixels. `None` if that is the full size, if the image is neither
/// grey nor RGB of 8 bits, or if something is wrong: then the decoder for full sizes has the word.
pub(crate) fn decode(bytes: &[u8], shorter: usize) -> Option<Decoded> {
    decode_at(bytes, |_| shorter)
}

/// An image whose pixels take more memory than the decoder for full sizes may use, at the largest size that fits. `None`
/// if it is not too large.
pub(crate) fn decode_oversized(bytes: &[u8]) -> Option<Decoded> {
    decode_at(bytes, |(width, height, channels)| {
        let (mut shorter, mut size) = (width.min(height), width * height * channels);
        while size > MAX_BYTES {
            (shorter, size) = (shorter / 2, size / 4);
        }
        shorter
    })
}

/// The smallest size whose shorter side has the pixels that `shorter` asks for, given width, height and channels.
fn decode_at(bytes: &[u8], shorter: impl FnOnce((usize, usize, usize)) -> usize) -> Option<Decoded> {
    let mut decoder = Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(MAX_BYTES);
    decoder.read_info().ok()?;
    let info = decoder.info()?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    let channels = match info.pixel_format {
        PixelFormat::L8 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::L16 | PixelFormat::CMYK32 => return None,
    };
    let shorter = shorter((width, height, channels));
    if width.min(height).div_ceil(2) < shorter {
        return None;
    }
    let wanted = u16::try_from(shorter).ok()?;
    // The decoder is content with one side that is long enough: let it look at the shorter one only.
    let wanted = if width <= height { (wanted, u16::MAX) } else { (u16::MAX, wanted) };
    let (reduced_width, reduced_height) = decoder.scale(wanted.0, wanted.1).ok()?;
    let data = decoder.decode().ok()?;
    let (reduced_width, reduced_height) = (usize::from(reduced_width), usize::from(reduced_height));
    if reduced_width == 0 || reduced_height == 0 || data.len() != reduced_width * reduced_height * channels {
        return None;
    }
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let image = Raster { width: reduced_width, height: reduced_height, channels, data: Cow::Owned(data) };
    let image = upright(image, orientation);
    let size = if exchanges_sides(orientation) { (height, width) } else { (width, height) };
    Some(Decoded { image, size })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{DynamicImage, Rgb, RgbImage};

    fn photo(width: u32, height: u32) -> DynamicImage {
        DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, ((x + y) * 255 / (width + height)) as u8])
        }))
    }

    fn jpeg(image: &DynamicImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 95)).unwrap();
        bytes
    }

    #[test]
    fn reduced_photos_are_the_photos_reduced() {
        for (image, channels) in [(photo(224, 300), 3), (DynamicImage::ImageLuma8(photo(224, 300).into_luma8()), 1)] {
            let bytes = jpeg(&image);
            for (shorter, size) in [(109, (112, 150)), (57, (112, 150)), (56, (56, 75)), (20, (28, 38)), (5, (28, 38))]
            {
                let Decoded { image: reduced, size: original } = decode(&bytes, shorter).unwrap();
                assert_eq!(((reduced.width, reduced.height), original, reduced.channels), (size, (224, 300), channels));
                let expected = image.resize_exact(size.0 as u32, size.1 as u32, image::imageops::FilterType::Triangle);
                let differences = expected.as_bytes().iter().zip(&*reduced.data).map(|(a, b)| a.abs_diff(*b));
                let mean = differences.map(f64::from).sum::<f64>() / reduced.data.len() as f64;
                assert!(mean < 2.0, "{channels} channels, {size:?}: {mean} grey levels on average");
            }
        }
    }

    #[test]
    fn the_shorter_side_decides_whichever_it_is() {
        for (width, height) in [(224, 300), (300, 224), (2000, 224), (224, 2000)] {
            let reduced = decode(&jpeg(&photo(width, height)), 57).unwrap().image;
            assert_eq!(reduced.width.min(reduced.height), 112, "{width} × {height}");
        }
    }

    #[test]
    fn a_size_that_would_be_too_small_is_refused() {
        let bytes = jpeg(&photo(224, 300));
        assert_eq!(decode(&bytes, 113), None);
        assert_eq!(decode(&bytes[..40], 20), None);
        assert_eq!(decode(b"not a JPEG", 20), None);
    }
}
