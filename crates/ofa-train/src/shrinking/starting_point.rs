//! Starting from a supernet that exists: `[init]` of a training file.

use crate::error::TrainError;
use ofa_space::supernet::TensorDef;
use ofa_space::{Model, SearchSpace, TensorRole, Weights, digest, initialisation};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A supernet read from its file.
#[derive(Debug)]
pub struct StartingPoint {
    /// Its space.
    pub space: Arc<dyn SearchSpace>,
    /// The file's content.
    pub model: Model,
    /// SHA-256 of the file, hexadecimal.
    pub hash: String,
}

/// A supernet to start from, instead of fresh weights. Images are normalised as it expects, and channels are not sorted
/// again unless a phase requests it.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `model` | | model file of a supernet, such as `ofa import supernet` writes |
/// | `new_head` | false | draw the classifier afresh, for other classes |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// Model file.
    pub model: PathBuf,
    /// Whether the classifier is drawn afresh.
    #[serde(default)]
    pub new_head: bool,
    /// The model, once it was read.
    #[serde(skip)]
    loaded: OnceLock<Arc<StartingPoint>>,
}

impl InitConfig {
    /// Starts from the supernet in this file, with its classifier.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self { model: model.into(), new_head: false, loaded: OnceLock::new() }
    }

    /// Reads the model, at the first call.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the file cannot be read, [`TrainError::Config`] if it holds a single network.
    pub fn load(&self) -> Result<Arc<StartingPoint>, TrainError> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded.clone());
        }
        let model = Model::load(&self.model)?;
        let hash = digest::sha256_of_file(&self.model).map_err(|source| TrainError::Io {
            action: "read",
            path: self.model.clone(),
            source,
        })?;
        let Some(space) = model.space().cloned() else {
            return Err(self.problem("model", "is a single network; expected a supernet".into()));
        };
        Ok(self.loaded.get_or_init(|| Arc::new(StartingPoint { space, model, hash })).clone())
    }

    fn problem(&self, field: &str, problem: String) -> TrainError {
        TrainError::Config { file: self.model.display().to_string(), field: format!("init.{field}"), problem }
    }

    /// The weights to start from, for a supernet of these tensors.
    ///
    /// # Errors
    /// [`TrainError::OtherClassifier`] if the model has other classes and no new head is wanted, [`TrainError::Config`] if
    /// another tensor does not fit.
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
                let (file, tensor) = (self.model.display().to_string(), name.clone());
                match head {
                    true => TrainError::OtherClassifier { file, tensor, found, needed: def.shape.clone() },
                    false => {
                        let needed = &def.shape;
                        let remedy = "leave `space` out to take the model's own";
                        self.problem("model", format!("has `{name}` {found}, this job needs {needed:?}; {remedy}"))
                    }
                }
            })?;
            weights.insert(name.clone(), tensor.clone());
        }
        Ok(weights)
    }
}
