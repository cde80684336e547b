//! Operations in a row as the blocks of a network: what a residual spans, what belongs to one inverted residual, and single
//! layers.

use super::operations::{Flat, FlatOp};
use ofa_space::{Activation, Block, BlockKind, NetSpec, Op, OpKind, TensorRef, Weights};
use std::ops::Range;

/// A piece of the chain that nothing skips, with what it is.
#[derive(Debug)]
struct Piece {
    ops: Range<usize>,
    kind: Layer,
}

/// What a piece is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layer {
    /// A 1×1 convolution with stride 1.
    Pointwise,
    /// A convolution of every channel on its own.
    Depthwise,
    /// Another convolution.
    Dense,
    /// Branches and their sum.
    Sum,
    /// A linear layer.
    Linear,
    /// Pooling.
    Pool,
    /// A batch norm, nonlinearity or squeeze-excite with nothing before it.
    Rest,
}

/// The network of a chain of operations on images of this size, and its weights under the names of its operations.
///
/// # Errors
/// What is wrong, if the shapes do not fit, or padding does not follow the rule.
pub fn network(flat: Flat, channels: usize, size: usize) -> Result<(NetSpec, Weights), String> {
    let Flat { ops, weights } = flat;
    let pieces = pieces(&ops);
    let mut blocks = Vec::new();
    let mut first = 0;
    while first < pieces.len() {
        let count = block_pieces(&pieces[first..], &ops);
        let these = &pieces[first..first + count];
        let range = these[0].ops.start..these[count - 1].ops.end;
        let name = format!("blocks.{}", blocks.len());
        blocks.push(Block {
            ops: named(&ops[range.clone()], range.start, &name),
            name,
            kind: BlockKind::Pool,
            input: [channels, size, size],
            output: [channels, size, size],
            channel_groups: Vec::new(),
        });
        first += count;
    }
    let asked: Vec<Option<(usize, usize)>> = blocks.iter().flat_map(|block: &Block| &block.ops).map(padding).collect();
    let net = NetSpec { input: [channels, size, size], classes: 1, blocks };
    net.check_operations().map_err(|e| e.to_string())?;
    let mut net = net.at_resolution(size).map_err(|e| e.to_string())?;
    net.blocks.iter().try_for_each(check_channels)?;
    for (op, asked) in net.ops().zip(asked) {
        if let (Some(found), Some(asked)) = (padding(op), asked)
            && found != asked
            && asked != (0, 0)
        {
            return Err(format!(
                "has the convolution `{}` with padding {} before and {} after, which is neither symmetric nor \
                 TensorFlow's SAME",
                op.name,
                asked.0,
                asked.0 + asked.1
            ));
        }
    }
    let last = net.blocks.last().map_or(net.input, |block| block.output);
    if last[1] * last[2] != 1 {
        return Err(format!("ends in a map of {}×{} pixels, expected logits", last[1], last[2]));
    }
    net.classes = last[0];
    label(&mut net);
    // Tensors under the names of their operations.
    let mut renamed = Weights::default();
    for block in &mut net.blocks {
        for op in &mut block.ops {
            let mut missing = None;
            op.kind = op.kind.map_weights(|suffix, tensor| {
                let name = format!("{}.{suffix}", op.name);
                match weights.get(&tensor.name) {
                    Some(values) => renamed.insert(name.clone(), values.clone()),
                    None => missing = Some(tensor.name.clone()),
                }
                TensorRef { name, ..tensor.clone() }
            });
            if let Some(name) = missing {
                return Err(format!("has no values for `{name}`"));
            }
        }
    }
    Ok((net, renamed))
}

