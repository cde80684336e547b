//! Networks that leave the supernet: recalibrated, scored, and fine-tuned where the configuration asks for it. Every arch is
//! done once, also by later runs in the same folder, and an interrupted run goes on where it was.

use super::config::PipelineConfig;
use super::kept::{self, AsCut, Delivered, Kept, Record};
use super::keys::Key;
use super::record::RunFolder;
use super::{Progress, Subject};
use crate::failure::Failure;
use crate::interruption::Saving;
use crate::measured_accuracy::RightAnswers;
use ofa_space::{Arch, Checked, Model, NetSpec, digest};
use ofa_train::checkpoint::Checkpoint;
use ofa_train::data::SplitName;
use ofa_train::evaluation::{Accuracy, Answers, Confusion, EvaluationSettings, Evaluator};
use ofa_train::fine_tuning::FineTuningObserver;
use ofa_train::{FineTuner, FineTuning, TrainError};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A network as it is delivered.
pub(super) struct Tuned {
    /// Under which it is kept.
    pub name: String,
    /// With batch-norm statistics of its own, fine-tuned if the configuration asks for it.
    pub model: Model,
    /// SHA-256 of its file of weights.
    pub weights: String,
    /// Its structure.
    pub net: NetSpec,
    /// Top-1 on test images as it is delivered.
    pub accuracy: f64,
    /// Its answers on test images, class by class.
    pub confusion: Confusion,
    /// Which of them were right.
    pub right: RightAnswers,
    /// Top-1 on test images of the subnet, recalibrated but not fine-tuned.
    pub supernet_accuracy: f64,
    /// Seconds of its fine-tuning; 0 if it was done before.
    pub seconds: f64,
}

/// Takes networks out of a supernet.
pub(super) struct Tuning<'a> {
    subject: &'a Subject<'a>,
    pub kept: Kept,
    /// Digest of the test images.
    test: String,
    evaluation: EvaluationSettings,
    /// Of the supernet, from the first subnet on that is not known.
    evaluator: Option<Evaluator<'a>>,
    settings: Option<Checked<FineTuning>>,
    /// Images to recalibrate the full network on; none where its statistics are its own.
    full_calibration_images: usize,
    teacher: Option<Model>,
    stop: &'a AtomicBool,
}

/// Name of the full network among those that are kept.
const FULL: &str = "full";

impl<'a> Tuning<'a> {
    /// Begins the work that `key` names; what is left of other work goes, with the time that it took.
    pub fn new(
        subject: &'a Subject<'a>,
        config: &PipelineConfig,
        key: &Key,
        folder: &mut RunFolder,
        stop: &'a AtomicBool,
    ) -> Result<Self, Failure> {
        let evaluation = EvaluationSettings {
            split: SplitName::Test,
            images: None,
            calibration_images: config.deploy.calibration_images,
            seed: config.train.seed,
        };
        let largest = subject.space.info().resolutions.last().copied().unwrap_or_default();
        let full_calibration_images =
            match config.train.teacher_has_own_statistics(largest, subject.dataset.train.len()) {
                true => 0,
                false => evaluation.calibration_images,
            };
        let kept = Kept::of(folder)?;
        let path = folder.path(kept::FOLDER);
        let left = std::fs::read_dir(&path).map_err(|e| Failure::Running(format!("{}: {e}", path.display())))?;
        let left: Vec<_> = left.filter_map(Result::ok).map(|entry| entry.path()).collect();
        let files = left.iter().filter(|path| path.is_file()).cloned();
        let checkpoints = left.iter().filter(|path| path.is_dir()).flat_map(|path| Checkpoint::files(path));
        let leftovers: Vec<_> = files.chain(checkpoints).collect();
        if folder.claim(kept::KEY, key, &leftovers)? {
            folder.timings.fine_tuning.clear();
        }
        Ok(Self {
            subject,
            kept,
            test: subject.dataset.test.content()?,
            evaluation,
            evaluator: None,
            settings: config.deploy.finetune.clone(),
            full_calibration_images,
            teacher: None,
            stop,
        })
    }

    /// What the scores are taken on.
    pub fn test_images(&self) -> &str {
        &self.test
    }

