//! Limits that few archs keep: what every strategy tries before it gives up.
#![allow(clippy::unwrap_used, missing_docs)]

mod toy;

use ofa_search::{Budget, Constraint, FnObjective, Minimum, Search, strategy};
use ofa_space::{Arch, BlockObjective, Genes, Objective, cost, registry};
use std::sync::Arc;

#[test]
fn a_limit_that_one_arch_keeps_is_kept_whatever_the_strategy_and_the_budget() {
    let space = registry::named("tiny-28").unwrap();
    let macs: Arc<dyn Objective> = Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs));
    let least = Minimum::of(macs.as_ref(), space.as_ref()).unwrap().unwrap();
    let score = BlockObjective::cost("params", space.clone(), cost::block_params);
    for entry in strategy::entries().into_iter().filter(|entry| !["exact", "exhaustive"].contains(&entry.name)) {
        let search = Search { strategy: (entry.build)(), budget: Budget::evaluations(5), seed: 0 };
        let limited = |limit| [Constraint { objective: macs.clone(), limit }];
        let outcome = search.run(space.as_ref(), &score, &limited(least.value)).unwrap();
        assert_eq!(outcome.best.unwrap().values, [least.value], "{}", entry.name);
        let outcome = search.run(space.as_ref(), &score, &limited(least.value - 1.0)).unwrap();
        assert!(outcome.best.is_none(), "{}", entry.name);
        assert_eq!(outcome.closest.unwrap().values, [least.value], "{}", entry.name);
    }
}

#[test]
fn what_is_no_sum_over_blocks_has_no_known_minimum_but_the_smallest_arch_is_tried() {
    let space = toy::space();
    let size = |arch: &Arch| Ok(arch.choices().iter().map(|choice| f64::from(*choice)).sum());
    let size = FnObjective::new("size", size);
    assert!(Minimum::of(&size, &space).unwrap().is_none());
    let score = FnObjective::new("score", |_: &Arch| Ok(0.5));
    let search = Search { strategy: strategy::named("random").unwrap(), budget: Budget::evaluations(1), seed: 0 };
    let outcome = search.run(&space, &score, &[Constraint::at_most(size, 0.0)]).unwrap();
    assert_eq!(outcome.best.unwrap().arch.choices(), space.min_arch().choices());
}
