//! The search-space trait: genes, and how an arch becomes a network.

use crate::error::SpaceError;
use crate::genotype::arch::Arch;
use crate::genotype::gene::Gene;
use crate::genotype::genes::Genes;
use crate::network::net_spec::NetSpec;
use crate::settings::{self, InvalidSetting, Settings};
use serde::Serialize;
use std::fmt::Debug;

/// What is known about a space before any arch is chosen.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SpaceInfo {
    /// Registered name, or the name given in its TOML.
    pub name: String,
    /// Channels of the input image.
    pub input_channels: usize,
    /// Number of logits.
    pub classes: usize,
    /// Elastic resolutions in pixels, ascending.
    pub resolutions: Vec<u32>,
    /// Structural genes; depth genes may come anywhere.
    pub genes: Vec<Gene>,
}

impl Settings for SpaceInfo {
    /// Refuses an empty name, fewer than 2 classes, more than 16 input channels, resolutions outside 4 to 4096 pixels or
    /// out of order, and genes that form no arch.
    fn check(&self) -> Result<(), InvalidSetting> {
        if self.name.is_empty() {
            return Err(InvalidSetting::new("name", "is empty"));
        }
        settings::count("classes", self.classes, 2..=1_000_000)?;
        settings::count("input_channels", self.input_channels, 1..=16)?;
        let pixels: Vec<f64> = self.resolutions.iter().map(|r| f64::from(*r)).collect();
        settings::ascending("resolutions", &pixels, 4.0..=4096.0)?;
        self.genes.check_genes().map_err(|error| InvalidSetting::new("genes", error.to_string()))
    }
}

/// A part of a space's networks that no arch changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FixedPart {
    /// Name of the block, or of a whole dimension that no block has.
    pub name: String,
    /// Why it is fixed.
    pub reason: String,
}

/// A family of elastic networks: [`Genes`], and how an arch becomes a network.
///
/// Implementors write [`info`](Self::info) and [`resolve`](Self::resolve); everything else follows from the genes.
/// Configuration is the implementor's own serde form, selected by `kind` in a TOML `[space]` table; a field called
/// `classes` is what [`crate::registry::with_classes`] overrides.
#[typetag::serde(tag = "kind")]
pub trait SearchSpace: Genes + Debug {
    /// Name, genes and resolutions.
    fn info(&self) -> &SpaceInfo;

    /// The network of an arch, reading slices of the supernet's tensors. Any positive resolution is accepted, so
    /// that costs and tables can be asked outside the training list.
    ///
    /// # Errors
    /// [`SpaceError::MissingResolution`] if the arch has none.
    fn resolve(&self, arch: &Arch) -> Result<NetSpec, SpaceError>;

    /// Parts of the network that no arch changes, with the reason, for listings. Families that are elastic by design name
    /// none.
    fn fixed_parts(&self) -> Vec<FixedPart> {
        Vec::new()
    }

    /// The arch's resolution.
    ///
    /// # Errors
    /// [`SpaceError::MissingResolution`] if it has none.
    fn resolution_of(&self, arch: &Arch) -> Result<usize, SpaceError> {
        match arch.resolution() {
            Some(resolution) => Ok(resolution as usize),
            None => {
                Err(SpaceError::MissingResolution { example: self.info().resolutions.last().copied().unwrap_or(224) })
            }
        }
    }
}

impl<S: SearchSpace> Genes for S {
    fn genes(&self) -> &[Gene] {
        &self.info().genes
    }

    fn resolutions(&self) -> &[u32] {
        &self.info().resolutions
    }

    fn name(&self) -> &str {
        &self.info().name
    }
}
