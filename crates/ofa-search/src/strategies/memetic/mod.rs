//! Our own strategy: islands of local optima, one or more per resolution, crossed and climbed again.
//!
//! The landscapes of real predictors have many local optima, often one per resolution. So every candidate is first
//! made feasible, then climbs to a local optimum (steps of one or two blocks, screened by the predictor's slopes and
//! the exact block tables), and only optima are crossed. Resolutions that fall behind get less of the budget; the
//! search ends early once several populations, started afresh, agree on the best arch, or nothing better comes for long.

mod batch;
mod island;
mod pricing;
mod proposals;

use crate::error::SearchError;
use crate::problem::{self, Problem};
use crate::strategies::exhaustive;
use crate::strategies::memetic::island::{Habits, Island};
use crate::strategies::neighbourhood::Neighbourhood;
use crate::strategy::{Strategy, StrategyEntry};
use ofa_space::settings::{self, InvalidSetting, Settings};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Islands of local optima.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `islands` | 2 | per resolution | 1–1000 |
/// | `population` | 16 | local optima kept on an island | 2–10000 |
/// | `climbers` | 8 | archs that climb together | 1–1000 |
/// | `neighbours` | 8 | neighbours that a climber evaluates in a step | 1–1000 |
/// | `kick_probability` | 0.2 | share of new archs that are kicked rather than crossed | 0–1 |
/// | `stale` | 60 | climbs without an addition before an island starts afresh | ≥ 1 |
/// | `agreement` | 3 | populations that must agree before the search ends early | ≥ 1 |
/// | `round` | 3000 | evaluations of an island between two looks at the others | ≥ 100 |
/// | `patience` | 3 | the search ends at this many times the evaluations that led to its best | ≥ 1 |
/// | `least` | 60000 | evaluations before impatience may end the search | any |
///
/// A search for a time neither agrees nor loses patience: it uses its time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memetic {
    /// Islands per resolution.
    pub islands: usize,
    /// Local optima kept on an island.
    pub population: usize,
    /// Archs that climb together.
    pub climbers: usize,
    /// Neighbours that a climber evaluates in a step.
    pub neighbours: usize,
    /// Share of new archs that are kicked rather than crossed.
    pub kick_probability: f64,
    /// Climbs without an addition before an island starts afresh.
    pub stale: usize,
    /// Populations that must agree before the search ends early.
    pub agreement: usize,
    /// Evaluations of an island between two looks at the others.
    pub round: usize,
    /// The search ends at this many times the evaluations that led to its best.
    pub patience: f64,
    /// Evaluations before impatience may end the search.
    pub least: usize,
}

impl Default for Memetic {
    fn default() -> Self {
        Self {
            islands: 2,
            population: 16,
            climbers: 8,
            neighbours: 8,
            kick_probability: 0.2,
            stale: 60,
            agreement: 3,
            round: 3000,
            patience: 3.0,
            least: 60_000,
        }
    }
}

impl Settings for Memetic {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("islands", self.islands, 1..=1000)?;
        settings::count("population", self.population, 2..=10_000)?;
        settings::count("climbers", self.climbers, 1..=1000)?;
        settings::count("neighbours", self.neighbours, 1..=1000)?;
        settings::number("kick_probability", self.kick_probability, 0.0..=1.0)?;
        settings::count("stale", self.stale, 1..=usize::MAX)?;
        settings::count("agreement", self.agreement, 1..=usize::MAX)?;
        settings::count("round", self.round, 100..=usize::MAX)?;
        settings::number("patience", self.patience, 1.0..)
    }
}

/// Resolutions that share the budget after the first round.
const LEADERS: usize = 3;
/// Best members of an island that later cases start from.
const ELITES: usize = 4;
/// Evaluations that all cases share where there are several targets.
const SHARED: usize = 760_000;
/// Times that every case has its turn where there are several targets, so that the first learn from the last too.
const TURNS: usize = 3;
/// Neighbours that a climber evaluates in a step where there are several targets: with little to spend, more steps are
/// worth more than wide ones.
const SPARING_NEIGHBOURS: usize = 3;
/// Rungs of the ladder of limits that stands in for a limit of infinity.
const RUNGS: usize = 12;

