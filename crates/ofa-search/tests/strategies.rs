//! Every strategy against exhaustive enumeration, under constraints, with odd inputs.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_search::driver::LimitList;
use ofa_search::problem::Silent;
use ofa_search::{Budget, Constraint, Search, SearchError, exhaustive, pareto, strategy};
use ofa_space::gene::{ActiveWhen, Dimension, Gene};
use ofa_space::objective::FnObjective;
use ofa_space::{Arch, NetSpec, Objective, SearchSpace, SpaceError, SpaceInfo, cost, registry};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Two stages of up to two blocks: small enough to enumerate, with inactive genes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Toy {
    #[serde(skip, default = "toy_info")]
    info: SpaceInfo,
}

fn toy_info() -> SpaceInfo {
    let gene = |group: &str, index, dimension, choices: &[f64], active_when| Gene {
        group: group.into(),
        index,
        dimension,
        choices: choices.to_vec(),
        phases: vec![0; choices.len()],
        active_when,
    };
    let mut genes =
        vec![gene("d", 0, Dimension::Depth, &[1.0, 2.0], None), gene("d", 1, Dimension::Depth, &[1.0, 2.0], None)];
    for block in 0..4usize {
        let when = ActiveWhen { depth_gene: block / 2, at_least: (block % 2 + 1) as f64 };
        genes.push(gene("ks", block, Dimension::KernelSize, &[3.0, 5.0, 7.0], Some(when)));
    }
    SpaceInfo { name: "toy".into(), input_channels: 3, classes: 2, resolutions: vec![16, 32], genes }
}

#[typetag::serde(name = "toy")]
impl SearchSpace for Toy {
    fn info(&self) -> &SpaceInfo {
        &self.info
    }
    fn resolve(&self, _arch: &Arch) -> Result<NetSpec, SpaceError> {
        Err(SpaceError::MissingResolution { example: 16 })
    }
}

fn toy() -> Toy {
    Toy { info: toy_info() }
}

/// A rugged objective with one best arch.
fn accuracy() -> impl Objective {
    FnObjective::new("accuracy", |arch: &Arch| {
        let score = arch.choices().iter().enumerate().map(|(i, c)| f64::from(*c) * [0.3, 0.2, 0.05, -0.02][i % 4]);
        Ok(score.sum::<f64>() + f64::from(arch.resolution().unwrap_or(0)) * 0.001)
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
    let space = toy();
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
    let space = toy();
    for limit in [2.0, 4.0, 7.0, 100.0] {
        let constraints = [Constraint { objective: size(), limit }];
        let run = |name: &str| {
            let search = Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(288), seed: 1 };
            search.run(&space, &accuracy(), &constraints).unwrap()
        };
        let optimum = run("exhaustive").best.unwrap().accuracy;
        for name in ["random", "evolution", "annealing"] {
            let outcome = run(name);
            assert!(outcome.evaluations <= 288);
            let best = outcome.best.unwrap();
            assert!(best.values[0] <= limit);
            assert!(best.accuracy >= optimum - 0.05, "{name} at {limit}: {} of {optimum}", best.accuracy);
        }
    }
}

#[test]
fn infeasible_limits_end_with_the_closest() {
    let space = toy();
    for entry in strategy::entries() {
        let search = Search { strategy: (entry.build)(), budget: Budget::evaluations(400), seed: 0 };
        let outcome = search.run(&space, &accuracy(), &[Constraint { objective: size(), limit: -1.0 }]).unwrap();
        assert!(outcome.best.is_none(), "{}", entry.name);
        let closest = outcome.closest.unwrap();
        assert!(closest.values[0] >= 1.0);
    }
}

#[test]
fn odd_inputs_are_answered() {
    let space = toy();
    for entry in strategy::entries().into_iter().filter(|e| e.name != "exhaustive") {
        let search = |budget| Search { strategy: (entry.build)(), budget: Budget::evaluations(budget), seed: 0 };
        let nothing = search(0).run(&space, &accuracy(), &[]).unwrap();
        assert!(nothing.best.is_none() && nothing.evaluations == 0);
        let nan = FnObjective::new("accuracy", |_: &Arch| Ok(f64::NAN));
        assert!(matches!(search(50).run(&space, &nan, &[]), Err(SearchError::NotFinite { .. })), "{}", entry.name);
        let failing = FnObjective::new("accuracy", |_: &Arch| Err("no table".into()));
        let error = search(50).run(&space, &failing, &[]).unwrap_err();
        assert!(error.to_string().contains("no table"), "{}: {error}", entry.name);
        let limit = Constraint { objective: size(), limit: f64::NAN };
        assert!(matches!(search(50).run(&space, &accuracy(), &[limit]), Err(SearchError::Limit { .. })));
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
    let list = LimitList { objective: macs, limits: vec![2.0e6, 0.5e6, 1.0e6] };
    let run = |name: &str, seed| {
        let search = Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(1500), seed };
        let stop = AtomicBool::new(false);
        search.run_grid(space.as_ref(), &accuracy(), std::slice::from_ref(&list), &mut Silent, &stop).unwrap()
    };
    for name in ["random", "evolution", "annealing"] {
        let outcomes = run(name, 3);
        assert_eq!(outcomes, run(name, 3), "{name} does not repeat with the same seed");
        let best: Vec<f64> = outcomes.iter().map(|o| o.best.as_ref().unwrap().accuracy).collect();
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
        search.run(space.as_ref(), &accuracy(), &[limit]).unwrap().best.unwrap().accuracy
    };
    assert!(run("evolution") > run("random"));
}

#[test]
fn nothing_on_the_front_is_beaten() {
    let space = toy();
    let search = Search { strategy: strategy::named("exhaustive").unwrap(), budget: Budget::evaluations(300), seed: 0 };
    let outcome = search.run(&space, &accuracy(), &[Constraint { objective: size(), limit: f64::INFINITY }]).unwrap();
    assert!(outcome.front.len() > 2);
    for pair in outcome.front.windows(2) {
        assert!(pair[0].values[0] < pair[1].values[0] && pair[0].accuracy < pair[1].accuracy);
    }
    assert_eq!(pareto::front(&outcome.front), outcome.front);
    assert_eq!(outcome.front.last().unwrap().accuracy, outcome.best.unwrap().accuracy);
}
