//! Stages of elastic inverted residuals, which the MobileNetV3 and ProxylessNAS families share: their genes, and their
//! blocks in the network of an arch.

use crate::config_check::{ConfigCheck, as_numbers};
use crate::error::SpaceError;
use crate::genotype::arch::Arch;
use crate::genotype::gene::{ActiveWhen, Dimension, Gene};
use crate::network::block_builder::{ElasticKernel, Width};
use crate::network::inverted_residual::InvertedResidual;
use crate::network::net_spec::{Activation, Block, Shape};

/// Stages with every width already multiplied and rounded.
#[derive(Clone, Debug)]
pub(crate) struct MobileStages {
    /// Elastic kernel sizes, ascending.
    pub kernel_sizes: Vec<usize>,
    /// Elastic expansion ratios, ascending.
    pub expand_ratios: Vec<f64>,
    /// Stages in order.
    pub stages: Vec<MobileStage>,
    /// Epsilon of batch norm.
    pub bn_eps: f64,
}

/// One stage.
#[derive(Clone, Debug)]
pub(crate) struct MobileStage {
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
    fn slots(&self) -> usize {
        self.depths.last().copied().unwrap_or(0)
    }
}

impl MobileStages {
    /// Refuses stages that no network can have.
    pub(crate) fn check(&self, check: &ConfigCheck<'_>) -> Result<(), SpaceError> {
        check.ascending("kernel_sizes", &as_numbers(&self.kernel_sizes), 1.0, 15.0)?;
        if let Some(even) = self.kernel_sizes.iter().find(|k| **k % 2 == 0) {
            return Err(check.error("kernel_sizes", format!("holds {even}, expected odd sizes")));
        }
        check.ascending("expand_ratios", &self.expand_ratios, 1.0, 16.0)?;
        check.count("stages", self.stages.len(), 1, 32)?;
        for (index, stage) in self.stages.iter().enumerate() {
            check.count(&format!("stages[{index}].channels"), stage.channels, 1, 65_536)?;
            check.count(&format!("stages[{index}].stride"), stage.stride, 1, 4)?;
            check.ascending("depths", &as_numbers(&stage.depths), 1.0, 16.0)?;
        }
        Ok(())
    }

    fn slots(&self) -> usize {
        self.stages.iter().map(MobileStage::slots).sum()
    }

    /// `ks` and `e` of every block, then `d` of every stage; the official shrinking phases.
    pub(crate) fn genes(&self) -> Vec<Gene> {
        let slots = self.slots();
        // Kernel sizes open all at once; depth and expansion one choice at a time, from the largest.
        let at_once = |n: usize| (0..n).map(|i| u8::from(i + 1 < n)).collect::<Vec<u8>>();
        let one_by_one = |n: usize| (0..n).map(|i| (n - 1 - i) as u8).collect::<Vec<u8>>();
        let positions = || {
            let stages = self.stages.iter().enumerate();
            stages.flat_map(|(s, stage)| (0..stage.slots()).map(move |slot| (s, slot))).enumerate()
        };
        let block_gene =
            |group: &str, (index, (stage, slot)): (usize, (usize, usize)), dimension, choices: &[f64]| Gene {
                group: group.to_owned(),
                index,
                dimension,
                choices: choices.to_vec(),
                phases: if dimension == Dimension::KernelSize {
                    at_once(choices.len())
                } else {
                    one_by_one(choices.len())
                },
                active_when: Some(ActiveWhen { depth_gene: 2 * slots + stage, at_least: (slot + 1) as f64 }),
            };
        let kernels = as_numbers(&self.kernel_sizes);
        let mut genes = Vec::with_capacity(2 * slots + self.stages.len());
        genes.extend(positions().map(|at| block_gene("ks", at, Dimension::KernelSize, &kernels)));
        genes.extend(positions().map(|at| block_gene("e", at, Dimension::Expansion, &self.expand_ratios)));
        genes.extend(self.stages.iter().enumerate().map(|(index, stage)| Gene {
            group: "d".to_owned(),
            index,
            dimension: Dimension::Depth,
            choices: as_numbers(&stage.depths),
            phases: one_by_one(stage.depths.len()),
            active_when: None,
        }));
        genes
    }

    /// The blocks of an arch on an input of this width and shape. Blocks are numbered from 1: the fixed block that
    /// both families have before the stages is 0.
    pub(crate) fn blocks(&self, arch: &Arch, genes: &[Gene], mut input: Width, mut shape: Shape) -> Vec<Block> {
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
