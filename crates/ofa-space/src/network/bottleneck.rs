//! The elastic bottleneck block of ResNet-50, with the authors' tensor names.

use crate::network::block_builder::{BlockBuilder, ConvShape, Width};
use crate::network::channels::middle_channels;
use crate::network::net_spec::{Block, BlockKind, ChannelGroup, Shape};
use crate::network::operation::Activation;

/// What is added to a bottleneck's output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shortcut {
    /// The input itself.
    Identity,
    /// The input, average-pooled by the stride, through a 1×1 convolution and batch norm (ResNet-D).
    PoolAndProject,
}

/// One bottleneck block of one subnet.
#[derive(Clone, Debug)]
pub struct Bottleneck {
    /// Position in the static network.
    pub index: usize,
    /// Position in the supernet.
    pub supernet_index: usize,
    /// Input channels.
    pub input: Width,
    /// Output channels.
    pub output: Width,
    /// Stride of the middle convolution.
    pub stride: usize,
    /// Ratio of middle to output channels of this subnet.
    pub expansion: f64,
    /// Largest ratio of the supernet.
    pub max_expansion: f64,
    /// What is added to the output.
    pub shortcut: Shortcut,
    /// Epsilon of the batch norms.
    pub bn_eps: f64,
}

const KERNEL: usize = 3;
const ACTIVATION: Activation = Activation::Relu;

impl Bottleneck {
    /// The block on an input of this shape.
    ///
    /// Source: `DynamicResNetBottleneckBlock` in the authors' `dynamic_layers.py`.
    pub fn elastic(&self, shape: Shape) -> Block {
        let (input, output, eps) = (self.input, self.output, self.bn_eps);
        let middle = Width {
            take: middle_channels(output.take, self.expansion),
            full: middle_channels(output.full, self.max_expansion),
        };
        let name = format!("blocks.{}", self.index);
        let mut block = BlockBuilder::new(name, format!("blocks.{}", self.supernet_index), shape);
        let mut shortcut = 0;
        if self.shortcut == Shortcut::PoolAndProject {
            // Pooling by a window of one pixel would be the identity.
            if self.stride > 1 {
                block.average_pool("downsample.avg_pool", self.stride, self.stride);
            }
            block.conv("downsample.conv", "downsample.conv.conv", ConvShape::dense(input, output, 1, 1)).batch_norm(
                "downsample.bn",
                "downsample.bn.bn",
                output,
                eps,
            );
            shortcut = block.latest();
            block.branch(0);
        }
        block
            .conv("conv1.conv", "conv1.conv.conv", ConvShape::dense(input, middle, 1, 1))
            .batch_norm("conv1.bn", "conv1.bn.bn", middle, eps)
            .activation("conv1.act", ACTIVATION)
            .conv("conv2.conv", "conv2.conv.conv", ConvShape::dense(middle, middle, KERNEL, self.stride))
            .batch_norm("conv2.bn", "conv2.bn.bn", middle, eps)
            .activation("conv2.act", ACTIVATION)
            .conv("conv3.conv", "conv3.conv.conv", ConvShape::dense(middle, output, 1, 1))
            .batch_norm("conv3.bn", "conv3.bn.bn", output, eps)
            .add("shortcut", shortcut)
            .activation("final_act", ACTIVATION)
            // The authors sort what the last convolution reads first.
            .channel_group(middle_group("conv2", "conv3", middle.take))
            .channel_group(middle_group("conv1", "conv2", middle.take));
        block.finish(BlockKind::Bottleneck {
            kernel: KERNEL,
            stride: self.stride,
            expansion: self.expansion,
            middle: middle.take,
            downsample: self.shortcut == Shortcut::PoolAndProject,
            activation: ACTIVATION,
        })
    }
}

/// The channels that layer `from` makes and layer `to` reads.
fn middle_group(from: &str, to: &str, width: usize) -> ChannelGroup {
    let read = (format!("{to}.conv.conv.weight"), 1);
    let norm = ["weight", "bias", "running_mean", "running_var"].map(|part| (format!("{from}.bn.bn.{part}"), 0));
    let mut members = vec![(format!("{from}.conv.conv.weight"), 0)];
    members.extend(norm);
    members.push(read.clone());
    ChannelGroup {
        name: format!("{from}.middle"),
        width,
        importance: read,
        scale: None,
        keeps_opened_ranges: true,
        members,
    }
}
