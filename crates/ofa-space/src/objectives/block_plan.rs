//! Which genes shape which block, found by asking the space itself, so that a quantity summed over blocks becomes one
//! table per block and its value one gather per block.
//!
//! The plan is inferred from resolved networks (one gene changed at a time) and every table made from it is checked
//! against whole networks, so a space whose blocks do not behave this way is noticed and gets no table.

use crate::genotype::arch::Arch;
use crate::genotype::gene::{Dimension, Gene};
use crate::network::net_spec::{Block, BlockKind, NetSpec, Shape};
use crate::objectives::objective::ObjectiveError;
use crate::spaces::space::SearchSpace;
use crate::{Opened, SpaceError};
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// The blocks of a space's largest network, and what each depends on.
#[derive(Clone, Debug)]
pub struct BlockPlan {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// Genes that change the block, depth genes apart.
    genes: Vec<usize>,
    /// The block is there if each of these depth genes has at least this choice.
    needs: Vec<(usize, u8)>,
}

/// A quantity of an arch as a sum over its blocks, at one resolution.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockSum {
    terms: Vec<Term>,
    values: Vec<f64>,
    floor: f64,
}

/// One block of a [`BlockSum`].
#[derive(Clone, PartialEq, Debug)]
pub struct Term {
    /// Genes that the term depends on, with the distance in the table between two choices.
    strides: Vec<(usize, usize)>,
    needs: Vec<(usize, u8)>,
    offset: usize,
}

impl Term {
    /// Genes that change the term where its block is there.
    pub fn genes(&self) -> impl Iterator<Item = usize> + '_ {
        self.strides.iter().map(|(gene, _)| *gene)
    }

    /// Depth genes that decide whether the block is there, with the least choice for which it is.
    pub fn needs(&self) -> &[(usize, u8)] {
        &self.needs
    }

    /// Whether the block is there.
    pub fn is_present(&self, choices: &[u8]) -> bool {
        self.needs.iter().all(|(gene, least)| choices[*gene] >= *least)
    }
}

/// One term of a sum that is written down rather than tabulated from networks.
#[derive(Clone, PartialEq, Debug)]
pub struct PlainTerm {
    /// Genes that the term depends on, with their numbers of choices; the first varies fastest in `values`.
    pub genes: Vec<(usize, usize)>,
    /// Depth genes that must have at least this choice, or the term is 0.
    pub needs: Vec<(usize, u8)>,
    /// One value per joint choice.
    pub values: Vec<f64>,
}

impl BlockSum {
    /// A sum of these terms.
    ///
    /// # Panics
    /// If a term has not one value per joint choice.
    pub fn of_terms(terms: impl IntoIterator<Item = PlainTerm>) -> Self {
        let mut sum = Self { terms: Vec::new(), values: Vec::new(), floor: f64::NEG_INFINITY };
        for term in terms {
            let mut stride = 1;
            let mut strides = Vec::with_capacity(term.genes.len());
            for (gene, choices) in term.genes {
                strides.push((gene, stride));
                stride *= choices;
            }
            assert_eq!(term.values.len(), stride, "one value per joint choice");
            sum.terms.push(Term { strides, needs: term.needs, offset: sum.values.len() });
            sum.values.extend(term.values);
        }
        sum
    }

    /// The same with a constant added to each value, as a term without genes.
    #[must_use]
    pub fn plus(mut self, constant: f64) -> Self {
        if constant != 0.0 {
            self.terms.push(Term { strides: Vec::new(), needs: Vec::new(), offset: self.values.len() });
            self.values.push(constant);
        }
        self
    }

    /// The same with values below `floor` raised to it.
    #[must_use]
    pub fn at_least(self, floor: f64) -> Self {
        Self { floor: self.floor.max(floor), ..self }
    }

    /// The value for these choices (in canonical form); NaN where the source has no value for a block.
    pub fn value(&self, choices: &[u8]) -> f64 {
        let sum: f64 = self.terms.iter().map(|term| self.term_value(term, choices)).sum();
        if sum < self.floor { self.floor } else { sum }
    }

    /// The terms in the order of the blocks.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The value of one term, 0 where its block is not there.
    pub fn term_value(&self, term: &Term, choices: &[u8]) -> f64 {
        match term.is_present(choices) {
            true => {
                let at: usize = term.strides.iter().map(|(gene, stride)| usize::from(choices[*gene]) * stride).sum();
                self.values[term.offset + at]
            }
            false => 0.0,
        }
    }
}

/// How the values of its blocks make the value of a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Combination {
    /// Their sum.
    Sum,
    /// The largest; 0 without blocks.
    Maximum,
}

