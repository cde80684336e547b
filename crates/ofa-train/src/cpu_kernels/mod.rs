//! CPU kernels: convolution, batch norm and nonlinearity in one operation, over NHWC activations.
//!
//! A custom operation on Burn's `flex` backend with a hand-written backward pass. Other backends, and
//! `OFA_KERNELS=off`, run the bodies of [`crate::layer_ops`], which are also what the kernels are tested against.
//! Every sum runs over a fixed division of the batch, so results do not depend on the number of threads.

mod convolution;
mod depthwise;
mod matmul;
mod normalise;
mod operation;

pub use operation::{conv_activate, conv_normalise_batch};

use ofa_space::Activation;

/// A division of the batch into chunks of images, each small enough for a core's cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    images: usize,
    per_chunk: usize,
}

impl Chunks {
    /// Chunks of about this many values; the division depends on the shapes only.
    fn new(images: usize, values_per_image: usize) -> Self {
        const VALUES: usize = 48 * 1024;
        // At least eight chunks where there are images enough, so that many cores have work.
        let by_cache = VALUES / values_per_image.max(1);
        let per_chunk = by_cache.min(images.div_ceil(8)).max(1);
        Self { images, per_chunk }
    }

    fn count(&self) -> usize {
        self.images.div_ceil(self.per_chunk)
    }

    fn range(&self, chunk: usize) -> std::ops::Range<usize> {
        let start = chunk * self.per_chunk;
        start..(start + self.per_chunk).min(self.images)
    }
}

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

/// Everything about the operation besides its tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub geometry: crate::plan::ConvGeometry,
    pub eps: f64,
    pub activation: Option<Activation>,
}

/// Runs a closure compiled for the widest vectors that this processor has; mark the closure `#[inline(always)]`.
///
/// The bound is what makes it work: it makes the closure an `FnOnce` whose call is its body. Given to pulp directly, it
/// is an `Fn`, and its `call_once` is a shim that stays outside the variant with vectors.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
