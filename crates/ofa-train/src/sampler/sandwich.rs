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
/// | `largest_resolution` | false | the largest subnet takes every batch at the largest resolution, the others at the batch's own, as in BigNAS; false: all at the batch's own, as in the paper of Once-for-All |
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandwich {
    /// Whether the step's largest subnet teaches.
    pub in_place: bool,
    /// Whether the largest subnet takes every batch at the largest resolution.
    #[serde(skip_serializing_if = "is_off")]
    pub largest_resolution: bool,
}

fn is_off(flag: &bool) -> bool {
    !flag
}

impl Default for Sandwich {
    fn default() -> Self {
        Self { in_place: true, largest_resolution: false }
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

    fn first_at_largest_resolution(&self) -> bool {
        self.largest_resolution
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

    #[test]
    fn the_largest_resolution_is_asked_for_and_left_out_of_older_files() {
        let read = |text: &str| toml::from_str::<Box<dyn Sampler>>(text).unwrap();
        let plain = read("kind = \"sandwich\"");
        assert!(!plain.first_at_largest_resolution());
        assert!(!serde_json::to_string(&plain).unwrap().contains("largest_resolution"));
        assert!(read("kind = \"sandwich\"\nlargest_resolution = true").first_at_largest_resolution());
    }
}
