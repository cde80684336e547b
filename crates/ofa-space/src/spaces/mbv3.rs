//! The MobileNetV3 family: the paper's spaces, and small ones of ours for 28- and 32-pixel images.

use crate::error::SpaceError;
use crate::genotype::arch::Arch;
use crate::network::block_builder::{ConvShape, ElasticKernel, Width, classifier_block, conv_block, global_pool_block};
use crate::network::channels::make_divisible;
use crate::network::inverted_residual::InvertedResidual;
use crate::network::net_spec::{BlockKind, NetSpec, output_of};
use crate::network::operation::Activation;
use crate::settings::{self, InvalidSetting, Settings};
use crate::spaces::mobile_stages::{self, MobileStage, MobileStages};
use crate::spaces::registry::SpaceEntry;
use crate::spaces::space::{SearchSpace, SpaceInfo};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Configuration of a MobileNetV3-like space; what is left out takes the paper's value. The names of the authors'
/// constructor arguments (`width_mult`, `n_classes`, `ks_list`, `expand_ratio_list`, `depth_list`) are read too.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `name` | `mbv3` | name in outputs | not empty |
/// | `width` | 1.0 | multiplies every channel count, rounded to multiples of 8 | 0.05–8 |
/// | `classes` | 1000 | number of logits | ≥ 2 |
/// | `input_channels` | 3 | 1 for grey images | 1–16 |
/// | `kernel_sizes` | 3, 5, 7 | elastic kernel sizes | odd, ascending |
/// | `expand_ratios` | 3, 4, 6 | elastic expansion | ascending, 1–16 |
/// | `depths` | 2, 3, 4 | elastic depth of every stage | ascending, ≥ 1 |
/// | `resolutions` | 128, 132, …, 224 | elastic input size | ascending |
/// | `bn_eps` | 1e-5 | epsilon of batch norm | > 0 |
/// | `stem_channels`, `stem_stride` | 16, 2 | the first convolution, and the fixed block after it | |
/// | `stages` | the paper's five | `channels`, `stride`, `activation`, `squeeze_excite`, `depths` of each | at least one |
/// | `final_expand_channels` | 960 | 1×1 convolution before pooling | |
/// | `feature_mix_channels` | 1280 | 1×1 convolution after pooling | |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mbv3Config {
    /// Name in outputs.
    pub name: String,
    /// Width multiplier.
    #[serde(alias = "width_mult")]
    pub width: f64,
    /// Number of logits.
    #[serde(alias = "n_classes")]
    pub classes: usize,
    /// Channels of the input image.
    pub input_channels: usize,
    /// Elastic kernel sizes, ascending.
    #[serde(alias = "ks_list")]
    pub kernel_sizes: Vec<usize>,
    /// Elastic expansion ratios, ascending.
    #[serde(alias = "expand_ratio_list")]
    pub expand_ratios: Vec<f64>,
    /// Elastic depths, ascending.
    #[serde(alias = "depth_list")]
    pub depths: Vec<usize>,
    /// Elastic resolutions, ascending.
    pub resolutions: Vec<u32>,
    /// Epsilon of batch norm.
    pub bn_eps: f64,
    /// Channels of the first convolution and of the fixed block, before the width multiplier.
    pub stem_channels: usize,
    /// Stride of the first convolution.
    pub stem_stride: usize,
    /// Elastic stages.
    pub stages: Vec<Mbv3Stage>,
    /// Channels of the 1×1 convolution before pooling, before the width multiplier.
    pub final_expand_channels: usize,
    /// Channels of the 1×1 convolution after pooling, before the width multiplier.
    pub feature_mix_channels: usize,
}

/// One elastic stage.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mbv3Stage {
    /// Output channels, before the width multiplier.
    pub channels: usize,
    /// Stride of the stage's first block.
    pub stride: usize,
    /// Nonlinearity.
    pub activation: Activation,
    /// Whether blocks have a squeeze-excite.
    #[serde(default)]
    pub squeeze_excite: bool,
    /// Elastic depths of this stage, instead of the space's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depths: Option<Vec<usize>>,
}

impl Mbv3Stage {
    fn new(channels: usize, stride: usize, activation: Activation, squeeze_excite: bool) -> Self {
        Self { channels, stride, activation, squeeze_excite, depths: None }
    }
}

