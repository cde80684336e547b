//! Data sets as a user would give them: loaded, split, cut into batches, and refused when damaged.
#![allow(clippy::unwrap_used, missing_docs)]

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use image::{Rgb, RgbImage};
use ofa_space::{InputFormat, Resize};
use ofa_train::data::{
    self, Augmentation, DataError, Dataset, LoadOptions, OnCorrupt, Skipped, Split, SplitName, SplitRule, TrainedOn,
    batches, stratified,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

fn options() -> LoadOptions {
    LoadOptions { max_resolution: 64, ..LoadOptions::default() }
}

fn bundled() -> Dataset {
    data::load("bundled", &options()).unwrap()
}

fn all(split: &Split) -> Vec<usize> {
    (0..split.len()).collect()
}

fn class_counts(labels: impl IntoIterator<Item = usize>, classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    labels.into_iter().for_each(|label| counts[label] += 1);
    counts
}

/// The files of the bundled set, unzipped without our reader.
fn bundled_file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist").join(name);
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_bundled_set_is_whole_and_balanced() {
    let set = bundled();
    assert_eq!((set.train.len(), set.validation.len(), set.test.len()), (18_000, 2_000, 10_000));
    assert_eq!((set.channels, set.class_names.len()), (1, 10));
    assert_eq!(class_counts(set.validation.labels().to_vec(), 10), vec![200; 10]);
    let file = bundled_file("t10k-labels-idx1-ubyte.gz");
    let labels: Vec<usize> = file[8..].iter().map(|&label| usize::from(label)).collect();
    assert_eq!(set.test.labels(), labels);
    let pixels = &bundled_file("train-images-idx3-ubyte.gz")[16..];
    let images = all(&set.train).into_iter().map(|i| &pixels[set.train.position(i) * 784..][..784]);
    let values: Vec<f64> = images.flatten().map(|&v| f64::from(v) / 255.0).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    assert!((f64::from(set.input.mean[0]) - mean).abs() < 1e-6, "{:?}, not {mean}", set.input);
    assert!((f64::from(set.input.std[0]) - variance.sqrt()).abs() < 1e-6, "{:?}, not {}", set.input, variance.sqrt());
    // The beginning of the training split, which recalibration reads, has every class in proportion.
    let counts = class_counts(set.train.labels()[..1000].iter().copied(), 10);
    let whole = class_counts(set.train.labels().to_vec(), 10);
    for class in 0..10 {
        assert!((counts[class] as f64 - whole[class] as f64 / 18.0).abs() <= 2.0, "{counts:?}");
    }
}

#[test]
fn bundled_pixels_are_those_of_the_file() {
    let set = bundled();
    let (test_file, train_file) =
        (bundled_file("t10k-images-idx3-ubyte.gz"), bundled_file("train-images-idx3-ubyte.gz"));
    let (mean, std) = (set.input.mean[0], set.input.std[0]);
    let check = |split: SplitName, file: &[u8]| {
        let indices = [0, 7, set.split(split).len() - 1];
        let (images, labels) = set.eval_batch(split, &indices, 28).unwrap();
        assert_eq!(images.shape, [3, 28, 28, 1]);
        for (k, &index) in indices.iter().enumerate() {
            assert_eq!(labels[k], set.split(split).label(index));
            let start = 16 + set.split(split).position(index) * 784;
            for (value, &byte) in images.data[k * 784..(k + 1) * 784].iter().zip(&file[start..start + 784]) {
                assert_eq!(*value, (f32::from(byte) / 255.0 - mean) / std);
            }
        }
    };
    check(SplitName::Test, &test_file);
    check(SplitName::Train, &train_file);
    check(SplitName::Validation, &train_file);
}

#[test]
fn training_and_validation_share_no_image_and_leave_none_out() {
    for seed in [0, 5] {
        let set = data::load("bundled", &LoadOptions { seed, ..options() }).unwrap();
        let positions = |split: &Split| -> BTreeSet<usize> { all(split).iter().map(|&i| split.position(i)).collect() };
        let (train, validation) = (positions(&set.train), positions(&set.validation));
        assert!(train.is_disjoint(&validation));
        assert_eq!(train.union(&validation).copied().collect::<Vec<_>>(), (0..20_000).collect::<Vec<_>>());
        assert!(set.split_note.contains("2000 images"), "{}", set.split_note);
    }
}

#[test]
fn batches_do_not_depend_on_threads_or_company() {
    let set = bundled();
    let indices: Vec<usize> = (0..200).map(|i| i * 37 % 18_000).collect();
    let augmentation = Augmentation::default();
    let make = || set.train_batch(&indices, 24, &augmentation, 3, 9).unwrap();
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let (one, four) = (pool(1).install(make), pool(4).install(make));
    assert_eq!(one, four);
    let (alone, _) = set.train_batch(&indices[50..51], 24, &augmentation, 3, 9).unwrap();
    assert_eq!(alone.data, one.0.data[50 * 576..51 * 576]);
    let (next_epoch, _) = set.train_batch(&indices, 24, &augmentation, 3, 10).unwrap();
    assert_ne!(next_epoch.data, one.0.data);
    assert_ne!(batches::epoch_order(100, 1, 2), batches::epoch_order(100, 1, 3));
    assert_eq!(batches::epoch_order(100, 1, 2), batches::epoch_order(100, 1, 2));
}

#[test]
fn a_shifted_image_is_the_image_moved_with_black_coming_in() {
    let set = bundled();
    let augmentation = Augmentation { shift: 2, ..Augmentation::default() };
    let indices: Vec<usize> = (0..40).collect();
    let (plain, _) = set.eval_batch(SplitName::Train, &indices, 28).unwrap();
    let (varied, _) = set.train_batch(&indices, 28, &augmentation, 0, 0).unwrap();
    let black = (0.0 - set.input.mean[0]) / set.input.std[0];
    let moved = |image: &[f32], right: i32, down: i32| -> Vec<f32> {
        let pixel = |x: i32, y: i32| {
            if (0..28).contains(&x) && (0..28).contains(&y) { image[(y * 28 + x) as usize] } else { black }
        };
        (0..784).map(|i| pixel(i % 28 - right, i / 28 - down)).collect()
    };
    let mut seen = BTreeSet::new();
    for (image, varied) in plain.data.chunks(784).zip(varied.data.chunks(784)) {
        let shift = (0..25).map(|s| (s % 5 - 2, s / 5 - 2)).find(|&(right, down)| moved(image, right, down) == varied);
        seen.insert(shift.unwrap());
    }
    assert!(seen.len() > 10, "{seen:?}");
}

#[test]
fn limits_are_class_balanced() {
    let set = bundled();
    let chosen = stratified::sample(&set.test, 105, 4);
    let counts = class_counts(chosen.iter().map(|&i| set.test.label(i)), 10);
    assert!(counts.iter().all(|count| (10..=11).contains(count)) && chosen.len() == 105, "{counts:?}");
    assert_eq!(chosen, stratified::sample(&set.test, 105, 4));
    assert_ne!(chosen, stratified::sample(&set.test, 105, 5));
}

#[test]
fn impossible_requests_are_refused() {
    let mut set = bundled();
    let far = set.eval_batch(SplitName::Test, &[3, 10_000], 28).unwrap_err();
    assert!(matches!(far, DataError::OutOfRange { index: 10_000, len: 10_000, split: SplitName::Test }), "{far}");
    assert!(set.eval_batch(SplitName::Test, &[0], 0).unwrap_err().to_string().contains("resolution"));
    assert!(set.eval_batch(SplitName::Test, &[], 28).unwrap().0.data.is_empty());
    set.input.std.push(1.0);
    assert!(set.eval_batch(SplitName::Test, &[0], 28).unwrap_err().to_string().contains("normalisation"));
    // A model for colour reads grey images as colour.
    let grey = bundled();
    set.input.mean = vec![grey.input.mean[0]; 3];
    set.input.std = vec![grey.input.std[0]; 3];
    let (colour, _) = set.eval_batch(SplitName::Test, &[0], 28).unwrap();
    assert_eq!(colour.shape, [1, 28, 28, 3]);
    let (plain, _) = grey.eval_batch(SplitName::Test, &[0], 28).unwrap();
    assert!(colour.data.chunks(3).zip(&plain.data).all(|(pixel, value)| pixel == [*value; 3]));
}

// ---------------------------------------------------------------- IDX

/// A small IDX set of 3 classes in `folder`: 30 training and 9 test images of 4 × 5 pixels.
fn write_idx(folder: &Path) {
    let file = |dims: &[u32], values: Vec<u8>| -> Vec<u8> {
        let header = [0, 0, 8, dims.len() as u8].into_iter().chain(dims.iter().flat_map(|d| d.to_be_bytes()));
        header.chain(values).collect()
    };
    for (name, count) in [("train", 30u32), ("t10k", 9)] {
        let pixels = (0..count * 20).map(|i| (i * 7 % 256) as u8).collect();
        fs::write(folder.join(format!("{name}-images-idx3-ubyte")), file(&[count, 4, 5], pixels)).unwrap();
        let labels = (0..count).map(|i| (i % 3) as u8).collect();
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), file(&[count], labels)).unwrap();
    }
}

