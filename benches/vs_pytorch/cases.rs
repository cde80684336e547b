//! The networks that are compared.

use crate::Outcome;
use ofa::space::{Arch, NetSpec, SearchSpace, Weights, extraction, initialisation, registry, supernet};
use ofa::train::Images;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A subnet of a space, with a batch and a resolution.
#[derive(Clone)]
pub struct Case {
    /// Begins with the space's.
    pub name: String,
    space: &'static str,
    subnet: &'static str,
    resolution: u32,
    /// Images of a batch.
    pub batch: usize,
}

const CASES: [(&str, &str, u32, usize); 8] = [
    ("cifar-32", "max", 32, 64),
    ("cifar-32", "mid", 32, 64),
    ("cifar-32", "min", 32, 64),
    ("ofa-mbv3-w1.0", "max", 128, 32),
    ("ofa-mbv3-w1.0", "min", 128, 32),
    ("ofa-mbv3-w1.0", "max", 224, 8),
    ("ofa-mbv3-w1.0", "min", 224, 8),
    ("ofa-resnet50", "max", 128, 8),
];

/// The cases whose names begin with one of these, all if none is given, with so many times their batch.
pub fn matching(wanted: &[String], times: usize) -> Outcome<Vec<Case>> {
    let all = CASES.map(|(space, subnet, resolution, batch)| {
        let batch = batch * times;
        let name = format!("{space}-{subnet}-r{resolution}-b{batch}");
        Case { name, space, subnet, resolution, batch }
    });
    if let Some(unknown) = wanted.iter().find(|name| !all.iter().any(|case| case.name.starts_with(name.as_str()))) {
        let names: Vec<&str> = all.iter().map(|case| case.name.as_str()).collect();
        return Err(format!("no case begins with `{unknown}`; there are {names:?}").into());
    }
    let chosen = |case: &Case| wanted.is_empty() || wanted.iter().any(|name| case.name.starts_with(name.as_str()));
    Ok(all.into_iter().filter(chosen).collect())
}

impl Case {
    fn arch(&self, space: &dyn SearchSpace) -> Outcome<Arch> {
        let arch = match self.subnet {
            "max" => space.max_arch(),
            "min" => space.min_arch(),
            _ => {
                let middle = space.info().genes.iter().map(|gene| (gene.choices.len() / 2) as u8).collect();
                space.arch(middle, None)?
            }
        };
        Ok(arch.with_resolution(self.resolution))
    }

    /// The space, the subnet, and the supernet's weights.
    pub fn load(&self) -> Outcome<(Arc<dyn SearchSpace>, NetSpec, Weights)> {
        let space = registry::load(self.space)?;
        let net = space.resolve(&self.arch(space.as_ref())?)?;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let weights = initialisation::initialise(&supernet::tensors(space.as_ref())?, &mut rng);
        Ok((space, net, weights))
    }

    /// Writes what the peer reads: the network by itself, its weights, the images.
    pub fn write(&self, folder: &Path) -> Outcome<()> {
        let (_, net, weights) = self.load()?;
        let (net, weights) = extraction::extract(&net, &weights)?;
        std::fs::write(folder.join("net.json"), serde_json::to_vec(&net)?)?;
        weights.save(&folder.join("weights.safetensors"), &BTreeMap::new())?;
        std::fs::write(folder.join("net.onnx"), ofa::export::onnx::export_net(&net, &weights, &BTreeMap::new())?)?;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let values = self.batch * net.input.iter().product::<usize>();
        let bytes = (0..values).flat_map(|_| rng.random_range(-1.0f32..1.0).to_le_bytes()).collect::<Vec<u8>>();
        std::fs::write(folder.join("images.f32"), bytes)?;
        Ok(())
    }

    /// The images that [`Self::write`] wrote.
    pub fn images(&self, folder: &Path, net: &NetSpec) -> Outcome<Images> {
        let bytes = std::fs::read(folder.join("images.f32"))?;
        let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let [c, h, w] = net.input;
        Ok(Images::from_nchw(&values, [self.batch, c, h, w]))
    }
}
