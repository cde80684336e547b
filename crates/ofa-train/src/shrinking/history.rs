//! Metrics and validations of a training run, and the observer that receives them.

use crate::shrinking::phases::PhasePlan;
use ofa_space::ArchJson;
use serde::{Deserialize, Serialize};

/// Metrics of a run, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// One per logged step.
    pub steps: Vec<StepRecord>,
    /// Validations within phases.
    #[serde(default)]
    pub validations: Vec<ValidationRecord>,
    /// One per finished phase.
    pub phases: Vec<PhaseRecord>,
    /// The best validation of the latest phase.
    #[serde(default)]
    pub best: Option<Best>,
}

/// Training metrics averaged over the steps since the record before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Name of the phase.
    pub phase: String,
    /// Steps done since training began, all phases counted.
    pub step: usize,
    /// Mean loss over subnets.
    pub loss: f32,
    /// Fraction of training images classified right.
    pub train_top1: f32,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

/// Validation within a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationRecord {
    /// Name of the phase.
    pub phase: String,
    /// Steps done since training began, all phases counted.
    pub step: usize,
    /// Smallest, middle and largest opened subnet.
    pub subnets: Vec<SubnetRecord>,
}

/// Validation of a finished phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Name of the phase.
    pub name: String,
    /// Optimizer steps of the phase.
    pub steps: usize,
    /// Smallest, middle and largest opened subnet.
    pub subnets: Vec<SubnetRecord>,
}

/// Accuracy of one subnet on validation images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetRecord {
    /// `min`, `mid` or `max`.
    pub label: String,
    /// The subnet.
    pub arch: ArchJson,
    /// Top-1 accuracy after BN recalibration, a fraction.
    pub top1: f64,
}

/// The best validation of a phase: the highest mean over its subnets, which are the same throughout the phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Name of the phase.
    pub phase: String,
    /// Steps done since training began.
    pub step: usize,
    /// Mean top-1 of the validated subnets, a fraction.
    pub mean_top1: f64,
}

impl History {
    /// Records a validation, and returns whether it is the best of its phase so far.
    pub(crate) fn is_best(&mut self, phase: &str, step: usize, subnets: &[SubnetRecord]) -> bool {
        let mean_top1 = subnets.iter().map(|subnet| subnet.top1).sum::<f64>() / subnets.len().max(1) as f64;
        let better = self.best.as_ref().is_none_or(|best| best.phase != phase || mean_top1 > best.mean_top1);
        if better {
            self.best = Some(Best { phase: phase.to_owned(), step, mean_top1 });
        }
        better
    }
}

/// Sums since the last logged step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub(crate) loss: f32,
    pub(crate) right: usize,
    pub(crate) answers: usize,
    pub(crate) steps: usize,
}

impl Window {
    /// The record of the steps since the one before, and an empty window.
    pub(crate) fn take(&mut self, phase: &str, step: usize, learning_rate: f64) -> StepRecord {
        let Window { loss, right, answers, steps } = std::mem::take(self);
        StepRecord {
            phase: phase.to_owned(),
            step,
            loss: loss / steps.max(1) as f32,
            train_top1: right as f32 / answers.max(1) as f32,
            learning_rate,
        }
    }
}

/// Receives the progress of a training run. Every method has an empty default.
pub trait Observer {
    /// Before the first step: the phases, and where to start (phase, step).
    fn on_start(&mut self, _phases: &[PhasePlan], _from: (usize, usize)) {}
    /// After every step: phase, steps done in it, mean loss over the step's subnets. On a GPU the loss is that of the latest step
    /// that was read, up to 20 steps before.
    fn on_step(&mut self, _phase: usize, _step: usize, _loss: f32) {}
    /// After a validation within a phase.
    fn on_validation(&mut self, _record: &ValidationRecord) {}
    /// After the validation of a phase.
    fn on_phase(&mut self, _record: &PhaseRecord) {}
    /// A message for the user.
    fn on_message(&mut self, _message: &str) {}
}

/// An observer that reports nothing.
pub struct Silent;

impl Observer for Silent {}
