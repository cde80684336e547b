//! A space from a given network: its subnets keep some of its residual blocks, some of the channels inside its blocks, and
//! the middle of its depthwise kernels.
//!
//! This is how Once-for-All starts from a pretrained network: the largest subnet is the network itself, with its weights.

mod block;
pub mod structure;

use crate::digest;
use crate::error::SpaceError;
use crate::genotype::arch::Arch;
use crate::genotype::gene::Gene;
use crate::network::net_spec::{Block, BlockKind, NetSpec};
use crate::network::operation::{OpKind, PaddingRule};
use crate::settings::{self, InvalidSetting, Settings};
use crate::spaces::mobile_stages::as_numbers;
use crate::spaces::space::{FixedPart, SearchSpace, SpaceInfo};
use block::Cut;
use serde::{Deserialize, Serialize};
use structure::{ChannelFlow, Stage, is_depthwise, stages};

/// Configuration of a space that is derived from a network.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `source` | | the network | every tensor read whole |
/// | `classes` | those of the network | number of logits: the size of the last linear layer | ≥ 2 |
/// | `expand_ratios` | 0.5, 0.75, 1 | share of the channels inside a block that is kept, rounded down to a multiple of 8 | ascending, up to 1 |
/// | `kernel_sizes` | 3, 5, 7 | sizes that a larger depthwise kernel may be cut to | odd, ascending; empty: whole kernels only |
/// | `resolutions` | four sizes up to 55 % of the network's own, or up to its own if that is at most 96 | elastic input size | ascending |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DerivedConfig {
    /// The network.
    pub source: NetSpec,
    /// Number of logits, if not those of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Shares of the channels inside a block, ascending.
    #[serde(default = "default_expand_ratios")]
    pub expand_ratios: Vec<f64>,
    /// Sizes of cut kernels, ascending.
    #[serde(default = "default_kernel_sizes")]
    pub kernel_sizes: Vec<usize>,
    /// Elastic resolutions, ascending; empty for the default.
    #[serde(default)]
    pub resolutions: Vec<u32>,
}

fn default_expand_ratios() -> Vec<f64> {
    vec![0.5, 0.75, 1.0]
}

fn default_kernel_sizes() -> Vec<usize> {
    vec![3, 5, 7]
}

impl DerivedConfig {
    /// The space of a network with every default.
    pub fn of(source: NetSpec) -> Self {
        Self {
            source,
            classes: None,
            expand_ratios: default_expand_ratios(),
            kernel_sizes: default_kernel_sizes(),
            resolutions: Vec::new(),
        }
    }
}

/// Elastic resolutions for a network that takes images of this size. Networks for ImageNet's sizes are cut down for smaller
/// devices at about half of it: MCUNet's 176 gives 48, 64, 80 and 96. One that takes small images keeps its own size as the
/// largest, so that a network that was fine-tuned at 96 pixels is still a subnet.
fn default_resolutions(size: usize) -> Vec<u32> {
    /// The largest, as a share of the network's own size.
    const LARGEST: f64 = 0.55;
    /// Up to here, it is the own size.
    const SMALL: f64 = 96.0;
    /// The others, as shares of the largest.
    const SHARES: [f64; 3] = [1.0 / 2.0, 2.0 / 3.0, 5.0 / 6.0];
    let own = size as f64;
    let largest = (own * LARGEST).max(SMALL).min(own);
    let step = if largest < 64.0 { 4.0 } else { 16.0 };
    let rounded = |pixels: f64| ((pixels / step).round() * step).max(step).min(own) as u32;
    let top = if largest == own { size as u32 } else { rounded(largest) };
    let mut sizes: Vec<u32> = SHARES.iter().map(|share| rounded(largest * share)).chain([top]).collect();
    sizes.dedup();
    sizes
}

