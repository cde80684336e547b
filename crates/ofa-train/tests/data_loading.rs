//! Data sets as a user would give them: loaded, split, cut into batches, and refused when damaged.
#![allow(clippy::unwrap_used, missing_docs)]

use flate2::read::GzDecoder;
use ofa_train::data::{self, Augmentation, Dataset, LoadOptions, OnCorrupt, Split, SplitName, batches};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

fn options() -> LoadOptions {
    LoadOptions {
        seed: 0,
        max_resolution: 64,
        validation: 2000,
        on_corrupt: OnCorrupt::Error,
        ..LoadOptions::default()
    }
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
