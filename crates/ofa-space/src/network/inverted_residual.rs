//! The elastic inverted residual block (MobileNetV2/V3, ProxylessNAS), with the authors' tensor names.

use crate::network::block_builder::{BlockBuilder, ConvShape, ElasticKernel, Width};
use crate::network::channels::{middle_channels, squeeze_channels};
use crate::network::net_spec::{Block, BlockKind, ChannelGroup, Shape};
use crate::network::operation::Activation;

/// One inverted residual block of one subnet.
#[derive(Clone, Debug)]
pub struct InvertedResidual {
    /// Position in the static network.
    pub index: usize,
    /// Position in the supernet.
    pub supernet_index: usize,
    /// Input channels.
    pub input: Width,
    /// Output channels.
    pub output: Width,
    /// Depthwise kernel.
    pub kernel: ElasticKernel,
    /// Depthwise stride.
    pub stride: usize,
    /// Expansion ratio of this subnet.
    pub expansion: f64,
    /// Largest expansion ratio of the supernet.
    pub max_expansion: f64,
    /// Whether the input is added to the output, which needs stride 1 and equal widths.
    pub residual: bool,
    /// Nonlinearity.
    pub activation: Activation,
    /// Whether there is a squeeze-excite.
    pub squeeze_excite: bool,
    /// Epsilon of the batch norms.
    pub bn_eps: f64,
}

impl InvertedResidual {
    /// The elastic block on an input of this shape.
    ///
    /// Source: `DynamicMBConvLayer` in the authors' `dynamic_layers.py`.
    pub fn elastic(&self, shape: Shape) -> Block {
        let middle = Width {
            take: middle_channels(self.input.take, self.expansion),
            full: middle_channels(self.input.full, self.max_expansion),
        };
        let mut block = self.builder(shape);
        block
            .conv(
                "conv.inverted_bottleneck.conv",
                "conv.inverted_bottleneck.conv.conv",
                ConvShape::dense(self.input, middle, 1, 1),
            )
            .batch_norm("conv.inverted_bottleneck.bn", "conv.inverted_bottleneck.bn.bn", middle, self.bn_eps)
            .activation("conv.inverted_bottleneck.act", self.activation)
            .elastic_depthwise(
                "conv.depth_conv.conv",
                "conv.depth_conv.conv.conv",
                "conv.depth_conv.conv",
                middle,
                &self.kernel,
                self.stride,
            )
            .batch_norm("conv.depth_conv.bn", "conv.depth_conv.bn.bn", middle, self.bn_eps)
            .activation("conv.depth_conv.act", self.activation);
        let mut members = MIDDLE_CHANNELS.to_vec();
        if self.squeeze_excite {
            block.squeeze_excite("conv.depth_conv.se", "conv.depth_conv.se", middle);
            members.extend([
                ("conv.depth_conv.se.fc.reduce.weight", 1),
                ("conv.depth_conv.se.fc.expand.weight", 0),
                ("conv.depth_conv.se.fc.expand.bias", 0),
            ]);
        }
        block
            .channel_group(ChannelGroup {
                name: "conv.middle".to_owned(),
                width: middle.take,
                importance: ("conv.point_linear.conv.conv.weight".to_owned(), 1),
                scale: None,
                keeps_opened_ranges: true,
                members: owned(&members),
            })
            .conv("conv.point_linear.conv", "conv.point_linear.conv.conv", ConvShape::dense(middle, self.output, 1, 1))
            .batch_norm("conv.point_linear.bn", "conv.point_linear.bn.bn", self.output, self.bn_eps);
        // The authors sort the middle channels before the squeeze.
        if self.squeeze_excite {
            block.channel_group(ChannelGroup {
                name: "conv.squeeze".to_owned(),
                width: squeeze_channels(middle.take),
                importance: ("conv.depth_conv.se.fc.expand.weight".to_owned(), 1),
                scale: None,
                keeps_opened_ranges: false,
                members: owned(&[
                    ("conv.depth_conv.se.fc.reduce.weight", 0),
                    ("conv.depth_conv.se.fc.reduce.bias", 0),
                    ("conv.depth_conv.se.fc.expand.weight", 1),
                ]),
            });
        }
        self.finish(block, middle.take)
    }

    /// A block with nothing elastic and tensors named as in a static network, expanded to `middle` channels by a 1×1
    /// convolution, or not at all: the first block of the supernets, and every block of a published single network.
    ///
    /// Source: `MBConvLayer` in the authors' `layers.py`.
    pub fn fixed(&self, shape: Shape, middle: Option<usize>) -> Block {
        let width = middle.map_or(self.input, Width::fixed);
        let mut block = self.builder(shape);
        if middle.is_some() {
            const EXPANSION: &str = "conv.inverted_bottleneck.conv";
            block
                .conv(EXPANSION, EXPANSION, ConvShape::dense(self.input, width, 1, 1))
                .batch_norm("conv.inverted_bottleneck.bn", "conv.inverted_bottleneck.bn", width, self.bn_eps)
                .activation("conv.inverted_bottleneck.act", self.activation);
        }
        block
            .conv(
                "conv.depth_conv.conv",
                "conv.depth_conv.conv",
                ConvShape::depthwise(width, self.kernel.take, self.stride),
            )
            .batch_norm("conv.depth_conv.bn", "conv.depth_conv.bn", width, self.bn_eps)
            .activation("conv.depth_conv.act", self.activation);
        if self.squeeze_excite {
            block.squeeze_excite("conv.depth_conv.se", "conv.depth_conv.se", width);
        }
        block
            .conv("conv.point_linear.conv", "conv.point_linear.conv", ConvShape::dense(width, self.output, 1, 1))
            .batch_norm("conv.point_linear.bn", "conv.point_linear.bn", self.output, self.bn_eps);
        self.finish(block, width.take)
    }

    fn builder(&self, shape: Shape) -> BlockBuilder {
        BlockBuilder::new(format!("blocks.{}", self.index), format!("blocks.{}", self.supernet_index), shape)
    }

    fn finish(&self, mut block: BlockBuilder, middle: usize) -> Block {
        if self.residual {
            block.add("shortcut", 0);
        }
        block.finish(BlockKind::InvertedResidual {
            kernel: self.kernel.take,
            stride: self.stride,
            expansion: self.expansion,
            middle,
            residual: self.residual,
            squeeze_excite: self.squeeze_excite,
            activation: self.activation,
        })
    }
}

/// Tensors and axes over the middle channels, outside the squeeze-excite.
const MIDDLE_CHANNELS: [(&str, usize); 11] = [
    ("conv.inverted_bottleneck.conv.conv.weight", 0),
    ("conv.inverted_bottleneck.bn.bn.weight", 0),
    ("conv.inverted_bottleneck.bn.bn.bias", 0),
    ("conv.inverted_bottleneck.bn.bn.running_mean", 0),
    ("conv.inverted_bottleneck.bn.bn.running_var", 0),
    ("conv.depth_conv.conv.conv.weight", 0),
    ("conv.depth_conv.bn.bn.weight", 0),
    ("conv.depth_conv.bn.bn.bias", 0),
    ("conv.depth_conv.bn.bn.running_mean", 0),
    ("conv.depth_conv.bn.bn.running_var", 0),
    ("conv.point_linear.conv.conv.weight", 1),
];

fn owned(members: &[(&str, usize)]) -> Vec<(String, usize)> {
    members.iter().map(|(name, axis)| ((*name).to_owned(), *axis)).collect()
}
