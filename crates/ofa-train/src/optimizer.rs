//! Nesterov SGD as the paper trains with: no weight decay on batch norm and biases.

use crate::error::TrainError;
use crate::parameters::ParameterModule;
use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Bytes;

/// Nesterov SGD over the supernet's parameters.
///
/// A tensor that no subnet of the step touched has no gradient and is skipped entirely: no decay, no momentum (the
/// behaviour of current PyTorch).
pub struct Optimizer {
    inner: ModuleOptimizer,
}

impl Optimizer {
    /// Momentum and weight decay; decay acts on convolution and linear weights and on transform matrices.
    pub fn new(momentum: f64, weight_decay: f64) -> Self {
        // Burn's default dampening is 0.1; PyTorch's, which the paper used, is 0.
        let momentum = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0).with_nesterov(true);
        let decaying = SgdConfig::new()
            .with_momentum(Some(momentum.clone()))
            .with_weight_decay(Some(WeightDecayConfig::new(weight_decay as f32)));
        let plain = SgdConfig::new().with_momentum(Some(momentum)).build();
        let inner = decaying.init().with_group(ParamGroup::from_predicate("vectors"), plain, None);
        Self { inner }
    }

    /// One step.
    pub fn step(&mut self, rate: f64, module: ParameterModule, gradients: GradientsParams) -> ParameterModule {
        self.inner.step(rate, module, gradients)
    }

    /// The momentum buffers, for a checkpoint.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the backend cannot deliver them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let bytes = self.inner.into_bytes().map_err(|e| TrainError::Compute(format!("optimizer state: {e}")))?;
        Ok(bytes.to_vec())
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
        Ok(Self { inner })
    }
}
