//! Folders of photos: `train/<class>/*.jpg` with `val/` or `test/` beside it, or just `<class>/*.jpg`.

use crate::data::image_file::{Detail, decode, decode_reduced, is_small};
use crate::data::pixels::{Pixels, Store};
use crate::data::raster::Decoded;
use crate::data::resize;
use crate::data::splitting::{Labelled, Parts};
use crate::data::{DataError, LoadOptions, OnCorrupt, stratified};
use ofa_space::Resize;
use rayon::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// ImageNet's customary evaluation: the shorter side becomes 256/224 of the crop.
const NUMERATOR: u32 = 256;
const DENOMINATOR: u32 = 224;
const PHOTOS: Resize = Resize::CenterCrop { numerator: NUMERATOR, denominator: DENOMINATOR };
/// Photos are kept with at least this shorter side, what a network of 96 pixels needs.
const LEAST_SIDE: usize = 109;
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Folders inside a class folder are searched this deep; a link to a parent ends here.
const MAX_DEPTH: usize = 8;
/// Images decoded to estimate the memory that all need.
const PROBES: usize = 64;

/// Files with their classes.
type Listing = Vec<(PathBuf, usize)>;

/// What was found in a folder.
pub(crate) struct ImageFolder {
    class_names: Vec<String>,
    train: Listing,
    validation: Option<Listing>,
    test: Option<Listing>,
    notes: Vec<String>,
}

/// Decoded, or ready to be.
pub(crate) struct Loaded {
    pub parts: Parts,
    pub class_names: Vec<String>,
    pub channels: usize,
    pub resize: Resize,
    pub notes: Vec<String>,
    pub skipped: Vec<PathBuf>,
}

impl ImageFolder {
    /// Lists the images; `None` if there are no class folders with images.
    pub fn find(folder: &Path) -> Result<Option<Self>, DataError> {
        let train = folder.join("train");
        let has_parts = train.is_dir();
        let root = if has_parts { train.as_path() } else { folder };
        let mut class_names = Vec::new();
        let mut files = Vec::new();
        for class_folder in subfolders(root)? {
            let mut images = Vec::new();
            list_images(&class_folder, MAX_DEPTH, &mut images)?;
            if images.is_empty() {
                // `train/<class>` is a statement, any other folder may be something else.
                if has_parts {
                    let expected = "image files (jpg, jpeg, png, webp) in every class folder";
                    return Err(DataError::malformed(
                        &class_folder,
                        "has no images",
                        expected,
                        "add some or remove it",
                    ));
                }
                continue;
            }
            let class = class_names.len();
            class_names.push(name_of(&class_folder));
            files.extend(images.into_iter().map(|path| (path, class)));
        }
        if class_names.is_empty() {
            return Ok(None);
        }
        if class_names.len() == 1 {
            let problem = format!("has one class folder only (`{}`)", class_names[0]);
            return Err(DataError::malformed(root, problem, "two or more", "make one folder for each class"));
        }
        let part = |names: &[&str]| match names.iter().map(|name| folder.join(name)).find(|path| path.is_dir()) {
            Some(path) if has_parts => labelled_like(&path, &class_names).map(Some),
            _ => Ok(None),
        };
        let validation = part(&["val", "valid", "validation"])?;
        let test = part(&["test"])?;
        let mut notes = Vec::new();
        let (validation, test) = match (validation, test) {
            (Some(validation), None) => {
                notes.push("no test/ folder, so the images of val/ are the test images".to_owned());
                (None, Some(validation))
            }
            other => other,
        };
        Ok(Some(Self { class_names, train: files, validation, test, notes }))
    }

    /// Decodes everything if that fits `memory_bytes`, or else leaves images in their files until they are needed.
    pub fn load(self, options: &LoadOptions, memory_bytes: usize) -> Result<Loaded, DataError> {
        let Self { class_names, train, validation, test, mut notes } = self;
        // What evaluation at the largest resolution resizes to: there, photos are not resampled twice.
        let shorter_side = resize::scaled_side(options.max_resolution as usize, NUMERATOR, DENOMINATOR).max(LEAST_SIDE);
        // Accuracies on images that came as validation or test images are those of their very pixels.
        let details = [Detail::AtLeast(shorter_side), Detail::Full, Detail::Full];
        let (has_validation, has_test) = (validation.is_some(), test.is_some());
        let probe = Probe::new(&train, shorter_side)?;
        let mut listings: Vec<Listing> = [Some(train), validation, test].into_iter().flatten().collect();
        let total: usize = listings.iter().map(Vec::len).sum();
        let mut skipped = Vec::new();
        let (parts, channels, resize) = if probe.mean_bytes.saturating_mul(total) <= memory_bytes {
            let mut decoded = Vec::new();
            for (listing, detail) in listings.into_iter().zip(details) {
                decoded.push(decode_all(listing, shorter_side, detail, options.on_corrupt, &mut skipped)?);
            }
            in_memory(decoded)
        } else {
            if options.on_corrupt == OnCorrupt::Skip {
                for (listing, detail) in listings.iter_mut().zip(details) {
                    remove_corrupt(listing, detail, &mut skipped);
                }
            }
            let mib = memory_bytes >> 20;
            notes.push(format!("{total} images need more than {mib} MiB, so they are decoded at each use"));
            let store = |detail| Store::OnDemand { channels: probe.channels, shorter_side, detail };
            let parts = listings.into_iter().zip(details).map(|(listing, detail)| labelled(store(detail), listing));
            let parts = parts.collect();
            (parts, probe.channels, if probe.one_small_size { Resize::Stretch } else { PHOTOS })
        };
        if !skipped.is_empty() {
            notes.push(format!("{} files left out because they cannot be decoded", skipped.len()));
        }
        let mut parts: Vec<Labelled> = parts;
        let test = if has_test { parts.pop() } else { None };
        let validation = if has_validation { parts.pop() } else { None };
        let train = parts.remove(0);
        Ok(Loaded { parts: Parts { train, validation, test }, class_names, channels, resize, notes, skipped })
    }
}

