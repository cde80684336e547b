//! Fine-tuning: further training of a standalone network from the weights that it inherited from its supernet, as the
//! authors do with the networks that a search has found (their specialised networks are published after 25 or 75 epochs).

mod preparation;
mod settings;

pub use preparation::Preparation;
pub use settings::FineTuning;

use crate::checkpoint::{Checkpoint, CheckpointSpace};
use crate::data::{DataError, Dataset, SplitName, TrainedOn};
use crate::elastic::Supernet;
use crate::error::TrainError;
use crate::evaluation::{Accuracy, EvaluationSet, evaluate};
use crate::images::Images;
use crate::loss::SoftCrossEntropy;
use crate::shrinking::{History, Window};
use crate::training::epochs::{EpochOrder, Learner, Position, Steps, overflown};
use crate::training::frozen::FrozenNetwork;
use crate::training::optimizer::Optimizer;
use crate::training::outcome::{self, Unread};
use crate::training::step::{StepInput, Teacher, queue_step};
use burn::tensor::Device;
use ofa_space::digest::Digest;
use ofa_space::{Checked, Model, NetSpec};
use settings::{Schedule, StepPlan};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Receives the progress of a fine-tuning run. Every method has an empty default.
pub trait FineTuningObserver {
    /// Before the first step: how many steps there are, and how many a checkpoint has done already.
    fn on_start(&mut self, _steps: usize, _done: usize) {}
    /// After every step: steps done, and the loss of the last one; on a GPU that of the latest step that was read, up to 20 steps
    /// before.
    fn on_step(&mut self, _done: usize, _loss: f32) {}
    /// A message for the user.
    fn on_message(&mut self, _message: &str) {}
}

impl FineTuningObserver for crate::shrinking::Silent {}

/// Newest checkpoints kept.
const KEPT: usize = 1;

/// A fine-tuning run that is ready to start.
pub struct FineTuner<'a> {
    settings: &'a FineTuning,
    model: &'a Model,
    dataset: &'a Dataset,
    net: NetSpec,
    device: Device,
    teacher: Option<FrozenNetwork>,
    /// Steps between reads of what comes out of them.
    read_steps: usize,
}

/// A fine-tuned network.
#[derive(Clone, Debug)]
pub struct FineTuned {
    /// The network after training.
    pub model: Model,
    /// Optimizer steps.
    pub steps: usize,
    /// Accuracy on the validation images before training.
    pub before: Accuracy,
    /// The same after it.
    pub after: Accuracy,
}

impl FineTuned {
    /// Whether training made the network no worse, by its accuracy on the validation images.
    pub fn is_no_worse(&self) -> bool {
        // Accuracies over no images are undefined, and decide nothing.
        !matches!(self.after.top1.partial_cmp(&self.before.top1), Some(std::cmp::Ordering::Less))
    }
}

impl<'a> FineTuner<'a> {
    /// Fine-tunes a standalone network on the training images of a data set.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the model is a supernet; [`TrainError::Data`] if the data set is divided, normalised or
    /// labelled differently from the one that the network was trained on.
    pub fn new(
        settings: &'a Checked<FineTuning>,
        model: &'a Model,
        dataset: &'a Dataset,
        device: &Device,
    ) -> Result<Self, TrainError> {
        TrainedOn::of(model)?.check(dataset)?;
        dataset.require(SplitName::Validation)?;
        settings.precision.check(device)?;
        let read_steps = outcome::read_steps(device);
        Ok(Self { settings, model, dataset, net: model.net(None)?, device: device.clone(), teacher: None, read_steps })
    }

    /// Also learns from the logits of a frozen network. The teacher sees the same crops at its own resolution, where it is
    /// most accurate.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the teacher is a supernet, [`TrainError::Data`] if it was trained on other data or classes,
    /// or what the backend reports.
    pub fn with_teacher(mut self, teacher: &Model) -> Result<Self, TrainError> {
        self.teacher = Some(FrozenNetwork::new(teacher, self.dataset, &self.device, self.settings.precision)?);
        Ok(self)
    }

    /// Reads losses and statistics from the device every so many steps, and when they are needed. A read waits for all queued
    /// work; it does not change the result. Default: every step where tensors are in the host's memory, every 20 on a GPU.
    #[must_use]
    pub fn reading_every(self, steps: usize) -> Self {
        Self { read_steps: steps.max(1), ..self }
    }

    /// Optimizer steps of the run.
    pub fn steps(&self) -> usize {
        self.schedule().total_steps()
    }

    /// Hash of everything that the result depends on besides the code: settings, network, weights, and the images to learn
    /// from by their content.
    ///
    /// # Errors
    /// [`DataError::Io`] if an image cannot be read.
    pub fn fingerprint(&self) -> Result<String, DataError> {
        Ok(self.fingerprint_of(&self.dataset.train.content()?))
    }

