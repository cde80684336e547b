//! What a run will take, before it starts: time from a short measured probe, and memory.

use super::config::{DeviceConfig, PipelineConfig};
use super::time_left::in_words;
use crate::failure::Failure;
use ofa_space::cost;
use ofa_train::data::Dataset;
use ofa_train::device::Device;
use ofa_train::shrinking::rehearsal::{self, Rehearsal};
use ofa_train::shrinking::{Trainer, budget};
use serde::Serialize;

/// The estimated cost of a run, without reading images and timing this machine's blocks.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// Training of the supernet, phase by phase.
    pub training: Rehearsal,
    /// Seconds of fine-tuning one network for each case.
    pub finetune_seconds: f64,
    /// Networks that are fine-tuned, if every case gets one of its own.
    pub networks: usize,
    /// Seconds of measuring subnets: for the accuracy predictor, and candidates of the search.
    pub collect_seconds: f64,
    /// Seconds of all of these.
    pub seconds: f64,
    /// Bytes of weights, activations and prepared batches.
    pub memory: u64,
}

impl Estimate {
    /// Rehearses a run on this data set.
    ///
    /// # Errors
    /// [`Failure`] if the space or the backend fails.
    pub fn of(config: &PipelineConfig, dataset: &Dataset, device: &Device) -> Result<Self, Failure> {
        let trainer = Trainer::new(&config.train, dataset, device)?;
        let space = trainer.space().clone();
        let images = dataset.train.len();
        let training = rehearsal::rehearse(&config.train, &space, images, device)?;
        let largest = cost::macs(&space.resolve(&space.max_arch())?) as f64;
        let smallest = cost::macs(&space.resolve(&space.min_arch())?) as f64;
        let cases: Vec<f64> = config.search.devices.iter().flat_map(|device| macs(device, largest)).collect();
        let passes = config.deploy.finetune.as_ref().map_or(0.0, |tuning| tuning.epochs * images as f64);
        let per_image = |macs: f64| training.training_ms(macs) / 1e3;
        let teaching = training.evaluation_ms(largest) / 1e3;
        let networks = if passes > 0.0 { cases.len() } else { 0 };
        let finetune_seconds = passes * cases.iter().map(|macs| per_image(*macs) + teaching).sum::<f64>();
        let seen = (config.collect.calibration_images.min(images) + dataset.validation.len()) as f64;
        let middle = f64::midpoint(smallest, largest);
        let measured = config.collect.count + config.search.candidates;
        let collect_seconds = measured as f64 * seen * training.evaluation_ms(middle) / 1e3;
        let memory = training.memory.parameters + training.memory.activations + training.memory.prefetched;
        let seconds = training.seconds + finetune_seconds + collect_seconds;
        Ok(Self { training, finetune_seconds, networks, collect_seconds, seconds, memory })
    }

    /// The same run in `seconds`: epochs of training and of fine-tuning are scaled by one factor; subnets are measured as
    /// before.
    ///
    /// # Errors
    /// [`Failure::Input`] if a phase would be shorter than a step.
    pub fn within(&self, seconds: f64, mut config: PipelineConfig) -> Result<PipelineConfig, Failure> {
        let left = seconds - self.collect_seconds;
        if left <= 0.0 {
            return Err(Failure::Input(format!(
                "a budget of {} is less than measuring {} subnets takes, {}",
                in_words(seconds),
                config.collect.count,
                in_words(self.collect_seconds)
            )));
        }
        let share = left / (self.training.seconds + self.finetune_seconds).max(f64::MIN_POSITIVE);
        config.train = self.training.within(share * self.training.seconds, config.train)?;
        if let Some(tuning) = config.deploy.finetune.take() {
            let epochs = (1000.0 * budget::STEPS_SHARE * share * tuning.epochs).round() / 1000.0;
            let changed = tuning.changed(|tuning| tuning.epochs = epochs);
            let too_short =
                |invalid| Failure::Input(format!("a budget of {} is too short: {invalid}", in_words(seconds)));
            config.deploy.finetune = Some(changed.map_err(too_short)?);
        }
        Ok(config)
    }

    /// The estimate in a line.
    pub fn sentence(&self) -> String {
        let minutes = in_words;
        format!(
            "about {} on this machine: {} of training, {} of measuring subnets, {} of fine-tuning {} networks; about {} \
             MiB beside the images",
            minutes(self.seconds),
            minutes(self.training.seconds),
            minutes(self.collect_seconds),
            minutes(self.finetune_seconds),
            self.networks,
            self.memory >> 20
        )
    }
}

/// Multiply-accumulates of the network of every case: those of the limit where they are limited, else half of the largest.
fn macs(device: &DeviceConfig, largest: f64) -> Vec<f64> {
    let others: usize =
        device.given().filter(|(name, _)| *name != "max_macs").map(|(_, limits)| limits.len()).product();
    let of_macs: Vec<f64> = match device.max_macs.as_slice() {
        [] => vec![largest / 2.0],
        limits => limits.iter().map(|limit| limit.of(largest).min(largest)).collect(),
    };
    let repeats = if device.spreads_latencies() { device.limits } else { others };
    of_macs.iter().flat_map(|macs| std::iter::repeat_n(*macs, repeats)).collect()
}
