//! Columns that are made of a network's costs: logarithms and inverses of MACs and parameters, of all blocks or of a
//! stage's.

use ofa_space::objectives::block_objective::BlockTables;
use ofa_space::{BlockSum, NetSpec, ObjectiveError, SearchSpace, SpaceError, cost};
use std::ops::Range;

/// A column made of a quantity.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Derived {
    /// Index among the quantities.
    pub quantity: usize,
    /// Blocks of the largest network that are summed; all, if there are none.
    pub blocks: Option<Range<usize>>,
    pub form: Form,
}

/// What becomes of a quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Its natural logarithm.
    Logarithm,
    /// A million over it.
    Inverse,
}

impl Form {
    const MILLION: f64 = 1e6;

    /// The column's value; 0 where there is nothing to take a logarithm or the inverse of.
    pub fn of(self, value: f64) -> f64 {
        match self {
            _ if value <= 0.0 => 0.0,
            Form::Logarithm => value.ln(),
            Form::Inverse => Self::MILLION / value,
        }
    }

    /// The derivative of the column by the quantity.
    pub fn slope(self, value: f64) -> f64 {
        match self {
            _ if value <= 0.0 => 0.0,
            Form::Logarithm => 1.0 / value,
            Form::Inverse => -Self::MILLION / (value * value),
        }
    }
}

impl Derived {
    pub fn sum(&self, sum: &BlockSum, choices: &[u8]) -> f64 {
        match &self.blocks {
            None => sum.value(choices),
            Some(blocks) => sum.terms()[blocks.clone()].iter().map(|term| sum.term_value(term, choices)).sum(),
        }
    }
}

/// Runs of blocks of the largest network whose outputs have one shape, where any gene changes or skips one of them; none
/// if the space's MACs are no sum over blocks.
pub(super) fn stages(space: &dyn SearchSpace, tables: &BlockTables) -> Result<Vec<Range<usize>>, SpaceError> {
    let largest = space.max_arch();
    let Some(sum) = tables.sum_at(space, largest.resolution(), &Quantity::Macs.value()) else { return Ok(Vec::new()) };
    let net = space.resolve(&largest)?;
    let mut runs: Vec<Range<usize>> = Vec::new();
    for block in 0..net.blocks.len().min(sum.terms().len()) {
        match runs.last_mut() {
            Some(run) if net.blocks[run.start].output == net.blocks[block].output => run.end = block + 1,
            _ => runs.push(block..block + 1),
        }
    }
    let elastic = |run: &Range<usize>| {
        sum.terms()[run.clone()].iter().any(|term| term.genes().next().is_some() || !term.needs().is_empty())
    };
    runs.retain(elastic);
    Ok(runs)
}

/// A quantity of a network that is encoded by its logarithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Quantity {
    Macs,
    Params,
}

impl Quantity {
    pub fn of(self, net: &NetSpec, block: usize) -> Result<f64, ObjectiveError> {
        Ok(match self {
            Quantity::Macs => cost::block_macs(&net.blocks[block]),
            Quantity::Params => cost::block_params(&net.blocks[block]),
        } as f64)
    }

    pub fn value(self) -> fn(&NetSpec, usize) -> Result<f64, ObjectiveError> {
        match self {
            Quantity::Macs => |net, block| Quantity::Macs.of(net, block),
            Quantity::Params => |net, block| Quantity::Params.of(net, block),
        }
    }
}
