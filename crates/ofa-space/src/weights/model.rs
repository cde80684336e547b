//! A model file: weights, and everything needed to use them.

use crate::error::{SpaceError, WeightsError};
use crate::json;
use crate::network::net_spec::{NetSpec, TensorRole};
use crate::plain_text::plain;
use crate::settings::{self, InvalidSetting};
use crate::spaces::derived::Derived;
use crate::spaces::space::SearchSpace;
use crate::weights::tensors::{Tensor, Weights};
use crate::{Arch, ArchJson, extraction, supernet};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Version of the model file; raised when a reader of an older version would misread it.
pub const FORMAT_VERSION: u32 = 1;

/// What the weights are weights of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ModelBody {
    /// A supernet of a space.
    Supernet {
        /// The space, with its whole configuration.
        space: Arc<dyn SearchSpace>,
    },
    /// One standalone network.
    Net {
        /// The network, reading tensors of its own.
        spec: Box<NetSpec>,
        /// Name of the space it was extracted from, if any.
        #[serde(default)]
        space: Option<String>,
        /// The arch it was extracted for, if any.
        #[serde(default)]
        arch: Option<ArchJson>,
    },
}

/// How images become the network's input: `(pixel / 255 − mean) / std`, per channel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InputFormat {
    /// Mean per channel, of pixels in 0..1.
    pub mean: Vec<f32>,
    /// Standard deviation per channel.
    pub std: Vec<f32>,
    /// How an image is brought to the input size.
    pub resize: Resize,
}

/// How an image is brought to the input size.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Resize {
    /// Resized to exactly the input size.
    Stretch,
    /// The shorter side is resized to `int(size · numerator / denominator)`, then the centre is cropped
    /// (ImageNet evaluation: 256 / 224).
    CenterCrop {
        /// Numerator.
        numerator: u32,
        /// Denominator.
        denominator: u32,
    },
}

impl InputFormat {
    /// Refuses values that no image of so many channels can be normalised or resized with.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the field.
    pub fn check(&self, channels: usize) -> Result<(), InvalidSetting> {
        for (field, values, least) in [("mean", &self.mean, -1e3), ("std", &self.std, 1e-6)] {
            if values.len() != channels {
                let problem = format!("has {} numbers, expected one for each of the {channels} channels", values.len());
                return Err(InvalidSetting::new(field, problem));
            }
            values.iter().try_for_each(|value| settings::number(field, f64::from(*value), least..=1e3))?;
        }
        let Resize::CenterCrop { numerator, denominator } = self.resize else { return Ok(()) };
        let ratio = f64::from(numerator) / f64::from(denominator);
        match denominator > 0 && (0.1..=10.0).contains(&ratio) {
            true => Ok(()),
            false => {
                let problem = format!("is {numerator} / {denominator}, expected a ratio from 0.1 to 10");
                Err(InvalidSetting::new("resize", problem))
            }
        }
    }
}

/// Weights and everything needed to use them; one safetensors file.
#[derive(Clone, Debug)]
pub struct Model {
    /// What the weights are weights of.
    pub body: ModelBody,
    /// Class names, in the order of the logits.
    pub class_names: Vec<String>,
    /// Input preprocessing.
    pub input: InputFormat,
    /// Where the weights come from: training config, data, seed, hashes of imported files.
    pub provenance: BTreeMap<String, String>,
    /// The tensors.
    pub weights: Weights,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    body: ModelBody,
    class_names: Vec<String>,
    input: InputFormat,
    provenance: BTreeMap<String, String>,
}

