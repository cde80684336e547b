//! Networks that leave the supernet: recalibrated, scored, and fine-tuned where the configuration asks for it. Every arch is
//! done once, and a fine-tuned network is kept in the run's folder, so that an interrupted run goes on where it was.

use super::config::PipelineConfig;
use super::keys::Key;
use super::record::RunFolder;
use super::{Progress, Subject};
use crate::failure::Failure;
use ofa_space::{Arch, Checked, Model, NetSpec};
use ofa_space::{atomic_file, digest};
use ofa_train::checkpoint::Checkpoint;
use ofa_train::data::SplitName;
use ofa_train::evaluation::{Confusion, EvaluationSettings, Evaluator};
use ofa_train::fine_tuning::FineTuningObserver;
use ofa_train::{FineTuner, FineTuning, TrainError};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A network as it is delivered.
#[derive(Clone)]
pub(super) struct Tuned {
    /// With batch-norm statistics of its own, fine-tuned if the configuration asks for it.
    pub model: Model,
    /// Its structure.
    pub net: NetSpec,
    /// Top-1 on test images as it is delivered.
    pub accuracy: f64,
    /// Its answers on test images, class by class.
    pub confusion: Confusion,
    /// Top-1 on test images of the subnet, recalibrated but not fine-tuned.
    pub supernet_accuracy: f64,
    /// Seconds of its fine-tuning; 0 if it was done before.
    pub seconds: f64,
}

/// Folder of the fine-tuned networks in a run's folder.
const FOLDER: &str = "tuned";
/// Names the job that they belong to.
const KEY: &str = "tuned/key";

/// Takes networks out of a supernet.
pub(super) struct Tuning<'a> {
    subject: &'a Subject<'a>,
    evaluator: Evaluator<'a>,
    settings: Option<Checked<FineTuning>>,
    evaluation: EvaluationSettings,
    teacher: Option<Model>,
    known: HashMap<Arch, Tuned>,
    stop: &'a AtomicBool,
}

impl<'a> Tuning<'a> {
    /// Begins the work that `key` names; what is left of other work goes.
    pub fn new(
        subject: &'a Subject<'a>,
        config: &PipelineConfig,
        key: &Key,
        folder: &RunFolder,
        stop: &'a AtomicBool,
    ) -> Result<Self, Failure> {
        let evaluation = EvaluationSettings {
            split: SplitName::Test,
            images: None,
            calibration_images: config.deploy.calibration_images,
            seed: config.train.seed,
        };
        let evaluator = Evaluator::new(subject.model, subject.dataset, subject.device, &evaluation)?;
        let settings = config.deploy.finetune.clone();
        if settings.is_some() {
            let path = folder.path(FOLDER);
            std::fs::create_dir_all(&path).map_err(|e| Failure::writing(&path, e))?;
            let left = std::fs::read_dir(&path).map_err(|e| Failure::Running(format!("{}: {e}", path.display())))?;
            let left: Vec<_> = left.filter_map(Result::ok).map(|entry| entry.path()).collect();
            let files = left.iter().filter(|path| path.is_file()).cloned();
            let checkpoints = left.iter().filter(|path| path.is_dir()).flat_map(|path| Checkpoint::files(path));
            let leftovers: Vec<_> = files.chain(checkpoints).collect();
            folder.claim(KEY, key, &leftovers)?;
        }
        Ok(Self { subject, evaluator, settings, evaluation, teacher: None, known: HashMap::new(), stop })
    }

    /// The full network as it was before its subnets were trained, when it became the teacher of their training; it
    /// teaches the fine-tuned ones too. `None` where nothing is fine-tuned, or training had no frozen teacher.
    pub fn reference(&mut self, folder: &RunFolder) -> Result<Option<Tuned>, Failure> {
        let path = folder.path(super::train::TEACHER);
        if self.settings.is_none() || !path.is_file() {
            return Ok(None);
        }
        let supernet = Model::load(&path)?;
        let Subject { dataset, device, space, .. } = *self.subject;
        let mut evaluator = Evaluator::new(&supernet, dataset, device, &self.evaluation)?;
        let full = evaluator.specialise(&space.max_arch())?;
        self.teacher = Some(full.model.clone());
        let net = full.model.net(None)?;
        let accuracy = full.accuracy.top1;
        let confusion = full.confusion;
        Ok(Some(Tuned { model: full.model, net, accuracy, confusion, supernet_accuracy: accuracy, seconds: 0.0 }))
    }

