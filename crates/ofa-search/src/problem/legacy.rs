//! What a case of a grid may spend, and what it leaves to the next.

use crate::problem::memory::Memory;
use ofa_space::Arch;
use std::time::Instant;

/// When a case ends at the latest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Allowance {
    /// Evaluations of distinct archs.
    pub evaluations: usize,
    /// The moment after which nothing more is evaluated. What a search then returns depends on the machine's speed.
    pub deadline: Option<Instant>,
}

impl Default for Allowance {
    /// No end.
    fn default() -> Self {
        Self { evaluations: usize::MAX, deadline: None }
    }
}

/// What one case leaves to the next.
#[derive(Clone, Debug, Default)]
pub struct Legacy {
    /// Values of every arch known.
    pub memory: Memory,
    /// Good archs of several kinds, to start from.
    pub elites: Vec<Elite>,
    /// Targets of the grid that this case belongs to. With several, every case gets a small budget, and most of what it
    /// needs is known from the others.
    pub targets: usize,
}

/// A good arch of some case.
#[derive(Clone, PartialEq, Debug)]
pub struct Elite {
    /// The arch.
    pub arch: Arch,
    /// Value of the maximised objective.
    pub score: f64,
}
