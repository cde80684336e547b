//! One image file: decoded with care, turned upright, and brought to a network's input.
//!
//! The format of a file is recognised by its content, not by its name. The orientation in EXIF data is applied: cameras and
//! phones store photos as the sensor lies and note how to turn them.

use crate::data::error::DataError;
use crate::data::normalisation::{Normaliser, check_resolution};
use crate::data::reading::raster::{Decoded, Raster};
use crate::data::reading::reduced_jpeg;
use crate::data::reading::upright::upright;
use crate::data::resize::{self, Scratch};
use crate::images::Images;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, ImageResult, Limits};
use ofa_space::{InputFormat, input_file};
use std::borrow::Cow;
use std::fs::{self, Metadata};
use std::io::Cursor;
use std::path::Path;

/// Images of one size whose sides are no longer than this are no photos, but a set like CIFAR stored as files.
const SMALL_SIDE: usize = 128;
/// No photo in use is larger; a file that is was not meant as one.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// What an image file must be, for messages.
const EXPECTED: &str = "a whole JPEG, PNG, WebP, BMP, GIF or TIFF image";

/// Reads one image file into a batch of one, `[1, resolution, resolution, channels]`, preprocessed as the
/// model's `input` requires.
///
/// # Errors
/// [`DataError`] naming the file if it cannot be read or decoded, [`DataError::Request`] if `input` is not for
/// `channels` channels or the resolution is 0.
pub fn read_image(path: &Path, input: &InputFormat, channels: usize, resolution: u32) -> Result<Images, DataError> {
    check_resolution(resolution)?;
    let normaliser = Normaliser::new(input)?;
    if normaliser.channels() != channels {
        let found = format!("for {} channels", normaliser.channels());
        return Err(DataError::Request { what: "the normalisation", found, expected: format!("{channels}") });
    }
    let image = decode(path, Detail::Full)?.image.with_channels(channels);
    let size = resolution as usize;
    let mut scratch = Scratch::default();
    let pixels = resize::for_evaluation(&image, input.resize, size, &mut scratch)
        .map_err(|problem| DataError::cannot_resize(path, problem))?;
    let mut data = vec![0f32; size * size * channels];
    normaliser.write(pixels, &mut data);
    Ok(Images { data, shape: [1, size, size, channels] })
}

/// How much of a photo is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Every pixel.
    Full,
    /// At least this many pixels along the shorter side, if the photo has them; fewer than all where that is faster.
    AtLeast(usize),
}

/// The bytes of a regular file, and what the system recorded of it before they were read. A pipe is not waited for.
pub(crate) fn read_bytes(path: &Path) -> Result<(Vec<u8>, Metadata), DataError> {
    let metadata = fs::metadata(path).map_err(DataError::io(path))?;
    if !metadata.is_file() {
        return Err(DataError::undecodable(path, "is no regular file".into(), EXPECTED));
    }
    let length = metadata.len();
    if length > MAX_FILE_BYTES {
        return Err(DataError::undecodable(path, format!("is {length} bytes long"), "at most 1 GiB"));
    }
    Ok((input_file::read(path, MAX_FILE_BYTES).map_err(DataError::io(path))?, metadata))
}

/// Decodes a file to grey, if it is grey, or else to RGB. Transparency is dropped, 16 bits become 8; of an animation the
/// first picture is taken.
pub(crate) fn decode(path: &Path, detail: Detail) -> Result<Decoded, DataError> {
    decode_bytes(path, &read_bytes(path)?.0, detail)
}

