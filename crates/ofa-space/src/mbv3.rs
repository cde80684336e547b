//! The MobileNetV3 family: the paper's spaces, and small ones of ours for 28- and 32-pixel images.

use crate::arch::Arch;
use crate::block_builder::{BlockBuilder, ConvShape, ElasticKernel, Width};
use crate::channels::make_divisible;
use crate::error::SpaceError;
use crate::gene::{ActiveWhen, Dimension, Gene};
use crate::inverted_residual::InvertedResidual;
use crate::net_spec::{Activation, BlockKind, NetSpec};
use crate::registry::SpaceEntry;
use crate::space::{SearchSpace, SpaceInfo};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Configuration of a MobileNetV3-like space; what is left out takes the paper's value.
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
/// | `stages` | the paper's five | `channels`, `stride`, `activation`, `squeeze_excite` of each | at least one |
/// | `final_expand_channels` | 960 | 1×1 convolution before pooling | |
/// | `feature_mix_channels` | 1280 | 1×1 convolution after pooling | |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mbv3Config {
    /// Name in outputs.
    pub name: String,
    /// Width multiplier.
    pub width: f64,
    /// Number of logits.
    pub classes: usize,
    /// Channels of the input image.
    pub input_channels: usize,
    /// Elastic kernel sizes, ascending.
    pub kernel_sizes: Vec<usize>,
    /// Elastic expansion ratios, ascending.
    pub expand_ratios: Vec<f64>,
    /// Elastic depths, ascending.
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
}

impl Mbv3Stage {
    fn new(channels: usize, stride: usize, activation: Activation, squeeze_excite: bool) -> Self {
        Self { channels, stride, activation, squeeze_excite }
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
        check(&config)?;
        let info = SpaceInfo {
            name: config.name.clone(),
            input_channels: config.input_channels,
            classes: config.classes,
            resolutions: config.resolutions.clone(),
            genes: genes(&config),
        };
        Ok(Self { config, info })
    }
}

/// Refuses values that no network can have.
fn check(config: &Mbv3Config) -> Result<(), SpaceError> {
    let fail = |field: &str, problem: String| {
        Err(SpaceError::Config { space: config.name.clone(), field: field.to_owned(), problem })
    };
    if config.name.is_empty() {
        return fail("name", "is empty".into());
    }
    if !(0.05..=8.0).contains(&config.width) {
        return fail("width", format!("is {}, expected 0.05 to 8", config.width));
    }
    if config.classes < 2 {
        return fail("classes", format!("is {}, expected at least 2", config.classes));
    }
    if !(1..=16).contains(&config.input_channels) {
        return fail("input_channels", format!("is {}, expected 1 to 16", config.input_channels));
    }
    let ascending = |values: &[f64]| !values.is_empty() && values.windows(2).all(|w| w[0] < w[1]);
    let as_f64 = |values: &[usize]| values.iter().map(|v| *v as f64).collect::<Vec<_>>();
    if !ascending(&as_f64(&config.kernel_sizes)) || config.kernel_sizes.iter().any(|k| k % 2 == 0 || *k > 15) {
        return fail("kernel_sizes", format!("is {:?}, expected odd sizes up to 15, ascending", config.kernel_sizes));
    }
    if !ascending(&config.expand_ratios) || config.expand_ratios.iter().any(|e| !(1.0..=16.0).contains(e)) {
        return fail("expand_ratios", format!("is {:?}, expected ratios 1 to 16, ascending", config.expand_ratios));
    }
    if !ascending(&as_f64(&config.depths)) || config.depths.iter().any(|d| !(1..=16).contains(d)) {
        return fail("depths", format!("is {:?}, expected 1 to 16 blocks, ascending", config.depths));
    }
    let resolutions: Vec<f64> = config.resolutions.iter().map(|r| f64::from(*r)).collect();
    if !ascending(&resolutions) || config.resolutions.iter().any(|r| !(4..=4096).contains(r)) {
        return fail("resolutions", format!("is {:?}, expected 4 to 4096 pixels, ascending", config.resolutions));
    }
    if !(config.bn_eps > 0.0 && config.bn_eps < 1.0) {
        return fail("bn_eps", format!("is {}, expected between 0 and 1", config.bn_eps));
    }
    let counts = [
        ("stem_channels", config.stem_channels),
        ("final_expand_channels", config.final_expand_channels),
        ("feature_mix_channels", config.feature_mix_channels),
    ];
    for (field, channels) in counts {
        if !(1..=65_536).contains(&channels) {
            return fail(field, format!("is {channels}, expected 1 to 65536"));
        }
    }
    if !(1..=4).contains(&config.stem_stride) {
        return fail("stem_stride", format!("is {}, expected 1 to 4", config.stem_stride));
    }
    if config.stages.is_empty() || config.stages.len() > 32 {
        return fail("stages", format!("has {} stages, expected 1 to 32", config.stages.len()));
    }
    for (index, stage) in config.stages.iter().enumerate() {
        if !(1..=65_536).contains(&stage.channels) || !(1..=4).contains(&stage.stride) {
            let (channels, stride) = (stage.channels, stage.stride);
            return fail(
                &format!("stages[{index}]"),
                format!("has {channels} channels and stride {stride}, expected 1 to 65536 and 1 to 4"),
            );
        }
    }
    Ok(())
}

