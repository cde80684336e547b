//! Nonlinearities and their derivatives, in scalar and in vector form.

use ofa_space::Activation;
use pulp::Simd;

/// A nonlinearity and its derivative, resolved at compile time inside the loops.
pub trait Nonlinearity: Copy + Send + Sync {
    /// The value.
    fn value(u: f32) -> f32;
    /// The derivative.
    fn slope(u: f32) -> f32;
}

/// No nonlinearity.
#[derive(Clone, Copy)]
pub struct Identity;

/// max(x, 0).
#[derive(Clone, Copy)]
pub struct Relu;

/// min(max(x, 0), 6).
#[derive(Clone, Copy)]
pub struct Relu6;

/// x · relu6(x + 3) / 6.
#[derive(Clone, Copy)]
pub struct HSwish;

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
                type $kind = $crate::nonlinearity::Identity;
                $body
            }
            Some(ofa_space::Activation::Relu) => {
                type $kind = $crate::nonlinearity::Relu;
                $body
            }
            Some(ofa_space::Activation::Relu6) => {
                type $kind = $crate::nonlinearity::Relu6;
                $body
            }
            Some(ofa_space::Activation::HSwish) => {
                type $kind = $crate::nonlinearity::HSwish;
                $body
            }
        }
    };
}
pub(crate) use with_nonlinearity;

/// The nonlinearities of [`Nonlinearity`] for a vector, to the same bits.
#[inline(always)]
pub fn activate<S: Simd>(simd: S, activation: Activation, u: S::f32s) -> S::f32s {
    let (zero, six) = (simd.splat_f32s(0.0), simd.splat_f32s(6.0));
    match activation {
        Activation::Relu => simd.max_f32s(u, zero),
        Activation::Relu6 => simd.min_f32s(simd.max_f32s(u, zero), six),
        Activation::HSwish => {
            let inside = simd.min_f32s(simd.max_f32s(simd.add_f32s(u, simd.splat_f32s(3.0)), zero), six);
            simd.mul_f32s(simd.mul_f32s(u, inside), simd.splat_f32s(1.0 / 6.0))
        }
    }
}
