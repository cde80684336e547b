//! One step of progressive shrinking: several subnets on one batch, gradients summed, one optimizer step.

use crate::elastic::batch_norm::BatchMoments;
use crate::elastic::executor::Output;
use crate::elastic::parameters::ParameterModule;
use crate::elastic::{Supernet, to_host};
use crate::error::TrainError;
use crate::images::Images;
use crate::loss::{self, DistillationLoss, SoftCrossEntropy};
use crate::training::clipping::clip;
use crate::training::optimizer::Optimizer;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Int, Tensor, TensorData};
use ofa_space::NetSpec;
use serde::{Deserialize, Serialize};

/// What a step needs besides the supernet.
pub struct StepInput<'a> {
    /// The batch.
    pub images: &'a Images,
    /// The batch for the first subnet, where that takes it at another resolution than the others.
    pub first_images: Option<&'a Images>,
    /// Class of every image.
    pub labels: &'a [usize],
    /// The subnets to train, in order.
    pub subnets: &'a [NetSpec],
    /// Their teacher.
    pub teacher: Teacher,
    /// How their logits are compared with the teacher's.
    pub loss: &'a dyn DistillationLoss,
    /// Weight of the distillation term (1 in the paper).
    pub distillation: f64,
    /// Label smoothing (0.1 in the paper).
    pub label_smoothing: f64,
    /// Momentum of the running statistics (0.1 in the paper).
    pub bn_momentum: f32,
    /// Which parameters get gradients.
    pub trains: Trains,
    /// Largest norm of the summed gradients, all parameters together; larger ones are scaled down to it.
    pub gradient_clip: Option<f64>,
}

impl<'a> StepInput<'a> {
    /// Learning from labels alone, everything else as in the paper: without a teacher, a limit on the gradient, or layers that do
    /// not learn.
    pub fn from_labels(images: &'a Images, labels: &'a [usize], subnets: &'a [NetSpec]) -> Self {
        Self {
            images,
            first_images: None,
            labels,
            subnets,
            teacher: Teacher::None,
            loss: &SoftCrossEntropy {},
            distillation: 0.0,
            label_smoothing: 0.1,
            bn_momentum: 0.1,
            trains: Trains::Everything,
            gradient_clip: None,
        }
    }
}

/// Which parameters of a network learn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trains {
    /// All of them.
    #[default]
    Everything,
    /// The last block, which is the classifier. Batch norm runs on batch statistics as in all training, so running
    /// statistics follow the images.
    Head,
}

impl Trains {
    /// The rate for an optimizer that multiplies the classifier's by `head_rate`: where the head learns alone, `rate` is the
    /// head's own, and the factor is undone.
    pub fn common_rate(self, rate: f64, head_rate: f64) -> f64 {
        match self {
            Self::Everything => rate,
            Self::Head => rate / head_rate,
        }
    }
}

/// The teacher of a step's subnets.
#[derive(Clone, Debug)]
pub enum Teacher {
    /// None: labels only.
    None,
    /// Another network, by its `[n, classes]` logits; subnets learn from labels and from it (the paper).
    Logits(Tensor<2>),
    /// The step's first subnet, which learns from labels, and from another network's `[n, classes]` logits where there are
    /// some; the others learn from it only (BigNAS).
    First(Option<Tensor<2>>),
}

/// What a step reports.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StepReport {
    /// Loss of every subnet: distillation, smoothed cross-entropy, or their sum, depending on the [`Teacher`].
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
    let Pass { gradients, report, moments } = pass(supernet, input)?;
    supernet.running.follow(&moments, input.bn_momentum);
    Ok((gradients, report))
}

/// What a batch, or a shard of one, contributes to a step.
pub(crate) struct Pass {
    /// Summed over the subnets.
    pub gradients: GradientsParams,
    /// Losses and right answers.
    pub report: StepReport,
    /// Statistics of every batch norm, subnet after subnet.
    pub moments: Vec<BatchMoments>,
}

