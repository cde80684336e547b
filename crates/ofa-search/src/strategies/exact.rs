//! Exact search: the true optimum, with proof, where the score and every limited quantity are sums over blocks.
//!
//! Genes that share a term belong together; a space of stages falls into one part per stage. Every joint choice of a
//! part is a point (score, costs), and only points that no other beats can be part of an optimum. Parts are joined
//! one after another, and whatever is beaten, or too dear even with the cheapest rest, is dropped. What remains holds
//! the optimum: dynamic programming over Pareto sets (Nemhauser and Ullmann 1969).

use crate::error::SearchError;
use crate::problem::candidate::Candidate;
use crate::problem::evaluator::Evaluator;
use crate::problem::{self, Problem};
use crate::strategies::neighbourhood::Neighbourhood;
use crate::strategy::{Strategy, StrategyEntry};
use ofa_space::settings::{InvalidSetting, Settings};
use ofa_space::{BlockSum, Population};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Exact search over sums over blocks.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exact {}

impl Settings for Exact {
    fn check(&self) -> Result<(), InvalidSetting> {
        Ok(())
    }
}

/// Joint choices of one part, and points of one set, at most.
const MOST_POINTS: usize = 4_000_000;

/// A joint choice of some parts.
#[derive(Clone, Debug)]
struct Point {
    score: f64,
    costs: Vec<f64>,
    /// What it is made of: a point of each of two sets of the level below, or a combination of genes.
    made_of: (u32, u32),
}

/// Genes that share terms, with their joint choices.
struct Part {
    genes: Vec<usize>,
    /// Canonical choices of the part's genes, one after another.
    combinations: Vec<u8>,
    points: Vec<Point>,
}

#[typetag::serde(name = "exact")]
impl Strategy for Exact {
    fn search(&self, problem: &mut Problem<'_>, _rng: &mut ChaCha8Rng) -> Result<(), SearchError> {
        if problem.remaining() == 0 {
            return Ok(());
        }
        let resolutions = problem::resolutions(problem.genes());
        let neighbourhood = Neighbourhood::new(problem.genes());
        let mut proven = true;
        for resolution in resolutions {
            if problem.remaining() == 0 {
                proven = false;
                break;
            }
            let evaluator = problem.evaluator();
            let work = Work::new(evaluator, &neighbourhood, resolution)?;
            let choices = match work.optimum()? {
                Some(choices) => choices,
                None => work.cheapest(),
            };
            let mut rows = Population::new(choices.len());
            rows.push_row(&choices, resolution);
            let mut column = Vec::new();
            evaluator.score(&rows, &mut column)?;
            let score = column[0];
            let mut values = Vec::new();
            for constraint in 0..problem.constraints().len() {
                evaluator.quantity(constraint, &rows, &mut column)?;
                values.push(column[0]);
            }
            problem.record(1, [Candidate { arch: rows.arch(0), score, values }]);
        }
        if proven && problem.best().is_some() {
            problem.prove();
        }
        Ok(())
    }

    fn learns_from_cases(&self) -> bool {
        false
    }
}

struct Work<'a> {
    neighbourhood: &'a Neighbourhood,
    score: Arc<BlockSum>,
    costs: Vec<Arc<BlockSum>>,
    limits: Vec<f64>,
}

impl<'a> Work<'a> {
    fn new(
        evaluator: Evaluator<'a>,
        neighbourhood: &'a Neighbourhood,
        resolution: Option<u32>,
    ) -> Result<Self, SearchError> {
        let sum = |objective: &dyn ofa_space::Objective| {
            objective
                .block_sum(resolution)
                .ok_or_else(|| SearchError::NotAdditive { objective: objective.name().to_owned() })
        };
        let score = sum(evaluator.score)?;
        let costs: Result<Vec<_>, _> = evaluator.constraints().iter().map(|c| sum(c.objective.as_ref())).collect();
        // Sums in another order may differ in the last digits; nothing feasible may be lost to that.
        let limits = evaluator.constraints().iter().map(|c| c.limit).collect();
        Ok(Self { neighbourhood, score, costs: costs?, limits })
    }

    /// The best choices within the limits; `None` if nothing keeps them.
    fn optimum(&self) -> Result<Option<Vec<u8>>, SearchError> {
        let mut limits = self.limits.clone();
        // A second try only if rounding let in what the exact sum refuses.
        for _ in 0..3 {
            let Some(choices) = self.join(&limits)? else { return Ok(None) };
            let over = self.costs.iter().zip(&self.limits).any(|(sum, limit)| sum.value(&choices) > *limit);
            if !over {
                return Ok(Some(choices));
            }
            limits.iter_mut().for_each(|limit| *limit -= limit.abs() * 1e-12);
        }
        Ok(None)
    }

