//! A family as a network, and the names of its tensors in a checkpoint.

use super::families::{Architecture, BlockNames, BlockShape, Family, Naming, Place, StageShape};
use ofa_space::network::block_builder::{
    BlockBuilder, ConvShape, Squeeze, Width, classifier_block, conv_block, global_pool_block,
};
use ofa_space::settings::InvalidSetting;
use ofa_space::{Block, BlockKind, NetSpec, OpKind, PaddingRule, Shape};

/// A network, and where a checkpoint holds its tensors.
#[derive(Debug)]
pub struct Named {
    /// The network.
    pub net: NetSpec,
    /// Name of every tensor in the network and in the checkpoint, in order of execution.
    pub tensors: Vec<(String, String)>,
}

/// What varies within a family.
#[derive(Clone, Copy)]
pub struct Variant<'a> {
    /// Height and width of the images.
    pub image_size: usize,
    /// Number of logits.
    pub classes: usize,
    /// Outputs of the convolution of this name: the squeezed channels of a squeeze-excite.
    pub outputs_of: &'a dyn Fn(&str) -> Option<usize>,
}

impl Named {
    /// The network of a family under one of its sets of names.
    ///
    /// # Errors
    /// [`InvalidSetting`] if the images are too small.
    pub fn new(
        family: &Family,
        architecture: &Architecture,
        naming: &Naming,
        variant: Variant<'_>,
    ) -> Result<Self, InvalidSetting> {
        let mut layers =
            Layers { eps: family.eps, architecture, naming, variant, blocks: Vec::new(), names: Vec::new() };
        layers.stem();
        let mut place = Place { block: 0, stage: 0, layer: 0 };
        for stage in &architecture.stages {
            for layer in 0..stage.middle.len() {
                place.layer = layer;
                layers.block(stage, place)?;
                place.block += 1;
            }
            place.stage += 1;
        }
        layers.head(Place { layer: 0, ..place });
        let Layers { mut blocks, names, .. } = layers;
        if family.padding != PaddingRule::Symmetric {
            for op in blocks.iter_mut().flat_map(|block| &mut block.ops) {
                if let OpKind::Conv { kernel, padding_rule, .. } = &mut op.kind
                    && *kernel > 1
                {
                    *padding_rule = family.padding;
                }
            }
        }
        let Variant { image_size, classes, .. } = variant;
        let net = NetSpec { input: [3, image_size, image_size], classes, blocks }.at_resolution(image_size)?;
        let tensors = net.tensors().map(|tensor| (tensor.name.clone(), in_checkpoint(&tensor.name, &names))).collect();
        Ok(Self { net, tensors })
    }
}

/// The name in the checkpoint of a tensor: the last part stays, and for batch norms is the same in both.
fn in_checkpoint(tensor: &str, names: &[(String, String)]) -> String {
    let (path, last) = tensor.rsplit_once('.').unwrap_or(("", tensor));
    match names.iter().find(|(ours, _)| ours == path) {
        Some((_, theirs)) => format!("{theirs}.{last}"),
        None => tensor.to_owned(),
    }
}

/// Layers as they are added.
struct Layers<'a> {
    eps: f64,
    architecture: &'a Architecture,
    naming: &'a Naming,
    variant: Variant<'a>,
    blocks: Vec<Block>,
    /// Of every operation with tensors: its name in the network and in the checkpoint.
    names: Vec<(String, String)>,
}

const EXPAND: [&str; 2] = ["conv.inverted_bottleneck.conv", "conv.inverted_bottleneck.bn"];
const DEPTHWISE: [&str; 2] = ["conv.depth_conv.conv", "conv.depth_conv.bn"];
const SQUEEZE: &str = "conv.depth_conv.se";
const PROJECT: [&str; 2] = ["conv.point_linear.conv", "conv.point_linear.bn"];