/// `ks` and `e` of every block, then `d` of every stage; the official shrinking phases.
fn genes(config: &Mbv3Config) -> Vec<Gene> {
    let max_depth = *config.depths.last().unwrap_or(&1);
    let blocks = config.stages.len() * max_depth;
    let depth_gene_of = |block: usize| 2 * blocks + block / max_depth;
    let active_when =
        |block: usize| ActiveWhen { depth_gene: depth_gene_of(block), at_least: (block % max_depth + 1) as f64 };
    let block_gene = |group: &str, index: usize, dimension: Dimension, choices: &[f64], phases: Vec<u8>| Gene {
        group: group.to_owned(),
        index,
        dimension,
        choices: choices.to_vec(),
        phases,
        active_when: Some(active_when(index)),
    };
    let kernels: Vec<f64> = config.kernel_sizes.iter().map(|k| *k as f64).collect();
    let depths: Vec<f64> = config.depths.iter().map(|d| *d as f64).collect();
    // Kernel sizes open all at once; depth and expansion one choice at a time, from the largest.
    let at_once = |n: usize| (0..n).map(|i| u8::from(i + 1 < n)).collect::<Vec<u8>>();
    let one_by_one = |n: usize| (0..n).map(|i| (n - 1 - i) as u8).collect::<Vec<u8>>();
    let mut genes = Vec::with_capacity(2 * blocks + config.stages.len());
    for block in 0..blocks {
        genes.push(block_gene("ks", block, Dimension::KernelSize, &kernels, at_once(kernels.len())));
    }
    for block in 0..blocks {
        let ratios = &config.expand_ratios;
        genes.push(block_gene("e", block, Dimension::Expansion, ratios, one_by_one(ratios.len())));
    }
    for stage in 0..config.stages.len() {
        genes.push(Gene {
            group: "d".to_owned(),
            index: stage,
            dimension: Dimension::Depth,
            choices: depths.clone(),
            phases: one_by_one(depths.len()),
            active_when: None,
        });
    }
    genes
}

#[typetag::serde(name = "mbv3")]
impl SearchSpace for Mbv3 {
    fn info(&self) -> &SpaceInfo {
        &self.info
    }

