//! Mean and standard deviation of the pixels of a data set.

use crate::data::{DataError, Split};
use rayon::prelude::*;

/// Images that are decoded to compute mean and standard deviation where they are not in memory anyway.
const STATISTICS_SAMPLE: usize = 1000;

/// Mean and standard deviation per channel of the pixels in 0..1: of all images in memory, or else of a sample.
/// Sums are of integers, so the result does not depend on the order of summation.
pub(super) fn statistics(split: &Split, channels: usize) -> Result<(Vec<f32>, Vec<f32>), DataError> {
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
