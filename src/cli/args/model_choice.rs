//! `--model` and `--arch`: a file or the name of a pretrained network, used as one network or as a supernet.
//!
//! A whole network, as the import commands write it, is both: without an arch it is that network, with its own BN
//! statistics; with one it is the supernet of the space derived from it.

use super::{Failure, arch_choice};
use ofa_space::{Arch, Model, ModelBody, ModelError, SearchSpace, plugin};
use ofa_train::pretrained::{self, PRETRAINED};
use std::path::Path;
use std::sync::Arc;

/// A model, and the subnet to use of it.
pub struct Network {
    /// A supernet where there is an arch.
    pub model: Model,
    /// The arch of the subnet; `None` for a network on its own.
    pub arch: Option<Arch>,
    /// Whether the batch-norm statistics are the network's own: those of a network on its own, and of the largest subnet of
    /// a whole network, which is that network.
    pub has_own_statistics: bool,
}

/// The model of a file, or a pretrained network by its name.
pub fn model(path: &Path) -> Result<Model, Failure> {
    let hint = || {
        let known: Vec<String> = PRETRAINED.iter().map(|known| known.name.to_owned()).collect();
        let closest = plugin::closest(path.to_str().unwrap_or_default(), &known).filter(|_| !path.exists());
        closest.map(|name| format!(" (did you mean `{name}`, which comes with the program?)")).unwrap_or_default()
    };
    pretrained::load(path).map_err(|error| match Failure::from(error) {
        Failure::Input(message) => Failure::Input(message + &hint()),
        other => other,
    })
}

/// The network of `--model`, or its subnet of `--arch`.
pub fn network(path: &Path, arch: Option<&str>, seed: u64) -> Result<Network, Failure> {
    let model = model(path)?;
    let Some(text) = arch else {
        let has_own_statistics = !model.is_uncalibrated();
        return Ok(Network { model, arch: None, has_own_statistics });
    };
    let is_whole = matches!(model.body, ModelBody::Net { .. });
    let model = model.supernet().map_err(|error| match error {
        ModelError::NotElastic { .. } => {
            Failure::Input(format!("--arch {text}: {} is one standalone net, cut out of a supernet", path.display()))
        }
        other => without_space(other, path),
    })?;
    let arch = match model.space() {
        Some(space) => Some(arch_choice::arch(text, space.as_ref(), seed)?),
        None => None,
    };
    let is_largest = model.space().is_some_and(|space| arch.as_ref() == Some(&space.max_arch()));
    Ok(Network { model, arch, has_own_statistics: is_whole && is_largest })
}

/// The supernet of `--model`, and its space.
pub fn supernet(path: &Path) -> Result<(Model, Arc<dyn SearchSpace>), Failure> {
    supernet_of(model(path)?, path)
}

/// The supernet of a model that was read from `path`, and its space.
pub fn supernet_of(model: Model, path: &Path) -> Result<(Model, Arc<dyn SearchSpace>), Failure> {
    let space = model.elastic_space().map_err(|error| match error {
        ModelError::NotElastic { .. } => Failure::Input(format!(
            "{} is a single network that was cut out of a supernet, expected a supernet or a whole network",
            path.display()
        )),
        other => without_space(other, path),
    })?;
    Ok((model.supernet_of(space.clone())?, space))
}

/// The error for a network in which nothing can be elastic, with its file.
fn without_space(error: ModelError, path: &Path) -> Failure {
    match error {
        ModelError::Space(error) => Failure::Input(format!("{}: {error}", path.display())),
        other => other.into(),
    }
}
