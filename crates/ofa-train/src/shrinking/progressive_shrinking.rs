//! Progressive shrinking: one supernet trained phase by phase, from the max subnet to all of them.
//!
//! Each phase opens more choices (resolution, then kernel size, depth, expansion), samples subnets among them, and
//! trains them on the same batch with soft labels from the frozen max subnet. Before expansion opens, channels are
//! sorted by importance. (Paper, section 3.3; official loop: `train_one_epoch` in `progressive_shrinking.py`.)

use crate::checkpoint::{Checkpoint, CheckpointSpace};
use crate::communication::CommunicationError;
use crate::elastic::Supernet;
use crate::error::TrainError;
use crate::shrinking::history::{History, Observer, PhaseRecord, Window};
use crate::shrinking::metrics_file::MetricsFile;
use crate::shrinking::trainer::{Outside, State, Trained, Trainer};
use crate::shrinking::validation::Validation;
use burn::tensor::Device;
use ofa_space::supernet::TensorDef;
use ofa_space::{Weights, initialisation, supernet};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

impl Trainer<'_> {
    /// Trains all phases, from the checkpoint in `folder` if there is one (that of rank 0), and saves checkpoints, metrics
    /// (`metrics.jsonl`) and the best model of the latest phase ([`BEST_MODEL`](super::BEST_MODEL)) there.
    ///
    /// # Errors
    /// [`TrainError::Interrupted`] once `stop` is set (a checkpoint is saved first), [`TrainError::Diverged`] if the
    /// loss is not finite, [`TrainError::DiskSpace`] if the checkpoints do not fit, or what data, backend and file system report.
    pub fn train(
        &self,
        folder: Option<&Path>,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Trained, TrainError> {
        if let Some(warning) = self.seen_validation_images()? {
            observer.on_message(&warning);
        }
        let ranks = self.shards.ranks();
        let folder = folder.filter(|_| ranks.rank() == 0);
        if let Some(folder) = folder {
            self.checkpoint_space()?.require(folder)?;
        }
        let mut state = match ranks.rank() {
            0 => self.start_or_resume(folder, observer)?,
            _ => self.start_as_rank_0()?,
        };
        if ranks.size() > 1 && ranks.rank() == 0 {
            ranks.broadcast(&mut self.checkpoint(&state)?.to_bytes()?)?;
        }
        if let Some(folder) = folder {
            self.write_dependencies(folder)?;
        }
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
            if !self.continues(state.phase) {
                state.optimizer = self.optimizer(&state.supernet.parameters);
            }
            self.save(&state, folder)?;
        }
        let model = self.model(&state)?;
        let teacher = state.teacher.map(|weights| self.model_of(weights)).transpose()?;
        Ok(Trained { model, history: state.history, teacher })
    }

    fn checkpoint_space(&self) -> Result<CheckpointSpace, TrainError> {
        let tensors = supernet::tensors(self.space.as_ref())?;
        let values: usize = tensors.values().map(|def| def.shape.iter().product::<usize>()).sum();
        let has_teacher = self.phases.iter().any(|phase| phase.distil) && self.teacher.is_none();
        let copies = 2 + u64::from(has_teacher) + u64::from(self.config.ema_decay.is_some());
        Ok(CheckpointSpace { weights: 4 * values as u64, copies, keep: self.config.keep })
    }

    fn start_or_resume(&self, folder: Option<&Path>, observer: &mut dyn Observer) -> Result<State, TrainError> {
        let defs = supernet::tensors(self.space.as_ref())?;
        let found = folder.map(Checkpoint::load_latest).transpose()?.flatten();
        let Some((checkpoint, message)) = found else {
            let weights = match (&self.config.init, &self.start) {
                (Some(init), Some(start)) => {
                    let model = start.measured(self.dataset, self.config.seed, &self.device.clone().inner())?;
                    init.weights(&model, &defs, self.config.seed)?
                }
                _ => initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(self.config.seed)),
            };
            let supernet = self.supernet(&defs, &weights, &self.device)?;
            return Ok(State {
                phase: 0,
                step: 0,
                optimizer: self.optimizer(&supernet.parameters),
                supernet,
                teacher: None,
                average: None,
                history: History::default(),
                window: Window::default(),
                unread: Vec::new(),
                loss: f32::NAN,
            });
        };
        if let Some(message) = message {
            observer.on_message(&message);
        }
        if let Some(folder) = folder.filter(|_| !self.began(&checkpoint)) {
            return Err(self.other_training(folder));
        }
        self.state_of(checkpoint)
    }

    /// The state that rank 0 starts from.
    fn start_as_rank_0(&self) -> Result<State, TrainError> {
        let mut bytes = Vec::new();
        self.shards.ranks().broadcast(&mut bytes)?;
        let checkpoint = Checkpoint::from_bytes(&bytes)
            .map_err(|problem| CommunicationError::Message { rank: 0, problem: format!("the checkpoint {problem}") })?;
        self.state_of(checkpoint)
    }

    /// A supernet of the training with these weights.
    pub(super) fn supernet(
        &self,
        defs: &BTreeMap<String, TensorDef>,
        weights: &Weights,
        device: &Device,
    ) -> Result<Supernet, TrainError> {
        Ok(Supernet::new(defs.clone(), weights, device)?.with_precision(self.config.precision))
    }

    fn state_of(&self, checkpoint: Checkpoint) -> Result<State, TrainError> {
        let defs = supernet::tensors(self.space.as_ref())?;
        let average = checkpoint.average.map(|average| self.supernet(&defs, &average, &self.device.clone().inner()));
        let supernet = self.supernet(&defs, &checkpoint.weights, &self.device)?;
        let optimizer = match checkpoint.optimizer.is_empty() {
            true => self.optimizer(&supernet.parameters),
            false => self.optimizer(&supernet.parameters).with_state(checkpoint.optimizer)?,
        };
        Ok(State {
            phase: checkpoint.phase,
            step: checkpoint.step,
            supernet,
            teacher: checkpoint.teacher,
            average: average.transpose()?,
            optimizer,
            history: checkpoint.history,
            window: checkpoint.window,
            unread: Vec::new(),
            loss: f32::NAN,
        })
    }
}
