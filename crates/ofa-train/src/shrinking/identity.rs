//! What a training depends on, and which trainings in a folder it may go on from.

use crate::checkpoint::Checkpoint;
use crate::communication;
use crate::error::TrainError;
use crate::shrinking::trainer::Trainer;
use ofa_space::dependencies::{Dependencies, Difference};
use ofa_space::digest;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The dependencies of the training in a folder.
const DEPENDENCIES: &str = "training.json";
/// Where the phases are among the dependencies.
const PHASES: &str = "train.phases[";
/// Settings of how the work is done, not of what comes out.
const OF_THE_WORK: [&str; 5] = ["checkpoint_steps", "keep", "prefetch", "tensorboard", "on_corrupt"];
/// The data set inside the program.
const BUNDLED: &str = "bundled";

/// What a folder holds of a training.
#[derive(Debug)]
pub enum Found {
    /// No checkpoint.
    Nothing,
    /// A checkpoint of this training, or of one that had its first phases.
    This,
    /// A checkpoint of another training; why, as [`TrainError::OtherTraining`].
    Other(TrainError),
}

/// Whether a training differs from an earlier one by phases after its last alone, so that it can go on from it.
pub fn appends_phases(differences: &[Difference]) -> bool {
    differences.iter().all(|difference| difference.before.is_none() && difference.name.starts_with(PHASES))
}

/// How a training is identified in checkpoints.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Data sets in folders count by their content.
    Content,
    /// They count by the folder's spelling and the number of images, as earlier versions had it. The data set inside the
    /// program still does.
    Spelling,
}

impl Trainer<'_> {
    /// Everything that the result depends on besides the code, by name: settings that change it, the space, the images to
    /// learn from, those that phases are reported by, and the model to start from. The place and name of the data do not
    /// count.
    pub fn dependencies(&self) -> Dependencies {
        let mut all = Dependencies::default();
        all.add("train.space", self.space.as_ref());
        let mut config = self.settings();
        if let Some(config) = config.as_object_mut() {
            for field in ["data", "space", "phases"] {
                config.remove(field);
            }
        }
        all.add("train", &config);
        for (index, (phase, plan)) in self.config.phases.iter().zip(&self.phases).enumerate() {
            let name = format!("{PHASES}{index}]");
            all.add(&name, phase);
            all.add(&format!("{name}.steps"), &plan.total_steps());
            all.add(&format!("{name}.schedule"), &(&plan.schedule, plan.schedule_offset));
        }
        let [training, validation] = &self.images;
        all.add("data.classes", &self.dataset.class_names);
        all.add("data.training_images", training);
        all.add("data.validation_images", validation);
        all.add("data.input", &self.dataset.input);
        if let Some(start) = &self.start {
            all.add("train.init.model", &format!("sha256 {}", start.hash));
        }
        all
    }

    /// Makes sure that every rank is about to do the same training with the same program.
    ///
    /// # Errors
    /// [`TrainError::Communication`] on all ranks, naming the first that differs from rank 0.
    pub fn check_ranks(&self) -> Result<(), TrainError> {
        let ranks = self.shards.ranks();
        if ranks.size() > 1 {
            let mut all = self.dependencies();
            all.add("program", &communication::program());
            communication::agree(ranks, &all)?;
        }
        Ok(())
    }

    /// Hash of everything that the result depends on besides the code: configuration, space, data and the model to start
    /// from.
    pub fn fingerprint(&self) -> String {
        let form = if self.config.data == BUNDLED { Form::Spelling } else { Form::Content };
        self.fingerprint_of(self.config.phases.len(), form)
    }

    /// The fingerprint that earlier versions gave this training.
    pub fn earlier_fingerprint(&self) -> String {
        self.fingerprint_of(self.config.phases.len(), Form::Spelling)
    }

    /// The settings that change the result; models count by their content.
    fn settings(&self) -> Value {
        let mut config = serde_json::to_value(self.config).unwrap_or_default();
        if let Some(config) = config.as_object_mut() {
            for field in OF_THE_WORK {
                config.remove(field);
            }
            if let Some(init) = config.get_mut("init").and_then(Value::as_object_mut) {
                init.remove("model");
            }
            if let (Some(teacher), Some(distillation)) = (&self.teacher, config.get_mut("distillation")) {
                distillation["teacher"] = teacher.hash().into();
            }
        }
        config
    }

    /// The fingerprint of a training that ends after some of the phases.
    fn fingerprint_of(&self, phases: usize, form: Form) -> String {
        let space = serde_json::to_string(self.space.as_ref()).unwrap_or_default();
        let mut config = self.settings();
        if let Some(all) = config.get_mut("phases").and_then(Value::as_array_mut) {
            all.truncate(phases);
        }
        let mut data = match form {
            Form::Spelling => format!("{} {}", self.dataset.name, self.dataset.train.len()),
            Form::Content => {
                if let Some(config) = config.as_object_mut() {
                    config.remove("data");
                }
                format!("{:?} {:?}", self.dataset.class_names, self.images)
            }
        };
        data += &format!(" {:?}", self.dataset.input);
        let (split, expected) = (self.dataset.split_record(), self.config.split_record());
        let is_expected = (split.seed, split.validation_images) == (expected.seed, expected.validation_images);
        if !is_expected || self.dataset.depends_on_content() {
            data += &format!(" {}", self.dataset.division());
        }
        let start = self.start.as_ref().map_or("", |start| &start.hash);
        digest::sha256(format!("{space}\n{config}\n{data}\n{start}"))
    }

    /// Whether a checkpoint is of this training: of all of its phases, or of a training that ended after some of them and
    /// did those in the same way.
    pub(super) fn began(&self, checkpoint: &Checkpoint) -> bool {
        let images = self.dataset.train.len();
        let same_beginning = |count: &usize| {
            let alone = self.config.plan_of(&self.config.phases[..*count], images);
            alone == self.phases[..*count] && checkpoint.phase <= *count
        };
        (1..=self.phases.len()).rev().filter(same_beginning).any(|count| {
            [Form::Content, Form::Spelling]
                .iter()
                .any(|form| self.fingerprint_of(count, *form) == checkpoint.fingerprint)
        })
    }

    /// What a folder holds of a training, without changing anything in it.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if there are checkpoints but none is readable.
    pub fn look(&self, folder: &Path) -> Result<Found, TrainError> {
        Ok(match Checkpoint::load_latest(folder)? {
            None => Found::Nothing,
            Some((checkpoint, _)) if self.began(&checkpoint) => Found::This,
            Some(_) => Found::Other(self.other_training(folder)),
        })
    }

    pub(super) fn other_training(&self, folder: &Path) -> TrainError {
        let known = Dependencies::read(&folder.join(DEPENDENCIES));
        let differences: Vec<Difference> = known.map_or_else(Vec::new, |known| self.dependencies().since(&known));
        TrainError::OtherTraining { folder: folder.to_owned(), differences }
    }

    /// Leaves the dependencies beside the checkpoints, for the time when they differ.
    pub(super) fn write_dependencies(&self, folder: &Path) -> Result<(), TrainError> {
        let path: PathBuf = folder.join(DEPENDENCIES);
        let dependencies = self.dependencies();
        match Dependencies::read(&path).as_ref() == Some(&dependencies) {
            true => Ok(()),
            false => dependencies.write(&path).map_err(|source| TrainError::Io { action: "write", path, source }),
        }
    }
}
