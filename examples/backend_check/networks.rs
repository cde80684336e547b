//! The networks that are run, and random batches for them.

use crate::Outcome;
use ofa::space::supernet::{TensorDef, tensors};
use ofa::space::{NetSpec, SearchSpace, Weights, initialisation, registry};
use ofa::train::device::Device;
use ofa::train::elastic::precision::Precision;
use ofa::train::training::step::StepInput;
use ofa::train::{Images, Supernet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A supernet with fresh weights that are the same on every device.
pub struct Fresh {
    pub space: Arc<dyn SearchSpace>,
    defs: BTreeMap<String, TensorDef>,
    weights: Weights,
}

impl Fresh {
    pub fn new(space: &str, classes: usize) -> Outcome<Self> {
        let space = registry::with_classes(registry::named(space)?.as_ref(), classes)?;
        let defs = tensors(space.as_ref())?;
        let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(7));
        Ok(Self { space, defs, weights })
    }

    /// For training.
    pub fn on(&self, device: &Device, precision: Precision) -> Outcome<Supernet> {
        let supernet = Supernet::new(self.defs.clone(), &self.weights, &device.clone().autodiff())?;
        Ok(supernet.with_precision(precision))
    }

    pub fn largest(&self, resolution: u32) -> Outcome<NetSpec> {
        Ok(self.space.resolve(&self.space.max_arch().with_resolution(resolution))?)
    }

    pub fn smallest(&self, resolution: u32) -> Outcome<NetSpec> {
        Ok(self.space.resolve(&self.space.min_arch().with_resolution(resolution))?)
    }
}

/// Images and labels that a seed gives.
pub struct Batch {
    pub images: Images,
    pub labels: Vec<usize>,
}

impl Batch {
    pub fn random(net: &NetSpec, images: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let [channels, height, width] = net.input;
        let shape = [images, height, width, channels];
        let data = (0..shape.iter().product()).map(|_| rng.random_range(-1.0f32..1.0)).collect();
        let labels = (0..images).map(|_| rng.random_range(0..net.classes)).collect();
        Self { images: Images { data, shape }, labels }
    }

    /// The same with images that differ by two units in the last place of each value, up or down.
    pub fn nudged(&self) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(13);
        let mut images = self.images.clone();
        for value in &mut images.data {
            *value *= if rng.random_bool(0.5) { 1.0 + 2.0 * f32::EPSILON } else { 1.0 - 2.0 * f32::EPSILON };
        }
        Self { images, labels: self.labels.clone() }
    }

    pub fn input<'a>(&'a self, subnets: &'a [NetSpec]) -> StepInput<'a> {
        StepInput::from_labels(&self.images, &self.labels, subnets)
    }
}
