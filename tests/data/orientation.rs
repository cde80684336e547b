//! Photos are seen as their EXIF data turn them.

use crate::pictures::training;
use crate::program::run_line;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use std::path::Path;

/// A photo without any symmetry.
fn photo(number: u32, (width, height): (u32, u32)) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| {
        let corner = if x < width / 3 && y < height / 4 { 90 } else { 0 };
        Rgb([(x * 160 / width + corner) as u8, (y * 160 / height + corner) as u8, (number * 29 % 200) as u8])
    })
    .into()
}

/// A JPEG with this EXIF orientation.
fn jpeg(image: &DynamicImage, orientation: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    let bytes = bytes.into_inner();
    // TIFF in the order of Motorola, one entry: tag 0x0112, a short.
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&bytes[..2], &[0xff, 0xe1], &length, &exif, &bytes[2..]].concat()
}

/// What the photo shows once it is turned, without loss.
fn turned(jpeg: &[u8], orientation: u8) -> DynamicImage {
    let stored = image::load_from_memory(jpeg).unwrap();
    match orientation {
        3 => stored.rotate180(),
        6 => stored.rotate90(),
        8 => stored.rotate270(),
        2 => stored.fliph(),
        5 => stored.rotate90().fliph(),
        _ => stored,
    }
}

fn logits(model: &Path, images: [&Path; 2]) -> [Value; 2] {
    let lines = run_line("classify --model {} {} {}", &[model, images[0], images[1]]).ok().lines();
    [lines[0]["top"].clone(), lines[1]["top"].clone()]
}

#[test]
fn a_photo_is_classified_upright() {
    let folder = tempfile::tempdir().unwrap();
    let (stored, upright) = (folder.path().join("stored.jpg"), folder.path().join("upright.png"));
    for orientation in [1, 2, 3, 5, 6, 8] {
        let bytes = jpeg(&photo(3, (300, 200)), orientation);
        std::fs::write(&stored, &bytes).unwrap();
        turned(&bytes, orientation).save(&upright).unwrap();
        let [ours, expected] = logits(Path::new("mcunet"), [&stored, &upright]);
        assert_eq!(ours, expected, "orientation {orientation}");
    }
}

#[test]
fn networks_are_trained_and_calibrated_on_upright_photos() {
    let folder = tempfile::tempdir().unwrap();
    let (stored, upright) = (folder.path().join("stored"), folder.path().join("upright"));
    let mut number = 0;
    for (part, count) in [("train", 12), ("val", 2), ("test", 2)] {
        for class in ["a", "b"] {
            for data in [&stored, &upright] {
                std::fs::create_dir_all(data.join(part).join(class)).unwrap();
            }
            for _ in 0..count {
                number += 1;
                let bytes = jpeg(&photo(number, (28, 28)), 6);
                let file = format!("{part}/{class}/{number:03}");
                std::fs::write(stored.join(format!("{file}.jpg")), &bytes).unwrap();
                turned(&bytes, 6).save(upright.join(format!("{file}.png"))).unwrap();
            }
        }
    }
    // The same pictures in the same order give the same networks and statistics.
    let config = training(folder.path(), 1.0);
    let networks = [&stored, &upright].map(|data| {
        let out = data.join("out");
        run_line("train {} --data {} --out {}", &[&config, data, &out]).ok();
        let (supernet, net) = (out.join("supernet.safetensors"), data.join("net.safetensors"));
        run_line("extract --model {} --arch min --calibrate {} -o {}", &[&supernet, data, &net]).ok();
        let report = run_line("eval --model {} --data {} --split train", &[&net, data]).ok().json();
        let image = upright.join("test/a");
        let image = std::fs::read_dir(image).unwrap().next().unwrap().unwrap().path();
        let [logits, _] = logits(&net, [&image, &image]);
        (report["top1"].clone(), logits)
    });
    assert_eq!(networks[0], networks[1]);
}
