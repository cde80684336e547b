//! One step of Nesterov SGD in place: one pass over parameter, gradient and velocity, and no memory of its own.

use super::vectorised;
use burn::backend::Flex;
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Values that a core takes at a time.
const PIECE: usize = 64 * 1024;

/// The numbers of a step.
#[derive(Clone, Copy, Debug)]
pub struct NesterovStep {
    /// Learning rate.
    pub rate: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay, added to the gradient.
    pub decay: f32,
}

/// Parameter, gradient and velocity of a step that the kernels do not take, as they came.
pub type Refused<const D: usize> = (Tensor<D>, Tensor<D>, Option<Tensor<D>>);

impl NesterovStep {
    /// `v ← momentum·v + g`, `p ← p − rate·(g + momentum·v)`, with `g` the decayed gradient; the first step starts
    /// with `v = g`. Returns parameter and velocity.
    ///
    /// Nothing is copied if the caller's are the only handles to the tensors.
    ///
    /// # Errors
    /// The tensors, where they do not live on `flex` or the kernels are switched off.
    #[expect(clippy::result_large_err, reason = "a refusal hands the tensors back, unharmed")]
    pub fn run<const D: usize>(
        self,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        velocity: Option<Tensor<D>>,
    ) -> Result<(Tensor<D>, Tensor<D>), Refused<D>> {
        let on_flex = |tensor: &Tensor<D>| tensor.clone().try_into_primitive::<Flex>().is_ok();
        let supported = super::operation::enabled()
            && on_flex(&parameter)
            && on_flex(&gradient)
            && velocity.as_ref().is_none_or(on_flex);
        if !supported {
            return Err((parameter, gradient, velocity));
        }
        let own = |tensor: Tensor<D>| match tensor.try_into_primitive::<Flex>() {
            Ok(tensor) => contiguous(tensor),
            Err(_) => unreachable!("checked above"),
        };
        let (mut p, g) = (own(parameter), own(gradient));
        let mut v = velocity.map_or_else(|| FlexTensor::zeros(p.layout().shape().clone(), p.dtype()), own);
        let rows = p.storage_mut::<f32>().par_chunks_mut(PIECE);
        let rows = rows.zip(g.storage::<f32>().par_chunks(PIECE)).zip(v.storage_mut::<f32>().par_chunks_mut(PIECE));
        // Velocity starts as the gradient itself, which is `momentum · 0 + g`.
        let NesterovStep { rate, momentum, decay } = self;
        rows.for_each(|((p, g), v)| {
            vectorised(
                #[inline(always)]
                || {
                    for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
                        let g = decay.mul_add(*p, *g);
                        *v = momentum.mul_add(*v, g);
                        *p -= rate * momentum.mul_add(*v, g);
                    }
                },
            );
        });
        Ok((Tensor::from_primitive::<Flex>(p), Tensor::from_primitive::<Flex>(v)))
    }
}

/// The tensor with storage of exactly its own values, copied only if it is a view or shared.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}
