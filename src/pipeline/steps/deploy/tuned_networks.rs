//! Networks that leave the supernet: recalibrated, scored, and fine-tuned where the configuration asks for it. Every arch is
//! done once, also by later runs in the same folder, and an interrupted run goes on where it was.

use crate::failure::Failure;
use crate::interruption::Saving;
use crate::measured_accuracy::RightAnswers;
use crate::pipeline::Progress;
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::folder::RunFolder;
use crate::pipeline::folder::kept_networks::{self, AsCut, Delivered, Kept, Record};
use crate::pipeline::folder::keys::Key;
use crate::pipeline::processes::parcel::Parcel;
use crate::pipeline::processes::pieces::{self, Outcome, Piece, Supplies, Wanted};
use crate::pipeline::processes::ranks::Order;
use crate::pipeline::steps::Subject;
use crate::pipeline::steps::deploy::maker::{Cut, Maker, Scored};
use ofa_space::{Arch, Checked, Model, NetSpec, atomic_file, digest};
use ofa_train::checkpoint::Checkpoint;
use ofa_train::evaluation::Confusion;
use ofa_train::{FineTuning, TrainError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A network as it is delivered.
pub(crate) struct Tuned {
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
pub(crate) struct Tuning<'a> {
    subject: &'a Subject<'a>,
    pub kept: Kept,
    /// Digest of the test images.
    test: String,
    maker: Maker<'a>,
    /// Seconds of the networks that ranks have fine-tuned, by name.
    seconds: BTreeMap<String, f64>,
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
        let kept = Kept::of(folder)?;
        let path = folder.path(kept_networks::FOLDER);
        let left = std::fs::read_dir(&path).map_err(|e| Failure::Running(format!("{}: {e}", path.display())))?;
        let left: Vec<_> = left.filter_map(Result::ok).map(|entry| entry.path()).collect();
        let files = left.iter().filter(|path| path.is_file()).cloned();
        let checkpoints = left.iter().filter(|path| path.is_dir()).flat_map(|path| Checkpoint::files(path));
        let leftovers: Vec<_> = files.chain(checkpoints).collect();
        if folder.claim(kept_networks::KEY, key, &leftovers)? {
            folder.timings.fine_tuning.clear();
        }
        Ok(Self {
            subject,
            kept,
            test: subject.dataset.test.content()?,
            maker: Maker::new(subject, config),
            seconds: BTreeMap::new(),
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
        let path = folder.path(crate::pipeline::steps::train::TEACHER);
        if self.maker.settings.is_none() || !path.is_file() {
            return Ok(None);
        }
        let tuned = match self.known(FULL)? {
            Some(known) => known,
            None => {
                let Cut { model, scored } = self.maker.full(&Model::load(&path)?)?;
                let weights = self.kept.keep_model(FULL, &model)?;
                let as_cut = scored.top1;
                delivered((&self.kept, &self.test), FULL, (model, weights), as_cut, 0.0, scored)?
            }
        };
        self.maker.teacher = Some(tuned.model.clone());
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
        if let (Some(network), Some(as_cut)) = (&tuned_before, &as_cut) {
            let scored = self.maker.answers(&network.0)?;
            return delivered((&self.kept, &self.test), &name, network.clone(), as_cut.top1, 0.0, scored);
        }
        let Cut { model, scored } = self.maker.cut(arch)?;
        let as_cut = scored.top1;
        let (network, seconds) = match (tuned_before, self.maker.settings.clone()) {
            (Some(network), _) => (network, 0.0),
            (None, None) => {
                let weights = self.kept.keep_model(&name, &model)?;
                return delivered((&self.kept, &self.test), &name, (model, weights), as_cut, 0.0, scored);
            }
            (None, Some(settings)) => {
                let started = Instant::now();
                let model = self.fine_tuned(model, &name, &settings, folder, progress)?;
                let weights = self.kept.keep_model(&name, &model)?;
                forget_checkpoint(&name, folder)?;
                ((model, weights), started.elapsed().as_secs_f64())
            }
        };
        let scored = self.maker.answers(&network.0)?;
        delivered((&self.kept, &self.test), &name, network, as_cut, seconds, scored)
    }

    /// Accuracy on test images of a subnet that is not delivered.
    pub fn score(&mut self, arch: &Arch) -> Result<f64, Failure> {
        let name = self.name_of(arch);
        let record = self.kept.record(&name);
        if let Some(known) = record.as_cut.as_ref().filter(|score| score.test == self.test) {
            return Ok(known.top1);
        }
        let top1 = self.maker.score(arch)?;
        let as_cut = Some(AsCut { test: self.test.clone(), top1 });
        self.kept.write(&name, &Record { as_cut, ..record })?;
        Ok(top1)
    }

    fn name_of(&self, arch: &Arch) -> String {
        digest::sha256(self.subject.space.format(arch).to_string())[..16].to_owned()
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
            seconds: self.seconds.get(name).copied().unwrap_or_default(),
        }))
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
        let checkpoints = folder.path(&checkpoint_of(name));
        std::fs::create_dir_all(&checkpoints).map_err(|e| Failure::writing(&checkpoints, e))?;
        let saving = Saving::begin();
        let tuned = self.maker.fine_tuned(cut, settings, &checkpoints, &mut |note| progress.note(note), self.stop);
        drop(saving);
        tuned.map_err(|error| match error {
            TrainError::Interrupted => folder.interrupted(CHECKPOINT_IS_SAVED),
            other => other.into(),
        })
    }

    /// Has all ranks make what is missing: scores of the smallest and the largest subnet, the full network, and the networks of these
    /// archs. All are then known.
    pub fn make_on_ranks(
        &mut self,
        archs: &[Arch],
        folder: &RunFolder,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        if self.subject.ranks.size() == 1 {
            return Ok(());
        }
        let space = self.subject.space;
        let piece = |name: String, arch: &Arch, wanted| Piece { name, arch: space.format(arch), wanted };
        let is_scored = |name: &String| self.kept.record(name).as_cut.is_some_and(|score| score.test == self.test);
        let extremes = [space.min_arch(), space.max_arch()];
        let unscored = extremes.iter().map(|arch| (self.name_of(arch), arch)).filter(|(name, _)| !is_scored(name));
        let mut pieces: Vec<Piece> = unscored.map(|(name, arch)| piece(name, arch, Wanted::Score)).collect();
        let teacher = folder.path(crate::pipeline::steps::train::TEACHER);
        if self.maker.settings.is_some() && teacher.is_file() && self.known(FULL)?.is_none() {
            pieces.push(piece(FULL.to_owned(), &space.max_arch(), Wanted::Full));
        }
        self.make_pieces(&pieces, folder, progress)?;
        // It teaches the others.
        self.reference(folder)?;
        let mut pieces: Vec<Piece> = Vec::new();
        for arch in archs {
            let name = self.name_of(arch);
            let is_listed = pieces.iter().any(|piece| piece.name == name);
            // One that is fine-tuned, but not scored on these images, is left to this rank.
            if !is_listed && self.known(&name)?.is_none() && self.kept.model(&name)?.is_none() {
                pieces.push(piece(name, arch, Wanted::Network));
            }
        }
        self.make_pieces(&pieces, folder, progress)
    }

    fn make_pieces(
        &mut self,
        pieces: &[Piece],
        folder: &RunFolder,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        if pieces.is_empty() {
            return Ok(());
        }
        let Self { subject: Subject { space, ranks, .. }, kept, test, maker, seconds: made_in, stop } = self;
        let checkpoints_of = |name: &str| folder.path(&checkpoint_of(name));
        let networks = pieces.iter().filter(|piece| piece.wanted == Wanted::Network);
        let checkpoints: Vec<(String, PathBuf)> =
            networks.map(|piece| (piece.name.clone(), checkpoints_of(&piece.name))).collect();
        let full = pieces.iter().any(|piece| piece.wanted == Wanted::Full);
        let full = full.then(|| folder.path(crate::pipeline::steps::train::TEACHER));
        let teacher = maker.teacher.as_ref().filter(|_| !checkpoints.is_empty());
        let supplies = Supplies::of(full.as_deref(), checkpoints)?;
        let files = supplies.files(teacher)?;
        Order::Make(pieces.to_vec()).give_with(files, *ranks)?;
        progress.begin("networks", pieces.len());
        let mut done = 0;
        let done_with = |Piece { name, .. }: &Piece, Parcel { content, files }: Parcel<Outcome>| {
            match content {
                Outcome::Score(top1) => {
                    let as_cut = Some(AsCut { test: test.clone(), top1 });
                    kept.write(name, &Record { as_cut, ..kept.record(name) })?;
                }
                Outcome::Network { as_cut, scored, seconds, notes } => {
                    notes.iter().for_each(|note| progress.note(note));
                    let model = pieces::network(&files)?;
                    let weights = kept.keep_model(name, &model)?;
                    forget_checkpoint(name, folder)?;
                    delivered((&*kept, &*test), name, (model, weights), as_cut, seconds, scored)?;
                    made_in.insert(name.clone(), seconds);
                }
                Outcome::Stopped => {
                    let checkpoints = checkpoints_of(name);
                    std::fs::create_dir_all(&checkpoints).map_err(|e| Failure::writing(&checkpoints, e))?;
                    for (file, bytes) in &files {
                        let path = checkpoints.join(file);
                        atomic_file::write(&path, bytes).map_err(|e| Failure::writing(&path, e))?;
                    }
                }
            }
            done += 1;
            progress.advance(done, name);
            Ok(())
        };
        let saving = maker.settings.is_some().then(Saving::begin);
        let work = (pieces, &supplies);
        let all = pieces::hand_out_all(*ranks, (maker, space.as_ref()), work, checkpoints_of, done_with, stop);
        drop(saving);
        progress.end();
        match all? {
            true => Ok(()),
            false => Err(folder.interrupted(CHECKPOINT_IS_SAVED)),
        }
    }
}

