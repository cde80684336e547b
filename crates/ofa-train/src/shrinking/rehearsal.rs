//! An estimate of what a training run will cost: steps, samples, time (from a short measured probe) and memory.

use crate::data::batches;
use crate::elastic::{Supernet, to_host};
use crate::error::TrainError;
use crate::images::Images;
use crate::sampler::{Teaching, smallest};
use crate::shrinking::config::TrainConfig;
use crate::shrinking::phases::PhasePlan;
use crate::training::optimizer::Optimizer;
use crate::training::step::{StepInput, Trains, step};
use burn::tensor::Device;
use ofa_space::{Arch, NetSpec, Opened, SearchSpace, cost, initialisation, supernet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// The estimated cost of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rehearsal {
    /// The phases, in order.
    pub phases: Vec<PhaseCost>,
    /// Images that training draws from.
    pub training_images: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Optimizer steps of all phases.
    pub steps: usize,
    /// Images read, all phases.
    pub samples: usize,
    /// Estimated seconds of training, without validation and reading images.
    pub seconds: f64,
    /// What was measured.
    pub probe: Probe,
    /// Estimated memory.
    pub memory: Memory,
}

/// The estimated cost of a phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseCost {
    /// Name.
    pub name: String,
    /// Choices open in it.
    pub opened: Opened,
    /// Epochs, warm-up included.
    pub epochs: f64,
    /// Optimizer steps, warm-up included.
    pub steps: usize,
    /// Images read.
    pub samples: usize,
    /// Subnets trained in a step.
    pub subnets_per_step: usize,
    /// Forward and backward passes of a batch.
    pub passes: usize,
    /// Learning rate at the start of the cosine.
    pub learning_rate: f64,
    /// Whether a teacher is run in each step.
    pub teacher: bool,
    /// Whether channels are sorted first.
    pub sort_channels: bool,
    /// Estimated seconds.
    pub seconds: f64,
}

/// Times measured on the largest and the smallest subnet, at the middle resolution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// Images in a batch of the probe.
    pub batch: usize,
    /// Pixels.
    pub resolution: u32,
    /// Milliseconds per image of forward, backward and optimizer step, largest subnet.
    pub largest_ms: f64,
    /// The same of the smallest.
    pub smallest_ms: f64,
    /// Milliseconds per image of the teacher.
    pub teacher_ms: f64,
    /// Multiply-accumulates of the largest.
    pub largest_macs: u64,
    /// Multiply-accumulates of the smallest.
    pub smallest_macs: u64,
}

/// Estimated memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// Weights, gradients, momentum, teacher and moving average.
    pub parameters: u64,
    /// Activations kept for the backward pass: the outputs of all convolutions of the largest subnet at the largest
    /// resolution, twice (before and after batch norm), for a whole batch.
    pub activations: u64,
    /// Batches prepared ahead.
    pub prefetched: u64,
}

impl Rehearsal {
    /// Milliseconds per image of training a network with this many multiply-accumulates.
    pub fn training_ms(&self, macs: f64) -> f64 {
        self.probe.training_ms(macs)
    }

    /// Milliseconds per image of running a network with this many multiply-accumulates, in proportion to the teacher's.
    pub fn evaluation_ms(&self, macs: f64) -> f64 {
        self.probe.evaluation_ms(macs)
    }
}

/// Rehearses a run on `training_images` images.
///
/// # Errors
/// [`TrainError`] if the space or the backend fails.
pub fn rehearse(
    config: &TrainConfig,
    space: &Arc<dyn SearchSpace>,
    training_images: usize,
    device: &Device,
) -> Result<Rehearsal, TrainError> {
    config.precision.check(device)?;
    let probe = Probe::measure(config, space.as_ref(), &device.clone().autodiff())?;
    let batches = config.batches(training_images);
    let batch = config.batch_size.min(training_images.max(1));
    let mut phases = Vec::new();
    let other_teacher = config.distillation.model()?.map(|model| model.net(None)).transpose()?;
    let other_teacher_ms = other_teacher.map(|net| probe.evaluation_ms(cost::macs(&net) as f64));
    for plan in config.plan(training_images) {
        phases.push(phase_cost(&plan, config, space.as_ref(), &probe, (batches, batch), other_teacher_ms)?);
    }
    Ok(Rehearsal {
        training_images,
        steps_per_epoch: batches,
        steps: phases.iter().map(|phase| phase.steps).sum(),
        samples: phases.iter().map(|phase| phase.samples).sum(),
        seconds: phases.iter().map(|phase| phase.seconds).sum(),
        memory: memory(config, space.as_ref(), batch)?,
        probe,
        phases,
    })
}

