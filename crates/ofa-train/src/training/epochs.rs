//! The loop that shrinking and fine-tuning share: epochs of shuffled images, batches prepared ahead, checkpoints between
//! steps, and stopping on request.

use crate::data::{DataError, batches, prefetch};
use crate::error::TrainError;
use ofa_space::Weights;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Learns from one batch after another.
pub(crate) trait Learner {
    /// What a step learns from.
    type Batch: Send;

    /// Learns from a batch.
    fn learn(&mut self, batch: Self::Batch) -> Result<(), TrainError>;

    /// Whether to stop after the latest step; `asked` is whether this process was asked to.
    fn stops(&mut self, asked: bool) -> bool {
        asked
    }

    /// Refuses weights that training has blown up: they are neither saved nor delivered.
    fn check(&mut self) -> Result<(), TrainError>;

    /// Saves what is needed to resume after the latest step.
    fn save(&mut self) -> Result<(), TrainError>;
}

/// The first tensor that training has blown up, and its largest value: NaN, infinity, or a number that no useful network
/// holds.
pub(crate) fn overflown(weights: &Weights) -> Option<(String, f32)> {
    const LARGEST: f32 = 1e12;
    weights.iter().find_map(|(name, tensor)| {
        let value = tensor.data.iter().copied().find(|value| value.is_nan() || value.abs() > LARGEST)?;
        Some((name.clone(), value))
    })
}

/// Steps to be done in a row.
pub(crate) struct Steps<'a> {
    /// The steps. The first is above 0 if the run resumes from a checkpoint.
    pub steps: Range<usize>,
    /// Steps of earlier phases; the shuffled epochs continue where those ended.
    pub before: usize,
    /// Batches prepared ahead.
    pub prefetch: usize,
    /// Steps between checkpoints.
    pub checkpoint_steps: usize,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
}

/// Where a step is in the epochs.
pub(crate) struct Position {
    /// The step, with those of earlier phases counted.
    pub step: usize,
    /// The epoch.
    pub epoch: u64,
    /// Images of the step's batch.
    pub images: Vec<usize>,
}

impl Steps<'_> {
    /// Does the steps. `batch` reads what a step learns from, on another thread and ahead of its turn. A checkpoint is
    /// saved now and then and before stopping, but not after the last step.
    ///
    /// # Errors
    /// What `batch` and the learner report; [`TrainError::Interrupted`] once `stop` is set.
    pub fn run<L: Learner>(
        &self,
        order: &EpochOrder,
        batch: impl Fn(Position) -> Result<L::Batch, DataError> + Sync,
        learner: &mut L,
    ) -> Result<(), TrainError> {
        let mut done = self.steps.start;
        prefetch::prefetch(
            self.before + self.steps.start,
            self.before + self.steps.end,
            self.prefetch,
            |step| batch(order.position(step)),
            |next| {
                while let Some(batch) = next() {
                    learner.learn(batch?)?;
                    done += 1;
                    if done == self.steps.end {
                        // No further step would show in its loss what the last one has done.
                        learner.check()?;
                        break;
                    }
                    let stopping = learner.stops(self.stop.load(Ordering::Relaxed));
                    if stopping || done.is_multiple_of(self.checkpoint_steps) {
                        learner.check()?;
                        learner.save()?;
                    }
                    if stopping {
                        return Err(TrainError::Interrupted);
                    }
                }
                Ok(())
            },
        )
    }
}

/// Which images a step trains on: a new shuffle per epoch, the incomplete batch at its end left out.
pub(crate) struct EpochOrder {
    images: usize,
    batch_size: usize,
    seed: u64,
    /// Classes of the images, where an epoch shows every class equally often.
    balanced: Option<Vec<usize>>,
    /// The most recent epoch, with its order.
    latest: Mutex<Option<(u64, Arc<Vec<usize>>)>>,
}

impl EpochOrder {
    /// Batches are no larger than the number of images.
    pub fn new(images: usize, batch_size: usize, seed: u64) -> Self {
        Self { images, batch_size: batch_size.min(images.max(1)), seed, balanced: None, latest: Mutex::new(None) }
    }

