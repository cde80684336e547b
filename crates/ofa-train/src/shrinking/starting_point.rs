//! Starting from a model that exists: `[init]` of a training file.

use crate::data::{DataError, Dataset, TrainedOn};
use crate::error::TrainError;
use crate::{pretrained, unfolding};
use burn::tensor::Device;
use ofa_space::supernet::TensorDef;
use ofa_space::{
    Derived, DerivedConfig, Model, ModelBody, NetSpec, SearchSpace, TensorRole, Weights, digest, initialisation,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A supernet read from its file, or made of a network.
#[derive(Debug)]
pub struct StartingPoint {
    /// Its space.
    pub space: Arc<dyn SearchSpace>,
    /// The supernet.
    pub model: Model,
    /// SHA-256 of the file, hexadecimal.
    pub hash: String,
    /// What the file holds.
    pub origin: Origin,
    /// The network of the file, if its batch norms are folded: those of the supernet are yet to be measured on training
    /// images.
    pub folded: Option<Model>,
}

impl StartingPoint {
    /// The supernet with batch norms in the place of folded ones, measured on training images that the seed draws; as it
    /// is, if none were folded.
    ///
    /// # Errors
    /// What [`unfolding::trainable`] reports.
    pub(crate) fn measured(&self, dataset: &Dataset, seed: u64, device: &Device) -> Result<Cow<'_, Model>, TrainError> {
        let Some(folded) = &self.folded else { return Ok(Cow::Borrowed(&self.model)) };
        let network = unfolding::trainable(folded, dataset, seed, device)?;
        Ok(Cow::Owned(network.supernet_of(self.space.clone())?))
    }
}

/// What a model file to start from holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A supernet, whose subnets may be trained already.
    Supernet,
    /// A single network, of which the supernet was made.
    Network,
}

/// A model to start from, instead of fresh weights: a supernet, or a single network, which becomes the largest subnet of a
/// space derived from it ([`ofa_space::Derived`]). Images are normalised as it expects, and channels are not sorted again
/// unless a phase requests it.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `model` | | model file, such as `ofa import` writes, or the name of a pretrained network ([`crate::pretrained`]) |
/// | `new_head` | false | draw the classifier afresh, for other classes |
/// | `elastic` | everything | what is elastic in a single network, see [`ElasticConfig`] |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// Model file, or the name of a pretrained network.
    pub model: PathBuf,
    /// Whether the classifier is drawn afresh.
    #[serde(default)]
    pub new_head: bool,
    /// What is elastic in a single network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic: Option<ElasticConfig>,
    /// What the file will hold, with its SHA-256, where it is not written yet.
    #[serde(skip)]
    unwritten: Option<Arc<(Model, String)>>,
    /// The model, once it was read.
    #[serde(skip)]
    loaded: OnceLock<Arc<StartingPoint>>,
}

/// What is elastic in a space derived from a single network; what is left out takes the value of [`DerivedConfig`].
///
/// | name | default | purpose |
/// |---|---|---|
/// | `expand_ratios` | 0.5, 0.75, 1 | shares of the channels inside a block |
/// | `kernel_sizes` | 3, 5, 7 | sizes that a larger depthwise kernel may be cut to; empty: whole kernels only |
/// | `resolutions` | chosen by the network's own | elastic input sizes |
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElasticConfig {
    /// Shares of the channels inside a block, ascending, up to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand_ratios: Option<Vec<f64>>,
    /// Sizes of cut kernels, odd and ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_sizes: Option<Vec<usize>>,
    /// Elastic input sizes, ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolutions: Option<Vec<u32>>,
}

impl ElasticConfig {
    /// The space of a network.
    fn of(&self, source: NetSpec) -> DerivedConfig {
        let default = DerivedConfig::of(source);
        DerivedConfig {
            expand_ratios: self.expand_ratios.clone().unwrap_or(default.expand_ratios),
            kernel_sizes: self.kernel_sizes.clone().unwrap_or(default.kernel_sizes),
            resolutions: self.resolutions.clone().unwrap_or(default.resolutions),
            ..default
        }
    }
}

