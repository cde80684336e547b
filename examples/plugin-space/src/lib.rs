//! An example search space: depthwise separable convolutions (MobileNetV1) with elastic kernel size and depth.
//!
//! A space is two functions: `info` lists the genes, `resolve` turns an arch into a network. Counting, sampling,
//! training, prediction, search, extraction and export follow from them.
#![forbid(unsafe_code)]

use inventory::submit;
use ofa::space::network::block_builder::{BlockBuilder, ConvShape, ElasticKernel, Width};
use ofa::space::settings::{self, InvalidSetting, Settings};
use ofa::space::{Activation, Block, BlockKind, Shape};
use ofa::space::{Arch, Gene, NetSpec, SearchSpace, SpaceEntry, SpaceError, SpaceInfo};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Configuration of the space.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `classes` | 10 | number of logits | ≥ 2 |
/// | `input_channels` | 1 | 1 for grey images, 3 for colour | 1–16 |
/// | `channels` | 16, 32, 64 | output channels of every stage; each but the first halves the image | 1–8 stages |
/// | `kernel_sizes` | 3, 5 | elastic kernel sizes | odd, ascending |
/// | `depths` | 1, 2, 3 | elastic depth of every stage | ascending |
/// | `resolutions` | 20, 24, 28 | elastic input size | ascending |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    classes: usize,
    input_channels: usize,
    channels: Vec<usize>,
    kernel_sizes: Vec<usize>,
    depths: Vec<usize>,
    resolutions: Vec<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            classes: 10,
            input_channels: 1,
            channels: vec![16, 32, 64],
            kernel_sizes: vec![3, 5],
            depths: vec![1, 2, 3],
            resolutions: vec![20, 24, 28],
        }
    }
}

/// A checked space.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Config", into = "Config")]
pub struct Separable {
    config: Config,
    info: SpaceInfo,
}

impl From<Separable> for Config {
    fn from(space: Separable) -> Self {
        space.config
    }
}

impl Settings for Config {
    /// Refuses what the genes and blocks cannot be made of.
    fn check(&self) -> Result<(), InvalidSetting> {
        let numbers = |counts: &[usize]| counts.iter().map(|count| *count as f64).collect::<Vec<f64>>();
        if !(1..=8).contains(&self.channels.len()) {
            let problem = format!("is {:?}, expected one count for each of 1 to 8 stages", self.channels);
            return Err(InvalidSetting::new("channels", problem));
        }
        for channels in &self.channels {
            settings::count("channels", *channels, 1..=65_536)?;
        }
        settings::ascending("kernel_sizes", &numbers(&self.kernel_sizes), 1.0..=15.0)?;
        if let Some(even) = self.kernel_sizes.iter().find(|size| **size % 2 == 0) {
            return Err(InvalidSetting::new("kernel_sizes", format!("holds {even}, expected odd sizes")));
        }
        settings::ascending("depths", &numbers(&self.depths), 1.0..=16.0)
    }
}

impl TryFrom<Config> for Separable {
    type Error = SpaceError;

    fn try_from(config: Config) -> Result<Self, SpaceError> {
        let refused = |invalid| SpaceError::config("separable", invalid);
        config.check().map_err(refused)?;
        let info = SpaceInfo {
            name: "separable".into(),
            input_channels: config.input_channels,
            classes: config.classes,
            resolutions: config.resolutions.clone(),
            genes: genes(&config),
        };
        // Name, classes, input channels, resolutions and genes.
        info.check().map_err(refused)?;
        Ok(Self { config, info })
    }
}

/// A kernel size for every block, then a depth for every stage.
fn genes(config: &Config) -> Vec<Gene> {
    let max_depth = config.depths[config.depths.len() - 1];
    let blocks = config.channels.len() * max_depth;
    let kernel = |block: usize| {
        // A block beyond its stage's depth is left out, and its genes do not count.
        let depth_gene = blocks + block / max_depth;
        Gene::kernel_size(block, &config.kernel_sizes).only_if(depth_gene, (block % max_depth + 1) as f64)
    };
    let depth = |stage: usize| Gene::depth(stage, &config.depths);
    (0..blocks).map(kernel).chain((0..config.channels.len()).map(depth)).collect()
}

