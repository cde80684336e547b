//! Batches of images as networks read them, and the order of an epoch.

use crate::data::augmentation::{Augmentation, Orientation};
use crate::data::colour_jitter::Colours;
use crate::data::normalisation::{Normaliser, check_resolution};
use crate::data::resize::{self, Scratch};
use crate::data::{DataError, Dataset, Split, SplitName};
use crate::images::Images;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::path::Path;

/// The numbers `0..n` in the order in which `epoch` visits them.
pub fn epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    const PURPOSE: u64 = u64::from_le_bytes(*b"ordering");
    let mut key = [0u8; 32];
    for (slot, value) in key.as_chunks_mut::<8>().0.iter_mut().zip([seed, epoch, n as u64, PURPOSE]) {
        *slot = value.to_le_bytes();
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut ChaCha8Rng::from_seed(key));
    order
}

/// As many numbers below `labels.len()` as there are labels, in which every class is equally often, but for one: the images of
/// a class in the order of an epoch of its own, again from the beginning if they are too few. In the order in which `epoch`
/// visits them.
pub fn balanced_order(labels: &[usize], seed: u64, epoch: u64) -> Vec<usize> {
    let mut classes = vec![Vec::new(); labels.iter().max().map_or(0, |most| most + 1)];
    labels.iter().enumerate().for_each(|(image, label)| classes[*label].push(image));
    classes.retain(|images| !images.is_empty());
    let count = classes.len().max(1);
    let mut chosen = Vec::with_capacity(labels.len());
    for (class, images) in classes.iter().enumerate() {
        // What does not divide evenly goes to other classes in other epochs.
        let turn = (class as u64 + epoch) % count as u64;
        let share = labels.len() / count + usize::from((turn as usize) < labels.len() % count);
        let order = epoch_order(images.len(), seed, epoch);
        chosen.extend(order.iter().cycle().take(share).map(|place| images[*place]));
    }
    epoch_order(chosen.len(), seed, epoch).into_iter().map(|place| chosen[place]).collect()
}

impl Dataset {
    /// Images `indices` of a split at `resolution` pixels, as they are evaluated, and their classes. Images that have
    /// this size already are not resampled.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`], [`DataError::Request`] for resolution 0, or what is wrong with an image file.
    pub fn eval_batch(
        &self,
        split: SplitName,
        indices: &[usize],
        resolution: u32,
    ) -> Result<(Images, Vec<usize>), DataError> {
        let part = self.split(split);
        let labels = part.labels_of(split, indices)?;
        let images = self.batch(indices, resolution, |index, scratch, normaliser, out| {
            let image = part.pixels.image(part.positions[index])?.with_channels(normaliser.channels());
            let pixels =
                resize::for_evaluation(&image, self.input.resize, resolution as usize, scratch).map_err(|problem| {
                    DataError::cannot_resize(part.file(index).unwrap_or(Path::new(&self.name)), problem)
                })?;
            normaliser.write(pixels, out);
            Ok(())
        })?;
        Ok((images, labels))
    }

    /// Images `indices` of the training split at `resolution` pixels, varied by `augment`, and their classes.
    /// What happens to an image depends on its index, `seed` and `epoch` only.
    ///
    /// # Errors
    /// As [`eval_batch`](Self::eval_batch).
    pub fn train_batch(
        &self,
        indices: &[usize],
        resolution: u32,
        augment: &Augmentation,
        seed: u64,
        epoch: u64,
    ) -> Result<(Images, Vec<usize>), DataError> {
        let part = &self.train;
        let labels = part.labels_of(SplitName::Train, indices)?;
        let images = self.batch(indices, resolution, |index, scratch, normaliser, out| {
            let image = part.pixels.image(part.positions[index])?.with_channels(normaliser.channels());
            let (variation, colours) = augment.draw(self.input.resize, (image.width, image.height), seed, epoch, index);
            let (pixels, orientation) =
                resize::for_training(&image, variation, resolution as usize, scratch).map_err(|problem| {
                    DataError::cannot_resize(part.file(index).unwrap_or(Path::new(&self.name)), problem)
                })?;
            if colours == Colours::NEUTRAL {
                normaliser.write(pixels, out);
            } else {
                let mut pixels = pixels.to_vec();
                colours.apply(&mut pixels, normaliser.channels());
                normaliser.write(&pixels, out);
            }
            if orientation == Orientation::Mirrored {
                mirror(out, resolution as usize, normaliser.channels());
            }
            Ok(())
        })?;
        Ok((images, labels))
    }

    fn batch(
        &self,
        indices: &[usize],
        resolution: u32,
        fill: impl Fn(usize, &mut Scratch, &Normaliser, &mut [f32]) -> Result<(), DataError> + Sync,
    ) -> Result<Images, DataError> {
        check_resolution(resolution)?;
        let size = resolution as usize;
        let normaliser = Normaliser::new(&self.input)?;
        let image_values = size * size * normaliser.channels();
        let mut data = vec![0f32; indices.len() * image_values];
        data.par_chunks_exact_mut(image_values)
            .zip(indices)
            .with_min_len(4)
            .try_for_each_init(Scratch::default, |scratch, (out, &index)| fill(index, scratch, &normaliser, out))?;
        Ok(Images { data, shape: [indices.len(), size, size, normaliser.channels()] })
    }
}

impl Split {
    fn labels_of(&self, split: SplitName, indices: &[usize]) -> Result<Vec<usize>, DataError> {
        let len = self.len();
        let label = |&index: &usize| self.labels.get(index).copied().ok_or(DataError::OutOfRange { split, index, len });
        indices.iter().map(label).collect()
    }
}

/// Turns each row of pixels around.
fn mirror(image: &mut [f32], width: usize, channels: usize) {
    for row in image.chunks_exact_mut(width * channels) {
        row.reverse();
        // Reversing turned the channels of each pixel around, too.
        row.chunks_exact_mut(channels).for_each(<[f32]>::reverse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirroring_keeps_channels_in_order() {
        let mut image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0];
        mirror(&mut image, 2, 3);
        assert_eq!(image, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 7.0, 8.0, 9.0]);
    }
}