#[test]
fn idx_files_load_zipped_or_not_and_every_cut_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().to_str().unwrap();
    write_idx(folder.path());
    let plain = data::load(spec, &options()).unwrap();
    // A fifth of each class at most: 2 of 10.
    assert_eq!((plain.train.len(), plain.validation.len(), plain.test.len()), (24, 6, 9));
    assert!(plain.split_note.contains("at most a fifth"), "{}", plain.split_note);
    let (images, _) = plain.eval_batch(SplitName::Test, &[8], 4).unwrap();
    assert_eq!(images.shape, [1, 4, 4, 1]);

    let name = "train-images-idx3-ubyte";
    let whole = fs::read(folder.path().join(name)).unwrap();
    let refused = |file: &str, bytes: &[u8]| {
        fs::write(folder.path().join(file), bytes).unwrap();
        let error = data::load(spec, &options()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("download"), "{error}");
    };
    for length in [0, 3, 4, 15, 16, 17, whole.len() - 1] {
        refused(name, &whole[..length]);
    }
    refused(name, &[whole.as_slice(), &[0]].concat());
    refused(name, &[&[0, 0, 9, 3], &whole[4..]].concat());
    // A header that promises 2⁹⁶ bytes, and one of 7 GiB that are not there.
    refused(name, &[&[0, 0, 8, 3], [0xff; 12].as_slice(), &whole[16..]].concat());
    refused(name, &[&[0, 0, 8, 3, 0, 7, 0, 0, 0, 0, 64, 0, 0, 0, 1, 0], &whole[16..]].concat());
    fs::remove_file(folder.path().join(name)).unwrap();
    let missing = data::load(spec, &options()).unwrap_err().to_string();
    assert!(missing.contains(name), "{missing}");

    let mut zipped = GzEncoder::new(Vec::new(), Compression::default());
    zipped.write_all(&whole).unwrap();
    let zipped = zipped.finish().unwrap();
    let zipped_name = format!("{name}.gz");
    fs::write(folder.path().join(&zipped_name), &zipped).unwrap();
    let again = data::load(spec, &options()).unwrap();
    assert_eq!(again.input, plain.input);
    for length in [0, 5, zipped.len() / 2, zipped.len() - 1] {
        refused(&zipped_name, &zipped[..length]);
    }
}