    /// The network of a subnet.
    pub fn network(&mut self, arch: &Arch, folder: &RunFolder, progress: &mut dyn Progress) -> Result<Tuned, Failure> {
        if let Some(known) = self.known.get(arch) {
            return Ok(Tuned { seconds: 0.0, ..known.clone() });
        }
        let subnet = self.evaluator.specialise(arch)?;
        let tuned = match self.settings.clone() {
            None => Tuned {
                net: subnet.model.net(None)?,
                model: subnet.model,
                accuracy: subnet.accuracy.top1,
                confusion: subnet.confusion,
                supernet_accuracy: subnet.accuracy.top1,
                seconds: 0.0,
            },
            Some(settings) => {
                let text = self.subject.space.format(arch).to_string();
                let name = &digest::sha256(text)[..16];
                self.tuned(subnet.model, subnet.accuracy.top1, name, &settings, folder, progress)?
            }
        };
        self.known.insert(arch.clone(), tuned.clone());
        Ok(tuned)
    }

    /// Accuracy on test images of a subnet that is not delivered.
    pub fn score(&mut self, arch: &Arch) -> Result<f64, Failure> {
        Ok(self.evaluator.score(Some(arch))?.top1)
    }

    /// Fine-tunes a network, or reads it if that was done before.
    fn tuned(
        &self,
        cut: Model,
        supernet_accuracy: f64,
        name: &str,
        settings: &Checked<FineTuning>,
        folder: &RunFolder,
        progress: &mut dyn Progress,
    ) -> Result<Tuned, Failure> {
        let Subject { dataset, device, .. } = *self.subject;
        let started = Instant::now();
        let path = folder.path(&format!("{FOLDER}/{name}.safetensors"));
        let checksum = path.with_extension("sha256");
        let mut seconds = 0.0;
        let model = match is_whole(&path, &checksum) {
            true => Model::load(&path)?,
            false => {
                let mut tuner = FineTuner::new(settings, &cut, dataset, device)?;
                if let Some(teacher) = self.teacher.as_ref().filter(|_| settings.distillation > 0.0) {
                    tuner = tuner.with_teacher(teacher)?;
                }
                let checkpoints = folder.path(&format!("{FOLDER}/{name}"));
                std::fs::create_dir_all(&checkpoints).map_err(|e| Failure::writing(&checkpoints, e))?;
                let tuned = tuner.train(Some(&checkpoints), &mut Shown { progress }, self.stop);
                let tuned = tuned.map_err(|error| match error {
                    TrainError::Interrupted => Failure::Interrupted(
                        "interrupted, the checkpoint is saved: run the same command with --resume".into(),
                    ),
                    other => other.into(),
                })?;
                let better = match tuned.is_no_worse() {
                    true => tuned.model,
                    false => {
                        progress.note(&format!(
                            "fine-tuning made a network worse on the validation images ({:.2} % before, {:.2} % after): the \
                             weights before are kept",
                            100.0 * tuned.before.top1,
                            100.0 * tuned.after.top1
                        ));
                        cut
                    }
                };
                better.save(&path)?;
                let digest = digest::sha256_of_file(&path).map_err(|e| Failure::writing(&path, e))?;
                atomic_file::write(&checksum, digest.as_bytes()).map_err(|e| Failure::writing(&checksum, e))?;
                for file in Checkpoint::files(&checkpoints) {
                    std::fs::remove_file(&file).map_err(|e| Failure::writing(&file, e))?;
                }
                // The folder is empty now; one that something else was put into stays.
                let _ = std::fs::remove_dir(&checkpoints);
                seconds = started.elapsed().as_secs_f64();
                better
            }
        };
        let (accuracy, confusion) = Evaluator::new(&model, dataset, device, &self.evaluation)?.score_by_class(None)?;
        Ok(Tuned { net: model.net(None)?, model, accuracy: accuracy.top1, confusion, supernet_accuracy, seconds })
    }
}

/// Whether a network is there as it was written. Earlier versions wrote no checksum.
fn is_whole(path: &Path, checksum: &Path) -> bool {
    let written = std::fs::read_to_string(checksum).ok();
    digest::sha256_of_file(path).is_ok_and(|found| written.is_none_or(|written| written == found))
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
