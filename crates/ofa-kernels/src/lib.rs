#![doc = include_str!("../README.md")]

pub mod block;
pub mod buffers;
mod conv;
pub mod dense;
mod gate;
mod gemm;
pub mod instruction_set;
mod lanes;
mod nonlinearity;
mod normalisation;
mod pooling;
pub mod precision;
pub mod sgd;
mod simd;

/// Repeatable values spread over −1..1 for tests.
#[cfg(test)]
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
