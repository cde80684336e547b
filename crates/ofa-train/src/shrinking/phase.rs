//! One phase of progressive shrinking: sampled subnets learn from labels and a teacher, step by step.

use crate::data::DataError;
use crate::elastic::{Supernet, to_host};
use crate::error::TrainError;
use crate::images::Images;
use crate::sampler::{self, Teaching};
use crate::shrinking::history::ValidationRecord;
use crate::shrinking::phases::PhasePlan;
use crate::shrinking::trainer::{Outside, State, Trainer};
use crate::shrinking::weight_average;
use crate::training::epochs::{EpochOrder, Learner, Position, Steps, overflown};
use crate::training::outcome::{Outcome, Unread};
use crate::training::shards::StepOnRanks;
use crate::training::step::{StepInput, StepReport, Teacher, queue_step};
use ofa_space::{Arch, NetSpec, Opened, importance, supernet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::atomic::Ordering;

/// Steps between logged metrics.
pub(crate) const LOG_STEPS: usize = 20;

/// What a step learns from.
struct Batch {
    resolution: u32,
    /// Resolution of the first subnet, where it has one of its own.
    first_resolution: Option<u32>,
    /// The whole batch, or this rank's parts of it.
    shards: Vec<Shard>,
    /// The step's generator, after the resolution was drawn from it.
    rng: ChaCha8Rng,
}

/// A part of a batch, or all of it.
struct Shard {
    images: Images,
    labels: Vec<usize>,
    /// The same crops at the first subnet's own resolution.
    for_first: Option<Images>,
    /// The same crops as the teacher of the configuration takes them, where it teaches and they differ.
    for_teacher: Option<Images>,
}

/// A phase at work.
struct Phase<'r, 'o> {
    trainer: &'r Trainer<'r>,
    plan: &'r PhasePlan,
    /// The frozen max subnet, if the phase learns from it.
    teacher: Option<Supernet>,
    /// Steps of the phases before.
    before: usize,
    /// Whether a rank was asked to stop before the latest step.
    stopping: bool,
    state: &'r mut State,
    outside: &'r mut Outside<'o>,
}

impl Trainer<'_> {
    /// Does the steps of a phase, or those that were left when it was interrupted.
    pub(super) fn run_phase(
        &self,
        plan: &PhasePlan,
        state: &mut State,
        outside: &mut Outside<'_>,
    ) -> Result<(), TrainError> {
        let frozen = plan.distil && self.config.sampler.teaching() == Teaching::Frozen;
        // Where another network teaches, the largest subnet is still kept as it was before smaller ones learnt beside it.
        let complete = self.teacher.is_none() || plan.opened != Opened::NOTHING;
        if frozen && complete && state.teacher.is_none() {
            state.teacher = Some(self.delivered(state)?);
        }
        let sorts = state.step == 0 && plan.sort_channels;
        if sorts {
            let mut weights = state.supernet.weights()?;
            let channels = supernet::elastic_channels(self.space.as_ref())?;
            importance::sort_channels(&mut weights, &channels, usize::from(plan.opened_before.expansion))?;
            state.supernet = self.supernet(&state.supernet.defs, &weights, &self.device)?;
            // Momentum and average are those of the channels as they were.
            state.optimizer = self.optimizer(&state.supernet.parameters);
        }
        let begins = state.step == 0 && plan.schedule_offset == 0;
        if (begins || sorts) && self.config.ema_decay.is_some() {
            state.average = Some(weight_average::begin(&state.supernet)?);
        }
        let teacher = match (&state.teacher, frozen && self.teacher.is_none()) {
            (Some(weights), true) => {
                Some(self.supernet(&state.supernet.defs, weights, &self.device.clone().inner())?)
            }
            _ => None,
        };
        let before = self.steps_before(state.phase);
        let steps = Steps {
            steps: state.step..plan.total_steps(),
            before,
            prefetch: self.config.prefetch,
            checkpoint_steps: self.config.checkpoint_steps,
            stop: outside.stop,
        };
        let mut order = EpochOrder::new(self.dataset.train.len(), self.config.batch_size, self.config.seed);
        if self.config.balanced {
            order = order.balanced(self.dataset.train.labels());
        }
        let mut phase = Phase { trainer: self, plan, teacher, before, stopping: false, state, outside };
        steps.run(&order, |position| self.batch(plan, &position), &mut phase)
    }

    /// The batch of a step. It depends on the seed and the step only, so a resumed run repeats it.
    fn batch(&self, plan: &PhasePlan, position: &Position) -> Result<Batch, DataError> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed);
        rng.set_stream(position.step as u64 + 1);
        let resolutions = plan.resolutions.as_ref().unwrap_or(&self.space.info().resolutions);
        let resolution = resolutions[rng.random_range(0..resolutions.len())];
        let Position { images, epoch, .. } = position;
        let images = &images[self.shards.positions(images.len())];
        let augmentation = &self.config.augmentation;
        let at = |size| self.dataset.train_batch(images, size, augmentation, self.config.seed, *epoch);
        let (images, labels) = at(resolution)?;
        let largest = resolutions.last().copied().filter(|_| self.config.sampler.first_at_largest_resolution());
        let first_resolution = largest.filter(|largest| *largest != resolution);
        let for_first = first_resolution.map(|largest| Ok::<_, DataError>(at(largest)?.0)).transpose()?;
        let for_teacher = match self.teacher.as_ref().filter(|_| plan.distil) {
            Some(teacher) => teacher.crops(&images, resolution, at)?,
            None => None,
        };
        let whole = Shard { images, labels, for_first, for_teacher };
        let shards = if self.shards.own() == 1 { vec![whole] } else { whole.cut(self.shards.own()) };
        Ok(Batch { resolution, first_resolution, shards, rng })
    }

    /// The subnets of a step.
    fn draw(&self, opened: (&Opened, usize), supernet: &Supernet, batch: &mut Batch) -> Result<Vec<Arch>, TrainError> {
        let Batch { resolution, shards, rng, .. } = batch;
        let mut judge = |arch: &Arch| {
            let net = self.space.resolve(&arch.with_resolution(*resolution))?;
            let losses = shards.iter().map(|Shard { images, labels, .. }| {
                let logits = to_host(supernet.forward_batch_statistics(&net, images).logits)?;
                Ok(cross_entropy(&logits, labels))
            });
            Ok(self.shards.mean(losses.collect::<Result<Vec<f32>, TrainError>>()?)?)
        };
        let (opened, count) = opened;
        let space = self.space.as_ref();
        let mut request = sampler::Request { space, opened, count, resolution: *resolution, rng, judge: &mut judge };
        self.config.sampler.sample(&mut request)
    }
}