impl Default for Mbv3Config {
    /// The paper's space at width 1.0 (`OFAMobileNetV3` in the authors' `ofa_mbv3.py`).
    fn default() -> Self {
        use Activation::{HSwish, Relu};
        Self {
            name: "mbv3".into(),
            width: 1.0,
            classes: 1000,
            input_channels: 3,
            kernel_sizes: vec![3, 5, 7],
            expand_ratios: vec![3.0, 4.0, 6.0],
            depths: vec![2, 3, 4],
            resolutions: (128..=224).step_by(4).collect(),
            bn_eps: 1e-5,
            stem_channels: 16,
            stem_stride: 2,
            stages: vec![
                Mbv3Stage::new(24, 2, Relu, false),
                Mbv3Stage::new(40, 2, Relu, true),
                Mbv3Stage::new(80, 2, HSwish, false),
                Mbv3Stage::new(112, 1, HSwish, true),
                Mbv3Stage::new(160, 2, HSwish, true),
            ],
            final_expand_channels: 960,
            feature_mix_channels: 1280,
        }
    }
}

/// A checked MobileNetV3-like space.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Mbv3Config", into = "Mbv3Config")]
pub struct Mbv3 {
    config: Mbv3Config,
    stages: MobileStages,
    info: SpaceInfo,
}

impl From<Mbv3> for Mbv3Config {
    fn from(space: Mbv3) -> Self {
        space.config
    }
}

impl TryFrom<Mbv3Config> for Mbv3 {
    type Error = SpaceError;

    fn try_from(config: Mbv3Config) -> Result<Self, SpaceError> {
        let (stages, info) = mobile_stages::checked(
            &config,
            Mbv3Config::mobile_stages,
            (&config.name, config.classes),
            (config.input_channels, &config.resolutions),
        )?;
        Ok(Self { config, stages, info })
    }
}

impl Settings for Mbv3Config {
    /// Refuses values that no network can have; [`SpaceInfo`] refuses those of the fields that it holds.
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("width", self.width, 0.05..=8.0)?;
        settings::count("stem_channels", self.stem_channels, 1..=65_536)?;
        settings::count("stem_stride", self.stem_stride, 1..=4)?;
        settings::count("final_expand_channels", self.final_expand_channels, 1..=65_536)?;
        settings::count("feature_mix_channels", self.feature_mix_channels, 1..=65_536)?;
        self.mobile_stages().check()
    }
}

impl Mbv3Config {
    fn width(&self, channels: usize) -> Width {
        Width::fixed(make_divisible(channels as f64 * self.width, 8))
    }

    fn mobile_stages(&self) -> MobileStages {
        let stage = |stage: &Mbv3Stage| MobileStage {
            channels: self.width(stage.channels).full,
            stride: stage.stride,
            activation: stage.activation,
            squeeze_excite: stage.squeeze_excite,
            depths: stage.depths.clone().unwrap_or_else(|| self.depths.clone()),
        };
        MobileStages {
            kernel_sizes: self.kernel_sizes.clone(),
            expand_ratios: self.expand_ratios.clone(),
            stages: self.stages.iter().map(stage).collect(),
            bn_eps: self.bn_eps,
        }
    }
}

#[typetag::serde(name = "mbv3")]
impl SearchSpace for Mbv3 {
    fn info(&self) -> &SpaceInfo {
        &self.info
    }

