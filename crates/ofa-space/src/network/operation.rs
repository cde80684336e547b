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
    /// 2-D convolution with square kernel, equal strides and zero padding.
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
        /// More zero padding at the bottom and on the right.
        #[serde(default, skip_serializing_if = "is_zero")]
        extra_padding: usize,
        /// How the two follow from the input's size.
        #[serde(default, skip_serializing_if = "PaddingRule::is_symmetric")]
        padding_rule: PaddingRule,
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
    /// x · gate(expand(inner(reduce(mean(x))))), per channel.
    SqueezeExcite {
        /// `[squeeze, channels, 1, 1]`.
        reduce_weight: W,
        /// `[squeeze]`.
        reduce_bias: W,
        /// `[channels, squeeze, 1, 1]`.
        expand_weight: W,
        /// `[channels]`.
        expand_bias: W,
        /// Nonlinearity of the squeezed values.
        #[serde(default = "relu", skip_serializing_if = "is_relu")]
        inner: Activation,
        /// What makes a factor of the expanded values.
        #[serde(default, skip_serializing_if = "Gate::is_hard")]
        gate: Gate,
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
            OpKind::Conv { weight, bias, kernel, stride, padding, extra_padding, padding_rule, groups } => {
                OpKind::Conv {
                    weight: map("weight", weight),
                    bias: bias.as_ref().map(|bias| map("bias", bias)),
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                    extra_padding: *extra_padding,
                    padding_rule: *padding_rule,
                    groups: *groups,
                }
            }
            OpKind::BatchNorm(norm) => OpKind::BatchNorm(norm.map_weights(map)),
            OpKind::Activation { function } => OpKind::Activation { function: *function },
            OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, inner, gate } => {
                OpKind::SqueezeExcite {
                    reduce_weight: map("fc.reduce.weight", reduce_weight),
                    reduce_bias: map("fc.reduce.bias", reduce_bias),
                    expand_weight: map("fc.expand.weight", expand_weight),
                    expand_bias: map("fc.expand.bias", expand_bias),
                    inner: *inner,
                    gate: *gate,
                }
            }
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
            OpKind::Conv { kernel, stride, padding, extra_padding, groups, .. } => {
                Some(ConvGeometry { kernel, stride, padding, extra: extra_padding, groups })
            }
            _ => None,
        }
    }

    /// Sets the padding of a convolution that depends on the input's height and width, in pixels.
    pub(crate) fn pad_for(&mut self, size: usize) {
        if let OpKind::Conv { kernel, stride, padding, extra_padding, padding_rule: PaddingRule::Same, .. } = self {
            (*padding, *extra_padding) = same_padding(size, *kernel, *stride);
        }
    }
}

/// How the zero padding of a convolution follows from its input's size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingRule {
    /// The same number of rows and columns on every side, whatever the size.
    #[default]
    Symmetric,
    /// TensorFlow's `SAME`: as much as makes the output `⌈size / stride⌉`, the odd row at the bottom and the odd column on
    /// the right. See [`same_padding`].
    Same,
}

impl PaddingRule {
    fn is_symmetric(&self) -> bool {
        *self == PaddingRule::Symmetric
    }
}

/// Padding on every side, and more at the end, of TensorFlow's `SAME` rule along an axis of `size` pixels: together
/// `max((⌈size / stride⌉ − 1) · stride + kernel − size, 0)`, half of it (rounded down) before.
///
/// Source: the documentation of `tf.nn`, "Notes on padding"; `get_same_padding` of timm.
///
/// # Panics
/// If the stride is 0.
pub fn same_padding(size: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let reach = size.div_ceil(stride).saturating_sub(1) * stride + kernel;
    let all = reach.saturating_sub(size);
    let before = all / 2;
    (before, all - 2 * before)
}

/// What makes a factor of a value, for every channel of a squeeze-excite.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// relu6(x + 3) / 6.
    #[default]
    HardSigmoid,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
}

impl Gate {
    fn is_hard(&self) -> bool {
        *self == Gate::HardSigmoid
    }
}

fn relu() -> Activation {
    Activation::Relu
}

fn is_relu(activation: &Activation) -> bool {
    *activation == Activation::Relu
}

fn is_zero(value: &usize) -> bool {
    *value == 0
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
    /// More zero padding at the bottom and on the right.
    pub extra: usize,
    /// Groups.
    pub groups: usize,
}

impl ConvGeometry {
    /// 1×1, stride 1, no groups.
    pub const POINTWISE: Self = Self { kernel: 1, stride: 1, padding: 0, extra: 0, groups: 1 };

    /// Whether it is a plain matrix product per pixel.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding + self.extra == 0 && self.groups == 1
    }

    /// Output size along one axis.
    pub fn output(&self, size: usize) -> usize {
        (size + 2 * self.padding + self.extra - self.kernel) / self.stride + 1
    }

    /// Columns of zeros to the left and to the right of an image.
    pub fn margins(&self) -> [usize; 2] {
        [self.padding, self.padding.saturating_add(self.extra)]
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
        let gate = OpKind::SqueezeExcite {
            reduce_weight: 0,
            reduce_bias: 1,
            expand_weight: 2,
            expand_bias: 3,
            inner: Activation::Silu,
            gate: Gate::Sigmoid,
        };
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

    /// Networks of older files have neither.
    #[test]
    fn what_older_files_lack_is_left_out_and_read_as_its_default() {
        let gate = |inner, gate| OpKind::SqueezeExcite {
            reduce_weight: tensor("a"),
            reduce_bias: tensor("b"),
            expand_weight: tensor("c"),
            expand_bias: tensor("d"),
            inner,
            gate,
        };
        let conv = |extra_padding, padding_rule| OpKind::Conv {
            weight: tensor("w"),
            bias: None,
            kernel: 3,
            stride: 2,
            padding: 0,
            extra_padding,
            padding_rule,
            groups: 1,
        };
        let old = [gate(Activation::Relu, Gate::HardSigmoid), conv(0, PaddingRule::Symmetric)];
        let new = [gate(Activation::Silu, Gate::Sigmoid), conv(1, PaddingRule::Same)];
        for (op, is_old) in old.iter().map(|op| (op, true)).chain(new.iter().map(|op| (op, false))) {
            let json = serde_json::to_string(op).unwrap_or_default();
            let fields = ["inner", "gate", "extra_padding", "padding_rule"];
            assert_eq!(fields.iter().all(|field| !json.contains(&format!("\"{field}\""))), is_old, "{json}");
            assert_eq!(serde_json::from_str::<OpKind>(&json).ok().as_ref(), Some(op), "{json}");
        }
    }

    /// The examples of TensorFlow's notes, and the sizes of EfficientNet.
    #[test]
    fn same_padding_depends_on_the_size() {
        for (size, kernel, stride, expected) in [
            (224, 3, 2, (0, 1)),
            (225, 3, 2, (1, 0)),
            (112, 5, 2, (1, 1)),
            (7, 5, 1, (2, 0)),
            (6, 1, 2, (0, 0)),
            (1, 3, 2, (1, 0)),
            (13, 6, 5, (1, 1)),
        ] {
            assert_eq!(same_padding(size, kernel, stride), expected, "{size} {kernel} {stride}");
        }
    }
}
