//! Fresh weights for a supernet.

use crate::error::SpaceError;
use crate::network::net_spec::TensorRole;
use crate::spaces::space::SearchSpace;
use crate::weights::supernet::{self, TensorDef};
use crate::weights::tensors::{Tensor, Weights};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Random weights of a space's supernet, the same for the same seed. See [`initialise`].
///
/// # Errors
/// [`SpaceError`] if the space cannot resolve its own archs.
pub fn supernet_weights(space: &dyn SearchSpace, seed: u64) -> Result<Weights, SpaceError> {
    Ok(initialise(&supernet::tensors(space)?, &mut ChaCha8Rng::seed_from_u64(seed)))
}

/// Random weights as the authors initialise them: convolutions normal with variance `2 / (k²·out)` (`he_fout`),
/// linear layers uniform within `±1/√in`, biases 0, batch norms at identity, transform matrices at identity.
///
/// Tensors are drawn in the order of their names, so the same generator gives the same weights.
pub fn initialise(defs: &BTreeMap<String, TensorDef>, rng: &mut dyn Rng) -> Weights {
    let mut weights = Weights::default();
    for (name, def) in defs {
        let shape = &def.shape;
        let tensor = match def.role {
            TensorRole::ConvWeight => {
                let fan_out = (shape[0] * shape[2] * shape[3]) as f32;
                random(shape, rng, |rng| standard_normal(rng) * (2.0 / fan_out).sqrt())
            }
            TensorRole::LinearWeight => {
                let bound = 1.0 / (shape[1] as f32).sqrt();
                random(shape, rng, |rng| rng.random_range(-bound..bound))
            }
            TensorRole::KernelTransform => Tensor::identity(shape[0]),
            TensorRole::NormWeight | TensorRole::RunningVariance => Tensor::full(shape, 1.0),
            TensorRole::ConvBias | TensorRole::LinearBias | TensorRole::NormBias | TensorRole::RunningMean => {
                Tensor::full(shape, 0.0)
            }
        };
        weights.insert(name.clone(), tensor);
    }
    weights
}

fn random(shape: &[usize], rng: &mut dyn Rng, draw: impl Fn(&mut dyn Rng) -> f32) -> Tensor {
    let data = (0..shape.iter().product::<usize>()).map(|_| draw(rng)).collect();
    Tensor { shape: shape.to_vec(), data }
}

/// One draw of the standard normal distribution (Box–Muller).
fn standard_normal(rng: &mut dyn Rng) -> f32 {
    let radius: f64 = rng.random_range(f64::MIN_POSITIVE..1.0);
    let angle: f64 = rng.random_range(0.0..std::f64::consts::TAU);
    ((-2.0 * radius.ln()).sqrt() * angle.cos()) as f32
}
