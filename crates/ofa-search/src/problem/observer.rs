//! Watching a search.

use crate::problem::candidate::Candidate;

/// Watches a search; a strategy never touches I/O itself.
pub trait Observer: Send {
    /// After every batch of evaluations: how many so far in all cases together, and the best feasible candidate of the
    /// case at work.
    fn on_progress(&mut self, _evaluations: usize, _best: Option<&Candidate>) {}
    /// When a better feasible candidate is found.
    fn on_improvement(&mut self, _best: &Candidate) {}
}

/// An observer that stays silent.
pub struct Silent;

impl Observer for Silent {}
