//! Image folders: `train/<class>/*.jpg` with `val/` or `test/`, or just `<class>/*.jpg`.

use super::{DataError, OnCorrupt, Pixels, Split};
use image::DynamicImage;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// An image that could be read, or the file that could not.
type Decoded = Result<(Pixels, usize), (PathBuf, DataError)>;

/// The labelled images of one folder of class folders.
pub struct FolderImages {
    /// The images.
    pub split: Split,
    /// Files left out because they could not be decoded.
    pub skipped: Vec<PathBuf>,
}

/// Names of the class folders, sorted; hidden ones are ignored.
///
/// # Errors
/// [`DataError::Io`] if the folder cannot be listed.
pub fn class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let mut names: Vec<String> = entries(folder)?
        .into_iter()
        .filter(|path| path.is_dir())
        .filter_map(|path| path.file_name().map(|n| n.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Whether the folder holds an image file.
pub fn has_images(folder: &Path) -> bool {
    entries(folder).is_ok_and(|paths| paths.iter().any(|path| is_image(path)))
}

/// Reads every image of every class, reduced so that the shorter side is at most `short_side` pixels.
///
/// # Errors
/// [`DataError`] naming the first file that cannot be read, unless corrupt files are skipped.
pub fn read(
    folder: &Path,
    classes: &[String],
    short_side: usize,
    on_corrupt: OnCorrupt,
) -> Result<FolderImages, DataError> {
    let mut files: Vec<(PathBuf, usize)> = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let class_folder = folder.join(class);
        if class_folder.is_dir() {
            let mut paths: Vec<PathBuf> = entries(&class_folder)?.into_iter().filter(|p| is_image(p)).collect();
            paths.sort();
            files.extend(paths.into_iter().map(|path| (path, label)));
        }
    }
    let decoded: Vec<Decoded> = files
        .into_par_iter()
        .map(|(path, label)| match decode(&path, 3) {
            Ok(image) => Ok((reduced(image, short_side), label)),
            Err(error) => Err((path, error)),
        })
        .collect();
    let (mut images, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for result in decoded {
        match result {
            Ok((image, label)) => {
                images.push(image);
                labels.push(label);
            }
            Err((path, _)) if on_corrupt == OnCorrupt::Skip => skipped.push(path),
            Err((_, error)) => return Err(error),
        }
    }
    Ok(FolderImages { split: Split::new(images, labels), skipped })
}

/// Decodes one file to grey (1) or RGB (3).
///
/// # Errors
/// [`DataError`] naming the file.
pub fn decode(path: &Path, channels: usize) -> Result<Pixels, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let image = image::load_from_memory(&bytes).map_err(|e| DataError::Format {
        path: path.to_owned(),
        problem: format!("cannot be decoded as an image ({e}); mend or remove it, or use --on-corrupt skip"),
    })?;
    Ok(from_decoded(image, channels))
}

fn from_decoded(image: DynamicImage, channels: usize) -> Pixels {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let data = if channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    Pixels { width, height, channels, data }
}

/// The image with its shorter side brought down to `short_side`, if it is longer.
fn reduced(image: Pixels, short_side: usize) -> Pixels {
    let short = image.width.min(image.height);
    if short <= short_side {
        return image;
    }
    let scale = |length: usize| (length * short_side).div_ceil(short);
    image.resized(image.whole(), scale(image.width), scale(image.height))
}

/// Paths in a folder, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
    path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}
