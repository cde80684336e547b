//! Resolutions and choices that the training pairs lack, and pairs that show no difference.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_predictors::{
    Encoder, EstimatorChoice, Fit, FittedPredictor, Pair, PredictedObjective, PredictorError, Target,
};
use ofa_space::Dimension;
use ofa_space::{Arch, Objective, Opened, Population, SearchSpace, registry};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

fn space() -> Arc<dyn SearchSpace> {
    registry::named("tiny-28").unwrap()
}

/// Pairs whose accuracy grows with the genes and the resolution.
fn pairs(space: &dyn SearchSpace, count: usize, keep: impl Fn(&Arch) -> bool) -> Vec<Pair> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let draws = std::iter::repeat_with(|| space.sample(&Opened::EVERYTHING, &mut rng));
    let value = |arch: &Arch| {
        let genes: f64 = arch.choices().iter().map(|c| f64::from(*c)).sum();
        0.6 + 0.003 * genes + 0.002 * f64::from(arch.resolution().unwrap())
    };
    draws.filter(keep).take(count).map(|arch| Pair { value: value(&arch), arch }).collect()
}

fn with(kind: &str) -> Fit {
    Fit::with(EstimatorChoice::named(kind).unwrap())
}

fn fitted(kind: &str, encoder: Encoder, pairs: &[Pair]) -> FittedPredictor {
    Fit { encoder, ..with(kind) }.run(space().as_ref(), pairs, &[]).unwrap()
}

#[test]
fn an_unseen_resolution_is_refused_or_lies_between() {
    let space = space();
    let [low, middle, high] = space.info().resolutions[..] else { panic!("three resolutions") };
    let at = |resolution: u32| [space.max_arch().with_resolution(resolution)];
    let ends = pairs(space.as_ref(), 120, |arch| arch.resolution() != Some(middle));
    for kind in ["ridge", "gaussian-process"] {
        let strict = fitted(kind, Encoder::OneHotCost, &ends);
        let error = strict.predict(space.as_ref(), &at(middle)).unwrap_err();
        assert!(
            matches!(error, PredictorError::UnseenResolution { resolution, .. } if resolution == middle),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("which have {low}, {high};")), "{error}");
        assert_eq!(strict.narrowed(space.clone()).unwrap().info().resolutions, [low, high]);

        let between = fitted(kind, Encoder::Stages, &ends);
        let value = |resolution: u32| between.predict(space.as_ref(), &at(resolution)).unwrap()[0];
        assert!(value(low) < value(middle) && value(middle) < value(high), "{kind}");
        assert_eq!(between.narrowed(space.clone()).unwrap().info().resolutions, [low, middle, high]);
    }
    let lower = pairs(space.as_ref(), 120, |arch| arch.resolution() != Some(high));
    let between = fitted("ridge", Encoder::Stages, &lower);
    let error = between.predict(space.as_ref(), &at(high)).unwrap_err().to_string();
    assert!(error.contains("in between"), "{error}");
    assert_eq!(between.narrowed(space.clone()).unwrap().info().resolutions, [low, middle]);
}

