//! Small grey pictures that all differ, and a training that learns them in a second or two.

use crate::program::{Outcome, run_line};
use image::GrayImage;
use std::path::{Path, PathBuf};

/// Noise of 28 × 28 pixels; another for every number.
pub fn noise(number: u32) -> GrayImage {
    GrayImage::from_fn(28, 28, |x, y| {
        let mut state = (number + 1).wrapping_mul(0x9e37_79b9) ^ (x * 28 + y + 1).wrapping_mul(0x85eb_ca6b);
        for _ in 0..3 {
            state ^= state >> 15;
            state = state.wrapping_mul(0x2c1b_3c6d);
        }
        image::Luma([(state >> 24) as u8])
    })
}

/// Writes pictures `numbers` as `folder/<number>.png`.
pub fn write(folder: &Path, numbers: std::ops::Range<u32>) -> Vec<PathBuf> {
    std::fs::create_dir_all(folder).unwrap();
    let files = numbers.map(|number| {
        let file = folder.join(format!("{number:04}.png"));
        noise(number).save(&file).unwrap();
        file
    });
    files.collect()
}

/// A training on such pictures: `epochs` of the largest subnet.
pub fn training(folder: &Path, epochs: f64) -> PathBuf {
    let config = folder.join(format!("training-{epochs}.toml"));
    let text = format!(
        "space = \"tiny-28\"\nbatch_size = 8\nvalidation_images = 100\ncalibration_images = 64\nlabel_smoothing = 0.0\n\
         augmentation = {{ shift = 0 }}\n\
         [[phases]]\nname = \"all\"\nepochs = {epochs}\nlearning_rate = 0.03\n"
    );
    std::fs::write(&config, text).unwrap();
    config
}

/// What `ofa train --dry-run` says of a folder.
pub fn looked_at(data: &Path) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    run_line("train {} --data {} --dry-run", &[&training(folder.path(), 1.0), data])
}

/// Training images that `ofa train` would use.
pub fn training_images(outcome: &Outcome) -> u64 {
    outcome.json()["training_images"].as_u64().unwrap()
}
