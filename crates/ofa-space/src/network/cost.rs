//! Exact costs of a network: parameters and multiply-accumulates. Memory is in [`crate::memory`].

use crate::network::net_spec::{Block, NetSpec, Op};
use crate::network::operation::OpKind;
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
