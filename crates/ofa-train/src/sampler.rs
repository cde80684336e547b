//! Which subnets a training step trains.

use ofa_space::{Arch, Opened, SearchSpace, sampling};
use rand::Rng;
use std::fmt::Debug;

/// Chooses the subnets of a step. Configured by `kind` in TOML; plugins submit a [`SamplerEntry`].
#[typetag::serde(tag = "kind")]
pub trait Sampler: Debug + Send + Sync {
    /// `count` archs among the opened choices; their resolution is set by the trainer (one per batch).
    fn sample(&self, space: &dyn SearchSpace, opened: &Opened, count: usize, rng: &mut dyn Rng) -> Vec<Arch>;
}

/// A registered sampler.
pub struct SamplerEntry {
    /// Value of `kind`.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
}

inventory::collect!(SamplerEntry);

/// Every registered sampler, by name.
pub fn entries() -> Vec<&'static SamplerEntry> {
    let mut all: Vec<&SamplerEntry> = inventory::iter::<SamplerEntry>.into_iter().collect();
    all.sort_by_key(|entry| entry.name);
    all
}

/// Every gene uniformly at random (the paper).
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uniform {}

#[typetag::serde(name = "uniform")]
impl Sampler for Uniform {
    fn sample(&self, space: &dyn SearchSpace, opened: &Opened, count: usize, rng: &mut dyn Rng) -> Vec<Arch> {
        (0..count).map(|_| sampling::sample(space, opened, rng)).collect()
    }
}

inventory::submit! {
    SamplerEntry { name: "uniform", about: "every gene uniformly at random (the paper)" }
}

/// The largest and the smallest opened subnet in every step, the rest uniform (BigNAS's sandwich rule).
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandwich {}

#[typetag::serde(name = "sandwich")]
impl Sampler for Sandwich {
    fn sample(&self, space: &dyn SearchSpace, opened: &Opened, count: usize, rng: &mut dyn Rng) -> Vec<Arch> {
        let mut archs = vec![space.max_arch()];
        archs.push(smallest(space, opened));
        archs.extend((2..count).map(|_| sampling::sample(space, opened, rng)));
        archs.truncate(count);
        archs
    }
}

inventory::submit! {
    SamplerEntry { name: "sandwich", about: "largest and smallest opened subnet in every step, the rest uniform (BigNAS)" }
}

/// The smallest subnet among the opened choices, at the smallest resolution.
pub fn smallest(space: &dyn SearchSpace, opened: &Opened) -> Arch {
    let info = space.info();
    let choices = info
        .genes
        .iter()
        .map(|gene| gene.open_choices(opened).next().unwrap_or((gene.choices.len() - 1) as u8))
        .collect();
    // Choices come from the genes themselves, so they are in range; the max arch stands in for an empty space.
    space.arch(choices, info.resolutions.first().copied()).unwrap_or_else(|_| space.max_arch())
}