    fn resolve(&self, arch: &Arch) -> Result<NetSpec, SpaceError> {
        let config = &self.config;
        let resolution = self.resolution_of(arch)?;
        let genes = &self.info.genes;
        let value = |gene: usize| genes[gene].choices[arch.choices()[gene] as usize];
        let max_depth = *config.depths.last().unwrap_or(&1);
        let elastic_blocks = config.stages.len() * max_depth;
        let width = |channels: usize| Width::fixed(make_divisible(channels as f64 * config.width, 8));
        let descending: Vec<usize> = config.kernel_sizes.iter().rev().copied().collect();
        let max_expansion = config.expand_ratios.last().copied().unwrap_or(1.0);

        let input = [config.input_channels, resolution, resolution];
        let stem = width(config.stem_channels);
        let mut blocks = Vec::with_capacity(elastic_blocks + 6);

        let mut block = BlockBuilder::new("first_conv", "first_conv", input);
        block
            .conv("conv", "conv", ConvShape::dense(Width::fixed(config.input_channels), stem, 3, config.stem_stride))
            .batch_norm("bn", "bn", stem, config.bn_eps)
            .activation("act", Activation::HSwish);
        blocks.push(block.finish(BlockKind::Stem { kernel: 3, stride: config.stem_stride }));

        let first = InvertedResidual {
            index: 0,
            supernet_index: 0,
            input: stem,
            output: stem,
            kernel: ElasticKernel { take: 3, sizes: vec![3] },
            stride: 1,
            expansion: 1.0,
            max_expansion: 1.0,
            activation: Activation::Relu,
            squeeze_excite: false,
            bn_eps: config.bn_eps,
        };
        let mut shape = blocks[0].output;
        let push = |blocks: &mut Vec<_>, block: crate::Block| {
            let shape = block.output;
            blocks.push(block);
            shape
        };
        shape = push(&mut blocks, first.fixed_without_expansion(shape));

        let mut input_width = stem;
        let mut index = 1;
        for (s, stage) in config.stages.iter().enumerate() {
            let depth = value(2 * elastic_blocks + s) as usize;
            for slot in 0..depth {
                let gene = s * max_depth + slot;
                let block = InvertedResidual {
                    index,
                    supernet_index: gene + 1,
                    input: input_width,
                    output: width(stage.channels),
                    kernel: ElasticKernel { take: value(gene) as usize, sizes: descending.clone() },
                    stride: if slot == 0 { stage.stride } else { 1 },
                    expansion: value(elastic_blocks + gene),
                    max_expansion,
                    activation: stage.activation,
                    squeeze_excite: stage.squeeze_excite,
                    bn_eps: config.bn_eps,
                };
                shape = push(&mut blocks, block.elastic(shape));
                input_width = width(stage.channels);
                index += 1;
            }
        }

        let expand = width(config.final_expand_channels);
        let mut block = BlockBuilder::new("final_expand_layer", "final_expand_layer", shape);
        block
            .conv("conv", "conv", ConvShape::dense(input_width, expand, 1, 1))
            .batch_norm("bn", "bn", expand, config.bn_eps)
            .activation("act", Activation::HSwish);
        shape = push(&mut blocks, block.finish(BlockKind::FinalExpand { activation: Activation::HSwish }));

        let mut block = BlockBuilder::new("global_avg_pool", "global_avg_pool", shape);
        block.global_average_pool("");
        shape = push(&mut blocks, block.finish(BlockKind::Pool));

        // The reference's feature_mix_layer has neither batch norm nor bias.
        let mix = width(config.feature_mix_channels);
        let mut block = BlockBuilder::new("feature_mix_layer", "feature_mix_layer", shape);
        block.conv("conv", "conv", ConvShape::dense(expand, mix, 1, 1)).activation("act", Activation::HSwish);
        shape = push(&mut blocks, block.finish(BlockKind::FeatureMix { activation: Activation::HSwish }));

        let mut block = BlockBuilder::new("classifier", "classifier", shape);
        block.linear("linear", "linear", mix, config.classes);
        blocks.push(block.finish(BlockKind::Classifier));

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

/// The quickstart's space: about 0.1-1.5 M MACs, all four dimensions elastic.
fn tiny_28() -> Mbv3Config {
    use Activation::{HSwish, Relu};
    Mbv3Config {
        name: "tiny-28".into(),
        classes: 10,
        input_channels: 1,
        expand_ratios: vec![2.0, 3.0, 4.0],
        depths: vec![1, 2, 3],
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