const BN_EPS: f64 = 1e-5;

#[typetag::serde(name = "separable")]
impl SearchSpace for Separable {
    fn info(&self) -> &SpaceInfo {
        &self.info
    }

    fn resolve(&self, arch: &Arch) -> Result<NetSpec, SpaceError> {
        let config = &self.config;
        let resolution = self.resolution_of(arch)?;
        let value = |gene: usize| self.info.genes[gene].choices[arch.choices()[gene] as usize] as usize;
        let max_depth = config.depths[config.depths.len() - 1];
        let elastic_blocks = config.channels.len() * max_depth;
        let input = [config.input_channels, resolution, resolution];

        let stem = Width::fixed(config.channels[0]);
        let mut first = BlockBuilder::new("stem", "stem", input);
        first
            .conv("conv", "conv", ConvShape::dense(Width::fixed(config.input_channels), stem, 3, 2))
            .batch_norm("bn", "bn", stem, BN_EPS)
            .activation("act", Activation::Relu);
        let mut blocks = vec![first.finish(BlockKind::Stem { kernel: 3, stride: 2 })];

        let mut width = stem;
        for (stage, channels) in config.channels.iter().enumerate() {
            for slot in 0..value(elastic_blocks + stage) {
                let gene = stage * max_depth + slot;
                let shape = blocks[blocks.len() - 1].output;
                let stride = if stage > 0 && slot == 0 { 2 } else { 1 };
                let output = Width::fixed(*channels);
                // The block's tensors live under its place in the supernet, wherever it stands in this network.
                blocks.push(self.block(blocks.len(), gene + 1, shape, value(gene), stride, (width, output)));
                width = output;
            }
        }

        let mut pool = BlockBuilder::new("pool", "pool", blocks[blocks.len() - 1].output);
        pool.global_average_pool("");
        let pooled = pool.shape();
        blocks.push(pool.finish(BlockKind::Pool));
        let mut classifier = BlockBuilder::new("classifier", "classifier", pooled);
        classifier.linear("linear", "linear", width, config.classes);
        blocks.push(classifier.finish(BlockKind::Classifier));
        Ok(NetSpec { input, classes: config.classes, blocks })
    }
}

impl Separable {
    /// Depthwise convolution of an elastic kernel, then a pointwise one.
    fn block(
        &self,
        index: usize,
        place: usize,
        shape: Shape,
        kernel: usize,
        stride: usize,
        (input, output): (Width, Width),
    ) -> Block {
        let sizes = self.config.kernel_sizes.iter().rev().copied().collect();
        let mut block = BlockBuilder::new(format!("blocks.{index}"), format!("blocks.{place}"), shape);
        block
            .elastic_depthwise("depth", "depth", "depth", input, &ElasticKernel { take: kernel, sizes }, stride)
            .batch_norm("depth_bn", "depth_bn", input, BN_EPS)
            .activation("depth_act", Activation::Relu)
            .conv("point", "point", ConvShape::dense(input, output, 1, 1))
            .batch_norm("point_bn", "point_bn", output, BN_EPS)
            .activation("point_act", Activation::Relu);
        // For listings, drawings and lookup tables: an inverted residual without expansion.
        block.finish(BlockKind::InvertedResidual {
            kernel,
            stride,
            expansion: 1.0,
            middle: input.take,
            residual: false,
            squeeze_excite: false,
            activation: Activation::Relu,
        })
    }
}

submit! {
    SpaceEntry {
        name: "separable",
        about: "example plugin: depthwise separable convolutions for small grey images",
        build: || Ok(Arc::new(Separable::try_from(Config::default())?)),
    }
}