/// Refuses operations whose tensors are for another number of channels than they read.
fn check_channels(block: &Block) -> Result<(), String> {
    for op in &block.ops {
        let read = op.inputs[0];
        let channels = if read == 0 { block.input[0] } else { block.ops[read - 1].output[0] };
        let fits = match &op.kind {
            OpKind::Conv { weight, groups, .. } => {
                weight.full[1] * groups == channels && weight.full[0] % groups == 0 && weight.full[0] > 0
            }
            kind @ OpKind::BatchNorm(_) => kind.tensors().iter().all(|(_, tensor)| tensor.full == [channels]),
            OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, .. } => {
                let squeezed = reduce_weight.full[0];
                reduce_weight.full[1] == channels
                    && reduce_bias.full == [squeezed]
                    && expand_weight.full[..2] == [channels, squeezed]
                    && expand_bias.full == [channels]
            }
            _ => true,
        };
        if !fits {
            return Err(format!("has `{}`, whose weights are not for its {channels} channels", op.name));
        }
    }
    Ok(())
}

/// Padding of a convolution and its extra.
fn padding(op: &Op) -> Option<(usize, usize)> {
    op.kind.geometry().map(|geometry| (geometry.padding, geometry.extra))
}

/// Cuts the chain wherever a single value goes on, and joins to each layer the batch norms, nonlinearities and
/// squeeze-excites behind it.
fn pieces(ops: &[FlatOp]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = 0;
    for at in 0..ops.len() {
        let is_cut = ops[at + 1..].iter().flat_map(|op| &op.inputs).all(|input| *input > at);
        if !is_cut {
            continue;
        }
        let range = start..at + 1;
        start = at + 1;
        let kind = layer(&ops[range.clone()]);
        match pieces.last_mut() {
            Some(before) if kind == Layer::Rest && before.kind != Layer::Pool => before.ops.end = range.end,
            _ => pieces.push(Piece { ops: range, kind }),
        }
    }
    pieces
}

fn layer(ops: &[FlatOp]) -> Layer {
    let [op] = ops else { return Layer::Sum };
    match &op.kind {
        kind @ OpKind::Conv { weight, groups, .. } => match kind.geometry() {
            Some(geometry) if geometry.is_pointwise() => Layer::Pointwise,
            _ if *groups > 1 && *groups == weight.full[0] && weight.full[1] == 1 => Layer::Depthwise,
            _ => Layer::Dense,
        },
        OpKind::Linear { .. } => Layer::Linear,
        OpKind::GlobalAveragePool | OpKind::AveragePool { .. } | OpKind::MaxPool { .. } => Layer::Pool,
        OpKind::Add => Layer::Sum,
        OpKind::BatchNorm(_) | OpKind::Activation { .. } | OpKind::SqueezeExcite { .. } => Layer::Rest,
    }
}

/// How many of the first pieces make a block: an expansion, a depthwise convolution and a projection; a depthwise
/// convolution and a projection; or one.
fn block_pieces(pieces: &[Piece], ops: &[FlatOp]) -> usize {
    let kinds: Vec<Layer> = pieces.iter().take(3).map(|piece| piece.kind).collect();
    let is_linear =
        |piece: &Piece| !ops[piece.ops.clone()].iter().any(|op| matches!(op.kind, OpKind::Activation { .. }));
    match kinds[..] {
        [Layer::Pointwise, Layer::Depthwise, Layer::Pointwise] if is_linear(&pieces[2]) => 3,
        [Layer::Depthwise, Layer::Pointwise, ..] => 2,
        _ => 1,
    }
}

/// The operations of a block under names of their own.
fn named(ops: &[FlatOp], first: usize, block: &str) -> Vec<Op> {
    let mut counts = [0usize; 6];
    ops.iter()
        .map(|op| {
            let (place, what) = match &op.kind {
                OpKind::Conv { .. } => (0, "conv"),
                OpKind::BatchNorm(_) => (1, "bn"),
                OpKind::Activation { .. } => (2, "act"),
                OpKind::SqueezeExcite { .. } => (3, "se"),
                OpKind::Linear { .. } => (4, "linear"),
                OpKind::Add | OpKind::GlobalAveragePool | OpKind::AveragePool { .. } | OpKind::MaxPool { .. } => {
                    (5, "join")
                }
            };
            counts[place] += 1;
            Op {
                name: format!("{block}.{what}{}", counts[place]),
                inputs: op.inputs.iter().map(|input| input - first).collect(),
                output: [0; 3],
                kind: op.kind.clone(),
            }
        })
        .collect()
}

