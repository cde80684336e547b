//! Gradient clipping by the norm of all gradients together.

use crate::elastic::Supernet;
use crate::elastic::parameters::ParameterModule;
use crate::elastic::transfer::{is_host, to_host};
use crate::error::TrainError;
use burn::module::Param;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Scales all gradients by one factor, so that their common L2 norm is at most `largest` (`clip_grad_norm_` of PyTorch).
///
/// # Errors
/// [`TrainError::Compute`] if the backend cannot deliver a norm.
pub(crate) fn clip(gradients: &mut GradientsParams, supernet: &Supernet, largest: f64) -> Result<(), TrainError> {
    let module = &supernet.parameters.module;
    match is_host(supernet.device()) {
        true => clip_on_host(gradients, module, largest),
        false => {
            clip_on_device(gradients, module, largest);
            Ok(())
        }
    }
}

/// With a norm in f64, and without touching gradients that are small enough.
fn clip_on_host(gradients: &mut GradientsParams, module: &ParameterModule, largest: f64) -> Result<(), TrainError> {
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

/// With a norm in f32, and without waiting for it.
fn clip_on_device(gradients: &mut GradientsParams, module: &ParameterModule, largest: f64) {
    let ParameterModule { vectors, matrices, kernels } = module;
    let vector_squares = vectors.iter().filter_map(|param| Some(gradients.get::<1>(param.id)?.square().sum()));
    let matrix_squares = matrices.iter().filter_map(|param| Some(gradients.get::<2>(param.id)?.square().sum()));
    let kernel_squares = kernels.iter().filter_map(|param| Some(gradients.get::<4>(param.id)?.square().sum()));
    let squares: Vec<Tensor<1>> = vector_squares.chain(matrix_squares).chain(kernel_squares).collect();
    if squares.is_empty() {
        return;
    }
    let factor = (Tensor::cat(squares, 0).sum().sqrt().recip() * largest).clamp_max(1.0);
    vectors.iter().for_each(|param| scale_by::<1>(gradients, param, &factor));
    matrices.iter().for_each(|param| scale_by::<2>(gradients, param, &factor));
    kernels.iter().for_each(|param| scale_by::<4>(gradients, param, &factor));
}

fn scale_by<const D: usize>(gradients: &mut GradientsParams, param: &Param<Tensor<D>>, factor: &Tensor<1>) {
    if let Some(gradient) = gradients.remove::<D>(param.id) {
        gradients.register(param.id, gradient * factor.clone().reshape([1; D]));
    }
}

fn scale<const D: usize>(gradients: &mut GradientsParams, param: &Param<Tensor<D>>, factor: f64) {
    if let Some(gradient) = gradients.remove::<D>(param.id) {
        gradients.register(param.id, gradient * factor);
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::images::Images;
    use crate::training::step::{StepInput, gradients};
    use burn::tensor::Device;
    use ofa_space::{initialisation, registry, supernet};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn both_ways_give_the_same_gradients() {
        let space = registry::named("tiny-28").unwrap();
        let defs = supernet::tensors(space.as_ref()).unwrap();
        let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(4));
        let net = space.resolve(&space.max_arch().with_resolution(28)).unwrap();
        let shape = [4, 28, 28, 1];
        let images = Images { data: (0..4 * 28 * 28).map(|index| (index as f32 * 0.7).sin()).collect(), shape };
        for largest in [0.1, 1e6] {
            let clipped = |on_device: bool| {
                let mut supernet = Supernet::new(defs.clone(), &weights, &Device::flex().autodiff()).unwrap();
                let input = StepInput::from_labels(&images, &[1, 2, 3, 4], std::slice::from_ref(&net));
                let (mut found, _) = gradients(&mut supernet, &input).unwrap();
                let module = &supernet.parameters.module;
                match on_device {
                    true => clip_on_device(&mut found, module, largest),
                    false => clip_on_host(&mut found, module, largest).unwrap(),
                }
                let values = module.kernels.iter().filter_map(|param| found.get::<4>(param.id));
                values.flat_map(|gradient| to_host(gradient).unwrap()).collect::<Vec<f32>>()
            };
            let (device, host) = (clipped(true), clipped(false));
            let norm = host.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            assert!(largest > 1.0 || (0.03..=0.1001).contains(&norm), "{norm}");
            assert!(device.iter().zip(&host).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs() + 1e-9));
        }
    }
}