impl Combination {
    /// The value of a network from the values of its blocks; NaN if one of them is.
    pub fn of(self, values: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::Sum => values.sum(),
            Self::Maximum => values.reduce(|a, b| if a.is_nan() || a >= b { a } else { b }).unwrap_or_default(),
        }
    }
}

/// A quantity of an arch as the largest value of its blocks, at one resolution.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockMaximum(BlockSum);

impl BlockMaximum {
    /// The value for these choices (in canonical form); NaN where the source has no value for a block.
    pub fn value(&self, choices: &[u8]) -> f64 {
        let present = self.0.terms.iter().filter(|term| term.is_present(choices));
        Combination::Maximum.of(present.map(|term| self.0.term_value(term, choices)))
    }

    /// The blocks' values; their sum means nothing.
    pub(super) fn table(&self) -> &BlockSum {
        &self.0
    }
}

/// What a block's cost may depend on.
type Signature<'a> = (&'a BlockKind, Shape, Shape);

fn signature(block: &Block) -> Signature<'_> {
    (&block.kind, block.input, block.output)
}

/// No table may be larger: a block that depends on so many genes is no sum over blocks worth having.
const MAX_COMBINATIONS: usize = 4096;
/// Random archs that a table is checked on.
const CHECKS: usize = 12;

impl BlockPlan {
    /// The plan of a space, or `None` if its networks are no sequence of blocks that genes change and skip.
    ///
    /// # Errors
    /// [`SpaceError`] if the largest network cannot be resolved.
    pub fn of(space: &dyn SearchSpace) -> Result<Option<Self>, SpaceError> {
        let genes = &space.info().genes;
        let max = space.max_arch();
        let base = space.resolve(&max)?;
        let mut slots = vec![Slot::default(); base.blocks.len()];
        let changed = |gene: usize, choice: u8| -> Result<NetSpec, SpaceError> {
            let mut choices = max.choices().to_vec();
            choices[gene] = choice;
            space.resolve(&space.arch(choices, max.resolution())?)
        };
        for (index, gene) in genes.iter().enumerate().filter(|(_, gene)| gene.dimension != Dimension::Depth) {
            for choice in 0..gene.choices.len() as u8 - 1 {
                let net = changed(index, choice)?;
                if net.blocks.len() != base.blocks.len() {
                    return Ok(None);
                }
                for (slot, (ours, theirs)) in slots.iter_mut().zip(base.blocks.iter().zip(&net.blocks)) {
                    if signature(ours) != signature(theirs) && !slot.genes.contains(&index) {
                        slot.genes.push(index);
                    }
                }
            }
        }
        for (index, gene) in genes.iter().enumerate().filter(|(_, gene)| gene.dimension == Dimension::Depth) {
            for choice in 0..gene.choices.len() as u8 - 1 {
                let net = changed(index, choice)?;
                let Some(removed) = removed(&base, &net, &slots, genes, index, choice) else { return Ok(None) };
                for slot in removed {
                    match slots[slot].needs.iter_mut().find(|(gene, _)| *gene == index) {
                        Some((_, least)) => *least = (*least).max(choice + 1),
                        None => slots[slot].needs.push((index, choice + 1)),
                    }
                }
            }
        }
        Ok(Some(Self { slots }))
    }

    /// The quantity `value` of every block as a sum, at one resolution; `None` if it turns out not to be one. Where
    /// `value` fails, such as for a block that a lookup table lacks, the sum is NaN.
    ///
    /// # Errors
    /// [`SpaceError`] if a network cannot be resolved.
    pub fn tabulate(
        &self,
        space: &dyn SearchSpace,
        resolution: Option<u32>,
        value: &dyn Fn(&NetSpec, usize) -> Result<f64, ObjectiveError>,
    ) -> Result<Option<BlockSum>, SpaceError> {
        self.table(space, resolution, value, Combination::Sum)
    }

    /// [`tabulate`](Self::tabulate) for a quantity that is the largest of its blocks'.
    ///
    /// # Errors
    /// As [`tabulate`](Self::tabulate).
    pub fn tabulate_maximum(
        &self,
        space: &dyn SearchSpace,
        resolution: Option<u32>,
        value: &dyn Fn(&NetSpec, usize) -> Result<f64, ObjectiveError>,
    ) -> Result<Option<BlockMaximum>, SpaceError> {
        Ok(self.table(space, resolution, value, Combination::Maximum)?.map(BlockMaximum))
    }