    /// The fingerprint that earlier versions gave this run: the data by name and number of images.
    fn earlier_fingerprint(&self) -> String {
        self.fingerprint_of(&format!("{} {}", self.dataset.name, self.dataset.train.len()))
    }

    fn fingerprint_of(&self, images: &str) -> String {
        let mut settings = serde_json::to_value(self.settings).unwrap_or_default();
        if let Some(settings) = settings.as_object_mut() {
            // How the work is done, not what comes out.
            for field in ["checkpoint_steps", "prefetch"] {
                settings.remove(field);
            }
            // Settings that came later count where they change something, so that older checkpoints are still resumed.
            if self.teacher.is_none() {
                settings.remove("distillation");
            }
            if self.settings.head_rate == 1.0 {
                settings.remove("head_rate");
            }
            if self.settings.head_epochs == 0.0 {
                settings.remove("head_epochs");
                settings.remove("head_learning_rate");
            }
        }
        let net = serde_json::to_string(&self.net).unwrap_or_default();
        let data = format!("{images} {:?} {}", self.dataset.input, self.dataset.division());
        let mut digest = Digest::default();
        digest.add(format!("fine-tuning\n{net}\n{settings}\n{data}\n"));
        for model in std::iter::once(self.model).chain(self.teacher.as_ref().map(|teacher| &teacher.model)) {
            model.weights.add_to(&mut digest);
        }
        digest.hex()
    }

    /// Trains, from the checkpoint in `folder` if there is one; checkpoints are saved there.
    ///
    /// # Errors
    /// [`TrainError::Interrupted`] once `stop` is set (a checkpoint is saved first), [`TrainError::Diverged`] if the loss
    /// is not finite, [`TrainError::DiskSpace`] if the checkpoints do not fit, or what data, backend and file system report.
    pub fn train(
        &self,
        folder: Option<&Path>,
        observer: &mut dyn FineTuningObserver,
        stop: &AtomicBool,
    ) -> Result<FineTuned, TrainError> {
        if let Some(folder) = folder {
            let values: usize = self.model.weights.iter().map(|(_, tensor)| tensor.data.len()).sum();
            // Weights and momentum.
            CheckpointSpace { weights: 4 * values as u64, copies: 2, keep: KEPT }.require(folder)?;
        }
        let mut validation = EvaluationSet::all(self.dataset, SplitName::Validation);
        let mut score = |supernet: &Supernet| evaluate(supernet, &self.net, &supernet.running, &mut validation);
        let before = score(&self.network(&self.device.clone().autodiff())?)?;
        let mut run = self.start_or_resume(folder, observer)?;
        let FineTuning { batch_size, seed, prefetch, checkpoint_steps, .. } = *self.settings;
        let steps = Steps { steps: run.done..self.steps(), before: 0, prefetch, checkpoint_steps, stop };
        let mut order = EpochOrder::new(self.dataset.train.len(), batch_size, seed);
        if self.settings.balanced {
            order = order.balanced(self.dataset.train.labels());
        }
        run.observer.on_start(self.steps(), run.done);
        steps.run(&order, |position| self.batch(&position), &mut run)?;
        let after = score(&run.network)?;
        Ok(FineTuned { model: self.model(&run.network)?, steps: self.steps(), before, after })
    }

    /// The network to tune, as it is at the beginning.
    fn network(&self, device: &Device) -> Result<Supernet, TrainError> {
        Ok(Supernet::from_model(self.model, device)?.with_precision(self.settings.precision))
    }

    fn schedule(&self) -> Schedule {
        self.settings.schedule(self.dataset.train.len())
    }

    fn start_or_resume<'r>(
        &'r self,
        folder: Option<&'r Path>,
        observer: &'r mut dyn FineTuningObserver,
    ) -> Result<Run<'r>, TrainError> {
        let device = self.device.clone().autodiff();
        let mut network = self.network(&device)?;
        let mut optimizer = Optimizer::new(self.settings.momentum, self.settings.weight_decay)
            .with_head_rate(self.settings.head_rate, &network.parameters);
        let mut done = 0;
        let fingerprint = folder.map(|_| self.fingerprint()).transpose()?.unwrap_or_default();
        if let Some((checkpoint, message)) = folder.map(Checkpoint::load_latest).transpose()?.flatten() {
            if let Some(message) = message {
                observer.on_message(&message);
            }
            if ![&fingerprint, &self.earlier_fingerprint()].contains(&&checkpoint.fingerprint) {
                return Err(TrainError::Checkpoint {
                    path: folder.map(Checkpoint::path).unwrap_or_default(),
                    problem:
                        "belongs to other settings, another network or another data set; remove it to start afresh"
                            .into(),
                });
            }
            let resumed = Supernet::new(network.defs, &checkpoint.weights, &device)?;
            network = resumed.with_precision(self.settings.precision);
            optimizer = optimizer.with_state(checkpoint.optimizer)?;
            done = checkpoint.step;
        }
        Ok(Run {
            tuner: self,
            schedule: self.schedule(),
            fingerprint,
            network,
            optimizer,
            done,
            unread: Vec::new(),
            loss: f32::NAN,
            folder,
            observer,
        })
    }

    /// The batch of a step. It depends on the seed and the step only, so a resumed run repeats it.
    fn batch(&self, position: &Position) -> Result<Batch, DataError> {
        let FineTuning { augmentation, seed, .. } = self.settings;
        let own = self.net.input[1] as u32;
        let at =
            |resolution| self.dataset.train_batch(&position.images, resolution, augmentation, *seed, position.epoch);
        let (images, labels) = at(own)?;
        let for_teacher = self.teacher.as_ref().map(|teacher| teacher.crops(&images, own, at)).transpose()?.flatten();
        Ok(Batch { images, labels, for_teacher })
    }

    fn model(&self, network: &Supernet) -> Result<Model, TrainError> {
        let mut model = self.model.clone();
        model.weights = network.weights()?;
        let FineTuning { batch_size, learning_rate, seed, .. } = self.settings;
        let (steps, data) = (self.steps(), &self.dataset.name);
        let how = format!("{steps} steps of {batch_size} images of {data}, learning rate {learning_rate}, seed {seed}");
        model.provenance.insert("fine_tuning".to_owned(), how);
        self.dataset.record(&mut model.provenance);
        Ok(model)
    }
}

