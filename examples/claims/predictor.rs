//! The error of the accuracy predictor against the number of pairs that it learns from, beside the noise of the accuracies.

use crate::Result;
use crate::experiment::Experiment;
use crate::lines;
use crate::work::Runner;
use ofa::predictors::{EstimatorChoice, Fit, Pair};
use serde::{Deserialize, Serialize};

/// A predictor that was fitted to some of the pairs, and scored on others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Pairs that it was fitted to.
    pub pairs: usize,
    /// Pairs that it was scored on, which are the same for all.
    pub held_out: usize,
    /// Root mean square error, a fraction of top-1.
    pub rmse: f64,
    pub kendall_tau: f64,
    /// Standard error of an accuracy on so many images: √(p·(1 − p)/n), its root mean square over the held-out pairs.
    pub noise: f64,
    /// Standard deviation of the accuracies: the error of their mean as a prediction.
    pub spread: f64,
}

pub fn run(experiment: &Experiment, runner: &mut Runner<'_>) -> Result<()> {
    let supernet = runner.supernet(&experiment.tuned_recipe, experiment.first_seed())?;
    let (space, pairs) = runner.pairs(&supernet)?;
    let pairs: Vec<Pair> = pairs.into_iter().map(|(arch, value)| Pair { arch, value }).collect();
    let (learnt, held_out) = pairs.split_at(pairs.len() * 4 / 5);
    let images = runner.validation_images() as f64;
    let count = held_out.len() as f64;
    let mean = held_out.iter().map(|pair| pair.value).sum::<f64>() / count;
    let mean_of = |of: &dyn Fn(f64) -> f64| held_out.iter().map(|pair| of(pair.value)).sum::<f64>() / count;
    let noise = mean_of(&|top1| top1 * (1.0 - top1) / images).sqrt();
    let spread = mean_of(&|top1| (top1 - mean).powi(2)).sqrt();
    println!(
        "| pairs | error, points | Kendall tau | noise of an accuracy | spread of the accuracies |\n|---|---|---|---|---|"
    );
    for pairs in [15, 30, 60, 120, learnt.len()] {
        let fit = Fit::with(EstimatorChoice::named("auto")?);
        let report = fit.run(space.as_ref(), &learnt[..pairs.min(learnt.len())], held_out)?.report;
        let (rmse, kendall_tau) = (report.rmse, report.kendall_tau);
        let line = Line { pairs, held_out: held_out.len(), rmse, kendall_tau, noise, spread };
        println!("| {pairs} | {:.2} | {kendall_tau:.3} | {:.2} | {:.2} |", 100.0 * rmse, 100.0 * noise, 100.0 * spread);
        lines::append(&format!("{}-predictor", experiment.name), &line)?;
    }
    Ok(())
}