#[typetag::serde(name = "memetic")]
impl Strategy for Memetic {
    fn search(&self, problem: &mut Problem<'_>, rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        if problem.remaining() == 0 || self.enumerate(problem)? {
            return Ok(());
        }
        let neighbourhood = Neighbourhood::new(problem.genes());
        let limits: Vec<f64> = problem.constraints().iter().map(|c| c.limit).collect();
        match limits.first() {
            // No limit at all on any quantity: a ladder of limits gives the front.
            Some(_) if limits.iter().all(|limit| *limit == f64::INFINITY) => {
                let budget = problem.remaining();
                for rung in ladder(problem)? {
                    let mut limits = limits.clone();
                    limits[0] = rung;
                    self.climb(problem, &neighbourhood, limits, budget / (RUNGS + 1), rng)?;
                }
                Ok(())
            }
            _ => self.climb(problem, &neighbourhood, limits, problem.remaining(), rng),
        }
    }

    fn default_evaluations(&self) -> usize {
        165_000
    }

    fn default_evaluations_of(&self, targets: usize, cases: usize) -> usize {
        // Devices share what is found, and the whole call is to stay a matter of seconds.
        match targets {
            0 | 1 => self.default_evaluations(),
            _ => (SHARED / cases.max(1)).clamp(10_000, self.default_evaluations()),
        }
    }

    fn turns(&self, targets: usize) -> usize {
        if targets > 1 { TURNS } else { 1 }
    }
}

/// Limits from the smallest arch's value to the largest's, evenly in logarithm, and none at last.
fn ladder(problem: &Problem<'_>) -> Result<Vec<f64>, SearchError> {
    let genes = problem.genes();
    let objective = problem.constraints()[0].objective.as_ref();
    let values = problem.evaluator().checked(objective, &[genes.min_arch(), genes.max_arch()])?;
    let (low, high) = (values[0].min(values[1]), values[0].max(values[1]));
    let rung = |i: usize| match low > 0.0 {
        true => low * (high / low).powf(i as f64 / RUNGS as f64),
        false => low + (high - low) * i as f64 / RUNGS as f64,
    };
    Ok((0..RUNGS).map(rung).chain([f64::INFINITY]).collect())
}

