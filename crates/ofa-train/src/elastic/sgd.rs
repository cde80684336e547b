//! A step of Nesterov SGD on tensors, in place by the CPU kernels.

use super::kernel_switch::enabled;
use burn::backend::Flex;
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use ofa_kernels::sgd::NesterovStep;

/// Parameter, gradient and velocity of a step that the kernels do not take, unchanged.
pub type Refused<const D: usize> = (Tensor<D>, Tensor<D>, Option<Tensor<D>>);

/// Takes the step on a parameter; without a velocity, the step starts with the gradient as velocity. Returns parameter
/// and velocity.
///
/// Nothing is copied if the caller holds the only handles to the tensors.
///
/// # Errors
/// The tensors, where they do not live on `flex` or the kernels are switched off.
#[expect(clippy::result_large_err, reason = "a refusal returns the tensors unchanged")]
pub fn nesterov_step<const D: usize>(
    step: NesterovStep,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    velocity: Option<Tensor<D>>,
) -> Result<(Tensor<D>, Tensor<D>), Refused<D>> {
    let on_flex = |tensor: &Tensor<D>| tensor.clone().try_into_primitive::<Flex>().is_ok();
    let supported = enabled() && on_flex(&parameter) && on_flex(&gradient) && velocity.as_ref().is_none_or(on_flex);
    if !supported {
        return Err((parameter, gradient, velocity));
    }
    // With storage of exactly its own values; copied only if it is a view or shared.
    let own = |tensor: Tensor<D>| match tensor.try_into_primitive::<Flex>() {
        Ok(tensor) => tensor.to_contiguous(),
        Err(_) => unreachable!("checked above"),
    };
    let (mut p, g) = (own(parameter), own(gradient));
    let mut v = velocity.map_or_else(|| FlexTensor::zeros(p.layout().shape().clone(), p.dtype()), own);
    step.run(p.storage_mut::<f32>(), g.storage::<f32>(), v.storage_mut::<f32>());
    Ok((Tensor::from_primitive::<Flex>(p), Tensor::from_primitive::<Flex>(v)))
}
