//! Operations: what a layer computes, generic over what a weight is.
//!
//! There is one type of operation, [`OpKind`]. A [`NetSpec`](super::net_spec::NetSpec) holds operations over
//! [`TensorRef`]s, an executor over tensors, a kernel over positions in a list of parameters;
//! [`map_weights`](OpKind::map_weights) turns one into the next.

use super::net_spec::TensorRef;
use serde::{Deserialize, Serialize};

/// What an operation computes, and the weights it reads, each of type `W`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OpKind<W = TensorRef> {
    /// 2-D convolution with square kernel, equal strides and symmetric zero padding.
    Conv {
        /// `[out, in / groups, k, k]`.
        weight: W,
        /// `[out]`, if any.
        bias: Option<W>,
        /// Kernel size.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Zero padding on every side.
        padding: usize,
        /// Groups; equal to the channels for a depthwise convolution.
        groups: usize,
    },
    /// Batch normalisation over channels.
    BatchNorm(BatchNorm<W>),
    /// A nonlinearity.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// x · h_sigmoid(expand(relu(reduce(mean(x))))), per channel.
    SqueezeExcite {
        /// `[squeeze, channels, 1, 1]`.
        reduce_weight: W,
        /// `[squeeze]`.
        reduce_bias: W,
        /// `[channels, squeeze, 1, 1]`.
        expand_weight: W,
        /// `[channels]`.
        expand_bias: W,
    },
    /// Mean over height and width, kept as 1×1.
    GlobalAveragePool,
    /// Average pooling; padding does not count.
    AveragePool {
        /// Window size.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Padding on every side.
        padding: usize,
        /// What becomes of a last window that reaches beyond the edge.
        #[serde(default)]
        rounding: PoolRounding,
    },
    /// Maximum pooling.
    MaxPool {
        /// Window size.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Padding on every side.
        padding: usize,
    },
    /// Sum of two values of equal shape.
    Add,
    /// Fully connected layer over the flattened value.
    Linear {
        /// `[out, in]`.
        weight: W,
        /// `[out]`, if any.
        bias: Option<W>,
    },
}

/// Batch normalisation over channels; every tensor is `[channels]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BatchNorm<W = TensorRef> {
    /// Scale.
    pub weight: W,
    /// Shift.
    pub bias: W,
    /// Running mean.
    pub mean: W,
    /// Running (unbiased) variance.
    pub variance: W,
    /// Added to the variance.
    pub eps: f64,
}

impl<W> BatchNorm<W> {
    /// The same normalisation over other weights, as [`OpKind::map_weights`].
    pub fn map_weights<'a, V>(&'a self, mut map: impl FnMut(&'static str, &'a W) -> V) -> BatchNorm<V> {
        BatchNorm {
            weight: map("weight", &self.weight),
            bias: map("bias", &self.bias),
            mean: map("running_mean", &self.mean),
            variance: map("running_var", &self.variance),
            eps: self.eps,
        }
    }
}

impl<W> OpKind<W> {
    /// The same operation over other weights. `map` is called once for each tensor, in a fixed order, with the suffix that
    /// the tensor has in the static network's state dict.
    pub fn map_weights<'a, V>(&'a self, mut map: impl FnMut(&'static str, &'a W) -> V) -> OpKind<V> {
        match self {
            OpKind::Conv { weight, bias, kernel, stride, padding, groups } => OpKind::Conv {
                weight: map("weight", weight),
                bias: bias.as_ref().map(|bias| map("bias", bias)),
                kernel: *kernel,
                stride: *stride,
                padding: *padding,
                groups: *groups,
            },
            OpKind::BatchNorm(norm) => OpKind::BatchNorm(norm.map_weights(map)),
            OpKind::Activation { function } => OpKind::Activation { function: *function },
            OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias } => OpKind::SqueezeExcite {
                reduce_weight: map("fc.reduce.weight", reduce_weight),
                reduce_bias: map("fc.reduce.bias", reduce_bias),
                expand_weight: map("fc.expand.weight", expand_weight),
                expand_bias: map("fc.expand.bias", expand_bias),
            },
            OpKind::GlobalAveragePool => OpKind::GlobalAveragePool,
            OpKind::AveragePool { kernel, stride, padding, rounding } => {
                OpKind::AveragePool { kernel: *kernel, stride: *stride, padding: *padding, rounding: *rounding }
            }
            OpKind::MaxPool { kernel, stride, padding } => {
                OpKind::MaxPool { kernel: *kernel, stride: *stride, padding: *padding }
            }
            OpKind::Add => OpKind::Add,
            OpKind::Linear { weight, bias } => {
                OpKind::Linear { weight: map("weight", weight), bias: bias.as_ref().map(|bias| map("bias", bias)) }
            }
        }
    }

    /// The tensors it reads, with the suffix each has in the static network's state dict.
    pub fn tensors(&self) -> Vec<(&'static str, &W)> {
        let mut all = Vec::new();
        let _: OpKind<()> = self.map_weights(|suffix, weight| all.push((suffix, weight)));
        all
    }

    /// The geometry of a convolution; `None` for any other operation.
    pub fn geometry(&self) -> Option<ConvGeometry> {
        match *self {
            OpKind::Conv { kernel, stride, padding, groups, .. } => {
                Some(ConvGeometry { kernel, stride, padding, groups })
            }
            _ => None,
        }
    }
}

