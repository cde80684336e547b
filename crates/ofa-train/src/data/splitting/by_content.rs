//! Division of image files by the SHA-256 of their bytes.
//!
//! Whether an image is a test image depends on its bytes alone: `SHA-256(salt, digest of the bytes)`, read as a fraction
//! of 2⁶⁴, is compared with a fixed share. So an image stays where it is when others come, go or are renamed, and copies
//! of a file are never apart. In a class of few images such shares are a matter of luck; there, the images with the
//! smallest fractions are taken.

use super::{CLASSES_SHOWN, Carved};
use ofa_space::digest::Digest;
use ofa_space::listing;
use std::collections::{BTreeMap, BTreeSet};

/// Share of the images that are test images, per cent.
const TEST_PERCENT: u64 = 15;
/// Share of the others that are validation images, per cent.
const VALIDATION_PERCENT: u64 = 10;
/// A class with fewer different images than this gives the first ones instead of a share.
const FEW: usize = 20;
/// The same for every seed, or a network trained with one seed would be tested on its own training images with another.
const TEST_SALT: &str = "test images";
/// The seed follows.
const VALIDATION_SALT: &str = "validation images";

/// What is needed to divide images.
pub(super) struct Contents<'a> {
    /// Class of each image.
    pub labels: &'a [usize],
    /// SHA-256 of each image's file.
    pub digests: Vec<&'a str>,
    /// Names of the classes.
    pub class_names: &'a [String],
}

/// A share of a class.
struct Share {
    salt: String,
    percent: u64,
    /// Different images that a class of few must have to give one.
    least: usize,
}

impl Contents<'_> {
    /// Test images, out of all.
    pub fn test(&self) -> Carved {
        let share = Share { salt: TEST_SALT.to_owned(), percent: TEST_PERCENT, least: 3 };
        let all: Vec<usize> = (0..self.labels.len()).collect();
        let (chosen, few) = self.take(&all, &share);
        let mut notes = vec![format!(
            "test: {} of {} images, {TEST_PERCENT} % by the SHA-256 of each file, the same for every seed",
            chosen.len(),
            all.len()
        )];
        notes.extend(few);
        Carved { chosen, notes }
    }

    /// Validation images, out of those that remain: all of them, whatever number is scored.
    pub fn validation(&self, remaining: &[usize], seed: u64) -> Carved {
        let share = Share { salt: format!("{VALIDATION_SALT} {seed}"), percent: VALIDATION_PERCENT, least: 2 };
        let (chosen, few) = self.take(remaining, &share);
        let mut notes = vec![format!(
            "validation: {} images, {VALIDATION_PERCENT} % of the other {} by the SHA-256 of each file and seed {seed}",
            chosen.len(),
            remaining.len()
        )];
        notes.extend(few);
        Carved { chosen, notes }
    }

    /// A share of the images `from`, in hash order, and a note on classes of few images.
    fn take(&self, from: &[usize], share: &Share) -> (Vec<usize>, Option<String>) {
        let mut classes_of: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for &image in from {
            classes_of.entry(self.digests[image]).or_default().insert(self.labels[image]);
        }
        let mut of_class: BTreeMap<usize, BTreeSet<(u64, &str)>> = BTreeMap::new();
        let mut taken: BTreeSet<(u64, &str)> = BTreeSet::new();
        for (digest, classes) in &classes_of {
            let ranked = (rank(&share.salt, digest), *digest);
            match classes.first() {
                Some(class) if classes.len() == 1 => {
                    of_class.entry(*class).or_default().insert(ranked);
                }
                // In several classes: no class can decide alone.
                _ if is_within(ranked.0, share.percent) => {
                    taken.insert(ranked);
                }
                _ => {}
            }
        }
        let mut few = Vec::new();
        for (class, images) in of_class {
            if images.len() >= FEW {
                taken.extend(images.into_iter().filter(|(rank, _)| is_within(*rank, share.percent)));
                continue;
            }
            few.push(format!("{} ({})", self.class_names[class], images.len()));
            let count = match images.len() {
                size if size < share.least => 0,
                size => (size * share.percent as usize / 100).max(1),
            };
            taken.extend(images.into_iter().take(count));
        }
        let places: BTreeMap<&str, usize> =
            taken.iter().enumerate().map(|(place, (_, digest))| (*digest, place)).collect();
        let mut chosen: Vec<(usize, usize)> =
            from.iter().filter_map(|&image| Some((*places.get(self.digests[image])?, image))).collect();
        chosen.sort_unstable();
        let note = (!few.is_empty()).then(|| {
            let shown = listing::beginning(&few, CLASSES_SHOWN);
            format!("of classes with fewer than {FEW} images the first in hash order, not a share: {shown}")
        });
        (chosen.into_iter().map(|(_, image)| image).collect(), note)
    }
}

