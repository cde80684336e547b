//! How well all fast kinds and `auto` rank unseen pairs when pairs are few and noisy: Kendall's tau within folds,
//! averaged over five folds and the given number of divisions (the files contain ten).
//!
//! ```text
//! cargo run --release -p ofa-predictors --example few_pairs -- 10
//! python crates/ofa-predictors/examples/few_pairs_peers.py 10      # scikit-learn on the same folds
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use ofa_predictors::estimators::{Effort, entries};
use ofa_predictors::evaluation::cross_validation::choose;
use ofa_predictors::{Estimator, metrics};
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A pair, its features as `stages` encodes them, and the fold that it is in, division by division.
#[derive(Deserialize)]
struct Line {
    features: Vec<f32>,
    folds: Vec<usize>,
    top1: f64,
}

const FOLDS: usize = 5;

fn main() {
    let repeats: usize = std::env::args().nth(1).map_or(10, |text| text.parse().unwrap());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/few_pairs");
    let mut kinds: Vec<&str> = entries().iter().filter(|e| e.effort == Effort::Fast).map(|e| e.name).collect();
    kinds.push("auto");
    println!("| pairs | {} | `auto` takes |\n|---{}|---|", kinds.join(" | "), "|---".repeat(kinds.len()));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut sums = vec![0.0; kinds.len()];
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let splits: Vec<(usize, usize)> = (0..repeats).flat_map(|r| (0..FOLDS).map(move |fold| (r, fold))).collect();
        let of = |split: &(usize, usize)| ranked(&lines, split.0, split.1, &kinds);
        let made: Vec<(Vec<f64>, &str)> = splits.par_iter().map(of).collect();
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        made.iter().for_each(|(_, kind)| *taken.entry(kind).or_default() += 1);
        let mean = |kind: usize| made.iter().map(|(taus, _)| taus[kind]).sum::<f64>() / made.len() as f64;
        let means: Vec<f64> = (0..kinds.len()).map(mean).collect();
        sums.iter_mut().zip(&means).for_each(|(sum, mean)| *sum += mean / files.len() as f64);
        let taken: Vec<String> = taken.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        println!("| {} | {} | {} |", file.file_stem().unwrap().display(), row(&means), taken.join(", "));
    }
    println!("| mean | {} | |", row(&sums));
}

fn row(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(" | ")
}

/// Kendall's tau of every kind on one fold, and what `auto` took.
fn ranked(lines: &[Line], repeat: usize, fold: usize, kinds: &[&str]) -> (Vec<f64>, &'static str) {
    let (test, train): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|line| line.folds[repeat] == fold);
    let features = |lines: &[&Line]| lines.iter().map(|line| line.features.clone()).collect::<Vec<_>>();
    let targets = |lines: &[&Line]| lines.iter().map(|line| line.top1).collect::<Vec<_>>();
    let (rows, values) = (features(&train), targets(&train));
    let choice = choose(&rows, &values, 0).unwrap();
    let tau = |kind: &&str| {
        let entry = entries().into_iter().find(|entry| entry.name == *kind).unwrap_or(choice.entry);
        let estimator: Box<dyn Estimator> = (entry.build)();
        let predicted = estimator.fit(&rows, &values, 0).unwrap().predict(&features(&test));
        let tau = metrics::kendall_tau(&targets(&test), &predicted);
        if tau.is_finite() { tau } else { 0.0 }
    };
    (kinds.iter().map(tau).collect(), choice.entry.name)
}