/// A run at work.
struct Run<'r> {
    tuner: &'r FineTuner<'r>,
    schedule: Schedule,
    fingerprint: String,
    network: Supernet,
    optimizer: Optimizer,
    done: usize,
    /// Steps whose outcome the host has not read yet; none when the state is saved, scored or delivered.
    unread: Vec<Unread>,
    /// Loss of the latest step that was read.
    loss: f32,
    folder: Option<&'r Path>,
    observer: &'r mut dyn FineTuningObserver,
}

impl Run<'_> {
    /// Reads what came out of the steps since the last time; running statistics follow.
    fn read(&mut self) -> Result<(), TrainError> {
        let unread = std::mem::take(&mut self.unread);
        let first = self.done - unread.len();
        let FineTuning { bn_momentum, learning_rate, .. } = *self.tuner.settings;
        for (index, outcome) in Unread::read_all(unread)?.into_iter().enumerate() {
            self.network.running.follow(&outcome.moments, bn_momentum as f32);
            self.loss = outcome.report.losses.first().copied().unwrap_or(f32::NAN);
            if !self.loss.is_finite() {
                let phase = "fine-tuning".to_owned();
                return Err(TrainError::Diverged { loss: self.loss, step: first + index, phase, learning_rate });
            }
        }
        Ok(())
    }
}

/// What a step learns from.
struct Batch {
    images: Images,
    labels: Vec<usize>,
    /// The same crops as the teacher takes them, where they differ.
    for_teacher: Option<Images>,
}

impl Learner for Run<'_> {
    type Batch = Batch;

    fn learn(&mut self, Batch { images, labels, for_teacher }: Batch) -> Result<(), TrainError> {
        let FineTuning { label_smoothing, bn_momentum, distillation, gradient_clip, .. } = *self.tuner.settings;
        let StepPlan { rate, trains } = self.schedule.at(self.done);
        let teacher = match &self.tuner.teacher {
            Some(teacher) => {
                let images = for_teacher.as_ref().unwrap_or(&images);
                Teacher::Logits(teacher.logits(self.network.upload(images)))
            }
            None => Teacher::None,
        };
        let input = StepInput {
            images: &images,
            first_images: None,
            labels: &labels,
            subnets: std::slice::from_ref(&self.tuner.net),
            teacher,
            loss: &SoftCrossEntropy {},
            distillation,
            label_smoothing,
            bn_momentum: bn_momentum as f32,
            trains,
            gradient_clip,
        };
        self.unread.push(queue_step(&mut self.network, &mut self.optimizer, rate, &input)?);
        self.done += 1;
        if self.unread.len() >= self.tuner.read_steps {
            self.read()?;
        }
        self.observer.on_step(self.done, self.loss);
        Ok(())
    }

    fn check(&mut self) -> Result<(), TrainError> {
        self.read()?;
        let Some((tensor, value)) = overflown(&self.network.weights()?) else { return Ok(()) };
        let (phase, learning_rate) = ("fine-tuning".to_owned(), self.tuner.settings.learning_rate);
        Err(TrainError::Overflown { tensor, value, step: self.done, phase, learning_rate })
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let Some(folder) = self.folder else { return Ok(()) };
        let checkpoint = Checkpoint {
            fingerprint: self.fingerprint.clone(),
            phase: 0,
            step: self.done,
            history: History::default(),
            window: Window::default(),
            weights: self.network.weights()?,
            teacher: None,
            average: None,
            optimizer: self.optimizer.to_bytes()?,
        };
        checkpoint.save(folder, KEPT)
    }
}
