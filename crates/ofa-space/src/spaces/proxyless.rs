//! The ProxylessNAS family: inverted residuals with ReLU6, without squeeze-excite.

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

/// Configuration of a ProxylessNAS-like space; what is left out takes the authors' value. The names of the authors'
/// constructor arguments (`width_mult`, `n_classes`, `ks_list`, `expand_ratio_list`, `depth_list`) are read too.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `name` | `proxyless` | name in outputs | not empty |
/// | `width` | 1.0 | multiplies every channel count, rounded to multiples of 8 | 0.05–8 |
/// | `classes` | 1000 | number of logits | ≥ 2 |
/// | `input_channels` | 3 | 1 for grey images | 1–16 |
/// | `kernel_sizes` | 3, 5, 7 | elastic kernel sizes | odd, ascending |
/// | `expand_ratios` | 3, 4, 6 | elastic expansion | ascending, 1–16 |
/// | `depths` | 2, 3, 4 | elastic depth of every stage that names none of its own | ascending, ≥ 1 |
/// | `resolutions` | 128, 132, …, 224 | elastic input size | ascending |
/// | `bn_eps` | 1e-3 | epsilon of batch norm | > 0 |
/// | `stem_channels`, `stem_stride` | 32, 2 | the first convolution | |
/// | `first_block_channels` | 16 | the fixed block after it, which never has a shortcut | |
/// | `stages` | 24, 40, 80, 96, 192 and 320 channels | `channels`, `stride`, `depths` of each; the last has depth 1 | at least one |
/// | `feature_mix_channels` | 1280 | 1×1 convolution before pooling | |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxylessConfig {
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
    /// Channels of the first convolution, before the width multiplier.
    pub stem_channels: usize,
    /// Stride of the first convolution.
    pub stem_stride: usize,
    /// Channels of the fixed block, before the width multiplier.
    pub first_block_channels: usize,
    /// Elastic stages.
    pub stages: Vec<ProxylessStage>,
    /// Channels of the 1×1 convolution before pooling, before the width multiplier.
    pub feature_mix_channels: usize,
}

/// One elastic stage.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxylessStage {
    /// Output channels, before the width multiplier.
    pub channels: usize,
    /// Stride of the stage's first block.
    pub stride: usize,
    /// Elastic depths of this stage, instead of the space's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depths: Option<Vec<usize>>,
}

impl ProxylessStage {
    fn new(channels: usize, stride: usize) -> Self {
        Self { channels, stride, depths: None }
    }
}

impl Default for ProxylessConfig {
    /// The authors' space at width 1.0 (`OFAProxylessNASNets` in `ofa_proxyless.py`).
    fn default() -> Self {
        Self {
            name: "proxyless".into(),
            width: 1.0,
            classes: 1000,
            input_channels: 3,
            kernel_sizes: vec![3, 5, 7],
            expand_ratios: vec![3.0, 4.0, 6.0],
            depths: vec![2, 3, 4],
            resolutions: (128..=224).step_by(4).collect(),
            bn_eps: 1e-3,
            stem_channels: 32,
            stem_stride: 2,
            first_block_channels: 16,
            stages: vec![
                ProxylessStage::new(24, 2),
                ProxylessStage::new(40, 2),
                ProxylessStage::new(80, 2),
                ProxylessStage::new(96, 1),
                ProxylessStage::new(192, 2),
                ProxylessStage { depths: Some(vec![1]), ..ProxylessStage::new(320, 1) },
            ],
            feature_mix_channels: 1280,
        }
    }
}

impl ProxylessConfig {
    fn width(&self, channels: usize) -> Width {
        Width::fixed(make_divisible(channels as f64 * self.width, 8))
    }

