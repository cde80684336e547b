//! Nesterov SGD as the paper trains with: no weight decay on batch norm and biases.

use crate::elastic::parameters::{ParameterModule, Parameters};
#[cfg(feature = "flex")]
use crate::elastic::sgd::nesterov_step;
use crate::error::TrainError;
use burn::module::ParamGroup;
use burn::optim::{GradientsParams, LearningRate, ModuleOptimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Bytes, Device, Tensor, TensorData};
use burn_pack::{Reader, Writer};
#[cfg(feature = "flex")]
use ofa_kernels::sgd::NesterovStep;
use ofa_space::TensorRole;
use std::fmt::Display;

/// Nesterov SGD over the supernet's parameters.
///
/// A tensor that no subnet of the step touched has no gradient and is skipped entirely: no decay, no momentum (the
/// behaviour of current PyTorch).
pub struct Optimizer {
    base: Nesterov,
    inner: ModuleOptimizer,
}

impl Optimizer {
    /// Momentum and weight decay; decay acts on convolution and linear weights and on transform matrices.
    pub fn new(momentum: f64, weight_decay: f64) -> Self {
        let decaying = Nesterov { momentum: momentum as f32, decay: weight_decay as f32, rate_factor: 1.0 };
        let plain = Nesterov { decay: 0.0, ..decaying };
        let inner = ModuleOptimizer::from(decaying).with_group(ParamGroup::from_predicate("vectors"), plain, None);
        Self { base: decaying, inner }
    }

    /// The same with another learning rate for the classifier: `factor` times that of everything else. Features of a
    /// pretrained network can be so large that a new classifier diverges at the rate of the body.
    #[must_use]
    pub fn with_head_rate(self, factor: f64, parameters: &Parameters) -> Self {
        if factor == 1.0 {
            return self;
        }
        let Self { base, inner } = self;
        let weights = Nesterov { rate_factor: factor, ..base };
        let [weight_ids, bias_ids] =
            [TensorRole::LinearWeight, TensorRole::LinearBias].map(|role| ParamGroup::from_ids(parameters.ids(role)));
        let inner = inner.with_group(weight_ids, weights, None);
        Self { base, inner: inner.with_group(bias_ids, Nesterov { decay: 0.0, ..weights }, None) }
    }

    /// One step.
    pub fn step(&mut self, rate: f64, module: ParameterModule, gradients: GradientsParams) -> ParameterModule {
        self.inner.step(rate, module, gradients)
    }

    /// The momentum buffers, for a checkpoint: equal states give equal bytes.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the backend cannot deliver them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let problem = |e: &dyn Display| TrainError::Compute(format!("optimizer state: {e}"));
        let unordered = self.inner.into_bytes().map_err(|e| problem(&e))?;
        let reader = Reader::from_bytes(unordered).map_err(|e| problem(&e))?;
        let (metadata, scalars) = (reader.metadata().clone(), reader.scalars().clone());
        // Burn writes them in the order of a hash map, another one in every process.
        let mut tensors = reader.into_tensors().map_err(|e| problem(&e))?;
        tensors.sort_by(|a, b| (a.param_id, &a.name).cmp(&(b.param_id, &b.name)));
        let writer =
            metadata.iter().fold(Writer::new(tensors), |writer, (key, value)| writer.with_metadata(key, value));
        let writer = scalars.iter().fold(writer, |writer, (key, value)| writer.with_scalar(key, *value));
        Ok(writer.into_bytes().map_err(|e| problem(&e))?.to_vec())
    }

    /// The same optimizer with the momentum buffers of a checkpoint.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the bytes are not an optimizer's state.
    pub fn with_state(self, bytes: Vec<u8>) -> Result<Self, TrainError> {
        let inner = self
            .inner
            .from_bytes(Bytes::from_bytes_vec(bytes))
            .map_err(|e| TrainError::Compute(format!("optimizer state: {e}")))?;
        Ok(Self { base: self.base, inner })
    }
}

/// Burn's SGD with Nesterov momentum and no dampening, as one pass in place where the CPU kernels can.
#[derive(Clone, Copy, Debug)]
struct Nesterov {
    momentum: f32,
    decay: f32,
    /// Multiplies the learning rate.
    rate_factor: f64,
}

/// The momentum buffer of a parameter.
#[derive(Clone)]
enum Velocity<const D: usize> {
    OnDevice(Tensor<D>),
    /// As it was read. Burn restores states on its default device, which may be a GPU that this machine does not have.
    Read(TensorData),
}

impl<const D: usize> Velocity<D> {
    fn on(self, device: &Device) -> Tensor<D> {
        match self {
            Self::OnDevice(tensor) => tensor,
            Self::Read(data) => Tensor::from_data(data, device),
        }
    }
}

/// Name of the buffer in a checkpoint, which is the one that Burn's SGD gives it.
const LEAF: &str = "momentum.velocity";

impl<const D: usize> RecordState for Velocity<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        let data = match self {
            Self::OnDevice(tensor) => tensor.to_data(),
            Self::Read(data) => data.clone(),
        };
        out.push_tensor(prefix, LEAF, data);
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, _default: &Device) -> Option<Self> {
        Some(Self::Read(source.take_tensor(prefix, LEAF)?))
    }
}

impl burn::optim::Optimizer for Nesterov {
    type State<const D: usize> = Velocity<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Velocity<D>>,
    ) -> (Tensor<D>, Option<Velocity<D>>) {
        let rate = rate * self.rate_factor;
        let velocity = state.map(|state| state.on(&parameter.device()));
        #[cfg(feature = "flex")]
        let (parameter, gradient, velocity) = {
            let step = NesterovStep { rate: rate as f32, momentum: self.momentum, decay: self.decay };
            match nesterov_step(step, parameter, gradient, velocity) {
                Ok((parameter, velocity)) => return (parameter, Some(Velocity::OnDevice(velocity))),
                Err(refused) => refused,
            }
        };
        let gradient = gradient + parameter.clone() * self.decay;
        let velocity = match velocity {
            Some(velocity) => velocity * self.momentum + gradient.clone(),
            None => gradient.clone(),
        };
        let direction = gradient + velocity.clone() * self.momentum;
        (parameter - direction * rate, Some(Velocity::OnDevice(velocity)))
    }

    fn to_device<const D: usize>(state: Velocity<D>, device: &Device) -> Velocity<D> {
        match state {
            Velocity::OnDevice(tensor) => Velocity::OnDevice(tensor.to_device(device)),
            Velocity::Read(data) => Velocity::OnDevice(Tensor::from_data(data, device)),
        }
    }
}
