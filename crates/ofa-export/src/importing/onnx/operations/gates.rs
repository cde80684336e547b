//! Products with gates: nonlinearities and squeeze-excites.

use super::{FlatOp, Reader, Value};
use crate::importing::onnx::graph::Node;
use ofa_space::{Activation, Gate, OpKind, Tensor, TensorRef, TensorRole};

impl Reader<'_> {
    pub(super) fn factor(&mut self, node: &Node) -> Result<Value, String> {
        let Some(input) = self.made(node, 0)? else { return Ok(Value::Unknown) };
        if node.op == "Sigmoid" {
            return Ok(Value::Factor(input, Gate::Sigmoid));
        }
        let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
        match (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5 {
            true => Ok(Value::Factor(input, Gate::HardSigmoid)),
            false => Err(format!("with alpha {alpha} and beta {beta}, expected 1/6 and 0.5")),
        }
    }

    /// A nonlinearity made of a factor, or a squeeze-excite.
    pub(super) fn product(&mut self, node: &Node) -> Result<Value, String> {
        let (value, of, gate) = match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Made(value), Value::Factor(of, gate)) | (Value::Factor(of, gate), Value::Made(value)) => {
                (value, of, gate)
            }
            (Value::Unknown, _) | (_, Value::Unknown) => return Ok(Value::Unknown),
            _ => return Err("of values that are no gate".to_owned()),
        };
        if value == of {
            let function = match gate {
                Gate::Sigmoid => Activation::Silu,
                Gate::HardSigmoid => Activation::HSwish,
            };
            return Ok(self.push(vec![value], OpKind::Activation { function }));
        }
        let kind = self.squeeze_excite(value, of, gate).ok_or("of a value and a gate that is no squeeze-excite")?;
        Ok(self.push(vec![value], kind))
    }

    /// The squeeze-excite of `value` whose gate is made of the value `of`.
    fn squeeze_excite(&mut self, value: usize, of: usize, gate: Gate) -> Option<OpKind> {
        let made_by = |at: usize| self.ops.get(at.checked_sub(1)?)?.as_ref();
        let pointwise = |at: usize| match made_by(at)? {
            FlatOp { inputs, kind: kind @ OpKind::Conv { weight, bias, .. } } if kind.geometry()?.is_pointwise() => {
                Some((inputs[0], weight.clone(), bias.clone()))
            }
            _ => None,
        };
        let (squeezed, expand_weight, expand_bias) = pointwise(of)?;
        let FlatOp { inputs, kind: OpKind::Activation { function: inner } } = made_by(squeezed)? else { return None };
        let reduced = inputs[0];
        let (pooled, reduce_weight, reduce_bias) = pointwise(reduced)?;
        let FlatOp { inputs, kind: OpKind::GlobalAveragePool } = made_by(pooled)? else { return None };
        if inputs[0] != value {
            return None;
        }
        let inner = *inner;
        let mut bias = |weight: &TensorRef, bias: Option<TensorRef>| match bias {
            Some(bias) => bias,
            None => {
                let name = format!("{}.zero_bias", weight.name);
                let shape = vec![weight.full[0]];
                self.weights.insert(name.clone(), Tensor::full(&shape, 0.0));
                TensorRef {
                    name,
                    role: TensorRole::ConvBias,
                    full: shape.clone(),
                    take: shape,
                    kernel_steps: Vec::new(),
                }
            }
        };
        let (reduce_bias, expand_bias) = (bias(&reduce_weight, reduce_bias), bias(&expand_weight, expand_bias));
        for part in [pooled, reduced, squeezed, of] {
            self.ops[part - 1] = None;
        }
        Some(OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, inner, gate })
    }
}