    /// The same length of an epoch, in which every class has an equal share: images of small classes come several times,
    /// and of large classes other images come in every epoch.
    #[must_use]
    pub fn balanced(self, labels: &[usize]) -> Self {
        Self { balanced: Some(labels.to_vec()), ..self }
    }

    /// The epoch of a step, and the images of its batch.
    fn position(&self, step: usize) -> Position {
        let batches = (self.images / self.batch_size).max(1);
        let epoch = (step / batches) as u64;
        let start = (step % batches) * self.batch_size;
        Position { step, epoch, images: self.order(epoch)[start..start + self.batch_size].to_vec() }
    }

    fn order(&self, epoch: u64) -> Arc<Vec<usize>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match latest.as_ref() {
            Some((known, order)) if *known == epoch => order.clone(),
            _ => {
                let order = Arc::new(match &self.balanced {
                    None => batches::epoch_order(self.images, self.seed, epoch),
                    Some(labels) => batches::balanced_order(labels, self.seed, epoch),
                });
                *latest = Some((epoch, order.clone()));
                order
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Counts, and asks to stop after some steps.
    struct Counter<'a> {
        learnt: Vec<usize>,
        saved_after: Vec<usize>,
        stop_after: usize,
        stop: &'a AtomicBool,
    }

    impl Learner for Counter<'_> {
        type Batch = usize;

        fn learn(&mut self, step: usize) -> Result<(), TrainError> {
            self.learnt.push(step);
            self.stop.store(self.learnt.len() == self.stop_after, Ordering::Relaxed);
            Ok(())
        }

        fn check(&mut self) -> Result<(), TrainError> {
            Ok(())
        }

        fn save(&mut self) -> Result<(), TrainError> {
            self.saved_after.push(self.learnt.len());
            Ok(())
        }
    }

    #[test]
    fn a_checkpoint_comes_before_stopping_and_not_after_the_last_step() {
        for prefetch in [0, 2] {
            let run = |stop_after: usize| {
                let stop = AtomicBool::new(false);
                let steps = Steps { steps: 1..7, before: 10, prefetch, checkpoint_steps: 3, stop: &stop };
                let mut counter = Counter { learnt: Vec::new(), saved_after: Vec::new(), stop_after, stop: &stop };
                let outcome = steps.run(&EpochOrder::new(20, 4, 0), |at| Ok(at.step), &mut counter);
                (outcome.is_ok(), counter.learnt, counter.saved_after)
            };
            assert_eq!(run(usize::MAX), (true, (11..17).collect(), vec![2, 5]));
            assert_eq!(run(3), (false, vec![11, 12, 13], vec![2, 3]));
            // Asked to stop in the last step: the work is done.
            assert_eq!(run(6), (true, (11..17).collect(), vec![2, 5]));
        }
    }

    #[test]
    fn an_epoch_visits_every_image_at_most_once() {
        let order = EpochOrder::new(10, 3, 5);
        let epoch: Vec<usize> = (3..6).flat_map(|step| order.position(step).images).collect();
        let mut sorted = epoch.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 9);
        assert_eq!(order.position(3).epoch, 1);
        assert_eq!(EpochOrder::new(2, 64, 0).position(5).images.len(), 2);
    }

    #[test]
    fn a_balanced_epoch_shows_every_class_equally_often() {
        let labels: Vec<usize> = (0..93).map(|image| usize::from(image >= 90)).collect();
        let order = EpochOrder::new(93, 31, 5).balanced(&labels);
        let epoch = |epoch: usize| -> Vec<usize> {
            (3 * epoch..3 * epoch + 3).flat_map(|step| order.position(step).images).collect()
        };
        let defects = |images: &[usize]| images.iter().filter(|image| labels[**image] == 1).count();
        assert!((46..=47).contains(&defects(&epoch(0))), "{}", defects(&epoch(0)));
        // Other images of the large class in the next epoch, and the same order again when asked again.
        assert_ne!(epoch(0), epoch(1));
        assert_eq!(epoch(0), epoch(0));
        let seen: std::collections::HashSet<usize> = (0..8).flat_map(epoch).collect();
        assert!(seen.len() > 85, "{}", seen.len());
    }
}
