//! Progressive shrinking: one supernet trained phase by phase, from the max subnet to all of them.
//!
//! Each phase opens more choices (resolution, then kernel size, depth, expansion), samples subnets among them, and
//! trains them on the same batch with soft labels from the frozen max subnet. Before expansion opens, channels are
//! sorted by importance. (Paper, section 3.3; official loop: `train_one_epoch` in `progressive_shrinking.py`.)

use crate::checkpoint::Checkpoint;
use crate::data::{DataError, Dataset, batches, prefetch};
use crate::elastic::{Supernet, to_host};
use crate::error::TrainError;
use crate::images::Images;
use crate::sampler::{self, Teaching};
use crate::shrinking::config::{PhasePlan, TrainConfig};
use crate::shrinking::history::Window;
use crate::shrinking::metrics_file::MetricsFile;
use crate::shrinking::starting_point::StartingPoint;
use crate::shrinking::validation::Validation;
use crate::shrinking::weight_average;
use crate::training::learning_rate::CosineSchedule;
use crate::training::optimizer::Optimizer;
use crate::training::step::{StepInput, Teacher, step};
use burn::tensor::Device;
use ofa_space::{Arch, Model, ModelBody, NetSpec, SearchSpace, Weights};
use ofa_space::{importance, initialisation, registry, supernet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::shrinking::history::{History, Observer, PhaseRecord, SubnetRecord, ValidationRecord};

/// Images in a batch of evaluation and recalibration.
pub const EVALUATION_BATCH: usize = 100;
/// The model of the best validation of the latest phase, in a run's folder.
pub const BEST_MODEL: &str = "best.safetensors";

/// A training run that is ready to start.
pub struct Trainer<'a> {
    config: &'a TrainConfig,
    dataset: &'a Dataset,
    space: Arc<dyn SearchSpace>,
    device: Device,
    phases: Vec<PhasePlan>,
    start: Option<StartingPoint>,
}

/// A trained supernet.
pub struct Trained {
    /// The supernet as a model file.
    pub model: Model,
    /// Metrics.
    pub history: History,
}

/// Between two steps: everything that changes while training.
struct State {
    phase: usize,
    step: usize,
    supernet: Supernet,
    teacher: Option<Weights>,
    average: Option<Weights>,
    optimizer: Optimizer,
    history: History,
    window: Window,
}

/// Where a run tells what happens, and when it must stop.
struct Outside<'a, 'd> {
    folder: Option<&'a Path>,
    observer: &'a mut dyn Observer,
    stop: &'a AtomicBool,
    metrics: MetricsFile,
    validation: Validation<'d>,
}

/// What a step learns from.
struct Batch {
    resolution: u32,
    images: Images,
    labels: Vec<usize>,
    /// The step's generator, after the resolution was drawn from it.
    rng: ChaCha8Rng,
}

/// Steps between logged metrics.
const LOG_STEPS: usize = 20;

impl<'a> Trainer<'a> {
    /// Fits the space to the data (classes, image channels) and counts the steps.
    ///
    /// # Errors
    /// [`TrainError`] if the space is unknown or cannot take the data's classes.
    pub fn new(config: &'a TrainConfig, dataset: &'a Dataset, device: &Device) -> Result<Self, TrainError> {
        let start = config.init.as_ref().map(|init| init.load()).transpose()?;
        let mut space = config.space()?;
        let classes = dataset.class_names.len();
        if space.info().classes != classes {
            space = registry::with_classes(space.as_ref(), classes)?;
        }
        if space.info().input_channels != dataset.channels {
            space = registry::with_field(space.as_ref(), "input_channels", dataset.channels.into())?;
        }
        let phases = config.plan(dataset.train.len());
        Ok(Self { config, dataset, space, device: device.clone().autodiff(), phases, start })
    }

    /// The space, fitted to the data.
    pub fn space(&self) -> &Arc<dyn SearchSpace> {
        &self.space
    }

    /// The phases, with steps counted.
    pub fn phases(&self) -> &[PhasePlan] {
        &self.phases
    }