    fn resolve(&self, arch: &Arch) -> Result<NetSpec, SpaceError> {
        let config = &self.config;
        let resolution = self.resolution_of(arch)?;
        let input = [config.input_channels, resolution, resolution];
        let stem = config.width(config.stem_channels);

        let conv = ConvShape::dense(Width::fixed(config.input_channels), stem, 3, config.stem_stride);
        let kind = BlockKind::Stem { kernel: 3, stride: config.stem_stride };
        let mut blocks = vec![conv_block("first_conv", input, conv, Some(config.bn_eps), Activation::HSwish, kind)];

        let first = InvertedResidual {
            index: 0,
            supernet_index: 0,
            input: stem,
            output: stem,
            kernel: ElasticKernel { take: 3, sizes: vec![3] },
            stride: 1,
            expansion: 1.0,
            max_expansion: 1.0,
            residual: true,
            activation: Activation::Relu,
            squeeze_excite: false,
            bn_eps: config.bn_eps,
        };
        blocks.push(first.fixed(blocks[0].output, None));
        let shape = blocks[1].output;
        blocks.extend(self.stages.blocks(arch, &self.info.genes, stem, shape));
        let shape = output_of(&blocks, shape);

        const ACTIVATION: Activation = Activation::HSwish;
        let expand = config.width(config.final_expand_channels);
        let conv = ConvShape::dense(Width::fixed(shape[0]), expand, 1, 1);
        let kind = BlockKind::FinalExpand { activation: ACTIVATION };
        blocks.push(conv_block("final_expand_layer", shape, conv, Some(config.bn_eps), ACTIVATION, kind));
        blocks.push(global_pool_block(output_of(&blocks, shape)));
        // The reference's feature_mix_layer has neither batch norm nor bias.
        let mix = config.width(config.feature_mix_channels);
        let kind = BlockKind::FeatureMix { activation: ACTIVATION };
        let conv = ConvShape::dense(expand, mix, 1, 1);
        blocks.push(conv_block("feature_mix_layer", output_of(&blocks, shape), conv, None, ACTIVATION, kind));
        blocks.push(classifier_block(output_of(&blocks, shape), "linear", mix, config.classes));
        Ok(NetSpec { input, classes: config.classes, blocks })
    }
}

fn build(config: Mbv3Config) -> Result<Arc<dyn SearchSpace>, SpaceError> {
    Ok(Arc::new(Mbv3::try_from(config)?))
}

inventory::submit! {
    SpaceEntry {
        name: "ofa-mbv3-w1.0",
        about: "the paper's MobileNetV3 space, width 1.0 (ImageNet, 128-224 px)",
        build: || build(Mbv3Config { name: "ofa-mbv3-w1.0".into(), ..Mbv3Config::default() }),
    }
}

inventory::submit! {
    SpaceEntry {
        name: "ofa-mbv3-w1.2",
        about: "the paper's MobileNetV3 space, width 1.2 (ImageNet, 128-224 px)",
        build: || build(Mbv3Config { name: "ofa-mbv3-w1.2".into(), width: 1.2, ..Mbv3Config::default() }),
    }
}

inventory::submit! {
    SpaceEntry {
        name: "tiny-28",
        about: "small MobileNetV3-like space for grey 20-28 px images (MNIST): the quickstart's",
        build: || build(tiny_28()),
    }
}

inventory::submit! {
    SpaceEntry {
        name: "cifar-32",
        about: "MobileNetV3-like space for colour 20-32 px images (CIFAR-10)",
        build: || build(cifar_32()),
    }
}

/// The quickstart's space: 0.4-4.6 M MACs, all four dimensions elastic.
fn tiny_28() -> Mbv3Config {
    use Activation::{HSwish, Relu};
    Mbv3Config {
        name: "tiny-28".into(),
        classes: 10,
        input_channels: 1,
        expand_ratios: vec![2.0, 3.0, 4.0],
        depths: vec![2, 3],
        resolutions: vec![20, 24, 28],
        stem_channels: 8,
        stages: vec![Mbv3Stage::new(16, 1, Relu, false), Mbv3Stage::new(32, 2, HSwish, true)],
        final_expand_channels: 96,
        feature_mix_channels: 128,
        ..Mbv3Config::default()
    }
}

/// Three stages at 32, 16 and 8 pixels, for CIFAR-sized images.
fn cifar_32() -> Mbv3Config {
    use Activation::{HSwish, Relu};
    Mbv3Config {
        name: "cifar-32".into(),
        classes: 10,
        resolutions: vec![20, 24, 28, 32],
        stem_stride: 1,
        stages: vec![
            Mbv3Stage::new(24, 2, Relu, false),
            Mbv3Stage::new(40, 1, Relu, true),
            Mbv3Stage::new(80, 2, HSwish, true),
        ],
        final_expand_channels: 320,
        feature_mix_channels: 640,
        ..Mbv3Config::default()
    }
}