    fn table(
        &self,
        space: &dyn SearchSpace,
        resolution: Option<u32>,
        value: &dyn Fn(&NetSpec, usize) -> Result<f64, ObjectiveError>,
        combination: Combination,
    ) -> Result<Option<BlockSum>, SpaceError> {
        let genes = &space.info().genes;
        let largest = space.max_arch();
        let mut sum =
            BlockSum { terms: Vec::with_capacity(self.slots.len()), values: Vec::new(), floor: f64::NEG_INFINITY };
        let mut combinations = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let mut stride = 1;
            let mut strides = Vec::with_capacity(slot.genes.len());
            for gene in &slot.genes {
                strides.push((*gene, stride));
                stride *= genes[*gene].choices.len();
            }
            if stride > MAX_COMBINATIONS {
                return Ok(None);
            }
            sum.terms.push(Term { strides, needs: slot.needs.clone(), offset: sum.values.len() });
            sum.values.resize(sum.values.len() + stride, f64::NAN);
            combinations.push(stride);
        }
        for group in self.disjoint_groups() {
            let rounds = group.iter().map(|slot| combinations[*slot]).max().unwrap_or(0);
            for round in 0..rounds {
                let mut choices = largest.choices().to_vec();
                for slot in group.iter().filter(|slot| round < combinations[**slot]) {
                    for (gene, stride) in &sum.terms[*slot].strides {
                        choices[*gene] = (round / stride % genes[*gene].choices.len()) as u8;
                    }
                }
                let net = space.resolve(&space.arch(choices, resolution)?)?;
                if net.blocks.len() != self.slots.len() {
                    return Ok(None);
                }
                for slot in group.iter().filter(|slot| round < combinations[**slot]) {
                    let offset = sum.terms[*slot].offset;
                    sum.values[offset + round] = value(&net, *slot).unwrap_or(f64::NAN);
                }
            }
        }
        Ok(checked(&sum, space, resolution, value, combination)?.then_some(sum))
    }

    /// Slots in groups of which no two share a gene.
    fn disjoint_groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let free = groups.iter_mut().find(|(_, taken)| slot.genes.iter().all(|gene| !taken.contains(gene)));
            match free {
                Some((members, taken)) => {
                    members.push(index);
                    taken.extend(&slot.genes);
                }
                None => groups.push((vec![index], slot.genes.clone())),
            }
        }
        groups.into_iter().map(|(members, _)| members).collect()
    }
}

/// Slots of the largest network that a lower depth leaves out; `None` if the rest does not stay as it was.
fn removed(
    base: &NetSpec,
    net: &NetSpec,
    slots: &[Slot],
    genes: &[Gene],
    depth_gene: usize,
    choice: u8,
) -> Option<Vec<usize>> {
    let depth = genes[depth_gene].choices[choice as usize];
    let skipped = |gene: &usize| {
        genes[*gene].active_when.is_some_and(|rule| rule.depth_gene == depth_gene && depth < rule.at_least)
    };
    let mut removed = Vec::new();
    let mut left = net.blocks.iter().peekable();
    for (index, block) in base.blocks.iter().enumerate() {
        let expected_away = slots[index].genes.iter().any(skipped);
        match left.peek() {
            Some(next) if !expected_away && signature(next) == signature(block) => {
                left.next();
            }
            _ => removed.push(index),
        }
    }
    left.peek().is_none().then_some(removed)
}

/// Whether the table agrees with whole networks; blocks without a value are left out of the comparison.
fn checked(
    sum: &BlockSum,
    space: &dyn SearchSpace,
    resolution: Option<u32>,
    value: &dyn Fn(&NetSpec, usize) -> Result<f64, ObjectiveError>,
    combination: Combination,
) -> Result<bool, SpaceError> {
    let mut rng = SmallRng::seed_from_u64(0);
    let with_resolution = |arch: Arch| Arch { choices: arch.choices, resolution };
    let random = (0..CHECKS).map(|_| space.sample(&Opened::EVERYTHING, &mut rng));
    let archs: Vec<Arch> =
        [space.min_arch(), space.max_arch()].into_iter().chain(random).map(with_resolution).collect();
    for arch in archs {
        let net = space.resolve(&arch)?;
        let values: Result<Vec<f64>, _> = (0..net.blocks.len()).map(|block| value(&net, block)).collect();
        let whole = values.map(|values| combination.of(values.into_iter()));
        let present = sum.terms.iter().filter(|term| term.is_present(arch.choices()));
        let ours = combination.of(present.map(|term| sum.term_value(term, arch.choices())));
        match whole {
            Ok(whole) if (whole - ours).abs() > 1e-9 * whole.abs().max(f64::MIN_POSITIVE) => return Ok(false),
            Ok(_) if ours.is_nan() => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}
