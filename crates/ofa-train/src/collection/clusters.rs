//! Archs drawn in clusters that share the beginning of the network, so that it is computed once for all of them.
//!
//! Four archs in a row share resolution and the first part of the network; two and two of them share the part after it
//! ([`SHARED`]). Every gene is still uniform on its own: within its part of the network a gene takes its choices in a
//! shuffled order, round after round, so that its marginal is even more level than that of independent draws.
//!
//! The archs of a cluster are not independent, so they carry less information for a predictor. This is more than made up
//! for: the shuffled order of each gene is chosen so that the cluster carries the most information about the effect of
//! every choice, after the clusters before it ([`super::information`]).

use super::information::{Features, Row, Unknown};
use ofa_space::{Arch, Block, NetSpec, OpKind, SearchSpace, SpaceError, SpaceInfo, cost};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;

/// Archs that share a part, and the share of the largest network's work at which the part ends.
const SHARED: [(usize, f64); 2] = [(4, 0.40), (2, 0.72)];
/// Archs of a cluster.
pub const CLUSTER: usize = SHARED[0].0;
/// How often the order of every gene is reconsidered, and how many other orders it is compared with.
const SWEEPS: usize = 2;
const TRIES: usize = 6;
/// Archs for each effect after which one more cluster adds hardly any information: later ones are left to chance.
const ENOUGH: usize = 20;

/// `count` distinct archs in clusters; fewer if the space has fewer. A smaller count gives the beginning of a larger
/// one.
///
/// # Errors
/// What [`SearchSpace::resolve`] reports.
pub fn clustered_archs(space: &dyn SearchSpace, count: usize, seed: u64) -> Result<Vec<Arch>, SpaceError> {
    const FRUITLESS_IN_A_ROW: usize = 2500;
    let mut draws = Draws::new(space, seed)?;
    let mut seen = HashSet::new();
    let mut archs = Vec::with_capacity(count);
    let mut fruitless = 0;
    while archs.len() < count && fruitless < FRUITLESS_IN_A_ROW {
        let before = archs.len();
        for mut choices in draws.cluster()? {
            let mut arch = draws.arch(&choices)?;
            // Genes of skipped blocks are forgotten, so two of a cluster can be the same: the part of its own is redrawn.
            for _ in 0..20 {
                if !seen.contains(&arch) {
                    break;
                }
                draws.redraw_own_part(&mut choices);
                arch = draws.arch(&choices)?;
            }
            if seen.insert(arch.clone()) {
                archs.push(arch);
            }
        }
        draws.learn(&archs[before..]);
        fruitless = if archs.len() == before { fruitless + 1 } else { 0 };
    }
    archs.truncate(count);
    Ok(archs)
}

/// Choices of all genes, and the resolution as one more.
type Choices = Vec<u8>;

/// Draws cluster after cluster.
struct Draws<'a> {
    space: &'a dyn SearchSpace,
    info: &'a SpaceInfo,
    /// For every gene, and the resolution after them: how many choices it has, how many archs in a row share one, and
    /// the choices that are left of this round.
    genes: Vec<Elastic>,
    features: Features,
    unknown: Unknown,
    learnt: usize,
    rng: ChaCha8Rng,
}

#[derive(Clone)]
struct Elastic {
    choices: u8,
    together: usize,
    left: Vec<u8>,
}

impl Elastic {
    /// The choices of a cluster, in groups, and what is then left of the round.
    fn draw(&self, rng: &mut ChaCha8Rng) -> ([u8; CLUSTER], Vec<u8>) {
        let mut left = self.left.clone();
        let mut drawn = [0; CLUSTER];
        for group in drawn.chunks_mut(self.together) {
            if left.is_empty() {
                left = (0..self.choices).collect();
            }
            let choice = left.swap_remove(rng.random_range(0..left.len()));
            group.fill(choice);
        }
        (drawn, left)
    }
}

