//! Subnets that are scored together get the accuracies that they get alone.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used, missing_docs)]

use burn::tensor::Device;
use ofa_space::spaces::mbv3::{Mbv3, Mbv3Config};
use ofa_space::{Arch, SearchSpace, initialisation, registry, supernet};
use ofa_train::collection::{clustered_archs, collect, distinct_archs, saving, score_alone};
use ofa_train::data::{self, Dataset, LoadOptions, SplitName};
use ofa_train::evaluation::EvaluationSet;
use ofa_train::supernet::Supernet;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;
use std::ops::ControlFlow;

fn digits() -> Dataset {
    data::load("bundled", &LoadOptions { max_resolution: 28, ..LoadOptions::default() }).unwrap()
}

/// Random weights: what a subnet answers is nonsense, but the same nonsense each time.
fn random_supernet(space: &dyn SearchSpace) -> Supernet {
    let defs = supernet::tensors(space).unwrap();
    let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(1));
    Supernet::new(defs, &weights, &Device::flex()).unwrap()
}

fn check(space: &dyn SearchSpace, archs: &[Arch], calibration_images: usize) {
    let dataset = digits();
    let supernet = random_supernet(space);
    let set = |split, images| EvaluationSet::new(&dataset, split, (0..images).collect(), 40);
    let mut calibration = set(SplitName::Train, calibration_images);
    let mut validation = set(SplitName::Validation, 150);
    let mut together = Vec::new();
    collect(&supernet, space, archs, &mut calibration, &mut validation, |arch, top1| {
        together.push((arch.clone(), top1));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(together.len(), archs.len());
    for ((arch, top1), expected) in together.iter().zip(archs) {
        assert_eq!(arch, expected);
        let alone = score_alone(&supernet, space, arch, &mut calibration, &mut validation).unwrap();
        assert_eq!(*top1, alone.top1, "{arch:?}");
    }
    let different: HashSet<u64> = together.iter().map(|(_, top1)| top1.to_bits()).collect();
    assert!(different.len() > archs.len() / 4, "the accuracies are all the same: {together:?}");
}

#[test]
fn clusters_and_independent_archs_score_as_they_do_alone() {
    let space = registry::named("tiny-28").unwrap();
    check(space.as_ref(), &clustered_archs(space.as_ref(), 12, 7).unwrap(), 80);
    check(space.as_ref(), &distinct_archs(space.as_ref(), 6, 7, &HashSet::new()), 80);
    // Without recalibration the supernet's own statistics serve.
    check(space.as_ref(), &clustered_archs(space.as_ref(), 4, 8).unwrap(), 0);
}

#[test]
fn stopping_after_some_pairs_stops() {
    let space = registry::named("tiny-28").unwrap();
    let dataset = digits();
    let supernet = random_supernet(space.as_ref());
    let archs = clustered_archs(space.as_ref(), 8, 0).unwrap();
    let set = |split| EvaluationSet::new(&dataset, split, (0..20).collect(), 20);
    let mut count = 0;
    collect(&supernet, space.as_ref(), &archs, &mut set(SplitName::Train), &mut set(SplitName::Validation), |_, _| {
        count += 1;
        if count == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(count, 3);
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
