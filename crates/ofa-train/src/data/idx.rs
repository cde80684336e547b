//! MNIST-style IDX files, gzipped or not.

use super::{DataError, Pixels, Split};
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Magic numbers: unsigned bytes in one dimension (labels) or three (images).
const LABELS_MAGIC: u32 = 0x0000_0801;
const IMAGES_MAGIC: u32 = 0x0000_0803;
/// Nothing real is larger; a damaged size must not allocate the machine's memory.
const MAX_BYTES: u64 = 4 << 30;

/// Reads a pair of files.
///
/// # Errors
/// [`DataError`] naming the file and what is wrong.
pub fn read(images: &Path, labels: &Path) -> Result<Split, DataError> {
    let image_bytes = read_file(images)?;
    let label_bytes = read_file(labels)?;
    parse((images, &image_bytes), (labels, &label_bytes))
}

/// Parses a pair of files already in memory, gzipped or not; the paths are for messages.
///
/// # Errors
/// [`DataError`] naming the file and what is wrong.
pub fn parse(images: (&Path, &[u8]), labels: (&Path, &[u8])) -> Result<Split, DataError> {
    let image_data = unzip(images.0, images.1)?;
    let label_data = unzip(labels.0, labels.1)?;
    let (sizes, pixels) = body(images.0, &image_data, IMAGES_MAGIC, 3)?;
    let (label_sizes, values) = body(labels.0, &label_data, LABELS_MAGIC, 1)?;
    let bad = |path: &Path, problem: String| DataError::Format { path: path.to_owned(), problem };
    let [count, height, width] = sizes[..] else { unreachable!("three sizes were read") };
    if label_sizes[0] != count {
        return Err(bad(labels.0, format!("holds {} labels, but there are {count} images", label_sizes[0])));
    }
    if height * width == 0 {
        return Err(bad(images.0, format!("images of {height}×{width} pixels")));
    }
    let images = pixels
        .chunks_exact(height * width)
        .map(|image| Pixels { width, height, channels: 1, data: image.to_vec() })
        .collect();
    Ok(Split::new(images, values.iter().map(|v| usize::from(*v)).collect()))
}

/// The path of `name` in a folder, with or without `.gz`.
pub fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })
}

fn unzip(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
    const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(bytes.to_vec());
    }
    let mut data = Vec::new();
    GzDecoder::new(bytes).take(MAX_BYTES).read_to_end(&mut data).map_err(|e| DataError::Format {
        path: path.to_owned(),
        problem: format!("is gzipped but damaged or truncated ({e})"),
    })?;
    Ok(data)
}

/// Checks the magic number and sizes; returns the sizes and the values.
fn body<'a>(path: &Path, data: &'a [u8], magic: u32, dimensions: usize) -> Result<(Vec<usize>, &'a [u8]), DataError> {
    let bad = |problem: String| DataError::Format { path: path.to_owned(), problem };
    let header = 4 * (1 + dimensions);
    let words: Vec<u32> = data
        .get(..header)
        .ok_or_else(|| bad(format!("is {} bytes long, too short for an IDX header of {header}", data.len())))?
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    if words[0] != magic {
        return Err(bad(format!("starts with {:#010x}, expected {magic:#010x} (IDX)", words[0])));
    }
    let sizes: Vec<usize> = words[1..].iter().map(|w| *w as usize).collect();
    let expected = sizes.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
    let values = &data[header..];
    match expected {
        Some(expected) if expected == values.len() => Ok((sizes, values)),
        _ => Err(bad(format!("holds {} bytes of values, but its header says {sizes:?}", values.len()))),
    }
}