// ---------------------------------------------------------------- CIFAR

/// Record `i` of a made-up CIFAR file: plane `c`, pixel `p` holds `(i + 80 c + p) % 256`.
fn cifar_record(label: &[u8], i: usize) -> Vec<u8> {
    let planes = (0..3).flat_map(|c| (0..1024).map(move |p| ((i + 80 * c + p) % 256) as u8));
    label.iter().copied().chain(planes).collect()
}

#[test]
fn cifar_binaries_load_and_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().to_str().unwrap();
    let file = |count: usize| -> Vec<u8> { (0..count).flat_map(|i| cifar_record(&[(i % 10) as u8], i)).collect() };
    for batch in 1..=5 {
        fs::write(folder.path().join(format!("data_batch_{batch}.bin")), file(20)).unwrap();
    }
    let missing = data::load(spec, &options()).unwrap_err().to_string();
    assert!(missing.contains("test_batch.bin"), "{missing}");
    fs::write(folder.path().join("test_batch.bin"), file(10)).unwrap();
    fs::write(folder.path().join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
    let set = data::load(spec, &options()).unwrap();
    assert_eq!((set.train.len(), set.validation.len(), set.test.len(), set.channels), (80, 20, 10, 3));
    assert_eq!(set.class_names[9], "j");
    let (images, labels) = set.eval_batch(SplitName::Test, &[7], 32).unwrap();
    assert_eq!((labels[0], images.shape), (7, [1, 32, 32, 3]));
    for (p, pixel) in images.data.chunks(3).enumerate() {
        for (c, value) in pixel.iter().enumerate() {
            let byte = ((7 + 80 * c + p) % 256) as f32;
            assert_eq!(*value, (byte / 255.0 - set.input.mean[c]) / set.input.std[c]);
        }
    }
    let path = folder.path().join("data_batch_3.bin");
    let mut bytes = file(20);
    bytes[3073 * 4] = 10;
    for bytes in [&bytes[..], &bytes[..bytes.len() - 1], &[]] {
        fs::write(&path, bytes).unwrap();
        let error = data::load(spec, &options()).unwrap_err().to_string();
        assert!(error.contains("data_batch_3.bin"), "{error}");
    }
}

