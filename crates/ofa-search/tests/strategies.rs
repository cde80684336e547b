//! Every strategy against exhaustive enumeration, under constraints, with odd inputs.
#![allow(clippy::unwrap_used, missing_docs)]

mod toy;

use ofa_search::strategies::exhaustive;
use ofa_search::{
    Budget, Constraint, Genes, LimitList, Observer, Problem, Search, SearchError, Silent, Target, pareto, strategy,
};

use ofa_space::{Arch, BlockObjective, FnObjective, Objective, cost, registry};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A rugged objective with one best arch.
fn score() -> impl Objective {
    FnObjective::new("score", |arch: &Arch| {
        let sum = arch.choices().iter().enumerate().map(|(i, c)| f64::from(*c) * [0.3, 0.2, 0.05, -0.02][i % 4]);
        Ok(sum.sum::<f64>() + f64::from(arch.resolution().unwrap_or(0)) * 0.001)
    })
}

fn size() -> Arc<dyn Objective> {
    Arc::new(FnObjective::new("size", |arch: &Arch| {
        let genes: f64 = arch.choices().iter().map(|c| f64::from(*c)).sum();
        Ok(genes + f64::from(arch.resolution().unwrap_or(0)) / 16.0)
    }))
}

#[test]
fn enumeration_meets_every_subnet_once() {
    let space = toy::space();
    let mut seen = std::collections::HashSet::new();
    exhaustive::for_each_arch(&space, &mut |arch| {
        assert!(seen.insert(arch));
        true
    });
    // (3 + 9)² archs at two resolutions.
    assert_eq!(seen.len(), 288);
    assert_eq!((space.subnets() * 2u32).to_string(), "288");
}

#[test]
fn strategies_find_the_optimum_of_a_small_space() {
    let space = toy::space();
    for limit in [2.0, 4.0, 7.0, 100.0] {
        let constraints = [Constraint { objective: size(), limit }];
        let run = |name: &str| {
            // Exhaustive search needs one evaluation for each of the 288 archs; the others get by with three quarters.
            let budget = Budget::evaluations(if name == "exhaustive" { 288 } else { 216 });
            let search = Search { strategy: strategy::named(name).unwrap(), budget, seed: 1 };
            search.run(&space, &score(), &constraints).unwrap()
        };
        let optimum = run("exhaustive").best.unwrap().score;
        for name in ["random", "evolution", "annealing", "memetic", "nsga2", "particle-swarm"] {
            let outcome = run(name);
            assert!(outcome.evaluations <= 216);
            let best = outcome.best.unwrap();
            assert!(best.values[0] <= limit);
            // Random search only draws, and memetic search climbs without slopes here.
            let slack = if ["random", "memetic"].contains(&name) { 0.3 } else { 0.05 };
            assert!(best.score >= optimum - slack, "{name} at {limit}: {} of {optimum}", best.score);
        }
    }
}

#[test]
fn infeasible_limits_end_with_the_closest() {
    let space = toy::space();
    for entry in strategy::entries().into_iter().filter(|e| e.name != "exact") {
        let search = Search { strategy: (entry.build)(), budget: Budget::evaluations(400), seed: 0 };
        let outcome = search.run(&space, &score(), &[Constraint { objective: size(), limit: -1.0 }]).unwrap();
        assert!(outcome.best.is_none(), "{}", entry.name);
        let closest = outcome.closest.unwrap();
        // The smallest arch, which is the nearest to any limit on size that nothing keeps.
        assert_eq!(closest.arch, space.min_arch(), "{}", entry.name);
    }
}

