//! A supernet in training: parameters, running statistics, and what it takes to run its subnets.

use super::batch_norm::{Recalibration, RunningStatistics};
use super::executor::{Output, Prepared, Statistics};
use super::parameters::{Gradients, Parameters};
use super::plan::Plan;
use super::precision::Precision;
use super::transfer::upload;
use crate::error::TrainError;
use crate::images::Images;
use burn::tensor::{Device, Tensor};
use ofa_space::supernet::TensorDef;
use ofa_space::{Block, Model, ModelBody, NetSpec, Weights, supernet};
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

    /// The network with another precision of its products; they are in f32 otherwise.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.parameters.precision = precision;
        self
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
        upload(images, &self.device.clone().inner())
    }

    /// Runs a batch with its own statistics and records gradients, as training does.
    pub fn forward_training(&self, net: &NetSpec, images: &Images) -> Output {
        let x = upload(images, &self.device);
        Prepared::new(&Plan::new(net), &self.parameters, Statistics::Batch, Gradients::Record).forward(x)
    }

    /// The same with gradients for the last block only; the others run as in training.
    pub fn forward_training_head(&self, net: &NetSpec, images: &Images) -> Output {
        let (body, head) = net.blocks.split_at(net.blocks.len().saturating_sub(1));
        let part = |blocks: &[Block]| Plan::new(&NetSpec { blocks: blocks.to_vec(), ..*net });
        let body = Prepared::new(&part(body), &self.parameters, Statistics::Batch, Gradients::Skip);
        let (features, statistics) = body.run(self.upload(images));
        let head = Prepared::new(&part(head), &self.parameters, Statistics::Batch, Gradients::Record);
        Output { statistics, ..head.forward(Tensor::from_inner(features)) }
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