/// The first 64 bits of `SHA-256(salt, digest)`, both as text.
fn rank(salt: &str, digest: &str) -> u64 {
    let mut hash = Digest::default();
    hash.add(salt);
    hash.add([0]);
    hash.add(digest);
    hash.bytes().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Whether a rank is among the lowest `percent` per cent of all that there can be.
fn is_within(rank: u64, percent: u64) -> bool {
    u128::from(rank) * 100 < u128::from(percent) << 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ofa_space::digest::sha256;

    fn digests(images: std::ops::Range<usize>) -> Vec<String> {
        images.map(|image| sha256(image.to_string())).collect()
    }

    fn chosen(digests: &[String], labels: &[usize], seed: u64) -> (BTreeSet<String>, BTreeSet<String>) {
        let class_names: Vec<String> = (0..=labels.iter().max().copied().unwrap_or(0)).map(|c| c.to_string()).collect();
        let contents =
            Contents { labels, digests: digests.iter().map(String::as_str).collect(), class_names: &class_names };
        let test = contents.test().chosen;
        let remaining: Vec<usize> = (0..labels.len()).filter(|image| !test.contains(image)).collect();
        let validation = contents.validation(&remaining, seed).chosen;
        let named = |images: Vec<usize>| images.into_iter().map(|image| digests[image].clone()).collect();
        (named(test), named(validation))
    }

    #[test]
    fn the_shares_are_met_and_nothing_moves_when_images_come_and_go() {
        let all = digests(0..4000);
        let labels: Vec<usize> = (0..4000).map(|image| image % 4).collect();
        let (test, validation) = chosen(&all, &labels, 7);
        assert!((550..650).contains(&test.len()), "{}", test.len());
        assert!((300..380).contains(&validation.len()), "{}", validation.len());
        assert!(test.is_disjoint(&validation));
        let (fewer_test, fewer_validation) = chosen(&all[1000..3000], &labels[1000..3000], 7);
        assert!(fewer_test.is_subset(&test) && fewer_validation.is_subset(&validation));
        let (same_test, other_validation) = chosen(&all, &labels, 8);
        assert_eq!(same_test, test);
        assert_ne!(other_validation, validation);
    }

    #[test]
    fn a_class_of_few_gives_its_first_and_copies_stay_together() {
        // One, two, three and nineteen images, then one image three times over in a large class and in a small one.
        let mut all = digests(0..75);
        let mut labels: Vec<usize> = [1, 2, 3, 19, 50].iter().enumerate().flat_map(|(c, n)| vec![c; *n]).collect();
        for class in [4, 4, 2] {
            all.push(sha256("copy"));
            labels.push(class);
        }
        let (test, validation) = chosen(&all, &labels, 0);
        let count = |set: &BTreeSet<String>, images: std::ops::Range<usize>| {
            all[images].iter().filter(|digest| set.contains(*digest)).count()
        };
        let of = |images: std::ops::Range<usize>| (count(&test, images.clone()), count(&validation, images));
        assert_eq!([of(0..1), of(1..3), of(3..6), of(6..25)], [(0, 0), (0, 1), (1, 1), (2, 1)]);
    }
}
