//! The authors' supernet checkpoints as models.

use crate::error::ExportError;
use crate::importing::state_dict::{self, StateDict};
use ofa_space::supernet::TensorDef;
use ofa_space::{
    BlockKind, InputFormat, Model, ModelBody, Resize, SearchSpace, SpaceError, Weights, initialisation, supernet,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// A model read from a checkpoint.
#[derive(Debug)]
pub struct Import {
    /// The model.
    pub model: Model,
    /// Tensors of the file that the network does not use, apart from step counters of batch norm.
    pub unused: Vec<String>,
    /// Tensors of the classifier that were drawn afresh instead of read.
    pub fresh: Vec<String>,
}

/// Where the classifier's weights come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// From the file.
    Imported,
    /// Fresh random weights, for another set of classes.
    Fresh {
        /// Seed.
        seed: u64,
    },
}

/// Reads a supernet of `space` from a state dict in any spelling that [`StateDict::read`] accepts.
///
/// # Errors
/// [`ExportError::Classes`] if only the number of classes differs, otherwise [`ExportError::Checkpoint`] naming the file
/// and the tensor that is missing or of another shape.
pub fn import_supernet(path: &Path, space: &Arc<dyn SearchSpace>, head: Head) -> Result<Import, ExportError> {
    let bad = |problem: String| ExportError::Checkpoint { path: path.to_owned(), problem };
    let mut found = StateDict::read(path)?;
    let defs = supernet::tensors(space.as_ref())?;
    found.spell_as(&defs.keys().cloned().collect());
    let classifier = classifier_tensors(space.as_ref())?;
    let mut weights = Weights::default();
    let mut fresh = Vec::new();
    let mut provenance = state_dict::provenance(path)?;
    if let Head::Fresh { seed } = head {
        let own: BTreeMap<String, TensorDef> =
            defs.iter().filter(|(name, _)| classifier.contains(*name)).map(|(n, d)| (n.clone(), d.clone())).collect();
        weights = initialisation::initialise(&own, &mut ChaCha8Rng::seed_from_u64(seed));
        for name in own.into_keys() {
            found.remove(&name);
            fresh.push(name);
        }
        provenance.insert("classifier".to_owned(), format!("fresh, seed {seed}"));
    }
    let space_name = space.name();
    for (name, def) in &defs {
        if fresh.contains(name) {
            continue;
        }
        let expected = &def.shape;
        let tensor = found.remove(name).ok_or_else(|| {
            bad(format!("has no tensor `{name}` ({expected:?}), which a supernet of `{space_name}` needs"))
        })?;
        if tensor.shape != *expected {
            return Err(match (classifier.contains(name), tensor.shape.first(), expected.first()) {
                (true, Some(&found), Some(&expected)) if found != expected => {
                    let (path, tensor, space) = (path.to_owned(), name.clone(), space_name.to_owned());
                    ExportError::Classes { path, tensor, found, space, expected }
                }
                _ => bad(format!(
                    "`{name}` has shape {:?}, expected {expected:?}; is `{space_name}` the right space, width and set \
                     of kernel sizes, expansions and depths?",
                    tensor.shape
                )),
            });
        }
        weights.insert(name.clone(), tensor);
    }
    let classes = space.info().classes;
    let model = Model {
        body: ModelBody::Supernet { space: space.clone() },
        class_names: (0..classes).map(|class| class.to_string()).collect(),
        input: imagenet_input(),
        provenance,
        weights,
    };
    Ok(Import { model, unused: found.into_names(), fresh })
}

/// Names of the tensors of the linear classifier.
fn classifier_tensors(space: &dyn SearchSpace) -> Result<BTreeSet<String>, SpaceError> {
    let net = space.resolve(&space.max_arch())?;
    let blocks = net.blocks.iter().filter(|block| block.kind == BlockKind::Classifier);
    let tensors = blocks.flat_map(|block| &block.ops).flat_map(|op| op.kind.tensors());
    Ok(tensors.map(|(_, tensor)| tensor.name.clone()).collect())
}

/// ImageNet normalisation and evaluation crop, as the authors train with (`ImagenetDataProvider`).
pub fn imagenet_input() -> InputFormat {
    InputFormat {
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        resize: Resize::CenterCrop { numerator: 8, denominator: 7 },
    }
}