impl Settings for DerivedConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::ascending("expand_ratios", &self.expand_ratios, 0.01..=1.0)?;
        if self.expand_ratios.last() != Some(&1.0) {
            return Err(InvalidSetting::new("expand_ratios", "does not end in 1, the network's own channels"));
        }
        if !self.kernel_sizes.is_empty() {
            settings::ascending("kernel_sizes", &as_numbers(&self.kernel_sizes), 1.0..=15.0)?;
        }
        if let Some(even) = self.kernel_sizes.iter().find(|size| **size % 2 == 0) {
            return Err(InvalidSetting::new("kernel_sizes", format!("holds {even}, expected odd sizes")));
        }
        self.source.check().map_err(|invalid| invalid.within("source"))?;
        match self.source.tensors().find(|tensor| !tensor.is_whole() || !tensor.kernel_steps.is_empty()) {
            Some(part) => {
                Err(InvalidSetting::new("source", format!("reads a part of `{}`, expected whole tensors", part.name)))
            }
            None => Ok(()),
        }
    }
}

/// The choices of one block.
#[derive(Clone, PartialEq, Debug)]
pub struct ElasticBlock {
    /// Position of the block in the source network.
    pub block: usize,
    /// Its depthwise kernel sizes, ascending; one if it is not elastic.
    pub kernel_sizes: Vec<usize>,
    /// Shares of the channels inside, ascending; one if they are not elastic.
    pub expand_ratios: Vec<f64>,
}

/// A checked space of a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "DerivedConfig", into = "DerivedConfig")]
pub struct Derived {
    config: DerivedConfig,
    info: SpaceInfo,
    stages: Vec<Stage>,
    /// Stages with residual blocks, in the order of the depth genes.
    deep: Vec<usize>,
    blocks: Vec<ElasticBlock>,
    flows: Vec<ChannelFlow>,
}

impl From<Derived> for DerivedConfig {
    fn from(space: Derived) -> Self {
        space.config
    }
}

impl TryFrom<DerivedConfig> for Derived {
    type Error = SpaceError;

    fn try_from(mut config: DerivedConfig) -> Result<Self, SpaceError> {
        const KIND: &str = "derived";
        let refused = |invalid| SpaceError::config(KIND, invalid);
        config.check().map_err(refused)?;
        if let Some(classes) = config.classes.take() {
            config.source = config.source.with_classes(classes).map_err(refused)?;
        }
        if config.resolutions.is_empty() {
            config.resolutions = default_resolutions(config.source.input[1]);
        }
        // Shapes are computed here, whatever the file holds.
        let largest = config.resolutions.last().copied().unwrap_or_default() as usize;
        config.source.at_resolution(largest).map_err(|e| refused(e.within("source")))?;
        config.source = config.source.at_resolution(config.source.input[1]).map_err(|e| refused(e.within("source")))?;
        let stages = stages(&config.source);
        let deep: Vec<usize> = (0..stages.len()).filter(|stage| stages[*stage].residual_blocks > 0).collect();
        let flows: Vec<ChannelFlow> = config.source.blocks.iter().map(ChannelFlow::of).collect();
        let blocks: Vec<ElasticBlock> = config
            .source
            .blocks
            .iter()
            .zip(&flows)
            .enumerate()
            .map(|(index, (block, flow))| ElasticBlock {
                block: index,
                kernel_sizes: kernel_sizes(block, &config.kernel_sizes),
                expand_ratios: expand_ratios(flow, &config.expand_ratios),
            })
            .filter(|block| block.kernel_sizes.len() > 1 || block.expand_ratios.len() > 1)
            .collect();
        let genes = genes(&stages, &deep, &blocks);
        if genes.iter().all(|gene| gene.choices.len() == 1) {
            let problem = "has no residual blocks, no channels inside a block and no large depthwise kernels: nothing \
                           can be elastic";
            return Err(refused(InvalidSetting::new("source", problem)));
        }
        // Resolutions are narrowed to those that a device or a predictor has; the space stays the same.
        let structure = serde_json::to_string(&DerivedConfig { resolutions: Vec::new(), ..config.clone() })
            .map_err(|e| refused(InvalidSetting::new("source", format!("cannot be written as JSON: {e}"))))?;
        let info = SpaceInfo {
            name: format!("{KIND}-{}", &digest::sha256(structure)[..8]),
            input_channels: config.source.input[0],
            classes: config.source.classes,
            resolutions: config.resolutions.clone(),
            genes,
        };
        info.check().map_err(refused)?;
        Ok(Self { config, info, stages, deep, blocks, flows })
    }
}

