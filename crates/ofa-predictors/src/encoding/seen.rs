//! Which resolutions and choices the training pairs had; a predictor refuses others.

use crate::pairs::Pair;
use ofa_space::SearchSpace;
use serde::{Deserialize, Serialize};

/// Choices of genes that no training pair had.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Gene and choice, ascending.
    pub unseen: Vec<(usize, u8)>,
}

impl Seen {
    /// What these pairs have, as far as it is active in them.
    pub fn of(space: &dyn SearchSpace, pairs: &[Pair]) -> Self {
        let genes = &space.info().genes;
        let mut seen: Vec<Vec<bool>> = genes.iter().map(|gene| vec![false; gene.choices.len()]).collect();
        for pair in pairs {
            let choices = pair.arch.choices();
            for (gene, choice) in choices.iter().enumerate() {
                if genes[gene].is_active(genes, choices) {
                    seen[gene][usize::from(*choice)] = true;
                }
            }
        }
        let of_gene = |(gene, seen): (usize, &Vec<bool>)| -> Vec<(usize, u8)> {
            (0..seen.len()).filter(|choice| !seen[*choice]).map(|choice| (gene, choice as u8)).collect()
        };
        Self { unseen: seen.iter().enumerate().flat_map(of_gene).collect() }
    }

    /// Names of the unseen choices, such as `ks[3]=7`.
    pub fn names(&self, space: &dyn SearchSpace) -> Vec<String> {
        let name = |(gene, choice): &(usize, u8)| {
            let gene = &space.info().genes[*gene];
            format!("{}[{}]={}", gene.group, gene.index, gene.choices[usize::from(*choice)])
        };
        self.unseen.iter().map(name).collect()
    }
}

/// Resolutions of the pairs, ascending.
pub(crate) fn resolutions(pairs: &[Pair]) -> Vec<u32> {
    let mut found: Vec<u32> = pairs.iter().filter_map(|pair| pair.arch.resolution()).collect();
    found.sort_unstable();
    found.dedup();
    found
}
