//! The images of a folder: decoded if memory holds them, or left in their files until they are needed. Every file is read
//! once for its digest.

use super::layout::{ImageFolder, Listing};
use crate::data::reading::image_file::{Detail, decode_reduced, decode_reduced_bytes, is_small, read_bytes};
use crate::data::reading::kinds::Skipped;
use crate::data::reading::pixels::{Pixels, Store};
use crate::data::reading::raster::Decoded;
use crate::data::resize;
use crate::data::splitting::{Labelled, Parts};
use crate::data::{DataError, LoadOptions, OnCorrupt, stratified};
use ofa_space::Resize;
use ofa_space::file_digest::{FileDigest, KnownFiles};
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// ImageNet's customary evaluation: the shorter side becomes 256/224 of the crop.
const NUMERATOR: u32 = 256;
const DENOMINATOR: u32 = 224;
const PHOTOS: Resize = Resize::CenterCrop { numerator: NUMERATOR, denominator: DENOMINATOR };
/// Photos are kept with at least this shorter side, what a network of 96 pixels needs.
const LEAST_SIDE: usize = 109;
/// Images decoded to estimate the memory that all need.
const PROBES: usize = 64;

/// Files that were read, with their classes.
type Files = Vec<(FileDigest, usize)>;

/// Decoded, or ready to be.
pub(crate) struct Loaded {
    pub parts: Parts,
    pub class_names: Vec<String>,
    pub channels: usize,
    pub resize: Resize,
    /// Of the smallest and the largest image.
    pub sizes: Option<[(usize, usize); 2]>,
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
    pub skipped: Vec<Skipped>,
}

/// How the files of a listing are read.
#[derive(Clone, Copy)]
struct Reading<'a> {
    shorter_side: usize,
    detail: Detail,
    on_corrupt: OnCorrupt,
    known: &'a KnownFiles,
}

impl ImageFolder {
    /// Decodes everything if that fits `memory_bytes`, or else leaves images in their files until they are needed; files
    /// that are known and unchanged are then not read for their digests.
    pub fn load(self, options: &LoadOptions, memory_bytes: usize, known: &KnownFiles) -> Result<Loaded, DataError> {
        let Self { class_names, train, validation, test, mut notes, warnings, mut skipped, .. } = self;
        // What evaluation at the largest resolution resizes to: there, photos are not resampled twice.
        let shorter_side = resize::scaled_side(options.max_resolution as usize, NUMERATOR, DENOMINATOR).max(LEAST_SIDE);
        let (has_validation, has_test) = (validation.is_some(), test.is_some());
        let probe = Probe::new(&train, shorter_side)?;
        // Accuracies on images that came as validation or test images are those of their very pixels.
        let given = [(validation, Detail::Full), (test, Detail::Full)];
        let listings: Vec<(Listing, Detail)> = std::iter::once((train, Detail::AtLeast(shorter_side)))
            .chain(given.into_iter().filter_map(|(listing, detail)| Some((listing?, detail))))
            .collect();
        let total: usize = listings.iter().map(|(listing, _)| listing.len()).sum();
        let reading = |detail| Reading { shorter_side, detail, on_corrupt: options.on_corrupt, known };
        let mut corrupt = Vec::new();
        let (mut parts, channels, resize, sizes) = if probe.mean_bytes.saturating_mul(total) <= memory_bytes {
            let mut decoded = Vec::new();
            for (listing, detail) in listings {
                let (files, images) = reading(detail).read(listing, &mut corrupt, Reading::decoded)?;
                decoded.push((images, files));
            }
            let sizes = extremes(decoded.iter().flat_map(|(images, _)| images).map(|image| image.size));
            let (parts, channels, resize) = in_memory(decoded);
            (parts, channels, resize, sizes)
        } else {
            let mib = memory_bytes >> 20;
            notes.push(format!("{total} images need more than {mib} MiB, so they are decoded at each use"));
            let mut parts = Vec::new();
            for (listing, detail) in listings {
                let (files, _) = reading(detail).read(listing, &mut corrupt, Reading::checked)?;
                let store = Store::OnDemand { channels: probe.channels, shorter_side, detail };
                parts.push(labelled(store, files));
            }
            (parts, probe.channels, if probe.one_small_size { Resize::Stretch } else { PHOTOS }, probe.sizes)
        };
        if !corrupt.is_empty() {
            notes.push(format!("{} files left out because they cannot be decoded", corrupt.len()));
        }
        skipped.extend(corrupt);
        let test = if has_test { parts.pop() } else { None };
        let validation = if has_validation { parts.pop() } else { None };
        let train = parts.remove(0);
        let parts = Parts { train, validation, test };
        Ok(Loaded { parts, class_names, channels, resize, sizes, notes, warnings, skipped })
    }
}

