//! When a search ends.

use crate::problem::legacy::Allowance;
use std::time::{Duration, Instant};

/// When a search ends at the latest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Budget {
    /// Evaluations of distinct archs, per case.
    pub evaluations: usize,
    /// Wall time per case, in seconds. With it, results depend on the machine's speed.
    pub seconds: Option<f64>,
}

impl Budget {
    /// A number of evaluations.
    pub fn evaluations(evaluations: usize) -> Self {
        Self { evaluations, seconds: None }
    }

    /// A wall time, whatever the number of evaluations.
    pub fn seconds(seconds: f64) -> Self {
        Self { evaluations: usize::MAX, seconds: Some(seconds) }
    }

    /// One of so many equal parts.
    pub(super) fn part(&self, parts: usize) -> Self {
        Self { evaluations: self.evaluations / parts, seconds: self.seconds.map(|seconds| seconds / parts as f64) }
    }

    /// What a case that starts now may spend.
    pub(super) fn allowance(&self) -> Allowance {
        // A time beyond what a clock can hold is no limit.
        let span = self.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let deadline = span.and_then(|span| Instant::now().checked_add(span));
        Allowance { evaluations: self.evaluations, deadline }
    }
}