    /// The full network as it was before its subnets were trained, when it became the teacher of their training; it
    /// teaches the fine-tuned ones too. `None` where nothing is fine-tuned, or training had no frozen teacher.
    pub fn reference(&mut self, folder: &RunFolder) -> Result<Option<Tuned>, Failure> {
        let path = folder.path(super::train::TEACHER);
        if self.settings.is_none() || !path.is_file() {
            return Ok(None);
        }
        let tuned = match self.known(FULL)? {
            Some(known) => known,
            None => {
                let supernet = Model::load(&path)?;
                let Subject { dataset, device, space, .. } = *self.subject;
                let calibration_images = self.full_calibration_images;
                let evaluation = EvaluationSettings { calibration_images, ..self.evaluation };
                let mut evaluator = Evaluator::new(&supernet, dataset, device, &evaluation)?;
                let full = evaluator.specialise(&space.max_arch())?;
                let weights = self.kept.keep_model(FULL, &full.model)?;
                self.delivered(FULL, full.model, weights, full.answers.accuracy.top1, 0.0, full.answers)?
            }
        };
        self.teacher = Some(tuned.model.clone());
        Ok(Some(tuned))
    }

    /// The network of a subnet.
    pub fn network(&mut self, arch: &Arch, folder: &RunFolder, progress: &mut dyn Progress) -> Result<Tuned, Failure> {
        let name = self.name_of(arch);
        if let Some(known) = self.known(&name)? {
            return Ok(known);
        }
        let tuned_before = self.kept.model(&name)?;
        let as_cut = self.kept.record(&name).as_cut.filter(|score| score.test == self.test);
        if let (Some((model, weights)), Some(as_cut)) = (&tuned_before, &as_cut) {
            let scored = self.score_network(model)?;
            return self.delivered(&name, model.clone(), weights.clone(), as_cut.top1, 0.0, scored);
        }
        let subnet = self.evaluator()?.specialise(arch)?;
        let as_cut = subnet.answers.accuracy.top1;
        let (model, weights, seconds) = match (tuned_before, self.settings.clone()) {
            (Some((model, weights)), _) => (model, weights, 0.0),
            (None, None) => {
                let weights = self.kept.keep_model(&name, &subnet.model)?;
                return self.delivered(&name, subnet.model, weights, as_cut, 0.0, subnet.answers);
            }
            (None, Some(settings)) => {
                let started = Instant::now();
                let model = self.fine_tuned(subnet.model, &name, &settings, folder, progress)?;
                let weights = self.kept.keep_model(&name, &model)?;
                self.forget_checkpoint(&name, folder)?;
                (model, weights, started.elapsed().as_secs_f64())
            }
        };
        let scored = self.score_network(&model)?;
        self.delivered(&name, model, weights, as_cut, seconds, scored)
    }

    /// Accuracy on test images of a subnet that is not delivered.
    pub fn score(&mut self, arch: &Arch) -> Result<f64, Failure> {
        let name = self.name_of(arch);
        let record = self.kept.record(&name);
        if let Some(known) = record.as_cut.as_ref().filter(|score| score.test == self.test) {
            return Ok(known.top1);
        }
        let top1 = self.evaluator()?.score(Some(arch))?.top1;
        let as_cut = Some(AsCut { test: self.test.clone(), top1 });
        self.kept.write(&name, &Record { as_cut, ..record })?;
        Ok(top1)
    }

    fn name_of(&self, arch: &Arch) -> String {
        digest::sha256(self.subject.space.format(arch).to_string())[..16].to_owned()
    }

