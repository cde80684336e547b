//! Trains a supernet from a pretrained network, picks a subnet under each limit of multiply-accumulates by validation
//! images, and fine-tunes it with and without a teacher. Prints one row of an ablation of the recipe.
//!
//! ```text
//! cargo run --release -p ofa-train --example shrink_pretrained -- train.toml 4.0,6.5 6 0.03
//! ```
//! Arguments: a training file, limits in millions of MACs, epochs of fine-tuning, and their learning rate.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, missing_docs)]

use ofa_space::{Arch, Model, Opened, SearchSpace, Settings, cost};
use ofa_train::data::{LoadOptions, SplitName};
use ofa_train::evaluation::{EvaluationSettings, Evaluator};
use ofa_train::shrinking::{Observer, PhaseRecord, TrainConfig, Trainer};
use ofa_train::{FineTuner, FineTuning, Silent};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::atomic::AtomicBool;

struct Phases;

impl Observer for Phases {
    fn on_phase(&mut self, record: &PhaseRecord) {
        let shown: Vec<String> = record.subnets.iter().map(|s| format!("{} {:.1}", s.label, 100.0 * s.top1)).collect();
        println!("{} ({} steps): {} | {:.0} CPU s", record.name, record.steps, shown.join(", "), cpu_seconds());
    }
}

/// User and system seconds of this process.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = after.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // Fields 14 and 15 of proc(5); a hundred ticks a second. The state letter is not a number.
    ticks.get(10).copied().unwrap_or(0.0) / 100.0 + ticks.get(11).copied().unwrap_or(0.0) / 100.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let config = TrainConfig::load(Path::new(&arguments[0])).unwrap();
    let limits: Vec<f64> = arguments[1].split(',').map(|m| m.parse::<f64>().unwrap() * 1e6).collect();
    let epochs: f64 = arguments[2].parse().unwrap();
    let rate: f64 = arguments[3].parse().unwrap();
    let weights: Vec<f64> =
        arguments.get(4).map_or(vec![0.0, 1.0], |list| list.split(',').map(|w| w.parse().unwrap()).collect());
    let device = ofa_train::device::open("flex").unwrap();
    let mut dataset = config.load_data().unwrap();
    if let Some(detail) = arguments.get(5) {
        let (max_resolution, input) = (detail.parse().unwrap(), dataset.input.clone());
        let options = LoadOptions {
            seed: config.seed,
            max_resolution,
            validation: config.validation_images,
            ..LoadOptions::default()
        };
        dataset = ofa_train::data::load(&config.data, &options).unwrap();
        dataset.input = input;
    }
    let trainer = Trainer::new(&config, &dataset, &device).unwrap();
    let space = trainer.space().clone();
    let stop = AtomicBool::new(false);
    let trained = trainer.train(None, &mut Phases, &stop).unwrap();
    let tuning = |distillation: f64| {
        FineTuning {
            epochs,
            learning_rate: rate,
            batch_size: config.batch_size,
            weight_decay: config.weight_decay,
            head_rate: config.head_rate,
            gradient_clip: config.gradient_clip,
            distillation,
            seed: config.seed + 7,
            augmentation: config.augmentation,
            ..FineTuning::default()
        }
        .checked()
        .unwrap()
    };
    let score = |model: &Model, split| {
        let settings = EvaluationSettings { split, calibration_images: 1, ..Default::default() };
        100.0 * Evaluator::new(model, &dataset, &device, &settings).unwrap().score(None).unwrap().top1
    };
    let settings = EvaluationSettings {
        split: SplitName::Validation,
        calibration_images: 1000,
        seed: config.seed,
        ..EvaluationSettings::default()
    };
    let mut evaluator = Evaluator::new(&trained.model, &dataset, &device, &settings).unwrap();
    let teacher = trained.teacher.as_ref().map(|teacher| {
        let full = Evaluator::new(teacher, &dataset, &device, &settings).unwrap().extract(&space.max_arch()).unwrap();
        println!(
            "full: val {:.1} test {:.1} | {:.0} CPU s",
            score(&full, SplitName::Validation),
            score(&full, SplitName::Test),
            cpu_seconds()
        );
        full
    });
    for limit in limits {
        let arch = best_within(space.as_ref(), limit, config.seed, &mut evaluator);
        let macs = cost::macs(&space.resolve(&arch).unwrap()) as f64 / 1e6;
        let cut = evaluator.extract(&arch).unwrap();
        print!(
            "{macs:.2} M {}: cut val {:.1} test {:.1}",
            space.format(&arch),
            score(&cut, SplitName::Validation),
            score(&cut, SplitName::Test)
        );
        for weight in &weights {
            let settings = tuning(*weight);
            let mut tuner = FineTuner::new(&settings, &cut, &dataset, &device).unwrap();
            if let Some(teacher) = teacher.as_ref().filter(|_| *weight > 0.0) {
                tuner = tuner.with_teacher(teacher).unwrap();
            }
            let tuned = tuner.train(None, &mut Silent, &stop).unwrap().model;
            print!(
                "; distillation {weight}: val {:.1} test {:.1}",
                score(&tuned, SplitName::Validation),
                score(&tuned, SplitName::Test)
            );
        }
        println!(" | {:.0} CPU s", cpu_seconds());
    }
}

/// The best of some random subnets close to the limit, by accuracy on validation images.
fn best_within(space: &dyn SearchSpace, limit: f64, seed: u64, evaluator: &mut Evaluator<'_>) -> Arch {
    const TRIES: usize = 30;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut best: Option<(f64, Arch)> = None;
    let mut tried = 0;
    for _ in 0..100_000 {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        let resolutions = &space.info().resolutions;
        let resolution = resolutions[rng.random_range(0..resolutions.len())];
        let arch = arch.with_resolution(resolution);
        let macs = cost::macs(&space.resolve(&arch).unwrap()) as f64;
        if !(0.85 * limit..=limit).contains(&macs) {
            continue;
        }
        tried += 1;
        let top1 = evaluator.score(Some(&arch)).unwrap().top1;
        if best.as_ref().is_none_or(|(known, _)| top1 > *known) {
            best = Some((top1, arch));
        }
        if tried == TRIES {
            break;
        }
    }
    best.unwrap().1
}
