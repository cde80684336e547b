//! Exact costs of a network: parameters, multiply-accumulates, peak activation memory.

use crate::network::net_spec::{Block, NetSpec, Op, OpKind};
use std::collections::HashSet;

/// Number of parameters: everything trained, without running statistics and kernel-transform matrices.
pub fn params(net: &NetSpec) -> u64 {
    net.blocks.iter().map(block_params).sum()
}

/// Parameters of one block.
pub fn block_params(block: &Block) -> u64 {
    let mut seen = HashSet::new();
    block
        .ops
        .iter()
        .flat_map(|op| op.kind.tensors())
        .filter(|(_, tensor)| tensor.role.is_parameter() && seen.insert(tensor.name.as_str()))
        .map(|(_, tensor)| tensor.elements() as u64)
        .sum()
}

/// Multiply-accumulates for one image: convolutions outside squeeze-excite, and linear layers. Biases, norms and
/// activations are not counted (the convention of the authors' published figures).
pub fn macs(net: &NetSpec) -> u64 {
    net.ops().map(op_macs).sum()
}

/// Multiply-accumulates of one block, as [`macs`] counts them.
pub fn block_macs(block: &Block) -> u64 {
    block.ops.iter().map(op_macs).sum()
}

/// Multiply-accumulates of the two 1×1 convolutions of every squeeze-excite; 0 where there is none.
pub fn macs_se(net: &NetSpec) -> u64 {
    net.ops().map(squeeze_excite_macs).sum()
}

/// Multiply-accumulates of one operation, outside squeeze-excite.
pub fn op_macs(op: &Op) -> u64 {
    match &op.kind {
        OpKind::Conv { weight, .. } => weight.elements() as u64 * (op.output[1] * op.output[2]) as u64,
        OpKind::Linear { weight, .. } => weight.elements() as u64,
        _ => 0,
    }
}

/// Multiply-accumulates of one operation, if it is a squeeze-excite.
pub fn squeeze_excite_macs(op: &Op) -> u64 {
    match &op.kind {
        OpKind::SqueezeExcite { reduce_weight, expand_weight, .. } => {
            (reduce_weight.elements() + expand_weight.elements()) as u64
        }
        _ => 0,
    }
}

/// Peak memory of activations in bytes, f32, batch 1, running operations one after another.
///
/// At each operation the live values are its inputs, its output, and earlier values still to be read (a residual's
/// input). Batch norm, activation, squeeze-excite and the residual sum work in place, as in a runtime that folds or
/// overwrites them; weights and scratch space are not counted.
pub fn peak_activation_bytes(net: &NetSpec) -> u64 {
    net.blocks.iter().map(block_peak_activation_bytes).max().unwrap_or(0)
}

/// Peak activation bytes while one block runs, as [`peak_activation_bytes`] counts them.
pub fn block_peak_activation_bytes(block: &Block) -> u64 {
    const F32_BYTES: u64 = 4;
    let elements = |value: usize| -> u64 {
        let shape = if value == 0 { block.input } else { block.ops[value - 1].output };
        shape.iter().product::<usize>() as u64
    };
    // In-place operations give their output the buffer of their first input.
    let mut buffer: Vec<usize> = vec![0];
    for (index, op) in block.ops.iter().enumerate() {
        let value = index + 1;
        let in_place = matches!(
            op.kind,
            OpKind::BatchNorm { .. } | OpKind::Activation { .. } | OpKind::SqueezeExcite { .. } | OpKind::Add
        );
        buffer.push(if in_place { buffer[op.inputs[0]] } else { value });
    }
    let last_read = |wanted: usize| -> usize {
        let read = block
            .ops
            .iter()
            .enumerate()
            .filter(|(_, op)| op.inputs.iter().any(|input| buffer[*input] == wanted))
            .map(|(index, _)| index)
            .max();
        // The output stays for the next block.
        if buffer[block.ops.len()] == wanted { block.ops.len() } else { read.unwrap_or(0) }
    };
    let peak = (0..block.ops.len())
        .map(|index| {
            let live: HashSet<usize> =
                buffer[..=index + 1].iter().copied().filter(|b| last_read(*b) >= index).collect();
            live.into_iter().map(elements).sum::<u64>()
        })
        .max()
        .unwrap_or(0);
    peak * F32_BYTES
}
