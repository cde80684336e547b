//! Random changes of colour, as torchvision's `ColorJitter` makes them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Factors of one image in one epoch; 1 changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Colours {
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
}

impl Colours {
    /// No change.
    pub const NEUTRAL: Self = Self { brightness: 1.0, contrast: 1.0, saturation: 1.0 };

    /// Each factor uniformly from `1 − range` (not below 0) to `1 + range`.
    pub fn draw([brightness, contrast, saturation]: [f64; 3], rng: &mut ChaCha8Rng) -> Self {
        let mut factor = |range: f64| match range > 0.0 && range.is_finite() {
            true => rng.random_range((1.0 - range).max(0.0)..=1.0 + range) as f32,
            false => 1.0,
        };
        Self { brightness: factor(brightness), contrast: factor(contrast), saturation: factor(saturation) }
    }

    /// Changes HWC pixels: brightness, then contrast about the mean grey, then saturation about each pixel's grey.
    /// (Source: `adjust_brightness`, `adjust_contrast`, `adjust_saturation` of torchvision, which applies them in
    /// random order.)
    pub fn apply(&self, pixels: &mut [u8], channels: usize) {
        if self.brightness != 1.0 {
            pixels.iter_mut().for_each(|v| *v = blend(f32::from(*v), 0.0, self.brightness));
        }
        if self.contrast != 1.0 {
            let sum: u64 = pixels.chunks_exact(channels).map(|pixel| u64::from(grey(pixel))).sum();
            let mean = (sum as f64 / (pixels.len() / channels).max(1) as f64).round() as f32;
            pixels.iter_mut().for_each(|v| *v = blend(f32::from(*v), mean, self.contrast));
        }
        if self.saturation != 1.0 && channels == 3 {
            for pixel in pixels.chunks_exact_mut(channels) {
                let own = f32::from(grey(pixel));
                pixel.iter_mut().for_each(|v| *v = blend(f32::from(*v), own, self.saturation));
            }
        }
    }
}

/// `base + factor · (value − base)`, in 0..=255.
fn blend(value: f32, base: f32, factor: f32) -> u8 {
    (base + factor * (value - base)).clamp(0.0, 255.0) as u8
}

fn grey(pixel: &[u8]) -> u8 {
    match pixel {
        &[r, g, b] => crate::data::reading::raster::luma([r, g, b]),
        other => other.first().copied().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    #[test]
    fn each_change_does_what_its_name_says() {
        let image = [200u8, 100, 50, 10, 20, 30];
        let changed = |colours: Colours| {
            let mut pixels = image;
            colours.apply(&mut pixels, 3);
            pixels
        };
        assert_eq!(changed(Colours::NEUTRAL), image);
        assert_eq!(changed(Colours { brightness: 0.5, ..Colours::NEUTRAL }), [100, 50, 25, 5, 10, 15]);
        // No saturation: every pixel is its own grey; no contrast: every value is the mean grey.
        assert_eq!(changed(Colours { saturation: 0.0, ..Colours::NEUTRAL }), [124, 124, 124, 18, 18, 18]);
        assert_eq!(changed(Colours { contrast: 0.0, ..Colours::NEUTRAL }), [71; 6]);
        assert_eq!(changed(Colours { brightness: 2.0, ..Colours::NEUTRAL })[0], 255);
    }

    proptest! {
        #[test]
        fn factors_stay_in_their_ranges(ranges: [f64; 3], seed: u64) {
            let colours = Colours::draw(ranges.map(|range| range.abs().min(3.0)), &mut ChaCha8Rng::seed_from_u64(seed));
            for (factor, range) in [colours.brightness, colours.contrast, colours.saturation].into_iter().zip(ranges) {
                let range = range.abs().min(3.0) as f32;
                prop_assert!(range.is_nan() || (factor >= (1.0 - range).max(0.0) - 1e-5 && factor <= 1.0 + range + 1e-5));
            }
        }
    }
}
