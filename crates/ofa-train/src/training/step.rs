//! One step of progressive shrinking: several subnets on one batch, gradients summed, one optimizer step.

use crate::elastic::Supernet;
use crate::elastic::executor::Output;
use crate::elastic::parameters::ParameterModule;
use crate::error::TrainError;
use crate::images::Images;
use crate::loss::{self, DistillationLoss, SoftCrossEntropy};
use crate::training::clipping::clip;
use crate::training::optimizer::Optimizer;
use crate::training::outcome::{Outcome, Unread};
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
    let Pass { gradients, unread } = pass(supernet, input)?;
    let Outcome { report, moments, .. } = unread.read()?;
    supernet.running.follow(&moments, input.bn_momentum);
    Ok((gradients, report))
}

/// What a batch, or a shard of one, contributes to a step.
pub(crate) struct Pass {
    /// Summed over the subnets.
    pub gradients: GradientsParams,
    /// Everything else.
    pub unread: Unread,
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
    let (mut losses, mut correct, mut statistics) = (Vec::new(), Vec::new(), Vec::new());
    let mut accumulator = GradientsAccumulator::<ParameterModule>::new();
    let labels: Vec<i64> = input.labels.iter().map(|l| *l as i64).collect();
    let labels = TensorData::new(labels, [input.labels.len()]);
    let targets = Tensor::<1, Int>::from_data(labels, supernet.device());
    let mut first_logits: Option<Tensor<2>> = None;
    for (index, net) in input.subnets.iter().enumerate() {
        let images = input.first_images.filter(|_| index == 0).unwrap_or(input.images);
        let output = forward(net, images);
        let hard = || loss::smoothed_cross_entropy(output.logits.clone(), targets.clone(), input.label_smoothing);
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
        losses.push(total.inner());
        correct.push(count_correct(output.logits.inner(), targets.clone().inner()));
        statistics.extend(output.statistics);
    }
    let unread = Unread::new(input.labels.len(), losses, correct, statistics);
    Ok(Pass { gradients: accumulator.grads(), unread })
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
    let Outcome { report, moments, .. } = queue_step(supernet, optimizer, rate, input)?.read()?;
    supernet.running.follow(&moments, input.bn_momentum);
    Ok(report)
}

/// [`step`] without waiting for the device. The running statistics stay as they are until they [follow] what is read, which
/// may be after later steps, but in their order.
///
/// [follow]: crate::elastic::batch_norm::RunningStatistics::follow
///
/// # Errors
/// [`TrainError::Compute`] if the backend fails.
pub fn queue_step(
    supernet: &mut Supernet,
    optimizer: &mut Optimizer,
    rate: f64,
    input: &StepInput<'_>,
) -> Result<Unread, TrainError> {
    let Pass { gradients, unread } = pass(supernet, input)?;
    descend(supernet, optimizer, rate, gradients, input.gradient_clip)?;
    Ok(unread)
}

/// The optimizer's part of a step: gradients longer than the limit are scaled down to it, then the parameters change.
pub(super) fn descend(
    supernet: &mut Supernet,
    optimizer: &mut Optimizer,
    rate: f64,
    mut gradients: GradientsParams,
    gradient_clip: Option<f64>,
) -> Result<(), TrainError> {
    if let Some(largest) = gradient_clip {
        clip(&mut gradients, supernet, largest)?;
    }
    supernet.parameters.update(|module| optimizer.step(rate, module, gradients));
    Ok(())
}

/// Rows of `logits` `[n, classes]` whose largest entry, the first of equals, is at the target; as `[1]`.
fn count_correct(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    logits.argmax(1).equal(targets.unsqueeze_dim(1)).float().sum()
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
            pass(&net, &input).unwrap().unread.read().unwrap().report.losses
        };
        let (max, min) = (at(space.max_arch(), 28), at(space.min_arch(), 20));
        let [first] = losses(&large, None, std::slice::from_ref(&max))[..] else { panic!("one loss") };
        let [second] = losses(&small, None, std::slice::from_ref(&min))[..] else { panic!("one loss") };
        assert_eq!(losses(&small, Some(&large), &[max, min]), [first, second]);
    }
}
