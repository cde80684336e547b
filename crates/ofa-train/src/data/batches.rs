//! Making batches: resized, normalised, in NHWC; independent of the number of threads.

use super::augmentation::centre_square;
use super::image_folder::decode;
use super::pixels::{Pixels, Region};
use super::{Augmentation, DataError, Dataset, SplitName};
use crate::supernet::Images;
use ofa_space::model::{InputFormat, Resize};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::path::Path;

/// A shuffle of `0..n` for one epoch.
pub fn epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX - epoch);
    order.shuffle(&mut rng);
    order
}

impl Dataset {
    /// Images as evaluation sees them, and their labels.
    ///
    /// # Errors
    /// None today; kept for data that is decoded on demand.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn eval_batch(
        &self,
        split: SplitName,
        indices: &[usize],
        resolution: u32,
    ) -> Result<(Images, Vec<usize>), DataError> {
        let split = self.split(split);
        let size = resolution as usize;
        let make = |index: &usize| for_evaluation(split.image(*index), &self.input, size);
        let labels = indices.iter().map(|index| split.label(*index)).collect();
        Ok((assemble(indices, size, &self.input, self.channels, make), labels))
    }

    /// Augmented training images and their labels. Every image's variation depends on (`seed`, `epoch`, its index)
    /// only.
    ///
    /// # Errors
    /// None today; kept for data that is decoded on demand.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn train_batch(
        &self,
        indices: &[usize],
        resolution: u32,
        augmentation: &Augmentation,
        seed: u64,
        epoch: u64,
    ) -> Result<(Images, Vec<usize>), DataError> {
        let size = resolution as usize;
        let make = |index: &usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed ^ epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            rng.set_stream(*index as u64 + 1);
            augmentation.apply(self.train.image(*index), size, &mut rng)
        };
        let labels = indices.iter().map(|index| self.train.label(*index)).collect();
        Ok((assemble(indices, size, &self.input, self.channels, make), labels))
    }
}

/// One image file as a batch of one, as evaluation sees it.
///
/// # Errors
/// [`DataError`] if the file cannot be read or decoded.
pub fn read_image(
    path: &Path,
    input: &InputFormat,
    channels: usize,
    resolution: u32,
) -> Result<Images, DataError> {
    let image = decode(path, channels)?;
    let size = resolution as usize;
    Ok(assemble(&[0], size, input, channels, |_| for_evaluation(&image, input, size)))
}

/// An image at `size × size` as the input format says.
fn for_evaluation(image: &Pixels, input: &InputFormat, size: usize) -> Pixels {
    match input.resize {
        Resize::Stretch => image.resized(image.whole(), size, size),
        Resize::CenterCrop { numerator, denominator } => {
            // torchvision: the shorter side becomes int(size · ratio), the longer keeps the aspect ratio (truncated),
            // and the crop's offset is rounded half to even.
            let short = (size * numerator as usize / denominator.max(1) as usize).max(size);
            let (w, h) = (image.width, image.height);
            if w == 0 || h == 0 {
                return image.resized(centre_square(image), size, size);
            }
            let (width, height) = if w <= h { (short, short * h / w) } else { (short * w / h, short) };
            let whole = image.resized(image.whole(), width, height);
            let offset = |length: usize| ((length - size) as f64 / 2.0).round_ties_even();
            let region = Region {
                left: offset(width),
                top: offset(height),
                width: size as f64,
                height: size as f64,
            };
            whole.resized(region, size, size)
        }
    }
}

/// Makes every image in parallel, in order, and normalises: `(pixel / 255 − mean) / std`.
fn assemble(
    indices: &[usize],
    size: usize,
    input: &InputFormat,
    channels: usize,
    make: impl Fn(&usize) -> Pixels + Sync,
) -> Images {
    let image_len = size * size * channels;
    let tables: Vec<[f32; 256]> = (0..channels)
        .map(|channel| {
            let (mean, std) = (input.mean[channel % input.mean.len()], input.std[channel % input.std.len()]);
            std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std)
        })
        .collect();
    let mut data = vec![0.0; indices.len() * image_len];
    data.par_chunks_mut(image_len.max(1)).zip(indices.par_iter()).for_each(|(into, index)| {
        let image = make(index);
        for (pixel_into, pixel) in into.chunks_exact_mut(channels).zip(image.data.chunks_exact(channels)) {
            for (channel, value) in pixel.iter().enumerate() {
                pixel_into[channel] = tables[channel][*value as usize];
            }
        }
    });
    Images { data, shape: [indices.len(), size, size, channels] }
}
