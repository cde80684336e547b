//! Memory that a network takes on a device: activations under a stated schedule, and weights.

use super::net_spec::{Block, NetSpec};
use super::operation::OpKind;
use std::collections::HashSet;

/// How operations share memory. They run one after another, for one image; batch norm, activation, squeeze-excite and
/// the residual sum work in place, as in a runtime that folds or overwrites them; a residual's input is kept until it is
/// added. Weights and the scratch space of kernels are not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Bytes of an activation: 1 in int8, 4 in f32.
    pub bytes_per_element: usize,
    /// How depthwise convolutions store their output.
    pub depthwise: Depthwise,
}

/// How a depthwise convolution stores its output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depthwise {
    /// In a buffer of its own.
    Separate,
    /// Over its input, channel by channel, with one output channel of scratch (TinyEngine of MCUNet).
    InPlace,
}

impl Schedule {
    /// int8 with depthwise convolutions in place, as MCUNet's TinyEngine runs.
    pub const MICROCONTROLLER: Self = Self { bytes_per_element: 1, depthwise: Depthwise::InPlace };

    /// f32 with a separate buffer for the output of every convolution, as general runtimes work.
    pub const F32: Self = Self { bytes_per_element: 4, depthwise: Depthwise::Separate };
}

/// Peak memory of activations in bytes: the most that is alive at once, for one image. At each operation the live values
/// are its inputs, its output, and earlier values that are still to be read.
pub fn peak_activation_bytes(net: &NetSpec, schedule: Schedule) -> u64 {
    net.blocks.iter().map(|block| block_peak_bytes(block, schedule)).max().unwrap_or(0)
}

/// Bytes of weights: int8 keeps a scale (4 bytes) and a bias (4 bytes) per output channel beside one byte a weight;
/// wider formats keep every parameter at their width. Batch norm is folded.
pub fn weight_bytes(net: &NetSpec, bytes_per_weight: usize) -> u64 {
    net.blocks.iter().map(|block| block_weight_bytes(block, bytes_per_weight)).sum()
}

/// The share of one block in [`weight_bytes`].
pub fn block_weight_bytes(block: &Block, bytes_per_weight: usize) -> u64 {
    let mut total = 0u64;
    for op in &block.ops {
        let tensors = op.kind.tensors();
        match (&op.kind, bytes_per_weight) {
            (OpKind::BatchNorm { .. }, _) => {}
            (OpKind::Conv { weight, .. } | OpKind::Linear { weight, .. }, 1) => {
                total += (weight.elements() + 8 * weight.take[0]) as u64;
            }
            (OpKind::Conv { weight, .. } | OpKind::Linear { weight, .. }, width) => {
                total += ((weight.elements() + weight.take[0]) * width) as u64;
            }
            (OpKind::SqueezeExcite { .. }, width) => {
                total += tensors.iter().map(|(_, tensor)| (tensor.elements() * width) as u64).sum::<u64>();
            }
            _ => {}
        }
    }
    total
}

/// Peak memory of one block's activations in bytes; that of a network is the largest of its blocks'.
pub fn block_peak_bytes(block: &Block, schedule: Schedule) -> u64 {
    let elements = |value: usize| -> u64 {
        let shape = if value == 0 { block.input } else { block.ops[value - 1].output };
        shape.iter().product::<usize>() as u64
    };
    // `buffer[v]` is the value in whose buffer value `v` lies.
    let mut buffer: Vec<usize> = vec![0];
    let mut scratch = vec![0u64; block.ops.len()];
    for (index, op) in block.ops.iter().enumerate() {
        let own = index + 1;
        let read_later = block.ops[index + 1..]
            .iter()
            .flat_map(|later| &later.inputs)
            .any(|value| *value <= index && buffer[*value] == buffer[op.inputs[0]]);
        let in_place = match &op.kind {
            OpKind::BatchNorm { .. } | OpKind::Activation { .. } | OpKind::SqueezeExcite { .. } | OpKind::Add => true,
            OpKind::Conv { groups, .. } if *groups > 1 && schedule.depthwise == Depthwise::InPlace => {
                let fits = elements(own) <= elements(buffer[op.inputs[0]]) && !read_later;
                if fits {
                    scratch[index] = (op.output[1] * op.output[2]) as u64;
                }
                fits
            }
            _ => false,
        };
        buffer.push(if in_place { buffer[op.inputs[0]] } else { own });
    }
    let count = block.ops.len();
    let last_read = |wanted: usize| -> usize {
        if buffer[count] == wanted {
            return count;
        }
        let readers = block.ops.iter().enumerate();
        readers.filter(|(_, op)| op.inputs.iter().any(|i| buffer[*i] == wanted)).map(|(i, _)| i).max().unwrap_or(0)
    };
    let at = |index: usize| -> u64 {
        let live: HashSet<usize> = buffer[..=index + 1].iter().copied().filter(|b| last_read(*b) >= index).collect();
        live.into_iter().map(elements).sum::<u64>() + scratch[index]
    };
    (0..count).map(at).max().unwrap_or(0) * schedule.bytes_per_element as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::net_spec::{BlockKind, Op, Shape, TensorRef, TensorRole};
    use crate::network::operation::PaddingRule;

    fn conv(input: usize, output: Shape, groups: usize) -> Op {
        let shape = vec![output[0], 1, 1, 1];
        let weight = TensorRef {
            name: String::new(),
            role: TensorRole::ConvWeight,
            full: shape.clone(),
            take: shape,
            kernel_steps: Vec::new(),
        };
        let kind = OpKind::Conv {
            weight,
            bias: None,
            kernel: 1,
            stride: 1,
            padding: 0,
            extra_padding: 0,
            padding_rule: PaddingRule::Symmetric,
            groups,
        };
        Op { name: String::new(), inputs: vec![input], output, kind }
    }

    #[test]
    fn a_residual_block_by_hand() {
        let (narrow, wide) = ([8, 4, 4], [24, 4, 4]);
        let add = Op { name: String::new(), inputs: vec![3, 0], output: narrow, kind: OpKind::Add };
        let block = Block {
            name: String::new(),
            kind: BlockKind::Pool,
            input: narrow,
            output: narrow,
            ops: vec![conv(0, wide, 1), conv(1, wide, 24), conv(2, narrow, 1), add],
            channel_groups: Vec::new(),
        };
        let net = NetSpec { input: narrow, classes: 1, blocks: vec![block] };
        // Separate buffers: the depthwise convolution holds the residual's input, its own input and its output.
        assert_eq!(peak_activation_bytes(&net, Schedule::F32), 4 * 16 * (8 + 24 + 24));
        // In place: the projection holds the residual's input, its own input and its output.
        assert_eq!(peak_activation_bytes(&net, Schedule::MICROCONTROLLER), 16 * (8 + 24 + 8));
    }
}