/// Properties of all training images, estimated from a sample.
struct Probe {
    mean_bytes: usize,
    channels: usize,
    one_small_size: bool,
    sizes: Option<[(usize, usize); 2]>,
}

/// The smallest and the largest size, by the number of pixels.
fn extremes(sizes: impl Iterator<Item = (usize, usize)> + Clone) -> Option<[(usize, usize); 2]> {
    let area = |size: &(usize, usize)| size.0 * size.1;
    Some([sizes.clone().min_by_key(area)?, sizes.max_by_key(area)?])
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
            return Ok(Self { mean_bytes: 0, channels: 3, one_small_size: false, sizes: None });
        };
        let channels = images.iter().map(|photo| photo.image.channels).max().unwrap_or(3);
        let pixels: usize = images.iter().map(|photo| photo.image.width * photo.image.height).sum();
        Ok(Self {
            mean_bytes: (pixels * channels).div_ceil(images.len()),
            channels,
            sizes: extremes(images.iter().map(|photo| photo.size)),
            one_small_size: is_small(first.size) && images.iter().all(|photo| photo.size == first.size),
        })
    }
}

impl Reading<'_> {
    /// Reads every file, in parallel: its digest, and what `look` makes of it. Damaged files are left out, or an error.
    fn read<T: Send>(
        &self,
        listing: Listing,
        corrupt: &mut Vec<Skipped>,
        look: impl Fn(&Self, &Path) -> Result<(FileDigest, T), DataError> + Sync,
    ) -> Result<(Files, Vec<T>), DataError> {
        let results: Vec<Result<(FileDigest, T), DataError>> =
            listing.par_iter().map(|(path, _)| look(self, path)).collect();
        let (mut files, mut found) = (Vec::with_capacity(results.len()), Vec::with_capacity(results.len()));
        for (result, (path, label)) in results.into_iter().zip(listing) {
            match (result, self.on_corrupt) {
                (Ok((digest, one)), _) => {
                    files.push((digest, label));
                    found.push(one);
                }
                (Err(_), OnCorrupt::Skip) => corrupt.push(Skipped::new(&path, Skipped::CORRUPT)),
                (Err(error), OnCorrupt::Error) => return Err(error),
            }
        }
        Ok((files, found))
    }

    /// The digest and the pixels of a file.
    fn decoded(&self, path: &Path) -> Result<(FileDigest, Decoded), DataError> {
        let (bytes, metadata) = read_bytes(path)?;
        let digest = FileDigest::of_bytes(path, &metadata, &bytes);
        Ok((digest, decode_reduced_bytes(path, &bytes, self.shorter_side, self.detail)?))
    }

    /// The digest of a file, which is decoded where damaged ones are to be left out.
    fn checked(&self, path: &Path) -> Result<(FileDigest, ()), DataError> {
        if self.on_corrupt == OnCorrupt::Skip {
            return Ok((self.decoded(path)?.0, ()));
        }
        let digest = match self.known.current(path) {
            Some(known) => known.clone(),
            None => FileDigest::of(path).map_err(DataError::io(path))?,
        };
        Ok((digest, ()))
    }
}

/// Brings all images to the same number of channels, and small ones of one size into one piece.
fn in_memory(decoded: Vec<(Vec<Decoded>, Files)>) -> (Vec<Labelled>, usize, Resize) {
    let all = || decoded.iter().flat_map(|(images, _)| images);
    let channels = all().map(|photo| photo.image.channels).max().unwrap_or(3);
    let size = all().next().map(|first| first.size).filter(|&size| is_small(size) && all().all(|p| p.size == size));
    let parts = decoded.into_iter().map(|(images, files)| {
        let images = images.into_iter().map(|photo| photo.image.with_channels(channels));
        let store = match size {
            Some((width, height)) => {
                let mut data = Vec::with_capacity(files.len() * width * height * channels);
                images.for_each(|image| data.extend_from_slice(&image.data));
                Store::Fixed { width, height, channels, data }
            }
            None => Store::Decoded(images.collect()),
        };
        labelled(store, files)
    });
    (parts.collect(), channels, if size.is_some() { Resize::Stretch } else { PHOTOS })
}

fn labelled(store: Store, files: Files) -> Labelled {
    let (files, labels) = files.into_iter().unzip();
    Labelled { pixels: Arc::new(Pixels { store, files }), labels }
}
