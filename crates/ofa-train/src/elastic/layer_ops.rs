//! Layers over NHWC activations, composed of Burn's own differentiable operations.
//!
//! These bodies serve every backend, and are what the CPU kernels are checked against.

use super::precision::Precision;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::module::{avg_pool2d, conv2d, max_pool2d};
use burn::tensor::ops::PadMode;
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{FloatDType, Tensor};
use ofa_space::{Activation, ConvGeometry, Gate, PoolRounding};

/// A value and the statistics of the batch it was normalised with.
pub struct Normalised {
    /// The output.
    pub value: Tensor<4>,
    /// Batch mean per channel; carries no gradient.
    pub mean: Tensor<1>,
    /// Biased batch variance per channel; carries no gradient.
    pub variance: Tensor<1>,
}

/// Convolution of `[n, h, w, c_in]` with `[c_out, c_in / groups, k, k]` → `[n, h', w', c_out]`.
pub fn conv(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, geometry: ConvGeometry) -> Tensor<4> {
    let [n, h, w, c_in] = x.dims();
    let [c_out, ..] = weight.dims();
    if geometry.is_pointwise() {
        let rows = x.reshape([n * h * w, c_in]);
        let product = rows.matmul(weight.reshape([c_out, c_in]).transpose());
        let product = match bias {
            Some(bias) => product + bias.unsqueeze(),
            None => product,
        };
        return product.reshape([n, h, w, c_out]);
    }
    let ConvGeometry { stride, padding, extra, groups, .. } = geometry;
    let x = x.permute([0, 3, 1, 2]);
    let (x, padding) = match extra {
        0 => (x, padding),
        // The backends pad every side alike.
        extra => (x.pad((padding, padding + extra, padding, padding + extra), PadMode::Constant(0.0)), 0),
    };
    let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], groups);
    conv2d(x, weight, bias, options).permute([0, 2, 3, 1])
}

/// The same with factors of another precision; the bias is added to sums in f32.
pub fn conv_in(
    precision: Precision,
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    let (x, weight) = precision.factors(x, weight);
    let product = conv(x, weight, None, geometry).cast(FloatDType::F32);
    match bias {
        Some(bias) => {
            let [c] = bias.dims();
            product + bias.reshape([1, 1, 1, c])
        }
        None => product,
    }
}

/// Applies a nonlinearity.
pub fn activate<const D: usize>(x: Tensor<D>, activation: Option<Activation>) -> Tensor<D> {
    match activation {
        None => x,
        Some(Activation::Relu) => relu(x),
        Some(Activation::Relu6) => x.clamp(0.0, 6.0),
        Some(Activation::HSwish) => {
            let gate = hard_sigmoid(x.clone());
            x * gate
        }
        Some(Activation::Silu) => {
            let gate = sigmoid(x.clone());
            x * gate
        }
    }
}

/// Convolution with bias, then a nonlinearity.
pub fn conv_activate(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    geometry: ConvGeometry,
    activation: Option<Activation>,
) -> Tensor<4> {
    activate(conv(x, weight, bias, geometry), activation)
}

