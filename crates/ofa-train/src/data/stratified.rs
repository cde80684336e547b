//! Seeded class-balanced samples.

use super::Split;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// `count` images with the classes as equal in number as the split allows; ascending indices.
pub fn sample(split: &Split, count: usize, seed: u64) -> Vec<usize> {
    sample_labels(split.labels(), count, seed)
}

/// The same over bare labels.
pub fn sample_labels(labels: &[usize], count: usize, seed: u64) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |largest| largest + 1);
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (index, label) in labels.iter().enumerate() {
        by_class[*label].push(index);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for indices in &mut by_class {
        indices.shuffle(&mut rng);
    }
    // One of each class in turn, until enough.
    let mut chosen = Vec::with_capacity(count.min(labels.len()));
    let mut round = 0;
    while chosen.len() < count.min(labels.len()) {
        let layer = by_class.iter().filter_map(|indices| indices.get(round));
        chosen.extend(layer.take(count - chosen.len()).copied());
        round += 1;
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_balanced_as_far_as_they_go() {
        let labels: Vec<usize> = (0..100).map(|i| usize::from(i >= 90)).collect();
        let chosen = sample_labels(&labels, 30, 1);
        assert_eq!(chosen.len(), 30);
        assert_eq!(chosen.iter().filter(|i| labels[**i] == 1).count(), 10);
        assert_eq!(chosen, sample_labels(&labels, 30, 1));
        assert_ne!(chosen, sample_labels(&labels, 30, 2));
        assert_eq!(sample_labels(&labels, 1000, 0).len(), 100);
        assert!(sample_labels(&[], 5, 0).is_empty());
    }
}
