//! Nonlinearities and their derivatives, in scalar and in vector form.

use crate::simd::vectorised;
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

/// x · sigmoid(x).
#[derive(Clone, Copy)]
pub struct Silu;

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

impl Nonlinearity for Silu {
    #[inline(always)]
    fn value(u: f32) -> f32 {
        let sigmoid = sigmoid(u);
        // Far below zero the product is zero, not what is left of the sigmoid's smallest value.
        let u = if u < -SIGMOID_LIMIT { -SIGMOID_LIMIT } else { u };
        u * sigmoid
    }
    #[inline(always)]
    fn slope(u: f32) -> f32 {
        let (e, sigmoid) = exp_and_sigmoid(u);
        let u = u.clamp(-SIGMOID_LIMIT, SIGMOID_LIMIT);
        sigmoid * u.mul_add(e * sigmoid, 1.0)
    }
}

/// Beyond it the sigmoid is 0 or 1 for our purposes, and e to that power is still a normal number.
const SIGMOID_LIMIT: f32 = 87.0;

/// e⁻ᵘ and 1 / (1 + e⁻ᵘ), u limited to ±[`SIGMOID_LIMIT`]; the sigmoid is within 2⋅10⁻⁷ of the exact one. Only multiplications, additions
/// and operations on bits, so that loops become vectors and every instruction set gives the same bits.
#[inline(always)]
fn exp_and_sigmoid(u: f32) -> (f32, f32) {
    let e = exp(-u.clamp(-SIGMOID_LIMIT, SIGMOID_LIMIT));
    (e, 1.0 / (1.0 + e))
}

/// 1 / (1 + e⁻ᵘ), as [`exp_and_sigmoid`].
#[inline(always)]
pub(crate) fn sigmoid(u: f32) -> f32 {
    exp_and_sigmoid(u).1
}

/// eˣ for |x| ≤ 87: 2ⁿ · eʳ with n = round(x / ln 2), and a polynomial for eʳ.
///
/// Source: `expf` of S. L. Moshier's Cephes library (coefficients, and ln 2 in two parts).
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding it rounds to a whole number and leaves that in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, coefficient);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    p.mul_add(r * r, r + 1.0) * power
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
            Some(ofa_space::Activation::Silu) => {
                type $kind = $crate::nonlinearity::Silu;
                $body
            }
        }
    };
}
pub(crate) use with_nonlinearity;

/// The nonlinearities of [`Nonlinearity`] for a vector, to the same bits. The value itself where the nonlinearity has no
/// [short form](is_short).
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
        Activation::Silu => u,
    }
}

/// Whether a few instructions compute the nonlinearity, so that it is applied to sums before they are stored. Any other is
/// applied to the stored values, by [`activate_stored`]: its instructions would take the registers that hold the sums.
#[inline(always)]
pub fn is_short(activation: Activation) -> bool {
    !matches!(activation, Activation::Silu)
}

/// Applies a nonlinearity without a short form to values in memory.
#[inline(never)]
pub fn activate_stored(activation: Activation, values: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            with_nonlinearity!(Some(activation), Act => values.iter_mut().for_each(|value| *value = Act::value(*value)));
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::WithSimd;

    /// Every sign and size of argument, infinities included.
    fn arguments() -> Vec<f32> {
        let mut all: Vec<f32> = (-60_000..=60_000).map(|i| i as f32 * 1e-3 + 1e-5).collect();
        let sizes = [1e-30, 1e-8, 80.0, 86.9, 87.0, 87.1, 88.8, 100.0, 1e4, 1e30, f32::MAX, f32::INFINITY];
        all.extend(sizes.into_iter().flat_map(|size| [size, -size]));
        all.push(0.0);
        all
    }

    #[test]
    fn silu_and_its_derivative_are_those_of_f64() {
        for u in arguments() {
            let wide = f64::from(u).clamp(-700.0, 700.0);
            let sigmoid = 1.0 / (1.0 + (-wide).exp());
            let value = if u > 100.0 { f64::from(u) } else { wide * sigmoid };
            let error = (f64::from(Silu::value(u)) - value).abs();
            assert!(error <= 1e-6 * value.abs().max(1.0) || Silu::value(u) == u, "silu({u}) is off by {error}");
            let slope = sigmoid * (1.0 + wide * (1.0 - sigmoid));
            let error = (f64::from(Silu::slope(u)) - slope).abs();
            assert!(error <= 1e-6, "the slope of silu at {u} is off by {error}");
            let error = (f64::from(super::sigmoid(u)) - sigmoid).abs();
            assert!(error <= 1e-6, "sigmoid({u}) is off by {error}");
        }
        assert!(Silu::value(f32::NAN).is_nan() && Silu::slope(f32::NAN).is_nan());
    }

    struct InVectors<'a>(&'a mut [f32], Activation);

    impl WithSimd for InVectors<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for values in self.0.chunks_mut(S::F32_LANES) {
                let made = activate(simd, self.1, simd.partial_load_f32s(values));
                simd.partial_store_f32s(values, made);
            }
        }
    }

    /// The scalar form, the loops of vectors and the vector form of every instruction set give the same bits.
    #[test]
    fn all_forms_give_the_same_bits() {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let finite = || arguments().into_iter().filter(|u| u.is_finite());
        for activation in [Activation::Relu, Activation::Relu6, Activation::HSwish, Activation::Silu] {
            with_nonlinearity!(Some(activation), Act => {
                let scalar: Vec<f32> = finite().map(<Act as Nonlinearity>::value).collect();
                let mut looped: Vec<f32> = finite().collect();
                vectorised(
                    #[inline(always)]
                    || looped.iter_mut().for_each(|u| *u = <Act as Nonlinearity>::value(*u)),
                );
                assert_eq!(bits(&looped), bits(&scalar), "{activation:?}");
                let mut in_vectors: Vec<f32> = finite().collect();
                match is_short(activation) {
                    true => crate::instruction_set::arch().dispatch(InVectors(&mut in_vectors, activation)),
                    false => activate_stored(activation, &mut in_vectors),
                }
                assert_eq!(bits(&in_vectors), bits(&scalar), "{activation:?}");
            });
        }
    }
}
