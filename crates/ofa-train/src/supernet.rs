//! A supernet in training: parameters, running statistics, and what it takes to run its subnets.

use crate::batch_norm::{Recalibration, RunningStatistics};
use crate::error::TrainError;
use crate::executor::{Output, Prepared, Statistics};
use crate::parameters::{Gradients, Parameters};
use crate::plan::Plan;
use burn::tensor::{Device, Tensor};
use ofa_space::supernet::TensorDef;
use ofa_space::{Model, ModelBody, NetSpec, Weights, supernet};
use std::collections::BTreeMap;

/// Trainable tensors and running statistics of a network, elastic or standalone, on a device.
#[derive(Clone, Debug)]
pub struct Supernet {
    /// Every tensor that some subnet reads.
    pub defs: BTreeMap<String, TensorDef>,
    /// Trainable tensors.
    pub parameters: Parameters,
    /// Running statistics of batch norm.
    pub running: RunningStatistics,
    device: Device,
}

/// A batch of images in NHWC, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Values, `[n, h, w, c]`, already normalised.
    pub data: Vec<f32>,
    /// `[n, h, w, c]`.
    pub shape: [usize; 4],
}

impl Images {
    /// From `[n, c, h, w]` values.
    ///
    /// # Panics
    /// If the number of values is not the product of the shape.
    pub fn from_nchw(values: &[f32], [n, c, h, w]: [usize; 4]) -> Self {
        assert_eq!(values.len(), n * c * h * w, "values do not fill the shape");
        let area = h * w;
        let mut data = vec![0.0; values.len()];
        for image in 0..n {
            let from = &values[image * c * area..(image + 1) * c * area];
            let into = &mut data[image * c * area..(image + 1) * c * area];
            for (channel, plane) in from.chunks_exact(area.max(1)).enumerate() {
                for (pixel, value) in plane.iter().enumerate() {
                    into[pixel * c + channel] = *value;
                }
            }
        }
        Self { data, shape: [n, h, w, c] }
    }

    /// The values as `[n, c, h, w]`.
    pub fn to_nchw(&self) -> Vec<f32> {
        let [n, h, w, c] = self.shape;
        // The same transposition with the roles of pixels and channels exchanged.
        Self::from_nchw(&self.data, [n, h * w, c, 1]).data
    }

    /// Cuts the batch, in order, into batches of these sizes; the last size repeats until the images are used up.
    pub fn split(&self, sizes: &[usize]) -> Vec<Images> {
        let [n, h, w, c] = self.shape;
        let image = h * w * c;
        let mut batches = Vec::new();
        let mut start = 0;
        let mut sizes = sizes.iter().copied().filter(|size| *size > 0);
        let mut size = n;
        while start < n {
            size = sizes.next().unwrap_or(size);
            let end = (start + size).min(n);
            let data = self.data[start * image..end * image].to_vec();
            batches.push(Images { data, shape: [end - start, h, w, c] });
            start = end;
        }
        batches
    }
}

impl Supernet {
    /// Puts `weights` on `device`; pass an autodiff device for training.
    ///
    /// # Errors
    /// [`TrainError::Weights`] if a tensor is missing or of another shape.
    pub fn new(defs: BTreeMap<String, TensorDef>, weights: &Weights, device: &Device) -> Result<Self, TrainError> {
        let parameters = Parameters::from_weights(&defs, weights, device)?;
        let running = RunningStatistics::from_weights(&defs, weights)?;
        Ok(Self { defs, parameters, running, device: device.clone() })
    }

    /// The network of a model file.
    ///
    /// # Errors
    /// [`TrainError`] if the model's tensors do not fit its space.
    pub fn from_model(model: &Model, device: &Device) -> Result<Self, TrainError> {
        let defs = match &model.body {
            ModelBody::Supernet { space } => supernet::tensors(space.as_ref())?,
            ModelBody::Net { spec, .. } => {
                spec.tensors().map(|t| (t.name.clone(), TensorDef { shape: t.full.clone(), role: t.role })).collect()
            }
        };
        Self::new(defs, &model.weights, device)
    }

    /// Every tensor back on the host.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the backend cannot deliver them.
    pub fn weights(&self) -> Result<Weights, TrainError> {
        let mut weights = Weights::default();
        self.parameters.store(&mut weights)?;
        self.running.store(&mut weights);
        Ok(weights)
    }

    /// The device that parameters live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Puts a batch on the device, without gradients.
    pub fn upload(&self, images: &Images) -> Tensor<4> {
        place(images, &self.device.clone().inner())
    }

    /// Runs a batch with its own statistics and records gradients, as training does.
    pub fn forward_training(&self, net: &NetSpec, images: &Images) -> Output {
        let x = place(images, &self.device);
        Prepared::new(&Plan::new(net), &self.parameters, Statistics::Batch, Gradients::Record).forward(x)
    }

    /// Runs a batch with its own statistics and no gradients, as the teacher does.
    pub fn forward_batch_statistics(&self, net: &NetSpec, images: &Images) -> Output {
        let x = self.upload(images);
        Prepared::new(&Plan::new(net), &self.parameters, Statistics::Batch, Gradients::Skip).forward(x)
    }

    /// The network with batch norm folded, ready for evaluation with `running`.
    pub fn prepare(&self, net: &NetSpec, running: &RunningStatistics) -> Prepared {
        Prepared::new(&Plan::new(net), &self.parameters, Statistics::Running(running), Gradients::Skip)
    }

    /// BN recalibration: running statistics of a subnet from these batches; the supernet's own stay as they are.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the backend cannot deliver the statistics.
    pub fn recalibrate<'a>(
        &self,
        net: &NetSpec,
        batches: impl IntoIterator<Item = &'a Images>,
    ) -> Result<RunningStatistics, TrainError> {
        let prepared = Prepared::new(&Plan::new(net), &self.parameters, Statistics::Batch, Gradients::Skip);
        let mut recalibration = Recalibration::default();
        for batch in batches {
            recalibration.add(prepared.forward(self.upload(batch)).statistics)?;
        }
        Ok(recalibration.finish(&self.running))
    }
}

/// The data of a tensor on the host.
///
/// # Errors
/// [`TrainError::Compute`] if the backend cannot deliver it.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, TrainError> {
    tensor.into_data().try_into_vec::<f32>().map_err(|e| TrainError::Compute(format!("{e:?}")))
}

#[cfg(feature = "flex")]
fn place(images: &Images, device: &Device) -> Tensor<4> {
    crate::cpu_kernels::upload(&images.data, images.shape, device)
}

#[cfg(not(feature = "flex"))]
fn place(images: &Images, device: &Device) -> Tensor<4> {
    Tensor::from_data(burn::tensor::TensorData::new(images.data.clone(), images.shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_round_trip_and_splits_keep_order() {
        let values: Vec<f32> = (0..2 * 3 * 4 * 5).map(|v| v as f32).collect();
        let images = Images::from_nchw(&values, [2, 3, 4, 5]);
        assert_eq!(images.data[1], 20.0); // pixel 0, channel 1
        assert_eq!(images.to_nchw(), values);
        let many = Images { data: (0..10).map(|v| v as f32).collect(), shape: [10, 1, 1, 1] };
        let sizes: Vec<usize> = many.split(&[5, 2]).iter().map(|b| b.shape[0]).collect();
        assert_eq!(sizes, [5, 2, 2, 1]);
        assert_eq!(many.split(&[4])[2].data, [8.0, 9.0]);
    }
}
