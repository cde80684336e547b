//! Networks as pieces of work, each of which the rank that is free first takes. What a piece becomes does not depend on the rank;
//! rank 0 alone keeps it, in the run's folder.

use crate::failure::Failure;
use crate::pipeline::processes::parcel::{self, Files, Parcel};
use crate::pipeline::steps::deploy::maker::{Cut, Maker, Scored};
use ofa_space::{Arch, ArchJson, Model, SearchSpace};
use ofa_train::TrainError;
use ofa_train::checkpoint::Checkpoint;
use ofa_train::communication::{Attend, Communicator, attended, hand_out};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A piece.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// Under which the network is kept.
    pub name: String,
    /// The subnet.
    pub arch: ArchJson,
    /// What is made of it.
    pub wanted: Wanted,
}

/// What is made of a subnet.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wanted {
    /// Its accuracy.
    Score,
    /// The full network, of the supernet as it was when its largest subnet became the teacher.
    Full,
    /// A network as it is delivered.
    Network,
}

/// What pieces need besides the run's configuration, data and supernet.
#[derive(Default)]
pub(crate) struct Supplies {
    /// The supernet that [`Wanted::Full`] is cut from.
    full: Option<Model>,
    /// Checkpoints of networks whose fine-tuning was interrupted, by name of the network.
    checkpoints: Vec<(String, Files)>,
}

/// Names of files in an order.
const FULL: &str = "full";
const TEACHER: &str = "teacher";

/// What became of a piece. The file of a network is in the parcel, or its checkpoints.
#[derive(Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The accuracy.
    Score(f64),
    /// A network.
    Network {
        /// Top-1 before it was fine-tuned.
        as_cut: f64,
        /// Its answers as it is delivered.
        scored: Scored,
        /// What fine-tuning took.
        seconds: f64,
        /// For the user.
        notes: Vec<String>,
    },
    /// It was asked to stop.
    Stopped,
}

/// Name of a network's file in a parcel.
const WEIGHTS: &str = "weights";

/// The network in a parcel.
pub(crate) fn network(files: &Files) -> Result<Model, Failure> {
    let bytes = files.get(WEIGHTS).map(Vec::as_slice).unwrap_or_default();
    Ok(Model::from_bytes(bytes, Path::new("a network that a rank has made"))?)
}

impl Supplies {
    /// On rank 0, from what is in the run's folder: the supernet of the full network and, by name, folders with checkpoints.
    pub fn of(full: Option<&Path>, checkpoints: Vec<(String, PathBuf)>) -> Result<Self, Failure> {
        let full = full.map(Model::load).transpose()?;
        let files = |(name, folder): (String, PathBuf)| Ok((name, parcel::read(Checkpoint::files(&folder))?));
        Ok(Self { full, checkpoints: checkpoints.into_iter().map(files).collect::<Result<_, Failure>>()? })
    }

    /// The files of an order, with the network that teaches the others.
    pub fn files(&self, teacher: Option<&Model>) -> Result<Files, Failure> {
        let mut files = Files::new();
        for (name, model) in [(FULL, self.full.as_ref()), (TEACHER, teacher)] {
            if let Some(model) = model {
                files.insert(name.to_owned(), model.to_bytes(Path::new(name))?);
            }
        }
        for (name, checkpoints) in &self.checkpoints {
            files.extend(checkpoints.iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes.clone())));
        }
        Ok(files)
    }

    /// On other ranks, from the files of an order.
    pub fn from_files(files: Files) -> Result<(Self, Option<Model>), Failure> {
        let (mut supplies, mut teacher) = (Self::default(), None);
        for (name, bytes) in files {
            let model = || Model::from_bytes(&bytes, Path::new("a network of rank 0"));
            match (name.as_str(), name.split_once('/')) {
                (FULL, _) => supplies.full = Some(model()?),
                (TEACHER, _) => teacher = Some(model()?),
                (_, Some((network, file))) => {
                    supplies.checkpoints.push((network.to_owned(), Files::from([(file.to_owned(), bytes)])));
                }
                _ => {}
            }
        }
        Ok((supplies, teacher))
    }

    /// Puts the checkpoints of a network into a folder.
    fn restore(&self, name: &str, folder: &Path) -> Result<(), Failure> {
        let own = self.checkpoints.iter().filter(|(network, _)| network == name).flat_map(|(_, files)| files);
        own.into_iter().try_for_each(|(file, bytes)| {
            let path = folder.join(Path::new(file).file_name().unwrap_or_default());
            std::fs::write(&path, bytes).map_err(|e| Failure::writing(&path, e))
        })
    }
}

