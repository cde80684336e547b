//! Gradient clipping by the norm of all gradients together.

use crate::elastic::parameters::ParameterModule;
use crate::elastic::to_host;
use crate::error::TrainError;
use burn::module::Param;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Scales all gradients by one factor, so that their common L2 norm is at most `largest` (`clip_grad_norm_` of PyTorch).
///
/// # Errors
/// [`TrainError::Compute`] if the backend cannot deliver a norm.
pub(crate) fn clip(gradients: &mut GradientsParams, module: &ParameterModule, largest: f64) -> Result<(), TrainError> {
    let mut squares = 0.0;
    let mut add = |square: Tensor<1>| -> Result<(), TrainError> {
        squares += to_host(square)?.iter().map(|value| f64::from(*value)).sum::<f64>();
        Ok(())
    };
    let ParameterModule { vectors, matrices, kernels } = module;
    for param in vectors {
        gradients.get::<1>(param.id).map(|gradient| add(gradient.square().sum())).transpose()?;
    }
    for param in matrices {
        gradients.get::<2>(param.id).map(|gradient| add(gradient.square().sum())).transpose()?;
    }
    for param in kernels {
        gradients.get::<4>(param.id).map(|gradient| add(gradient.square().sum())).transpose()?;
    }
    let norm = squares.sqrt();
    // A norm that is not a number is left to the check of the loss.
    if norm <= largest || norm.is_nan() {
        return Ok(());
    }
    let factor = largest / norm;
    vectors.iter().for_each(|param| scale::<1>(gradients, param, factor));
    matrices.iter().for_each(|param| scale::<2>(gradients, param, factor));
    kernels.iter().for_each(|param| scale::<4>(gradients, param, factor));
    Ok(())
}

fn scale<const D: usize>(gradients: &mut GradientsParams, param: &Param<Tensor<D>>, factor: f64) {
    if let Some(gradient) = gradients.remove::<D>(param.id) {
        gradients.register(param.id, gradient * factor);
    }
}
