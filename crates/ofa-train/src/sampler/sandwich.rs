//! The sandwich rule of BigNAS (Yu et al., ECCV 2020).

use super::{Request, Sampler, SamplerEntry, Teaching, smallest};
use crate::error::TrainError;
use ofa_space::{Arch, InvalidSetting, Settings};
use serde::{Deserialize, Serialize};

/// The largest and the smallest opened subnet in every step, the rest uniform. The largest teaches the others in the
/// same step. With `subnets_per_step = 1` only the largest is trained.
///
/// | name | default | purpose |
/// |---|---|---|
/// | `in_place` | true | the step's largest subnet teaches; false: the frozen one of the paper |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandwich {
    /// Whether the step's largest subnet teaches.
    pub in_place: bool,
}

impl Default for Sandwich {
    fn default() -> Self {
        Self { in_place: true }
    }
}

impl Settings for Sandwich {
    fn check(&self) -> Result<(), InvalidSetting> {
        Ok(())
    }
}

#[typetag::serde(name = "sandwich")]
impl Sampler for Sandwich {
    fn sample(&self, request: &mut Request<'_>) -> Result<Vec<Arch>, TrainError> {
        let mut archs = vec![request.space.max_arch(), smallest(request.space, request.opened)];
        archs.extend((2..request.count).map(|_| request.space.sample(request.opened, request.rng)));
        archs.truncate(request.count);
        Ok(archs)
    }

    fn teaching(&self) -> Teaching {
        if self.in_place { Teaching::InPlace } else { Teaching::Frozen }
    }
}

inventory::submit! {
    SamplerEntry {
        name: "sandwich",
        about: "largest and smallest opened subnet in every step, the rest uniform; the largest teaches (BigNAS)",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sampler::tests::draw;
    use ofa_space::{Opened, registry};

    #[test]
    fn the_largest_comes_first_and_the_smallest_second() {
        let space = registry::named("tiny-28").unwrap();
        let archs = draw(&Sandwich::default(), space.as_ref(), Opened::EVERYTHING, 3);
        assert_eq!(archs[0], space.max_arch());
        assert_eq!(archs[1].choices(), space.min_arch().choices());
        assert_eq!(draw(&Sandwich::default(), space.as_ref(), Opened::EVERYTHING, 1), [space.max_arch()]);
    }
}
