//! An image stays in its part when others come and go.

use crate::pictures::{looked_at, noise, training, training_images, write};
use crate::program::run_line;
use std::collections::BTreeMap;
use std::path::Path;

/// Three classes of thirty pictures of noise: nothing can be learnt but the very pictures.
fn noise_in_classes(folder: &Path) {
    for (class, name) in ["a", "b", "c"].iter().enumerate() {
        write(&folder.join(name), class as u32 * 100..class as u32 * 100 + 30);
    }
}

/// Right answers and images of a part.
fn right(model: &Path, data: &Path, options: &str) -> (i64, i64) {
    let report = run_line(&format!("eval --model {{}} --arch max --data {{}} {options}"), &[model, data]).ok().json();
    let images = report["images"].as_f64().unwrap();
    ((report["top1"].as_f64().unwrap() * images).round() as i64, images as i64)
}

#[test]
fn a_photo_more_moves_no_training_image_into_the_test() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    noise_in_classes(&data);
    run_line("train {} --data {} --out {}", &[&training(folder.path(), 50.0), &data, &out]).ok();
    let model = out.join("supernet.safetensors");
    let (learnt, all) = right(&model, &data, "--split train");
    assert!(learnt * 10 > all * 9, "only {learnt} of {all} training images were learnt");
    let before = right(&model, &data, "--split test");
    noise(777).save(data.join("a").join("0000 first.png")).unwrap();
    let after = right(&model, &data, "--split test");
    // The new picture may itself be a test image, and be right.
    assert!((0..=1).contains(&(after.0 - before.0)), "{before:?} right before, {after:?} with a picture more");
    assert!((0..=1).contains(&(after.1 - before.1)), "{before:?} before, {after:?} with a picture more");
    // Renamed pictures, in a folder of another name, are the same pictures.
    let moved = folder.path().join("moved");
    std::fs::rename(&data, &moved).unwrap();
    std::fs::rename(moved.join("b/0100.png"), moved.join("b/zzz.png")).unwrap();
    assert_eq!(right(&model, &moved, "--split test"), after);

    // The parts are written down, and the model's record is read.
    let table = std::fs::read_to_string(out.join("split.csv")).unwrap();
    assert_eq!(table.lines().count(), 91, "{table}");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in table.lines().skip(1) {
        *counts.entry(line.split(',').nth(2).unwrap()).or_default() += 1;
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ["test", "train", "val"]);
    assert_eq!(counts["test"] as i64, before.1);
    let bytes = std::fs::read(&model).unwrap();
    let record = b"split_rule";
    assert!(bytes.windows(record.len()).any(|window| window == record), "the model records no rule");
}

#[test]
fn new_images_are_mentioned_and_every_part_can_be_scored() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    noise_in_classes(&data);
    run_line("train {} --data {} --out {}", &[&training(folder.path(), 0.2), &data, &out]).ok();
    let model = out.join("supernet.safetensors");
    let part = |name: &str| right(&model, &data, &format!("--calibration-images 8 --split {name}")).1;
    assert_eq!(part("train") + part("val") + part("test"), part("all"));
    assert_eq!((part("all"), part("val")), (90, part("validation")));
    write(&data.join("c"), 500..540);
    let line = "eval --model {} --arch max --data {} --calibration-images 8";
    let told = run_line(line, &[&model, &data]).ok().stderr;
    assert!(told.contains("was trained on") && told.contains("training images now"), "{told}");
}

#[test]
fn a_class_of_few_gives_its_first_images_and_this_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("few"), 0..6);
    write(&folder.path().join("many"), 100..200);
    let told = looked_at(folder.path()).ok().stderr;
    assert!(told.contains("fewer than 20 images") && told.contains("few (6)"), "{told}");
}

#[test]
fn where_only_test_images_are_given_validation_images_do_not_move_either() {
    let folder = tempfile::tempdir().unwrap();
    for (class, start) in [("a", 0), ("b", 1000)] {
        write(&folder.path().join("train").join(class), start..start + 100);
        write(&folder.path().join("test").join(class), start + 500..start + 510);
    }
    // Twenty pictures more: a tenth of them, and no others, leave the training images.
    let before = training_images(&looked_at(folder.path()).ok());
    write(&folder.path().join("train/a"), 200..220);
    let after = training_images(&looked_at(folder.path()).ok());
    assert!((150..200).contains(&before) && (after - before) > 10, "{before}, then {after}");
}
