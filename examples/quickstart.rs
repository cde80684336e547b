//! Everything by library calls, at a small scale: train a supernet on the bundled digits, measure some subnets, fit a
//! predictor, search a device, and write the chosen network as ONNX.
//!
//! `cargo run --release --example quickstart`
#![allow(clippy::print_stdout)]

use ofa::export::{Batch, Exporter};
use ofa::hw::{self, LatencyObjective};
use ofa::predictors::{EstimatorChoice, Fit, Pair, PredictedObjective, Target};
use ofa::search::{Budget, Constraint, Search, strategy};
use ofa::space::{Opened, cost};
use ofa::train::data::{self, LoadOptions, SplitName};
use ofa::train::evaluation::{self, EvaluationSettings, Evaluator};
use ofa::train::shrinking::{Silent, TrainConfig, Trainer};
use rand::SeedableRng;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const PLAN: &str = r#"
space = "tiny-28"
[[phases]]
name = "resolution"
epochs = 0.5
learning_rate = 0.1
[[phases]]
name = "everything"
opens = { kernel_size = 1, depth = 2, expansion = 2 }
epochs = 0.5
learning_rate = 0.04
subnets_per_step = 2
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Train the supernet.
    let config = TrainConfig::parse(PLAN, "the example's plan")?;
    let dataset = data::load("bundled", &LoadOptions { max_resolution: 28, ..LoadOptions::default() })?;
    let device = ofa::train::device::open("flex")?;
    let trainer = Trainer::new(&config, &dataset, &device)?;
    let space = trainer.space().clone();
    let trained = trainer.train(None, &mut Silent, &AtomicBool::new(false))?;
    for phase in &trained.history.phases {
        let subnets = phase.subnets.iter().map(|s| format!("{} {:.1} %", s.label, 100.0 * s.top1));
        println!("{}: {}", phase.name, subnets.collect::<Vec<_>>().join(", "));
    }

    // Measure some subnets on validation images, batch norm recalibrated on training images.
    let settings = EvaluationSettings {
        split: SplitName::Validation,
        images: Some(500),
        calibration_images: 300,
        ..EvaluationSettings::default()
    };
    let mut evaluator = Evaluator::new(&trained.model, &dataset, &device, &settings)?;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let mut pairs = Vec::new();
    for _ in 0..40 {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        let value = evaluator.score(Some(&arch))?.top1;
        pairs.push(Pair { arch, value });
    }

    // Predict the accuracy of all others.
    let fit = Fit::with(EstimatorChoice::named("elastic-net")?);
    let predictor = fit.run(space.as_ref(), &pairs[..32], &pairs[32..])?;
    println!("predictor: mean absolute error {:.2} points", 100.0 * predictor.report.mae);
    let accuracy = PredictedObjective::new(space.clone(), Arc::new(predictor), Target::Accuracy)?;

    // Search one device for the best network within the latency of the middle of the pairs.
    let phone = hw::load("pixel4-cpu")?;
    let mut latencies = Vec::new();
    for pair in &pairs {
        latencies.push(phone.latency_ms(&space.resolve(&pair.arch)?)?);
    }
    latencies.sort_by(f64::total_cmp);
    let limit = latencies[latencies.len() / 2];
    let latency = Arc::new(LatencyObjective::new(space.clone(), phone));
    let search = Search { strategy: strategy::named("evolution")?, budget: Budget::evaluations(2000), seed: 0 };
    let outcome = search.run(space.as_ref(), &accuracy, &[Constraint { objective: latency, limit }])?;
    let best = outcome.best.ok_or("no subnet is fast enough")?;
    println!("within {limit:.3} ms: {} (predicted {:.1} %)", space.format(&best.arch), 100.0 * best.score);

    // Cut it out of the supernet, with batch norm recalibrated, and write it as ONNX.
    let model = evaluator.extract(&best.arch)?;
    let net = model.net(None)?;
    println!("{} parameters, {} MACs", cost::params(&net), cost::macs(&net));

    // Write it as ONNX, and compare the file's logits with ours in an independent runtime.
    let (images, _) = dataset.eval_batch(SplitName::Test, &[0, 1, 2, 3], net.input[1] as u32)?;
    let logits = evaluation::logits(&model, None, &images, &device)?;
    let [n, h, w, c] = images.shape;
    let images = Batch::new(images.to_nchw(), [n, c, h, w])?;
    let path = std::env::temp_dir().join("ofa-quickstart.onnx");
    let report = Exporter::of(&model)?.verified_against(&images, &logits).write(&path)?;
    println!("{}: {} bytes, {:?}", path.display(), report.bytes, report.verification);
    Ok(())
}
