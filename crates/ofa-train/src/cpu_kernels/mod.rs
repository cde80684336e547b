//! CPU kernels: convolution, batch norm and nonlinearity in one operation, over NHWC activations.
//!
//! A custom operation on Burn's `flex` backend with a hand-written backward pass. Other backends, and
//! `OFA_KERNELS=off`, run the bodies of [`crate::elastic::layer_ops`], which are also what the kernels are tested against.
//! Every sum runs over a fixed division of the batch, so results do not depend on the number of threads.

mod backward;
mod block;
mod buffers;
mod convolution;
mod depthwise;
mod evaluation;
mod forward;
mod gate;
mod matmul;
mod normalise;
mod operation;
mod packed;
mod sgd;
mod source;
mod winograd;

pub use block::{After, Block, BlockStep, Window};
pub use operation::{BlockOutput, FrozenBlock, Parameter, conv_activate, conv_normalise_batch, run_block, upload};
pub use sgd::NesterovStep;

/// A division of the batch into lanes of images that are worked on side by side; it depends on the shapes only, so
/// that sums come out the same on any number of threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes {
    images: usize,
    per_lane: usize,
}

impl Lanes {
    /// Lanes for a layer whose weight has this many values: each lane prepares it for its matrix products, and has a
    /// gradient of its own.
    fn new(images: usize, weight: usize) -> Self {
        let lanes = match weight {
            0..=32_768 => 16,
            32_769..=131_072 => 8,
            _ => 4,
        };
        Self { images, per_lane: images.div_ceil(lanes).max(1) }
    }

    /// A single lane.
    fn one(images: usize) -> Self {
        Self { images, per_lane: images.max(1) }
    }

    fn range(&self, lane: usize) -> std::ops::Range<usize> {
        let start = lane * self.per_lane;
        start..(start + self.per_lane).min(self.images)
    }
}

/// Calls `$body` for blocks of channels: 32 wide, then 16, 8, and one by one.
macro_rules! for_channel_blocks {
    ($channels:expr, $block:ident, $at:ident => $body:expr) => {{
        let mut $at = 0;
        while $at + 32 <= $channels {
            const $block: usize = 32;
            $body;
            $at += 32;
        }
        while $at + 16 <= $channels {
            const $block: usize = 16;
            $body;
            $at += 16;
        }
        while $at + 8 <= $channels {
            const $block: usize = 8;
            $body;
            $at += 8;
        }
        while $at < $channels {
            const $block: usize = 1;
            $body;
            $at += 1;
        }
    }};
}
pub(crate) use for_channel_blocks;

/// A nonlinearity and its derivative, resolved at compile time inside the loops.
pub(crate) trait Nonlinearity: Copy + Send + Sync {
    /// The value.
    fn value(u: f32) -> f32;
    /// The derivative.
    fn slope(u: f32) -> f32;
}

#[derive(Clone, Copy)]
struct Identity;
#[derive(Clone, Copy)]
struct Relu;
#[derive(Clone, Copy)]
struct Relu6;
#[derive(Clone, Copy)]
struct HSwish;

impl Nonlinearity for Identity {
    #[inline(always)]
    fn value(u: f32) -> f32 {
        u
    }
    #[inline(always)]
    fn slope(_: f32) -> f32 {
        1.0
    }
}

impl Nonlinearity for Relu {
    #[inline(always)]
    fn value(u: f32) -> f32 {
        u.max(0.0)
    }
    #[inline(always)]
    fn slope(u: f32) -> f32 {
        if u > 0.0 { 1.0 } else { 0.0 }
    }
}

impl Nonlinearity for Relu6 {
    #[inline(always)]
    fn value(u: f32) -> f32 {
        u.clamp(0.0, 6.0)
    }
    #[inline(always)]
    fn slope(u: f32) -> f32 {
        if u > 0.0 && u < 6.0 { 1.0 } else { 0.0 }
    }
}

impl Nonlinearity for HSwish {
    #[inline(always)]
    fn value(u: f32) -> f32 {
        u * (u + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0)
    }
    #[inline(always)]
    fn slope(u: f32) -> f32 {
        let inside = (2.0 * u + 3.0) * (1.0 / 6.0);
        if u <= -3.0 {
            0.0
        } else if u >= 3.0 {
            1.0
        } else {
            inside
        }
    }
}

/// Runs generic code with the nonlinearity as a type.
macro_rules! with_nonlinearity {
    ($activation:expr, $kind:ident => $body:expr) => {
        match $activation {
            None => {
                type $kind = $crate::cpu_kernels::Identity;
                $body
            }
            Some(ofa_space::Activation::Relu) => {
                type $kind = $crate::cpu_kernels::Relu;
                $body
            }
            Some(ofa_space::Activation::Relu6) => {
                type $kind = $crate::cpu_kernels::Relu6;
                $body
            }
            Some(ofa_space::Activation::HSwish) => {
                type $kind = $crate::cpu_kernels::HSwish;
                $body
            }
        }
    };
}
pub(crate) use with_nonlinearity;

/// Runs a closure compiled for the widest vectors that this processor has; mark the closure `#[inline(always)]`.
///
/// The bound is what makes it work: it makes the closure an `FnOnce` whose call is its body. Given to pulp directly, it
/// is an `Fn`, and its `call_once` is a shim that stays outside the variant with vectors.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Repeatable values spread over −1..1 for the kernels' own tests.
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
