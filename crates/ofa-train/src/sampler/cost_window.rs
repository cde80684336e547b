//! Uniform sampling within a window of costs: training is spent on the subnets that will be asked for.

use super::{Request, Sampler, SamplerEntry};
use crate::error::TrainError;
use ofa_space::{Arch, InvalidSetting, Settings, cost, settings};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// Uniform draws until one costs between `from` and `to` of the largest subnet's multiply-accumulates at the largest
/// resolution. After 30 draws the one that is nearest to the window is taken: at a small resolution every subnet may
/// be below it.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `from` | 0 | least share | 0 to below 1 |
/// | `to` | 0.5 | largest share | more than `from`, up to 1 |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostWindow {
    /// Least share of the largest subnet's cost.
    pub from: f64,
    /// Largest share of it.
    pub to: f64,
}

impl Default for CostWindow {
    fn default() -> Self {
        Self { from: 0.0, to: 0.5 }
    }
}

/// Draws for one subnet.
const TRIES: usize = 30;

impl Settings for CostWindow {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("from", self.from, 0.0..1.0)?;
        settings::number("to", self.to, (Bound::Excluded(self.from), Bound::Included(1.0)))
    }
}

#[typetag::serde(name = "cost_window")]
impl Sampler for CostWindow {
    fn sample(&self, request: &mut Request<'_>) -> Result<Vec<Arch>, TrainError> {
        let space = request.space;
        let largest = cost::macs(&space.resolve(&space.max_arch())?) as f64;
        let mut archs = Vec::with_capacity(request.count);
        for _ in 0..request.count {
            let mut nearest: Option<(f64, Arch)> = None;
            for _ in 0..TRIES {
                let arch = space.sample(request.opened, request.rng);
                let net = space.resolve(&arch.with_resolution(request.resolution))?;
                let share = cost::macs(&net) as f64 / largest;
                let outside = (self.from - share).max(share - self.to).max(0.0);
                if nearest.as_ref().is_none_or(|(distance, _)| outside < *distance) {
                    nearest = Some((outside, arch));
                }
                if outside == 0.0 {
                    break;
                }
            }
            archs.extend(nearest.map(|(_, arch)| arch));
        }
        Ok(archs)
    }
}

inventory::submit! {
    SamplerEntry { name: "cost_window", about: "uniform among the subnets whose cost lies in a window" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sampler::tests::draw;
    use ofa_space::{Opened, registry};

    #[test]
    fn subnets_lie_in_the_window_or_near_it() {
        let space = registry::named("cifar-32").unwrap();
        let share = |arch: &Arch| {
            let macs = |arch: &Arch| cost::macs(&space.resolve(arch).unwrap()) as f64;
            macs(&arch.with_resolution(space.info().resolutions[0])) / macs(&space.max_arch())
        };
        let window = CostWindow { from: 0.2, to: 0.3 };
        let archs = draw(&window, space.as_ref(), Opened::EVERYTHING, 20);
        assert_eq!(archs.len(), 20);
        let inside = archs.iter().filter(|arch| (0.2..=0.3).contains(&share(arch))).count();
        assert!(inside >= 18, "{inside} of 20");
        // Nothing is that small: the smallest that were drawn are taken.
        let tiny = draw(&CostWindow { from: 0.0, to: 1e-6 }, space.as_ref(), Opened::EVERYTHING, 5);
        let mean = |archs: &[Arch]| archs.iter().map(&share).sum::<f64>() / archs.len() as f64;
        assert!(mean(&tiny) < mean(&archs));
        assert!(CostWindow { from: 0.5, to: 0.4 }.check().is_err());
    }
}