impl Learner for Phase<'_, '_> {
    type Batch = Batch;

    /// A step and what follows from it: metrics and validation.
    fn learn(&mut self, batch: Batch) -> Result<(), TrainError> {
        let rate = self.plan.rate(self.state.step);
        self.step(batch, rate)?;
        let Self { trainer, plan, state, .. } = self;
        if let (Some(average), Some(decay)) = (&mut state.average, trainer.config.ema_decay) {
            weight_average::follow_weights(average, &state.supernet, decay);
        }
        state.step += 1;
        let finished = state.step == plan.total_steps();
        let batches = trainer.config.batches(trainer.dataset.train.len()) as f64;
        let between = (trainer.config.validation_epochs * batches).round() as usize;
        let logs = state.step.is_multiple_of(LOG_STEPS) || finished;
        let validates = !finished && between > 0 && state.step.is_multiple_of(between);
        if logs || validates || state.step.is_multiple_of(trainer.read_steps) {
            self.read()?;
        }
        let Self { trainer, plan, before, state, outside, .. } = self;
        outside.observer.on_step(state.phase, state.step, state.loss);
        if logs {
            let record = state.window.take(&plan.name, *before + state.step, rate);
            outside.metrics.step(&record)?;
            state.history.steps.push(record);
        }
        if validates {
            let subnets = trainer.validate(plan, state, outside)?;
            let record = ValidationRecord { phase: plan.name.clone(), step: *before + state.step, subnets };
            outside.observer.on_validation(&record);
            outside.metrics.validation(&record)?;
            state.history.validations.push(record);
        }
        Ok(())
    }

    fn stops(&mut self, asked: bool) -> bool {
        if self.trainer.shards.ranks().size() == 1 { asked } else { self.stopping }
    }

    fn check(&mut self) -> Result<(), TrainError> {
        self.read()?;
        let Some((tensor, value)) = overflown(&self.state.supernet.weights()?) else { return Ok(()) };
        let (phase, learning_rate, step) = (self.plan.name.clone(), self.plan.learning_rate, self.state.step);
        Err(TrainError::Overflown { tensor, value, step, phase, learning_rate })
    }

    fn save(&mut self) -> Result<(), TrainError> {
        self.trainer.save(self.state, self.outside.folder)
    }
}

impl Shard {
    /// Equal parts, in order.
    fn cut(self, parts: usize) -> Vec<Self> {
        let size = self.labels.len() / parts;
        let cut = |images: Option<Images>| images.map(|images| images.split(&[size]).into_iter());
        let (mut for_first, mut for_teacher) = (cut(self.for_first), cut(self.for_teacher));
        let images = self.images.split(&[size]).into_iter();
        let shard = |(images, labels): (Images, &[usize])| Self {
            images,
            labels: labels.to_vec(),
            for_first: for_first.as_mut().and_then(Iterator::next),
            for_teacher: for_teacher.as_mut().and_then(Iterator::next),
        };
        images.zip(self.labels.chunks(size.max(1))).map(shard).collect()
    }
}

