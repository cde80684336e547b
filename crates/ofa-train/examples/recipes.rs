//! Every sampler and every distillation loss on the same digits, at the same cost.
//!
//! ```text
//! cargo run --release -p ofa-train --example recipes            # three seeds each
//! cargo run --release -p ofa-train --example recipes -- 1       # one
//! ```
//!
//! All start from the same largest network, trained briefly; then everything is open and four subnets are trained per
//! step. The cost of a step is counted in forward passes: three for each subnet that is trained (forward and backward),
//! one for the frozen teacher and for each subnet that a sampler judges. Recipes with more expensive steps have fewer
//! of them. Prints the mean top-1 over seeds of the smallest, the middle, the largest and ten random subnets, on
//! validation images after BN recalibration, and the standard deviation over seeds of the mean of all thirteen.

use ofa_space::{Arch, Opened, SearchSpace};
use ofa_train::collection::distinct_archs;
use ofa_train::data::{self, Dataset, LoadOptions, SplitName};
use ofa_train::device;
use ofa_train::evaluation::{CalibrationSet, EvaluationSet, Evaluator};
use ofa_train::shrinking::{Silent, TrainConfig, Trainer};
use std::collections::HashSet;
use std::error::Error;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Name, TOML tables, forward passes of a step.
const RECIPES: [(&str, &str, f64); 9] = [
    ("uniform, soft cross-entropy (the paper)", "", 13.0),
    ("uniform, no teacher, as many steps", "distillation = 0.0", 13.0),
    ("uniform, KL at temperature 2", "loss = { kind = \"kl\", temperature = 2.0 }", 13.0),
    ("uniform, alpha-divergence", "loss = { kind = \"alpha_divergence\" }", 13.0),
    ("sandwich, in place", "sampler = { kind = \"sandwich\" }", 12.0),
    (
        "sandwich, in place, alpha-divergence",
        "sampler = { kind = \"sandwich\" }\nloss = { kind = \"alpha_divergence\" }",
        12.0,
    ),
    ("Pareto-aware, best", "sampler = { kind = \"pareto_aware\", side = \"best\" }", 25.0),
    ("Pareto-aware, worst", "sampler = { kind = \"pareto_aware\", side = \"worst\" }", 25.0),
    ("compound coupling", "sampler = { kind = \"compound_coupling\" }", 13.0),
];
/// Forward passes of the second phase.
const BUDGET: f64 = 13.0 * 150.0;
const BATCH: f64 = 64.0;

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = std::env::args().nth(1).map_or(Ok(3), |text| text.parse::<u64>())?;
    let dataset = data::load("bundled", &LoadOptions { max_resolution: 28, ..LoadOptions::default() })?;
    println!("| recipe | steps | min | mid | max | 10 random | sd of the mean | seconds |");
    println!("|---|---|---|---|---|---|---|---|");
    for (name, tables, passes) in RECIPES {
        let steps = (BUDGET / passes).round();
        let started = Instant::now();
        let mut columns = vec![Vec::new(); 5];
        for seed in 0..seeds {
            let scores = run(tables, steps, seed, &dataset)?;
            let random = scores[3..].iter().sum::<f64>() / (scores.len() - 3) as f64;
            let all = scores.iter().sum::<f64>() / scores.len() as f64;
            for (column, value) in columns.iter_mut().zip([scores[0], scores[1], scores[2], random, all]) {
                column.push(value);
            }
        }
        let mean = |column: &[f64]| column.iter().sum::<f64>() / column.len().max(1) as f64;
        let spread = {
            let centre = mean(&columns[4]);
            let squares: f64 = columns[4].iter().map(|v| (v - centre).powi(2)).sum();
            (squares / (columns[4].len().max(2) - 1) as f64).sqrt()
        };
        let shown: Vec<String> = columns[..4].iter().map(|column| format!("{:.2}", 100.0 * mean(column))).collect();
        println!(
            "| {name} | {steps} | {} | {:.2} | {:.0} |",
            shown.join(" | "),
            100.0 * spread,
            started.elapsed().as_secs_f64() / seeds.max(1) as f64
        );
    }
    Ok(())
}

/// Top-1 of the smallest, the middle, the largest and ten random subnets.
fn run(tables: &str, steps: f64, seed: u64, dataset: &Dataset) -> Result<Vec<f64>, Box<dyn Error>> {
    let epochs = steps * BATCH / dataset.train.len() as f64;
    let text = format!(
        "space = \"tiny-28\"\nseed = {seed}\nbatch_size = {BATCH}\n{tables}\n\
         [[phases]]\nname = \"largest\"\nepochs = 0.5\nwarmup_epochs = 0.1\nlearning_rate = 0.08\ndistil = false\n\
         [[phases]]\nname = \"all\"\nopens = {{ kernel_size = 1, depth = 2, expansion = 2 }}\nepochs = {epochs}\n\
         learning_rate = 0.04\nsubnets_per_step = 4\n"
    );
    let config = TrainConfig::parse(&text, "recipe")?;
    let device = device::open("flex")?;
    let trainer = Trainer::new(&config, dataset, &device)?;
    let trained = trainer.train(None, &mut Silent, &AtomicBool::new(false))?;
    let space = trainer.space();
    let mut archs = vec![space.min_arch(), middle(space.as_ref())?, space.max_arch()];
    archs.extend(distinct_archs(space.as_ref(), 10, 1234, &HashSet::new()));
    let (calibration, validation) =
        (CalibrationSet::first(dataset, 1000), EvaluationSet::all(dataset, SplitName::Validation));
    let mut evaluator = Evaluator::on(&trained.model, calibration, validation, &device)?;
    let mut scores = Vec::new();
    for arch in &archs {
        scores.push(evaluator.score(Some(arch))?.top1);
    }
    Ok(scores)
}

fn middle(space: &dyn SearchSpace) -> Result<Arch, Box<dyn Error>> {
    let info = space.info();
    let choices = info.genes.iter().map(|gene| {
        let open: Vec<u8> = gene.open_choices(&Opened::EVERYTHING).collect();
        open[open.len() / 2]
    });
    Ok(space.arch(choices.collect(), info.resolutions.get(info.resolutions.len() / 2).copied())?)
}
