//! Neighbours of an arch: other choices at one position, or a depth one step larger or smaller.
//!
//! Positions are read off the genes: genes that are active under the same condition form a *site* and change together
//! (kernel size and expansion of a block); a gene that others depend on is a depth, which opens and closes their sites.

use ofa_space::Genes;
use rand::{RngExt, rand_core::Rng};

/// The positions of a set of genes.
#[derive(Clone, Debug)]
pub struct Neighbourhood {
    /// Number of choices of every gene.
    pub(crate) choices: Vec<u8>,
    /// Where each gene's choices start in a row of slopes; the last entry is the width of a row.
    offsets: Vec<usize>,
    /// When each gene is active: the gene it depends on, and the least choice of that.
    active: Vec<Option<(usize, u8)>>,
    sites: Vec<Site>,
    depths: Vec<Depth>,
    /// Genes that crossover exchanges together: a stage with its depth, or a gene of its own.
    groups: Vec<Vec<usize>>,
}

/// Genes that change together.
#[derive(Clone, Debug)]
struct Site {
    genes: Vec<usize>,
    /// Every joint choice.
    combinations: Vec<Vec<u8>>,
    needs: Option<(usize, u8)>,
}

/// A gene that others depend on, and the sites that it opens.
#[derive(Clone, Debug)]
struct Depth {
    gene: usize,
    sites: Vec<usize>,
}

/// A site of more joint choices is taken apart into its genes.
const MAX_COMBINATIONS: usize = 64;

/// Moves away from one arch, in flat arrays that are used again.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// What each move sets, all moves together.
    assignments: Vec<(u16, u8)>,
    /// Where each move's assignments end.
    ends: Vec<u32>,
    /// Bits of the positions that each move touches; moves that share one cannot be combined.
    touched: Vec<u128>,
}

impl Moves {
    /// Number of moves.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Genes and choices that a move sets.
    pub fn assignments(&self, index: usize) -> &[(u16, u8)] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.assignments[start..self.ends[index] as usize]
    }

    /// Whether two moves can be made together.
    pub fn combine(&self, one: usize, other: usize) -> bool {
        self.touched[one] & self.touched[other] == 0
    }

    fn clear(&mut self) {
        self.assignments.clear();
        self.ends.clear();
        self.touched.clear();
    }

    fn end(&mut self, touched: u128) {
        self.ends.push(self.assignments.len() as u32);
        self.touched.push(touched);
    }
}

fn bit(position: usize) -> u128 {
    // Beyond 128 positions two may share a bit, and are then not combined.
    1 << (position % 128)
}

impl Neighbourhood {
    /// The positions of these genes.
    pub fn new(genes: &dyn Genes) -> Self {
        let genes = genes.genes();
        let active: Vec<Option<(usize, u8)>> = genes
            .iter()
            .map(|gene| {
                gene.active_when.map(|rule| {
                    let depths = &genes[rule.depth_gene].choices;
                    let least = depths.iter().position(|depth| *depth >= rule.at_least).unwrap_or(depths.len());
                    (rule.depth_gene, least as u8)
                })
            })
            .collect();
        let mut offsets = vec![0];
        for gene in genes {
            offsets.push(offsets[offsets.len() - 1] + gene.choices.len());
        }
        let governs = |index: usize| active.iter().any(|rule| rule.is_some_and(|(depth, _)| depth == index));
        let mut sites: Vec<Site> = Vec::new();
        for (index, rule) in active.iter().enumerate() {
            if governs(index) {
                continue;
            }
            let size = genes[index].choices.len();
            let joined = sites.iter_mut().find(|site| {
                rule.is_some() && site.needs == *rule && site.combinations.len() * size <= MAX_COMBINATIONS
            });
            match joined {
                Some(site) => {
                    site.genes.push(index);
                    site.combinations = (site.combinations.iter())
                        .flat_map(|head| (0..size as u8).map(move |choice| [&head[..], &[choice]].concat()))
                        .collect();
                }
                None => {
                    let combinations = (0..size as u8).map(|choice| vec![choice]).collect();
                    sites.push(Site { genes: vec![index], combinations, needs: *rule });
                }
            }
        }
        let depths: Vec<Depth> = (0..genes.len())
            .filter(|index| governs(*index))
            .map(|gene| {
                let governed = |site: &Site| site.needs.is_some_and(|(depth, _)| depth == gene);
                Depth { gene, sites: (0..sites.len()).filter(|s| governed(&sites[*s])).collect() }
            })
            .collect();
        let mut groups: Vec<Vec<usize>> = depths
            .iter()
            .map(|depth| {
                let governed = depth.sites.iter().flat_map(|site| sites[*site].genes.iter().copied());
                std::iter::once(depth.gene).chain(governed).collect()
            })
            .collect();
        let alone: Vec<Vec<usize>> =
            (0..genes.len()).filter(|g| !groups.iter().flatten().any(|taken| taken == g)).map(|g| vec![g]).collect();
        groups.extend(alone);
        let choices = genes.iter().map(|gene| gene.choices.len() as u8).collect();
        Self { choices, offsets, active, sites, depths, groups }
    }

    /// Numbers in a row of slopes.
    pub fn slope_width(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    fn is_active(&self, gene: usize, choices: &[u8]) -> bool {
        self.active[gene].is_none_or(|(depth, least)| choices[depth] >= least)
    }

    fn is_open(&self, site: &Site, choices: &[u8]) -> bool {
        site.needs.is_none_or(|(depth, least)| choices[depth] >= least)
    }

    /// Sets inactive genes to choice 0.
    pub fn canonicalise(&self, choices: &mut [u8]) {
        for gene in 0..choices.len() {
            if !self.is_active(gene, choices) {
                choices[gene] = 0;
            }
        }
    }

    /// Every gene that is active only at some depth, with that depth's gene.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.active.iter().enumerate().filter_map(|(gene, rule)| rule.map(|(depth, _)| (gene, depth)))
    }

