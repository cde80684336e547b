//! Batches of images in `.npy` files: f32, (N,C,H,W).

use npyz::WriterBuilder;
use ofa_space::{atomic_file, first_not_finite, input_file};
use ofa_train::Images;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Images of a batch, and pixels along a side of one.
const MOST_IMAGES: u64 = 1 << 20;
const LONGEST_SIDE: u64 = 8192;
const MOST_CHANNELS: u64 = 1024;

/// Reads an (N,C,H,W) f32 batch as NHWC.
///
/// # Errors
/// What is wrong with the file and what was expected, in words.
pub fn read(path: &Path) -> Result<Images, String> {
    let file = input_file::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
    let length = file.metadata().map_err(|e| format!("cannot be read: {e}"))?.len();
    // Before anything is computed from it.
    let [n, c, h, w] = check_shape(&shape_of(path).map_err(|problem| format!("is no .npy file: {problem}"))?)?;
    let array = npyz::NpyFile::new(BufReader::new(file)).map_err(|e| format!("is no .npy file: {e}"))?;
    if array.order() == npyz::Order::Fortran {
        return Err("is in Fortran order; save it with numpy.ascontiguousarray".to_owned());
    }
    if array.shape() != [n, c, h, w] {
        return Err("is no .npy file: its head names two shapes".to_owned());
    }
    // The factors are bounded, so is the product.
    let count = n * c * h * w;
    if count.saturating_mul(4) > length {
        return Err(format!("is truncated: {count} numbers of shape ({n},{c},{h},{w}) do not fit into {length} bytes"));
    }
    let values: Vec<f32> = array.into_vec().map_err(|e| format!("must hold float32: {e}"))?;
    if let Some((at, value)) = first_not_finite(&values) {
        let image = at as u64 / (c * h * w);
        return Err(format!("holds {value} in image {image}, expected finite numbers"));
    }
    Ok(Images::from_nchw(&values, [n, c, h, w].map(|size| size as usize)))
}

/// The shape of a batch of images that can be read.
fn check_shape(shape: &[u64]) -> Result<[u64; 4], String> {
    let &[n, c, h, w] = shape else {
        return Err(format!("has shape {shape:?}, expected (N,C,H,W)"));
    };
    let bounds = [("images", n, MOST_IMAGES), ("channels", c, MOST_CHANNELS), ("rows", h, LONGEST_SIDE)];
    for (what, size, most) in bounds.into_iter().chain([("columns", w, LONGEST_SIDE)]) {
        if !(1..=most).contains(&size) {
            return Err(format!("has {size} {what} (shape {shape:?}), expected 1 to {most}"));
        }
    }
    Ok([n, c, h, w])
}

/// The shape in the head of a file: `'shape': (4, 3, 24, 24)`.
fn shape_of(path: &Path) -> Result<Vec<u64>, String> {
    const LONGEST_HEAD: u64 = 64 << 10;
    let mut head = Vec::new();
    let file = input_file::open(path).map_err(|e| e.to_string())?;
    file.take(LONGEST_HEAD).read_to_end(&mut head).map_err(|e| e.to_string())?;
    // The length of the head is of two bytes in version 1 of the format, of four later.
    let length = match head.get(6..12) {
        Some(&[1, _, low, high, ..]) => u64::from(u16::from_le_bytes([low, high])),
        Some(&[_, _, a, b, c, d]) => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => return Err("it is cut off".to_owned()),
    };
    if length > LONGEST_HEAD {
        return Err(format!("its head has {length} bytes, expected at most {LONGEST_HEAD}"));
    }
    let text = String::from_utf8_lossy(&head);
    let list = text.split_once("'shape':").and_then(|(_, rest)| rest.trim_start().strip_prefix('(')?.split_once(')'));
    let (list, _) = list.ok_or("its head names no shape")?;
    let sizes = list.split(',').map(str::trim).filter(|size| !size.is_empty());
    sizes.map(|size| size.parse().map_err(|_| format!("`{size}` is no size"))).collect()
}

/// Writes a row-major f32 array, whole or not at all.
///
/// # Errors
/// What the system reports.
pub fn write(path: &Path, values: &[f32], shape: &[usize]) -> io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|d| *d as u64).collect();
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    atomic_file::write(path, &bytes)
}