/// Records a network with its scores.
fn delivered(
    (kept, test): (&Kept, &String),
    name: &str,
    (model, weights): (Model, String),
    supernet_accuracy: f64,
    seconds: f64,
    Scored { top1, confusion, right }: Scored,
) -> Result<Tuned, Failure> {
    let record = Record {
        as_cut: Some(AsCut { test: test.clone(), top1: supernet_accuracy }),
        delivered: Some(Delivered {
            test: test.clone(),
            weights: weights.clone(),
            top1,
            confusion: confusion.clone(),
            right: right.clone(),
        }),
        ..kept.record(name)
    };
    kept.write(name, &record)?;
    let net = model.net(None)?;
    let name = name.to_owned();
    Ok(Tuned { name, model, weights, net, accuracy: top1, confusion, right, supernet_accuracy, seconds })
}

/// Removes the checkpoint of a network that is finished.
fn forget_checkpoint(name: &str, folder: &RunFolder) -> Result<(), Failure> {
    let checkpoints = folder.path(&checkpoint_of(name));
    for file in Checkpoint::files(&checkpoints) {
        std::fs::remove_file(&file).map_err(|e| Failure::writing(&file, e))?;
    }
    // The folder is empty now; one that something else was put into stays.
    let _ = std::fs::remove_dir(&checkpoints);
    Ok(())
}

/// What is left of a network whose fine-tuning is interrupted.
const CHECKPOINT_IS_SAVED: &str = ", the checkpoint is saved";

fn checkpoint_of(name: &str) -> String {
    format!("{}/{name}", kept_networks::FOLDER)
}
