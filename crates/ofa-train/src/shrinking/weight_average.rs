//! The exponential moving average of a supernet's weights and running statistics: `decay · average + (1 − decay) · now`.
//!
//! Weights are averaged on the device after every step. Running statistics are followed on the host, perhaps some steps later,
//! but in the order of the steps.

use crate::elastic::Supernet;
use crate::elastic::batch_norm::RunningStatistics;
use crate::elastic::parameters::ParameterModule;
use crate::error::TrainError;
use burn::module::Param;
use burn::tensor::Tensor;

/// The average at its beginning: a copy of the supernet, without gradients.
///
/// # Errors
/// [`TrainError::Compute`] if the backend cannot deliver the weights.
pub(crate) fn begin(supernet: &Supernet) -> Result<Supernet, TrainError> {
    let device = supernet.device().clone().inner();
    let average = Supernet::new(supernet.defs.clone(), &supernet.weights()?, &device)?;
    Ok(average.with_precision(supernet.parameters.precision))
}

/// Moves averaged weights towards those of the moment.
pub(crate) fn follow_weights(average: &mut Supernet, supernet: &Supernet, decay: f64) {
    let share = 1.0 - decay as f32;
    let ParameterModule { vectors, matrices, kernels } = &supernet.parameters.module;
    average.parameters.update(|average| ParameterModule {
        vectors: average.vectors.into_iter().zip(vectors).map(|(old, new)| towards(old, new, share)).collect(),
        matrices: average.matrices.into_iter().zip(matrices).map(|(old, new)| towards(old, new, share)).collect(),
        kernels: average.kernels.into_iter().zip(kernels).map(|(old, new)| towards(old, new, share)).collect(),
    });
}

fn towards<const D: usize>(average: Param<Tensor<D>>, now: &Param<Tensor<D>>, share: f32) -> Param<Tensor<D>> {
    average.map(|old| {
        let difference = now.val().without_autodiff() - old.clone();
        old + difference * share
    })
}

/// Moves averaged running statistics towards those of the moment.
pub(crate) fn follow_statistics(average: &mut Supernet, running: &RunningStatistics, decay: f64) {
    average.running.approach(running, 1.0 - decay as f32);
}
