//! A run on several ranks: rank 0 runs the pipeline, and asks the others where they can help.

use super::collect;
use super::config::PipelineConfig;
use crate::failure::Failure;
use ofa_space::Model;
use ofa_train::TrainError;
use ofa_train::collection::clustered_archs;
use ofa_train::communication::{CommunicationError, Communicator};
use ofa_train::evaluation::Evaluator;
use ofa_train::shrinking::{Silent, Trainer};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// What rank 0 asks for.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    /// To train, or to go on with it.
    Train,
    /// To measure the subnets of the plan after the first `done` of them, of the model in the next message.
    Collect { done: usize },
    /// Nothing more.
    End,
}

impl Order {
    /// Gives the order to all others.
    pub fn give(&self, ranks: &dyn Communicator) -> Result<(), Failure> {
        let order = serde_json::to_vec(self).map_err(|e| Failure::Running(e.to_string()))?;
        tell(ranks, &order)
    }

    fn take(ranks: &dyn Communicator) -> Result<Self, Failure> {
        let order = ranks.receive(0).map_err(TrainError::from)?;
        serde_json::from_slice(&order).map_err(|e| Failure::Running(format!("an order of rank 0: {e}")))
    }
}

/// Sends a message to all other ranks. They wait for it without work, which may be long, and without a load on their cores.
///
/// # Errors
/// [`Failure::Running`] if a rank is gone.
pub fn tell(ranks: &dyn Communicator, message: &[u8]) -> Result<(), Failure> {
    (1..ranks.size()).try_for_each(|rank| ranks.send(rank, message)).map_err(|e| TrainError::from(e).into())
}

/// What every rank but the first does: it waits for the plan of rank 0, and then for what is to be done.
///
/// # Errors
/// [`Failure`] of this rank; what all ranks fail with is left to rank 0.
pub fn assist(ranks: &dyn Communicator, backend: &str, stop: &AtomicBool) -> Result<(), Failure> {
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
    if let Err(TrainError::Communication(CommunicationError::Differs { .. })) = trainer.check_ranks() {
        return Ok(());
    }
    loop {
        match Order::take(ranks)? {
            Order::Train => match trainer.train(None, &mut Silent, stop) {
                Err(TrainError::Interrupted | TrainError::Diverged { .. }) => return Ok(()),
                other => drop(other?),
            },
            Order::Collect { done } => {
                let bytes = ranks.receive(0).map_err(TrainError::from)?;
                let model = Model::from_bytes(&bytes, Path::new("the supernet of rank 0"))?;
                let settings = collect::evaluation(&config);
                let archs = clustered_archs(trainer.space().as_ref(), config.collect.count, settings.seed)?;
                let missing = archs.get(done..).unwrap_or_default();
                let mut evaluator = Evaluator::new(&model, &dataset, &device, &settings)?;
                evaluator.collect_on(ranks, missing, stop, |_, _| Ok::<(), Failure>(()))?;
            }
            Order::End => return Ok(()),
        }
    }
}
