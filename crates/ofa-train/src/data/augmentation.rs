//! How training images are varied, seeded per image.

use super::pixels::{Pixels, Region};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How training images are varied.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `shift` | 2 | move by up to this many pixels each way, black where nothing is left | 0–64 |
/// | `flip` | false | mirror every other image | |
/// | `crop_area` | none | random resized crop of at least this share of the area (ImageNet: 0.08) | 0.01–1 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Largest shift in pixels.
    pub shift: usize,
    /// Whether to mirror every other image.
    pub flip: bool,
    /// Smallest share of the area that a random resized crop keeps.
    pub crop_area: Option<f64>,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self { shift: 2, flip: false, crop_area: None }
    }
}

impl Augmentation {
    /// A variation of `image` at `size × size` pixels.
    pub fn apply(&self, image: &Pixels, size: usize, rng: &mut dyn Rng) -> Pixels {
        let image = if self.flip && rng.random_bool(0.5) { &image.flipped() } else { image };
        let region = match self.crop_area {
            Some(smallest) => random_region(image, smallest.clamp(0.01, 1.0), rng),
            None => centre_square(image),
        };
        let image = if self.shift > 0 {
            let limit = self.shift as i64;
            let mut offset = || rng.random_range(-limit..=limit) as isize;
            &image.shifted(offset(), offset())
        } else {
            image
        };
        image.resized(region, size, size)
    }
}

/// The largest centred square.
pub fn centre_square(image: &Pixels) -> Region {
    let side = image.width.min(image.height);
    Region {
        left: ((image.width - side) / 2) as f64,
        top: ((image.height - side) / 2) as f64,
        width: side as f64,
        height: side as f64,
    }
}

/// A random region of at least `smallest` of the area and an aspect ratio of 3/4 to 4/3, as torchvision's
/// `RandomResizedCrop`.
fn random_region(image: &Pixels, smallest: f64, rng: &mut dyn Rng) -> Region {
    const TRIES: usize = 10;
    let (w, h) = (image.width as f64, image.height as f64);
    for _ in 0..TRIES {
        let area = w * h * rng.random_range(smallest..=1.0);
        let log_ratio = (4.0f64 / 3.0).ln();
        let ratio = rng.random_range(-log_ratio..=log_ratio).exp();
        let (width, height) = ((area * ratio).sqrt().round(), (area / ratio).sqrt().round());
        if (1.0..=w).contains(&width) && (1.0..=h).contains(&height) {
            let left = rng.random_range(0.0..=w - width).floor();
            let top = rng.random_range(0.0..=h - height).floor();
            return Region { left, top, width, height };
        }
    }
    centre_square(image)
}
