//! The pretrained networks inside the program.

use ofa_space::{Model, ModelError, SpaceEntry, SpaceError, inventory};
use std::path::Path;

/// A pretrained network that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Pretrained {
    /// Name to select it by.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
    /// Where the weights come from, their licence and their authors.
    pub source: &'static str,
    file: &'static [u8],
}

/// Key, in a model's provenance, of the authors and licence of its pretrained weights.
pub const SOURCE: &str = "source";

/// Every pretrained network that comes with the program.
pub const PRETRAINED: [Pretrained; 1] = [Pretrained {
    name: "mcunet",
    about: "MCUNet (mcunet-320kb-1mb), trained on ImageNet at 176 px: 0.74 M parameters, 81.8 M MACs",
    source: "MCUNet mcunet-320kb-1mb_imagenet (github.com/mit-han-lab/mcunet), MIT licence, Copyright (c) 2020 \
             MIT HAN Lab; Lin, Chen, Lin, Cohn, Gan, Han: MCUNet, NeurIPS 2020",
    file: include_bytes!("../pretrained/mcunet.safetensors"),
}];

/// The network of this name.
pub fn named(name: &str) -> Option<Pretrained> {
    PRETRAINED.into_iter().find(|known| known.name == name)
}

/// A model file, or the pretrained network of this name. A file comes first.
///
/// # Errors
/// What [`Model::load`] reports.
pub fn load(file_or_name: &Path) -> Result<Model, ModelError> {
    match file_or_name.to_str().and_then(named) {
        Some(known) if !file_or_name.exists() => known.model(),
        _ => Model::load(file_or_name),
    }
}

inventory::submit! {
    SpaceEntry {
        name: "mcunet",
        about: "subnets of the pretrained MCUNet that comes with the program: depth, channels, kernels, 48 to 96 px",
        build: || {
            let [mcunet] = PRETRAINED;
            let model = mcunet.model().map_err(|error| SpaceError::Model(Box::new(error)))?;
            model.elastic_space().map_err(|error| SpaceError::Model(Box::new(error)))
        },
    }
}

impl Pretrained {
    /// The network with its weights.
    ///
    /// # Errors
    /// [`ModelError`] if the file inside the program is damaged.
    pub fn model(&self) -> Result<Model, ModelError> {
        Model::from_bytes(self.file, Path::new(self.name))
    }

    /// The bytes of its model file.
    pub fn file(&self) -> &'static [u8] {
        self.file
    }
}
