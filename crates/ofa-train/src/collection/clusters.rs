//! Archs drawn in clusters that share the beginning of the network, so that it is computed once for all of them.
//!
//! Four archs in a row share resolution and the first part of the network; two and two of them share the part after it
//! ([`SHARED`]). Every gene is still uniform on its own: within its part of the network a gene takes its choices in a
//! shuffled order, round after round, so that its marginal is even more level than that of independent draws. What is
//! given up is independence *within* a cluster.

use ofa_space::{Arch, Block, NetSpec, OpKind, SearchSpace, SpaceError, cost};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;

/// Archs that share a part, and the share of the largest network's work at which the part ends.
const SHARED: [(usize, f64); 2] = [(4, 0.33), (2, 0.6)];
/// Archs of a cluster.
pub const CLUSTER: usize = SHARED[0].0;

/// `count` distinct archs in clusters; fewer if the space has fewer. A smaller count gives the beginning of a larger
/// one.
///
/// # Errors
/// What [`SearchSpace::resolve`] reports.
pub fn clustered_archs(space: &dyn SearchSpace, count: usize, seed: u64) -> Result<Vec<Arch>, SpaceError> {
    const MISSES_IN_A_ROW: usize = 10_000;
    let info = space.info();
    let sharing = genes_sharing(space)?;
    let mut seen = HashSet::new();
    let mut archs = Vec::with_capacity(count);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut misses = 0;
    for number in 0.. {
        if archs.len() >= count || misses >= MISSES_IN_A_ROW {
            break;
        }
        let mut choices: Vec<u8> = info
            .genes
            .iter()
            .zip(&sharing)
            .enumerate()
            .map(|(gene, (about, together))| {
                level_choice(seed, gene as u64 + 1, number / together, about.choices.len()) as u8
            })
            .collect();
        let resolution = (!info.resolutions.is_empty())
            .then(|| info.resolutions[level_choice(seed, 0, number / CLUSTER, info.resolutions.len())]);
        let mut arch = space.arch(choices.clone(), resolution)?;
        // Genes of skipped blocks are forgotten, so two of a cluster can be the same: the part of its own is redrawn.
        for _ in 0..20 {
            if !seen.contains(&arch) {
                break;
            }
            for (gene, choice) in choices.iter_mut().enumerate().filter(|(gene, _)| sharing[*gene] == 1) {
                *choice = rng.random_range(0..info.genes[gene].choices.len()) as u8;
            }
            arch = space.arch(choices.clone(), resolution)?;
        }
        if seen.insert(arch.clone()) {
            archs.push(arch);
            misses = 0;
        } else {
            misses += 1;
        }
    }
    Ok(archs)
}

/// The choice of a gene for group number `group`: a new shuffle of all choices in every round.
fn level_choice(seed: u64, gene: u64, group: usize, choices: usize) -> usize {
    let mut key = [0u8; 32];
    let round = (group / choices) as u64;
    for (slot, value) in
        key.as_chunks_mut::<8>().0.iter_mut().zip([seed, gene, round, u64::from_le_bytes(*b"clusters")])
    {
        *slot = value.to_le_bytes();
    }
    let mut order: Vec<usize> = (0..choices).collect();
    order.shuffle(&mut ChaCha8Rng::from_seed(key));
    order[group % choices]
}

/// For every gene, how many archs in a row share its choice: many if it changes the network early.
fn genes_sharing(space: &dyn SearchSpace) -> Result<Vec<usize>, SpaceError> {
    let largest = space.max_arch();
    let resolution = largest.resolution();
    let net = space.resolve(&largest)?;
    let total: f64 = net.blocks.iter().map(work).sum();
    let mut before = Vec::with_capacity(net.blocks.len());
    let mut sum = 0.0;
    for block in &net.blocks {
        before.push(sum / total.max(1.0));
        sum += work(block);
    }
    let mut sharing = Vec::new();
    for (index, gene) in space.info().genes.iter().enumerate() {
        let mut first = net.blocks.len();
        for choice in 0..gene.choices.len() as u8 {
            let mut choices = largest.choices().to_vec();
            choices[index] = choice;
            let other = space.resolve(&space.arch(choices, resolution)?)?;
            first = first.min(first_difference(&net, &other));
        }
        let begins = before.get(first).copied().unwrap_or(1.0);
        let shared = SHARED.iter().find(|(_, end)| begins < *end).map_or(1, |(together, _)| *together);
        sharing.push(shared);
    }
    Ok(sharing)
}