#[test]
fn an_unseen_choice_is_refused_and_avoided() {
    let space = space();
    let genes = &space.info().genes;
    let kernel = genes.iter().position(|gene| gene.dimension == Dimension::KernelSize).unwrap();
    let largest = (genes[kernel].choices.len() - 1) as u8;
    let active = |arch: &Arch| genes[kernel].is_active(genes, arch.choices());
    let narrow = pairs(space.as_ref(), 150, |arch| !(active(arch) && arch.choices()[kernel] == largest));
    let mut smaller = space.max_arch().choices().to_vec();
    smaller[kernel] = 0;
    let smaller = space.arch(smaller, space.max_arch().resolution()).unwrap();
    let archs = [space.max_arch(), smaller];
    for encoder in [Encoder::Stages, Encoder::OneHot] {
        let fitted = fitted("ridge", encoder, &narrow);
        let name =
            format!("{}[{}]={}", genes[kernel].group, genes[kernel].index, genes[kernel].choices[largest as usize]);
        assert!(fitted.report.warnings[0].contains(&name), "{:?}", fitted.report.warnings);
        let error = fitted.predict(space.as_ref(), &archs).unwrap_err().to_string();
        assert!(error.contains(&name), "{error}");
        let expected = fitted.predict(space.as_ref(), &archs[1..]).unwrap()[0];

        // It survives the file.
        let folder = tempfile::tempdir().unwrap();
        fitted.save(&folder.path().join("p.json")).unwrap();
        let fitted = FittedPredictor::load(&folder.path().join("p.json")).unwrap();
        assert!(fitted.predict(space.as_ref(), &archs).is_err());

        let objective = PredictedObjective::new(space.clone(), Arc::new(fitted), Target::Accuracy).unwrap();
        let values = objective.evaluate(&archs).unwrap();
        assert_eq!(values[1], expected);
        assert!(values[0] < 0.0, "{values:?}");
        let mut slopes = Vec::new();
        assert!(objective.slopes(&Population::of(&archs[1..]), &mut slopes).unwrap());
        let first: usize = genes[..kernel].iter().map(|gene| gene.choices.len()).sum();
        assert!(slopes[first + usize::from(largest)] < slopes[first] - 0.5, "{slopes:?}");
        if let Some(sum) = objective.block_sum(archs[0].resolution()) {
            for (arch, value) in archs.iter().zip(&values) {
                assert!((sum.value(arch.choices()) - value).abs() < 1e-6, "{} {value}", sum.value(arch.choices()));
            }
        }
    }
}

#[test]
fn pairs_without_a_difference_give_a_warning_and_the_larger_net() {
    let space = space();
    let mut few = pairs(space.as_ref(), 60, |_| true);
    for (index, pair) in few.iter_mut().enumerate() {
        pair.value = 0.9 + 0.004 * (((index * index * 31 + index * 7919) % 1009) as f64 / 1009.0 - 0.5);
    }
    let (train, test) = few.split_at(48);
    let fitted = Fit::default().run(space.as_ref(), train, test).unwrap();
    assert_eq!(fitted.report.predictor, "cost-prior");
    let warning = &fitted.report.warnings[0];
    assert!(warning.contains("validation images") && warning.contains("96 pairs"), "{warning}");
    let values = fitted.predict(space.as_ref(), &[space.min_arch(), space.max_arch()]).unwrap();
    assert!(values[1] > values[0], "{values:?}");
    // Pairs that differ give no warning.
    let clear = pairs(space.as_ref(), 60, |_| true);
    let fitted = Fit::default().run(space.as_ref(), &clear, &[]).unwrap();
    assert!(fitted.report.predictor != "cost-prior" && fitted.report.warnings.is_empty(), "{:?}", fitted.report);
}

#[test]
fn a_space_of_the_same_name_with_other_choices_is_refused() {
    let space = space();
    let fitted = fitted("ridge", Encoder::OneHot, &pairs(space.as_ref(), 60, |_| true));
    let other = registry::with_field(space.as_ref(), "kernel_sizes", serde_json::json!([3, 5])).unwrap();
    assert_eq!(other.name(), space.name());
    let error = fitted.predict(other.as_ref(), &[other.min_arch()]).unwrap_err();
    assert!(matches!(error, PredictorError::OtherChoices { .. }), "{error}");
}

/// A few easy images give equal accuracies, and still a predictor of every kind.
#[test]
fn pairs_that_are_all_alike_can_be_fitted() {
    let space = space();
    let mut alike = pairs(space.as_ref(), 40, |_| true);
    alike.iter_mut().for_each(|pair| pair.value = 1.0);
    for kind in ["auto", "ridge", "gaussian-process", "svr", "elastic-net", "cost-prior", "cost-process"] {
        let fitted = with(kind).run(space.as_ref(), &alike, &[]).unwrap_or_else(|error| panic!("{kind}: {error}"));
        for value in fitted.predict(space.as_ref(), &[space.min_arch(), space.max_arch()]).unwrap() {
            assert!((value - 1.0).abs() < 0.01, "{kind}: {value}");
        }
    }
}
