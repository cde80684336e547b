//! The same image in training and test is noticed before training.

use crate::pictures::{looked_at, training, training_images, write};
use crate::program::run_line;
use std::path::Path;

/// Two classes of 40 and 10 images in two parts; the first three test images of `a` are training images too.
fn leaking(folder: &Path) {
    for (class, first) in [("a", 0), ("b", 1000)] {
        write(&folder.join("train").join(class), first..first + 40);
        write(&folder.join("test").join(class), first + 500..first + 510);
    }
    for number in 0..3 {
        let from = folder.join(format!("train/a/{number:04}.png"));
        std::fs::copy(from, folder.join(format!("test/a/copy of {number}.png"))).unwrap();
    }
}

#[test]
fn images_in_training_and_test_are_counted_and_can_be_dropped() {
    let folder = tempfile::tempdir().unwrap();
    leaking(folder.path());
    let looked = looked_at(folder.path()).ok();
    assert!(looked.stderr.contains("3 images are in more than one of training, validation and test"), "{looked:#?}");
    let config = training(folder.path(), 1.0);
    let line = "train {} --data {} --dry-run --drop-duplicates";
    let dropped = run_line(line, &[&config, folder.path()]).ok();
    assert!(!dropped.stderr.contains("in more than one of training"), "{dropped:#?}");
    let (with, without) = (training_images(&looked), training_images(&dropped));
    assert!((1..=3).contains(&(with - without)), "{with} training images, {without} without copies");
    let plan = run_line("run --data {} --dry-run --drop-duplicates", &[folder.path()]).ok().json();
    assert_eq!(plan["config"]["train"]["drop_duplicates"], true, "{plan}");
}

#[test]
fn copies_in_a_folder_that_is_divided_stay_together() {
    let folder = tempfile::tempdir().unwrap();
    for (class, first) in [("a", 0), ("b", 1000)] {
        let files = write(&folder.path().join(class), first..first + 40);
        for file in files {
            let copy = format!("copy of {}", file.file_name().unwrap().to_str().unwrap());
            std::fs::copy(&file, file.with_file_name(copy)).unwrap();
        }
    }
    let out = folder.path().join("out");
    run_line("train {} --data {} --out {}", &[&training(folder.path(), 0.1), folder.path(), &out]).ok();
    let table = std::fs::read_to_string(out.join("split.csv")).unwrap();
    let part_of = |file: &str| {
        let line = table.lines().find(|line| line.starts_with(&format!("{file},"))).unwrap_or_else(|| panic!("{file}"));
        line.split(',').nth(2).unwrap()
    };
    for number in 0..40 {
        assert_eq!(part_of(&format!("a/{number:04}.png")), part_of(&format!("a/copy of {number:04}.png")));
    }
}

#[test]
fn an_image_in_two_classes_is_mentioned() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(&folder.path().join("a"), 0..30);
    write(&folder.path().join("b"), 100..130);
    std::fs::copy(&files[0], folder.path().join("b/0000.png")).unwrap();
    let told = looked_at(folder.path()).ok().stderr;
    assert!(told.contains("1 images are in more than one class"), "{told}");
}
