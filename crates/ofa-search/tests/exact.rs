//! Exact search against enumeration, on random sums; and what it says where it cannot work.
#![allow(clippy::unwrap_used, missing_docs)]

mod toy;

use ofa_search::{Budget, Constraint, Search, SearchError, strategy};
use ofa_space::FnObjective;
use ofa_space::{Arch, BlockSum, Genes, Objective, ObjectiveError, PlainTerm};
use proptest::prelude::*;
use std::sync::Arc;

/// A sum of one term per block and one per depth gene, as tables are.
struct Sum {
    name: &'static str,
    sum: Arc<BlockSum>,
}

impl Objective for Sum {
    fn name(&self) -> &str {
        self.name
    }
    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        let resolution = |arch: &Arch| f64::from(arch.resolution().unwrap_or(0)) / 100.0;
        Ok(archs.iter().map(|arch| self.sum.value(arch.choices()) + resolution(arch)).collect())
    }
    fn block_sum(&self, resolution: Option<u32>) -> Option<Arc<BlockSum>> {
        let constant = f64::from(resolution.unwrap_or(0)) / 100.0;
        let constant = PlainTerm { genes: vec![], needs: vec![], values: vec![constant] };
        // The terms again, and the resolution's share.
        Some(Arc::new(BlockSum::of_terms(terms_of(&self.sum).into_iter().chain([constant]))))
    }
}

/// Genes 0 and 1 are the depths of two stages, genes 2 to 5 their blocks.
fn terms_of(sum: &BlockSum) -> Vec<PlainTerm> {
    let value = |choices: [u8; 6]| sum.value(&choices);
    let zero = value([0; 6]);
    let mut terms = vec![PlainTerm { genes: vec![], needs: vec![], values: vec![zero] }];
    for stage in 0..2usize {
        let mut deep = [0; 6];
        deep[stage] = 1;
        terms.push(PlainTerm { genes: vec![(stage, 2)], needs: vec![], values: vec![0.0, value(deep) - zero] });
        for block in 0..2usize {
            let gene = 2 + 2 * stage + block;
            let values = (0..3).map(|choice| {
                let mut base = [0; 6];
                base[stage] = 1;
                let before = value(base);
                base[gene] = choice;
                value(base) - before
            });
            let needs = if block == 0 { vec![] } else { vec![(stage, 1)] };
            terms.push(PlainTerm { genes: vec![(gene, 3)], needs, values: values.collect() });
        }
    }
    terms
}

fn sum(name: &'static str, numbers: &[f64]) -> Sum {
    let term = |block: usize| PlainTerm {
        genes: vec![(2 + block, 3)],
        needs: if block.is_multiple_of(2) { vec![] } else { vec![(block / 2, 1)] },
        values: numbers[3 * block..3 * block + 3].to_vec(),
    };
    Sum { name, sum: Arc::new(BlockSum::of_terms((0..4).map(term))) }
}

fn run(name: &str, score: &Sum, cost: &Arc<dyn Objective>, limit: f64) -> ofa_search::Outcome {
    let search = Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(1000), seed: 0 };
    let constraint = Constraint { objective: cost.clone(), limit };
    search.run(&toy::space(), score, &[constraint]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn exact_search_finds_what_enumeration_finds(
        gains in prop::collection::vec(-1.0f64..1.0, 12),
        costs in prop::collection::vec(0.0f64..1.0, 12),
        limit in 0.2f64..4.0,
    ) {
        let score = sum("score", &gains);
        let cost: Arc<dyn Objective> = Arc::new(sum("cost", &costs));
        let (exact, all) = (run("exact", &score, &cost, limit), run("exhaustive", &score, &cost, limit));
        match (&exact.best, &all.best) {
            (Some(ours), Some(best)) => {
                prop_assert!((ours.score - best.score).abs() < 1e-9, "{} of {}", ours.score, best.score);
                prop_assert!(ours.values[0] <= limit && exact.proven && all.proven);
            }
            (None, None) => prop_assert!(exact.closest.is_some()),
            (ours, best) => prop_assert!(false, "{ours:?} against {best:?}"),
        }
    }
}

#[test]
fn objectives_that_are_no_sums_are_named() {
    let space = toy::space();
    let score = FnObjective::new("taste", |_: &Arch| Ok(1.0));
    let search = Search { strategy: strategy::named("exact").unwrap(), budget: Budget::evaluations(10), seed: 0 };
    let error = search.run(&space, &score, &[]).unwrap_err();
    assert!(matches!(&error, SearchError::NotAdditive { objective } if objective == "taste"), "{error}");
    assert!(space.subnets() > 1u32.into());
}

#[test]
fn exact_search_without_budget_finds_and_proves_nothing() {
    let (score, cost) = (sum("score", &[0.5; 12]), sum("cost", &[0.1; 12]));
    let search = Search { strategy: strategy::named("exact").unwrap(), budget: Budget::evaluations(0), seed: 0 };
    let constraint = Constraint { objective: Arc::new(cost), limit: 10.0 };
    let outcome = search.run(&toy::space(), &score, &[constraint]).unwrap();
    assert!(outcome.best.is_none() && !outcome.proven && outcome.evaluations == 0);
}
