//! A block of the source network cut down to the choices of an arch.

use super::narrowed;
use super::structure::{ChannelFlow, Side, channel_axes, is_depthwise, last_norm};
use crate::network::net_spec::{Block, BlockKind, ChannelGroup, ChannelScale, KernelStep, Op, TensorRef};
use crate::network::operation::OpKind;

/// What an arch chooses for a block.
pub(super) struct Cut<'a> {
    /// Sizes of the depthwise kernel, ascending; the last is the stored one.
    pub kernel_sizes: &'a [usize],
    /// The size taken.
    pub kernel: usize,
    /// Share of the channels inside that is kept.
    pub ratio: f64,
    /// Where channels are the same.
    pub flow: &'a ChannelFlow,
}

impl Cut<'_> {
    /// The block of these choices, reading slices of the source's tensors. Shapes are those of the source, to be computed
    /// anew.
    pub fn of(&self, source: &Block) -> Block {
        let mut block = source.clone();
        block.channel_groups = self.channel_groups(source);
        for (index, op) in block.ops.iter_mut().enumerate() {
            let before = &source.ops[index];
            self.narrow(op, before, index + 1);
            if is_depthwise(before) {
                self.crop(op);
            }
        }
        self.relabel(&mut block);
        block
    }

    /// Channels taken of a value that has `channels` in the source.
    fn width(&self, value: usize, channels: usize) -> usize {
        match self.flow.is_elastic(self.flow.group(value)) {
            true => narrowed(channels, self.ratio),
            false => channels,
        }
    }

    fn narrow(&self, op: &mut Op, source: &Op, output: usize) {
        let axes: Vec<Vec<(usize, Side)>> = channel_axes(source).into_iter().map(|(_, _, axes)| axes).collect();
        let mut axes = axes.into_iter();
        op.kind = source.kind.map_weights(|_, tensor| {
            let mut taken = tensor.clone();
            for (axis, side) in axes.next().unwrap_or_default() {
                let value = if side == Side::Output { output } else { source.inputs[0] };
                taken.take[axis] = self.width(value, tensor.take[axis]);
            }
            taken
        });
        if let OpKind::Conv { weight, groups, .. } = &mut op.kind
            && is_depthwise(source)
        {
            *groups = weight.take[0];
        }
    }

    /// Takes the middle of a depthwise kernel, through the transform matrices of all sizes between.
    fn crop(&self, op: &mut Op) {
        let name = op.name.clone();
        if let OpKind::Conv { weight, kernel, padding, .. } = &mut op.kind
            && self.kernel < *kernel
        {
            let descending: Vec<usize> = self.kernel_sizes.iter().rev().copied().collect();
            let steps = descending.windows(2).take_while(|pair| pair[1] >= self.kernel);
            let step = |pair: &[usize]| KernelStep {
                size: pair[1],
                matrix: format!("{name}.{}to{}_matrix", pair[0], pair[1]),
            };
            weight.kernel_steps = steps.map(step).collect();
            weight.take[2] = self.kernel;
            weight.take[3] = self.kernel;
            *padding = self.kernel / 2;
            *kernel = self.kernel;
        }
    }

    /// The attributes that lookup tables and listings show.
    fn relabel(&self, block: &mut Block) {
        match &mut block.kind {
            BlockKind::InvertedResidual { kernel, expansion, middle, .. } => {
                if self.kernel_sizes.len() > 1 {
                    *kernel = self.kernel;
                }
                if self.flow.elastic().next().is_some() {
                    *middle = narrowed(*middle, self.ratio);
                    *expansion *= self.ratio;
                }
            }
            BlockKind::Bottleneck { expansion, middle, .. } => {
                *middle = narrowed(*middle, self.ratio);
                *expansion *= self.ratio;
            }
            BlockKind::BasicBlock { middle, .. } => *middle = narrowed(*middle, self.ratio),
            _ => {}
        }
    }

    /// The channels inside that are permuted together.
    fn channel_groups(&self, source: &Block) -> Vec<ChannelGroup> {
        let mut groups = Vec::new();
        for (number, (group, channels)) in self.flow.elastic_groups().enumerate() {
            let mut members: Vec<(String, usize)> = Vec::new();
            let mut importance: Option<(&TensorRef, usize, usize)> = None;
            for (index, op) in source.ops.iter().enumerate() {
                for (_, tensor, axes) in channel_axes(op) {
                    for (axis, side) in axes {
                        let value = if side == Side::Output { index + 1 } else { op.inputs[0] };
                        if self.flow.group(value) != group {
                            continue;
                        }
                        members.push((tensor.name.clone(), axis));
                        // The first convolution that mixes these channels.
                        let mixes = matches!(op.kind, OpKind::Conv { .. }) && side == Side::Input;
                        if mixes && importance.is_none() {
                            importance = Some((tensor, axis, value));
                        }
                    }
                }
            }
            let Some((tensor, axis, value)) = importance else { continue };
            let scale = last_norm(source, value).map(|(weight, bias, activation)| ChannelScale {
                weight: weight.name.clone(),
                bias: bias.name.clone(),
                activation,
            });
            groups.push(ChannelGroup {
                name: format!("{}.middle.{number}", source.name),
                width: narrowed(channels, self.ratio),
                importance: (tensor.name.clone(), axis),
                scale,
                keeps_opened_ranges: true,
                members,
            });
        }
        groups
    }
}
