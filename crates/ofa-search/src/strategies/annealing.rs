//! Simulated annealing, by argmin's solver.

use crate::error::SearchError;
use crate::problem::Problem;
use crate::strategy::{Strategy, StrategyEntry};
use argmin::core::{CostFunction, Executor};
use argmin::solver::simulatedannealing::{Anneal, SATempFunc, SimulatedAnnealing};
use ofa_space::settings::{self, InvalidSetting, Settings};
use ofa_space::{Arch, Opened};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

/// Simulated annealing by argmin, restarted from the best arch until the budget is used up.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `temperature` | 0.02 | initial temperature, in units of the objective | > 0 |
/// | `penalty` | 1.0 | added per relative excess over a limit | > 0 |
/// | `mutation_probability` | 0.05 | chance that a gene is redrawn in a step | 0–1 |
/// | `restarts` | 4 | runs that share the budget | 1–1000 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Annealing {
    /// Initial temperature.
    pub temperature: f64,
    /// Penalty per relative excess.
    pub penalty: f64,
    /// Chance that a gene is redrawn.
    pub mutation_probability: f64,
    /// Runs that share the budget.
    pub restarts: usize,
}

impl Default for Annealing {
    fn default() -> Self {
        Self { temperature: 0.02, penalty: 1.0, mutation_probability: 0.05, restarts: 4 }
    }
}

impl Settings for Annealing {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::positive("temperature", self.temperature)?;
        settings::positive("penalty", self.penalty)?;
        settings::number("mutation_probability", self.mutation_probability, 0.0..=1.0)?;
        settings::count("restarts", self.restarts, 1..=1000)
    }
}

/// What argmin sees: a cost to minimise, and a neighbour of an arch.
struct Landscape<'p, 'a> {
    problem: Mutex<&'p mut Problem<'a>>,
    rng: Mutex<ChaCha8Rng>,
    penalty: f64,
    mutation_probability: f64,
    failure: &'p Mutex<Option<SearchError>>,
}

/// Locks without ever poisoning: a panic elsewhere ends the search anyway.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl CostFunction for Landscape<'_, '_> {
    type Param = Arch;
    type Output = f64;

    fn cost(&self, arch: &Arch) -> Result<f64, argmin::core::Error> {
        let mut problem = lock(&self.problem);
        let constraints = problem.constraints();
        if problem.remaining() == 0 {
            // An error is the only way to end argmin's loop early; the strategy tells it from a failure.
            return Err(argmin::core::Error::msg("the budget is spent"));
        }
        match problem.evaluate(std::slice::from_ref(arch)) {
            // Beyond the budget nothing is evaluated, and nothing is accepted.
            Ok(candidates) => {
                Ok(candidates.first().map_or(f64::MAX, |c| self.penalty * c.violation(constraints) - c.score))
            }
            Err(error) => {
                *lock(self.failure) = Some(error);
                Err(argmin::core::Error::msg("objective"))
            }
        }
    }
}

impl Anneal for Landscape<'_, '_> {
    type Param = Arch;
    type Output = Arch;
    type Float = f64;

    fn anneal(&self, arch: &Arch, _temperature: f64) -> Result<Arch, argmin::core::Error> {
        let genes = lock(&self.problem).genes();
        let mut rng = lock(&self.rng);
        // A step that changes nothing would waste an iteration.
        for _ in 0..100 {
            let neighbour = genes.mutate(arch, self.mutation_probability, &mut *rng);
            if neighbour != *arch {
                return Ok(neighbour);
            }
        }
        Ok(genes.sample(&Opened::EVERYTHING, &mut *rng))
    }
}

#[typetag::serde(name = "annealing")]
impl Strategy for Annealing {
    fn search(&self, problem: &mut Problem<'_>, rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        let budget = problem.remaining();
        let iterations = (budget / self.restarts).max(1) as u64;
        for _ in 0..self.restarts {
            if problem.remaining() == 0 {
                break;
            }
            let start = match problem.best() {
                Some(best) => best.arch.clone(),
                None => problem.genes().sample(&Opened::EVERYTHING, rng),
            };
            let failure = Mutex::new(None);
            let landscape = Landscape {
                problem: Mutex::new(&mut *problem),
                rng: Mutex::new(ChaCha8Rng::from_rng(rng)),
                penalty: self.penalty,
                mutation_probability: self.mutation_probability,
                failure: &failure,
            };
            let argmin_error = |e: argmin::core::Error| SearchError::Argmin(e.to_string());
            let solver_rng = Xoshiro256PlusPlus::seed_from_u64(rng.random());
            let solver = SimulatedAnnealing::new_with_rng(self.temperature, solver_rng)
                .map_err(argmin_error)?
                .with_temp_func(SATempFunc::Boltzmann);
            let outcome =
                Executor::new(landscape, solver).configure(|state| state.param(start).max_iters(iterations)).run();
            let outcome = outcome.map(|_| ());
            if let Some(error) = failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
                return Err(error);
            }
            if problem.remaining() > 0 {
                outcome.map_err(argmin_error)?;
            }
        }
        Ok(())
    }

    fn learns_from_cases(&self) -> bool {
        false
    }
}

inventory::submit! {
    StrategyEntry {
        name: "annealing",
        about: "simulated annealing (argmin), restarted from the best",
        build: || Box::new(Annealing::default()),
    }
}
