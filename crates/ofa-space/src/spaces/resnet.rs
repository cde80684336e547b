//! The ResNet-50 family (with the stem and shortcuts of ResNet-D): elastic depth, expansion and width.

use crate::error::SpaceError;
use crate::genotype::arch::Arch;
use crate::genotype::gene::Gene;
use crate::network::block_builder::{BlockBuilder, ConvShape, Width, classifier_block, global_pool_block};
use crate::network::bottleneck::{Bottleneck, Shortcut};
use crate::network::channels::make_divisible;
use crate::network::net_spec::{Block, BlockKind, NetSpec, Shape, output_of};
use crate::network::operation::Activation;
use crate::settings::{self, InvalidSetting, Settings};
use crate::spaces::mobile_stages::{EPSILON, as_numbers};
use crate::spaces::registry::SpaceEntry;
use crate::spaces::space::{SearchSpace, SpaceInfo};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Configuration of a ResNet-50-like space; what is left out takes the authors' value. The names of the authors'
/// constructor arguments (`n_classes`, `expand_ratio_list`, `depth_list`, `width_mult_list`) are read too.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `name` | `resnet50` | name in outputs | not empty |
/// | `classes` | 1000 | number of logits | ≥ 2 |
/// | `input_channels` | 3 | 1 for grey images | 1–16 |
/// | `depths` | 0, 1, 2 | elastic blocks beyond each stage's `base_depth` | ascending |
/// | `expand_ratios` | 0.2, 0.25, 0.35 | middle over output channels of a bottleneck | ascending, 0.01–4 |
/// | `widths` | 0.65, 0.8, 1.0 | elastic multipliers of channel counts; an arch's `w` holds indices into them | ascending, 0.05–8 |
/// | `resolutions` | 128, 132, …, 224 | elastic input size | ascending |
/// | `bn_eps` | 1e-5 | epsilon of batch norm | > 0 |
/// | `stem_channels` | 64 | output of the stem; its first convolutions have half as many | |
/// | `stages` | the authors' four | `channels`, `stride`, `base_depth` of each | at least one |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetConfig {
    /// Name in outputs.
    pub name: String,
    /// Number of logits.
    #[serde(alias = "n_classes")]
    pub classes: usize,
    /// Channels of the input image.
    pub input_channels: usize,
    /// Elastic numbers of blocks beyond the base depth, ascending.
    #[serde(alias = "depth_list")]
    pub depths: Vec<usize>,
    /// Elastic expansion ratios, ascending.
    #[serde(alias = "expand_ratio_list")]
    pub expand_ratios: Vec<f64>,
    /// Elastic width multipliers, ascending.
    #[serde(alias = "width_mult_list")]
    pub widths: Vec<f64>,
    /// Elastic resolutions, ascending.
    pub resolutions: Vec<u32>,
    /// Epsilon of batch norm.
    pub bn_eps: f64,
    /// Output channels of the stem, before the width multiplier.
    pub stem_channels: usize,
    /// Elastic stages.
    pub stages: Vec<ResNetStage>,
}

/// One elastic stage.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetStage {
    /// Output channels, before the width multiplier.
    pub channels: usize,
    /// Stride of the stage's first block.
    pub stride: usize,
    /// Blocks that the stage always has.
    pub base_depth: usize,
}

impl Default for ResNetConfig {
    /// The authors' space (`OFAResNets` in `ofa_resnets.py`).
    fn default() -> Self {
        let stage = |channels, stride, base_depth| ResNetStage { channels, stride, base_depth };
        Self {
            name: "resnet50".into(),
            classes: 1000,
            input_channels: 3,
            depths: vec![0, 1, 2],
            expand_ratios: vec![0.2, 0.25, 0.35],
            widths: vec![0.65, 0.8, 1.0],
            resolutions: (128..=224).step_by(4).collect(),
            bn_eps: 1e-5,
            stem_channels: 64,
            stages: vec![stage(256, 1, 2), stage(512, 2, 2), stage(1024, 2, 4), stage(2048, 2, 2)],
        }
    }
}

/// Channel counts of one elastic width, one for each multiplier.
#[derive(Clone, PartialEq, Debug)]
struct Choices(Vec<usize>);

impl Choices {
    fn new(channels: usize, widths: &[f64]) -> Self {
        Self(widths.iter().map(|width| make_divisible(channels as f64 * width, 8)).collect())
    }

