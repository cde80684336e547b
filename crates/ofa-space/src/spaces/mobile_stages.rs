//! Stages of elastic inverted residuals, which the MobileNetV3 and ProxylessNAS families share: their genes, and their
//! blocks in the network of an arch. A family of one's own that is made of such stages adds a stem and a classifier.

use crate::error::SpaceError;
use crate::genotype::arch::Arch;
use crate::genotype::gene::Gene;
use crate::network::block_builder::{ElasticKernel, Width};
use crate::network::inverted_residual::InvertedResidual;
use crate::network::net_spec::{Block, Shape};
use crate::network::operation::Activation;
use crate::settings::{self, InvalidSetting, Settings};
use crate::spaces::space::SpaceInfo;
use std::ops::Bound;

/// Stages with every width already multiplied and rounded.
#[derive(Clone, PartialEq, Debug)]
pub struct MobileStages {
    /// Elastic kernel sizes, odd and ascending.
    pub kernel_sizes: Vec<usize>,
    /// Elastic expansion ratios, ascending.
    pub expand_ratios: Vec<f64>,
    /// Stages in order.
    pub stages: Vec<MobileStage>,
    /// Epsilon of batch norm.
    pub bn_eps: f64,
}

/// One stage.
#[derive(Clone, PartialEq, Debug)]
pub struct MobileStage {
    /// Output channels.
    pub channels: usize,
    /// Stride of the first block.
    pub stride: usize,
    /// Nonlinearity.
    pub activation: Activation,
    /// Whether blocks have a squeeze-excite.
    pub squeeze_excite: bool,
    /// Elastic depths, ascending.
    pub depths: Vec<usize>,
}

impl MobileStage {
    /// Blocks of the stage in the supernet.
    fn slots(&self) -> usize {
        self.depths.last().copied().unwrap_or(0)
    }
}

impl Settings for MobileStages {
    /// Refuses stages that no network can have.
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::ascending("kernel_sizes", &as_numbers(&self.kernel_sizes), 1.0..=15.0)?;
        if let Some(even) = self.kernel_sizes.iter().find(|k| **k % 2 == 0) {
            return Err(InvalidSetting::new("kernel_sizes", format!("holds {even}, expected odd sizes")));
        }
        settings::ascending("expand_ratios", &self.expand_ratios, 1.0..=16.0)?;
        settings::number("bn_eps", self.bn_eps, EPSILON)?;
        settings::count("stages", self.stages.len(), 1..=32)?;
        for (index, stage) in self.stages.iter().enumerate() {
            let within = |problem: InvalidSetting| problem.within(&format!("stages[{index}]"));
            settings::count("channels", stage.channels, 1..=65_536).map_err(within)?;
            settings::count("stride", stage.stride, 1..=4).map_err(within)?;
            settings::ascending("depths", &as_numbers(&stage.depths), 1.0..=16.0)?;
        }
        Ok(())
    }
}

impl MobileStages {
    fn slots(&self) -> usize {
        self.stages.iter().map(MobileStage::slots).sum()
    }

    /// The genes: `ks` and then `e` of every block, then `d` of every stage; a block's genes are active where its stage is
    /// deep enough. They must be the first genes of the space: conditions refer to genes by position.
    pub fn genes(&self) -> Vec<Gene> {
        let slots = self.slots();
        let stages = self.stages.iter().enumerate();
        // Stage and place in it of every block.
        let places: Vec<(usize, usize)> =
            stages.flat_map(|(s, stage)| (0..stage.slots()).map(move |slot| (s, slot))).collect();
        let governed = |gene: Gene, (stage, slot): (usize, usize)| gene.only_if(2 * slots + stage, (slot + 1) as f64);
        let kernels = places.iter().enumerate().map(|(i, at)| governed(Gene::kernel_size(i, &self.kernel_sizes), *at));
        let ratios = places.iter().enumerate().map(|(i, at)| governed(Gene::expansion(i, &self.expand_ratios), *at));
        let depths = self.stages.iter().enumerate().map(|(s, stage)| Gene::depth(s, &stage.depths));
        kernels.chain(ratios).chain(depths).collect()
    }

    /// The blocks of an arch on an input of this width and shape (channels, height, width); `genes` are those of the space,
    /// the first of which are [those of the stages](Self::genes). Blocks are numbered from 1: the fixed block that both
    /// families have before the stages is 0.
    ///
    /// # Panics
    /// If the arch or the genes belong to another space.
    pub fn blocks(&self, arch: &Arch, genes: &[Gene], mut input: Width, mut shape: Shape) -> Vec<Block> {
        let slots = self.slots();
        let value = |gene: usize| genes[gene].choices[arch.choices()[gene] as usize];
        let descending: Vec<usize> = self.kernel_sizes.iter().rev().copied().collect();
        let max_expansion = self.expand_ratios.last().copied().unwrap_or(1.0);
        let mut blocks = Vec::with_capacity(slots);
        let mut first_slot = 0;
        for (s, stage) in self.stages.iter().enumerate() {
            let output = Width::fixed(stage.channels);
            for slot in 0..value(2 * slots + s) as usize {
                let gene = first_slot + slot;
                let stride = if slot == 0 { stage.stride } else { 1 };
                let block = InvertedResidual {
                    index: blocks.len() + 1,
                    supernet_index: gene + 1,
                    input,
                    output,
                    kernel: ElasticKernel { take: value(gene) as usize, sizes: descending.clone() },
                    stride,
                    expansion: value(slots + gene),
                    max_expansion,
                    residual: stride == 1 && input == output,
                    activation: stage.activation,
                    squeeze_excite: stage.squeeze_excite,
                    bn_eps: self.bn_eps,
                };
                let block = block.elastic(shape);
                shape = block.output;
                input = output;
                blocks.push(block);
            }
            first_slot += stage.slots();
        }
        blocks
    }
}

/// The stages of a checked configuration, and the checked description of a space whose genes are theirs.
///
/// # Errors
/// [`SpaceError::Config`] with a value that no network can have.
pub(crate) fn checked<C: Settings>(
    config: &C,
    stages: impl Fn(&C) -> MobileStages,
    (name, classes): (&str, usize),
    (input_channels, resolutions): (usize, &[u32]),
) -> Result<(MobileStages, SpaceInfo), SpaceError> {
    let refused = |invalid| SpaceError::config(name, invalid);
    config.check().map_err(refused)?;
    let stages = stages(config);
    let (name, resolutions) = (name.to_owned(), resolutions.to_owned());
    let info = SpaceInfo { name, input_channels, classes, resolutions, genes: stages.genes() };
    info.check().map_err(refused)?;
    Ok((stages, info))
}

/// Counts as the numbers that [`settings::ascending`] takes.
pub(crate) fn as_numbers(counts: &[usize]) -> Vec<f64> {
    counts.iter().map(|count| *count as f64).collect()
}

/// Range of a batch norm's epsilon.
pub(crate) const EPSILON: (Bound<f64>, Bound<f64>) = (Bound::Excluded(0.0), Bound::Excluded(1.0));
