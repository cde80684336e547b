//! Right and wrong answers class by class: what an accuracy over all images hides where classes are of unequal size.

use serde::{Deserialize, Serialize};

/// How often images of each class were taken for each class.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Confusion {
    /// `[class of the image][class of the answer]`.
    counts: Vec<Vec<usize>>,
    /// Images of each class, those without an answer (logits that are no numbers) counted.
    images: Vec<usize>,
}

/// Right and wrong answers of one class.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// Name of the class.
    pub class: String,
    /// Images of it.
    pub images: usize,
    /// Share of its images that were recognised; `None` without images.
    pub recall: Option<f64>,
    /// Share of the answers `class` that were right; `None` without such answers.
    pub precision: Option<f64>,
}

impl Confusion {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes], images: vec![0; classes] }
    }

    /// Counts a batch: `[n, classes]` logits, row by row.
    pub fn add(&mut self, logits: &[f32], labels: &[usize]) {
        let classes = logits.len() / labels.len().max(1);
        for (row, label) in logits.chunks(classes.max(1)).zip(labels) {
            self.images[*label] += 1;
            if let Some(answer) = answer(row) {
                self.counts[*label][answer] += 1;
            }
        }
    }

    /// `[class of the image][class of the answer]`.
    pub fn counts(&self) -> &[Vec<usize>] {
        &self.counts
    }

    /// Mean recall over the classes with images: what the accuracy would be if all had equally many. `None` without images.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let recalls: Vec<f64> = (0..self.images.len()).filter_map(|class| self.recall(class)).collect();
        (!recalls.is_empty()).then(|| recalls.iter().sum::<f64>() / recalls.len() as f64)
    }

    /// Every class by name.
    pub fn per_class(&self, names: &[String]) -> Vec<ClassAccuracy> {
        let of = |(class, name): (usize, &String)| ClassAccuracy {
            class: name.clone(),
            images: self.images[class],
            recall: self.recall(class),
            precision: share(self.counts[class][class], self.counts.iter().map(|row| row[class]).sum()),
        };
        names.iter().take(self.images.len()).enumerate().map(of).collect()
    }

    fn recall(&self, class: usize) -> Option<f64> {
        share(self.counts[class][class], self.images[class])
    }
}

fn share(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

/// The class with the largest logit, the first of equals as in [`rank_of`](super::rank_of); `None` if all are NaN.
fn answer(row: &[f32]) -> Option<usize> {
    let numbers = row.iter().enumerate().filter(|(_, logit)| !logit.is_nan());
    numbers.reduce(|best, other| if other.1 > best.1 { other } else { best }).map(|(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::rank_of;

    fn names() -> Vec<String> {
        ["good", "defect"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_network_that_misses_every_defect_has_a_balanced_accuracy_of_one_half() {
        let mut confusion = Confusion::new(2);
        confusion.add(&[1.0, 0.0].repeat(93), &[vec![0; 90], vec![1; 3]].concat());
        assert_eq!(confusion.balanced_accuracy(), Some(0.5));
        let [good, defect] = &confusion.per_class(&names())[..] else { panic!("two classes") };
        assert_eq!((good.images, good.recall, good.precision), (90, Some(1.0), Some(90.0 / 93.0)));
        assert_eq!((defect.images, defect.recall, defect.precision), (3, Some(0.0), None));
        assert_eq!(confusion.counts(), [[90, 0], [3, 0]]);
    }

    #[test]
    fn classes_without_images_do_not_count() {
        let mut confusion = Confusion::new(2);
        assert_eq!(confusion.balanced_accuracy(), None);
        confusion.add(&[2.0, 1.0], &[0]);
        assert_eq!(confusion.balanced_accuracy(), Some(1.0));
        assert_eq!(confusion.per_class(&names())[1].recall, None);
    }

    #[test]
    fn answers_agree_with_ranks() {
        for row in [[1.0, 3.0, 3.0], [f32::NAN, 0.5, 0.1], [f32::NAN; 3], [-1.0, f32::NEG_INFINITY, -1.0]] {
            for label in 0..3 {
                assert_eq!(answer(&row) == Some(label), rank_of(&row, label) == 0, "{row:?} {label}");
            }
        }
    }
}
