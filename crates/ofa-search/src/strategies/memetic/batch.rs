//! Evaluations of one step of an island.

use crate::strategies::neighbourhood::Moves;
use ofa_space::Population;

/// One batch of evaluations, in arrays that are used again.
pub(super) struct Batch {
    pub(super) rows: Population,
    /// The climber that each row is for.
    pub(super) owners: Vec<usize>,
    /// `[row][constraint]`.
    pub(super) prices: Vec<f64>,
    /// One per row.
    pub(super) scores: Vec<f64>,
    /// Archs whose slopes are asked for, and the slopes.
    pub(super) starts: Population,
    pub(super) slopes: Vec<f32>,
    /// Moves away from one arch, and what they add to its prices: `[move][constraint]`.
    pub(super) moves: Moves,
    pub(super) differences: Vec<f64>,
}

impl Batch {
    /// An empty batch of archs with this many genes.
    pub(super) fn new(genes: usize) -> Self {
        Self {
            rows: Population::new(genes),
            owners: Vec::new(),
            prices: Vec::new(),
            scores: Vec::new(),
            starts: Population::new(genes),
            slopes: Vec::new(),
            moves: Moves::default(),
            differences: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.owners.clear();
        self.prices.clear();
    }

    pub(super) fn push(&mut self, owner: usize, choices: &[u8], prices: &[f64], resolution: Option<u32>) {
        self.rows.push_row(choices, resolution);
        self.owners.push(owner);
        self.prices.extend_from_slice(prices);
    }
}
