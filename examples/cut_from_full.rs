//! How much the networks of a run gain from the supernet: compares each with the same architecture, cut from the full
//! network as it was before its subnets were trained and fine-tuned with the same settings, seed and images.
//!
//! ```text
//! ofa run forty.toml --out forty            # `max_macs` with forty limits; see docs/results.md
//! cargo run --release --example cut_from_full -- forty forty-alone.jsonl
//! ```
//!
//! Appends one line for each network; networks already in the file are not trained again. The channels of the full
//! network are sorted by importance before it is cut, as in the run before its subnets are trained.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use ofa::pipeline::{PLAN, config::PipelineConfig};
use ofa::space::{ArchJson, Model, importance, supernet};
use ofa::train::data::SplitName;
use ofa::train::evaluation::EvaluationSettings;
use ofa::train::{Evaluator, FineTuner, Silent};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// The supernet of a run when its largest subnet became the teacher.
const FULL: &str = "train/teacher.safetensors";

#[derive(Deserialize)]
struct Results {
    cases: Vec<Case>,
}

/// A network of the run.
#[derive(Deserialize)]
struct Case {
    arch: ArchJson,
    accuracy: f64,
    supernet_accuracy: f64,
    macs: u64,
}

/// A network of the run beside the same one without the supernet.
#[derive(Serialize, Deserialize)]
struct Line {
    arch: ArchJson,
    macs: u64,
    /// Top-1 on the test images, cut from the supernet and fine-tuned.
    from_supernet: f64,
    /// The same cut from the full network.
    from_full: f64,
    /// Both before fine-tuning, batch norm recalibrated.
    as_cut: [f64; 2],
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(folder), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("give a run's folder and a file for the lines".into());
    };
    let config = PipelineConfig::load(&folder.join(PLAN))?;
    let settings = config.deploy.finetune.as_ref().ok_or("the run did not fine-tune its networks")?;
    let results: Results = serde_json::from_slice(&fs::read(folder.join("results.json"))?)?;
    let device = ofa::train::device::open("flex")?;
    let dataset = config.train.load_data()?;
    let full = sorted(&ofa::pipeline::work_of(&folder).join(FULL))?;
    let evaluation = EvaluationSettings {
        split: SplitName::Test,
        images: None,
        calibration_images: config.deploy.calibration_images,
        seed: config.train.seed,
        ..EvaluationSettings::default()
    };
    let mut evaluator = Evaluator::new(&full, &dataset, &device, &evaluation)?;
    let mut lines = known(&out)?;
    let mut seen: Vec<&ArchJson> = lines.iter().map(|line| &line.arch).collect();
    let mut left: Vec<&Case> = Vec::new();
    for case in &results.cases {
        if !seen.contains(&&case.arch) {
            seen.push(&case.arch);
            left.push(case);
        }
    }
    let space = full.space().ok_or("the full network has no space")?;
    let mut file = OpenOptions::new().create(true).append(true).open(&out)?;
    for (index, case) in left.iter().enumerate() {
        let cut = evaluator.specialise(&space.parse(&case.arch)?)?;
        let tuner = FineTuner::new(settings, &cut.model, &dataset, &device)?;
        let tuned = tuner.train(None, &mut Silent, &AtomicBool::new(false))?.model;
        let line = Line {
            arch: case.arch.clone(),
            macs: case.macs,
            from_supernet: case.accuracy,
            from_full: Evaluator::new(&tuned, &dataset, &device, &evaluation)?.score(None)?.top1,
            as_cut: [case.supernet_accuracy, cut.answers.accuracy.top1],
        };
        writeln!(file, "{}", serde_json::to_string(&line)?)?;
        eprintln!("{}/{}: {:.2} M MACs", index + 1, left.len(), line.macs as f64 / 1e6);
        lines.push(line);
    }
    lines.sort_by_key(|line| line.macs);
    table(&lines);
    Ok(())
}

/// The full network as a supernet, with its channels by importance.
fn sorted(path: &Path) -> Result<Model, Box<dyn Error>> {
    let mut model = Model::load(path)?;
    let space = model.space().ok_or("the full network has no space")?.clone();
    let channels = supernet::elastic_channels(space.as_ref())?;
    importance::sort_channels(&mut model.weights, &channels, 0)?;
    Ok(model)
}

fn known(path: &Path) -> Result<Vec<Line>, Box<dyn Error>> {
    if !path.exists() {
        File::create(path)?;
    }
    fs::read_to_string(path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn table(lines: &[Line]) {
    println!("| MACs | from the supernet | from the full network | difference | as cut |");
    println!("|---|---|---|---|---|");
    for line in lines {
        println!(
            "| {:.2} M | {:.2} | {:.2} | {:+.2} | {:.2}, {:.2} |",
            line.macs as f64 / 1e6,
            100.0 * line.from_supernet,
            100.0 * line.from_full,
            100.0 * (line.from_supernet - line.from_full),
            100.0 * line.as_cut[0],
            100.0 * line.as_cut[1],
        );
    }
    let differences: Vec<f64> = lines.iter().map(|line| 100.0 * (line.from_supernet - line.from_full)).collect();
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    println!(
        "\n{} networks: mean difference {mean:+.2} points, standard error {:.2}; means {:.2} and {:.2} %",
        differences.len(),
        (variance / count).sqrt(),
        100.0 * lines.iter().map(|line| line.from_supernet).sum::<f64>() / count,
        100.0 * lines.iter().map(|line| line.from_full).sum::<f64>() / count,
    );
}
