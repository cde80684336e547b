//! How good a run's accuracy predictor is, and how good it could be.
//!
//! ```text
//! cargo run --release -- run                                 # writes ofa-run/
//! cargo run --release --example predictor_quality -- ofa-run
//! ```
//!
//! Recalibrates 100 random subnets that the run has not measured, and scores them on all test images. Prints Kendall's
//! tau of the predictions and its upper bound: the tau between the scores on two disjoint halves of the test images,
//! which a perfect predictor of one half would reach on the other. For the networks that the run chose, prints the
//! error of the predictions and the error of predicting the mean of the measured pairs.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use ofa::pipeline::{PLAN, config::PipelineConfig};
use ofa::predictors::{FittedPredictor, Target, metrics, pairs};
use ofa::report::RunResults;
use ofa::space::Model;
use ofa::train::Supernet;
use ofa::train::collection::distinct_archs;
use ofa::train::data::SplitName;
use ofa::train::evaluation::{CalibrationSet, EvaluationSet, evaluate, recalibrate};
use std::collections::HashSet;
use std::error::Error;
use std::path::PathBuf;

const SUBNETS: usize = 100;
const SEED: u64 = 30_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "ofa-run".into()));
    let (config, work) = (PipelineConfig::load(&folder.join(PLAN))?, ofa::pipeline::work_of(&folder));
    let device = ofa::train::device::open("flex")?;
    let model = Model::load(&work.join("train/supernet.safetensors"))?;
    let supernet = Supernet::from_model(&model, &device)?;
    let space = model.space().ok_or("the run's model is not a supernet")?.clone();
    let dataset = config.train.load_data()?;
    let predictor = FittedPredictor::load(&work.join("predictor.json"))?;
    let measured = pairs::read(work.join("pairs.jsonl"), space.as_ref(), Target::Accuracy)?;

    let known: HashSet<_> = measured.iter().map(|pair| pair.arch.clone()).collect();
    let archs = distinct_archs(space.as_ref(), SUBNETS, SEED, &known);
    let mut calibration = CalibrationSet::sample(&dataset, config.deploy.calibration_images, config.train.seed);
    let half = |odd: usize| {
        let indices = (0..dataset.test.len()).filter(|index| index % 2 == odd).collect();
        EvaluationSet::new(&dataset, SplitName::Test, indices)
    };
    let mut halves = [half(0), half(1)];
    let mut scores = [Vec::new(), Vec::new()];
    for (index, arch) in archs.iter().enumerate() {
        let net = space.resolve(arch)?;
        let running = recalibrate(&supernet, &net, &mut calibration)?;
        for (half, scores) in halves.iter_mut().zip(&mut scores) {
            scores.push(evaluate(&supernet, &net, &running, half)?.top1);
        }
        if (index + 1) % 10 == 0 {
            eprintln!("{} of {} subnets scored", index + 1, archs.len());
        }
    }
    let predicted = predictor.predict(space.as_ref(), &archs)?;
    let truth: Vec<f64> = scores[0].iter().zip(&scores[1]).map(|(a, b)| (a + b) / 2.0).collect();
    println!("{} unseen random subnets on {} test images", archs.len(), dataset.test.len());
    println!("Kendall tau, predicted against true: {:.3}", metrics::kendall_tau(&truth, &predicted));
    let by_half = scores.iter().map(|half| metrics::kendall_tau(half, &predicted)).sum::<f64>() / 2.0;
    println!("Kendall tau, predicted against one half (mean of both): {by_half:.3}");
    println!("its ceiling, one half against the other: {:.3}", metrics::kendall_tau(&scores[0], &scores[1]));

    let results: RunResults = serde_json::from_str(&std::fs::read_to_string(folder.join("results.json"))?)?;
    let (chosen, predicted): (Vec<f64>, Vec<f64>) =
        results.cases.iter().filter_map(|case| Some((case.as_cut(), case.predicted_accuracy?))).unzip();
    let mean = measured.iter().map(|pair| pair.value).sum::<f64>() / measured.len() as f64;
    println!(
        "{} chosen nets: mean absolute error of the prediction {:.2} points, of predicting the mean of the pairs {:.2}",
        chosen.len(),
        100.0 * metrics::mae(&chosen, &predicted),
        100.0 * metrics::mae(&chosen, &vec![mean; chosen.len()])
    );
    Ok(())
}
