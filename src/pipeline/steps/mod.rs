//! The steps of a user's run, one module for each, and what they work on.

pub mod collect;
pub mod deploy;
pub mod fit;
pub mod profile;
pub mod refine;
pub mod search;
pub mod train;

use crate::pipeline::config::PipelineConfig;
use ofa_space::{Model, SearchSpace};
use ofa_train::communication::Communicator;
use ofa_train::data::Dataset;
use ofa_train::device::Device;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A step of the pipeline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Progressive shrinking.
    Train,
    /// Accuracy pairs.
    Collect,
    /// Accuracy predictor.
    Fit,
    /// The predictor in the loop.
    Refine,
    /// Best net for every case.
    Search,
    /// Extraction, export, verification.
    Deploy,
    /// This machine's blocks timed.
    Profile,
}

impl Step {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Step::Train => "train",
            Step::Collect => "collect",
            Step::Fit => "fit",
            Step::Refine => "refine",
            Step::Search => "search",
            Step::Deploy => "deploy",
            Step::Profile => "profile",
        }
    }
}

/// What every step after training works on.
pub(crate) struct Subject<'a> {
    pub space: &'a Arc<dyn SearchSpace>,
    pub dataset: &'a Dataset,
    pub device: &'a Device,
    pub model: &'a Model,
    /// Those that measure subnets and make networks together.
    pub ranks: &'a dyn Communicator,
}

/// The steps of a run, in order.
pub fn steps_of(config: &PipelineConfig) -> Vec<Step> {
    let before = config.chooses_for_host();
    let after = !before && config.deploy.host_nets > 0;
    [
        (Step::Train, true),
        (Step::Collect, true),
        (Step::Fit, true),
        (Step::Profile, before),
        (Step::Refine, config.search.refine.is_some()),
        (Step::Search, true),
        (Step::Deploy, true),
        (Step::Profile, after),
    ]
    .into_iter()
    .filter_map(|(step, is_there)| is_there.then_some(step))
    .collect()
}
