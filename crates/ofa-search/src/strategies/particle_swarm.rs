//! Particle swarm on a relaxed encoding, by argmin's solver.
//!
//! Every gene becomes a number from 0 to 1, and so does the resolution; a particle's position rounds to an arch. Steps
//! of a swarm are continuous, so it can drift through archs that differ in many genes at once.

use crate::error::SearchError;
use crate::problem::Problem;
use crate::strategy::{Strategy, StrategyEntry};
use argmin::core::{CostFunction, Executor};
use argmin::solver::particleswarm::ParticleSwarm as Swarm;
use ofa_space::settings::{self, InvalidSetting, Settings};
use ofa_space::{Arch, Genes};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};

/// Particle swarm by argmin, restarted until the budget is used up.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `particles` | 40 | in the swarm | 2–100000 |
/// | `iterations` | 250 | before a new swarm starts | ≥ 1 |
/// | `penalty` | 1.0 | added per relative excess over a limit | > 0 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParticleSwarm {
    /// Particles in the swarm.
    pub particles: usize,
    /// Iterations of one swarm.
    pub iterations: u64,
    /// Penalty per relative excess.
    pub penalty: f64,
}

impl Default for ParticleSwarm {
    fn default() -> Self {
        Self { particles: 40, iterations: 250, penalty: 1.0 }
    }
}

impl Settings for ParticleSwarm {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("particles", self.particles, 2..=100_000)?;
        if self.iterations == 0 {
            return Err(InvalidSetting::new("iterations", "is 0, expected at least 1"));
        }
        settings::positive("penalty", self.penalty)
    }
}

/// What argmin sees: a cost over positions.
struct Landscape<'p, 'a> {
    problem: Mutex<&'p mut Problem<'a>>,
    genes: &'a dyn Genes,
    penalty: f64,
    failure: &'p Mutex<Option<SearchError>>,
}

/// The arch that a position rounds to.
fn round(genes: &dyn Genes, position: &[f64]) -> Result<Arch, SearchError> {
    let pick = |x: f64, count: usize| ((x.clamp(0.0, 1.0) * count as f64) as usize).min(count.saturating_sub(1));
    let choices = genes.genes().iter().zip(position).map(|(gene, x)| pick(*x, gene.choices.len()) as u8).collect();
    let last = position.last().copied().unwrap_or(0.0);
    let resolution = genes.resolutions().get(pick(last, genes.resolutions().len())).copied();
    Ok(genes.arch(choices, resolution)?)
}

impl CostFunction for Landscape<'_, '_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, position: &Vec<f64>) -> Result<f64, argmin::core::Error> {
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let constraints = problem.constraints();
        let evaluated = round(self.genes, position).and_then(|arch| problem.evaluate(&[arch]));
        match evaluated {
            // Beyond the budget nothing is evaluated, and nothing is good.
            Ok(candidates) => {
                Ok(candidates.first().map_or(f64::MAX, |c| self.penalty * c.violation(constraints) - c.score))
            }
            Err(error) => {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(argmin::core::Error::msg("objective"))
            }
        }
    }
}

#[typetag::serde(name = "particle-swarm")]
impl Strategy for ParticleSwarm {
    fn search(&self, problem: &mut Problem<'_>, rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        let genes = problem.genes();
        let dimensions = genes.genes().len() + 1;
        // A swarm that meets only known archs costs nothing, and must not go on for ever.
        const STALE_SWARMS: usize = 3;
        let mut stale = 0;
        while problem.remaining() > 0 && stale < STALE_SWARMS {
            let before = problem.evaluations();
            let failure = Mutex::new(None);
            let landscape =
                Landscape { problem: Mutex::new(&mut *problem), genes, penalty: self.penalty, failure: &failure };
            let bounds = (vec![0.0; dimensions], vec![1.0; dimensions]);
            let swarm =
                Swarm::new(bounds, self.particles).with_rng_generator(Xoshiro256PlusPlus::seed_from_u64(rng.random()));
            let outcome = Executor::new(landscape, swarm).configure(|state| state.max_iters(self.iterations)).run();
            let outcome = outcome.map(|_| ());
            if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
                return Err(error);
            }
            outcome.map_err(|e| SearchError::Argmin(e.to_string()))?;
            stale = if problem.evaluations() == before { stale + 1 } else { 0 };
        }
        Ok(())
    }

    fn learns_from_cases(&self) -> bool {
        false
    }
}

inventory::submit! {
    StrategyEntry {
        name: "particle-swarm",
        about: "particle swarm (argmin) on genes relaxed to numbers, rounded",
        build: || Box::new(ParticleSwarm::default()),
    }
}
