//! What can be elastic in a given network: which of its blocks can be left out, and which channels inside a block nothing
//! outside depends on.

use crate::network::net_spec::{Block, NetSpec, Op, TensorRef};
use crate::network::operation::{Activation, OpKind};

/// A stage: a block without an identity shortcut, and the residual blocks that follow it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stage {
    /// Position of its first block in the network.
    pub first: usize,
    /// How many residual blocks follow.
    pub residual_blocks: usize,
}

/// The stages of a network, in order.
pub fn stages(net: &NetSpec) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (index, block) in net.blocks.iter().enumerate() {
        match stages.last_mut() {
            Some(stage) if is_residual(block) => stage.residual_blocks += 1,
            _ => stages.push(Stage { first: index, residual_blocks: 0 }),
        }
    }
    stages
}

/// Whether the block adds its input to its output, so that leaving it out changes no shape.
fn is_residual(block: &Block) -> bool {
    let adds_input = |op: &Op| matches!(op.kind, OpKind::Add) && op.inputs.contains(&0);
    block.input == block.output && block.ops.iter().any(adds_input)
}

/// The channels of the values in a block, in groups that have the same channels: value 0 is the input, operation `i` makes
/// value `i + 1`.
#[derive(Clone, PartialEq, Debug)]
pub struct ChannelFlow {
    /// Group of every value.
    groups: Vec<usize>,
    /// Channels of every group; `None` if they are fixed.
    inner: Vec<Option<usize>>,
    /// Groups of a grouped convolution, which keeps the channels on both sides whole.
    grouped: Option<usize>,
}

impl ChannelFlow {
    /// Follows the channels through a block. A dense convolution and a linear layer begin a new group; everything else
    /// hands its channels on. The groups of the block's input and output are fixed.
    pub fn of(block: &Block) -> Self {
        let values = block.ops.len() + 1;
        let mut parent: Vec<usize> = (0..values).collect();
        let mut fixed = vec![0, values - 1];
        let mut grouped = None;
        for (index, op) in block.ops.iter().enumerate() {
            let output = index + 1;
            match &op.kind {
                OpKind::Conv { groups, .. } if *groups > 1 => {
                    let input = op.inputs[0];
                    if !is_depthwise(op) {
                        grouped = Some(*groups);
                        fixed.extend([input, output]);
                    }
                    join(&mut parent, input, output);
                }
                OpKind::Conv { .. } | OpKind::Linear { .. } => {}
                _ => op.inputs.iter().for_each(|input| join(&mut parent, *input, output)),
            }
        }
        let roots: Vec<usize> = (0..values).map(|value| root(&parent, value)).collect();
        let mut order: Vec<usize> = roots.clone();
        order.sort_unstable();
        order.dedup();
        let groups: Vec<usize> =
            roots.iter().map(|at| order.iter().position(|known| known == at).unwrap_or_default()).collect();
        let channels = |value: usize| if value == 0 { block.input[0] } else { block.ops[value - 1].output[0] };
        let mut inner: Vec<Option<usize>> = order.iter().map(|at| Some(channels(*at))).collect();
        fixed.iter().for_each(|value| inner[groups[*value]] = None);
        Self { groups, inner, grouped }
    }

    /// Channels of every group inside the block that may be narrowed.
    pub fn elastic(&self) -> impl Iterator<Item = usize> + '_ {
        self.inner.iter().flatten().copied()
    }

    /// The groups that may be narrowed, with their channels.
    pub fn elastic_groups(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.inner.iter().enumerate().filter_map(|(group, channels)| Some((group, (*channels)?)))
    }

    /// Group of a value.
    pub fn group(&self, value: usize) -> usize {
        self.groups[value]
    }

    /// Whether the channels of a group may be narrowed.
    pub fn is_elastic(&self, group: usize) -> bool {
        self.inner[group].is_some()
    }

    /// Groups of a grouped convolution that keeps channels whole, if there is one.
    pub fn grouped(&self) -> Option<usize> {
        self.grouped
    }
}

fn root(parent: &[usize], mut value: usize) -> usize {
    while parent[value] != value {
        value = parent[value];
    }
    value
}

fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b)] = a.min(b);
}

/// Whether the operation is a convolution of every channel on its own.
pub fn is_depthwise(op: &Op) -> bool {
    match &op.kind {
        OpKind::Conv { weight, groups, .. } => *groups > 1 && *groups == weight.take[0] && weight.take[1] == 1,
        _ => false,
    }
}

/// Axes of an operation's tensors that run over channels: of its input (`Side::Input`) or its output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Channels that the operation reads.
    Input,
    /// Channels that it makes.
    Output,
}

/// A tensor of an operation: its suffix, and its axes that run over channels.
pub type ChannelAxes<'a> = (&'static str, &'a TensorRef, Vec<(usize, Side)>);

/// Every tensor of an operation with the axes that run over channels.
pub fn channel_axes(op: &Op) -> Vec<ChannelAxes<'_>> {
    let depthwise = is_depthwise(op);
    let axes = |suffix: &str| match &op.kind {
        OpKind::Conv { .. } if suffix == "weight" && !depthwise => vec![(0, Side::Output), (1, Side::Input)],
        OpKind::Linear { .. } if suffix == "weight" => vec![(0, Side::Output)],
        OpKind::SqueezeExcite { .. } => match suffix {
            "fc.reduce.weight" => vec![(1, Side::Input)],
            "fc.expand.weight" | "fc.expand.bias" => vec![(0, Side::Output)],
            _ => Vec::new(),
        },
        _ => vec![(0, Side::Output)],
    };
    op.kind.tensors().into_iter().map(|(suffix, tensor)| (suffix, tensor, axes(suffix))).collect()
}

/// The batch norm and the nonlinearity that the channels of a value went through last, if any: they determine how large
/// its activations are.
pub fn last_norm(block: &Block, mut value: usize) -> Option<(&TensorRef, &TensorRef, Option<Activation>)> {
    let mut function = None;
    while value > 0 {
        let op = &block.ops[value - 1];
        match &op.kind {
            OpKind::BatchNorm(norm) => return Some((&norm.weight, &norm.bias, function)),
            OpKind::Activation { function: found } => function = Some(*found),
            OpKind::SqueezeExcite { .. } => {}
            _ => return None,
        }
        value = op.inputs[0];
    }
    None
}
