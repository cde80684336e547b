//! Pareto-aware sampling of AttentiveNAS (Wang et al., CVPR 2021).

use super::{Request, Sampler, SamplerEntry, Teaching, smallest};
use crate::error::TrainError;
use ofa_space::{Arch, InvalidSetting, Settings, cost, settings};
use serde::{Deserialize, Serialize};

/// Of several subnets with about the same cost, trains the one that does best (or worst) on the step's batch: the ones
/// near the Pareto front get the training.
///
/// A target cost is drawn by drawing a subnet uniformly (the paper draws it from the same distribution, quantised);
/// candidates are other uniform draws whose cost is within `tolerance` of it. They are judged by their loss on the
/// batch, the paper's "minibatch" indicator: one forward pass each.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `side` | `best` | which candidate is trained: `best` or `worst` | |
/// | `candidates` | 3 | subnets judged for each that is trained | 1–64 |
/// | `tolerance` | 0.05 | largest difference in cost, as a share of the target | 0–1 |
/// | `extremes` | false | the largest and the smallest subnet come first in each step, and the largest teaches, as in the paper's recipe; needs `subnets_per_step` above 2 | |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParetoAware {
    /// Which candidate is trained.
    pub side: Side,
    /// Subnets judged for each that is trained.
    pub candidates: usize,
    /// Largest relative difference in cost.
    pub tolerance: f64,
    /// Whether the largest and the smallest subnet come first.
    pub extremes: bool,
}

/// Which candidate is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The one with the lowest loss (BestUp).
    Best,
    /// The one with the highest loss (WorstUp).
    Worst,
}

impl Default for ParetoAware {
    fn default() -> Self {
        Self { side: Side::Best, candidates: 3, tolerance: 0.05, extremes: false }
    }
}

/// Draws before a target is content with fewer candidates.
const MOST_DRAWS: usize = 200;

impl Settings for ParetoAware {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("candidates", self.candidates, 1..=64)?;
        settings::number("tolerance", self.tolerance, 0.0..=1.0)
    }
}

#[typetag::serde(name = "pareto_aware")]
impl Sampler for ParetoAware {
    fn sample(&self, request: &mut Request<'_>) -> Result<Vec<Arch>, TrainError> {
        let mut archs = Vec::with_capacity(request.count);
        if self.extremes {
            archs.push(request.space.max_arch());
            archs.push(smallest(request.space, request.opened));
        }
        while archs.len() < request.count {
            archs.push(self.attentive(request)?);
        }
        archs.truncate(request.count);
        Ok(archs)
    }

    fn teaching(&self) -> Teaching {
        if self.extremes { Teaching::InPlace } else { Teaching::Frozen }
    }
}

impl ParetoAware {
    fn attentive(&self, request: &mut Request<'_>) -> Result<Arch, TrainError> {
        let first = request.space.sample(request.opened, request.rng);
        if self.candidates == 1 {
            return Ok(first);
        }
        let macs = |arch: &Arch| -> Result<f64, TrainError> {
            Ok(cost::macs(&request.space.resolve(&arch.with_resolution(request.resolution))?) as f64)
        };
        let target = macs(&first)?;
        let mut candidates = vec![first];
        for _ in 0..MOST_DRAWS {
            if candidates.len() == self.candidates {
                break;
            }
            let other = request.space.sample(request.opened, request.rng);
            let other = other.with_resolution(candidates[0].resolution().unwrap_or(request.resolution));
            if (macs(&other)? - target).abs() <= self.tolerance * target && !candidates.contains(&other) {
                candidates.push(other);
            }
        }
        let mut chosen: Option<(f32, Arch)> = None;
        for arch in candidates {
            let loss = (request.judge)(&arch)?;
            let better = |known: f32| match self.side {
                Side::Best => loss < known,
                Side::Worst => loss > known,
            };
            if chosen.as_ref().is_none_or(|(known, _)| better(*known)) {
                chosen = Some((loss, arch));
            }
        }
        // There is at least one candidate; the max subnet satisfies the type.
        Ok(chosen.map_or_else(|| request.space.max_arch(), |(_, arch)| arch))
    }
}

inventory::submit! {
    SamplerEntry {
        name: "pareto_aware",
        about: "of several subnets with the same cost, the best (or worst) on the batch (AttentiveNAS)",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sampler::tests::draw;
    use ofa_space::{Opened, registry};

    #[test]
    fn best_and_worst_differ_in_what_the_judge_says_but_not_in_cost() {
        let space = registry::named("tiny-28").unwrap();
        let params = |arch: &Arch| cost::params(&space.resolve(&arch.with_resolution(20)).unwrap());
        let macs = |arch: &Arch| cost::macs(&space.resolve(&arch.with_resolution(20)).unwrap()) as f64;
        let drawn = |side| {
            let sampler = ParetoAware { side, candidates: 8, tolerance: 0.2, extremes: false };
            draw(&sampler, space.as_ref(), Opened::EVERYTHING, 1).remove(0)
        };
        // The judge of these tests likes parameters.
        let (best, worst) = (drawn(Side::Best), drawn(Side::Worst));
        assert!(params(&best) > params(&worst));
        // Both are within the tolerance of the same target.
        assert!(macs(&best) <= macs(&worst) * 1.2 / 0.8 && macs(&worst) <= macs(&best) * 1.2 / 0.8);
    }

    #[test]
    fn impossible_settings_are_refused() {
        assert_eq!(ParetoAware { candidates: 0, ..ParetoAware::default() }.check().unwrap_err().field, "candidates");
        assert_eq!(ParetoAware { tolerance: -0.1, ..ParetoAware::default() }.check().unwrap_err().field, "tolerance");
    }
}