#[test]
fn cifar_100_takes_the_fine_label_and_the_archives_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("cifar-100-binary");
    fs::create_dir(&inner).unwrap();
    let file = |copies: usize| -> Vec<u8> {
        (0..100 * copies).flat_map(|i| cifar_record(&[19, (i % 100) as u8], i)).collect()
    };
    fs::write(inner.join("train.bin"), file(2)).unwrap();
    fs::write(inner.join("test.bin"), file(1)).unwrap();
    let set = data::load(folder.path().to_str().unwrap(), &LoadOptions { validation: 0, ..options() }).unwrap();
    assert_eq!((set.class_names.len(), set.train.len(), set.validation.len()), (100, 200, 0));
    assert_eq!(set.test.labels(), (0..100).collect::<Vec<_>>());
}

// ---------------------------------------------------------------- image folders

/// A picture that differs from every other `tag`.
fn picture(width: u32, height: u32, tag: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, (tag * 37 % 256) as u8])
    })
}

fn save(folder: &Path, class: &str, file: &str, image: &RgbImage) {
    fs::create_dir_all(folder.join(class)).unwrap();
    image.save(folder.join(class).join(file)).unwrap();
}

const ODD_NAMES: [&str; 3] = ["Äpfel & Birnen", "two words", "猫"];

/// `<class>/…` with 20 photos of different sizes a class.
fn write_photos(folder: &Path) {
    for (class, name) in ODD_NAMES.iter().enumerate() {
        for i in 0..20 {
            let extension = ["jpg", "PNG", "webp", "jpeg"][i as usize % 4];
            let image = picture(150 + 3 * i, 220 - 4 * i, 100 * class as u32 + i);
            save(folder, name, &format!("ein Bild {i} é.{extension}"), &image);
        }
    }
    fs::create_dir(folder.join(".hidden")).unwrap();
    fs::write(folder.join(".hidden/a.jpg"), "nothing").unwrap();
    fs::write(folder.join(ODD_NAMES[0]).join("._a.jpg"), "nothing").unwrap();
    fs::write(folder.join(ODD_NAMES[0]).join("notes.txt"), "nothing").unwrap();
}

fn files(split: &Split) -> BTreeSet<PathBuf> {
    all(split).iter().map(|&i| split.file(i).unwrap().to_owned()).collect()
}