impl Derived {
    /// The network with every default: see [`DerivedConfig`].
    ///
    /// # Errors
    /// [`SpaceError::Config`] if nothing in it can be elastic.
    pub fn of(source: NetSpec) -> Result<Self, SpaceError> {
        DerivedConfig::of(source).try_into()
    }

    /// The network that the space was derived from.
    pub fn source(&self) -> &NetSpec {
        &self.config.source
    }

    /// The stages of the network.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The blocks with choices of their own, in the order of the arch's `ks` and `e`.
    pub fn elastic_blocks(&self) -> &[ElasticBlock] {
        &self.blocks
    }

    /// The dimensions that the network has no place for, with the reason.
    fn missing_dimensions(&self) -> Vec<FixedPart> {
        let no_kernels = match self.config.kernel_sizes.first() {
            Some(smallest) => format!("no depthwise kernel is larger than {smallest}×{smallest}"),
            None => "the space is configured without kernel sizes".to_owned(),
        };
        let no_ratios = "no block has channels of its own of which a smaller multiple of 8 could be kept".to_owned();
        let no_depth = "the network has no residual blocks, and only those can be left out".to_owned();
        let missing = [
            ("kernel sizes", self.blocks.iter().all(|block| block.kernel_sizes.len() == 1), no_kernels),
            ("expand ratios", self.blocks.iter().all(|block| block.expand_ratios.len() == 1), no_ratios),
            ("depths", self.deep.is_empty(), no_depth),
        ];
        let missing = missing.into_iter().filter(|(_, is_missing, _)| *is_missing);
        missing.map(|(name, _, reason)| FixedPart { name: name.to_owned(), reason }).collect()
    }
}

/// Sizes of the block's depthwise kernel: those that it can be cut to, and its own. A padding other than half the kernel
/// would move the image, so such a kernel stays whole.
fn kernel_sizes(block: &Block, allowed: &[usize]) -> Vec<usize> {
    let mut sizes = Vec::new();
    for op in block.ops.iter().filter(|op| is_depthwise(op)) {
        let Some(geometry) = op.kind.geometry() else { continue };
        let own = geometry.kernel;
        // The rule centres every kernel on the same pixel.
        let follows_rule = matches!(op.kind, OpKind::Conv { padding_rule: PaddingRule::Same, .. });
        let is_centred = own % 2 == 1 && (geometry.padding == own / 2 || follows_rule);
        let cut = allowed.iter().copied().filter(|size| *size < own && is_centred);
        let found: Vec<usize> = cut.chain([own]).collect();
        // Two depthwise convolutions of different sizes have no common choice.
        match sizes.is_empty() {
            true => sizes = found,
            false if sizes != found => return vec![own],
            false => {}
        }
    }
    if sizes.is_empty() { vec![1] } else { sizes }
}

/// Channels of a share, rounded down to a multiple of 8; all for the whole.
fn narrowed(channels: usize, ratio: f64) -> usize {
    const MULTIPLE: usize = 8;
    match ratio {
        1.0 => channels,
        ratio => (channels as f64 * ratio) as usize / MULTIPLE * MULTIPLE,
    }
}

/// The shares that make a difference to the channels inside a block, ascending.
fn expand_ratios(flow: &ChannelFlow, allowed: &[f64]) -> Vec<f64> {
    let mut kept = vec![1.0];
    let mut widths: Vec<Vec<usize>> = vec![flow.elastic().collect()];
    if !widths[0].is_empty() {
        for ratio in allowed.iter().rev().skip(1) {
            let narrow: Vec<usize> = flow.elastic().map(|channels| narrowed(channels, *ratio)).collect();
            if narrow.iter().all(|width| *width > 0) && !widths.contains(&narrow) {
                kept.push(*ratio);
                widths.push(narrow);
            }
        }
    }
    kept.reverse();
    kept
}