impl InitConfig {
    /// Starts from the model in this file, with its classifier.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self { model: model.into(), new_head: false, elastic: None, unwritten: None, loaded: OnceLock::new() }
    }

    /// The same where the file is not there yet: `model` is what it will hold, `hash` its hexadecimal SHA-256.
    #[must_use]
    pub fn unwritten(mut self, model: Model, hash: String) -> Self {
        self.unwritten = Some(Arc::new((model, hash)));
        self
    }

    /// Takes the unwritten model of another start of the same file.
    #[must_use]
    pub fn as_unwritten_in(mut self, other: &Self) -> Self {
        self.unwritten.clone_from(&other.unwritten);
        self
    }

    /// Reads the model, at the first call.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the file cannot be read, [`TrainError::Config`] or [`TrainError::Space`] if it cannot be
    /// made elastic as configured.
    pub fn load(&self) -> Result<Arc<StartingPoint>, TrainError> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded.clone());
        }
        let (mut model, hash) = self.read()?;
        let mut folded = None;
        if let ModelBody::Net { spec, .. } = &model.body
            && unfolding::is_folded(spec)
        {
            folded = Some(model.clone());
            model = unfolding::unmeasured(&model)?;
        }
        let (space, model, origin) = match (&model.body, &self.elastic) {
            (ModelBody::Supernet { space }, None) => (space.clone(), model, Origin::Supernet),
            (ModelBody::Supernet { .. }, Some(_)) => {
                let problem = "is for a single network, but the model is a supernet, whose space is given";
                return Err(self.problem("elastic", problem.to_owned()));
            }
            (ModelBody::Net { spec, .. }, elastic) => {
                let config = elastic.clone().unwrap_or_default().of((**spec).clone());
                let space: Arc<dyn SearchSpace> = Arc::new(Derived::try_from(config)?);
                (space.clone(), model.supernet_of(space)?, Origin::Network)
            }
        };
        Ok(self.loaded.get_or_init(|| Arc::new(StartingPoint { space, model, hash, origin, folded })).clone())
    }

    /// The model and the SHA-256 of its file.
    fn read(&self) -> Result<(Model, String), TrainError> {
        if let Some(unwritten) = &self.unwritten {
            return Ok((**unwritten).clone());
        }
        if let Some(known) = self.model.to_str().and_then(pretrained::named)
            && !self.model.exists()
        {
            return Ok((known.model()?, digest::sha256(known.file())));
        }
        let model = Model::load(&self.model)?;
        let hash = digest::sha256_of_file(&self.model).map_err(|source| TrainError::Io {
            action: "read",
            path: self.model.clone(),
            source,
        })?;
        Ok((model, hash))
    }

    fn problem(&self, field: &str, problem: String) -> TrainError {
        TrainError::Config { file: self.model.display().to_string(), field: format!("init.{field}"), problem }
    }

    /// Refuses to give outputs of the old classifier to other classes; that of other numbers of classes is found by its shape.
    ///
    /// # Errors
    /// [`TrainError::Config`] naming the first class that differs.
    pub(crate) fn check_classes(&self, start: &StartingPoint, dataset: &Dataset) -> Result<(), TrainError> {
        if self.new_head {
            return Ok(());
        }
        match TrainedOn::of(&start.model)?.check_classes(dataset) {
            Err(DataError::OtherClasses { position, expected, found, .. }) => {
                let problem = format!(
                    "has `{expected}` as class {position} where {} has `{found}`; rename the classes of the data, or start \
                     with a new classifier (`new_head = true` in [init])",
                    dataset.name
                );
                Err(self.problem("model", problem))
            }
            _ => Ok(()),
        }
    }

    /// The weights of the model to start from, for a supernet of these tensors.
    ///
    /// # Errors
    /// [`TrainError::OtherClassifier`] if the model has other classes and no new head is wanted, [`TrainError::Config`] if
    /// another tensor does not fit.
    pub(crate) fn weights(
        &self,
        model: &Model,
        defs: &BTreeMap<String, TensorDef>,
        seed: u64,
    ) -> Result<Weights, TrainError> {
        let fresh = initialisation::initialise(defs, &mut ChaCha8Rng::seed_from_u64(seed));
        let mut weights = Weights::default();
        for (name, def) in defs {
            let head = matches!(def.role, TensorRole::LinearWeight | TensorRole::LinearBias);
            let source = if head && self.new_head { &fresh } else { &model.weights };
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
