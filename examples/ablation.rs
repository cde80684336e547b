//! What progressive shrinking gains: the same 20 subnets are scored in three supernets: random weights, the max subnet
//! trained alone for as many optimizer steps, and the finished quickstart.
//!
//! ```text
//! cargo run --release -- run                        # writes ofa-run/
//! cargo run --release --example ablation -- ofa-run
//! ```
//!
//! All three use the configuration of the run. Every subnet is BN-recalibrated on training images and scored on all
//! test images. The second supernet is trained at the same resolutions, with the same batches and learning rate, but
//! only its largest subnet: the shrinking is the only difference.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use ofa::pipeline::{PLAN, config::PipelineConfig};
use ofa::space::{Arch, Model, Opened, SearchSpace, Settings, cost, initialisation, supernet};
use ofa::train::Supernet;
use ofa::train::collection::distinct_archs;
use ofa::train::data::{Dataset, SplitName};
use ofa::train::evaluation::{CalibrationSet, EvaluationSet, evaluate, recalibrate};
use ofa::train::shrinking::{PhaseConfig, Silent, TrainConfig, Trainer};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;
use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

const SUBNETS: usize = 20;
/// Neither training nor collecting draws its subnets with this seed.
const SEED: u64 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "ofa-run".into()));
    let config = PipelineConfig::load(&folder.join(PLAN))?.train;
    let device = ofa::train::device::open("flex")?;
    let shrunk = Model::load(&ofa::pipeline::work_of(&folder).join("train/supernet.safetensors"))?;
    let dataset = config.load_data()?;

    let phases = Trainer::new(&config, &dataset, &device)?.phases().to_vec();
    let steps: usize = phases.iter().map(|phase| phase.total_steps()).sum();
    let alone = PipelineConfig::load(&folder.join(PLAN))?.train.into_inner();
    let alone = max_subnet_alone(alone, steps, &dataset).checked()?;
    let trainer = Trainer::new(&alone, &dataset, &device)?;
    let space = trainer.space().clone();
    eprintln!("training the max subnet alone for {steps} steps …");
    let unshrunk = trainer.train(None, &mut Silent, &AtomicBool::new(false))?.model;

    let defs = supernet::tensors(space.as_ref())?;
    let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(config.seed));
    let random = Supernet::new(defs, &weights, &device)?;

    let mut archs = distinct_archs(space.as_ref(), SUBNETS, SEED, &HashSet::new());
    archs.sort_by_key(|arch| space.resolve(arch).map(|net| cost::macs(&net)).unwrap_or(0));
    eprintln!("scoring {SUBNETS} subnets in three supernets …");
    let supernets = [random, Supernet::from_model(&unshrunk, &device)?, Supernet::from_model(&shrunk, &device)?];
    let columns = supernets
        .iter()
        .map(|supernet| scores(supernet, space.as_ref(), &archs, &dataset))
        .collect::<Result<Vec<_>, _>>()?;

    println!("| subnet | MACs | random weights | max subnet alone | progressive shrinking |\n|---|---|---|---|---|");
    for (index, arch) in archs.iter().enumerate() {
        let macs = cost::macs(&space.resolve(arch)?);
        print!("| {} | {:.2} M ", index + 1, macs as f64 / 1e6);
        columns.iter().for_each(|column| print!("| {:.2} ", 100.0 * column[index]));
        println!("|");
    }
    for (name, of) in [("mean", mean as fn(&[f64]) -> f64), ("worst", worst), ("best", best)] {
        print!("| {name} | ");
        columns.iter().for_each(|column| print!("| {:.2} ", 100.0 * of(column)));
        println!("|");
    }
    Ok(())
}

/// The same training, its first phase stretched over all steps.
fn max_subnet_alone(mut config: TrainConfig, steps: usize, dataset: &Dataset) -> TrainConfig {
    let batches = (dataset.train.len() / config.batch_size).max(1) as f64;
    let first = &config.phases[0];
    let epochs = steps as f64 / batches - first.warmup_epochs;
    config.phases = vec![PhaseConfig { epochs, opens: Opened::NOTHING, subnets_per_step: 1, ..first.clone() }];
    config
}

/// Test accuracy of every subnet.
fn scores(
    supernet: &Supernet,
    space: &dyn SearchSpace,
    archs: &[Arch],
    dataset: &Dataset,
) -> Result<Vec<f64>, Box<dyn Error>> {
    const CALIBRATION: usize = 1000;
    let mut calibration = CalibrationSet::first(dataset, CALIBRATION);
    let mut test = EvaluationSet::all(dataset, SplitName::Test);
    let mut top1 = Vec::with_capacity(archs.len());
    for arch in archs {
        let net = space.resolve(arch)?;
        let running = recalibrate(supernet, &net, &mut calibration)?;
        top1.push(evaluate(supernet, &net, &running, &mut test)?.top1);
    }
    Ok(top1)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}
