//! Starting from a supernet that exists: `[init]` of a training file.

use crate::data::{self, Dataset, LoadOptions};
use crate::error::TrainError;
use crate::shrinking::config::{InitConfig, TrainConfig};
use ofa_space::supernet::TensorDef;
use ofa_space::{Model, SearchSpace, TensorRole, Weights, initialisation};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A supernet read from its file.
pub struct StartingPoint {
    /// Its space.
    pub space: Arc<dyn SearchSpace>,
    /// The file's content.
    pub model: Model,
    /// SHA-256 of the file, hexadecimal.
    pub hash: String,
}

impl InitConfig {
    /// Reads the model.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the file cannot be read, [`TrainError::Config`] if it holds a single network.
    pub fn load(&self) -> Result<StartingPoint, TrainError> {
        let model = Model::load(&self.model)?;
        let bytes = std::fs::read(&self.model).map_err(|source| TrainError::Io {
            action: "read",
            path: self.model.clone(),
            source,
        })?;
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        match model.space().cloned() {
            Some(space) => Ok(StartingPoint { space, model, hash }),
            None => Err(self.problem("model", "is a single network; expected a supernet".into())),
        }
    }

    fn problem(&self, field: &str, problem: String) -> TrainError {
        TrainError::Config { file: self.model.display().to_string(), field: format!("init.{field}"), problem }
    }

    /// The weights to start from, for a supernet of these tensors.
    ///
    /// # Errors
    /// [`TrainError::Config`] if the model has other classes and no new head is wanted, or a tensor does not fit.
    pub(crate) fn weights(
        &self,
        start: &StartingPoint,
        defs: &BTreeMap<String, TensorDef>,
        seed: u64,
    ) -> Result<Weights, TrainError> {
        let fresh = initialisation::initialise(defs, &mut ChaCha8Rng::seed_from_u64(seed));
        let mut weights = Weights::default();
        for (name, def) in defs {
            let head = matches!(def.role, TensorRole::LinearWeight | TensorRole::LinearBias);
            let source = if head && self.new_head { &fresh } else { &start.model.weights };
            let tensor = source.get(name).filter(|tensor| tensor.shape == def.shape).ok_or_else(|| {
                let found = source.get(name).map_or("missing".to_owned(), |tensor| format!("{:?}", tensor.shape));
                let remedy = match head {
                    true => "for other classes start with a new classifier: --new-head, or new_head = true in [init]",
                    false => "leave `space` out to take the model's own",
                };
                self.problem("model", format!("has `{name}` {found}, this job needs {:?}; {remedy}", def.shape))
            })?;
            weights.insert(name.clone(), tensor.clone());
        }
        Ok(weights)
    }
}

impl TrainConfig {
    /// The data set, cut for the space, and normalised as the model of `init` expects if there is one.
    ///
    /// # Errors
    /// [`TrainError::Data`], or what reading the model reports.
    pub fn load_data(&self, on_corrupt: data::OnCorrupt) -> Result<Dataset, TrainError> {
        let space = self.space()?;
        let options = LoadOptions {
            seed: self.seed,
            max_resolution: space.info().resolutions.last().copied().unwrap_or(224),
            validation: self.validation_images,
            on_corrupt,
        };
        let mut dataset = data::load(&self.data, &options)?;
        if let Some(init) = &self.init {
            dataset.input = init.load()?.model.input;
            dataset.channels = dataset.input.mean.len();
        }
        Ok(dataset)
    }
}