/// Forward and backward of every subnet, which leave the supernet as it is.
///
/// # Errors
/// [`TrainError::Compute`] if the backend fails.
pub(crate) fn pass(supernet: &Supernet, input: &StepInput<'_>) -> Result<Pass, TrainError> {
    pass_by(supernet, input, &|net, images| match input.trains {
        Trains::Everything => supernet.forward_training(net, images),
        Trains::Head => supernet.forward_training_head(net, images),
    })
}

/// [`pass`] with another forward.
pub(crate) fn pass_by(
    supernet: &Supernet,
    input: &StepInput<'_>,
    forward: &dyn Fn(&NetSpec, &Images) -> Output,
) -> Result<Pass, TrainError> {
    let mut moments = Vec::new();
    let mut accumulator = GradientsAccumulator::<ParameterModule>::new();
    let mut report = StepReport::default();
    let labels: Vec<i64> = input.labels.iter().map(|l| *l as i64).collect();
    let labels = TensorData::new(labels, [input.labels.len()]);
    let mut first_logits: Option<Tensor<2>> = None;
    for (index, net) in input.subnets.iter().enumerate() {
        let images = input.first_images.filter(|_| index == 0).unwrap_or(input.images);
        let output = forward(net, images);
        let targets = Tensor::<1, Int>::from_data(labels.clone(), supernet.device());
        let hard = || loss::smoothed_cross_entropy(output.logits.clone(), targets, input.label_smoothing);
        let soft = |teacher: &Tensor<2>| {
            input.loss.loss(output.logits.clone(), Tensor::from_inner(teacher.clone())) * input.distillation
        };
        let total = match (&input.teacher, &first_logits) {
            (Teacher::Logits(teacher), _) | (Teacher::First(Some(teacher)), None) => hard() + soft(teacher),
            (Teacher::First(_), Some(first)) => soft(first),
            (Teacher::None, _) | (Teacher::First(None), None) => hard(),
        };
        if matches!(input.teacher, Teacher::First(_)) && first_logits.is_none() {
            first_logits = Some(output.logits.clone().inner());
        }
        let gradients = GradientsParams::from_grads(total.backward(), &supernet.parameters.module);
        accumulator.accumulate(&supernet.parameters.module, gradients);
        report.losses.extend(to_host(total.inner())?);
        report.correct.push(correct(&to_host(output.logits.inner())?, input.labels));
        for statistics in output.statistics {
            moments.push(statistics.moments()?);
        }
    }
    Ok(Pass { gradients: accumulator.grads(), report, moments })
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
    let (mut gradients, report) = gradients(supernet, input)?;
    if let Some(largest) = input.gradient_clip {
        clip(&mut gradients, &supernet.parameters.module, largest)?;
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use burn::tensor::Device;
    use ofa_space::{initialisation, registry, supernet};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn the_first_subnet_takes_images_of_its_own() {
        let space = registry::named("tiny-28").unwrap();
        let defs = supernet::tensors(space.as_ref()).unwrap();
        let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(4));
        let net = Supernet::new(defs, &weights, &Device::flex().autodiff()).unwrap();
        let at = |arch: ofa_space::Arch, size| space.resolve(&arch.with_resolution(size)).unwrap();
        let batch = |size: usize| {
            let shape = [4, size, size, 1];
            Images { data: (0..shape.iter().product()).map(|index| (index as f32 * 0.7).sin()).collect(), shape }
        };
        let labels = [1, 2, 3, 4];
        let [large, small] = [28, 20].map(batch);
        let losses = |images: &Images, first_images: Option<&Images>, subnets: &[NetSpec]| {
            let input = StepInput { first_images, ..StepInput::from_labels(images, &labels, subnets) };
            pass(&net, &input).unwrap().report.losses
        };
        let (max, min) = (at(space.max_arch(), 28), at(space.min_arch(), 20));
        let [first] = losses(&large, None, std::slice::from_ref(&max))[..] else { panic!("one loss") };
        let [second] = losses(&small, None, std::slice::from_ref(&min))[..] else { panic!("one loss") };
        assert_eq!(losses(&small, Some(&large), &[max, min]), [first, second]);
    }
}