fn phase_cost(
    plan: &PhasePlan,
    config: &TrainConfig,
    space: &dyn SearchSpace,
    probe: &Probe,
    (batches, batch): (usize, usize),
    other_teacher_ms: Option<f64>,
) -> Result<PhaseCost, TrainError> {
    let steps = plan.total_steps();
    let frozen = plan.distil && config.sampler.teaching() == Teaching::Frozen;
    let largest = at(space, &space.max_arch(), probe.resolution)?;
    // Resolutions are drawn uniformly; work grows with the area.
    let resolutions = plan.resolutions.as_ref().unwrap_or(&space.info().resolutions);
    let area = |r: u32| f64::from(r * r) / f64::from(probe.resolution * probe.resolution);
    let mean_area = resolutions.iter().map(|&r| area(r)).sum::<f64>() / resolutions.len().max(1) as f64;
    let mean_macs = mean_macs(space, &plan.opened, probe.resolution)?;
    let subnet_ms = match plan.trains {
        Trains::Everything => probe.training_ms(mean_macs.unwrap_or(cost::macs(&largest) as f64)),
        Trains::Head => probe.teacher_ms,
    };
    let teacher_ms = match (plan.distil, other_teacher_ms) {
        // At its own resolution always.
        (true, Some(ms)) => ms,
        (true, None) if frozen => probe.teacher_ms * mean_area,
        _ => 0.0,
    };
    let alone = usize::from(config.sampler.first_at_largest_resolution());
    let largest_area = resolutions.last().map_or(1.0, |&r| area(r));
    let others_ms = subnet_ms * plan.subnets_per_step.saturating_sub(alone) as f64 * mean_area;
    let per_image = others_ms + probe.largest_ms * alone as f64 * largest_area + teacher_ms;
    Ok(PhaseCost {
        name: plan.name.clone(),
        opened: plan.opened,
        epochs: steps as f64 / batches as f64,
        steps,
        samples: steps * batch,
        subnets_per_step: plan.subnets_per_step,
        passes: steps * plan.subnets_per_step,
        learning_rate: plan.learning_rate,
        teacher: frozen || plan.distil && other_teacher_ms.is_some(),
        sort_channels: plan.sort_channels,
        seconds: per_image * (steps * batch) as f64 / 1e3,
    })
}

fn at(space: &dyn SearchSpace, arch: &Arch, resolution: u32) -> Result<NetSpec, TrainError> {
    Ok(space.resolve(&arch.with_resolution(resolution))?)
}

/// Mean multiply-accumulates of uniformly drawn subnets.
fn mean_macs(space: &dyn SearchSpace, opened: &Opened, resolution: u32) -> Result<Option<f64>, TrainError> {
    const DRAWS: usize = 50;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut sum = 0.0;
    for _ in 0..DRAWS {
        sum += cost::macs(&at(space, &space.sample(opened, &mut rng), resolution)?) as f64;
    }
    Ok(Some(sum / DRAWS as f64))
}

impl Probe {
    /// Images of a probe's batch.
    const BATCH: usize = 16;

