//! Subnets that are scored together get the accuracies that they get alone.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used, missing_docs)]

use burn::tensor::Device;
use ofa_space::spaces::mbv3::{Mbv3, Mbv3Config};
use ofa_space::{Arch, Model, ModelBody, SearchSpace, initialisation, registry, supernet};
use ofa_train::TrainError;
use ofa_train::collection::{clustered_archs, distinct_archs, saving};
use ofa_train::data::{self, Dataset, LoadOptions, SplitName};
use ofa_train::evaluation::{CalibrationSet, EvaluationSet, Evaluator};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn digits() -> Dataset {
    data::load("bundled", &LoadOptions { max_resolution: 28, ..LoadOptions::default() }).unwrap()
}

/// Random weights: what a subnet answers is nonsense, but the same nonsense each time.
fn random_supernet(space: &Arc<dyn SearchSpace>, dataset: &Dataset) -> Model {
    let defs = supernet::tensors(space.as_ref()).unwrap();
    Model {
        body: ModelBody::Supernet { space: space.clone() },
        class_names: dataset.class_names.clone(),
        input: dataset.input.clone(),
        provenance: BTreeMap::new(),
        weights: initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(1)),
    }
}

fn check(space: &Arc<dyn SearchSpace>, archs: &[Arch], calibration_images: usize) {
    let dataset = digits();
    let model = random_supernet(space, &dataset);
    let calibration = CalibrationSet::first(&dataset, calibration_images).in_batches_of(40);
    let validation = EvaluationSet::new(&dataset, SplitName::Validation, (0..150).collect()).in_batches_of(40);
    let mut evaluator = Evaluator::on(&model, calibration, validation, &Device::flex()).unwrap();
    let mut together = Vec::new();
    let measured = evaluator.collect(archs, &AtomicBool::new(false), |arch, top1| {
        together.push((arch.clone(), top1));
        Ok::<(), TrainError>(())
    });
    assert_eq!(measured.unwrap(), archs.len());
    assert_eq!(together.len(), archs.len());
    for ((arch, top1), expected) in together.iter().zip(archs) {
        assert_eq!(arch, expected);
        assert_eq!(*top1, evaluator.score(Some(arch)).unwrap().top1, "{arch:?}");
    }
    let different: HashSet<u64> = together.iter().map(|(_, top1)| top1.to_bits()).collect();
    assert!(different.len() > archs.len() / 4, "the accuracies are all the same: {together:?}");
}

#[test]
fn clusters_and_independent_archs_score_as_they_do_alone() {
    let space = registry::named("tiny-28").unwrap();
    check(&space, &clustered_archs(space.as_ref(), 12, 7).unwrap(), 80);
    check(&space, &distinct_archs(space.as_ref(), 6, 7, &HashSet::new()), 80);
    // Without recalibration the supernet's own statistics serve.
    check(&space, &clustered_archs(space.as_ref(), 4, 8).unwrap(), 0);
}

#[test]
fn collecting_ends_when_it_is_asked_to_and_when_a_pair_cannot_be_kept() {
    let space = registry::named("tiny-28").unwrap();
    let dataset = digits();
    let model = random_supernet(&space, &dataset);
    let archs = clustered_archs(space.as_ref(), 8, 0).unwrap();
    let (calibration, validation) =
        (CalibrationSet::first(&dataset, 20), EvaluationSet::sample(&dataset, SplitName::Validation, 20, 0));
    let mut evaluator = Evaluator::on(&model, calibration, validation, &Device::flex()).unwrap();
    let (mut count, stop) = (0, AtomicBool::new(false));
    let measured = evaluator.collect(&archs, &stop, |_, _| {
        count += 1;
        stop.store(count == 3, Ordering::Relaxed);
        Ok::<(), TrainError>(())
    });
    assert_eq!((measured.unwrap(), count), (3, 3));
    stop.store(false, Ordering::Relaxed);
    let refused = evaluator.collect(&archs, &stop, |_, _| {
        count += 1;
        Err(TrainError::Compute("the disk is full".into()))
    });
    assert!(refused.unwrap_err().to_string().contains("the disk is full"));
    assert_eq!(count, 4);
}

#[test]
fn clusters_of_the_paper_s_space_save_work() {
    let config = Mbv3Config { resolutions: vec![128, 160, 192], ..Mbv3Config::default() };
    let space = Mbv3::try_from(config).unwrap();
    let clustered = saving(&space, &clustered_archs(&space, 200, 0).unwrap()).unwrap();
    let independent = saving(&space, &distinct_archs(&space, 200, 0, &HashSet::new())).unwrap();
    println!("clusters {clustered:.2}, independent {independent:.2}");
    assert!(clustered > 1.5, "{clustered}");
    assert!(independent < clustered, "{independent}");
}
