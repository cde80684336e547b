//! Which subnets a training step trains, as plug-ins: `sampler = { kind = "…" }` in a training file.

mod compound_coupling;
mod cost_window;
mod pareto_aware;
mod sandwich;
mod uniform;

pub use compound_coupling::CompoundCoupling;
pub use cost_window::CostWindow;
pub use pareto_aware::{ParetoAware, Side};
pub use sandwich::Sandwich;
pub use uniform::Uniform;

use crate::error::TrainError;
use ofa_space::plugin::Entry;
use ofa_space::{Arch, Opened, SearchSpace, Settings};
use rand::Rng;
use std::fmt::Debug;

/// Chooses the subnets of a step. Configured by `kind` in TOML; plugins submit a [`SamplerEntry`].
#[typetag::serde(tag = "kind")]
pub trait Sampler: Settings + Debug + Send + Sync {
    /// `request.count` archs among the opened choices; the trainer sets their resolution: that of the batch, but see
    /// [`first_at_largest_resolution`](Self::first_at_largest_resolution).
    /// Everything random comes from the request's generator, so that a step can be repeated.
    ///
    /// # Errors
    /// What [`Request::judge`] reports.
    fn sample(&self, request: &mut Request<'_>) -> Result<Vec<Arch>, TrainError>;

    /// Which network teaches the subnets of a step.
    fn teaching(&self) -> Teaching {
        Teaching::Frozen
    }

    /// Whether the first subnet of every step takes the batch at the largest resolution of the phase, whatever the others take.
    fn first_at_largest_resolution(&self) -> bool {
        false
    }
}

/// A request for the subnets of a step.
pub struct Request<'a> {
    /// The space.
    pub space: &'a dyn SearchSpace,
    /// Choices that may be drawn.
    pub opened: &'a Opened,
    /// How many archs.
    pub count: usize,
    /// Resolution of the step's batch.
    pub resolution: u32,
    /// Source of everything random.
    pub rng: &'a mut dyn Rng,
    /// Loss of a subnet on the step's batch with the weights of the moment (cross-entropy against the labels, batch
    /// statistics, no gradients).
    pub judge: &'a mut dyn FnMut(&Arch) -> Result<f32, TrainError>,
}

/// Which network teaches the subnets of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Teaching {
    /// The max subnet as it was when the first phase that distils began: after the first phase in the paper: each subnet learns from labels and from it.
    Frozen,
    /// The first subnet of the step itself, which is the max subnet: it learns from labels, the others from its logits
    /// (BigNAS's in-place distillation).
    InPlace,
}

/// A registered sampler.
pub struct SamplerEntry {
    /// Value of `kind`.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
}

inventory::collect!(SamplerEntry);

impl Entry for SamplerEntry {
    const WHAT: &'static str = "sampler";

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

/// The smallest subnet among the opened choices, at the smallest resolution.
pub fn smallest(space: &dyn SearchSpace, opened: &Opened) -> Arch {
    let info = space.info();
    let choices = info
        .genes
        .iter()
        .map(|gene| gene.open_choices(opened).next().unwrap_or((gene.choices.len() - 1) as u8))
        .collect();
    // Choices come from the genes themselves, so they are in range; the max arch is returned for an empty space.
    space.arch(choices, info.resolutions.first().copied()).unwrap_or_else(|_| space.max_arch())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ofa_space::plugin;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// What `sampler` draws in its first step from this seed; subnets are judged by their cost.
    pub(crate) fn draw(sampler: &dyn Sampler, space: &dyn SearchSpace, opened: Opened, count: usize) -> Vec<Arch> {
        let resolution = space.info().resolutions[0];
        let mut judge = |arch: &Arch| {
            let net = space.resolve(&arch.with_resolution(resolution))?;
            Ok(-(ofa_space::cost::params(&net) as f32))
        };
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut request = Request { space, opened: &opened, count, resolution, rng: &mut rng, judge: &mut judge };
        sampler.sample(&mut request).unwrap()
    }

    #[test]
    fn every_entry_can_be_configured_and_draws_opened_choices_only() {
        let space = ofa_space::registry::named("tiny-28").unwrap();
        let opened = Opened { kernel_size: 1, depth: 1, expansion: 0, width: 0 };
        let entries = plugin::entries::<SamplerEntry>();
        assert!(entries.len() >= 4);
        for entry in entries {
            let table = format!("kind = \"{}\"", entry.name);
            let sampler: Box<dyn Sampler> = toml::from_str(&table).unwrap();
            sampler.check().unwrap();
            let archs = draw(sampler.as_ref(), space.as_ref(), opened, 4);
            assert_eq!(archs.len(), 4, "{}", entry.name);
            for arch in &archs {
                for (index, (gene, choice)) in space.info().genes.iter().zip(arch.choices()).enumerate() {
                    let open = gene.open_choices(&opened).any(|open| open == *choice);
                    let skipped = !gene.is_active(&space.info().genes, arch.choices());
                    assert!(open || skipped, "{}: gene {index} takes choice {choice}", entry.name);
                }
            }
            assert_eq!(archs, draw(sampler.as_ref(), space.as_ref(), opened, 4), "{} does not repeat", entry.name);
        }
    }
}