#[test]
fn odd_inputs_are_answered() {
    let space = toy::space();
    for entry in strategy::entries().into_iter().filter(|e| !["exhaustive", "exact"].contains(&e.name)) {
        let search = |budget| Search { strategy: (entry.build)(), budget: Budget::evaluations(budget), seed: 0 };
        let nothing = search(0).run(&space, &score(), &[]).unwrap();
        assert!(nothing.best.is_none() && nothing.evaluations == 0);
        let nan = FnObjective::new("score", |_: &Arch| Ok(f64::NAN));
        assert!(matches!(search(50).run(&space, &nan, &[]), Err(SearchError::NotFinite { .. })), "{}", entry.name);
        let failing = FnObjective::new("score", |_: &Arch| Err("no table".into()));
        let error = search(50).run(&space, &failing, &[]).unwrap_err();
        assert!(error.to_string().contains("no table"), "{}: {error}", entry.name);
        let limit = Constraint { objective: size(), limit: f64::NAN };
        assert!(matches!(search(50).run(&space, &score(), &[limit]), Err(SearchError::Limit { .. })));
    }
    let error = strategy::named("evolutoin").unwrap_err().to_string();
    assert!(error.contains("did you mean `evolution`"), "{error}");
}

#[test]
fn grids_share_evaluations_and_are_monotone_in_the_limit() {
    let space = registry::named("tiny-28").unwrap();
    let costed = space.clone();
    let macs: Arc<dyn Objective> =
        Arc::new(FnObjective::new("macs", move |arch: &Arch| Ok(cost::macs(&costed.resolve(arch)?) as f64)));
    let list = LimitList { objective: macs, limits: vec![2.0e6, 0.7e6, 1.0e6] };
    let run = |name: &str, seed| {
        let search = Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(1500), seed };
        let stop = AtomicBool::new(false);
        search
            .run_grid(
                &score(),
                Target { genes: space.as_ref(), lists: std::slice::from_ref(&list) },
                &mut Silent,
                &stop,
            )
            .unwrap()
    };
    for name in ["random", "evolution", "annealing", "memetic", "nsga2", "particle-swarm"] {
        let outcomes = run(name, 3);
        assert_eq!(outcomes, run(name, 3), "{name} does not repeat with the same seed");
        let best: Vec<f64> = outcomes.iter().map(|o| o.best.as_ref().unwrap().score).collect();
        assert!(best[0] >= best[2] && best[2] >= best[1], "{name}: {best:?}");
        for outcome in &outcomes {
            assert!(outcome.best.as_ref().unwrap().values[0] <= outcome.limits[0]);
        }
    }
}

#[test]
fn evolution_beats_random_search() {
    let space = registry::named("ofa-mbv3-w1.0").unwrap();
    let costed = space.clone();
    let macs: Arc<dyn Objective> =
        Arc::new(FnObjective::new("macs", move |arch: &Arch| Ok(cost::macs(&costed.resolve(arch)?) as f64)));
    let run = |name: &str| {
        let search = Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(3000), seed: 0 };
        let limit = Constraint { objective: macs.clone(), limit: 300e6 };
        search.run(space.as_ref(), &score(), &[limit]).unwrap().best.unwrap().score
    };
    assert!(run("evolution") > run("random"));
}

#[test]
fn nothing_on_the_front_is_beaten() {
    let space = toy::space();
    let search = Search { strategy: strategy::named("exhaustive").unwrap(), budget: Budget::evaluations(300), seed: 0 };
    let outcome = search.run(&space, &score(), &[Constraint { objective: size(), limit: f64::INFINITY }]).unwrap();
    assert!(outcome.front.len() > 2);
    for pair in outcome.front.windows(2) {
        assert!(pair[0].values[0] < pair[1].values[0] && pair[0].score < pair[1].score);
    }
    assert_eq!(pareto::front(&outcome.front), outcome.front);
    assert_eq!(outcome.front.last().unwrap().score, outcome.best.unwrap().score);
}

#[test]
fn memetic_search_does_not_depend_on_the_number_of_threads() {
    let space = registry::named("ofa-mbv3-w1.0").unwrap();
    let macs: Arc<dyn Objective> = Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs));
    let list = LimitList { objective: macs, limits: vec![250e6, 400e6] };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let strategy = strategy::named("memetic").unwrap();
            let search = Search { strategy, budget: Budget::evaluations(4000), seed: 5 };
            let stop = AtomicBool::new(false);
            search
                .run_grid(
                    &score(),
                    Target { genes: space.as_ref(), lists: std::slice::from_ref(&list) },
                    &mut Silent,
                    &stop,
                )
                .unwrap()
        })
    };
    let one = run(1);
    assert_eq!(one, run(3));
    assert!(one.iter().all(|outcome| outcome.evaluations <= 4000 && outcome.best.is_some()));
}

