//! Accuracy of networks: scoring, with BN recalibration on training images first where a subnet shares its weights.

mod confusion;
mod evaluator;
mod sets;

pub use confusion::{ClassAccuracy, Confusion};
pub use evaluator::{EvaluationSettings, Evaluator, Specialised, extract_on, logits};
pub use sets::{
    BatchObserver, BatchWork, CalibrationSet, EVALUATION_BATCH, EvaluationSet, LabelledBatches, few_calibration_images,
};

use crate::elastic::batch_norm::RunningStatistics;
use crate::elastic::{Supernet, to_host};
use crate::error::TrainError;
use ofa_space::{NetSpec, first_not_finite};
use serde::{Deserialize, Serialize};

/// Accuracy over a set of images, as fractions.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Accuracy {
    /// Fraction whose label is the first guess.
    pub top1: f64,
    /// Fraction whose label is among the first five guesses (or all classes, if fewer).
    pub top5: f64,
    /// Images scored.
    pub images: usize,
}

/// What a network answered on a set of images.
#[derive(Clone, PartialEq, Debug)]
pub struct Answers {
    /// How many were right.
    pub accuracy: Accuracy,
    /// Class by class.
    pub confusion: Confusion,
    /// Whether the first guess was right, image by image in the order of the set.
    pub right: Vec<bool>,
}

/// BN recalibration of a subnet on a calibration set.
///
/// # Errors
/// [`TrainError`] if an image or the backend fails.
pub fn recalibrate(
    supernet: &Supernet,
    net: &NetSpec,
    calibration: &mut CalibrationSet<'_>,
) -> Result<RunningStatistics, TrainError> {
    let batches = calibration.batches(net.input[1] as u32)?;
    supernet.recalibrate(net, batches.iter().map(|(images, _)| images))
}

/// Accuracy of a network with these running statistics.
///
/// # Errors
/// [`TrainError`] if an image or the backend fails.
pub fn evaluate(
    supernet: &Supernet,
    net: &NetSpec,
    running: &RunningStatistics,
    set: &mut EvaluationSet<'_>,
) -> Result<Accuracy, TrainError> {
    Ok(answers(supernet, net, running, set)?.accuracy)
}

/// [`evaluate`], with the answers class by class and image by image.
///
/// # Errors
/// As [`evaluate`].
pub fn answers(
    supernet: &Supernet,
    net: &NetSpec,
    running: &RunningStatistics,
    set: &mut EvaluationSet<'_>,
) -> Result<Answers, TrainError> {
    let prepared = supernet.prepare(net, running);
    let batches = set.batches(net.input[1] as u32)?;
    let mut count = AnswerCount::new(net.classes);
    for (index, (batch, labels)) in batches.iter().enumerate() {
        let logits = to_host(prepared.forward(supernet.upload(batch)).logits)?;
        check_finite(&logits)?;
        count.add(&logits, labels);
        set.done(BatchWork::Scoring, index + 1, batches.len());
    }
    Ok(count.answers())
}

/// Refuses answers of which any is NaN or infinite.
///
/// # Errors
/// [`TrainError::NotFinite`].
pub fn check_finite(logits: &[f32]) -> Result<(), TrainError> {
    match first_not_finite(logits) {
        Some((_, logit)) => Err(TrainError::NotFinite { logit }),
        None => Ok(()),
    }
}

/// Counts the answers of a network, batch by batch, wherever it runs.
#[derive(Clone, Debug)]
pub struct AnswerCount {
    tally: Tally,
    confusion: Confusion,
    right: Vec<bool>,
    classes: usize,
}

impl AnswerCount {
    /// Nothing counted yet, of a network with so many classes.
    pub fn new(classes: usize) -> Self {
        Self { tally: Tally::default(), confusion: Confusion::new(classes), right: Vec::new(), classes }
    }

    /// Counts a batch: `[n, classes]` logits, row by row.
    pub fn add(&mut self, logits: &[f32], labels: &[usize]) {
        self.tally.add(logits, labels);
        self.confusion.add(logits, labels);
        let rows = logits.chunks(self.classes.max(1)).zip(labels);
        self.right.extend(rows.map(|(row, label)| rank_of(row, *label) == 0));
    }

    /// What was counted.
    pub fn answers(self) -> Answers {
        Answers { accuracy: self.tally.accuracy(), confusion: self.confusion, right: self.right }
    }
}

/// Counts of right answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    top1: usize,
    top5: usize,
    images: usize,
}

impl Tally {
    /// Counts a batch: `[n, classes]` logits, row by row.
    pub fn add(&mut self, logits: &[f32], labels: &[usize]) {
        let classes = logits.len() / labels.len().max(1);
        for (row, label) in logits.chunks(classes.max(1)).zip(labels) {
            let rank = rank_of(row, *label);
            self.top1 += usize::from(rank == 0);
            self.top5 += usize::from(rank < 5);
        }
        self.images += labels.len();
    }

    /// The fractions.
    pub fn accuracy(&self) -> Accuracy {
        let fraction = |count: usize| count as f64 / self.images.max(1) as f64;
        Accuracy { top1: fraction(self.top1), top5: fraction(self.top5), images: self.images }
    }
}

/// How many entries come before the label's in descending order; equal entries count in order of their index, and a
/// NaN never wins.
pub fn rank_of(row: &[f32], label: usize) -> usize {
    let value = row[label];
    if value.is_nan() {
        return row.len();
    }
    row.iter().enumerate().filter(|(index, other)| **other > value || (**other == value && *index < label)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_break_ties_by_index() {
        assert_eq!(rank_of(&[1.0, 3.0, 3.0], 1), 0);
        assert_eq!(rank_of(&[1.0, 3.0, 3.0], 2), 1);
        assert_eq!(rank_of(&[f32::NAN, 3.0], 0), 2);
    }
}
