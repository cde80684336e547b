//! The smallest value that a sum or a maximum over blocks takes, exactly, without enumerating the space.
//!
//! Every block's table is a function of a few genes. One gene after another is eliminated: all tables that depend on it become
//! one table over the other genes, which holds the best that the gene can do for each of their choices. Genes of different
//! stages hardly meet, so the tables stay small (non-serial dynamic programming, Bertelè and Brioschi 1972).

use crate::genotype::gene::Gene;
use crate::objectives::block_plan::{BlockSum, Combination, Term};

/// So many genes depend on each other that the tables would not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many genes depend on each other for an exact minimum")]
pub struct TooWide;

/// Entries of a table at most.
const MOST_ENTRIES: usize = 1 << 22;

/// A function of some genes.
struct Table {
    /// Ascending.
    scope: Vec<usize>,
    /// One value per joint choice, the first gene varying fastest.
    values: Vec<f64>,
}

/// What is best for a gene, for every joint choice of the genes that were eliminated after it.
struct Eliminated {
    gene: usize,
    scope: Vec<usize>,
    best: Vec<u8>,
}

/// A joint choice of a few genes, as an odometer; choices of all other genes stay at 0.
struct Odometer<'a> {
    scope: &'a [usize],
    sizes: &'a [usize],
    choices: Vec<u8>,
}

impl<'a> Odometer<'a> {
    fn new(scope: &'a [usize], sizes: &'a [usize]) -> Self {
        Self { scope, sizes, choices: vec![0; sizes.len()] }
    }

    fn turn(&mut self) {
        for gene in self.scope {
            if usize::from(self.choices[*gene]) + 1 < self.sizes[*gene] {
                self.choices[*gene] += 1;
                return;
            }
            self.choices[*gene] = 0;
        }
    }
}

/// Number of joint choices.
fn entries(scope: &[usize], sizes: &[usize]) -> usize {
    scope.iter().fold(1usize, |product, gene| product.saturating_mul(sizes[*gene]))
}

/// Place of a joint choice in a table.
fn place(scope: &[usize], sizes: &[usize], choices: &[u8]) -> usize {
    scope.iter().rev().fold(0, |place, gene| place * sizes[*gene] + usize::from(choices[*gene]))
}

impl Table {
    fn of(mut scope: Vec<usize>, sizes: &[usize], value: impl Fn(&[u8]) -> f64) -> Result<Self, TooWide> {
        scope.sort_unstable();
        scope.dedup();
        let count = entries(&scope, sizes);
        if count > MOST_ENTRIES {
            return Err(TooWide);
        }
        let mut values = Vec::with_capacity(count);
        let mut odometer = Odometer::new(&scope, sizes);
        for _ in 0..count {
            values.push(value(&odometer.choices));
            odometer.turn();
        }
        Ok(Self { scope, values })
    }

    /// A block's values; a block without a value cannot be chosen, and one that is not there changes nothing.
    fn of_term(sum: &BlockSum, term: &Term, sizes: &[usize], nothing: f64) -> Result<Self, TooWide> {
        let scope = term.genes().chain(term.needs().iter().map(|(gene, _)| *gene)).collect();
        Self::of(scope, sizes, |choices| match term.is_present(choices) {
            false => nothing,
            true => match sum.term_value(term, choices) {
                value if value.is_nan() => f64::INFINITY,
                value => value,
            },
        })
    }

    fn value(&self, sizes: &[usize], choices: &[u8]) -> f64 {
        self.values[place(&self.scope, sizes, choices)]
    }
}

/// Choices, in canonical form, with the smallest value of the table's blocks so combined; `None` if no arch has one.
pub(super) fn minimum(sum: &BlockSum, combination: Combination, genes: &[Gene]) -> Result<Option<Vec<u8>>, TooWide> {
    let sizes: Vec<usize> = genes.iter().map(|gene| gene.choices.len()).collect();
    let (nothing, combine): (f64, fn(f64, f64) -> f64) = match combination {
        Combination::Sum => (0.0, |a, b| a + b),
        Combination::Maximum => (f64::NEG_INFINITY, f64::max),
    };
    let blocks = sum.terms().iter().map(|term| Table::of_term(sum, term, &sizes, nothing));
    let mut tables: Vec<Table> = blocks.collect::<Result<_, _>>()?;
    for (gene, rule) in genes.iter().enumerate().filter_map(|(index, gene)| Some((index, gene.active_when?))) {
        let depths = &genes[rule.depth_gene].choices;
        let least = depths.iter().position(|depth| *depth >= rule.at_least).unwrap_or(depths.len());
        // An inactive gene has its first choice.
        tables.push(Table::of(vec![gene, rule.depth_gene], &sizes, |choices| {
            match choices[gene] == 0 || usize::from(choices[rule.depth_gene]) >= least {
                true => nothing,
                false => f64::INFINITY,
            }
        })?);
    }
    let mut left: Vec<usize> = (0..genes.len()).collect();
    let mut eliminated = Vec::with_capacity(genes.len());
    while !left.is_empty() {
        let scope_without = |gene: usize| -> Vec<usize> {
            let meeting = tables.iter().filter(|table| table.scope.contains(&gene));
            let mut scope: Vec<usize> = meeting.flat_map(|table| table.scope.iter().copied()).collect();
            scope.sort_unstable();
            scope.dedup();
            scope.retain(|other| *other != gene);
            scope
        };
        let candidates = left.iter().enumerate().map(|(at, gene)| (at, scope_without(*gene)));
        let Some((at, scope)) = candidates.min_by_key(|(_, scope)| entries(scope, &sizes)) else { break };
        let gene = left.remove(at);
        let (meeting, others): (Vec<Table>, Vec<Table>) =
            tables.into_iter().partition(|table| table.scope.contains(&gene));
        tables = others;
        if entries(&scope, &sizes).saturating_mul(sizes[gene]) > MOST_ENTRIES {
            return Err(TooWide);
        }
        let mut values = Vec::new();
        let mut best = Vec::new();
        let mut odometer = Odometer::new(&scope, &sizes);
        for _ in 0..entries(&scope, &sizes) {
            let mut least = (f64::INFINITY, 0);
            for choice in 0..sizes[gene] as u8 {
                odometer.choices[gene] = choice;
                let at_choice = meeting.iter().map(|table| table.value(&sizes, &odometer.choices));
                let value = at_choice.fold(nothing, combine);
                if value < least.0 {
                    least = (value, choice);
                }
            }
            odometer.choices[gene] = 0;
            values.push(least.0);
            best.push(least.1);
            odometer.turn();
        }
        tables.push(Table { scope: scope.clone(), values });
        eliminated.push(Eliminated { gene, scope, best });
    }
    // Every table is a number by now.
    let total = tables.iter().map(|table| table.values[0]).fold(nothing, combine);
    if total == f64::INFINITY {
        return Ok(None);
    }
    let mut choices = vec![0; genes.len()];
    for Eliminated { gene, scope, best } in eliminated.iter().rev() {
        choices[*gene] = best[place(scope, &sizes, &choices)];
    }
    Ok(Some(choices))
}
