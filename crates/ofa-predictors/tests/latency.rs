//! Latencies are fitted, stored and searched as accuracies are, and the two are not mixed up.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_predictors::{EstimatorChoice, Fit, FittedPredictor, Pair, PredictedObjective, PredictorError, Target};
use ofa_space::{Objective, Opened, SearchSpace, cost, registry};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

fn space() -> Arc<dyn SearchSpace> {
    registry::named("tiny-28").unwrap()
}

/// Latencies that grow with the MACs, and a little with the depth.
fn pairs(space: &dyn SearchSpace, count: usize) -> Vec<Pair> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let draw = |_| {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        let net = space.resolve(&arch).unwrap();
        Pair { arch, value: 0.2 + 1e-6 * cost::macs(&net) as f64 + 0.05 * net.blocks.len() as f64 }
    };
    (0..count).map(draw).collect()
}

fn fit(kind: &str) -> Fit {
    Fit { target: Target::Latency, ..Fit::with(EstimatorChoice::named(kind).unwrap()) }
}

#[test]
fn every_kind_fits_latencies() {
    let space = space();
    let pairs = pairs(space.as_ref(), 90);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latency.json");
    for kind in ["ridge", "gaussian-process", "cost-process", "svr", "elastic-net", "mlp", "cost-prior", "auto"] {
        let fitted = fit(kind).run(space.as_ref(), &pairs[..70], &pairs[70..]).unwrap();
        assert!(fitted.report.kendall_tau > 0.6, "{kind}: {:?}", fitted.report);
        fitted.save(&path).unwrap();
        let read = FittedPredictor::load_for(&path, Target::Latency).unwrap();
        let archs = [space.min_arch(), space.max_arch()];
        let values = read.predict(space.as_ref(), &archs).unwrap();
        assert_eq!(values, fitted.predict(space.as_ref(), &archs).unwrap());
        assert!(values[0] < values[1], "{kind}: {values:?}");
    }
}

#[test]
fn a_latency_is_not_taken_for_an_accuracy() {
    let space = space();
    let pairs = pairs(space.as_ref(), 40);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latency.json");
    fit("ridge").run(space.as_ref(), &pairs, &[]).unwrap().save(&path).unwrap();
    let error = FittedPredictor::load_for(&path, Target::Accuracy).unwrap_err().to_string();
    assert!(error.contains("latency.json: the predictor predicts latency"), "{error}");
    assert!(error.contains("`top1`"), "{error}");
    let fitted = Arc::new(FittedPredictor::load(&path).unwrap());
    let objective = PredictedObjective::new(space.clone(), fitted.clone(), Target::Accuracy);
    assert!(matches!(objective.err(), Some(PredictorError::OtherTarget { found: Target::Latency, .. })));
    let objective = PredictedObjective::new(space.clone(), fitted.clone(), Target::Latency).unwrap();
    assert_eq!(objective.name(), "latency_ms");
    let archs = [space.max_arch()];
    assert_eq!(objective.evaluate(&archs).unwrap(), fitted.predict(space.as_ref(), &archs).unwrap());
    let bound = objective.cautious(2.0).unwrap().evaluate(&archs).unwrap();
    assert!(bound[0] > fitted.predict(space.as_ref(), &archs).unwrap()[0], "the cautious latency is the longer one");

    // A reader of format 1 refuses the file for its format; one that claims it is not believed.
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"format\":2") && text.contains("\"target\":\"latency\""));
    for (from, to, expected) in [
        ("\"format\":2", "\"format\":1", "has target latency in format 1"),
        ("\"format\":2", "\"format\":3", "is of format 3"),
        (",\"target\":\"latency\"", "", "has target accuracy in format 2"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        std::fs::write(&path, changed).unwrap();
        let error = FittedPredictor::load(&path).unwrap_err().to_string();
        assert!(error.contains("latency.json") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_choice_without_a_pair_is_avoided_in_latency_too() {
    let space = space();
    let mut pairs = pairs(space.as_ref(), 200);
    let largest = space.max_arch();
    let gene = 0;
    pairs.retain(|pair| pair.arch.choices()[gene] != largest.choices()[gene]);
    let fitted = fit("ridge").run(space.as_ref(), &pairs, &[]).unwrap();
    assert!(fitted.predict(space.as_ref(), std::slice::from_ref(&largest)).is_err());
    let objective = PredictedObjective::new(space.clone(), Arc::new(fitted), Target::Latency).unwrap();
    assert!(objective.evaluate(&[largest]).unwrap()[0] > 1e5);
}