/// Hands the pieces out. `checkpoints` gives the folder for those of a network that rank 0 fine-tunes itself; `done` takes what
/// became of the pieces, in their order. Returns whether all are done.
pub(crate) fn hand_out_all(
    ranks: &dyn Communicator,
    (maker, space): (&mut Maker<'_>, &dyn SearchSpace),
    (pieces, supplies): (&[Piece], &Supplies),
    checkpoints: impl Fn(&str) -> PathBuf,
    mut done: impl FnMut(&Piece, Parcel<Outcome>) -> Result<(), Failure>,
    stop: &AtomicBool,
) -> Result<bool, Failure> {
    let work = |index: usize, attend: Attend<'_>| -> Result<Vec<u8>, Failure> {
        let piece = &pieces[index];
        let folder = checkpoints(&piece.name);
        let made = attended(attend, || {
            if piece.wanted == Wanted::Network {
                std::fs::create_dir_all(&folder).map_err(|e| Failure::writing(&folder, e))?;
            }
            make(maker, space, piece, supplies, &folder, stop)
        })?;
        // One with checkpoints is not empty, and stays.
        let _ = std::fs::remove_dir(&folder);
        made?.to_bytes()
    };
    let mut stopped = false;
    let taken = hand_out(ranks, pieces.len(), stop, work, |index, bytes| -> Result<(), Failure> {
        let parcel = Parcel::<Outcome>::from_bytes(&bytes, 0)?;
        if matches!(parcel.content, Outcome::Stopped) {
            // A rank that was asked alone stops all.
            stop.store(true, Ordering::Relaxed);
            stopped = true;
        }
        done(&pieces[index], parcel)
    })?;
    Ok(taken == pieces.len() && !stopped)
}

/// Takes pieces, on other ranks than 0.
pub(crate) fn assist(
    ranks: &dyn Communicator,
    (maker, space): (&mut Maker<'_>, &dyn SearchSpace),
    (pieces, supplies): (&[Piece], &Supplies),
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let work = |index: usize, attend: Attend<'_>| -> Result<Vec<u8>, Failure> {
        let piece = pieces.get(index).ok_or_else(|| Failure::Running(format!("rank 0 has no piece {index}")))?;
        // The run's folder may be out of reach.
        let folder = tempfile::tempdir().map_err(|e| Failure::writing(&std::env::temp_dir(), e))?;
        let made = attended(attend, || {
            supplies.restore(&piece.name, folder.path())?;
            make(maker, space, piece, supplies, folder.path(), stop)
        })?;
        let mut made = made?;
        if matches!(made.content, Outcome::Stopped) {
            made.files = parcel::read(Checkpoint::files(folder.path()))?;
        }
        made.to_bytes()
    };
    hand_out(ranks, pieces.len(), stop, work, |_, _| Ok::<(), Failure>(()))?;
    Ok(())
}

/// Makes a piece, or leaves a checkpoint in the folder.
fn make(
    maker: &mut Maker<'_>,
    space: &dyn SearchSpace,
    piece: &Piece,
    supplies: &Supplies,
    checkpoints: &Path,
    stop: &AtomicBool,
) -> Result<Parcel<Outcome>, Failure> {
    let arch: Arch = space.parse(&piece.arch)?;
    let (Cut { model, scored }, settings) = match piece.wanted {
        Wanted::Score => return Ok(Parcel::of(Outcome::Score(maker.score(&arch)?))),
        Wanted::Full => {
            let full = supplies.full.as_ref();
            let full = full.ok_or_else(|| Failure::Running("the supernet of the full network is missing".into()))?;
            (maker.full(full)?, None)
        }
        Wanted::Network => (maker.cut(&arch)?, maker.settings.clone()),
    };
    let as_cut = scored.top1;
    let Some(settings) = settings else {
        let outcome = Outcome::Network { as_cut, scored, seconds: 0.0, notes: Vec::new() };
        return with_model(outcome, &model);
    };
    let started = Instant::now();
    let mut notes = Vec::new();
    let tuned = maker.fine_tuned(model, &settings, checkpoints, &mut |note| notes.push(note.to_owned()), stop);
    let model = match tuned {
        Err(TrainError::Interrupted) => return Ok(Parcel::of(Outcome::Stopped)),
        tuned => tuned?,
    };
    let seconds = started.elapsed().as_secs_f64();
    let scored = maker.answers(&model)?;
    with_model(Outcome::Network { as_cut, scored, seconds, notes }, &model)
}

fn with_model(content: Outcome, model: &Model) -> Result<Parcel<Outcome>, Failure> {
    let bytes = model.to_bytes(Path::new(WEIGHTS))?;
    Ok(Parcel { content, files: Files::from([(WEIGHTS.to_owned(), bytes)]) })
}
