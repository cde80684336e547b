//! The coupled dimensions of CompOFA (Sahni et al., ICLR 2021).

use super::{Request, Sampler, SamplerEntry};
use crate::error::TrainError;
use ofa_space::{Arch, Dimension, Gene, InvalidSetting, Opened, Settings};
use serde::{Deserialize, Serialize};

/// Depth and expansion of a stage grow together: the shallowest stage is the narrowest, the deepest the widest. Far
/// fewer subnets are trained (243 instead of 10¹⁹ in the paper's space, resolutions and kernels apart), each of them
/// more often.
///
/// A level is drawn for each stage among the open choices of its depth; every expansion of the stage takes the choice
/// at the same rank (the nearest open one). Other genes stay uniform. Subnets off this line are not trained, so collect
/// and search among coupled subnets only if that matters.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `elastic_kernel` | true | kernel sizes stay uniform; false: the largest |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompoundCoupling {
    /// Whether kernel sizes are drawn.
    pub elastic_kernel: bool,
}

impl Default for CompoundCoupling {
    fn default() -> Self {
        Self { elastic_kernel: true }
    }
}

impl Settings for CompoundCoupling {
    fn check(&self) -> Result<(), InvalidSetting> {
        Ok(())
    }
}

#[typetag::serde(name = "compound_coupling")]
impl Sampler for CompoundCoupling {
    fn sample(&self, request: &mut Request<'_>) -> Result<Vec<Arch>, TrainError> {
        (0..request.count)
            .map(|_| {
                let drawn = request.space.sample(request.opened, request.rng);
                let genes = &request.space.info().genes;
                Ok(request.space.arch(self.coupled(&drawn, genes, request.opened), drawn.resolution())?)
            })
            .collect()
    }
}

impl CompoundCoupling {
    /// The choices of `drawn` with each stage's expansions set by its depth.
    fn coupled(&self, drawn: &Arch, genes: &[Gene], opened: &Opened) -> Vec<u8> {
        let mut choices = drawn.choices().to_vec();
        for (index, gene) in genes.iter().enumerate() {
            let largest = gene.choices.len() - 1;
            match (gene.dimension, gene.active_when) {
                (Dimension::Expansion, Some(rule)) if genes[rule.depth_gene].choices.len() > 1 => {
                    let deepest = genes[rule.depth_gene].choices.len() - 1;
                    let level = usize::from(drawn.choices()[rule.depth_gene]);
                    let rank = (level * largest + deepest / 2) / deepest;
                    choices[index] = nearest_open(gene, opened, rank);
                }
                (Dimension::KernelSize, _) if !self.elastic_kernel => choices[index] = largest as u8,
                _ => {}
            }
        }
        choices
    }
}

/// The open choice nearest to `rank`, the larger of two.
fn nearest_open(gene: &Gene, opened: &Opened, rank: usize) -> u8 {
    let distance = |choice: &u8| (usize::from(*choice).abs_diff(rank), usize::MAX - usize::from(*choice));
    gene.open_choices(opened).min_by_key(distance).unwrap_or((gene.choices.len() - 1) as u8)
}

inventory::submit! {
    SamplerEntry {
        name: "compound_coupling",
        about: "depth and expansion of a stage grow together, so that far fewer subnets are trained (CompOFA)",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sampler::tests::draw;
    use ofa_space::registry;
    use std::collections::HashSet;

    #[test]
    fn expansions_of_a_stage_follow_its_depth() {
        for name in ["ofa-mbv3-w1.0", "ofa-proxyless-w1.3", "cifar-32"] {
            let space = registry::named(name).unwrap();
            let genes = &space.info().genes;
            let mut levels = HashSet::new();
            for arch in draw(&CompoundCoupling::default(), space.as_ref(), Opened::EVERYTHING, 40) {
                for (gene, choice) in genes.iter().zip(arch.choices()) {
                    let Some(rule) = gene.active_when.filter(|_| gene.dimension == Dimension::Expansion) else {
                        continue;
                    };
                    let depth = &genes[rule.depth_gene];
                    let level = arch.choices()[rule.depth_gene];
                    if gene.is_active(genes, arch.choices()) && depth.choices.len() == gene.choices.len() {
                        assert_eq!(*choice, level, "{name}");
                        levels.insert(level);
                    }
                }
            }
            assert!(levels.len() > 1, "{name}: always the same level");
        }
    }

    #[test]
    fn kernels_can_be_fixed_and_closed_choices_stay_closed() {
        let space = registry::named("ofa-mbv3-w1.0").unwrap();
        let opened = Opened { kernel_size: 1, depth: 2, expansion: 1, width: 0 };
        for arch in draw(&CompoundCoupling { elastic_kernel: false }, space.as_ref(), opened, 20) {
            let json = space.format(&arch);
            let text = serde_json::to_string(&json).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let depths: Vec<u64> = value["d"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).collect();
            for (slot, (kernel, expansion)) in
                value["ks"].as_array().unwrap().iter().zip(value["e"].as_array().unwrap()).enumerate()
            {
                if (slot % 4) < depths[slot / 4] as usize {
                    assert_eq!(kernel.as_u64(), Some(7), "{text}");
                    assert_ne!(expansion.as_u64(), Some(3), "{text}");
                }
            }
        }
    }

    #[test]
    fn ranks_meet_the_nearest_choice() {
        let space = registry::named("ofa-mbv3-w1.0").unwrap();
        let gene = space.info().genes.iter().find(|g| g.dimension == Dimension::Expansion).unwrap();
        assert_eq!(nearest_open(gene, &Opened::EVERYTHING, 1), 1);
        assert_eq!(nearest_open(gene, &Opened::NOTHING, 0), 2);
        let two = Opened { expansion: 1, ..Opened::NOTHING };
        assert_eq!(nearest_open(gene, &two, 0), 1);
    }
}
