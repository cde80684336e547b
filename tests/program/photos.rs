//! Photos of three kinds of pattern, in class folders as a user would keep them: JPEGs and PNGs of mixed sizes, names
//! with spaces and in other scripts.

use image::{ImageFormat, Rgb, RgbImage};
use std::path::{Path, PathBuf};

/// Class folders, in the order of the labels.
pub const CLASSES: [&str; 3] = ["blue sky", "grüne Wiese", "猫"];

/// The pattern of a class: each has its own colours and its own direction of stripes.
fn pattern(class: usize, number: u32, (width, height): (u32, u32)) -> RgbImage {
    let shift = number * 7;
    RgbImage::from_fn(width, height, |x, y| {
        let along = [x, y, x + y][class] + shift;
        let wave = ((along % 24) * 10) as u8;
        let noise = ((x * 31 + y * 17 + number * 101) % 23) as u8;
        let pixel = [[40, 90, 160], [60, 150, 50], [170, 110, 70]][class].map(|c: u8| c / 2 + wave / 2 + noise);
        Rgb(pixel)
    })
}

/// Writes `per_class` photos of every class, of mixed sizes; returns all files.
pub fn write(folder: &Path, per_class: u32) -> Vec<PathBuf> {
    write_sized(folder, per_class, |number| (90 + number * 13 % 80, 100 + number * 29 % 60))
}

/// The same, all of one size.
#[allow(dead_code, reason = "not every test that writes photos needs it")]
pub fn write_of_size(folder: &Path, per_class: u32, size: (u32, u32)) -> Vec<PathBuf> {
    write_sized(folder, per_class, |_| size)
}

fn write_sized(folder: &Path, per_class: u32, size: impl Fn(u32) -> (u32, u32)) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for (class, name) in CLASSES.iter().enumerate() {
        let class_folder = folder.join(name);
        std::fs::create_dir_all(&class_folder).unwrap();
        for number in 0..per_class {
            let (format, extension) =
                if number % 4 == 3 { (ImageFormat::Png, "png") } else { (ImageFormat::Jpeg, "JPG") };
            let file = class_folder.join(format!("Été {number} (copy).{extension}"));
            pattern(class, number, size(number)).save_with_format(&file, format).unwrap();
            files.push(file);
        }
    }
    files
}
