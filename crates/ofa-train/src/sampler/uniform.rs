//! Uniform sampling: the paper.

use super::{Request, Sampler, SamplerEntry};
use crate::error::TrainError;
use ofa_space::{Arch, InvalidSetting, Settings};
use serde::{Deserialize, Serialize};

/// Every gene uniformly at random (the paper).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uniform {}

impl Settings for Uniform {
    fn check(&self) -> Result<(), InvalidSetting> {
        Ok(())
    }
}

#[typetag::serde(name = "uniform")]
impl Sampler for Uniform {
    fn sample(&self, request: &mut Request<'_>) -> Result<Vec<Arch>, TrainError> {
        Ok((0..request.count).map(|_| request.space.sample(request.opened, request.rng)).collect())
    }
}

inventory::submit! {
    SamplerEntry { name: "uniform", about: "every gene uniformly at random (the paper)" }
}