/// Gives every block its kind.
fn label(net: &mut NetSpec) {
    let count = net.blocks.len();
    let classifier = count.checked_sub(1).filter(|last| ends_linear(&net.blocks[*last]));
    for index in 0..count {
        let kind = if Some(index) == classifier {
            BlockKind::Classifier
        } else {
            let is_last_layer = net.blocks[index + 1..].iter().all(|block| is_pool(block) || ends_linear(block));
            kind(&net.blocks[index], index == 0, is_last_layer)
        };
        net.blocks[index].kind = kind;
    }
}

fn ends_linear(block: &Block) -> bool {
    block.ops.iter().any(|op| matches!(op.kind, OpKind::Linear { .. }))
}

fn is_pool(block: &Block) -> bool {
    let pools =
        |op: &Op| matches!(op.kind, OpKind::GlobalAveragePool | OpKind::AveragePool { .. } | OpKind::MaxPool { .. });
    block.ops.iter().any(pools) && !block.ops.iter().any(|op| matches!(op.kind, OpKind::Conv { .. }))
}

fn kind(block: &Block, is_first: bool, is_last_layer: bool) -> BlockKind {
    let activation = block.ops.iter().find_map(|op| match op.kind {
        OpKind::Activation { function } => Some(function),
        _ => None,
    });
    let activation = activation.unwrap_or(Activation::Relu);
    let convolutions: Vec<&Op> = block.ops.iter().filter(|op| matches!(op.kind, OpKind::Conv { .. })).collect();
    let depthwise = convolutions.iter().find(|op| match &op.kind {
        OpKind::Conv { weight, groups, .. } => *groups > 1 && *groups == weight.full[0] && weight.full[1] == 1,
        _ => false,
    });
    let adds_input = block.ops.iter().any(|op| matches!(op.kind, OpKind::Add) && op.inputs.contains(&0))
        && block.input == block.output;
    let adds = block.ops.iter().any(|op| matches!(op.kind, OpKind::Add));
    if let Some(geometry) = depthwise.and_then(|op| op.kind.geometry()) {
        return BlockKind::InvertedResidual {
            kernel: geometry.kernel,
            stride: geometry.stride,
            expansion: geometry.groups as f64 / block.input[0] as f64,
            middle: geometry.groups,
            residual: adds_input,
            squeeze_excite: block.ops.iter().any(|op| matches!(op.kind, OpKind::SqueezeExcite { .. })),
            activation,
        };
    }
    let geometries = || convolutions.iter().filter_map(|op| op.kind.geometry());
    if adds && !convolutions.is_empty() {
        let widest = geometries().max_by_key(|geometry| geometry.kernel);
        let (kernel, stride) = (widest.map_or(1, |g| g.kernel), geometries().map(|g| g.stride).max().unwrap_or(1));
        let middle = convolutions.iter().map(|op| op.output[0]).min().unwrap_or(1);
        let downsample = !adds_input;
        // A shortcut's own convolution aside.
        return match convolutions.len() - usize::from(downsample) {
            3 => {
                let expansion = middle as f64 / block.output[0] as f64;
                BlockKind::Bottleneck { kernel, stride, expansion, middle, downsample, activation }
            }
            _ => BlockKind::BasicBlock { kernel, stride, middle, downsample, activation },
        };
    }
    match geometries().next() {
        None if is_pool(block) => BlockKind::Pool,
        None => BlockKind::FeatureMix { activation },
        Some(geometry) if geometry.kernel > 1 || is_first => {
            BlockKind::Stem { kernel: geometry.kernel, stride: geometry.stride }
        }
        Some(_) if is_last_layer => BlockKind::FeatureMix { activation },
        Some(_) => BlockKind::FinalExpand { activation },
    }
}