/// `ks` and `e` of every elastic block, then `d` of every stage with residual blocks: how many of them are kept.
fn genes(stages: &[Stage], deep: &[usize], blocks: &[ElasticBlock]) -> Vec<Gene> {
    let governed = |gene: Gene, block: usize| {
        let place = deep.iter().enumerate().find_map(|(index, stage)| {
            let Stage { first, residual_blocks } = stages[*stage];
            (first + 1..=first + residual_blocks).contains(&block).then(|| (index, block - first))
        });
        match place {
            Some((index, position)) => gene.only_if(2 * blocks.len() + index, position as f64),
            None => gene,
        }
    };
    let kernels =
        blocks.iter().enumerate().map(|(i, block)| governed(Gene::kernel_size(i, &block.kernel_sizes), block.block));
    let ratios =
        blocks.iter().enumerate().map(|(i, block)| governed(Gene::expansion(i, &block.expand_ratios), block.block));
    let depths = deep.iter().enumerate().map(|(index, stage)| {
        let choices: Vec<usize> = (0..=stages[*stage].residual_blocks).collect();
        Gene::depth(index, &choices)
    });
    kernels.chain(ratios).chain(depths).collect()
}

#[typetag::serde(name = "derived")]
impl SearchSpace for Derived {
    fn info(&self) -> &SpaceInfo {
        &self.info
    }

    fn resolve(&self, arch: &Arch) -> Result<NetSpec, SpaceError> {
        let refused = |invalid| SpaceError::config(&self.info.name, invalid);
        let resolution = self.resolution_of(arch)?;
        let value = |gene: usize| self.info.genes[gene].choices[arch.choices()[gene] as usize];
        let count = self.blocks.len();
        let mut net = NetSpec { blocks: Vec::new(), ..self.config.source };
        for (index, stage) in self.stages.iter().enumerate() {
            let kept = match self.deep.iter().position(|deep| *deep == index) {
                Some(gene) => value(2 * count + gene) as usize,
                None => 0,
            };
            for block in stage.first..=stage.first + kept {
                let source = &self.config.source.blocks[block];
                let Some(gene) = self.blocks.iter().position(|elastic| elastic.block == block) else {
                    net.blocks.push(source.clone());
                    continue;
                };
                let ElasticBlock { kernel_sizes, .. } = &self.blocks[gene];
                let cut = Cut {
                    kernel_sizes,
                    kernel: value(gene) as usize,
                    ratio: value(count + gene),
                    flow: &self.flows[block],
                };
                net.blocks.push(cut.of(source));
            }
        }
        net.at_resolution(resolution).map_err(refused)
    }

    fn fixed_parts(&self) -> Vec<FixedPart> {
        let mut fixed = self.missing_dimensions();
        let widths = "the channels between blocks are read by the next block and by identity shortcuts";
        fixed.push(FixedPart { name: "stage widths".to_owned(), reason: widths.to_owned() });
        for (index, block) in self.config.source.blocks.iter().enumerate() {
            let elastic = self.blocks.iter().find(|elastic| elastic.block == index);
            let narrows = elastic.is_some_and(|elastic| elastic.expand_ratios.len() > 1);
            let flow = &self.flows[index];
            let reason = match (&block.kind, flow.grouped(), flow.elastic().min()) {
                _ if narrows => continue,
                (_, Some(groups), _) => format!("grouped {groups}: kept whole"),
                (BlockKind::Classifier, ..) => "one output for each class".to_owned(),
                (BlockKind::Pool, ..) => "has no weights".to_owned(),
                (_, _, Some(channels)) => format!("{channels} channels inside: nothing smaller is a multiple of 8"),
                (_, _, None) => "its channels are read by other blocks".to_owned(),
            };
            fixed.push(FixedPart { name: block.name.clone(), reason });
        }
        fixed
    }
}

#[cfg(test)]
mod tests {
    use super::default_resolutions;

    #[test]
    fn resolutions_fit_the_size_that_a_network_was_trained_at() {
        for (size, expected) in [
            (176, &[48, 64, 80, 96][..]),
            (224, &[64, 80, 96, 128]),
            (96, &[48, 64, 80, 96]),
            (100, &[48, 64, 80, 96]),
            (64, &[32, 48, 64]),
            (48, &[24, 32, 40, 48]),
            (28, &[16, 20, 24, 28]),
            (4, &[4]),
        ] {
            assert_eq!(default_resolutions(size), expected, "{size}");
        }
    }
}