impl<'a> Draws<'a> {
    fn new(space: &'a dyn SearchSpace, seed: u64) -> Result<Self, SpaceError> {
        let info = space.info();
        let elastic = |choices: usize, together| Elastic { choices: choices as u8, together, left: Vec::new() };
        let mut genes: Vec<Elastic> = info
            .genes
            .iter()
            .zip(genes_sharing(space)?)
            .map(|(gene, together)| elastic(gene.choices.len(), together))
            .collect();
        if !info.resolutions.is_empty() {
            genes.push(elastic(info.resolutions.len(), CLUSTER));
        }
        let features = Features::new(space);
        let unknown = Unknown::new(&features);
        Ok(Self { space, info, genes, features, unknown, learnt: 0, rng: ChaCha8Rng::seed_from_u64(seed) })
    }

    fn arch(&self, choices: &Choices) -> Result<Arch, SpaceError> {
        let (genes, resolution) = choices.split_at(self.info.genes.len());
        let resolution = resolution.first().map(|index| self.info.resolutions[usize::from(*index)]);
        self.space.arch(genes.to_vec(), resolution)
    }

    /// The next cluster: drawn, then the order of one gene after the other is exchanged for a better one.
    fn cluster(&mut self) -> Result<[Choices; CLUSTER], SpaceError> {
        let mut cluster: [Choices; CLUSTER] = std::array::from_fn(|_| vec![0; self.genes.len()]);
        let mut left = Vec::with_capacity(self.genes.len());
        for (index, gene) in self.genes.iter().enumerate() {
            let (drawn, rest) = gene.draw(&mut self.rng);
            put(&mut cluster, index, drawn);
            left.push(rest);
        }
        let effects: usize = self.genes.iter().map(|gene| usize::from(gene.choices)).sum();
        if self.learnt < ENOUGH * effects {
            let mut best = self.gain(&cluster)?;
            for _ in 0..SWEEPS {
                for (index, rest) in left.iter_mut().enumerate() {
                    for _ in 0..TRIES {
                        let before: [u8; CLUSTER] = std::array::from_fn(|arch| cluster[arch][index]);
                        let (drawn, other) = self.genes[index].draw(&mut self.rng);
                        if drawn == before {
                            continue;
                        }
                        put(&mut cluster, index, drawn);
                        let gain = self.gain(&cluster)?;
                        if gain > best {
                            (best, *rest) = (gain, other);
                        } else {
                            put(&mut cluster, index, before);
                        }
                    }
                }
            }
        }
        for (gene, rest) in self.genes.iter_mut().zip(left) {
            gene.left = rest;
        }
        Ok(cluster)
    }

    fn gain(&self, cluster: &[Choices; CLUSTER]) -> Result<f64, SpaceError> {
        let rows = cluster.iter().map(|choices| Ok(self.features.row(&self.arch(choices)?)));
        Ok(self.unknown.gain(&rows.collect::<Result<Vec<Row>, SpaceError>>()?))
    }

    fn learn(&mut self, archs: &[Arch]) {
        let rows: Vec<Row> = archs.iter().map(|arch| self.features.row(arch)).collect();
        self.unknown.learn(&rows);
        self.learnt += archs.len();
    }

    fn redraw_own_part(&mut self, choices: &mut Choices) {
        for (gene, choice) in self.genes.iter().zip(choices).filter(|(gene, _)| gene.together == 1) {
            *choice = self.rng.random_range(0..gene.choices);
        }
    }
}

/// Gives every arch of a cluster its choice of a gene.
fn put(cluster: &mut [Choices; CLUSTER], gene: usize, drawn: [u8; CLUSTER]) {
    cluster.iter_mut().zip(drawn).for_each(|(choices, choice)| choices[gene] = choice);
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
        let mut config = ofa_space::spaces::mbv3::Mbv3Config { resolutions: vec![32], ..Default::default() };
        (config.kernel_sizes, config.expand_ratios, config.depths) = (vec![3], vec![3.0, 6.0], vec![1]);
        config.stages.truncate(2);
        let space = ofa_space::spaces::mbv3::Mbv3::try_from(config).unwrap();
        assert_eq!(clustered_archs(&space, 100, 0).unwrap().len(), 4);
    }
}
