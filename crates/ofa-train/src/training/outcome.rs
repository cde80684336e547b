//! What comes out of a step besides gradients: computed on the device, and read by the host in one transfer, for one step or
//! for many.

use crate::elastic::batch_norm::{BatchMoments, BatchStatistics};
use crate::elastic::transfer::{is_host, to_host_together};
use crate::error::TrainError;
use crate::shrinking::LOG_STEPS;
use crate::training::step::StepReport;
use burn::tensor::{Device, Tensor};

/// Steps between reads on a device: a read waits for all queued work of a GPU, and costs nothing in the host's memory.
pub(crate) fn read_steps(device: &Device) -> usize {
    if is_host(device) { 1 } else { LOG_STEPS }
}

/// What came out of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Losses and right answers.
    pub report: StepReport,
    /// Statistics of every batch norm, subnet after subnet.
    pub moments: Vec<BatchMoments>,
    /// Images of the step.
    pub images: usize,
}

/// The outcome of a step that is still on the device.
pub struct Unread {
    /// Losses, numbers of right answers, then mean and biased variance of every batch norm.
    values: Tensor<1>,
    subnets: usize,
    norms: Vec<Norm>,
    images: usize,
}

/// A batch norm that a batch went through.
struct Norm {
    names: (String, String),
    channels: usize,
    /// Values per channel.
    count: usize,
}

impl Unread {
    /// Of so many images: for every subnet its loss and its number of right answers, both of shape `[1]`, and the statistics of
    /// all of them.
    pub(crate) fn new(
        images: usize,
        losses: Vec<Tensor<1>>,
        correct: Vec<Tensor<1>>,
        statistics: Vec<BatchStatistics>,
    ) -> Self {
        let subnets = losses.len();
        let mut norms = Vec::with_capacity(statistics.len());
        let mut values = losses;
        values.extend(correct);
        for BatchStatistics { mean_name, variance_name, mean, variance, count, .. } in statistics {
            norms.push(Norm { names: (mean_name, variance_name), channels: mean.dims()[0], count });
            values.extend([mean, variance]);
        }
        Self { values: Tensor::cat(values, 0), subnets, norms, images }
    }

    /// Waits for the device.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the backend fails.
    pub fn read(self) -> Result<Outcome, TrainError> {
        let mut outcomes = Self::read_all(vec![self])?;
        outcomes.pop().ok_or_else(|| unreachable!("one outcome of one step"))
    }

    /// Waits for the device once for all these steps.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the backend fails.
    pub fn read_all(steps: Vec<Self>) -> Result<Vec<Outcome>, TrainError> {
        let (tensors, layouts): (Vec<_>, Vec<_>) =
            steps.into_iter().map(|step| (step.values, (step.subnets, step.norms, step.images))).unzip();
        let values = to_host_together(tensors)?;
        Ok(layouts.into_iter().zip(values).map(|(layout, values)| outcome(layout, &values)).collect())
    }
}

fn outcome((subnets, norms, images): (usize, Vec<Norm>, usize), values: &[f32]) -> Outcome {
    let mut rest = values;
    let mut next = |length: usize| {
        let (part, after) = rest.split_at(length);
        rest = after;
        part.to_vec()
    };
    let losses = next(subnets);
    // Counts of images are exact in f32 up to 2²⁴.
    let correct = next(subnets).into_iter().map(|right| right as usize).collect();
    let moments = norms
        .into_iter()
        .map(|Norm { names, channels, count }| BatchMoments::of_batch(names, next(channels), next(channels), count));
    let moments = moments.collect();
    Outcome { report: StepReport { losses, correct }, moments, images }
}
