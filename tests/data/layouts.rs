//! What a folder holds is decided by its whole layout, not by one name in it.

use crate::pictures::{looked_at, training_images, write};
use crate::program::run;
use std::path::Path;

/// The classes that `ofa run` would learn.
fn classes(data: &Path) -> String {
    let told = run(&["run", "--data", data.to_str().unwrap(), "--dry-run"]).ok().stderr;
    told.lines().find(|line| line.contains("classes: ")).unwrap_or_else(|| panic!("{told}")).trim().to_owned()
}

fn write_classes(folder: &Path, classes: &[&str], first: u32, count: u32) {
    for (number, class) in classes.iter().enumerate() {
        let first = first + number as u32 * 1000;
        write(&folder.join(class), first..first + count);
    }
}

#[test]
fn parts_go_by_any_of_their_names_in_any_case() {
    for (train, val, test) in [("Train", "Valid", "TEST"), ("training", "dev", "testing")] {
        let folder = tempfile::tempdir().unwrap();
        for (part, first, count) in [(train, 0, 40), (val, 100, 5), (test, 200, 7)] {
            write_classes(&folder.path().join(part), &["ja", "nein"], first, count);
        }
        let looked = looked_at(folder.path()).ok();
        assert_eq!(training_images(&looked), 80, "{looked:#?}");
        assert!(looked.stderr.contains("the 14 images that come as test images"), "{looked:#?}");
        assert_eq!(classes(folder.path()), "2 classes: ja, nein");
    }
}

#[test]
fn a_class_may_be_called_train() {
    let folder = tempfile::tempdir().unwrap();
    // Pictures of vehicles: there are no class folders in `train`.
    write_classes(folder.path(), &["car", "plane", "train"], 0, 30);
    assert_eq!(classes(folder.path()), "3 classes: car, plane, train");
    let told = looked_at(folder.path()).ok().stderr;
    assert!(told.contains("`train` is read as a class"), "{told}");
}

#[test]
fn a_folder_beside_the_parts_that_is_none_makes_all_of_them_classes() {
    let folder = tempfile::tempdir().unwrap();
    write_classes(&folder.path().join("train"), &["x", "y"], 0, 30);
    write_classes(&folder.path().join("extra"), &["x", "y"], 100, 30);
    assert_eq!(classes(folder.path()), "2 classes: extra, train");
    let told = looked_at(folder.path()).ok().stderr;
    assert!(told.contains("`train` is read as a class") && told.contains("`extra`"), "{told}");
}

#[test]
fn a_single_folder_is_entered() {
    let folder = tempfile::tempdir().unwrap();
    write_classes(&folder.path().join("photos/photos"), &["x", "y", "z"], 0, 30);
    assert_eq!(classes(folder.path()), "3 classes: x, y, z");
}

#[test]
fn a_table_of_labels_is_read_where_no_class_folder_is() {
    for (name, separator) in [("labels.csv", ","), ("labels.tsv", "\t")] {
        let folder = tempfile::tempdir().unwrap();
        let files = write(&folder.path().join("images"), 0..80);
        let mut table = format!("file{separator}label\n");
        for (number, file) in files.iter().enumerate() {
            let relative = file.strip_prefix(folder.path()).unwrap().display();
            table += &format!("{relative}{separator}{}\n", ["odd one", "even"][number % 2]);
        }
        std::fs::write(folder.path().join(name), &table).unwrap();
        assert_eq!(classes(folder.path()), "2 classes: even, odd one");

        let with_parts: String = table
            .lines()
            .enumerate()
            .map(|(number, line)| match number {
                0 => format!("{line}{separator}split\n"),
                1..=60 => format!("{line}{separator}train\n"),
                61..=70 => format!("{line}{separator}val\n"),
                _ => format!("{line}{separator}test\n"),
            })
            .collect();
        std::fs::write(folder.path().join(name), with_parts).unwrap();
        let looked = looked_at(folder.path()).ok();
        assert_eq!(training_images(&looked), 60, "{looked:#?}");
        assert!(looked.stderr.contains("the 10 images that come as test images"), "{looked:#?}");
    }
}