impl Phase<'_, '_> {
    fn step(&mut self, mut batch: Batch, rate: f64) -> Result<(), TrainError> {
        let Trainer { config, space, shards, .. } = self.trainer;
        let plan = self.plan;
        let archs = self.trainer.draw((&plan.opened, plan.subnets_per_step), &self.state.supernet, &mut batch)?;
        let resolution = batch.resolution;
        let resolutions = batch.first_resolution.into_iter().chain(std::iter::repeat(resolution));
        let subnets = archs
            .iter()
            .zip(resolutions)
            .map(|(arch, resolution)| Ok(space.resolve(&arch.with_resolution(resolution))?))
            .collect::<Result<Vec<NetSpec>, TrainError>>()?;
        let mut inputs = Vec::with_capacity(batch.shards.len());
        for shard in &batch.shards {
            inputs.push(StepInput {
                images: &shard.images,
                first_images: shard.for_first.as_ref(),
                labels: &shard.labels,
                subnets: &subnets,
                teacher: self.teacher_of(shard, resolution)?,
                loss: config.loss.as_ref(),
                distillation: config.distillation.weight,
                label_smoothing: config.label_smoothing,
                bn_momentum: config.bn_momentum as f32,
                trains: plan.trains,
                gradient_clip: config.gradient_clip,
            });
        }
        let rate = plan.trains.common_rate(rate, config.head_rate);
        let State { supernet, optimizer, .. } = &mut *self.state;
        match (inputs.as_slice(), shards.count()) {
            ([whole], 1) => {
                let unread = queue_step(supernet, optimizer, rate, whole)?;
                self.state.unread.push(unread);
                Ok(())
            }
            (own, _) => {
                let asked = self.outside.stop.load(Ordering::Relaxed);
                let StepOnRanks { report, stopping, slow } = shards.step(supernet, optimizer, rate, own, asked)?;
                self.stopping = stopping;
                slow.iter().for_each(|slow| self.outside.observer.on_message(&slow.to_string()));
                let images = batch.shards.first().map_or(0, |shard| shard.labels.len()) * shards.count();
                self.count(&report, images, self.state.step)
            }
        }
    }

    /// Reads what came out of the steps since the last time; running statistics follow.
    fn read(&mut self) -> Result<(), TrainError> {
        let unread = std::mem::take(&mut self.state.unread);
        let first = self.state.step - unread.len();
        for (index, outcome) in Unread::read_all(unread)?.iter().enumerate() {
            let Outcome { report, moments, images } = outcome;
            self.state.supernet.running.follow(moments, self.trainer.config.bn_momentum as f32);
            self.count(report, *images, first + index)?;
        }
        Ok(())
    }

    /// Adds up what came out of a step, whose statistics the running ones have followed.
    fn count(&mut self, report: &StepReport, images: usize, step: usize) -> Result<(), TrainError> {
        let Self { trainer, plan, state, .. } = self;
        let loss = report.losses.iter().sum::<f32>() / report.losses.len().max(1) as f32;
        if !loss.is_finite() {
            let (phase, learning_rate) = (plan.name.clone(), plan.learning_rate);
            return Err(TrainError::Diverged { loss, step, phase, learning_rate });
        }
        if let (Some(average), Some(decay)) = (&mut state.average, trainer.config.ema_decay) {
            weight_average::follow_statistics(average, &state.supernet.running, decay);
        }
        state.loss = loss;
        state.window.loss += loss;
        state.window.right += report.correct.iter().sum::<usize>();
        state.window.answers += report.correct.len() * images;
        state.window.steps += 1;
        Ok(())
    }

    /// What teaches the subnets of a step on a shard.
    fn teacher_of(&self, shard: &Shard, resolution: u32) -> Result<Teacher, TrainError> {
        let Trainer { config, space, teacher: other, .. } = self.trainer;
        let logits = match (&self.teacher, other.as_ref().filter(|_| self.plan.distil)) {
            (_, Some(other)) => {
                let images = shard.for_teacher.as_ref().unwrap_or(&shard.images);
                Some(other.logits(self.state.supernet.upload(images)))
            }
            (Some(teacher), None) => {
                let max = space.resolve(&space.max_arch().with_resolution(resolution))?;
                Some(teacher.forward_batch_statistics(&max, &shard.images).logits)
            }
            (None, None) => None,
        };
        Ok(match (config.sampler.teaching(), logits) {
            (Teaching::InPlace, logits) if self.plan.distil => Teacher::First(logits),
            (_, Some(logits)) => Teacher::Logits(logits),
            (_, None) => Teacher::None,
        })
    }
}

/// Mean over images of `−log softmax(logits)[label]`.
fn cross_entropy(logits: &[f32], labels: &[usize]) -> f32 {
    let classes = logits.len() / labels.len().max(1);
    let of_image = |(row, label): (&[f32], &usize)| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = row.iter().map(|v| (v - largest).exp()).sum();
        largest + sum.ln() - row[*label]
    };
    let total: f32 = logits.chunks(classes.max(1)).zip(labels).map(of_image).sum();
    total / labels.len().max(1) as f32
}
