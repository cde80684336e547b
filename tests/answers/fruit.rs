//! Photos of three kinds of fruit that colour alone tells apart, and a supernet trained on them.

use crate::program::{Outcome, run_line};
use image::{Rgb, RgbImage};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Class folders with their colours.
pub const FRUIT: [(&str, [u8; 3]); 3] = [("apple", [200, 40, 40]), ("pear", [60, 190, 60]), ("plum", [60, 40, 190])];

/// Writes `count` photos of one colour into `folder`; no two are the same.
pub fn photos(folder: &Path, colour: [u8; 3], count: u32) {
    std::fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let noise = |x: u32, y: u32| ((x * 31 + y * 17 + number * 101) % 41) as u8;
        let image = RgbImage::from_fn(28, 28, |x, y| Rgb(colour.map(|value| value - 20 + noise(x, y))));
        image.save(folder.join(format!("{number}.png"))).unwrap();
    }
}

/// Class folders of these names, with the colours of [`FRUIT`] in order.
pub fn folder(at: &Path, names: [&str; 3], per_class: u32) -> PathBuf {
    for (name, (_, colour)) in names.iter().zip(FRUIT) {
        photos(&at.join(name), colour, per_class);
    }
    at.to_owned()
}

/// A folder with `photos/` in class folders, and `run/supernet.safetensors`, which tells them apart.
pub fn trained() -> &'static Path {
    static TRAINED: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let scratch = tempfile::tempdir().unwrap();
        folder(&scratch.path().join("photos"), FRUIT.map(|(name, _)| name), 30);
        let config = scratch.path().join("training.toml");
        std::fs::write(&config, TRAINING).unwrap();
        let paths = [config.as_path(), &scratch.path().join("photos"), &scratch.path().join("run")];
        run_line("train {} --data {} --out {}", &paths).ok();
        scratch
    };
    TRAINED.get_or_init(make).path()
}

/// The supernet of [`trained`].
pub fn supernet() -> PathBuf {
    trained().join("run/supernet.safetensors")
}

/// Top-1 accuracy of a report.
pub fn top1(outcome: Outcome) -> f64 {
    outcome.ok().json()["top1"].as_f64().unwrap()
}

const TRAINING: &str = r#"
space = "tiny-28"
data = "bundled"
batch_size = 8
validation_images = 12
calibration_images = 48

[[phases]]
name = "resolution"
epochs = 8
learning_rate = 0.05

[[phases]]
name = "expansion"
opens = { kernel_size = 1, depth = 2, expansion = 2 }
epochs = 4
learning_rate = 0.02
subnets_per_step = 2
"#;

/// The training of a small pipeline: a few steps, with every choice open.
pub const TRAINING_OF_A_RUN: &str = r#"
[train]
space = "tiny-28"
data = "bundled"
batch_size = 8
validation_images = 12
calibration_images = 48
[[train.phases]]
name = "all"
opens = { kernel_size = 1, depth = 2, expansion = 2 }
epochs = 2
learning_rate = 0.05
"#;