#[test]
fn class_folders_are_split_without_overlap_whatever_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    write_photos(folder.path());
    let spec = folder.path().to_str().unwrap();
    let set = data::load(spec, &LoadOptions { validation: 6, ..options() }).unwrap();
    let mut names = ODD_NAMES.map(str::to_owned);
    names.sort();
    assert_eq!(set.class_names, names);
    assert_eq!(set.split(SplitName::All).len(), 60);
    assert_eq!((set.channels, Skipped::counted(&set.skipped)), (3, vec![("txt".to_owned(), 1)]));
    let (train, validation, test) = (files(&set.train), files(&set.validation), files(&set.test));
    assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
    assert!(validation.len() <= 6 && (3..20).contains(&test.len()), "{}", set.split_note);
    let every: BTreeSet<PathBuf> = files(set.split(SplitName::All));
    assert_eq!(every.len(), 60);
    assert!([&train, &validation, &test].into_iter().all(|part| part.is_subset(&every)));
    for split in [&set.train, &set.validation, &set.test] {
        for i in 0..split.len() {
            let class = split.file(i).unwrap().parent().unwrap().file_name().unwrap().to_str().unwrap();
            assert_eq!(set.class_names[split.label(i)], class);
        }
    }
    // Another seed moves the validation split, never an image from the test split into training.
    let other = data::load(spec, &LoadOptions { validation: 6, seed: 8, ..options() }).unwrap();
    assert_eq!(files(&other.test), test);
    assert_ne!(files(&other.validation), validation);
    assert!(set.split_note.contains("15 %") && set.split_note.contains("seed 0"), "{}", set.split_note);
    let table = set.split_table().unwrap();
    assert_eq!(table.lines().count(), 61, "{table}");
    assert_eq!(table.lines().filter(|line| line.contains(",test,")).count(), test.len(), "{table}");

    // An image more moves no other.
    save(folder.path(), ODD_NAMES[1], "a first one.png", &picture(90, 80, 7));
    let more = data::load(spec, &LoadOptions { validation: 6, ..options() }).unwrap();
    assert_eq!(more.split(SplitName::All).len(), 61);
    assert!(files(&more.test).is_superset(&test) && files(&more.train).is_superset(&train));
}

#[test]
fn a_network_is_scored_on_the_pixels_that_its_training_kept() {
    let folder = tempfile::tempdir().unwrap();
    write_photos(folder.path());
    let spec = folder.path().to_str().unwrap();
    let trained = data::load(spec, &LoadOptions { max_resolution: 160, ..options() }).unwrap();
    let mut provenance = BTreeMap::new();
    trained.record(&mut provenance);
    let again = |provenance: &BTreeMap<String, String>| {
        let record = TrainedOn::from_metadata(provenance, &trained.class_names, &trained.input).unwrap();
        record.load(spec, 64, OnCorrupt::Error).unwrap()
    };
    let pixels = |set: &Dataset| set.eval_batch(SplitName::Test, &all(&set.test), 64).unwrap();
    assert_eq!(pixels(&again(&provenance)), pixels(&trained));
    // Networks of earlier versions have no record of it.
    provenance.remove("images_kept_for");
    assert_ne!(pixels(&again(&provenance)), pixels(&trained));
    for wrong in ["0", "-1", "many", "4000000000"] {
        provenance.insert("images_kept_for".into(), wrong.into());
        let error = TrainedOn::from_metadata(&provenance, &trained.class_names, &trained.input).unwrap_err();
        assert!(error.to_string().contains("images_kept_for"), "{error}");
    }
}

#[test]
fn class_folders_are_still_divided_by_position_for_networks_that_were_trained_so() {
    let folder = tempfile::tempdir().unwrap();
    write_photos(folder.path());
    let spec = folder.path().to_str().unwrap();
    let options = LoadOptions { validation: 6, rule: SplitRule::Position, ..options() };
    let set = data::load(spec, &options).unwrap();
    assert_eq!((set.train.len(), set.validation.len(), set.test.len()), (45, 6, 9));
    assert_eq!(class_counts(set.test.labels().to_vec(), 3), [3; 3]);
    // What was not read then changes no position.
    save(folder.path(), ODD_NAMES[0], "a.bmp", &picture(90, 80, 7));
    assert_eq!(files(&data::load(spec, &options).unwrap().test), files(&set.test));
    assert_eq!(set.test.position(0), data::load(spec, &options).unwrap().test.position(0));
}

