//! Archs that a predictor cannot tell from the best that a search found: where predictions are coarse, some of them should be
//! measured before one is chosen.

use crate::error::SearchError;
use crate::problem::candidate::{Candidate, Constraint};
use ofa_space::{Arch, Genes, Objective, Opened};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashSet};

/// Draws archs of about the best's score and cost.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `tolerance` | 0.01 | how far below the best's score they may be | ≥ 0 |
/// | `saving` | 0.1 | how far below the best's limited quantities, as a share of each: a much cheaper arch is another trade | 0–1 |
/// | `count` | 8 | how many, the best among them | ≥ 1 |
/// | `draws` | 4000 | archs drawn to find them | any |
/// | `seed` | 0 | of every draw | |
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Alternatives {
    /// How far below the best's score they may be.
    pub tolerance: f64,
    /// How far below the best's limited quantities they may be, as a share of each.
    pub saving: f64,
    /// How many are wanted, the best among them.
    pub count: usize,
    /// Archs drawn to find them.
    pub draws: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for Alternatives {
    fn default() -> Self {
        Self { tolerance: 0.01, saving: 0.1, count: 8, draws: 4000, seed: 0 }
    }
}

/// Archs that are drawn, priced and scored together.
const BATCH: usize = 250;
/// Chances that a gene of a mutant is redrawn.
const MUTATIONS: [f64; 2] = [0.05, 0.2];

impl Alternatives {
    /// The best, and archs that keep the constraints and are as good as it by the predictor: half of the draws are random
    /// archs, half are mutants of those that were taken. The resolutions take turns, so that no size of image is missed.
    ///
    /// # Errors
    /// [`SearchError::Objective`] of the score or a quantity.
    pub fn of(
        &self,
        genes: &dyn Genes,
        score: &dyn Objective,
        constraints: &[Constraint],
        best: &Candidate,
    ) -> Result<Vec<Candidate>, SearchError> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut seen = HashSet::from([best.arch.clone()]);
        let mut taken = vec![best.clone()];
        let mut drawn = 0;
        while drawn < self.draws && self.count > 1 {
            let mut archs = Vec::with_capacity(BATCH);
            for _ in 0..BATCH.min(self.draws - drawn) {
                drawn += 1;
                let arch = match drawn % 2 {
                    0 => genes.sample(&Opened::EVERYTHING, &mut rng),
                    _ => {
                        let parent = &taken[rng.random_range(0..taken.len())].arch;
                        genes.mutate(parent, MUTATIONS[rng.random_range(0..MUTATIONS.len())], &mut rng)
                    }
                };
                if seen.insert(arch.clone()) {
                    archs.push(arch);
                }
            }
            let priced = self.priced(archs, constraints, best)?;
            let archs: Vec<Arch> = priced.iter().map(|(arch, _)| arch.clone()).collect();
            let scores = evaluated(score, &archs)?;
            for ((arch, values), score) in priced.into_iter().zip(scores) {
                if score >= best.score - self.tolerance {
                    taken.push(Candidate { arch, score, values });
                }
            }
        }
        Ok(self.chosen(taken, &mut rng))
    }

    /// Those that keep the constraints and cost about as much as the best, with their costs.
    fn priced(
        &self,
        archs: Vec<Arch>,
        constraints: &[Constraint],
        best: &Candidate,
    ) -> Result<Vec<(Arch, Vec<f64>)>, SearchError> {
        let mut priced: Vec<(Arch, Vec<f64>)> = archs.into_iter().map(|arch| (arch, Vec::new())).collect();
        for (constraint, of_best) in constraints.iter().zip(&best.values) {
            let archs: Vec<Arch> = priced.iter().map(|(arch, _)| arch.clone()).collect();
            let values = evaluated(constraint.objective.as_ref(), &archs)?;
            priced.iter_mut().zip(values).for_each(|((_, known), value)| known.push(value));
            let range = of_best * (1.0 - self.saving)..=constraint.limit;
            priced.retain(|(_, known)| known.last().is_some_and(|value| range.contains(value)));
        }
        Ok(priced)
    }

    /// The first, which is the best, and others: resolution after resolution, at random within each.
    fn chosen(&self, mut taken: Vec<Candidate>, rng: &mut ChaCha8Rng) -> Vec<Candidate> {
        let best = taken.swap_remove(0);
        let own = best.arch.resolution();
        taken.sort_by(|a, b| a.arch.cmp(&b.arch));
        taken.shuffle(rng);
        let mut groups: BTreeMap<Option<u32>, Vec<Candidate>> = BTreeMap::new();
        for candidate in taken {
            groups.entry(candidate.arch.resolution()).or_default().push(candidate);
        }
        let mut chosen = vec![best];
        let mut round = 0;
        while chosen.len() < self.count && groups.values().any(|group| !group.is_empty()) {
            for (resolution, group) in &mut groups {
                // The best has its turn in the first round.
                let has_had = round == 0 && *resolution == own;
                if chosen.len() < self.count && !has_had {
                    chosen.extend(group.pop());
                }
            }
            round += 1;
        }
        chosen
    }
}