    /// Whether a gene may have any choice but its first.
    pub(crate) fn may_turn(&self, gene: usize, choices: &[u8]) -> bool {
        self.is_active(gene, choices)
    }

    /// Every neighbour of an arch.
    pub fn moves(&self, choices: &[u8], slopes: Option<&[f32]>, moves: &mut Moves) {
        moves.clear();
        for (index, site) in self.sites.iter().enumerate().filter(|(_, site)| self.is_open(site, choices)) {
            for combination in &site.combinations {
                let before = moves.assignments.len();
                let set = site.genes.iter().zip(combination).filter(|(gene, choice)| choices[**gene] != **choice);
                moves.assignments.extend(set.map(|(gene, choice)| (*gene as u16, *choice)));
                if moves.assignments.len() > before {
                    moves.end(bit(index));
                }
            }
        }
        for (index, depth) in self.depths.iter().enumerate() {
            let own = bit(self.sites.len() + index);
            let now = choices[depth.gene];
            let between =
                |from: u8, to: u8| {
                    depth.sites.iter().copied().filter(move |site| {
                        self.sites[*site].needs.is_some_and(|(_, least)| least > from && least <= to)
                    })
                };
            if now > 0 {
                moves.assignments.push((depth.gene as u16, now - 1));
                moves.end(between(now - 1, now).fold(own, |bits, site| bits | bit(site)));
            }
            if now + 1 < self.choices[depth.gene] {
                // The first site that opens takes every joint choice in turn, the others their best.
                let opened: Vec<usize> = between(now, now + 1).collect();
                let touched = opened.iter().fold(own, |bits, site| bits | bit(*site));
                let variants = opened.first().map_or(1, |site| self.sites[*site].combinations.len());
                for variant in 0..variants {
                    moves.assignments.push((depth.gene as u16, now + 1));
                    for (rank, site) in opened.iter().enumerate() {
                        let site = &self.sites[*site];
                        let taken = if rank == 0 { variant } else { self.steepest(site, slopes) };
                        let set = site.genes.iter().zip(&site.combinations[taken]);
                        moves.assignments.extend(set.map(|(gene, choice)| (*gene as u16, *choice)));
                    }
                    moves.end(touched);
                }
            }
        }
    }

    /// The joint choice of the greatest slope; the first without slopes.
    fn steepest(&self, site: &Site, slopes: Option<&[f32]>) -> usize {
        let Some(slopes) = slopes else { return 0 };
        let slope = |combination: &Vec<u8>| -> f32 {
            site.genes.iter().zip(combination).map(|(gene, c)| slopes[self.offsets[*gene] + usize::from(*c)]).sum()
        };
        let best = site.combinations.iter().enumerate().max_by(|a, b| slope(a.1).total_cmp(&slope(b.1)));
        best.map_or(0, |(index, _)| index)
    }

    /// First-order gain of a move.
    pub fn gain(&self, choices: &[u8], slopes: &[f32], assignments: &[(u16, u8)]) -> f32 {
        let slope = |gene: usize, choice: u8| slopes[self.offsets[gene] + usize::from(choice)];
        let mut gain = 0.0;
        for (gene, choice) in assignments {
            let gene = usize::from(*gene);
            let was = choices[gene];
            if self.is_active(gene, choices) {
                gain -= slope(gene, was);
            }
            gain += slope(gene, *choice);
            if *choice < was {
                for depth in self.depths.iter().filter(|depth| depth.gene == gene) {
                    let closing = depth
                        .sites
                        .iter()
                        .map(|site| &self.sites[*site])
                        .filter(|site| site.needs.is_some_and(|(_, least)| was >= least && *choice < least));
                    gain -= closing.flat_map(|site| &site.genes).map(|g| slope(*g, choices[*g])).sum::<f32>();
                }
            }
        }
        gain
    }

    /// Uniform over genes, as the paper samples.
    pub fn sample(&self, rng: &mut impl Rng) -> Vec<u8> {
        let mut choices: Vec<u8> = self.choices.iter().map(|n| rng.random_range(0..*n)).collect();
        self.canonicalise(&mut choices);
        choices
    }

    /// Redraws `count` positions.
    pub fn kick(&self, choices: &mut [u8], count: usize, rng: &mut impl Rng) {
        for _ in 0..count {
            let position = rng.random_range(0..self.sites.len() + self.depths.len());
            match self.sites.get(position) {
                Some(site) => {
                    let taken = &site.combinations[rng.random_range(0..site.combinations.len())];
                    site.genes.iter().zip(taken).for_each(|(gene, choice)| choices[*gene] = *choice);
                }
                None => {
                    let depth = &self.depths[position - self.sites.len()];
                    choices[depth.gene] = rng.random_range(0..self.choices[depth.gene]);
                    // Sites that open take anything.
                    for gene in depth.sites.iter().flat_map(|site| &self.sites[*site].genes) {
                        if choices[*gene] == 0 {
                            choices[*gene] = rng.random_range(0..self.choices[*gene]);
                        }
                    }
                }
            }
        }
        self.canonicalise(choices);
    }

    /// Takes every group of genes from one parent or the other.
    pub fn cross(&self, one: &[u8], other: &[u8], rng: &mut impl Rng) -> Vec<u8> {
        let mut child = one.to_vec();
        for group in &self.groups {
            if rng.random_bool(0.5) {
                group.iter().for_each(|gene| child[*gene] = other[*gene]);
            }
        }
        self.canonicalise(&mut child);
        child
    }
}