/// Properties of all training images, estimated from a sample.
struct Probe {
    mean_bytes: usize,
    channels: usize,
    one_small_size: bool,
}

impl Probe {
    fn new(train: &Listing, shorter_side: usize) -> Result<Self, DataError> {
        let labels: Vec<usize> = train.iter().map(|(_, label)| *label).collect();
        let sample = stratified::sample_labels(&labels, PROBES, 0);
        // Damaged files are dealt with where all are read.
        let detail = Detail::AtLeast(shorter_side);
        let images: Vec<Decoded> =
            sample.par_iter().filter_map(|&i| decode_reduced(&train[i].0, shorter_side, detail).ok()).collect();
        let Some(first) = images.first() else {
            // None could be read: report the first.
            decode_reduced(&train[0].0, shorter_side, detail)?;
            return Ok(Self { mean_bytes: 0, channels: 3, one_small_size: false });
        };
        let channels = images.iter().map(|photo| photo.image.channels).max().unwrap_or(3);
        let pixels: usize = images.iter().map(|photo| photo.image.width * photo.image.height).sum();
        Ok(Self {
            mean_bytes: (pixels * channels).div_ceil(images.len()),
            channels,
            one_small_size: is_small(first.size) && images.iter().all(|photo| photo.size == first.size),
        })
    }
}

/// The images that can be decoded, with their listing.
fn decode_all(
    listing: Listing,
    shorter_side: usize,
    detail: Detail,
    on_corrupt: OnCorrupt,
    skipped: &mut Vec<PathBuf>,
) -> Result<(Vec<Decoded>, Listing), DataError> {
    let results: Vec<Result<Decoded, DataError>> =
        listing.par_iter().map(|(path, _)| decode_reduced(path, shorter_side, detail)).collect();
    let (mut images, mut kept) = (Vec::with_capacity(results.len()), Vec::with_capacity(results.len()));
    for (result, entry) in results.into_iter().zip(listing) {
        match (result, on_corrupt) {
            (Ok(image), _) => {
                images.push(image);
                kept.push(entry);
            }
            (Err(_), OnCorrupt::Skip) => skipped.push(entry.0),
            (Err(error), OnCorrupt::Error) => return Err(error),
        }
    }
    Ok((images, kept))
}

fn remove_corrupt(listing: &mut Listing, detail: Detail, skipped: &mut Vec<PathBuf>) {
    let readable: Vec<bool> = listing.par_iter().map(|(path, _)| decode(path, detail).is_ok()).collect();
    let all = std::mem::take(listing);
    for (entry, readable) in all.into_iter().zip(readable) {
        match readable {
            true => listing.push(entry),
            false => skipped.push(entry.0),
        }
    }
}

/// Brings all images to the same number of channels, and small ones of one size into one piece.
fn in_memory(decoded: Vec<(Vec<Decoded>, Listing)>) -> (Vec<Labelled>, usize, Resize) {
    let all = || decoded.iter().flat_map(|(images, _)| images);
    let channels = all().map(|photo| photo.image.channels).max().unwrap_or(3);
    let size = all().next().map(|first| first.size).filter(|&size| is_small(size) && all().all(|p| p.size == size));
    let parts = decoded.into_iter().map(|(images, listing)| {
        let images = images.into_iter().map(|photo| photo.image.with_channels(channels));
        let store = match size {
            Some((width, height)) => {
                let mut data = Vec::with_capacity(listing.len() * width * height * channels);
                images.for_each(|image| data.extend_from_slice(&image.data));
                Store::Fixed { width, height, channels, data }
            }
            None => Store::Decoded(images.collect()),
        };
        labelled(store, listing)
    });
    (parts.collect(), channels, if size.is_some() { Resize::Stretch } else { PHOTOS })
}

fn labelled(store: Store, listing: Listing) -> Labelled {
    let (files, labels) = listing.into_iter().unzip();
    Labelled { pixels: Arc::new(Pixels { store, files }), labels }
}

/// The images of a folder whose class folders are among those of the training images.
fn labelled_like(folder: &Path, class_names: &[String]) -> Result<Listing, DataError> {
    let mut listing = Vec::new();
    for class_folder in subfolders(folder)? {
        let mut images = Vec::new();
        list_images(&class_folder, MAX_DEPTH, &mut images)?;
        match class_names.iter().position(|name| *name == name_of(&class_folder)) {
            Some(class) => listing.extend(images.into_iter().map(|path| (path, class))),
            None if images.is_empty() => {}
            None => {
                let expected = format!("the classes of train/ ({} of them)", class_names.len());
                let problem = "is a class without training images";
                return Err(DataError::malformed(&class_folder, problem, expected, "rename or remove the folder"));
            }
        }
    }
    if listing.is_empty() {
        let expected = "class folders as in train/, with images";
        return Err(DataError::malformed(folder, "has no images", expected, "add some or remove the folder"));
    }
    Ok(listing)
}

/// Folders in `folder` that are not hidden, by name.
fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut folders = visible_entries(folder)?;
    folders.retain(|path| path.is_dir() && name_of(path) != "__MACOSX");
    Ok(folders)
}

/// Image files in `folder` and below, by name.
fn list_images(folder: &Path, depth: usize, into: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for path in visible_entries(folder)? {
        if path.is_dir() {
            if depth > 1 {
                list_images(&path, depth - 1, into)?;
            }
        } else if path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known))) {
            into.push(path);
        }
    }
    Ok(())
}

fn visible_entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        if !name_of(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
