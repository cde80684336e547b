//! From images as they were found to three disjoint splits.

use crate::data::pixels::Pixels;
use crate::data::{DataError, Dataset, LoadOptions, Origin, Split, SplitRecord, stratified};
use ofa_space::{InputFormat, Resize};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Images with their classes.
#[derive(Clone, Debug)]
pub(crate) struct Labelled {
    pub pixels: Arc<Pixels>,
    pub labels: Vec<usize>,
}

/// A data set as it was found; what is missing is carved from `train`.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub train: Labelled,
    pub validation: Option<Labelled>,
    pub test: Option<Labelled>,
}

/// What [`dataset`] needs besides the images.
pub(crate) struct Description<'a> {
    pub name: String,
    pub class_names: Vec<String>,
    pub channels: usize,
    pub resize: Resize,
    /// The folder, for messages.
    pub path: &'a Path,
    /// Sentences to put before those on the splits.
    pub notes: Vec<String>,
    pub skipped: Vec<PathBuf>,
    pub origin: Origin,
}

/// The test split of a folder without one must be the same whatever seed a command is run with, or a network
/// trained with one seed would be tested on its own training images with another.
const TEST_SEED: u64 = 0x7e57;
/// Share of each class that such a test split takes, per cent.
const TEST_PERCENT: usize = 15;
/// A validation split never takes more than one image in this many of a class.
const VALIDATION_DIVISOR: usize = 5;

/// Makes the splits and computes the normalisation.
pub(crate) fn dataset(parts: Parts, about: Description<'_>, options: &LoadOptions) -> Result<Dataset, DataError> {
    let Description { name, class_names, channels, resize, path, mut notes, skipped, origin } = about;
    let labels = &parts.train.labels;
    let mut remaining: Vec<usize> = (0..labels.len()).collect();

    let test = match &parts.test {
        Some(test) => {
            notes.push(format!("test: the {} images that come as test images", test.labels.len()));
            whole(test)
        }
        None => {
            let carved = stratified::capped_sample(labels, labels.len(), TEST_SEED, |size| match size {
                0..3 => 0,
                _ => (size * TEST_PERCENT / 100).max(1),
            });
            take_out(&mut remaining, &carved);
            notes.push(format!(
                "test: {} images, {TEST_PERCENT} % of each class, set apart from all {} (fixed seed {TEST_SEED}, \
                 the same for every seed)",
                carved.len(),
                labels.len()
            ));
            part(&parts.train, carved)
        }
    };
    let validation = match &parts.validation {
        Some(validation) => {
            notes.push(format!("validation: the {} images that come as such", validation.labels.len()));
            whole(validation)
        }
        None => {
            let left: Vec<usize> = remaining.iter().map(|&i| labels[i]).collect();
            let cap = |size: usize| if size < 2 { 0 } else { (size / VALIDATION_DIVISOR).max(1) };
            let carved: Vec<usize> = stratified::capped_sample(&left, options.validation, options.seed, cap)
                .into_iter()
                .map(|i| remaining[i])
                .collect();
            take_out(&mut remaining, &carved);
            let asked = match carved.len() < options.validation {
                true => format!(" ({} requested, at most a fifth of each class taken)", options.validation),
                false => String::new(),
            };
            let (count, seed) = (carved.len(), options.seed);
            notes.push(format!(
                "validation: {count} images{asked}, class-balanced, set apart from the training images (seed {seed})"
            ));
            part(&parts.train, carved)
        }
    };
    notes.push(format!("training: the {} images left", remaining.len()));
    for (class, class_name) in class_names.iter().enumerate() {
        if !remaining.iter().any(|&i| labels[i] == class) {
            let problem = format!("no training images are left for class `{class_name}`");
            return Err(DataError::malformed(path, problem, "two or more images of every class", "add images"));
        }
    }
    let order = stratified::proportional_order(labels, &remaining, options.seed);
    let train = part(&parts.train, order);
    let (mean, std) = statistics(&train, channels)?;
    let input = InputFormat { mean, std, resize };
    let split_note = notes.join("; ");
    let split_record = SplitRecord::from(options);
    Ok(Dataset {
        name,
        class_names,
        channels,
        train,
        validation,
        test,
        input,
        split_note,
        skipped,
        origin,
        split_record,
    })
}

fn whole(from: &Labelled) -> Split {
    Split { pixels: from.pixels.clone(), positions: (0..from.labels.len()).collect(), labels: from.labels.clone() }
}

fn part(from: &Labelled, positions: Vec<usize>) -> Split {
    let labels = positions.iter().map(|&i| from.labels[i]).collect();
    Split { pixels: from.pixels.clone(), positions, labels }
}

fn take_out(remaining: &mut Vec<usize>, chosen: &[usize]) {
    let mut sorted = chosen.to_vec();
    sorted.sort_unstable();
    remaining.retain(|i| sorted.binary_search(i).is_err());
}

/// Images that are decoded to compute mean and standard deviation where they are not in memory anyway.
const STATISTICS_SAMPLE: usize = 1000;

/// Mean and standard deviation per channel of the pixels in 0..1: of all images in memory, or else of a sample.
/// Sums are of integers, so the result does not depend on the order of summation.
fn statistics(split: &Split, channels: usize) -> Result<(Vec<f32>, Vec<f32>), DataError> {
    let count = if split.pixels.in_memory() { split.len() } else { split.len().min(STATISTICS_SAMPLE) };
    let sums = split.positions[..count]
        .par_iter()
        .map(|&position| Ok(Sums::of(&split.pixels.image(position)?.data, channels)))
        .try_reduce(Sums::default, |a, b| Ok(a.add(&b)))?;
    let pixels = sums.pixels.max(1) as f64;
    let mean: Vec<f64> = (0..channels).map(|c| sums.values[c] as f64 / pixels).collect();
    let std = (0..channels).map(|c| {
        let variance = (sums.squares[c] as f64 / pixels - mean[c] * mean[c]).max(0.0);
        // A channel without variation would divide by zero: one grey level is used instead.
        (variance.sqrt().max(1.0) / 255.0) as f32
    });
    let std = std.collect();
    Ok((mean.iter().map(|m| (m / 255.0) as f32).collect(), std))
}

#[derive(Default)]
struct Sums {
    pixels: u64,
    values: [u64; 3],
    squares: [u64; 3],
}

impl Sums {
    fn of(data: &[u8], channels: usize) -> Self {
        let mut sums = Self { pixels: (data.len() / channels) as u64, ..Self::default() };
        for pixel in data.chunks_exact(channels) {
            for (channel, &value) in pixel.iter().enumerate() {
                sums.values[channel] += u64::from(value);
                sums.squares[channel] += u64::from(value) * u64::from(value);
            }
        }
        sums
    }

    fn add(mut self, other: &Self) -> Self {
        self.pixels += other.pixels;
        for channel in 0..3 {
            self.values[channel] += other.values[channel];
            self.squares[channel] += other.squares[channel];
        }
        self
    }
}