    fn mobile_stages(&self) -> MobileStages {
        let stage = |stage: &ProxylessStage| MobileStage {
            channels: self.width(stage.channels).full,
            stride: stage.stride,
            activation: Activation::Relu6,
            squeeze_excite: false,
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

impl Settings for ProxylessConfig {
    /// Refuses values that no network can have; [`SpaceInfo`] refuses those of the fields that it holds.
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("width", self.width, 0.05..=8.0)?;
        settings::count("stem_channels", self.stem_channels, 1..=65_536)?;
        settings::count("stem_stride", self.stem_stride, 1..=4)?;
        settings::count("first_block_channels", self.first_block_channels, 1..=65_536)?;
        settings::count("feature_mix_channels", self.feature_mix_channels, 1..=65_536)?;
        self.mobile_stages().check()
    }
}

/// A checked ProxylessNAS-like space.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "ProxylessConfig", into = "ProxylessConfig")]
pub struct Proxyless {
    config: ProxylessConfig,
    stages: MobileStages,
    info: SpaceInfo,
}

impl From<Proxyless> for ProxylessConfig {
    fn from(space: Proxyless) -> Self {
        space.config
    }
}

impl TryFrom<ProxylessConfig> for Proxyless {
    type Error = SpaceError;

    fn try_from(config: ProxylessConfig) -> Result<Self, SpaceError> {
        let (stages, info) = mobile_stages::checked(
            &config,
            ProxylessConfig::mobile_stages,
            (&config.name, config.classes),
            (config.input_channels, &config.resolutions),
        )?;
        Ok(Self { config, stages, info })
    }
}

#[typetag::serde(name = "proxyless")]
impl SearchSpace for Proxyless {
    fn info(&self) -> &SpaceInfo {
        &self.info
    }

    fn resolve(&self, arch: &Arch) -> Result<NetSpec, SpaceError> {
        const ACTIVATION: Activation = Activation::Relu6;
        let config = &self.config;
        let resolution = self.resolution_of(arch)?;
        let input = [config.input_channels, resolution, resolution];
        let stem = config.width(config.stem_channels);

        let conv = ConvShape::dense(Width::fixed(config.input_channels), stem, 3, config.stem_stride);
        let kind = BlockKind::Stem { kernel: 3, stride: config.stem_stride };
        let mut blocks = vec![conv_block("first_conv", input, conv, Some(config.bn_eps), ACTIVATION, kind)];

        let first_width = config.width(config.first_block_channels);
        let first = InvertedResidual {
            index: 0,
            supernet_index: 0,
            input: stem,
            output: first_width,
            kernel: ElasticKernel { take: 3, sizes: vec![3] },
            stride: 1,
            expansion: 1.0,
            max_expansion: 1.0,
            // The authors give it none even where narrow widths round to the same number of channels.
            residual: false,
            activation: ACTIVATION,
            squeeze_excite: false,
            bn_eps: config.bn_eps,
        };
        blocks.push(first.fixed(blocks[0].output, None));
        let shape = blocks[1].output;
        blocks.extend(self.stages.blocks(arch, &self.info.genes, first_width, shape));
        let shape = output_of(&blocks, shape);

        let mix = config.width(config.feature_mix_channels);
        let conv = ConvShape::dense(Width::fixed(shape[0]), mix, 1, 1);
        let kind = BlockKind::FeatureMix { activation: ACTIVATION };
        blocks.push(conv_block("feature_mix_layer", shape, conv, Some(config.bn_eps), ACTIVATION, kind));
        blocks.push(global_pool_block(output_of(&blocks, shape)));
        blocks.push(classifier_block(output_of(&blocks, shape), "linear", mix, config.classes));
        Ok(NetSpec { input, classes: config.classes, blocks })
    }
}

inventory::submit! {
    SpaceEntry {
        name: "ofa-proxyless-w1.3",
        about: "the authors' ProxylessNAS space, width 1.3 (ImageNet, 128-224 px)",
        build: || {
            let config = ProxylessConfig { name: "ofa-proxyless-w1.3".into(), width: 1.3, ..ProxylessConfig::default() };
            Ok(Arc::new(Proxyless::try_from(config)?))
        },
    }
}
