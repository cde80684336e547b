//! A new classifier for a trained network: the last linear layer is drawn afresh, for other classes.

use crate::network::head::no_head;
use crate::network::net_spec::NetSpec;
use crate::settings::InvalidSetting;
use crate::spaces::registry;
use crate::weights::initialisation;
use crate::weights::model::{Model, ModelBody, ModelError};
use crate::weights::supernet::TensorDef;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

impl Model {
    /// The same model with a classifier of these classes, drawn by the seed; every other tensor stays.
    ///
    /// # Errors
    /// [`ModelError::Setting`] if there are fewer than 2 classes, or if the network does not end in a linear layer;
    /// [`ModelError::Space`] if the supernet's space refuses them.
    pub fn with_new_head(&self, class_names: Vec<String>, seed: u64) -> Result<Model, ModelError> {
        let classes = class_names.len();
        let mut model = self.clone();
        let net = match &mut model.body {
            ModelBody::Net { spec, .. } => {
                **spec = (**spec).clone().with_classes(classes)?;
                (**spec).clone()
            }
            ModelBody::Supernet { space } => {
                *space = registry::with_classes(space.as_ref(), classes)?;
                space.resolve(&space.max_arch())?
            }
        };
        let fresh = initialisation::initialise(&head_tensors(&net)?, &mut ChaCha8Rng::seed_from_u64(seed));
        for (name, tensor) in fresh.iter() {
            model.weights.insert(name.clone(), tensor.clone());
        }
        model.class_names = class_names;
        model.provenance.insert("classifier".to_owned(), format!("fresh, seed {seed}"));
        Ok(model)
    }
}

/// The tensors of the linear layer that a network ends in.
fn head_tensors(net: &NetSpec) -> Result<BTreeMap<String, TensorDef>, InvalidSetting> {
    let (weight, bias) = net.head().ok_or_else(no_head)?;
    let tensors = std::iter::once(weight).chain(bias);
    Ok(tensors
        .map(|tensor| (tensor.name.clone(), TensorDef { shape: tensor.full.clone(), role: tensor.role }))
        .collect())
}