#[test]
fn ready_made_parts_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let part = |part: &str, count: u32, tag: u32| {
        for (number, class) in ["a", "b"].into_iter().enumerate() {
            for i in 0..count {
                let image = picture(200 + i, 150 + number as u32, tag + i);
                save(&folder.path().join(part), class, &format!("{i}.png"), &image);
            }
        }
    };
    let spec = folder.path().to_str().unwrap();
    let load = || data::load(spec, &LoadOptions { validation: 2, ..options() });
    part("train", 10, 0);
    let alone = load().unwrap();
    assert_eq!((alone.train.len(), alone.validation.len(), alone.test.len()), (16, 2, 2));
    part("val", 3, 50);
    let with_val = load().unwrap();
    assert_eq!((with_val.train.len(), with_val.validation.len(), with_val.test.len()), (18, 2, 6));
    assert!(with_val.split_note.contains("val/ are the test images"), "{}", with_val.split_note);
    part("test", 2, 90);
    let with_both = load().unwrap();
    assert_eq!((with_both.train.len(), with_both.validation.len(), with_both.test.len()), (20, 6, 4));
    save(&folder.path().join("test"), "c", "0.png", &picture(200, 150, 1));
    assert!(load().unwrap_err().to_string().contains("class without training images"));
    fs::remove_dir_all(folder.path().join("test")).unwrap();
    fs::create_dir(folder.path().join("train/empty")).unwrap();
    assert!(load().unwrap_err().to_string().contains("empty"));
}

#[test]
fn photos_on_demand_give_the_same_batches_as_in_memory_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    write_photos(folder.path());
    let spec = folder.path().to_str().unwrap();
    let memory = data::load(spec, &options()).unwrap();
    let mut demand = data::load_within(spec, &options(), 1000).unwrap();
    assert!(demand.split_note.contains("decoded at each use"), "{}", demand.split_note);
    demand.input = memory.input.clone();
    assert!(matches!(memory.input.resize, Resize::CenterCrop { .. }));
    let indices = all(&memory.train);
    for resolution in [40, 64] {
        let evaluated = |set: &Dataset| set.eval_batch(SplitName::Train, &indices, resolution).unwrap();
        assert_eq!(evaluated(&memory), evaluated(&demand));
        let trained = |set: &Dataset| set.train_batch(&indices, resolution, &Augmentation::default(), 1, 2).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(trained(&memory), pool.install(|| trained(&demand)));
        assert_ne!(trained(&memory).0.data, evaluated(&memory).0.data);
    }
}

#[test]
fn one_image_file_gives_what_a_batch_gives() {
    let folder = tempfile::tempdir().unwrap();
    write_photos(folder.path());
    let set = data::load(folder.path().to_str().unwrap(), &LoadOptions { max_resolution: 112, ..options() }).unwrap();
    for i in 0..set.test.len() {
        let alone = data::read_image(set.test.file(i).unwrap(), &set.input, 3, 112).unwrap();
        assert_eq!(alone, set.eval_batch(SplitName::Test, &[i], 112).unwrap().0);
    }
    let grey = data::read_image(set.test.file(0).unwrap(), &set.input, 1, 112).unwrap_err();
    assert!(grey.to_string().contains("normalisation"), "{grey}");
}

