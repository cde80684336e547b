//! One step of Nesterov SGD in place: one pass over parameter, gradient and velocity, without memory of its own.

use crate::simd::vectorised;
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

impl NesterovStep {
    /// `v ← momentum·v + g`, `p ← p − rate·(g + momentum·v)`, with `g` the decayed gradient. With a velocity of zeros the
    /// first step starts with `v = g`.
    ///
    /// Source: `torch.optim.SGD` with `nesterov=True` and no dampening.
    ///
    /// # Panics
    /// If the three slices differ in length.
    pub fn run(self, parameter: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
        assert!(parameter.len() == gradient.len() && velocity.len() == gradient.len(), "slices of one length");
        let NesterovStep { rate, momentum, decay } = self;
        let rows = parameter.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE)).zip(velocity.par_chunks_mut(PIECE));
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_steps_agree_with_the_formula_in_f64() {
        let step = NesterovStep { rate: 0.1, momentum: 0.9, decay: 0.01 };
        let (mut p, mut v) = ([1.0f32], [0.0f32]);
        let (mut exact, mut velocity) = (1.0f64, 0.0f64);
        for gradient in [0.5f32, -0.25, 0.125] {
            step.run(&mut p, &[gradient], &mut v);
            let g = f64::from(gradient) + 0.01 * exact;
            velocity = 0.9 * velocity + g;
            exact -= 0.1 * (g + 0.9 * velocity);
            assert!((f64::from(p[0]) - exact).abs() < 1e-6);
        }
        assert!((p[0] - 1.0).abs() > 0.01);
    }
}