/// relu6(x + 3) / 6.
pub fn hard_sigmoid<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// Normalises with the statistics of the batch itself (biased variance), as in training.
pub fn normalise_batch(x: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Normalised {
    let [n, h, w, c] = x.dims();
    let rows = x.reshape([n * h * w, c]);
    let mean = rows.clone().mean_dim(0);
    let centred = rows - mean.clone();
    let variance = centred.clone().square().mean_dim(0);
    let scale = (variance.clone() + eps).sqrt().recip() * weight.unsqueeze();
    let value = centred * scale + bias.unsqueeze();
    Normalised {
        value: value.reshape([n, h, w, c]),
        mean: mean.reshape([c]).without_autodiff(),
        variance: variance.reshape([c]).without_autodiff(),
    }
}

/// Convolution, batch norm with the batch's own statistics, nonlinearity.
pub fn conv_normalise_batch(
    x: Tensor<4>,
    weight: Tensor<4>,
    geometry: ConvGeometry,
    scale: Tensor<1>,
    shift: Tensor<1>,
    eps: f64,
    activation: Option<Activation>,
) -> Normalised {
    let normalised = normalise_batch(conv(x, weight, None, geometry), scale, shift, eps);
    Normalised { value: activate(normalised.value, activation), ..normalised }
}

/// Mean over height and width: `[n, h, w, c]` → `[n, 1, 1, c]`.
pub fn global_average_pool(x: Tensor<4>) -> Tensor<4> {
    let [n, h, w, c] = x.dims();
    x.reshape([n, h * w, c]).mean_dim(1).reshape([n, 1, 1, c])
}

/// Weights of a squeeze-excite: `[s, c, 1, 1]`, `[s]`, `[c, s, 1, 1]`, `[c]`.
pub type SqueezeWeights = (Tensor<4>, Tensor<1>, Tensor<4>, Tensor<1>);

/// x · gate(expand(inner(reduce(mean(x))))).
pub fn squeeze_excite(x: Tensor<4>, weights: SqueezeWeights, inner: Activation, gate: Gate) -> Tensor<4> {
    let (reduce_weight, reduce_bias, expand_weight, expand_bias) = weights;
    let [n, h, w, c] = x.dims();
    let [s, ..] = reduce_weight.dims();
    let pooled = x.clone().reshape([n, h * w, c]).mean_dim(1).reshape([n, c]);
    let squeezed = pooled.matmul(reduce_weight.reshape([s, c]).transpose()) + reduce_bias.unsqueeze();
    let squeezed = activate(squeezed, Some(inner));
    let expanded = squeezed.matmul(expand_weight.reshape([c, s]).transpose()) + expand_bias.unsqueeze();
    let factor = match gate {
        Gate::HardSigmoid => hard_sigmoid(expanded),
        Gate::Sigmoid => sigmoid(expanded),
    };
    x * factor.reshape([n, 1, 1, c])
}

/// Fully connected layer over `[n, h, w, c]`, flattened channels first as in the reference; weight `[out, h · w · c]`.
pub fn linear(precision: Precision, x: Tensor<4>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let [n, h, w, c] = x.dims();
    let flat = if h * w == 1 { x } else { x.permute([0, 3, 1, 2]) }.reshape([n, h * w * c]);
    let (flat, weight) = precision.factors(flat, weight);
    let product = flat.matmul(weight.transpose()).cast(FloatDType::F32);
    let product = match bias {
        Some(bias) => product + bias.unsqueeze(),
        None => product,
    };
    let [_, out] = product.dims();
    product.reshape([n, 1, 1, out])
}

/// Average pooling of NHWC; padding, and what a last window holds beyond the edge, do not count.
pub fn average_pool(x: Tensor<4>, kernel: usize, stride: usize, padding: usize, rounding: PoolRounding) -> Tensor<4> {
    let options = AvgPoolOptions::new([kernel; 2])
        .with_stride([stride; 2])
        .with_padding([padding; 2])
        .with_count_include_pad(false)
        .with_ceil_mode(rounding == PoolRounding::Ceil);
    avg_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

/// Maximum pooling of NHWC.
pub fn max_pool(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
    max_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn a_window_beyond_the_edge_pools_what_it_holds() {
        let values: Vec<f32> = (1..=9).map(|v| v as f32).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [1, 3, 3, 1]), &Device::flex());
        let pooled = average_pool(x.clone(), 2, 2, 0, PoolRounding::Ceil);
        assert_eq!(pooled.dims(), [1, 2, 2, 1]);
        assert_eq!(pooled.into_data().try_into_vec::<f32>().ok(), Some(vec![3.0, 4.5, 7.5, 9.0]));
        assert_eq!(average_pool(x, 2, 2, 0, PoolRounding::Floor).dims(), [1, 1, 1, 1]);
    }
}