#[test]
fn small_files_of_one_size_are_no_photos_and_grey_ones_stay_grey() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["x", "y"] {
        for i in 0..10 {
            let tag = if class == "x" { i } else { 100 + i };
            let grey = image::DynamicImage::ImageRgb8(picture(32, 32, tag)).into_luma8();
            fs::create_dir_all(folder.path().join(class)).unwrap();
            grey.save(folder.path().join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    let spec = folder.path().to_str().unwrap();
    let set = data::load(spec, &options()).unwrap();
    assert_eq!((set.channels, set.input.resize), (1, Resize::Stretch));
    assert_eq!(set.eval_batch(SplitName::Test, &[0], 32).unwrap().0.shape, [1, 32, 32, 1]);
    save(folder.path(), "x", "colour.png", &picture(32, 32, 3));
    assert_eq!(data::load(spec, &options()).unwrap().channels, 3);
    save(folder.path(), "x", "larger.png", &picture(33, 32, 3));
    assert!(matches!(data::load(spec, &options()).unwrap().input.resize, Resize::CenterCrop { .. }));
}

#[test]
fn damaged_images_are_named_or_skipped() {
    for extension in ["jpg", "png", "webp"] {
        let folder = tempfile::tempdir().unwrap();
        write_photos(folder.path());
        let path = folder.path().join(ODD_NAMES[1]).join(format!("broken.{extension}"));
        picture(160, 140, 9).save(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let spec = folder.path().to_str().unwrap();
        for damaged in [&whole[..whole.len() / 2], &whole[..whole.len() * 9 / 10], &whole[..20], b"not an image", b""] {
            fs::write(&path, damaged).unwrap();
            let error = data::load(spec, &options()).unwrap_err().to_string();
            assert!(error.contains(&format!("broken.{extension}")), "{error}");
            for memory in [1 << 30, 1000] {
                let skipping = LoadOptions { on_corrupt: OnCorrupt::Skip, ..options() };
                let set = data::load_within(spec, &skipping, memory).unwrap();
                let corrupt: Vec<&PathBuf> =
                    set.skipped.iter().filter(|s| s.kind == Skipped::CORRUPT).map(|s| &s.path).collect();
                assert_eq!(corrupt, [&path]);
                assert!(set.split_note.contains("1 files left out"), "{}", set.split_note);
                assert_eq!(set.train.len() + set.validation.len() + set.test.len(), 60);
            }
        }
    }
}

#[test]
fn folders_without_a_data_set_are_told_what_is_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().to_str().unwrap();
    let error = data::load(spec, &options()).unwrap_err().to_string();
    for layout in ["data_batch_1.bin", "train-images-idx3-ubyte", "<class>/*.jpg", "bundled"] {
        assert!(error.contains(layout), "{error}");
    }
    save(folder.path(), "only", "a.png", &picture(40, 40, 0));
    assert!(data::load(spec, &options()).unwrap_err().to_string().contains("one class folder only"));
    save(folder.path(), "second", "a.png", &picture(40, 40, 1));
    assert!(data::load(&format!("{spec}/nowhere"), &options()).unwrap_err().to_string().contains("does not exist"));
    // One image a class is enough to learn from, if not to test.
    assert_eq!(data::load(spec, &options()).unwrap().train.len(), 2);
}

/// An 8 × 8 baseline JPEG of four components with an Adobe marker (CMYK, stored inverted), each block constant:
/// 254, 128, 2, 254. Written by hand because no encoder here makes one.
fn cmyk_jpeg() -> Vec<u8> {
    let mut jpeg = vec![0xff, 0xd8];
    let mut segment = |marker: u8, body: &[u8]| {
        jpeg.extend([0xff, marker]);
        jpeg.extend((body.len() as u16 + 2).to_be_bytes());
        jpeg.extend(body);
    };
    segment(0xee, b"Adobe\x00\x64\x00\x00\x00\x00\x00");
    segment(0xdb, &[&[0u8][..], &[16; 64]].concat());
    segment(0xc0, &[8, 0, 8, 0, 8, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0]);
    // DC: `00` = no difference, `01` = a difference of six bits. AC: `0` = end of block.
    segment(0xc4, &[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6]);
    segment(0xc4, &[0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    segment(0xda, &[4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]);
    // +63, 0, -63, +63, then ones to fill the byte.
    jpeg.extend([0b0111_1111, 0b0000_0100, 0b0000_0011, 0b1111_1011, 0xff, 0xd9]);
    jpeg
}

#[test]
fn cmyk_photos_become_rgb() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ink.jpg");
    fs::write(&path, cmyk_jpeg()).unwrap();
    let raw = InputFormat { mean: vec![0.0; 3], std: vec![1.0; 3], resize: Resize::Stretch };
    let image = data::read_image(&path, &raw, 3, 8).unwrap();
    // Inverted CMYK: red = C·K, green = M·K, blue = Y·K.
    for pixel in image.data.chunks(3) {
        for (value, expected) in pixel.iter().zip([254.0f32, 128.0, 2.0]) {
            assert!((value * 255.0 - expected * 254.0 / 255.0).abs() < 3.0, "{pixel:?}");
        }
    }
}

// ---------------------------------------------------------------- real photos

#[test]
fn crops_of_real_photos_are_those_of_pillow() {
    let Some(shared) = ofa_reference_data::folder_with(&["data/mcunet"]) else { return };
    let folder = shared.join("data/mcunet");
    let golden: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("golden-50.json")).unwrap()).unwrap();
    let raw = InputFormat {
        mean: vec![0.0; 3],
        std: vec![1.0; 3],
        resize: Resize::CenterCrop { numerator: 256, denominator: 224 },
    };
    let mut photos = 0;
    for net in golden["nets"].as_object().unwrap().values() {
        let resolution = net["resolution"].as_u64().unwrap() as u32;
        for photo in net["images"].as_array().unwrap() {
            let file = folder.join("images").join(photo["file"].as_str().unwrap());
            let image = data::read_image(&file, &raw, 3, resolution).unwrap();
            let bytes: Vec<f64> = image.data.iter().map(|v| f64::from(v * 255.0)).collect();
            let (sum, expected) = (bytes.iter().sum::<f64>(), photo["crop_u8_sum"].as_f64().unwrap());
            // JPEG decoders round subsampled colour differently: a quarter of a grey level on average, 2 in a pixel.
            let difference = (sum - expected).abs() / bytes.len() as f64;
            assert!(difference <= 0.25, "{}: {sum}, not {expected}", file.display());
            for (value, expected) in bytes.iter().zip(photo["crop_u8_first4px"].as_array().unwrap()) {
                let expected = expected.as_f64().unwrap();
                assert!((value - expected).abs() <= 2.0, "{}: {value}, not {expected}", file.display());
            }
            photos += 1;
        }
    }
    assert!(photos > 0);
}

#[test]
fn cifar_as_files_has_the_published_mean_and_deviation() {
    let name = "data/cifar10/cifar10-jpeg.tar.gz";
    let Some(shared) = ofa_reference_data::folder_with(&[name]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    // Some 3,000 files are enough: each is 512 bytes of header, then the file in blocks of 512.
    GzDecoder::new(fs::File::open(shared.join(name)).unwrap()).take(5 << 20).read_to_end(&mut bytes).unwrap();
    let (mut at, mut count) = (0, 0);
    while let Some(header) = bytes.get(at..at + 512) {
        let text =
            |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim_matches('\0').to_owned();
        let (name, size) = (text(0..100), usize::from_str_radix(text(124..135).trim(), 8).unwrap());
        let Some(body) = bytes.get(at + 512..at + 512 + size) else { break };
        let (part, file) = name.split_once('/').unwrap();
        let class = file.trim_end_matches(".jpg").rsplit('_').next().unwrap();
        let class_folder = folder.path().join(part).join(class);
        fs::create_dir_all(&class_folder).unwrap();
        fs::write(class_folder.join(file), body).unwrap();
        (at, count) = (at + 512 + size.div_ceil(512) * 512, count + 1);
    }
    let set = data::load(folder.path().to_str().unwrap(), &LoadOptions { validation: 100, ..options() }).unwrap();
    assert_eq!(set.split(SplitName::All).len(), count);
    assert_eq!((set.class_names.len(), set.input.resize), (10, Resize::Stretch));
    // The figures of the whole set; a sample of these sizes stays within 0.01.
    for (c, (mean, std)) in [(0.4913, 0.2452), (0.4821, 0.2428), (0.4465, 0.2606)].into_iter().enumerate() {
        assert!((set.input.mean[c] - mean).abs() < 0.01 && (set.input.std[c] - std).abs() < 0.01, "{:?}", set.input);
    }
}