    fn measure(config: &TrainConfig, space: &dyn SearchSpace, device: &Device) -> Result<Self, TrainError> {
        let resolutions = &space.info().resolutions;
        let resolution = resolutions.get(resolutions.len() / 2).copied().unwrap_or(224);
        let largest = at(space, &space.max_arch(), resolution)?;
        let smallest = at(space, &smallest(space, &Opened::EVERYTHING), resolution)?;
        let defs = supernet::tensors(space)?;
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let weights = initialisation::initialise(&defs, &mut rng);
        let mut net = Supernet::new(defs, &weights, device)?.with_precision(config.precision);
        let batch = config.batch_size.min(Self::BATCH);
        let [channels, height, width] = largest.input;
        let shape = [batch, height, width, channels];
        let data = (0..shape.iter().product()).map(|_| rng.random_range(-1.0f32..1.0)).collect();
        let images = Images { data, shape };
        let labels: Vec<usize> = batches::epoch_order(batch, 0, 0).iter().map(|i| i % largest.classes).collect();
        let largest_ms = training_ms(&mut net, &largest, &images, &labels)?;
        let smallest_ms = training_ms(&mut net, &smallest, &images, &labels)?;
        let teacher_ms = median_ms(batch, || {
            to_host(net.forward_batch_statistics(&largest, &images).logits)?;
            Ok(())
        })?;
        let (largest_macs, smallest_macs) = (cost::macs(&largest), cost::macs(&smallest));
        Ok(Self { batch, resolution, largest_ms, smallest_ms, teacher_ms, largest_macs, smallest_macs })
    }

    /// Milliseconds per image of training a subnet with this many multiply-accumulates: on the line between the two
    /// that were measured.
    fn training_ms(&self, macs: f64) -> f64 {
        let span = self.largest_macs.saturating_sub(self.smallest_macs) as f64;
        if span <= 0.0 {
            return self.largest_ms;
        }
        let share = ((macs - self.smallest_macs as f64) / span).clamp(0.0, 1.0);
        self.smallest_ms + share * (self.largest_ms - self.smallest_ms)
    }

    /// Milliseconds per image of running a network with this many multiply-accumulates, in proportion to the teacher's.
    fn evaluation_ms(&self, macs: f64) -> f64 {
        self.teacher_ms * macs / self.largest_macs.max(1) as f64
    }
}

fn training_ms(net: &mut Supernet, spec: &NetSpec, images: &Images, labels: &[usize]) -> Result<f64, TrainError> {
    let mut optimizer = Optimizer::new(0.9, 0.0);
    median_ms(labels.len(), || {
        let input = StepInput::from_labels(images, labels, std::slice::from_ref(spec));
        step(net, &mut optimizer, 1e-6, &input)?;
        Ok(())
    })
}

/// Milliseconds per image: the median of three runs, after a warm-up run.
fn median_ms(images: usize, mut work: impl FnMut() -> Result<(), TrainError>) -> Result<f64, TrainError> {
    work()?;
    let mut times = [0.0; 3];
    for time in &mut times {
        let started = Instant::now();
        work()?;
        *time = started.elapsed().as_secs_f64() * 1e3 / images.max(1) as f64;
    }
    times.sort_by(f64::total_cmp);
    Ok(times[1])
}

fn memory(config: &TrainConfig, space: &dyn SearchSpace, batch: usize) -> Result<Memory, TrainError> {
    const F32: u64 = 4;
    let defs = supernet::tensors(space)?;
    let parameters: u64 = defs.values().map(|def| def.shape.iter().product::<usize>() as u64).sum();
    let teacher = u64::from(config.sampler.teaching() == Teaching::Frozen);
    let copies = 3 + teacher + u64::from(config.ema_decay.is_some());
    let largest = space.resolve(&space.max_arch())?;
    let convolutions: u64 =
        largest.ops().filter(|op| cost::op_macs(op) > 0).map(|op| op.output.iter().product::<usize>() as u64).sum();
    let image: u64 = largest.input.iter().product::<usize>() as u64;
    Ok(Memory {
        parameters: parameters * copies * F32,
        activations: 2 * convolutions * batch as u64 * F32,
        prefetched: image * (batch * config.prefetch) as u64 * F32,
    })
}
