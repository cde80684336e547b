//! Compares collecting accuracies in clusters and one by one, on the paper's space at three resolutions.
//!
//! ```text
//! cargo run --release -p ofa-train --example collect_speed               # 200 subnets, 64 + 64 images
//! cargo run --release -p ofa-train --example collect_speed -- 40 32      # 40 subnets, 32 + 32 images
//! ```
//!
//! Weights and images are random, since they do not affect the time. Prints the seconds, their ratio, the largest
//! difference of any accuracy, and the multiply-accumulates that clusters save.

use burn::tensor::Device;
use ofa_space::spaces::mbv3::{Mbv3, Mbv3Config};
use ofa_space::{Model, ModelBody, SearchSpace, initialisation, supernet};
use ofa_train::TrainError;
use ofa_train::collection::{CLUSTER, clustered_archs, saving};
use ofa_train::data::{self, LoadOptions, SplitName};
use ofa_train::evaluation::{CalibrationSet, EvaluationSet, Evaluator};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let count = arguments.next().unwrap_or(Ok(200))?;
    let images = arguments.next().unwrap_or(Ok(64))?;
    let config =
        Mbv3Config { resolutions: vec![128, 160, 192], input_channels: 1, classes: 10, ..Mbv3Config::default() };
    let space = Mbv3::try_from(config)?;
    let defs = supernet::tensors(&space)?;
    let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(0));
    let archs = clustered_archs(&space, count, 0)?;

    // Bundled digits, enlarged: what is on them does not matter here.
    let dataset = data::load("bundled", &LoadOptions { max_resolution: 192, ..LoadOptions::default() })?;
    let mut calibration = CalibrationSet::first(&dataset, images).in_batches_of(images);
    let validation = EvaluationSet::new(&dataset, SplitName::Validation, (0..images).collect());
    let mut validation = validation.in_batches_of(images);
    for resolution in &space.info().resolutions {
        calibration.batches(*resolution)?;
        validation.batches(*resolution)?;
    }
    let model = Model {
        body: ModelBody::Supernet { space: Arc::new(space.clone()) },
        class_names: dataset.class_names.clone(),
        input: dataset.input.clone(),
        provenance: BTreeMap::new(),
        weights,
    };
    let mut evaluator = Evaluator::on(&model, calibration, validation, &Device::flex())?;

    // The two ways take turns, eight subnets at a time, so that other work on the machine slows both.
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    let never = AtomicBool::new(false);
    let (mut clusters, mut one_by_one) = (0.0, 0.0);
    for group in archs.chunks(2 * CLUSTER) {
        let started = Instant::now();
        evaluator.collect(group, &never, |_, top1| {
            together.push(top1);
            Ok::<(), TrainError>(())
        })?;
        clusters += started.elapsed().as_secs_f64();
        let started = Instant::now();
        for arch in group {
            alone.push(evaluator.score(Some(arch))?.top1);
        }
        one_by_one += started.elapsed().as_secs_f64();
    }

    let difference = together.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("{} subnets at 128, 160 and 192 px, {images} + {images} images", archs.len());
    println!("in clusters {clusters:.1} s, one by one {one_by_one:.1} s: {:.2} times faster", one_by_one / clusters);
    println!(
        "largest difference of an accuracy: {difference:e}; work saved by the clusters: {:.2} times",
        saving(&space, &archs)?
    );
    Ok(())
}