/// [`decode`] of a file's bytes.
fn decode_bytes(path: &Path, bytes: &[u8], detail: Detail) -> Result<Decoded, DataError> {
    let undecodable = |problem: String| DataError::undecodable(path, problem, EXPECTED);
    let guessed = || ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(DataError::io(path));
    let reader = guessed()?;
    let format = reader.format().ok_or_else(|| undecodable("is no image of a known kind".into()))?;
    // Of one that cannot be decoded at all, the decoder gives the reason.
    if let Ok((width, height)) = guessed()?.into_dimensions() {
        check_size(width, height, bytes.len()).map_err(undecodable)?;
    }
    match Some(format) {
        // The decoder fills what is missing of a JPEG with grey.
        Some(ImageFormat::Jpeg) if !jpeg_is_complete(bytes) => {
            return Err(undecodable("is a JPEG that is cut off (no end-of-image marker)".into()));
        }
        Some(ImageFormat::Jpeg) => {
            let reduced = match detail {
                Detail::AtLeast(shorter) => reduced_jpeg::decode(bytes, shorter),
                // What is trained on reduced must not be too large elsewhere.
                Detail::Full => reduced_jpeg::decode_oversized(bytes),
            };
            if let Some(reduced) = reduced {
                return Ok(reduced);
            }
        }
        _ => {}
    }
    let (image, orientation) = whole(reader).map_err(|error| undecodable(format!("cannot be decoded ({error})")))?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    if width == 0 || height == 0 {
        return Err(undecodable(format!("is of {width} × {height} pixels")));
    }
    let (channels, data) = match image {
        DynamicImage::ImageLuma8(grey) => (1, grey.into_raw()),
        grey if !grey.color().has_color() => (1, grey.into_luma8().into_raw()),
        colour => (3, colour.into_rgb8().into_raw()),
    };
    let image = upright(Raster { width, height, channels, data: Cow::Owned(data) }, orientation);
    let size = (image.width, image.height);
    Ok(Decoded { image, size })
}

/// What is wrong with the size of an image, before memory is taken for its pixels. Files of few bytes have few pixels: even
/// nothing but white takes a byte of a JPEG for 64 of them.
fn check_size(width: u32, height: u32, bytes: usize) -> Result<(), String> {
    const PIXELS_PER_BYTE: u64 = 64;
    const SMALL_PIXELS: u64 = 64 << 20;
    const LONGEST_SIDE: u32 = 65_535;
    const MOST_ELONGATED: u32 = 256;
    let most = SMALL_PIXELS + PIXELS_PER_BYTE * bytes as u64;
    let (shorter, longer) = (width.min(height), width.max(height));
    let problem = match () {
        () if longer > LONGEST_SIDE => format!("more than {LONGEST_SIDE} along a side"),
        () if longer / MOST_ELONGATED >= shorter.max(1) && longer > MOST_ELONGATED => "a strip, no photo".to_owned(),
        () if u64::from(width) * u64::from(height) > most => format!("too many for a file of {bytes} bytes"),
        () => return Ok(()),
    };
    Err(format!("is of {width} × {height} pixels, {problem}"))
}

/// All pixels, and how they are to be turned.
fn whole(reader: ImageReader<Cursor<&[u8]>>) -> ImageResult<(DynamicImage, Orientation)> {
    let mut decoder = reader.into_decoder()?;
    // These limits bound the memory that a damaged header can ask for.
    let mut limits = Limits::default();
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    // An image with damaged EXIF data is shown as it is.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((DynamicImage::from_decoder(decoder)?, orientation))
}

/// Reduces a photo to the shorter side; small images stay as they are.
pub(crate) fn decode_reduced(path: &Path, shorter_side: usize, detail: Detail) -> Result<Decoded, DataError> {
    decode_reduced_bytes(path, &read_bytes(path)?.0, shorter_side, detail)
}

/// [`decode_reduced`] of a file's bytes.
pub(crate) fn decode_reduced_bytes(
    path: &Path,
    bytes: &[u8],
    shorter_side: usize,
    detail: Detail,
) -> Result<Decoded, DataError> {
    let Decoded { image, size } = decode_bytes(path, bytes, detail)?;
    if is_small(size) {
        return Ok(Decoded { image, size });
    }
    let image = resize::reduced(image, shorter_side, &mut Scratch::default())
        .map_err(|problem| DataError::cannot_resize(path, problem))?;
    Ok(Decoded { image, size })
}

/// Whether an image of this size may be one of a set like CIFAR.
pub(crate) fn is_small((width, height): (usize, usize)) -> bool {
    width.max(height) <= SMALL_SIDE
}

/// Whether the end-of-image marker follows the first scan. Inside compressed data `FF` is always followed by `00` or a
/// restart marker, so the marker cannot be there by chance; it can be in a thumbnail before the scan.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2;
    loop {
        match bytes.get(at..at + 4) {
            Some(&[0xff, 0xff, ..]) => at += 1,
            Some(&[0xff, START_OF_SCAN, ..]) => break,
            Some(&[0xff, _, high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
            // Not a marker where one must be: leave the verdict to the decoder.
            Some(_) => return true,
            None => return false,
        }
    }
    bytes[at..].windows(2).any(|pair| pair == [0xff, END_OF_IMAGE])
}