fn evaluated(objective: &dyn Objective, archs: &[Arch]) -> Result<Vec<f64>, SearchError> {
    let failed = |source| SearchError::Objective { objective: objective.name().to_owned(), source };
    if archs.is_empty() { Ok(Vec::new()) } else { objective.evaluate(archs).map_err(failed) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Search;
    use crate::strategies::memetic::Memetic;
    use ofa_space::{BlockObjective, FnObjective, cost, registry};

    #[test]
    fn alternatives_keep_the_limits_are_about_as_good_and_show_every_resolution() {
        let space = registry::named("ofa-mbv3-w1.0").unwrap();
        let macs = BlockObjective::cost("macs", space.clone(), cost::block_macs);
        let size = macs.evaluate(&[space.max_arch(), space.min_arch()]).unwrap();
        // As coarse as a prior: only cost counts.
        let score = BlockObjective::cost("score", space.clone(), cost::block_macs);
        let score =
            FnObjective::new("score", move |arch: &Arch| Ok(score.evaluate(std::slice::from_ref(arch))?[0] / 1e9));
        let limit = (size[0] + size[1]) / 3.0;
        let constraints = [Constraint::at_most(macs, limit)];
        let best = Search::new(Memetic::default()).run(space.as_ref(), &score, &constraints).unwrap().best.unwrap();
        let wanted = Alternatives { tolerance: 0.02, count: 12, ..Alternatives::default() };
        let found = wanted.of(space.as_ref(), &score, &constraints, &best).unwrap();
        assert_eq!((found.len(), &found[0]), (12, &best));
        let distinct: HashSet<&Arch> = found.iter().map(|one| &one.arch).collect();
        assert_eq!(distinct.len(), 12);
        for one in &found {
            assert!(one.values[0] <= limit && one.values[0] >= 0.9 * best.values[0], "{:?}", one.values);
            assert!(one.score >= best.score - 0.02);
        }
        let sizes: HashSet<Option<u32>> = found.iter().map(|one| one.arch.resolution()).collect();
        assert!(sizes.len() > 1, "{sizes:?}");
        assert_eq!(found, wanted.of(space.as_ref(), &score, &constraints, &best).unwrap());
        let other = Alternatives { seed: 1, ..wanted }.of(space.as_ref(), &score, &constraints, &best).unwrap();
        assert_ne!(found, other);
    }

    #[test]
    fn the_best_alone_is_no_draw() {
        let space = registry::named("tiny-28").unwrap();
        let score = FnObjective::new("score", |_: &Arch| Ok(1.0));
        let best = Candidate { arch: space.max_arch(), score: 1.0, values: Vec::new() };
        let alone = Alternatives { count: 1, ..Alternatives::default() };
        assert_eq!(alone.of(space.as_ref(), &score, &[], &best).unwrap(), [best]);
    }
}