/// Why a model cannot serve a request.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file or a tensor in it.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The arch does not fit.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A change that the network cannot take.
    #[error("the network's {0}")]
    Setting(#[from] InvalidSetting),
    /// The file is no model of ours.
    #[error("{}: {problem}", path.display())]
    NotAModel {
        /// The file.
        path: std::path::PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// A supernet was used without an arch.
    #[error("the model is a supernet of `{space}`: choose one of its subnets")]
    ArchNeeded {
        /// The supernet's space.
        space: String,
    },
    /// A standalone net was asked for another arch or resolution.
    #[error("the model is one standalone network at {resolution} pixels, without subnets to choose from")]
    NotElastic {
        /// Its input size.
        resolution: usize,
        /// Name of the space that it was cut out of, if it is known.
        space: Option<String>,
    },
}

/// Entry of a model's provenance, `false` where a network kept its supernet's batch-norm statistics.
pub const CALIBRATED: &str = "calibrated";

impl Model {
    /// Reads a model file and checks that every tensor it needs is there.
    ///
    /// # Errors
    /// [`ModelError`] naming the file and what is wrong.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let (weights, metadata) = Weights::load(path)?;
        Self::of(weights, &metadata, path)
    }

    /// Reads the bytes of a model file, as [`load`](Self::load) does; `path` is for messages.
    ///
    /// # Errors
    /// [`ModelError`] naming the path and what is wrong.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, ModelError> {
        let (weights, metadata) = Weights::from_bytes(bytes, path)?;
        Self::of(weights, &metadata, path)
    }

    fn of(weights: Weights, metadata: &BTreeMap<String, String>, path: &Path) -> Result<Self, ModelError> {
        let not_a_model = |problem: String| ModelError::NotAModel { path: path.to_owned(), problem };
        let header = metadata.get("model").ok_or_else(|| {
            not_a_model(
                "has no `model` metadata, so it is not a model of ofa (import official checkpoints first)".into(),
            )
        })?;
        let header: Header = json::from_str(header).map_err(|e| not_a_model(format!("bad `model` metadata: {e}")))?;
        if header.format > FORMAT_VERSION {
            let found = header.format;
            return Err(not_a_model(format!("is of format {found}, this version reads up to {FORMAT_VERSION}")));
        }
        let Header { body, class_names, input, provenance, .. } = header;
        // Names are shown as they are from here on.
        let class_names = class_names.iter().map(|name| plain(name).into_owned()).collect();
        let model = Self { body, class_names, input, provenance, weights };
        if let ModelBody::Net { spec, .. } = &model.body {
            spec.check().map_err(|invalid| not_a_model(format!("bad network: {invalid}")))?;
        }
        model.check_head().map_err(|invalid| not_a_model(format!("bad metadata: {invalid}")))?;
        model.check()?;
        model.check_values().map_err(not_a_model)?;
        Ok(model)
    }

    /// Whether a file is the model file of a supernet, by its header alone.
    pub fn is_supernet_file(path: &Path) -> bool {
        #[derive(Deserialize)]
        struct Header {
            body: Body,
        }
        #[derive(Deserialize)]
        struct Body {
            r#type: String,
        }
        let header = Weights::metadata_of(path).and_then(|mut metadata| metadata.remove("model"));
        let header: Option<Header> = header.and_then(|json| serde_json::from_str(&json).ok());
        header.is_some_and(|header| header.body.r#type == "supernet")
    }

    /// Writes the model, whole or not at all.
    ///
    /// # Errors
    /// [`WeightsError`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        self.weights.save(path, &self.metadata(path)?)
    }

    /// The bytes that [`save`](Self::save) writes; `path` is for messages.
    ///
    /// # Errors
    /// [`WeightsError::Format`] for what the format does not allow.
    pub fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, WeightsError> {
        self.weights
            .to_bytes(&self.metadata(path)?)
            .map_err(|problem| WeightsError::Format { path: path.to_owned(), problem: problem.to_string() })
    }

    fn metadata(&self, path: &Path) -> Result<BTreeMap<String, String>, WeightsError> {
        let header = Header {
            format: FORMAT_VERSION,
            body: self.body.clone(),
            class_names: self.class_names.clone(),
            input: self.input.clone(),
            provenance: self.provenance.clone(),
        };
        let json = serde_json::to_string(&header)
            .map_err(|e| WeightsError::Format { path: path.to_owned(), problem: e.to_string() })?;
        Ok(BTreeMap::from([("model".to_owned(), json)]))
    }

    /// Refuses a normalisation or class names that do not fit the network.
    fn check_head(&self) -> Result<(), InvalidSetting> {
        let (channels, classes) = match &self.body {
            ModelBody::Supernet { space } => (space.info().input_channels, space.info().classes),
            ModelBody::Net { spec, .. } => (spec.input[0], spec.classes),
        };
        self.input.check(channels).map_err(|invalid| invalid.within("input"))?;
        // Networks of other sources may have no names.
        match self.class_names.len() {
            0 => Ok(()),
            names if names == classes => Ok(()),
            names => {
                let problem = format!("has {names} names, expected one for each of the {classes} classes");
                Err(InvalidSetting::new("class_names", problem))
            }
        }
    }

    /// What is wrong with the numbers of the tensors: NaN and infinity compute nothing, and no variance is negative.
    fn check_values(&self) -> Result<(), String> {
        self.weights.check_finite()?;
        let norms = |net: &NetSpec| -> Vec<String> {
            let variances = net.tensors().filter(|tensor| tensor.role == TensorRole::RunningVariance);
            variances.map(|tensor| tensor.name.clone()).collect()
        };
        let variances = match &self.body {
            ModelBody::Net { spec, .. } => norms(spec),
            ModelBody::Supernet { space } => {
                space.resolve(&space.max_arch()).map(|net| norms(&net)).unwrap_or_default()
            }
        };
        for name in variances {
            if let Some(value) = self.weights.get(&name).and_then(|t| t.data.iter().find(|value| **value < 0.0)) {
                return Err(format!("tensor `{name}` holds the variance {value}, expected 0 or more"));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ModelError> {
        match &self.body {
            ModelBody::Supernet { space } => {
                for (name, def) in supernet::tensors(space.as_ref())? {
                    self.weights.expect(&name, &def.shape)?;
                }
            }
            ModelBody::Net { spec, .. } => {
                for tensor in spec.tensors() {
                    self.weights.expect(&tensor.name, &tensor.full)?;
                    for step in &tensor.kernel_steps {
                        let area = step.size * step.size;
                        self.weights.expect(&step.matrix, &[area, area])?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The space, if the model is a supernet.
    pub fn space(&self) -> Option<&Arc<dyn SearchSpace>> {
        match &self.body {
            ModelBody::Supernet { space } => Some(space),
            ModelBody::Net { .. } => None,
        }
    }

    /// The space to choose subnets from: that of a supernet, or the one derived from a whole network. A network that was
    /// cut out of a supernet has none.
    ///
    /// # Errors
    /// [`ModelError::NotElastic`] for a network that was cut out, [`ModelError::Space`] if nothing in a whole network can be
    /// elastic.
    pub fn elastic_space(&self) -> Result<Arc<dyn SearchSpace>, ModelError> {
        match &self.body {
            ModelBody::Supernet { space } => Ok(space.clone()),
            ModelBody::Net { spec, arch: None, .. } => Ok(Arc::new(Derived::of((**spec).clone())?)),
            ModelBody::Net { spec, space, .. } => {
                Err(ModelError::NotElastic { resolution: spec.input[1], space: space.clone() })
            }
        }
    }

    /// The model as a supernet: itself, or the supernet of a space derived from a whole network, whose kernel transforms
    /// start at identity.
    ///
    /// # Errors
    /// As [`elastic_space`](Self::elastic_space).
    pub fn supernet(&self) -> Result<Model, ModelError> {
        match &self.body {
            ModelBody::Supernet { .. } => Ok(self.clone()),
            ModelBody::Net { .. } => self.supernet_of(self.elastic_space()?),
        }
    }

    /// The same weights as a supernet of this space. Kernel transforms that are not there start at identity.
    ///
    /// # Errors
    /// [`ModelError::Weights`] naming a tensor that is missing or of another shape.
    pub fn supernet_of(&self, space: Arc<dyn SearchSpace>) -> Result<Model, ModelError> {
        let mut model = self.clone();
        for (name, def) in supernet::tensors(space.as_ref())? {
            if def.role == TensorRole::KernelTransform && self.weights.get(&name).is_none() {
                model.weights.insert(name, Tensor::identity(def.shape[0]));
            }
        }
        model.body = ModelBody::Supernet { space };
        model.check()?;
        Ok(model)
    }

    /// The network to run: the subnet of `arch`, or the standalone net.
    ///
    /// # Errors
    /// [`ModelError::ArchNeeded`] for a supernet without arch, [`ModelError::NotElastic`] for the reverse.
    pub fn net(&self, arch: Option<&Arch>) -> Result<NetSpec, ModelError> {
        match (&self.body, arch) {
            (ModelBody::Supernet { space }, Some(arch)) => Ok(space.resolve(arch)?),
            (ModelBody::Supernet { space }, None) => Err(ModelError::ArchNeeded { space: space.name().to_owned() }),
            (ModelBody::Net { spec, .. }, None) => Ok((**spec).clone()),
            (ModelBody::Net { spec, space, .. }, Some(_)) => {
                Err(ModelError::NotElastic { resolution: spec.input[1], space: space.clone() })
            }
        }
    }

    /// Records that the network has the batch-norm statistics that all subnets of its supernet share, not its own.
    pub fn mark_uncalibrated(&mut self) {
        self.provenance.insert(CALIBRATED.to_owned(), false.to_string());
    }

    /// Forgets the record, once the network has statistics of its own.
    pub fn mark_calibrated(&mut self) {
        self.provenance.remove(CALIBRATED);
    }

    /// Whether [`mark_uncalibrated`](Self::mark_uncalibrated) was called on it. Earlier versions made no record.
    pub fn is_uncalibrated(&self) -> bool {
        self.provenance.get(CALIBRATED).is_some_and(|value| *value == false.to_string())
    }

    /// The standalone model of one subnet, with the batch-norm statistics that the weights hold now.
    ///
    /// # Errors
    /// [`ModelError`] if the model is not a supernet or the arch does not fit.
    pub fn extract(&self, arch: &Arch) -> Result<Model, ModelError> {
        let net = self.net(Some(arch))?;
        let (spec, weights) = extraction::extract(&net, &self.weights)?;
        let (space, arch) = match self.space() {
            Some(space) => (Some(space.name().to_owned()), Some(space.format(arch))),
            None => (None, None),
        };
        Ok(Model {
            body: ModelBody::Net { spec: Box::new(spec), space, arch },
            class_names: self.class_names.clone(),
            input: self.input.clone(),
            provenance: self.provenance.clone(),
            weights,
        })
    }
}