    /// Hash of everything that the result depends on besides the code: configuration, space, data and the model to
    /// start from.
    pub fn fingerprint(&self) -> String {
        let space = serde_json::to_string(self.space.as_ref()).unwrap_or_default();
        let mut config = serde_json::to_value(self.config).unwrap_or_default();
        if let Some(config) = config.as_object_mut() {
            // How the work is done, not what comes out; the model of `init` counts by its content.
            for field in ["checkpoint_steps", "keep", "prefetch", "tensorboard"] {
                config.remove(field);
            }
            if let Some(init) = config.get_mut("init").and_then(serde_json::Value::as_object_mut) {
                init.remove("model");
            }
        }
        let data = format!("{} {} {:?}", self.dataset.name, self.dataset.train.len(), self.dataset.input);
        let start = self.start.as_ref().map_or("", |start| &start.hash);
        let digest = Sha256::digest(format!("{space}\n{config}\n{data}\n{start}"));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Trains all phases, from the checkpoint in `folder` if there is one, and saves checkpoints, metrics
    /// (`metrics.jsonl`) and the best model of the latest phase ([`BEST_MODEL`]) there.
    ///
    /// # Errors
    /// [`TrainError::Interrupted`] once `stop` is set (a checkpoint is saved first), [`TrainError::Diverged`] if the
    /// loss is not finite, or what data, backend and file system report.
    pub fn train(
        &self,
        folder: Option<&Path>,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Trained, TrainError> {
        let mut state = self.start_or_resume(folder, observer)?;
        observer.on_start(&self.phases, (state.phase, state.step));
        let metrics = MetricsFile::begin(folder, &state.history, self.config.tensorboard)?;
        let validation = Validation::new(self.config, self.dataset);
        let mut outside = Outside { folder, observer, stop, metrics, validation };
        while let Some(plan) = self.phases.get(state.phase) {
            self.run_phase(plan, &mut state, &mut outside)?;
            let subnets = self.validate(plan, &mut state, &mut outside)?;
            let record = PhaseRecord { name: plan.name.clone(), steps: plan.total_steps(), subnets };
            outside.observer.on_phase(&record);
            outside.metrics.phase(&record)?;
            state.history.phases.push(record);
            state.phase += 1;
            state.step = 0;
            state.optimizer = self.optimizer();
            self.save(&state, folder)?;
        }
        Ok(Trained { model: self.model(&state)?, history: state.history })
    }

    fn optimizer(&self) -> Optimizer {
        Optimizer::new(self.config.momentum, self.config.weight_decay)
    }

    fn start_or_resume(&self, folder: Option<&Path>, observer: &mut dyn Observer) -> Result<State, TrainError> {
        let defs = supernet::tensors(self.space.as_ref())?;
        let found = folder.map(Checkpoint::load_latest).transpose()?.flatten();
        let Some((checkpoint, message)) = found else {
            let weights = match (&self.config.init, &self.start) {
                (Some(init), Some(start)) => init.weights(start, &defs, self.config.seed)?,
                _ => initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(self.config.seed)),
            };
            return Ok(State {
                phase: 0,
                step: 0,
                supernet: Supernet::new(defs, &weights, &self.device)?,
                teacher: None,
                average: None,
                optimizer: self.optimizer(),
                history: History::default(),
                window: Window::default(),
            });
        };
        if let Some(message) = message {
            observer.on_message(&message);
        }
        if checkpoint.fingerprint != self.fingerprint() {
            return Err(TrainError::Checkpoint {
                path: folder.map(Checkpoint::path).unwrap_or_default(),
                problem: "belongs to another configuration or data set; use another --out folder, or remove it".into(),
            });
        }
        let optimizer = match checkpoint.optimizer.is_empty() {
            true => self.optimizer(),
            false => self.optimizer().with_state(checkpoint.optimizer)?,
        };
        Ok(State {
            phase: checkpoint.phase,
            step: checkpoint.step,
            supernet: Supernet::new(defs, &checkpoint.weights, &self.device)?,
            teacher: checkpoint.teacher,
            average: checkpoint.average,
            optimizer,
            history: checkpoint.history,
            window: checkpoint.window,
        })
    }

    fn save(&self, state: &State, folder: Option<&Path>) -> Result<(), TrainError> {
        let Some(folder) = folder else { return Ok(()) };
        let checkpoint = Checkpoint {
            fingerprint: self.fingerprint(),
            phase: state.phase,
            step: state.step,
            history: state.history.clone(),
            window: state.window,
            weights: state.supernet.weights()?,
            teacher: state.teacher.clone(),
            average: state.average.clone(),
            optimizer: if state.step == 0 { Vec::new() } else { state.optimizer.to_bytes()? },
        };
        checkpoint.save(folder, self.config.keep)
    }

    fn run_phase(&self, plan: &PhasePlan, state: &mut State, outside: &mut Outside<'_, '_>) -> Result<(), TrainError> {
        let frozen = plan.distil && self.config.sampler.teaching() == Teaching::Frozen;
        if frozen && state.teacher.is_none() {
            state.teacher = Some(self.delivered(state)?);
        }
        if state.step == 0 && plan.sort_channels {
            let mut weights = state.supernet.weights()?;
            let channels = supernet::elastic_channels(self.space.as_ref())?;
            importance::sort_channels(&mut weights, &channels, usize::from(plan.opened_before.expansion))?;
            state.supernet = Supernet::new(state.supernet.defs.clone(), &weights, &self.device)?;
        }
        if state.step == 0 && self.config.ema_decay.is_some() {
            state.average = Some(state.supernet.weights()?);
        }
        let teacher = match (&state.teacher, frozen) {
            (Some(weights), true) => {
                Some(Supernet::new(state.supernet.defs.clone(), weights, &self.device.clone().inner())?)
            }
            _ => None,
        };
        let done_before: usize = self.phases[..state.phase].iter().map(PhasePlan::total_steps).sum();
        let order = EpochOrder::new(self.dataset.train.len(), self.config.batch_size, self.config.seed);
        let (from, to) = (done_before + state.step, done_before + plan.total_steps());
        prefetch::prefetch(
            from,
            to,
            self.config.prefetch,
            |step| self.batch(&order, step),
            |next| {
                while let Some(batch) = next() {
                    self.advance(plan, state, teacher.as_ref(), batch?, done_before, outside)?;
                }
                Ok(())
            },
        )
    }

    /// A step and what follows from it: metrics, validation, checkpoint, interruption.
    fn advance(
        &self,
        plan: &PhasePlan,
        state: &mut State,
        teacher: Option<&Supernet>,
        batch: Batch,
        done_before: usize,
        outside: &mut Outside<'_, '_>,
    ) -> Result<(), TrainError> {
        let schedule = CosineSchedule {
            initial: plan.learning_rate,
            warmup_start: 0.0,
            warmup_steps: plan.warmup_steps,
            steps: plan.steps,
        };
        let rate = schedule.rate(state.step);
        let loss = self.step(plan, state, teacher, batch, rate)?;
        if let (Some(average), Some(decay)) = (&mut state.average, self.config.ema_decay) {
            weight_average::update(average, &state.supernet, decay)?;
        }
        state.step += 1;
        outside.observer.on_step(state.phase, state.step, loss);
        let finished = state.step == schedule.total_steps();
        if state.step.is_multiple_of(LOG_STEPS) || finished {
            let record = state.window.take(&plan.name, done_before + state.step, rate);
            outside.metrics.step(&record)?;
            state.history.steps.push(record);
        }
        if finished {
            return Ok(());
        }
        let batches = self.config.batches(self.dataset.train.len()) as f64;
        let between = (self.config.validation_epochs * batches).round() as usize;
        if between > 0 && state.step.is_multiple_of(between) {
            let subnets = self.validate(plan, state, outside)?;
            let record = ValidationRecord { phase: plan.name.clone(), step: done_before + state.step, subnets };
            outside.observer.on_validation(&record);
            outside.metrics.validation(&record)?;
            state.history.validations.push(record);
        }
        let stopping = outside.stop.load(Ordering::Relaxed);
        if stopping || state.step.is_multiple_of(self.config.checkpoint_steps) {
            self.save(state, outside.folder)?;
        }
        if stopping { Err(TrainError::Interrupted) } else { Ok(()) }
    }

    /// The batch of a step. Depends on the seed and the step only, so a resumed run repeats it.
    fn batch(&self, order: &EpochOrder, global_step: usize) -> Result<Batch, DataError> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed);
        rng.set_stream(global_step as u64 + 1);
        let resolutions = &self.space.info().resolutions;
        let resolution = resolutions[rng.random_range(0..resolutions.len())];
        let (epoch, indices) = order.batch(global_step);
        let augmentation = &self.config.augmentation;
        let (images, labels) = self.dataset.train_batch(&indices, resolution, augmentation, self.config.seed, epoch)?;
        Ok(Batch { resolution, images, labels, rng })
    }

    fn step(
        &self,
        plan: &PhasePlan,
        state: &mut State,
        teacher: Option<&Supernet>,
        batch: Batch,
        rate: f64,
    ) -> Result<f32, TrainError> {
        let Batch { resolution, images, labels, mut rng } = batch;
        let archs = self.draw(plan, &state.supernet, resolution, (&images, &labels), &mut rng)?;
        let subnets = archs
            .iter()
            .map(|arch| Ok(self.space.resolve(&arch.with_resolution(resolution))?))
            .collect::<Result<Vec<NetSpec>, TrainError>>()?;
        let teacher = match teacher {
            Some(teacher) => {
                let max = self.space.resolve(&self.space.max_arch().with_resolution(resolution))?;
                Teacher::Logits(teacher.forward_batch_statistics(&max, &images).logits)
            }
            None if plan.distil && self.config.sampler.teaching() == Teaching::InPlace => Teacher::First,
            None => Teacher::None,
        };
        let input = StepInput {
            images: &images,
            labels: &labels,
            subnets: &subnets,
            teacher,
            loss: self.config.loss.as_ref(),
            distillation: self.config.distillation,
            label_smoothing: self.config.label_smoothing,
            bn_momentum: self.config.bn_momentum as f32,
        };
        let report = step(&mut state.supernet, &mut state.optimizer, rate, &input)?;
        let loss = report.losses.iter().sum::<f32>() / report.losses.len().max(1) as f32;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { loss, step: state.step, phase: plan.name.clone() });
        }
        state.window.loss += loss;
        state.window.right += report.correct.iter().sum::<usize>();
        state.window.answers += report.correct.len() * labels.len();
        state.window.steps += 1;
        Ok(loss)
    }

    /// The subnets of a step.
    fn draw(
        &self,
        plan: &PhasePlan,
        supernet: &Supernet,
        resolution: u32,
        (images, labels): (&Images, &[usize]),
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<Arch>, TrainError> {
        let mut judge = |arch: &Arch| {
            let net = self.space.resolve(&arch.with_resolution(resolution))?;
            let logits = to_host(supernet.forward_batch_statistics(&net, images).logits)?;
            Ok(cross_entropy(&logits, labels))
        };
        let mut request = sampler::Request {
            space: self.space.as_ref(),
            opened: &plan.opened,
            count: plan.subnets_per_step,
            resolution,
            rng,
            judge: &mut judge,
        };
        self.config.sampler.sample(&mut request)
    }

    /// Validates what would be delivered now, and keeps it if it is the best of its phase.
    fn validate(
        &self,
        plan: &PhasePlan,
        state: &mut State,
        outside: &mut Outside<'_, '_>,
    ) -> Result<Vec<SubnetRecord>, TrainError> {
        let averaged = match &state.average {
            Some(average) => Some(Supernet::new(state.supernet.defs.clone(), average, &self.device.clone().inner())?),
            None => None,
        };
        let supernet = averaged.as_ref().unwrap_or(&state.supernet);
        let subnets = outside.validation.run(plan, self.space.as_ref(), supernet)?;
        let done_before: usize = self.phases[..state.phase].iter().map(PhasePlan::total_steps).sum();
        if state.history.is_best(&plan.name, done_before + state.step, &subnets)
            && let Some(folder) = outside.folder
        {
            self.model(state)?.save(&folder.join(BEST_MODEL))?;
        }
        Ok(subnets)
    }

    /// The weights that a run delivers: the moving average, if one is kept.
    fn delivered(&self, state: &State) -> Result<Weights, TrainError> {
        match &state.average {
            Some(average) => Ok(average.clone()),
            None => state.supernet.weights(),
        }
    }

    fn model(&self, state: &State) -> Result<Model, TrainError> {
        let mut provenance = BTreeMap::from([
            ("data".to_owned(), self.dataset.name.clone()),
            ("split".to_owned(), self.dataset.split_note.clone()),
            ("seed".to_owned(), self.config.seed.to_string()),
            ("split_seed".to_owned(), self.config.seed.to_string()),
            ("validation_images".to_owned(), self.config.validation_images.to_string()),
            ("training".to_owned(), self.fingerprint()),
        ]);
        if let Some(start) = &self.start {
            provenance.insert("started_from".to_owned(), format!("sha256 {}", start.hash));
        }
        Ok(Model {
            body: ModelBody::Supernet { space: self.space.clone() },
            class_names: self.dataset.class_names.clone(),
            input: self.dataset.input.clone(),
            provenance,
            weights: self.delivered(state)?,
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

/// Which images a step trains on: a new shuffle per epoch, the incomplete batch at its end left out.
struct EpochOrder {
    images: usize,
    batch_size: usize,
    seed: u64,
    /// The epoch asked for last, with its order.
    latest: Mutex<Option<(u64, Arc<Vec<usize>>)>>,
}

impl EpochOrder {
    fn new(images: usize, batch_size: usize, seed: u64) -> Self {
        Self { images, batch_size: batch_size.min(images.max(1)), seed, latest: Mutex::new(None) }
    }

    /// The epoch of a global step, and the images of its batch.
    fn batch(&self, global_step: usize) -> (u64, Vec<usize>) {
        let batches = (self.images / self.batch_size).max(1);
        let epoch = (global_step / batches) as u64;
        let start = (global_step % batches) * self.batch_size;
        (epoch, self.order(epoch)[start..start + self.batch_size].to_vec())
    }

    fn order(&self, epoch: u64) -> Arc<Vec<usize>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match latest.as_ref() {
            Some((known, order)) if *known == epoch => order.clone(),
            _ => {
                let order = Arc::new(batches::epoch_order(self.images, self.seed, epoch));
                *latest = Some((epoch, order.clone()));
                order
            }
        }
    }
}