impl Memetic {
    /// Evaluates everything there is, if the budget covers it several times over.
    fn enumerate(&self, problem: &mut Problem<'_>) -> Result<bool, SearchError> {
        const MOST: usize = 50_000;
        let genes = problem.genes();
        let subnets = genes.subnets() * genes.resolutions().len().max(1);
        if usize::try_from(&subnets).is_ok_and(|n| n <= MOST.min(problem.remaining())) {
            exhaustive::evaluate_all(problem)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn climb(
        &self,
        problem: &mut Problem<'_>,
        neighbourhood: &Neighbourhood,
        limits: Vec<f64>,
        budget: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), SearchError> {
        let resolutions = problem::resolutions(problem.genes());
        // With several targets every case has little of its own, and starts from what the others found.
        let sparing = problem.targets() > 1;
        let habits = Habits {
            population: if sparing { (self.population / 2).max(2) } else { self.population },
            climbers: self.climbers,
            neighbours: if sparing { self.neighbours.min(SPARING_NEIGHBOURS) } else { self.neighbours },
            kick_probability: self.kick_probability,
            stale: self.stale,
        };
        let mut islands = Vec::new();
        for index in 0..if sparing { 1 } else { self.islands } {
            for resolution in &resolutions {
                let rng = ChaCha8Rng::from_rng(rng);
                let evaluator = problem.evaluator();
                let mut island = Island::new(evaluator, neighbourhood, habits, *resolution, limits.clone(), rng)?;
                // The first island of a resolution starts from what is known, the others find their own way.
                if sparing {
                    island.seed_among(problem.elites(), self.population / 2)?;
                } else if index == 0 {
                    let known = problem.elites().iter().filter(|elite| elite.arch.resolution() == *resolution);
                    known.for_each(|elite| island.seed(elite.arch.choices().to_vec()));
                }
                islands.push(island);
            }
        }
        // Uninhabitable islands have looked at one arch each, the closest to the limits.
        let mut used = collect(problem, &mut islands);
        islands.retain(Island::is_habitable);
        let round = match sparing {
            true => (budget / (2 * islands.len().max(1))).clamp(100, self.round),
            false => self.round,
        };
        let (mut first, mut best, mut improved_at) = (true, f64::NEG_INFINITY, 0);
        while !islands.is_empty() && used < budget && problem.remaining() > 0 {
            let quotas = self.quotas(&islands, first, round, budget - used);
            first = false;
            let mut working: Vec<(&mut Island<'_>, usize)> =
                islands.iter_mut().zip(quotas).filter(|(_, quota)| *quota > 0).collect();
            if working.is_empty() {
                break;
            }
            working.par_iter_mut().try_for_each(|(island, quota)| island.run(*quota))?;
            let spent = collect(problem, &mut islands);
            used += spent;
            let now = islands.iter().map(Island::best_score).fold(f64::NEG_INFINITY, f64::max);
            if now > best {
                (best, improved_at) = (now, used);
            }
            let is_settled = || {
                let patient = self.patience * improved_at.max(1) as f64;
                self.is_agreed(problem, &islands) || (used >= self.least && used as f64 >= patient)
            };
            if spent == 0 || (!problem.is_timed() && is_settled()) {
                break;
            }
        }
        let elites: Vec<_> = islands.iter().flat_map(|island| island.elites(ELITES)).collect();
        problem.leave(elites);
        Ok(())
    }

    /// Evaluations of every island in the next round.
    fn quotas(&self, islands: &[Island<'_>], first: bool, round: usize, left: usize) -> Vec<usize> {
        let mut ranked: Vec<(Option<u32>, f64)> = Vec::new();
        for island in islands {
            let (resolution, score) = (island.resolution(), island.best_score());
            match ranked.iter_mut().find(|(known, _)| *known == resolution) {
                Some((_, best)) => *best = best.max(score),
                None => ranked.push((resolution, score)),
            }
        }
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
        let leads =
            |island: &Island<'_>| ranked.iter().take(LEADERS).any(|(resolution, _)| *resolution == island.resolution());
        let wanted: Vec<usize> = islands.iter().map(|island| if first || leads(island) { round } else { 0 }).collect();
        let total: usize = wanted.iter().sum();
        match total <= left {
            true => wanted,
            // The last round: what is left, in the same proportions.
            false => wanted.iter().map(|w| (*w as f64 * left as f64 / total as f64) as usize).collect(),
        }
    }

    /// Whether enough populations ended with the best arch.
    fn is_agreed(&self, problem: &Problem<'_>, islands: &[Island<'_>]) -> bool {
        problem.best().is_some_and(|best| {
            islands.iter().map(|island| island.summits_at(&best.arch)).sum::<usize>() >= self.agreement
        })
    }
}

/// Reports what the islands did; returns the evaluations.
fn collect(problem: &mut Problem<'_>, islands: &mut [Island<'_>]) -> usize {
    let (mut evaluations, mut found) = (0, Vec::new());
    for island in islands {
        let (used, candidates) = island.report();
        evaluations += used;
        found.extend(candidates);
    }
    problem.record(evaluations, found);
    evaluations
}

inventory::submit! {
    StrategyEntry {
        name: "memetic",
        about: "islands of local optima per resolution, crossed and climbed again (the default)",
        build: || Box::new(Memetic::default()),
    }
}