    fn take(&self, choice: usize) -> Width {
        Width { take: self.0[choice], full: self.0.iter().copied().max().unwrap_or(0) }
    }
}

/// A checked ResNet-50-like space.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "ResNetConfig", into = "ResNetConfig")]
pub struct ResNet {
    config: ResNetConfig,
    stem_middle: Choices,
    stem: Choices,
    stages: Vec<Choices>,
    info: SpaceInfo,
}

impl From<ResNet> for ResNetConfig {
    fn from(space: ResNet) -> Self {
        space.config
    }
}

impl TryFrom<ResNetConfig> for ResNet {
    type Error = SpaceError;

    fn try_from(config: ResNetConfig) -> Result<Self, SpaceError> {
        let refused = |invalid| SpaceError::config(&config.name, invalid);
        config.check().map_err(refused)?;
        let stem = Choices::new(config.stem_channels, &config.widths);
        let stem_middle = Choices(stem.0.iter().map(|channels| make_divisible((channels / 2) as f64, 8)).collect());
        let stages = config.stages.iter().map(|stage| Choices::new(stage.channels, &config.widths)).collect();
        let info = SpaceInfo {
            name: config.name.clone(),
            input_channels: config.input_channels,
            classes: config.classes,
            resolutions: config.resolutions.clone(),
            genes: config.genes(),
        };
        info.check().map_err(refused)?;
        Ok(Self { config, stem_middle, stem, stages, info })
    }
}

impl Settings for ResNetConfig {
    /// Refuses values that no network can have; [`SpaceInfo`] refuses those of the fields that it holds.
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("bn_eps", self.bn_eps, EPSILON)?;
        settings::ascending("depths", &as_numbers(&self.depths), 0.0..=16.0)?;
        settings::ascending("expand_ratios", &self.expand_ratios, 0.01..=4.0)?;
        settings::ascending("widths", &self.widths, 0.05..=8.0)?;
        settings::count("stem_channels", self.stem_channels, 1..=65_536)?;
        settings::count("stages", self.stages.len(), 1..=32)?;
        for (index, stage) in self.stages.iter().enumerate() {
            let within = |problem: InvalidSetting| problem.within(&format!("stages[{index}]"));
            settings::count("channels", stage.channels, 1..=65_536).map_err(within)?;
            settings::count("stride", stage.stride, 1..=4).map_err(within)?;
            settings::count("base_depth", stage.base_depth, 1..=64).map_err(within)?;
        }
        Ok(())
    }
}

impl ResNetConfig {
    fn max_depth(&self) -> usize {
        self.depths.last().copied().unwrap_or(0)
    }

    /// Blocks of a stage in the supernet.
    fn slots(&self, stage: &ResNetStage) -> usize {
        stage.base_depth + self.max_depth()
    }

    /// `d` of the stem's block and of every stage, `e` of every block, `w` of the stem's middle, the stem and every
    /// stage.
    fn genes(&self) -> Vec<Gene> {
        // The stem's block is there or not: only the largest depth keeps it.
        let mut stem_depths = vec![self.depths[0], self.max_depth()];
        stem_depths.dedup();
        let mut genes = vec![Gene::depth(0, &stem_depths)];
        genes.extend((1..=self.stages.len()).map(|index| Gene::depth(index, &self.depths)));
        let mut index = 0;
        for (s, stage) in self.stages.iter().enumerate() {
            for slot in 0..self.slots(stage) {
                let expansion = Gene::expansion(index, &self.expand_ratios);
                let beyond_base = (slot + 1).saturating_sub(stage.base_depth);
                genes.push(match beyond_base > self.depths[0] {
                    true => expansion.only_if(1 + s, beyond_base as f64),
                    false => expansion,
                });
                index += 1;
            }
        }
        let multipliers: Vec<f64> = (0..self.widths.len()).map(|index| index as f64).collect();
        genes.extend((0..self.stages.len() + 2).map(|index| Gene::width(index, &multipliers)));
        genes
    }
}

