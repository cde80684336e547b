//! Seeded samples and orders of images that respect the classes.

use crate::data::Split;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// A class-balanced sample of `count` images of a split: as many of each class as of any other (differing by one at
/// most) as long as the classes last. Ascending, without repeats; all images if there are no more than `count`.
pub fn sample(split: &Split, count: usize, seed: u64) -> Vec<usize> {
    sample_labels(split.labels(), count, seed)
}

/// [`sample`] over bare labels.
pub fn sample_labels(labels: &[usize], count: usize, seed: u64) -> Vec<usize> {
    let mut chosen = capped_sample(labels, count, seed, |size| size);
    chosen.sort_unstable();
    chosen
}

/// A sample of `count` images of a split in which every class has its share of the split, within one image a class: what is
/// measured on it is as on the whole split. Ascending, without repeats; all images if there are no more than `count`.
pub fn proportional_sample(split: &Split, count: usize, seed: u64) -> Vec<usize> {
    let labels = split.labels();
    let all: Vec<usize> = (0..labels.len()).collect();
    let mut chosen = proportional_order(labels, &all, seed);
    chosen.truncate(count);
    chosen.sort_unstable();
    chosen
}

/// Like [`sample_labels`], in the order drawn, and never more than `cap(size of the class)` of a class.
pub(crate) fn capped_sample(labels: &[usize], count: usize, seed: u64, cap: impl Fn(usize) -> usize) -> Vec<usize> {
    let mut classes = shuffled_classes(labels, seed);
    // Who is served in an incomplete round must not always be the first classes.
    classes.shuffle(&mut ChaCha8Rng::seed_from_u64(!seed));
    for class in &mut classes {
        class.truncate(cap(class.len()));
    }
    let rounds = classes.iter().map(Vec::len).max().unwrap_or(0);
    (0..rounds)
        .flat_map(|round| classes.iter().filter_map(move |class| class.get(round).copied()))
        .take(count)
        .collect()
}

/// All of `indices` (into `labels`) in a seeded order in which every beginning holds the classes in proportion to
/// their sizes, within one image a class.
pub(crate) fn proportional_order(labels: &[usize], indices: &[usize], seed: u64) -> Vec<usize> {
    let own: Vec<usize> = indices.iter().map(|&i| labels[i]).collect();
    let mut keyed: Vec<(f64, usize)> = shuffled_classes(&own, seed)
        .iter()
        .flat_map(|class| {
            let size = class.len() as f64;
            class.iter().enumerate().map(move |(rank, &i)| ((rank as f64 + 0.5) / size, i))
        })
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    keyed.into_iter().map(|(_, i)| indices[i]).collect()
}

/// The images of each class, shuffled.
fn shuffled_classes(labels: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let mut classes = vec![Vec::new(); labels.iter().max().map_or(0, |&max| max + 1)];
    for (i, &label) in labels.iter().enumerate() {
        classes[label].push(i);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for class in &mut classes {
        class.shuffle(&mut rng);
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(labels: &[usize], chosen: &[usize], classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &i in chosen {
            counts[labels[i]] += 1;
        }
        counts
    }

    proptest! {
        #[test]
        fn samples_are_balanced_as_long_as_classes_last(
            labels in prop::collection::vec(0usize..5, 0..200), count in 0usize..250, seed: u64,
        ) {
            let chosen = sample_labels(&labels, count, seed);
            prop_assert_eq!(chosen.len(), count.min(labels.len()));
            prop_assert!(chosen.windows(2).all(|w| w[0] < w[1]));
            let all: Vec<usize> = (0..labels.len()).collect();
            let (got, sizes) = (counts(&labels, &chosen, 5), counts(&labels, &all, 5));
            let most = got.iter().max().copied().unwrap_or(0);
            for class in 0..5 {
                prop_assert!(got[class] + 1 >= most || got[class] == sizes[class]);
            }
        }

        #[test]
        fn beginnings_of_the_order_are_proportional(
            labels in prop::collection::vec(0usize..4, 1..300), seed: u64, share in 0.0f64..1.0,
        ) {
            let all: Vec<usize> = (0..labels.len()).collect();
            let order = proportional_order(&labels, &all, seed);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(&sorted, &all);
            let cut = (labels.len() as f64 * share) as usize;
            let (got, sizes) = (counts(&labels, &order[..cut], 4), counts(&labels, &all, 4));
            for class in 0..4 {
                let fair = sizes[class] as f64 * cut as f64 / labels.len() as f64;
                prop_assert!((got[class] as f64 - fair).abs() <= 2.0, "{:?} of {:?} at {}", got, sizes, cut);
            }
        }
    }

    #[test]
    fn another_seed_gives_another_sample() {
        let labels: Vec<usize> = (0..100).map(|i| i % 3).collect();
        assert_ne!(sample_labels(&labels, 30, 1), sample_labels(&labels, 30, 2));
        assert_eq!(sample_labels(&labels, 30, 1), sample_labels(&labels, 30, 1));
    }
}
