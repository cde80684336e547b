//! How training images are varied.

use crate::data::colour_jitter::Colours;
use ofa_space::Resize;
use ofa_space::{InvalidSetting, Settings, settings};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How training images are varied. Small images of one size are shifted, photos are cropped at random.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `shift` | 2 | small images: moved by up to this many pixels each way, black comes in | 0 = off |
/// | `flip` | `photos` | which images are mirrored left to right, half of the time | `never`, `photos`, `always` |
/// | `brightness`, `contrast`, `saturation` | 0 | colours change by a factor between 1 − value and 1 + value (torchvision's `ColorJitter`; the authors' ImageNet recipe: 0.1255, 0, 0.5) | ≥ 0 |
/// | `crop_area` | 0.35 | photos: the least share of the area that a random crop takes (official recipe for ImageNet: 0.08) | 0.01–1 |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Largest shift, pixels of the stored image.
    pub shift: u32,
    /// Which images are mirrored.
    pub flip: Flip,
    /// Least share of the area that a crop takes.
    pub crop_area: f64,
    /// Largest relative change of brightness.
    pub brightness: f64,
    /// Largest relative change of contrast.
    pub contrast: f64,
    /// Largest relative change of saturation.
    pub saturation: f64,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self { shift: 2, flip: Flip::Photos, crop_area: 0.35, brightness: 0.0, contrast: 0.0, saturation: 0.0 }
    }
}

/// Which training images are mirrored left to right, half of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flip {
    /// None.
    Never,
    /// Photos, but not small images of one size: digits and letters would lose their meaning.
    #[default]
    Photos,
    /// All.
    Always,
}

/// Whether this copy of an image is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orientation {
    AsIs,
    Mirrored,
}

/// What is done to one image in one epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Variation {
    /// Moved right and down, pixels of the stored image.
    Shift { right: i32, down: i32, orientation: Orientation },
    /// A rectangle, in pixels of the stored image.
    Crop { left: f64, top: f64, width: f64, height: f64, orientation: Orientation },
}

impl Settings for Augmentation {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("crop_area", self.crop_area, 0.0..=1.0)?;
        settings::number("brightness", self.brightness, 0.0..=100.0)?;
        settings::number("contrast", self.contrast, 0.0..=100.0)?;
        settings::number("saturation", self.saturation, 0.0..=100.0)
    }
}

impl Augmentation {
    /// What happens to image `index` of this size (width, height) in `epoch`. Depends on nothing else.
    pub(crate) fn draw(
        &self,
        resize: Resize,
        size: (usize, usize),
        seed: u64,
        epoch: u64,
        index: usize,
    ) -> (Variation, Colours) {
        const PURPOSE: u64 = u64::from_le_bytes(*b"augment.");
        let mut key = [0u8; 32];
        for (slot, value) in key.as_chunks_mut::<8>().0.iter_mut().zip([seed, epoch, index as u64, PURPOSE]) {
            *slot = value.to_le_bytes();
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        let flips = match (self.flip, resize) {
            (Flip::Never, _) | (Flip::Photos, Resize::Stretch) => false,
            (Flip::Photos, Resize::CenterCrop { .. }) | (Flip::Always, _) => true,
        };
        let orientation = if flips && rng.random::<bool>() { Orientation::Mirrored } else { Orientation::AsIs };
        let variation = match resize {
            Resize::Stretch => {
                let most = self.shift.min(size.0.min(size.1) as u32 / 2) as i32;
                let right = rng.random_range(-most..=most);
                let down = rng.random_range(-most..=most);
                Variation::Shift { right, down, orientation }
            }
            Resize::CenterCrop { .. } => {
                let (left, top, width, height) = self.random_crop(size, &mut rng);
                Variation::Crop { left, top, width, height, orientation }
            }
        };
        (variation, Colours::draw([self.brightness, self.contrast, self.saturation], &mut rng))
    }

    /// A random rectangle of between `crop_area` and all of the area, with an aspect ratio from 3:4 to 4:3, as in
    /// torchvision's `RandomResizedCrop`: ten tries, then the largest centre crop with an allowed ratio.
    fn random_crop(&self, (width, height): (usize, usize), rng: &mut ChaCha8Rng) -> (f64, f64, f64, f64) {
        const TRIES: usize = 10;
        let (width, height) = (width as f64, height as f64);
        let smallest = if self.crop_area.is_nan() { 1.0 } else { self.crop_area.clamp(0.01, 1.0) };
        let (narrow, wide) = (3.0f64 / 4.0, 4.0f64 / 3.0);
        for _ in 0..TRIES {
            let area = width * height * rng.random_range(smallest..=1.0);
            let ratio = rng.random_range(narrow.ln()..=wide.ln()).exp();
            let (w, h) = ((area * ratio).sqrt().round(), (area / ratio).sqrt().round());
            if w >= 1.0 && h >= 1.0 && w <= width && h <= height {
                let left = rng.random_range(0..=(width - w) as u64) as f64;
                let top = rng.random_range(0..=(height - h) as u64) as f64;
                return (left, top, w, h);
            }
        }
        let (w, h) = match width / height {
            ratio if ratio < narrow => (width, (width / narrow).round().min(height)),
            ratio if ratio > wide => ((height * wide).round().min(width), height),
            _ => (width, height),
        };
        (((width - w) / 2.0).floor(), ((height - h) / 2.0).floor(), w, h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PHOTOS: Resize = Resize::CenterCrop { numerator: 256, denominator: 224 };

    proptest! {
        #[test]
        fn crops_stay_inside(width in 1usize..600, height in 1usize..600, seed: u64, crop_area in 0.0f64..1.5) {
            let augmentation = Augmentation { crop_area, ..Augmentation::default() };
            match augmentation.draw(PHOTOS, (width, height), seed, 1, 2).0 {
                Variation::Crop { left, top, width: w, height: h, .. } => {
                    prop_assert!(left >= 0.0 && top >= 0.0 && w >= 1.0 && h >= 1.0);
                    prop_assert!(left + w <= width as f64 && top + h <= height as f64);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn shifts_stay_within_the_limit(shift in 0u32..6, seed: u64, index: usize) {
            let augmentation = Augmentation { shift, ..Augmentation::default() };
            match augmentation.draw(Resize::Stretch, (28, 28), seed, 0, index).0 {
                Variation::Shift { right, down, orientation } => {
                    prop_assert!(right.unsigned_abs() <= shift && down.unsigned_abs() <= shift);
                    prop_assert_eq!(orientation, Orientation::AsIs);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn about_half_of_the_photos_are_mirrored() {
        let mirrored = (0..1000).filter(|&index| {
            let (variation, _) = Augmentation::default().draw(PHOTOS, (100, 80), 0, 0, index);
            matches!(variation, Variation::Crop { orientation: Orientation::Mirrored, .. })
        });
        // Five standard deviations of a fair coin.
        assert!((421..=579).contains(&mirrored.count()));
    }
}