impl ResNet {
    /// Blocks of the stem: a convolution, a residual one if the arch has it, one more, and pooling.
    fn stem(&self, input: Shape, middle: Width, output: Width, has_residual: bool) -> Vec<Block> {
        let eps = self.config.bn_eps;
        let mut blocks: Vec<Block> = Vec::new();

        let mut block = BlockBuilder::new("input_stem.0", "input_stem.0", input);
        block
            .conv("conv", "conv.conv", ConvShape::dense(Width::fixed(input[0]), middle, 3, 2))
            .batch_norm("bn", "bn.bn", middle, eps)
            .activation("act", Activation::Relu);
        blocks.push(block.finish(BlockKind::Stem { kernel: 3, stride: 2 }));

        if has_residual {
            let mut block = BlockBuilder::new("input_stem.1", "input_stem.1", output_of(&blocks, input));
            block
                .conv("conv.conv", "conv.conv.conv", ConvShape::dense(middle, middle, 3, 1))
                .batch_norm("conv.bn", "conv.bn.bn", middle, eps)
                .activation("conv.act", Activation::Relu)
                .add("shortcut", 0);
            blocks.push(block.finish(BlockKind::Stem { kernel: 3, stride: 1 }));
        }

        let name = format!("input_stem.{}", blocks.len());
        let mut block = BlockBuilder::new(name, "input_stem.2", output_of(&blocks, input));
        block
            .conv("conv", "conv.conv", ConvShape::dense(middle, output, 3, 1))
            .batch_norm("bn", "bn.bn", output, eps)
            .activation("act", Activation::Relu);
        blocks.push(block.finish(BlockKind::Stem { kernel: 3, stride: 1 }));

        let mut block = BlockBuilder::new("max_pooling", "max_pooling", output_of(&blocks, input));
        block.max_pool("", 3, 2);
        blocks.push(block.finish(BlockKind::Pool));
        blocks
    }
}

#[typetag::serde(name = "resnet50")]
impl SearchSpace for ResNet {
    fn info(&self) -> &SpaceInfo {
        &self.info
    }

    fn resolve(&self, arch: &Arch) -> Result<NetSpec, SpaceError> {
        let config = &self.config;
        let resolution = self.resolution_of(arch)?;
        let input = [config.input_channels, resolution, resolution];
        let genes = &self.info.genes;
        let value = |gene: usize| genes[gene].choices[arch.choices()[gene] as usize];
        let stages = config.stages.len();
        let first_expansion = 1 + stages;
        let slots: usize = config.stages.iter().map(|stage| config.slots(stage)).sum();
        let width = |index: usize| usize::from(arch.choices()[first_expansion + slots + index]);

        let stem_output = self.stem.take(width(1));
        let has_residual = value(0) == config.max_depth() as f64;
        let mut blocks = self.stem(input, self.stem_middle.take(width(0)), stem_output, has_residual);

        let stem_blocks = blocks.len();
        let (mut block_input, mut input_choices) = (stem_output, &self.stem);
        let mut first_slot = 0;
        for (s, stage) in config.stages.iter().enumerate() {
            let output = self.stages[s].take(width(2 + s));
            for slot in 0..stage.base_depth + value(1 + s) as usize {
                let stride = if slot == 0 { stage.stride } else { 1 };
                // The supernet's choices decide, not this subnet's widths, which may be equal by chance.
                let is_identity = stride == 1 && *input_choices == self.stages[s];
                let block = Bottleneck {
                    index: blocks.len() - stem_blocks,
                    supernet_index: first_slot + slot,
                    input: block_input,
                    output,
                    stride,
                    expansion: value(first_expansion + first_slot + slot),
                    max_expansion: config.expand_ratios[config.expand_ratios.len() - 1],
                    shortcut: if is_identity { Shortcut::Identity } else { Shortcut::PoolAndProject },
                    bn_eps: config.bn_eps,
                };
                let block = block.elastic(output_of(&blocks, input));
                blocks.push(block);
                (block_input, input_choices) = (output, &self.stages[s]);
            }
            first_slot += config.slots(stage);
        }

        blocks.push(global_pool_block(output_of(&blocks, input)));
        blocks.push(classifier_block(output_of(&blocks, input), "linear.linear", block_input, config.classes));
        Ok(NetSpec { input, classes: config.classes, blocks })
    }
}

inventory::submit! {
    SpaceEntry {
        name: "ofa-resnet50",
        about: "the authors' ResNet-50 space: elastic depth, expansion and width (ImageNet, 128-224 px)",
        build: || {
            let config = ResNetConfig { name: "ofa-resnet50".into(), ..ResNetConfig::default() };
            Ok(Arc::new(ResNet::try_from(config)?))
        },
    }
}