/// The geometry of a square convolution.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConvGeometry {
    /// Kernel size.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Zero padding on every side.
    pub padding: usize,
    /// Groups.
    pub groups: usize,
}

impl ConvGeometry {
    /// 1×1, stride 1, no groups.
    pub const POINTWISE: Self = Self { kernel: 1, stride: 1, padding: 0, groups: 1 };

    /// Whether it is a plain matrix product per pixel.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0 && self.groups == 1
    }

    /// Output size along one axis.
    pub fn output(&self, size: usize) -> usize {
        (size + 2 * self.padding - self.kernel) / self.stride + 1
    }
}

/// What becomes of a last pooling window that reaches beyond the edge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolRounding {
    /// The window is dropped: the output size is rounded down.
    #[default]
    Floor,
    /// The window is kept and pools what lies inside: the output size is rounded up (`ceil_mode` of PyTorch).
    Ceil,
}

/// Nonlinearities of the families.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x · relu6(x + 3) / 6.
    HSwish,
    /// x · sigmoid(x), also called swish.
    Silu,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::net_spec::TensorRole;

    fn tensor(name: &str) -> TensorRef {
        let (role, name) = (TensorRole::NormWeight, name.to_owned());
        TensorRef { name, role, full: vec![4], take: vec![2], kernel_steps: Vec::new() }
    }

    /// The JSON of model files.
    #[test]
    fn batch_norm_is_written_with_its_fields_beside_the_type() {
        let [weight, bias, mean, variance] = ["w", "b", "m", "v"].map(tensor);
        let op = OpKind::BatchNorm(BatchNorm { weight, bias, mean, variance, eps: 0.5 });
        let json = serde_json::to_string(&op).unwrap_or_default();
        let part = |name| format!(r#"{{"name":"{name}","role":"norm_weight","full":[4],"take":[2]}}"#);
        let [w, b, m, v] = ["w", "b", "m", "v"].map(part);
        let expected =
            format!(r#"{{"type":"batch_norm","weight":{w},"bias":{b},"mean":{m},"variance":{v},"eps":0.5}}"#);
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<OpKind>(&json).ok(), Some(op));
        let silu = r#"{"type":"activation","function":"silu"}"#;
        assert_eq!(
            serde_json::from_str(silu).ok(),
            Some(OpKind::<TensorRef>::Activation { function: Activation::Silu })
        );
    }

    #[test]
    fn weights_are_visited_in_the_order_of_the_state_dict() {
        let gate = OpKind::SqueezeExcite { reduce_weight: 0, reduce_bias: 1, expand_weight: 2, expand_bias: 3 };
        let names: Vec<&str> = gate.tensors().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["fc.reduce.weight", "fc.reduce.bias", "fc.expand.weight", "fc.expand.bias"]);
        let mut next = 10;
        let renumbered = gate.map_weights(|_, old| {
            next += 1;
            (*old, next)
        });
        assert_eq!(
            renumbered.tensors().into_iter().map(|(_, pair)| *pair).collect::<Vec<_>>(),
            [(0, 11), (1, 12), (2, 13), (3, 14)]
        );
        assert_eq!(renumbered.map_weights(|_, (old, _)| *old), gate);
    }
}
