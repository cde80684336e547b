//! One step of progressive shrinking: several subnets on one batch, gradients summed, one optimizer step.

use crate::error::TrainError;
use crate::loss;
use crate::optimizer::Optimizer;
use crate::parameters::ParameterModule;
use crate::supernet::{Images, Supernet, to_host};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Int, Tensor, TensorData};
use ofa_space::NetSpec;

/// What a step needs besides the supernet.
pub struct StepInput<'a> {
    /// The batch.
    pub images: &'a Images,
    /// Class of every image.
    pub labels: &'a [usize],
    /// The subnets to train, in order.
    pub subnets: &'a [NetSpec],
    /// `[n, classes]` logits of the teacher, if there is one.
    pub teacher_logits: Option<Tensor<2>>,
    /// Weight of the distillation term (1 in the paper).
    pub distillation: f64,
    /// Label smoothing (0.1 in the paper).
    pub label_smoothing: f64,
    /// Momentum of the running statistics (0.1 in the paper).
    pub bn_momentum: f32,
}

/// What a step reports.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StepReport {
    /// Loss of every subnet: distillation + smoothed cross-entropy.
    pub losses: Vec<f32>,
    /// How many images each subnet classified right.
    pub correct: Vec<usize>,
}

/// Forward and backward of every subnet; the gradients are summed, not averaged. Running statistics of the channels
/// in use move with every subnet.
///
/// # Errors
/// [`TrainError::Compute`] if the backend fails.
pub fn gradients(supernet: &mut Supernet, input: &StepInput<'_>) -> Result<(GradientsParams, StepReport), TrainError> {
    let mut accumulator = GradientsAccumulator::<ParameterModule>::new();
    let mut report = StepReport::default();
    let labels: Vec<i64> = input.labels.iter().map(|l| *l as i64).collect();
    let labels = TensorData::new(labels, [input.labels.len()]);
    for net in input.subnets {
        let output = supernet.forward_training(net, input.images);
        let targets = Tensor::<1, Int>::from_data(labels.clone(), supernet.device());
        let hard = loss::smoothed_cross_entropy(output.logits.clone(), targets, input.label_smoothing);
        let total = match &input.teacher_logits {
            Some(teacher) => {
                let soft = loss::distillation(output.logits.clone(), Tensor::from_inner(teacher.clone()));
                hard + soft * input.distillation
            }
            None => hard,
        };
        let gradients = GradientsParams::from_grads(total.backward(), &supernet.parameters.module);
        accumulator.accumulate(&supernet.parameters.module, gradients);
        report.losses.extend(to_host(total.inner())?);
        report.correct.push(correct(&to_host(output.logits.inner())?, input.labels));
        supernet.running.update(output.statistics, input.bn_momentum)?;
    }
    Ok((accumulator.grads(), report))
}

/// A whole step: [`gradients`], then the optimizer at this learning rate.
///
/// # Errors
/// [`TrainError::Compute`] if the backend fails.
pub fn step(
    supernet: &mut Supernet,
    optimizer: &mut Optimizer,
    rate: f64,
    input: &StepInput<'_>,
) -> Result<StepReport, TrainError> {
    let (gradients, report) = gradients(supernet, input)?;
    supernet.parameters.update(|module| optimizer.step(rate, module, gradients));
    Ok(report)
}

/// Rows of `logits` whose largest entry is at the label.
pub fn correct(logits: &[f32], labels: &[usize]) -> usize {
    let classes = logits.len() / labels.len().max(1);
    logits.chunks(classes.max(1)).zip(labels).filter(|(row, label)| argmax(row) == Some(**label)).count()
}

/// Index of the largest entry; the first of equals.
fn argmax(row: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, value) in row.iter().enumerate() {
        if best.is_none_or(|(_, top)| *value > top) {
            best = Some((index, *value));
        }
    }
    best.map(|(index, _)| index)
}
