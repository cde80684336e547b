//! Division by position in a file or a listing of files: CIFAR, IDX and the bundled digits, and folders for networks that
//! were trained before folders were divided by content.

use super::Carved;
use crate::data::stratified;

/// The test split of a folder without one must be the same whatever seed a command is run with, or a network
/// trained with one seed would be tested on its own training images with another.
const TEST_SEED: u64 = 0x7e57;
/// Share of each class that such a test split takes, per cent.
const TEST_PERCENT: usize = 15;
/// A validation split never takes more than one image in this many of a class.
const VALIDATION_DIVISOR: usize = 5;

/// Test images, out of all.
pub(super) fn test(labels: &[usize]) -> Carved {
    let chosen = stratified::capped_sample(labels, labels.len(), TEST_SEED, |size| match size {
        0..3 => 0,
        _ => (size * TEST_PERCENT / 100).max(1),
    });
    let note = format!(
        "test: {} images, {TEST_PERCENT} % of each class, set apart from all {} (fixed seed {TEST_SEED}, the same for \
         every seed)",
        chosen.len(),
        labels.len()
    );
    Carved { chosen, notes: vec![note] }
}

/// `count` validation images at most, out of those that remain.
pub(super) fn validation(labels: &[usize], remaining: &[usize], count: usize, seed: u64) -> Carved {
    let left: Vec<usize> = remaining.iter().map(|&i| labels[i]).collect();
    let cap = |size: usize| if size < 2 { 0 } else { (size / VALIDATION_DIVISOR).max(1) };
    let chosen: Vec<usize> =
        stratified::capped_sample(&left, count, seed, cap).into_iter().map(|i| remaining[i]).collect();
    let asked = match chosen.len() < count {
        true => format!(" ({count} requested, at most a fifth of each class taken)"),
        false => String::new(),
    };
    let note = format!(
        "validation: {} images{asked}, class-balanced, set apart from the training images (seed {seed})",
        chosen.len()
    );
    Carved { chosen, notes: vec![note] }
}