    fn evaluator(&mut self) -> Result<&mut Evaluator<'a>, Failure> {
        let evaluator = match self.evaluator.take() {
            Some(evaluator) => evaluator,
            None => {
                let Subject { model, dataset, device, .. } = *self.subject;
                Evaluator::new(model, dataset, device, &self.evaluation)?
            }
        };
        Ok(self.evaluator.insert(evaluator))
    }

    /// A network of which everything is known.
    fn known(&self, name: &str) -> Result<Option<Tuned>, Failure> {
        let Record { as_cut: Some(as_cut), delivered: Some(delivered), .. } = self.kept.record(name) else {
            return Ok(None);
        };
        if as_cut.test != self.test || delivered.test != self.test {
            return Ok(None);
        }
        let Some((model, weights)) = self.kept.model(name)?.filter(|(_, weights)| *weights == delivered.weights) else {
            return Ok(None);
        };
        Ok(Some(Tuned {
            name: name.to_owned(),
            net: model.net(None)?,
            model,
            weights,
            accuracy: delivered.top1,
            confusion: delivered.confusion,
            right: delivered.right,
            supernet_accuracy: as_cut.top1,
            seconds: 0.0,
        }))
    }

    /// Records a network with its scores.
    fn delivered(
        &self,
        name: &str,
        model: Model,
        weights: String,
        supernet_accuracy: f64,
        seconds: f64,
        Answers { accuracy: Accuracy { top1, .. }, confusion, right }: Answers,
    ) -> Result<Tuned, Failure> {
        let right = RightAnswers::of(&right);
        let test = || self.test.clone();
        let record = Record {
            as_cut: Some(AsCut { test: test(), top1: supernet_accuracy }),
            delivered: Some(Delivered {
                test: test(),
                weights: weights.clone(),
                top1,
                confusion: confusion.clone(),
                right: right.clone(),
            }),
            ..self.kept.record(name)
        };
        self.kept.write(name, &record)?;
        let net = model.net(None)?;
        let name = name.to_owned();
        Ok(Tuned { name, model, weights, net, accuracy: top1, confusion, right, supernet_accuracy, seconds })
    }

    fn score_network(&self, model: &Model) -> Result<Answers, Failure> {
        let Subject { dataset, device, .. } = *self.subject;
        Ok(Evaluator::new(model, dataset, device, &self.evaluation)?.answers(None)?)
    }

    /// Fine-tunes a network, or goes on from its checkpoint.
    fn fine_tuned(
        &self,
        cut: Model,
        name: &str,
        settings: &Checked<FineTuning>,
        folder: &RunFolder,
        progress: &mut dyn Progress,
    ) -> Result<Model, Failure> {
        let Subject { dataset, device, .. } = *self.subject;
        let mut tuner = FineTuner::new(settings, &cut, dataset, device)?;
        if let Some(teacher) = self.teacher.as_ref().filter(|_| settings.distillation > 0.0) {
            tuner = tuner.with_teacher(teacher)?;
        }
        let checkpoints = folder.path(&checkpoint_of(name));
        std::fs::create_dir_all(&checkpoints).map_err(|e| Failure::writing(&checkpoints, e))?;
        let saving = Saving::begin();
        let tuned = tuner.train(Some(&checkpoints), &mut Shown { progress }, self.stop);
        drop(saving);
        let tuned = tuned.map_err(|error| match error {
            TrainError::Interrupted => folder.interrupted(", the checkpoint is saved"),
            other => other.into(),
        })?;
        if tuned.is_no_worse() {
            return Ok(tuned.model);
        }
        progress.note(&format!(
            "fine-tuning made a network worse on the validation images ({:.2} % before, {:.2} % after): the weights before \
             are kept",
            100.0 * tuned.before.top1,
            100.0 * tuned.after.top1
        ));
        Ok(cut)
    }

    /// Removes the checkpoint of a network that is finished.
    fn forget_checkpoint(&self, name: &str, folder: &RunFolder) -> Result<(), Failure> {
        let checkpoints = folder.path(&checkpoint_of(name));
        for file in Checkpoint::files(&checkpoints) {
            std::fs::remove_file(&file).map_err(|e| Failure::writing(&file, e))?;
        }
        // The folder is empty now; one that something else was put into stays.
        let _ = std::fs::remove_dir(&checkpoints);
        Ok(())
    }
}

fn checkpoint_of(name: &str) -> String {
    format!("{}/{name}", kept::FOLDER)
}

/// Messages of fine-tuning among those of the pipeline, whose bar counts networks.
struct Shown<'a> {
    progress: &'a mut dyn Progress,
}

impl FineTuningObserver for Shown<'_> {
    fn on_message(&mut self, message: &str) {
        self.progress.note(message);
    }
}
