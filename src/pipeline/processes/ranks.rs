//! A run on several ranks: rank 0 runs the pipeline, and asks the others where they can help. They train, measure subnets, and make
//! networks of them; rank 0 alone writes.

use crate::failure::Failure;
use crate::interruption::Saving;
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::processes::parcel;
use crate::pipeline::processes::parcel::{Files, Parcel};
use crate::pipeline::processes::pieces::{self, Piece, Supplies};
use crate::pipeline::steps::deploy::maker::Maker;
use crate::pipeline::steps::{Subject, collect};
use ofa_space::dependencies::Dependencies;
use ofa_space::{Arch, ArchJson, Model};
use ofa_train::TrainError;
use ofa_train::communication::{self, CommunicationError, Communicator};
use ofa_train::data::Dataset;
use ofa_train::evaluation::Evaluator;
use ofa_train::shrinking::{Silent, Trainer};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// What rank 0 asks for. The first orders are [`Train`](Self::Train), if at all, and [`Supernet`](Self::Supernet).
#[derive(Serialize, Deserialize)]
pub(crate) enum Order {
    /// To train, or to go on with it.
    Train,
    /// To work with the trained supernet, which is the only file.
    Supernet,
    /// To measure subnets on validation images.
    Measure(Vec<ArchJson>),
    /// To make networks, with the files that they need.
    Make(Vec<Piece>),
    /// Nothing more.
    End,
}

impl Order {
    /// Gives the order to all others.
    pub fn give(self, ranks: &dyn Communicator) -> Result<(), Failure> {
        self.give_with(Files::new(), ranks)
    }

    /// Gives the order with files.
    pub fn give_with(self, files: Files, ranks: &dyn Communicator) -> Result<(), Failure> {
        match ranks.size() {
            1 => Ok(()),
            _ => tell(ranks, &Parcel { content: self, files }.to_bytes()?),
        }
    }

    fn take(ranks: &dyn Communicator) -> Result<Parcel<Self>, Failure> {
        Parcel::from_bytes(&ranks.receive(0).map_err(TrainError::from)?, 0)
    }
}

/// Sends a message to all other ranks. They wait for it without work, which may be long, and without a load on their cores.
///
/// # Errors
/// [`Failure::Running`] if a rank is gone.
pub fn tell(ranks: &dyn Communicator, message: &[u8]) -> Result<(), Failure> {
    (1..ranks.size()).try_for_each(|rank| ranks.send(rank, message)).map_err(|e| TrainError::from(e).into())
}

/// Gives the others the file of the trained supernet.
pub(crate) fn share_supernet(file: &Path, ranks: &dyn Communicator) -> Result<(), Failure> {
    match ranks.size() {
        1 => Ok(()),
        _ => Order::Supernet.give_with(parcel::read([file])?, ranks),
    }
}

/// [`Evaluator::collect`] on all ranks of a run, with an evaluator as [`collect::evaluation`] has it.
pub(crate) fn measure(
    subject: &Subject<'_>,
    evaluator: &mut Evaluator<'_>,
    archs: &[Arch],
    stop: &AtomicBool,
    on_pair: impl FnMut(&Arch, f64) -> Result<(), Failure>,
) -> Result<usize, Failure> {
    Order::Measure(archs.iter().map(|arch| subject.space.format(arch)).collect()).give(subject.ranks)?;
    evaluator.collect_on(subject.ranks, archs, stop, on_pair)
}

/// Makes sure that all ranks have the same program, settings and images.
///
/// # Errors
/// [`TrainError::Communication`] on all ranks, naming the first that differs from rank 0.
pub(crate) fn check(trainer: &Trainer<'_>, dataset: &Dataset, ranks: &dyn Communicator) -> Result<(), TrainError> {
    trainer.check_ranks()?;
    if ranks.size() == 1 {
        return Ok(());
    }
    let mut own = Dependencies::default();
    own.add("data.test_images", &dataset.test.content()?);
    Ok(communication::agree(ranks, &own)?)
}

/// What every rank but the first does: it waits for the plan of rank 0, and then for what is to be done.
///
/// # Errors
/// [`Failure`] of this rank; what all ranks fail with is left to rank 0.
pub fn assist(ranks: &dyn Communicator, backend: &str, stop: &AtomicBool) -> Result<(), Failure> {
    // Asked to stop, rank 0 may still save something; this rank ends with it.
    let _saving = Saving::begin();
    let plan = ranks.receive(0).map_err(TrainError::from)?;
    if plan.is_empty() {
        return Ok(());
    }
    let config = PipelineConfig::parse(&String::from_utf8_lossy(&plan), "the plan of rank 0")?;
    let device = ofa_train::device::open(backend)?;
    let dataset = config.train.load_data()?;
    let trainer = Trainer::new(&config.train, &dataset, &device)?;
    let trainer = match trainer.on(ranks) {
        Err(TrainError::Communication(CommunicationError::Division { .. })) => return Ok(()),
        other => other?,
    };
    match check(&trainer, &dataset, ranks) {
        Err(TrainError::Communication(CommunicationError::Differs { .. })) => return Ok(()),
        other => other?,
    }
    let supernet = loop {
        let Parcel { content, files } = Order::take(ranks)?;
        match content {
            Order::Train => match trainer.train(None, &mut Silent, stop) {
                Err(TrainError::Interrupted | TrainError::Diverged { .. }) => return Ok(()),
                other => drop(other?),
            },
            Order::Supernet => break files.into_values().next().unwrap_or_default(),
            Order::Measure(_) | Order::Make(_) | Order::End => return Ok(()),
        }
    };
    let model = &Model::from_bytes(&supernet, Path::new("the supernet of rank 0"))?;
    drop(supernet);
    let (space, dataset, device) = (trainer.space(), &dataset, &device);
    let subject = Subject { space, dataset, device, model, ranks };
    let mut evaluator: Option<Evaluator<'_>> = None;
    loop {
        let Parcel { content, files } = Order::take(ranks)?;
        match content {
            Order::Measure(archs) => {
                let archs = archs.iter().map(|arch| space.parse(arch)).collect::<Result<Vec<Arch>, _>>()?;
                let evaluator = match &mut evaluator {
                    Some(evaluator) => evaluator,
                    none => none.insert(Evaluator::new(model, dataset, device, &collect::evaluation(&config))?),
                };
                evaluator.collect_on(ranks, &archs, stop, |_, _| Ok::<(), Failure>(()))?;
            }
            Order::Make(pieces) => {
                let (supplies, teacher) = Supplies::from_files(files)?;
                let mut maker = Maker::new(&subject, &config);
                maker.teacher = teacher;
                pieces::assist(ranks, (&mut maker, space.as_ref()), (&pieces, &supplies), stop)?;
            }
            Order::Train | Order::Supernet | Order::End => return Ok(()),
        }
    }
}
