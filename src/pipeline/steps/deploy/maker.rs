//! How networks leave the supernet: recalibrated, fine-tuned where the configuration asks for it, and scored on test images. What
//! comes out depends on nothing but these; [`Tuning`](crate::pipeline::steps::deploy::tuned_networks::Tuning) keeps it.

use crate::failure::Failure;
use crate::measured_accuracy::RightAnswers;
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::steps::Subject;
use ofa_space::{Arch, Checked, Model};
use ofa_train::data::SplitName;
use ofa_train::evaluation::{Answers, Confusion, EvaluationSettings, Evaluator, Specialised};
use ofa_train::fine_tuning::FineTuningObserver;
use ofa_train::{FineTuner, FineTuning, TrainError};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// What a network answers on the test images.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Scored {
    /// Top-1.
    pub top1: f64,
    /// Class by class.
    pub confusion: Confusion,
    /// Which were right.
    pub right: RightAnswers,
}

impl From<Answers> for Scored {
    fn from(Answers { accuracy, confusion, right }: Answers) -> Self {
        Self { top1: accuracy.top1, confusion, right: RightAnswers::of(&right) }
    }
}

/// A subnet as a network of its own, recalibrated but not fine-tuned.
pub(crate) struct Cut {
    pub model: Model,
    pub scored: Scored,
}

impl From<Specialised> for Cut {
    fn from(Specialised { model, answers }: Specialised) -> Self {
        Self { model, scored: answers.into() }
    }
}

/// Makes networks of a supernet.
pub(crate) struct Maker<'a> {
    subject: &'a Subject<'a>,
    evaluation: EvaluationSettings,
    /// Of the supernet, from its first subnet on.
    evaluator: Option<Evaluator<'a>>,
    /// How to fine-tune, if at all.
    pub settings: Option<Checked<FineTuning>>,
    /// Images to recalibrate the full network on; none where its statistics are its own.
    full_calibration_images: usize,
    /// The full network, once it is known.
    pub teacher: Option<Model>,
}

impl<'a> Maker<'a> {
    /// Makes networks as the configuration asks for.
    pub fn new(subject: &'a Subject<'a>, config: &PipelineConfig) -> Self {
        let evaluation = EvaluationSettings {
            split: SplitName::Test,
            images: None,
            calibration_images: config.deploy.calibration_images,
            seed: config.train.seed,
            ..EvaluationSettings::default()
        };
        let largest = subject.space.info().resolutions.last().copied().unwrap_or_default();
        let full_calibration_images =
            match config.train.teacher_has_own_statistics(largest, subject.dataset.train.len()) {
                true => 0,
                false => evaluation.calibration_images,
            };
        let settings = config.deploy.finetune.clone();
        Self { subject, evaluation, evaluator: None, settings, full_calibration_images, teacher: None }
    }

    /// Top-1 of a subnet.
    pub fn score(&mut self, arch: &Arch) -> Result<f64, Failure> {
        Ok(self.evaluator()?.score(Some(arch))?.top1)
    }

    /// A subnet as a network of its own.
    pub fn cut(&mut self, arch: &Arch) -> Result<Cut, Failure> {
        Ok(self.evaluator()?.specialise(arch)?.into())
    }

    /// The full network, of the supernet as it was when its largest subnet became the teacher.
    pub fn full(&self, supernet: &Model) -> Result<Cut, Failure> {
        let Subject { dataset, device, space, .. } = *self.subject;
        let evaluation = EvaluationSettings { calibration_images: self.full_calibration_images, ..self.evaluation };
        Ok(Evaluator::new(supernet, dataset, device, &evaluation)?.specialise(&space.max_arch())?.into())
    }

    /// What a network of its own answers.
    pub fn answers(&self, model: &Model) -> Result<Scored, Failure> {
        let Subject { dataset, device, .. } = *self.subject;
        Ok(Evaluator::new(model, dataset, device, &self.evaluation)?.answers(None)?.into())
    }

    /// Fine-tunes a network, from the checkpoint in the folder if there is one; its messages go to `note`.
    ///
    /// # Errors
    /// [`TrainError::Interrupted`] once `stop` is set, with a checkpoint in the folder.
    pub fn fine_tuned(
        &self,
        cut: Model,
        settings: &Checked<FineTuning>,
        checkpoints: &Path,
        note: &mut dyn FnMut(&str),
        stop: &AtomicBool,
    ) -> Result<Model, TrainError> {
        let Subject { dataset, device, .. } = *self.subject;
        let mut tuner = FineTuner::new(settings, &cut, dataset, device)?;
        if let Some(teacher) = self.teacher.as_ref().filter(|_| settings.distillation > 0.0) {
            tuner = tuner.with_teacher(teacher)?;
        }
        let tuned = tuner.train(Some(checkpoints), &mut Shown { note: &mut *note }, stop)?;
        if tuned.is_no_worse() {
            return Ok(tuned.model);
        }
        note(&format!(
            "fine-tuning made a network worse on the validation images ({:.2} % before, {:.2} % after): the weights before \
             are kept",
            100.0 * tuned.before.top1,
            100.0 * tuned.after.top1
        ));
        Ok(cut)
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
}

/// Messages of fine-tuning.
struct Shown<'a> {
    note: &'a mut dyn FnMut(&str),
}

impl FineTuningObserver for Shown<'_> {
    fn on_message(&mut self, message: &str) {
        (self.note)(message);
    }
}
