//! Running statistics of batch norm: training updates and recalibration.

use super::transfer::to_host_together;
use crate::error::TrainError;
use burn::tensor::Tensor;
use ofa_space::TensorRef;
use ofa_space::supernet::TensorDef;
use ofa_space::{TensorRole, Weights, WeightsError};
use std::collections::BTreeMap;

/// Statistics of one batch at one batch norm.
pub struct BatchStatistics {
    /// The running mean that it belongs to.
    pub mean_name: String,
    /// The running variance that it belongs to.
    pub variance_name: String,
    /// Mean per channel.
    pub mean: Tensor<1>,
    /// Biased variance per channel.
    pub variance: Tensor<1>,
    /// Values per channel: images × height × width.
    pub count: usize,
    /// Images in the batch.
    pub images: usize,
}

/// What one batch moves running statistics towards, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchMoments {
    /// The running mean that it belongs to.
    pub mean_name: String,
    /// The running variance that it belongs to.
    pub variance_name: String,
    /// Mean per channel.
    pub mean: Vec<f32>,
    /// Unbiased variance per channel.
    pub variance: Vec<f32>,
}

impl BatchMoments {
    /// Of statistics over `count` values per channel, as they come from the device: with the biased variance.
    pub fn of_batch(names: (String, String), mean: Vec<f32>, mut variance: Vec<f32>, count: usize) -> Self {
        let unbiased = count as f32 / (count.max(2) - 1) as f32;
        variance.iter_mut().for_each(|value| *value *= unbiased);
        let (mean_name, variance_name) = names;
        Self { mean_name, variance_name, mean, variance }
    }
}

/// The running statistics of every batch norm of a supernet, on the host.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RunningStatistics {
    values: BTreeMap<String, Vec<f32>>,
}

impl RunningStatistics {
    /// Takes the running means and variances of `defs` from `weights`.
    ///
    /// # Errors
    /// [`WeightsError`] if one is missing or of another shape.
    pub fn from_weights(defs: &BTreeMap<String, TensorDef>, weights: &Weights) -> Result<Self, WeightsError> {
        let mut values = BTreeMap::new();
        for (name, def) in defs {
            if matches!(def.role, TensorRole::RunningMean | TensorRole::RunningVariance) {
                values.insert(name.clone(), weights.expect(name, &def.shape)?.data.clone());
            }
        }
        Ok(Self { values })
    }

    /// Copies every statistic into `weights`.
    pub fn store(&self, weights: &mut Weights) {
        for (name, data) in &self.values {
            let tensor = ofa_space::Tensor { shape: vec![data.len()], data: data.clone() };
            weights.insert(name.clone(), tensor);
        }
    }

    /// The channels that a network uses.
    ///
    /// # Panics
    /// If the statistics belong to another supernet.
    pub fn slice(&self, reference: &TensorRef) -> &[f32] {
        &self.values[&reference.name][..reference.take[0]]
    }

    /// Moves every statistic by a share of the way to another one.
    pub(crate) fn approach(&mut self, other: &Self, share: f32) {
        for (name, values) in &mut self.values {
            for (value, new) in values.iter_mut().zip(other.values.get(name).into_iter().flatten()) {
                *value += share * (new - *value);
            }
        }
    }

    /// Moves the running statistics of the channels in use towards the batch's: `(1 − m)·running + m·batch`, with the
    /// unbiased variance. Other channels keep theirs.
    ///
    /// Source: PyTorch's `batch_norm` with momentum `m`, as called by the authors' `DynamicBatchNorm2d`.
    pub fn follow(&mut self, batches: &[BatchMoments], momentum: f32) {
        for BatchMoments { mean_name, variance_name, mean, variance } in batches {
            for (name, batch) in [(mean_name, mean), (variance_name, variance)] {
                let Some(running) = self.values.get_mut(name) else { continue };
                for (value, new) in running.iter_mut().zip(batch) {
                    *value = (1.0 - momentum) * *value + momentum * new;
                }
            }
        }
    }
}

/// Collects batch statistics for BN recalibration of one subnet.
///
/// The result is the image-weighted mean of batch means and of biased batch variances; no momentum, no unbiasing
/// (source: `set_running_statistics` of the authors' code, described in the reference results).
#[derive(Default)]
pub struct Recalibration {
    sums: BTreeMap<String, Vec<f64>>,
    images: BTreeMap<String, usize>,
}

impl Recalibration {
    /// Adds the statistics of one batch.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the backend cannot deliver the statistics.
    pub fn add(&mut self, statistics: Vec<BatchStatistics>) -> Result<(), TrainError> {
        let (mut named, mut tensors) = (Vec::new(), Vec::new());
        for BatchStatistics { mean_name, variance_name, mean, variance, images, .. } in statistics {
            named.extend([(mean_name, images), (variance_name, images)]);
            tensors.extend([mean, variance]);
        }
        for ((name, images), values) in named.into_iter().zip(to_host_together(tensors)?) {
            self.accumulate(name, &values, images);
        }
        Ok(())
    }

    fn accumulate(&mut self, name: String, batch: &[f32], images: usize) {
        *self.images.entry(name.clone()).or_default() += images;
        let sum = self.sums.entry(name).or_insert_with(|| vec![0.0; batch.len()]);
        for (total, value) in sum.iter_mut().zip(batch) {
            *total += f64::from(*value) * images as f64;
        }
    }

    /// The statistics with the subnet's channels replaced; those it does not use keep their old values.
    pub fn finish(self, old: &RunningStatistics) -> RunningStatistics {
        let mut new = old.clone();
        for (name, sum) in &self.sums {
            let images = self.images[name] as f64;
            if let Some(running) = new.values.get_mut(name) {
                for (value, total) in running.iter_mut().zip(sum) {
                    *value = (total / images) as f32;
                }
            }
        }
        new
    }
}
