//! Fusing: each operation with the batch norm and the nonlinearity that follow it, in one step.

use super::net_spec::{Block, TensorRef};
use super::operation::{Activation, BatchNorm, OpKind};

/// An operation, and what is applied to its value before anything else reads it.
#[derive(Clone, PartialEq, Debug)]
pub struct Step<W = TensorRef> {
    /// Values read. Value 0 is the block's input and step `i` makes value `i + 1`; the last is the block's output.
    pub inputs: Vec<usize>,
    /// What is computed.
    pub op: OpKind<W>,
    /// Batch norm of the result; only after a convolution without bias.
    pub norm: Option<BatchNorm<W>>,
    /// Nonlinearity after that.
    pub activation: Option<Activation>,
}

impl<W> Step<W> {
    /// An operation with nothing after it.
    pub fn new(inputs: Vec<usize>, op: OpKind<W>) -> Self {
        Self { inputs, op, norm: None, activation: None }
    }

    /// The same step over other weights: first those of the operation, then those of the batch norm, as
    /// [`OpKind::map_weights`].
    pub fn map_weights<'a, V>(&'a self, mut map: impl FnMut(&'static str, &'a W) -> V) -> Step<V> {
        Step {
            inputs: self.inputs.clone(),
            op: self.op.map_weights(&mut map),
            norm: self.norm.as_ref().map(|norm| norm.map_weights(&mut map)),
            activation: self.activation,
        }
    }

    /// Absorbs an operation that alone reads this step's value, if it can.
    fn absorb(&mut self, next: &OpKind<W>) -> bool
    where
        W: Clone,
    {
        match next {
            OpKind::BatchNorm(norm)
                if matches!(self.op, OpKind::Conv { bias: None, .. })
                    && self.norm.is_none()
                    && self.activation.is_none() =>
            {
                self.norm = Some(norm.clone());
                true
            }
            OpKind::Activation { function } if self.activation.is_none() => {
                self.activation = Some(*function);
                true
            }
            _ => false,
        }
    }
}

/// The operations of a block as steps: a batch norm joins the convolution before it, and a nonlinearity the operation
/// before it, where nothing else reads the value in between.
pub fn fuse(block: &Block) -> Vec<Step> {
    let readers = |value: usize| block.ops.iter().flat_map(|op| &op.inputs).filter(|i| **i == value).count();
    let mut steps: Vec<Step> = Vec::with_capacity(block.ops.len());
    // The step's value that holds each operation's value.
    let mut value_of = vec![0];
    for op in &block.ops {
        let follows = match op.inputs[..] {
            [input] => input > 0 && value_of[input] == steps.len() && readers(input) == 1,
            _ => false,
        };
        if !(follows && steps.last_mut().is_some_and(|step| step.absorb(&op.kind))) {
            let inputs = op.inputs.iter().map(|input| value_of[*input]).collect();
            steps.push(Step::new(inputs, op.kind.clone()));
        }
        value_of.push(steps.len());
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::block_builder::{BlockBuilder, ConvShape, Groups, Width};
    use crate::network::net_spec::BlockKind;

    fn conv(channels: usize) -> ConvShape {
        let width = Width { take: channels, full: channels };
        ConvShape { input: width, output: width, kernel: 3, stride: 1, groups: Groups::Dense, bias: false }
    }

    #[test]
    fn a_residual_block_becomes_a_convolution_and_a_sum() {
        let width = Width { take: 4, full: 4 };
        let mut block = BlockBuilder::new("block", "block", [4, 5, 5]);
        block.conv("conv", "conv", conv(4)).batch_norm("bn", "bn", width, 1e-5).activation("act", Activation::Silu);
        block.add("add", 0).activation("last", Activation::Relu);
        let steps = fuse(&block.finish(BlockKind::Pool));
        assert_eq!(steps.len(), 2);
        assert!(steps[0].norm.is_some() && steps[0].activation == Some(Activation::Silu));
        assert!(matches!(steps[1].op, OpKind::Add) && steps[1].activation == Some(Activation::Relu));
        assert_eq!((&steps[0].inputs[..], steps[1].inputs.len()), (&[0][..], 2));
        assert!(steps[1].inputs.contains(&0) && steps[1].inputs.contains(&1));
    }

    #[test]
    fn what_something_else_reads_is_not_absorbed() {
        let mut block = BlockBuilder::new("block", "block", [4, 5, 5]);
        block.conv("conv", "conv", conv(4));
        let before = block.latest();
        block.activation("act", Activation::Relu).add("add", before);
        let steps = fuse(&block.finish(BlockKind::Pool));
        assert_eq!(steps.len(), 3);
        assert!(steps.iter().all(|step| step.activation.is_none()));
        // A nonlinearity ends a step: what follows it is a step of its own.
        let mut block = BlockBuilder::new("block", "block", [4, 5, 5]);
        block.conv("conv", "conv", conv(4)).activation("a", Activation::Relu).activation("b", Activation::Relu6);
        assert_eq!(fuse(&block.finish(BlockKind::Pool)).len(), 2);
    }
}