impl Layers<'_> {
    fn shape(&self) -> Shape {
        let Variant { image_size, .. } = self.variant;
        self.blocks.last().map_or([3, image_size, image_size], |block| block.output)
    }

    /// Notes what the operations of a block are called in the checkpoint.
    fn name(&mut self, block: &str, ours: &[&str], place: Place, at: &str, theirs: &[String]) {
        for (ours, theirs) in ours.iter().zip(theirs) {
            self.names.push((format!("{block}.{ours}"), place.fill(&format!("{at}{theirs}"))));
        }
    }

    fn stem(&mut self) {
        const NAME: &str = "first_conv";
        let stem = &self.architecture.stem;
        let (kernel, stride) = (stem.kernel, 2);
        let conv = ConvShape::dense(Width::fixed(3), Width::fixed(stem.channels), kernel, stride);
        let activation = self.architecture.activation;
        let kind = BlockKind::Stem { kernel, stride };
        let block = conv_block(NAME, self.shape(), conv, Some(self.eps), activation, kind);
        self.blocks.push(block);
        let naming = self.naming;
        self.name(NAME, &["conv", "bn"], Place { block: 0, stage: 0, layer: 0 }, "", &naming.stem);
        if stem.pool {
            const NAME: &str = "max_pooling";
            let mut pool = BlockBuilder::new(NAME, NAME, self.shape());
            pool.max_pool("", 3, 2);
            self.blocks.push(pool.finish(BlockKind::Pool));
        }
    }

    fn block(&mut self, stage: &StageShape, place: Place) -> Result<(), InvalidSetting> {
        let naming = self.naming;
        let names = match self.architecture.block {
            BlockShape::InvertedResidual => {
                let is_expanded = stage.middle[place.layer] != self.shape()[0];
                naming.inverted_residual(is_expanded, stage.squeeze)
            }
            BlockShape::Basic => naming.basic.as_ref(),
            BlockShape::Bottleneck => naming.bottleneck.as_ref(),
        };
        let Some(names) = names else {
            return Err(InvalidSetting::new(
                format!("blocks.{}", place.block),
                "has no names in the table of families",
            ));
        };
        let block = match self.architecture.block {
            BlockShape::InvertedResidual => self.inverted_residual(stage, place, names),
            BlockShape::Basic | BlockShape::Bottleneck => self.residual(stage, place, names),
        };
        self.blocks.push(block);
        Ok(())
    }

    fn inverted_residual(&mut self, stage: &StageShape, place: Place, names: &BlockNames) -> Block {
        let shape = self.shape();
        let name = format!("blocks.{}", place.block);
        let (input, output) = (Width::fixed(shape[0]), Width::fixed(stage.channels));
        let middle = Width::fixed(stage.middle[place.layer]);
        let stride = if place.layer == 0 { stage.stride } else { 1 };
        let activation = stage.activation.unwrap_or(self.architecture.activation);
        let residual = stride == 1 && input == output;
        let mut block = BlockBuilder::new(name.clone(), name.clone(), shape);
        if middle != input {
            block
                .conv(EXPAND[0], EXPAND[0], ConvShape::dense(input, middle, 1, 1))
                .batch_norm(EXPAND[1], EXPAND[1], middle, self.eps)
                .activation("conv.inverted_bottleneck.act", activation);
            self.name(&name, &EXPAND, place, &names.at, &names.expand);
        }
        block
            .conv(DEPTHWISE[0], DEPTHWISE[0], ConvShape::depthwise(middle, stage.kernel, stride))
            .batch_norm(DEPTHWISE[1], DEPTHWISE[1], middle, self.eps)
            .activation("conv.depth_conv.act", activation);
        self.name(&name, &DEPTHWISE, place, &names.at, &names.depthwise);
        if stage.squeeze {
            let ours = ["reduce", "expand"].map(|part| format!("{SQUEEZE}.fc.{part}"));
            self.name(&name, &[&ours[0], &ours[1]], place, &names.at, &names.squeeze);
            let reduce = names.squeeze.first().map(|reduce| place.fill(&format!("{}{reduce}.weight", names.at)));
            let squeezed = reduce.and_then(|reduce| (self.variant.outputs_of)(&reduce)).unwrap_or(1);
            let Architecture { inner, gate, .. } = *self.architecture;
            let squeeze = Squeeze { squeezed: Width::fixed(squeezed), inner, gate };
            block.gate(SQUEEZE, SQUEEZE, middle, squeeze);
        }
        block
            .conv(PROJECT[0], PROJECT[0], ConvShape::dense(middle, output, 1, 1))
            .batch_norm(PROJECT[1], PROJECT[1], output, self.eps);
        self.name(&name, &PROJECT, place, &names.at, &names.project);
        if residual {
            block.add("shortcut", 0);
        }
        block.finish(BlockKind::InvertedResidual {
            kernel: stage.kernel,
            stride,
            expansion: middle.take as f64 / input.take as f64,
            middle: middle.take,
            residual,
            squeeze_excite: stage.squeeze,
            activation,
        })
    }

    /// A basic block or bottleneck of ResNet, with the stride in its 3×3 convolution.
    fn residual(&mut self, stage: &StageShape, place: Place, names: &BlockNames) -> Block {
        const KERNEL: usize = 3;
        let shape = self.shape();
        let name = format!("blocks.{}", place.block);
        let (input, output) = (Width::fixed(shape[0]), Width::fixed(stage.channels));
        let middle = Width::fixed(stage.middle[place.layer]);
        let stride = if place.layer == 0 { stage.stride } else { 1 };
        let activation = stage.activation.unwrap_or(self.architecture.activation);
        let downsample = stride > 1 || input != output;
        let mut block = BlockBuilder::new(name.clone(), name.clone(), shape);
        let mut shortcut = 0;
        if downsample {
            block.conv("downsample.conv", "downsample.conv", ConvShape::dense(input, output, 1, stride)).batch_norm(
                "downsample.bn",
                "downsample.bn",
                output,
                self.eps,
            );
            self.name(&name, &["downsample.conv", "downsample.bn"], place, &names.at, &names.shortcut);
            shortcut = block.latest();
            block.branch(0);
        }
        let is_basic = self.architecture.block == BlockShape::Basic;
        let convolutions = match is_basic {
            true => vec![
                (&names.first, ConvShape::dense(input, middle, KERNEL, stride)),
                (&names.second, ConvShape::dense(middle, output, KERNEL, 1)),
            ],
            false => vec![
                (&names.first, ConvShape::dense(input, middle, 1, 1)),
                (&names.second, ConvShape::dense(middle, middle, KERNEL, stride)),
                (&names.third, ConvShape::dense(middle, output, 1, 1)),
            ],
        };
        let last = convolutions.len();
        for (index, (theirs, conv)) in convolutions.into_iter().enumerate() {
            let part = |what: &str| format!("conv{}.{what}", index + 1);
            let (weights, norm) = (part("conv"), part("bn"));
            block.conv(&weights, &weights, conv).batch_norm(&norm, &norm, conv.output, self.eps);
            if index + 1 < last {
                block.activation(&part("act"), activation);
            }
            self.name(&name, &[&weights, &norm], place, &names.at, theirs);
        }
        block.add("shortcut", shortcut).activation("final_act", activation);
        let (kernel, middle) = (KERNEL, middle.take);
        block.finish(match is_basic {
            true => BlockKind::BasicBlock { kernel, stride, middle, downsample, activation },
            false => {
                let expansion = middle as f64 / output.take as f64;
                BlockKind::Bottleneck { kernel, stride, expansion, middle, downsample, activation }
            }
        })
    }

    fn head(&mut self, place: Place) {
        let (naming, activation) = (self.naming, self.architecture.activation);
        if let Some(head) = &self.architecture.head {
            if let Some(channels) = head.expand {
                const NAME: &str = "final_expand_layer";
                let conv = ConvShape::dense(Width::fixed(self.shape()[0]), Width::fixed(channels), 1, 1);
                let kind = BlockKind::FinalExpand { activation };
                self.blocks.push(conv_block(NAME, self.shape(), conv, Some(self.eps), activation, kind));
                self.name(NAME, &["conv", "bn"], place, "", &naming.expand);
                self.blocks.push(global_pool_block(self.shape()));
            }
            const NAME: &str = "feature_mix_layer";
            let is_pooled = head.expand.is_some();
            let conv = ConvShape {
                bias: is_pooled,
                ..ConvShape::dense(Width::fixed(self.shape()[0]), Width::fixed(head.features), 1, 1)
            };
            let eps = (!is_pooled).then_some(self.eps);
            let kind = BlockKind::FeatureMix { activation };
            self.blocks.push(conv_block(NAME, self.shape(), conv, eps, activation, kind));
            self.name(NAME, &["conv", "bn"], place, "", &naming.features);
        }
        let [channels, height, width] = self.shape();
        if height * width != 1 || self.architecture.head.as_ref().is_none_or(|head| head.expand.is_none()) {
            self.blocks.push(global_pool_block(self.shape()));
        }
        let features = Width::fixed(channels);
        self.blocks.push(classifier_block(self.shape(), "linear", features, self.variant.classes));
        self.name("classifier", &["linear"], place, "", std::slice::from_ref(&naming.classifier));
    }
}