/// Index of the first block in which two networks differ.
fn first_difference(a: &NetSpec, b: &NetSpec) -> usize {
    a.blocks.iter().zip(&b.blocks).take_while(|(x, y)| x == y).count()
}

/// What a block costs, in multiply-accumulates: its own, and as many for each value of a convolution's output as moving
/// it to memory and back is worth.
fn work(block: &Block) -> f64 {
    const PER_VALUE: f64 = 24.0;
    let values = block.ops.iter().filter(|op| matches!(op.kind, OpKind::Conv { .. }));
    let values: usize = values.map(|op| op.output.iter().product::<usize>()).sum();
    cost::block_macs(block) as f64 + PER_VALUE * values as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ofa_space::registry;

    #[test]
    fn every_gene_and_the_resolution_are_level() {
        for name in ["ofa-mbv3-w1.0", "ofa-proxyless-w1.3", "ofa-resnet50", "cifar-32"] {
            let space = registry::named(name).unwrap();
            let info = space.info();
            let archs = clustered_archs(space.as_ref(), 1200, 5).unwrap();
            assert_eq!(archs.len(), 1200);
            assert_eq!(archs.iter().collect::<HashSet<_>>().len(), 1200, "{name}: the same subnet twice");
            for (index, gene) in info.genes.iter().enumerate() {
                let active: Vec<&Arch> = archs.iter().filter(|a| gene.is_active(&info.genes, a.choices())).collect();
                let mut counts = vec![0usize; gene.choices.len()];
                active.iter().for_each(|arch| counts[usize::from(arch.choices()[index])] += 1);
                let fair = active.len() as f64 / counts.len() as f64;
                for count in &counts {
                    // A gene that is always active is level to within a round; others are to within chance.
                    let slack = if active.len() == archs.len() { 12.0 } else { 6.0 * (4.0 * fair).sqrt() };
                    assert!((*count as f64 - fair).abs() <= slack, "{name}, gene {index}: {counts:?}");
                }
            }
            let resolutions = &info.resolutions;
            for resolution in resolutions {
                let count = archs.iter().filter(|arch| arch.resolution() == Some(*resolution)).count();
                assert!(count.abs_diff(1200 / resolutions.len()) <= CLUSTER, "{name}: {count} at {resolution}");
            }
        }
    }

    #[test]
    fn a_cluster_shares_its_beginning_and_a_smaller_count_begins_a_larger_one() {
        let space = registry::named("ofa-mbv3-w1.0").unwrap();
        let archs = clustered_archs(space.as_ref(), 40, 1).unwrap();
        assert_eq!(clustered_archs(space.as_ref(), 13, 1).unwrap(), archs[..13]);
        assert_ne!(clustered_archs(space.as_ref(), 40, 2).unwrap(), archs);
        for cluster in archs.chunks(CLUSTER) {
            let nets: Vec<NetSpec> = cluster.iter().map(|arch| space.resolve(arch).unwrap()).collect();
            let shared = nets.iter().map(|net| first_difference(&nets[0], net)).min().unwrap();
            assert!(shared >= 4, "{shared} blocks are shared");
        }
    }

    #[test]
    fn a_small_space_is_exhausted() {
        let mut config = ofa_space::mbv3::Mbv3Config { resolutions: vec![32], ..Default::default() };
        (config.kernel_sizes, config.expand_ratios, config.depths) = (vec![3], vec![3.0, 6.0], vec![1]);
        config.stages.truncate(2);
        let space = ofa_space::mbv3::Mbv3::try_from(config).unwrap();
        assert_eq!(clustered_archs(&space, 100, 0).unwrap().len(), 4);
    }
}