#[test]
fn a_search_ends_where_it_is_told_to() {
    let space = registry::named("ofa-mbv3-w1.0").unwrap();
    let stop = AtomicBool::new(true);
    for name in ["memetic", "random", "evolution", "annealing"] {
        let search =
            Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(1_000_000), seed: 0 };
        let outcomes =
            search.run_grid(&score(), Target { genes: space.as_ref(), lists: &[] }, &mut Silent, &stop).unwrap();
        assert_eq!(outcomes[0].evaluations, 0, "{name}");
        let search = Search { budget: Budget::seconds(0.05), ..search };
        let outcome = search.run(space.as_ref(), &score(), &[]).unwrap();
        // How far it came is up to the machine.
        assert!(outcome.evaluations < 100_000_000, "{name}");
    }
}

/// Stops the search at the first feasible arch.
struct StopEarly<'a>(&'a AtomicBool);

impl Observer for StopEarly<'_> {
    fn on_improvement(&mut self, _: &ofa_search::Candidate) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn an_interrupted_search_gives_the_best_so_far() {
    let space = registry::named("ofa-mbv3-w1.0").unwrap();
    for entry in strategy::entries().into_iter().filter(|e| !["exhaustive", "exact"].contains(&e.name)) {
        let stop = AtomicBool::new(false);
        let search = Search { strategy: (entry.build)(), budget: Budget::evaluations(1_000_000), seed: 0 };
        let outcomes = search
            .run_grid(&score(), Target { genes: space.as_ref(), lists: &[] }, &mut StopEarly(&stop), &stop)
            .unwrap();
        assert!(outcomes[0].best.is_some(), "{}", entry.name);
        // Every strategy ends within the batch at work, the largest of which is a round of all 50 islands.
        assert!(outcomes[0].evaluations < 200_000, "{}: {}", entry.name, outcomes[0].evaluations);
        let (flag, genes, score) = (AtomicBool::new(false), space.as_ref(), score());
        let mut observer = StopEarly(&flag);
        let problem = Problem::new(genes, &score, &[]).unwrap().with_observer(&mut observer).with_stop(&flag);
        let alone = search.solve(problem).unwrap();
        assert!(alone.best.is_some() && alone.evaluations < 200_000, "{}", entry.name);
    }
}

#[test]
fn limits_that_contradict_each_other_end_between_them() {
    let space = registry::named("ofa-mbv3-w1.0").unwrap();
    let macs: Arc<dyn Objective> = Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs));
    let negative = |net: &ofa_space::NetSpec, block: usize| Ok(-(cost::block_macs(&net.blocks[block]) as f64));
    let spared: Arc<dyn Objective> = Arc::new(BlockObjective::new("spared", space.clone(), negative));
    // At most 200 million MACs, and at least 400 million.
    let limits = [Constraint { objective: macs, limit: 200e6 }, Constraint { objective: spared, limit: -400e6 }];
    for name in ["memetic", "random", "evolution", "annealing", "nsga2", "particle-swarm"] {
        let search = Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(300), seed: 0 };
        let outcome = search.run(space.as_ref(), &score(), &limits).unwrap();
        assert!(outcome.best.is_none(), "{name}");
        // Both limits are missed by a third at 267 million MACs; outside 200 to 400 million, one is missed by half or more.
        let violation = outcome.closest.unwrap().violation(&limits);
        assert!((0.333..=0.5).contains(&violation), "{name}: {violation}");
    }
}

#[test]
fn evolution_predicts_only_what_keeps_the_limits() {
    let space = registry::named("ofa-mbv3-w1.0").unwrap();
    let macs: Arc<dyn Objective> = Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs));
    let limit = 300e6;
    let (costed, plain) = (macs.clone(), score());
    let picky = FnObjective::new("score", move |arch: &Arch| {
        let archs = std::slice::from_ref(arch);
        match costed.evaluate(archs)?[0] <= limit {
            true => Ok(plain.evaluate(archs)?[0]),
            false => Err("asked about an infeasible arch".into()),
        }
    });
    let search = Search { strategy: strategy::named("evolution").unwrap(), budget: Budget::evaluations(2000), seed: 0 };
    let outcome = search.run(space.as_ref(), &picky, &[Constraint { objective: macs, limit }]).unwrap();
    assert_eq!(outcome.evaluations, 2000);
    assert!(outcome.best.unwrap().values[0] <= limit);
}

