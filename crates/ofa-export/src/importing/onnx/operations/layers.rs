//! Convolutions, linear layers, batch norms and pooling.

use super::{Reader, Value};
use crate::importing::onnx::graph::{Constant, Node};
use ofa_space::{Activation, BatchNorm, OpKind, PaddingRule, PoolRounding, Tensor, TensorRef, TensorRole};
use std::ops::RangeInclusive;

/// Strides that are read.
const STRIDES: RangeInclusive<usize> = 1..=64;

impl Reader<'_> {
    pub(super) fn convolution(&mut self, node: &Node) -> Result<Value, String> {
        let (input, [top, left, bottom, right]) = match self.value(node, 0)? {
            Value::Made(input) => (input, [0; 4]),
            Value::Padded(input, pads) => (input, pads),
            Value::Factor(..) => return Err("reads what a sigmoid makes".to_owned()),
            Value::Unknown => return Ok(Value::Unknown),
        };
        let weight = self.floats(node, 1)?.ok_or("without weights")?.clone();
        let &[outputs, _, kernel, width] = weight.shape.as_slice() else {
            return Err(format!("with weights of shape {:?}", weight.shape));
        };
        let [stride, other] = pair(node.ints("strides"), 1);
        let dilations = pair(node.ints("dilations"), 1);
        if kernel != width || stride != other || dilations != [1, 1] || kernel == 0 || !STRIDES.contains(&stride) {
            return Err("with a kernel or stride that is not square, or dilation".to_owned());
        }
        let groups = usize::try_from(node.int("group", 1)).ok().filter(|groups| *groups > 0).ok_or("with no groups")?;
        let pads = four(node.ints("pads"));
        let pads = [pads[0] + top, pads[1] + left, pads[2] + bottom, pads[3] + right];
        let automatic = node.text("auto_pad");
        let (padding, extra_padding, padding_rule) = match automatic.as_str() {
            "" | "NOTSET" => {
                let [top, left, bottom, right] = pads;
                if top != left || bottom != right || bottom < top || bottom >= kernel {
                    return Err(format!("with padding {pads:?}"));
                }
                // Checked against the rule once the size of the input is known.
                let rule = if bottom == top { PaddingRule::Symmetric } else { PaddingRule::Same };
                (top, bottom - top, rule)
            }
            "SAME_UPPER" => (0, 0, PaddingRule::Same),
            "VALID" => (0, 0, PaddingRule::Symmetric),
            other => return Err(format!("with padding {other}")),
        };
        let bias = self.floats(node, 2)?.cloned();
        if bias.as_ref().is_some_and(|bias| bias.shape != [outputs]) {
            return Err("with a bias of another size than its outputs".to_owned());
        }
        let bias = bias.map(|bias| self.tensor(node, "bias", TensorRole::ConvBias, bias));
        let weight = self.tensor(node, "weight", TensorRole::ConvWeight, weight);
        let kind = OpKind::Conv { weight, bias, kernel, stride, padding, extra_padding, padding_rule, groups };
        Ok(self.push(vec![input], kind))
    }

    /// Zeros around an image, which the convolution that reads it takes over.
    pub(super) fn pad(&mut self, node: &Node) -> Result<Value, String> {
        let Some(input) = self.made(node, 0)? else { return Ok(Value::Unknown) };
        let mode = node.text("mode");
        let fill = match self.floats(node, 2)? {
            Some(value) => value.data.first().copied().unwrap_or(0.0),
            None => 0.0,
        };
        let pads = match node.inputs.get(1).and_then(|name| self.graph.constants.get(name)) {
            Some(Constant::Ints(pads)) => pads.clone(),
            _ => node.ints("pads").to_vec(),
        };
        let sizes: Vec<usize> = pads.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect();
        match sizes[..] {
            [0, 0, top, left, 0, 0, bottom, right]
                if (mode.is_empty() || mode == "constant")
                    && fill == 0.0
                    && [top, left, bottom, right].iter().all(|size| *size <= 64) =>
            {
                Ok(Value::Padded(input, [top, left, bottom, right]))
            }
            _ => Err(format!("with sizes {pads:?} or another fill than zero")),
        }
    }

    pub(super) fn linear(&mut self, node: &Node) -> Result<Value, String> {
        let Some(input) = self.made(node, 0)? else { return Ok(Value::Unknown) };
        if node.float("alpha", 1.0) != 1.0 || node.float("beta", 1.0) != 1.0 || node.int("transA", 0) != 0 {
            return Err("with factors, or its input transposed".to_owned());
        }
        let weight = self.floats(node, 1)?.ok_or("without weights")?.clone();
        let &[rows, columns] = weight.shape.as_slice() else {
            return Err(format!("with weights of shape {:?}", weight.shape));
        };
        let weight = match node.op == "Gemm" && node.int("transB", 0) == 1 {
            true => weight,
            false => {
                let data = (0..rows * columns).map(|at| weight.data[at % rows * columns + at / rows]).collect();
                Tensor { shape: vec![columns, rows], data }
            }
        };
        let outputs = weight.shape[0];
        let bias = if node.op == "Gemm" { self.floats(node, 2)?.cloned() } else { None };
        let bias = match bias {
            Some(bias) if bias.data.len() == outputs => {
                let bias = Tensor { shape: vec![outputs], data: bias.data };
                Some(self.tensor(node, "bias", TensorRole::LinearBias, bias))
            }
            Some(_) => return Err("with a bias of another size than its outputs".to_owned()),
            None => None,
        };
        let weight = self.tensor(node, "weight", TensorRole::LinearWeight, weight);
        Ok(self.push(vec![input], OpKind::Linear { weight, bias }))
    }

    pub(super) fn batch_norm(&mut self, node: &Node) -> Result<OpKind, String> {
        const PARTS: [(&str, TensorRole); 4] = [
            ("weight", TensorRole::NormWeight),
            ("bias", TensorRole::NormBias),
            ("running_mean", TensorRole::RunningMean),
            ("running_var", TensorRole::RunningVariance),
        ];
        let mut parts = Vec::with_capacity(PARTS.len());
        for (index, (suffix, role)) in PARTS.into_iter().enumerate() {
            let tensor = self.floats(node, index + 1)?.ok_or("without statistics")?.clone();
            parts.push(self.tensor(node, suffix, role, tensor));
        }
        let eps = f64::from(node.float("epsilon", 1e-5));
        match <[TensorRef; 4]>::try_from(parts) {
            Ok([weight, bias, mean, variance]) => {
                Ok(OpKind::BatchNorm(BatchNorm { weight, bias, mean, variance, eps }))
            }
            Err(_) => Err("without statistics".to_owned()),
        }
    }

    pub(super) fn clip(&mut self, node: &Node) -> Result<OpKind, String> {
        let limit = |index: usize, name: &str, none: f32| match self.floats(node, index)? {
            Some(value) => Ok::<f32, String>(value.data.first().copied().unwrap_or(none)),
            None => Ok(node.float(name, none)),
        };
        let (low, high) = (limit(1, "min", f32::MIN)?, limit(2, "max", f32::MAX)?);
        match (low, high) {
            (0.0, 6.0) => Ok(OpKind::Activation { function: Activation::Relu6 }),
            (0.0, f32::MAX) => Ok(OpKind::Activation { function: Activation::Relu }),
            _ => Err(format!("to {low} to {high}, expected 0 to 6")),
        }
    }

    pub(super) fn pool(&mut self, node: &Node) -> Result<OpKind, String> {
        let [kernel, other] = pair(node.ints("kernel_shape"), 0);
        let [stride, other_stride] = pair(node.ints("strides"), 1);
        let pads = four(node.ints("pads"));
        let padding = pads[0];
        let is_plain = matches!(node.text("auto_pad").as_str(), "" | "NOTSET");
        let is_square = kernel == other && stride == other_stride && pads == [padding; 4];
        if !is_square || padding >= kernel || !STRIDES.contains(&stride) || !is_plain {
            return Err("with a window, stride or padding that is not square".to_owned());
        }
        let ceil = node.int("ceil_mode", 0) != 0;
        match node.op.as_str() {
            "MaxPool" if ceil => Err("with a size that is rounded up".to_owned()),
            "MaxPool" => Ok(OpKind::MaxPool { kernel, stride, padding }),
            _ if padding > 0 && node.int("count_include_pad", 0) != 0 => Err("that counts padding".to_owned()),
            _ => {
                let rounding = if ceil { PoolRounding::Ceil } else { PoolRounding::Floor };
                Ok(OpKind::AveragePool { kernel, stride, padding, rounding })
            }
        }
    }
}

/// Two numbers, or a default for both; impossible ones become 0.
fn pair(values: &[i64], default: usize) -> [usize; 2] {
    let size = |value: i64| usize::try_from(value).unwrap_or(0);
    match values {
        [a, b] => [size(*a), size(*b)],
        _ => [default; 2],
    }
}

/// Four numbers, or zeros; impossible ones become large.
fn four(values: &[i64]) -> [usize; 4] {
    const LARGE: usize = 1 << 16;
    match values {
        [a, b, c, d] => [a, b, c, d].map(|value| usize::try_from(*value).unwrap_or(LARGE).min(LARGE)),
        _ => [0; 4],
    }
}