    /// The smallest excess that choosing part by part leads to.
    fn cheapest(&self) -> Vec<u8> {
        let Ok(parts) = self.parts() else { return vec![0; self.neighbourhood.choices.len()] };
        let mut choices = vec![0; self.neighbourhood.choices.len()];
        for part in &parts {
            let price = |point: &Point| -> f64 {
                let relative = point.costs.iter().zip(&self.limits);
                relative.map(|(cost, limit)| cost / limit.abs().max(f64::MIN_POSITIVE)).sum()
            };
            let least = part.points.iter().min_by(|a, b| price(a).total_cmp(&price(b)));
            if let Some(point) = least {
                part.apply(point.made_of.0, &mut choices);
            }
        }
        choices
    }

    fn join(&self, limits: &[f64]) -> Result<Option<Vec<u8>>, SearchError> {
        let parts = self.parts()?;
        let constraints = limits.len();
        // What the parts from here on cost at least.
        let mut rest = vec![vec![0.0; constraints]; parts.len() + 1];
        for index in (0..parts.len()).rev() {
            let least = |c: usize| parts[index].points.iter().map(|p| p.costs[c]).fold(f64::INFINITY, f64::min);
            rest[index] = rest[index + 1].iter().enumerate().map(|(c, after)| after + least(c)).collect();
        }
        let nothing = Point { score: 0.0, costs: vec![0.0; constraints], made_of: (0, 0) };
        let mut levels: Vec<Vec<Point>> = vec![vec![nothing]];
        for (index, part) in parts.iter().enumerate() {
            let below = &levels[index];
            if below.len().saturating_mul(part.points.len()) > 50 * MOST_POINTS {
                return Err(too_large(below.len().saturating_mul(part.points.len())));
            }
            let mut joined = Vec::new();
            for (one, left) in below.iter().enumerate() {
                for (other, right) in part.points.iter().enumerate() {
                    let sums = left.costs.iter().zip(&right.costs).map(|(a, b)| a + b);
                    let mut over = sums.clone().zip(&rest[index + 1]).zip(limits).map(|((c, r), limit)| c + r > *limit);
                    match over.next() {
                        // Points stand by rising first cost: the others of the part are dearer still.
                        Some(true) => break,
                        _ if over.any(|over| over) => continue,
                        _ => {}
                    }
                    let made_of = (one as u32, other as u32);
                    let score = left.score + right.score;
                    joined.push(Point { score, costs: sums.collect(), made_of });
                }
                if joined.len() > MOST_POINTS {
                    joined = unbeaten(joined);
                    if joined.len() > MOST_POINTS / 2 {
                        return Err(too_large(joined.len()));
                    }
                }
            }
            levels.push(unbeaten(joined));
        }
        let last = &levels[parts.len()];
        let Some(best) = (0..last.len()).max_by(|a, b| last[*a].score.total_cmp(&last[*b].score)) else {
            return Ok(None);
        };
        let mut choices = vec![0; self.neighbourhood.choices.len()];
        let mut at = best;
        for (index, part) in parts.iter().enumerate().rev() {
            let (below, point) = levels[index + 1][at].made_of;
            part.apply(part.points[point as usize].made_of.0, &mut choices);
            at = below as usize;
        }
        Ok(Some(choices))
    }

    /// The parts with their points that no other point beats.
    fn parts(&self) -> Result<Vec<Part>, SearchError> {
        let genes = self.neighbourhood.choices.len();
        // Genes that share a term get the same label.
        let mut label: Vec<usize> = (0..genes).collect();
        let sums = || std::iter::once(&self.score).chain(&self.costs);
        let mut scopes: Vec<Vec<usize>> = sums()
            .flat_map(|sum| sum.terms())
            .map(|term| term.genes().chain(term.needs().iter().map(|(gene, _)| *gene)).collect())
            .collect();
        scopes.extend(self.neighbourhood.rules().map(|(gene, depth)| vec![gene, depth]));
        for scope in scopes {
            if let Some(first) = scope.first() {
                let to = label[*first];
                let from: Vec<usize> = scope.iter().map(|gene| label[*gene]).collect();
                label.iter_mut().filter(|known| from.contains(known)).for_each(|known| *known = to);
            }
        }
        let mut parts = Vec::new();
        // Terms of no gene at all are worth the same everywhere.
        let mut constant = Some(());
        for wanted in 0..genes {
            let members: Vec<usize> = (0..genes).filter(|gene| label[*gene] == wanted).collect();
            if members.is_empty() {
                continue;
            }
            parts.push(self.part(members, constant.take().is_some())?);
        }
        Ok(parts)
    }