#[test]
fn cases_side_by_side_are_what_they_are_alone_at_any_number_of_threads() {
    let space = registry::named("ofa-mbv3-w1.0").unwrap();
    let macs: Arc<dyn Objective> = Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs));
    let list = LimitList { objective: macs.clone(), limits: vec![250e6, 300e6, 400e6] };
    for name in ["evolution", "nsga2", "annealing", "particle-swarm"] {
        let search = Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(1000), seed: 2 };
        let grid = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let stop = AtomicBool::new(false);
            let lists = std::slice::from_ref(&list);
            pool.install(|| {
                search.run_grid(&score(), Target { genes: space.as_ref(), lists }, &mut Silent, &stop).unwrap()
            })
        };
        let outcomes = grid(1);
        assert_eq!(outcomes, grid(3), "{name}");
        for outcome in &outcomes {
            let limit = Constraint { objective: macs.clone(), limit: outcome.limits[0] };
            let alone = search.run(space.as_ref(), &score(), &[limit]).unwrap();
            assert_eq!((outcome.evaluations, &outcome.front), (alone.evaluations, &alone.front), "{name}");
            assert!(outcome.best.as_ref().unwrap().score >= alone.best.unwrap().score, "{name}");
        }
    }
}

#[test]
fn random_search_looks_as_far_under_the_last_limit_as_under_the_first() {
    let space = registry::named("ofa-mbv3-w1.0").unwrap();
    let macs: Arc<dyn Objective> = Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs));
    let search = Search { strategy: strategy::named("random").unwrap(), budget: Budget::evaluations(8000), seed: 0 };
    let list = LimitList { objective: macs.clone(), limits: vec![200e6, 350e6] };
    let stop = AtomicBool::new(false);
    let outcomes =
        search.run_grid(&score(), Target { genes: space.as_ref(), lists: &[list] }, &mut Silent, &stop).unwrap();
    let alone = search.run(space.as_ref(), &score(), &[Constraint { objective: macs, limit: 350e6 }]).unwrap();
    assert_eq!(outcomes[1].best, alone.best);
    assert_eq!((outcomes[0].evaluations, outcomes[1].evaluations), (8000, 0));
}

#[test]
fn several_targets_share_what_they_find_and_repeat_at_any_number_of_threads() {
    let space = registry::named("ofa-mbv3-w1.0").unwrap();
    let macs: Arc<dyn Objective> = Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs));
    let params: Arc<dyn Objective> = Arc::new(BlockObjective::cost("params", space.clone(), cost::block_params));
    let lists = [
        [LimitList { objective: macs, limits: vec![400e6, 250e6] }],
        [LimitList { objective: params, limits: vec![4.5e6, 5.5e6, 1.0] }],
    ];
    let targets = lists.each_ref().map(|lists| Target { genes: space.as_ref(), lists });
    for (name, budget) in [("memetic", 3000), ("evolution", 1000), ("random", 1000)] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let search =
                Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(budget), seed: 1 };
            let stop = AtomicBool::new(false);
            pool.install(|| search.run_targets(&score(), &targets, &mut Silent, &stop).unwrap())
        };
        let found = run(1);
        assert_eq!(found, run(3), "{name}");
        assert_eq!((found[0].len(), found[1].len()), (2, 3));
        let best = |target: usize, case: usize| found[target][case].best.as_ref().unwrap();
        assert!(best(0, 0).score >= best(0, 1).score && best(1, 1).score >= best(1, 0).score, "{name}");
        assert!(best(0, 1).values[0] <= 250e6 && best(1, 0).values[0] <= 4.5e6, "{name}");
        // One parameter is too few.
        assert!(found[1][2].best.is_none() && found[1][2].closest.as_ref().unwrap().values[0] > 1e6, "{name}");
        assert!(found.iter().flatten().all(|outcome| outcome.evaluations <= budget), "{name}");
    }
}
