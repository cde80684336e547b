//! What archs of one resolution cost: every constraint's quantity, by block tables where it is a sum over blocks.

use crate::error::SearchError;
use crate::problem::evaluator::Evaluator;
use crate::strategies::neighbourhood::{Moves, Neighbourhood};
use ofa_space::{BlockSum, Population};
use rand::{RngExt, rand_core::Rng};
use std::sync::Arc;

/// Prices of archs at one resolution.
pub(crate) struct Pricing<'a> {
    evaluator: Evaluator<'a>,
    resolution: Option<u32>,
    limits: Vec<f64>,
    tables: Vec<Option<Table>>,
    rows: Population,
    column: Vec<f64>,
}

struct Table {
    sum: Arc<BlockSum>,
    /// Terms that each gene takes part in.
    terms: Vec<Vec<usize>>,
}

impl<'a> Pricing<'a> {
    pub(crate) fn new(evaluator: Evaluator<'a>, resolution: Option<u32>, limits: Vec<f64>) -> Self {
        let genes = evaluator.genes().genes().len();
        let table = |sum: Arc<BlockSum>| {
            let mut terms = vec![Vec::new(); genes];
            for (index, term) in sum.terms().iter().enumerate() {
                for gene in term.genes().chain(term.needs().iter().map(|(gene, _)| *gene)) {
                    if !terms[gene].contains(&index) {
                        terms[gene].push(index);
                    }
                }
            }
            Table { sum, terms }
        };
        let tables = evaluator.constraints().iter().map(|c| c.objective.block_sum(resolution).map(table)).collect();
        Self { evaluator, resolution, limits, tables, rows: Population::new(genes), column: Vec::new() }
    }

    pub(crate) fn limits(&self) -> &[f64] {
        &self.limits
    }

    /// The prices of an arch, one per constraint.
    pub(crate) fn prices(&mut self, choices: &[u8]) -> Result<Vec<f64>, SearchError> {
        let mut prices = Vec::with_capacity(self.tables.len());
        for index in 0..self.tables.len() {
            let tabled = self.tables[index].as_ref().map(|table| table.sum.value(choices));
            prices.push(match tabled {
                Some(price) if price.is_finite() => price,
                _ => {
                    self.rows.clear();
                    self.rows.push_row(choices, self.resolution);
                    self.evaluator.quantity(index, &self.rows, &mut self.column)?;
                    self.column[0]
                }
            });
        }
        Ok(prices)
    }

    /// How much every move adds to each price: `[move][constraint]`.
    pub(crate) fn differences(
        &mut self,
        neighbourhood: &Neighbourhood,
        choices: &[u8],
        prices: &[f64],
        moves: &Moves,
        differences: &mut Vec<f64>,
    ) -> Result<(), SearchError> {
        let constraints = self.tables.len();
        differences.clear();
        differences.resize(moves.len() * constraints, 0.0);
        let mut changed = choices.to_vec();
        let mut terms: Vec<usize> = Vec::new();
        for (constraint, table) in self.tables.iter().enumerate() {
            if let Some(table) = table {
                for index in 0..moves.len() {
                    terms.clear();
                    for (gene, choice) in moves.assignments(index) {
                        changed[usize::from(*gene)] = *choice;
                        terms.extend(&table.terms[usize::from(*gene)]);
                    }
                    terms.sort_unstable();
                    terms.dedup();
                    let all = table.sum.terms();
                    let difference = terms.iter().map(|term| {
                        table.sum.term_value(&all[*term], &changed) - table.sum.term_value(&all[*term], choices)
                    });
                    differences[index * constraints + constraint] = difference.sum();
                    for (gene, _) in moves.assignments(index) {
                        changed[usize::from(*gene)] = choices[usize::from(*gene)];
                    }
                }
                continue;
            }
            self.rows.clear();
            for index in 0..moves.len() {
                let mut neighbour = choices.to_vec();
                moves.assignments(index).iter().for_each(|(gene, choice)| neighbour[usize::from(*gene)] = *choice);
                neighbourhood.canonicalise(&mut neighbour);
                self.rows.push_row(&neighbour, self.resolution);
            }
            self.evaluator.quantity(constraint, &self.rows, &mut self.column)?;
            for (index, price) in self.column.iter().enumerate() {
                differences[index * constraints + constraint] = price - prices[constraint];
            }
        }
        Ok(())
    }

    pub(crate) fn is_feasible(&self, prices: &[f64]) -> bool {
        prices.iter().zip(&self.limits).all(|(price, limit)| price <= limit)
    }

    /// The sum of relative excesses over the limits.
    pub(crate) fn excess(&self, prices: &[f64]) -> f64 {
        let excess = prices
            .iter()
            .zip(&self.limits)
            .map(|(price, limit)| (price - limit).max(0.0) / limit.abs().max(f64::MIN_POSITIVE));
        excess.sum()
    }

    /// Makes an arch feasible by random steps that each lower the excess; returns its prices, feasible or not.
    pub(crate) fn repair(
        &mut self,
        neighbourhood: &Neighbourhood,
        choices: &mut Vec<u8>,
        rng: &mut impl Rng,
    ) -> Result<Vec<f64>, SearchError> {
        const TRIES: usize = 600;
        let mut prices = self.prices(choices)?;
        let mut excess = self.excess(&prices);
        for _ in 0..TRIES {
            if excess == 0.0 {
                break;
            }
            let mut changed = choices.clone();
            let gene = rng.random_range(0..changed.len());
            let now = changed[gene];
            // Mostly one step down, which is mostly cheaper; sometimes anything.
            changed[gene] = match now > 0 && rng.random_bool(0.9) {
                true => now - 1,
                false => rng.random_range(0..neighbourhood.choices[gene]),
            };
            neighbourhood.canonicalise(&mut changed);
            if changed == *choices {
                continue;
            }
            let new = self.prices(&changed)?;
            let now = self.excess(&new);
            if now < excess {
                (*choices, prices, excess) = (changed, new, now);
            }
        }
        Ok(prices)
    }

    /// The cheapest arch that steps from the smallest lead to.
    pub(crate) fn cheapest(&mut self, neighbourhood: &Neighbourhood) -> Result<(Vec<u8>, Vec<f64>), SearchError> {
        let mut choices = vec![0; neighbourhood.choices.len()];
        let mut prices = self.prices(&choices)?;
        let (mut moves, mut differences) = (Moves::default(), Vec::new());
        while !self.is_feasible(&prices) {
            neighbourhood.moves(&choices, None, &mut moves);
            self.differences(neighbourhood, &choices, &prices, &moves, &mut differences)?;
            let excess_after = |index: usize| {
                let difference = &differences[index * prices.len()..(index + 1) * prices.len()];
                let after: Vec<f64> = prices.iter().zip(difference).map(|(price, d)| price + d).collect();
                self.excess(&after)
            };
            let best = (0..moves.len()).map(|m| (m, excess_after(m))).min_by(|a, b| a.1.total_cmp(&b.1));
            let before = self.excess(&prices);
            let Some((best, after)) = best else { break };
            if after >= before {
                break;
            }
            moves.assignments(best).iter().for_each(|(gene, choice)| choices[usize::from(*gene)] = *choice);
            neighbourhood.canonicalise(&mut choices);
            prices = self.prices(&choices)?;
            if self.excess(&prices) >= before {
                break;
            }
        }
        Ok((choices, prices))
    }
}