    fn part(&self, mut genes: Vec<usize>, with_constants: bool) -> Result<Part, SearchError> {
        // Depth turns slowest, so that everything that it opens is gone through in between.
        genes.sort_by_key(|gene| self.neighbourhood.rules().any(|(governed, _)| governed == *gene));
        let belongs = |term: &&ofa_space::objectives::block_plan::Term| {
            let mut scope = term.genes().chain(term.needs().iter().map(|(gene, _)| *gene)).peekable();
            match scope.peek() {
                None => with_constants,
                Some(_) => scope.all(|gene| genes.contains(&gene)),
            }
        };
        let terms: Vec<Vec<_>> = std::iter::once(&self.score)
            .chain(&self.costs)
            .map(|sum| sum.terms().iter().filter(belongs).collect())
            .collect();
        let mut choices = vec![0u8; self.neighbourhood.choices.len()];
        let mut combinations = Vec::new();
        let mut points = Vec::new();
        loop {
            let mut canonical = choices.clone();
            self.neighbourhood.canonicalise(&mut canonical);
            if genes.iter().all(|gene| canonical[*gene] == choices[*gene]) {
                let value = |index: usize, sum: &BlockSum| -> f64 {
                    terms[index].iter().map(|term| sum.term_value(term, &canonical)).sum()
                };
                let costs = self.costs.iter().enumerate().map(|(c, sum)| value(c + 1, sum)).collect();
                let made_of = ((combinations.len() / genes.len()) as u32, 0);
                let point = Point { score: value(0, &self.score), costs, made_of };
                // A table without a value for the block cannot be chosen.
                if point.score.is_finite() && point.costs.iter().all(|cost: &f64| cost.is_finite()) {
                    points.push(point);
                    combinations.extend(genes.iter().map(|gene| canonical[*gene]));
                }
                if points.len() > MOST_POINTS {
                    return Err(too_large(points.len()));
                }
            }
            // The next joint choice, as an odometer; inactive genes stay at 0.
            let turned = genes.iter().rev().find(|gene| {
                let (gene, count) = (**gene, self.neighbourhood.choices[**gene]);
                match choices[gene] + 1 < count && self.neighbourhood.may_turn(gene, &choices) {
                    true => true,
                    false => {
                        choices[gene] = 0;
                        false
                    }
                }
            });
            match turned.copied() {
                Some(gene) => choices[gene] += 1,
                None => break,
            }
        }
        Ok(Part { genes, combinations, points: unbeaten(points) })
    }
}

impl Part {
    fn apply(&self, combination: u32, choices: &mut [u8]) {
        let start = combination as usize * self.genes.len();
        let taken = &self.combinations[start..start + self.genes.len()];
        self.genes.iter().zip(taken).for_each(|(gene, choice)| choices[*gene] = *choice);
    }
}

fn too_large(points: usize) -> SearchError {
    SearchError::TooLarge { subnets: format!("{points} joint choices of one part"), budget: MOST_POINTS }
}

/// The points that no other beats: by rising first cost, each better than all before it that cost no more.
fn unbeaten(mut points: Vec<Point>) -> Vec<Point> {
    let order = |a: &Point, b: &Point| {
        let costs = a.costs.iter().zip(&b.costs).map(|(x, y)| x.total_cmp(y));
        costs.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).then(b.score.total_cmp(&a.score))
    };
    points.sort_by(order);
    let mut kept: Vec<Point> = Vec::new();
    for point in points {
        let beaten = match point.costs.len() {
            0 | 1 => kept.last().is_some_and(|last| last.score >= point.score),
            _ => kept
                .iter()
                .any(|other| other.score >= point.score && other.costs.iter().zip(&point.costs).all(|(a, b)| a <= b)),
        };
        if !beaten {
            kept.push(point);
        }
    }
    kept
}

inventory::submit! {
    StrategyEntry {
        name: "exact",
        about: "the proven optimum, where score and limits are sums over blocks (linear predictor, tables)",
        build: || Box::new(Exact {}),
    }
}
