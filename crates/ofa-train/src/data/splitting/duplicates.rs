//! Images with the same bytes.

use crate::data::{DataError, Dataset, Split};
use std::collections::{BTreeMap, BTreeSet};

/// How often the same image is in a data set more than once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Duplicates {
    /// Images that are copies of another one, whatever part or class: all images less the different ones.
    pub copies: usize,
    /// Training images that are validation or test images too, and validation images that are test images too.
    pub between_parts: usize,
    /// Different images that are in more than one class.
    pub of_several_classes: usize,
}

impl Dataset {
    /// Counts the images with the same content.
    ///
    /// # Errors
    /// [`DataError`] if an image cannot be read.
    pub fn duplicates(&self) -> Result<Duplicates, DataError> {
        let contents = |split: &Split| -> Result<Vec<String>, DataError> {
            split.positions.iter().map(|position| split.pixels.sha256(*position)).collect()
        };
        let (train, validation, test) = (contents(&self.train)?, contents(&self.validation)?, contents(&self.test)?);
        let mut classes: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (content, label) in contents(&self.all)?.into_iter().zip(&self.all.labels) {
            classes.entry(content).or_default().insert(*label);
        }
        let held: BTreeSet<&String> = validation.iter().chain(&test).collect();
        let tested: BTreeSet<&String> = test.iter().collect();
        Ok(Duplicates {
            copies: self.all.len() - classes.len(),
            between_parts: train.iter().filter(|content| held.contains(content)).count()
                + validation.iter().filter(|content| tested.contains(content)).count(),
            of_several_classes: classes.values().filter(|labels| labels.len() > 1).count(),
        })
    }
}

impl Duplicates {
    /// What a user should know, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.between_parts > 0 {
            sentences.push(format!(
                "{} images are in more than one of training, validation and test (identical files): accuracies on them \
                 show what was memorised",
                self.between_parts
            ));
        }
        if self.of_several_classes > 0 {
            sentences.push(format!(
                "{} images are in more than one class (identical files): at most one of the labels is right",
                self.of_several_classes
            ));
        }
        sentences
    }
}

/// Takes the images out of `split` whose content is in one of `others`; returns them.
pub(super) fn drop(split: &mut Split, others: &[&Split]) -> Result<Split, DataError> {
    let mut held = BTreeSet::new();
    for other in others {
        for position in &other.positions {
            held.insert(other.pixels.sha256(*position)?);
        }
    }
    let (mut kept, mut dropped) = (split.none(), split.none());
    for (position, label) in split.positions.iter().zip(&split.labels) {
        let into = if held.contains(&split.pixels.sha256(*position)?) { &mut dropped } else { &mut kept };
        into.positions.push(*position);
        into.labels.push(*label);
    }
    *split = kept;
    Ok(dropped)
}
