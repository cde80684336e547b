//! NSGA-II: a population that spreads over the front of the score and every limited quantity.
//!
//! Source: Deb, Pratap, Agarwal, Meyarivan, A fast and elitist multiobjective genetic algorithm (2002): fast
//! non-dominated sorting, crowding distance, binary tournaments, constrained domination.

use crate::error::SearchError;
use crate::problem::Problem;
use crate::problem::candidate::{Candidate, Constraint};
use crate::strategy::{Strategy, StrategyEntry};
use ofa_space::Opened;
use ofa_space::settings::{self, InvalidSetting, Settings};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// NSGA-II.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `population` | 100 | archs per generation | 4–100000 |
/// | `mutation_probability` | 0.05 | chance that a gene is redrawn | 0–1 |
/// | `crossover_probability` | 0.9 | share of children of two parents | 0–1 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nsga2 {
    /// Archs per generation.
    pub population: usize,
    /// Chance that a gene is redrawn.
    pub mutation_probability: f64,
    /// Share of children of two parents.
    pub crossover_probability: f64,
}

impl Default for Nsga2 {
    fn default() -> Self {
        Self { population: 100, mutation_probability: 0.05, crossover_probability: 0.9 }
    }
}

impl Settings for Nsga2 {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("population", self.population, 4..=100_000)?;
        settings::number("mutation_probability", self.mutation_probability, 0.0..=1.0)?;
        settings::number("crossover_probability", self.crossover_probability, 0.0..=1.0)
    }
}

/// An arch with its place in the population.
#[derive(Clone, Debug)]
struct Ranked {
    candidate: Candidate,
    violation: f64,
    /// 0 for the front, 1 for the front of the rest, …
    rank: usize,
    /// Distance to the neighbours on its front; infinite at the ends.
    crowding: f64,
}

/// Generations without a single new arch after which a small space counts as seen.
const STALE_GENERATIONS: usize = 20;

#[typetag::serde(name = "nsga2")]
impl Strategy for Nsga2 {
    fn search(&self, problem: &mut Problem<'_>, rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        let genes = problem.genes();
        let constraints = problem.constraints();
        let first: Vec<_> = (0..self.population).map(|_| genes.sample(&Opened::EVERYTHING, rng)).collect();
        let mut population = sorted(problem.evaluate(&first)?, constraints, self.population);
        let mut stale = 0;
        while problem.remaining() > 0 && !population.is_empty() && stale < STALE_GENERATIONS {
            let before = problem.evaluations();
            let children: Vec<_> = (0..self.population)
                .map(|_| {
                    let (one, other) = (tournament(&population, rng), tournament(&population, rng));
                    let child = match rng.random_bool(self.crossover_probability) {
                        true => genes.crossover(&one.candidate.arch, &other.candidate.arch, rng),
                        false => one.candidate.arch.clone(),
                    };
                    genes.mutate(&child, self.mutation_probability, rng)
                })
                .collect();
            let mut all: Vec<Candidate> = population.into_iter().map(|ranked| ranked.candidate).collect();
            for child in problem.evaluate(&children)? {
                // Copies would crowd out everybody else.
                if !all.iter().any(|known| known.arch == child.arch) {
                    all.push(child);
                }
            }
            population = sorted(all, constraints, self.population);
            stale = if problem.evaluations() == before { stale + 1 } else { 0 };
        }
        Ok(())
    }

    fn learns_from_cases(&self) -> bool {
        false
    }
}

/// The better of two drawn at random.
fn tournament<'p>(population: &'p [Ranked], rng: &mut ChaCha8Rng) -> &'p Ranked {
    let one = &population[rng.random_range(0..population.len())];
    let other = &population[rng.random_range(0..population.len())];
    let wins = other.rank < one.rank || (other.rank == one.rank && other.crowding > one.crowding);
    if wins { other } else { one }
}

/// Whether `one` beats `other`: it is nearer to the limits, or both keep them and it is at least as good in everything
/// and not equal.
fn dominates(one: &Ranked, other: &Ranked) -> bool {
    if one.violation > 0.0 || other.violation > 0.0 {
        return one.violation < other.violation;
    }
    let (a, b) = (&one.candidate, &other.candidate);
    let no_worse = a.score >= b.score && a.values.iter().zip(&b.values).all(|(x, y)| x <= y);
    no_worse && (a.score > b.score || a.values != b.values)
}

/// The best `count` by rank, then by crowding.
fn sorted(candidates: Vec<Candidate>, constraints: &[Constraint], count: usize) -> Vec<Ranked> {
    let ranked = |candidate: Candidate| {
        let violation = candidate.violation(constraints);
        Ranked { candidate, violation, rank: 0, crowding: 0.0 }
    };
    let mut all: Vec<Ranked> = candidates.into_iter().map(ranked).collect();
    let mut beaten_by: Vec<usize> =
        (0..all.len()).map(|i| all.iter().filter(|other| dominates(other, &all[i])).count()).collect();
    let mut left: Vec<usize> = (0..all.len()).collect();
    let mut rank = 0;
    let mut kept = Vec::with_capacity(count);
    while kept.len() < count && !left.is_empty() {
        let mut front: Vec<usize> = left.iter().copied().filter(|i| beaten_by[*i] == 0).collect();
        left.retain(|i| beaten_by[*i] != 0);
        for other in &left {
            beaten_by[*other] -= front.iter().filter(|one| dominates(&all[**one], &all[*other])).count();
        }
        front.iter().for_each(|index| all[*index].rank = rank);
        crowd(&mut all, &front);
        front.sort_by(|a, b| all[*b].crowding.total_cmp(&all[*a].crowding));
        front.truncate(count - kept.len());
        kept.extend(front.into_iter().map(|index| all[index].clone()));
        rank += 1;
    }
    kept
}

/// Crowding distances of one front.
fn crowd(all: &mut [Ranked], front: &[usize]) {
    let quantities = all.first().map_or(0, |ranked| ranked.candidate.values.len());
    for quantity in 0..=quantities {
        let value = |ranked: &Ranked| match quantity {
            0 => ranked.candidate.score,
            index => ranked.candidate.values[index - 1],
        };
        let mut order = front.to_vec();
        order.sort_by(|a, b| value(&all[*a]).total_cmp(&value(&all[*b])));
        let (Some(first), Some(last)) = (order.first(), order.last()) else { continue };
        let span = value(&all[*last]) - value(&all[*first]);
        all[*first].crowding = f64::INFINITY;
        all[*last].crowding = f64::INFINITY;
        for window in order.windows(3) {
            if span > 0.0 {
                let gap = (value(&all[window[2]]) - value(&all[window[0]])) / span;
                all[window[1]].crowding += gap;
            }
        }
    }
}

inventory::submit! {
    StrategyEntry {
        name: "nsga2",
        about: "NSGA-II: a population spread over the whole front, for several quantities at once",
        build: || Box::new(Nsga2::default()),
    }
}
