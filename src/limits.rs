//! Limits of a search: the least that each limited quantity can be, and what to write where no network was found.

use crate::failure::Failure;
use clap::ValueEnum;
use ofa_hw::memory::{Depthwise, Schedule};
use ofa_hw::{EnergyObjective, FlashObjective, HardwareBackend, HwError, SramObjective};
use ofa_search::{Limit, LimitList, Minimum};
use ofa_space::{Genes, Objective, SearchSpace};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Width of weights and activations, for limits on memory.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryPrecision {
    /// One byte.
    #[default]
    Int8,
    /// Two bytes.
    F16,
    /// Four bytes.
    F32,
}

impl MemoryPrecision {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            MemoryPrecision::Int8 => "int8",
            MemoryPrecision::F16 => "f16",
            MemoryPrecision::F32 => "f32",
        }
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            MemoryPrecision::Int8 => 1,
            MemoryPrecision::F16 => 2,
            MemoryPrecision::F32 => 4,
        }
    }
}

/// Limits on memory and energy.
#[derive(Clone, Copy, Debug)]
pub struct MemoryAndEnergy<'a> {
    /// kB of 1,024 bytes of activations; depthwise convolutions work in place.
    pub max_sram_kb: &'a [Limit],
    /// kB of 1,024 bytes of weights.
    pub max_flash_kb: &'a [Limit],
    /// Millijoules of an image.
    pub max_energy_mj: &'a [Limit],
    /// Width of weights and activations.
    pub precision: MemoryPrecision,
}

/// A quantity, and its limits.
pub type Limited<'a> = (Arc<dyn Objective>, &'a [Limit]);

impl<'a> MemoryAndEnergy<'a> {
    /// Every quantity that is limited, with its limits.
    ///
    /// # Errors
    /// [`Failure::Input`] if energy is limited and the device's profile has none.
    pub fn objectives(
        self,
        space: &Arc<dyn SearchSpace>,
        device: Option<&Arc<dyn HardwareBackend>>,
    ) -> Result<Vec<Limited<'a>>, Failure> {
        let bytes = self.precision.bytes();
        let mut found: Vec<Limited<'a>> = Vec::new();
        if !self.max_sram_kb.is_empty() {
            let schedule = Schedule { bytes_per_element: bytes, depthwise: Depthwise::InPlace };
            found.push((Arc::new(SramObjective::new(space.clone(), schedule)), self.max_sram_kb));
        }
        if !self.max_flash_kb.is_empty() {
            found.push((Arc::new(FlashObjective::new(space.clone(), bytes)), self.max_flash_kb));
        }
        if let (false, Some(device)) = (self.max_energy_mj.is_empty(), device) {
            let energy = EnergyObjective::new(space.clone(), device.clone()).map_err(|error| match error {
                HwError::NoEnergy => Failure::Input(format!("max_energy_mj: {error}")),
                other => other.into(),
            })?;
            found.push((Arc::new(energy), self.max_energy_mj));
        }
        Ok(found)
    }
}

/// What is known about a limited quantity before any search.
#[derive(Clone, PartialEq, Debug)]
pub struct Bounds {
    /// Name of the quantity.
    pub name: String,
    /// The exact minimum over all subnets; `None` where the quantity is neither a sum nor a maximum over blocks.
    pub minimum: Option<f64>,
    /// Its value for the largest subnet, where it is such a sum or maximum.
    pub largest: Option<f64>,
}

impl Bounds {
    /// The bounds of every list.
    ///
    /// # Errors
    /// [`Failure`] if a quantity cannot be computed for the subnet that has its minimum.
    pub fn of(lists: &[LimitList], genes: &dyn Genes) -> Result<Vec<Self>, Failure> {
        let bounds = |list: &LimitList| {
            let objective = list.objective.as_ref();
            let minimum = Minimum::of(objective, genes)?.map(|least| least.value);
            // A device that measures is not asked.
            let max = genes.max_arch();
            let largest = objective.over_blocks(max.resolution()).map(|over_blocks| over_blocks.value(max.choices()));
            let largest = largest.filter(|value| value.is_finite());
            Ok(Self { name: objective.name().to_owned(), minimum, largest })
        };
        lists.iter().map(bounds).collect()
    }

    /// The known minima in a sentence; `None` if there are none.
    pub fn minima_in_words(bounds: &[Self]) -> Option<String> {
        let known = bounds.iter().filter_map(|bound| Some(format!("{} {}", bound.name, rounded_up(bound.minimum?))));
        let known: Vec<String> = known.collect();
        (!known.is_empty()).then(|| format!("smallest possible: {}", known.join(", ")))
    }

    /// A sentence for every limit that the largest subnet keeps.
    pub fn loose_limits(bounds: &[Self], lists: &[LimitList]) -> Vec<String> {
        let mut notes = Vec::new();
        for (bound, list) in bounds.iter().zip(lists) {
            let Some(largest) = bound.largest else { continue };
            for limit in list.limits.iter().filter(|limit| **limit > largest && limit.is_finite()) {
                let (name, largest) = (&bound.name, rounded_up(largest));
                notes.push(format!("your limit {name} ≤ {limit} is above the largest network, which has {largest}"));
            }
        }
        notes
    }
}

/// Why a case has no network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unfound {
    /// Exact minima of the limited quantities, where known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub minimum: BTreeMap<String, f64>,
    /// Whether one of them is above its limit. Otherwise there may be a network that the search did not find.
    #[serde(default)]
    pub infeasible: bool,
    /// Subnets that the search evaluated; earlier versions did not count them.
    #[serde(default)]
    pub evaluations: usize,
}

impl Unfound {
    /// The verdict on these limits, in the order of the bounds, after so many evaluations.
    pub fn of(bounds: &[Bounds], limits: &[f64], evaluations: usize) -> Self {
        let known = bounds.iter().zip(limits).filter_map(|(bound, limit)| Some((bound, bound.minimum?, *limit)));
        let infeasible = known.clone().any(|(_, minimum, limit)| minimum > limit);
        Self {
            minimum: known.map(|(bound, minimum, _)| (bound.name.clone(), minimum)).collect(),
            infeasible,
            evaluations,
        }
    }

    /// The verdict as a sentence, without the closest that was found.
    pub fn in_words(&self, limits: &BTreeMap<String, f64>) -> String {
        let above = limits.iter().filter_map(|(name, limit)| {
            let minimum = self.minimum.get(name).filter(|minimum| *minimum > limit)?;
            Some(format!("no subnet has {name} below {}", rounded_up(*minimum)))
        });
        match (self.infeasible, self.evaluations) {
            (true, _) => format!("infeasible: {}", above.collect::<Vec<_>>().join(", ")),
            (false, 0) => "none found".to_owned(),
            (false, evaluations) => format!("none found in {evaluations} evaluations"),
        }
    }
}

/// A positive number in at most four digits, not below it: a limit of what is printed can be kept.
pub fn rounded_up(value: f64) -> String {
    const DIGITS: f64 = 4.0;
    if value.fract() == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (DIGITS - 1.0 - value.abs().log10().floor()).max(0.0);
    let unit = 10f64.powf(digits);
    format!("{:.*}", digits as usize, (value * unit).ceil() / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_minima_are_limits_that_can_be_kept() {
        assert_eq!(rounded_up(0.183_412), "0.1835");
        assert_eq!(rounded_up(12_345.6), "12346");
        assert_eq!(rounded_up(412_345.0), "412345");
        for value in [0.183_412_f64, 3.000_01, 99.995, 1234.5, 7.1e-5] {
            assert!(rounded_up(value).parse().is_ok_and(|printed: f64| printed >= value), "{value}");
        }
    }

    #[test]
    fn a_case_is_infeasible_only_below_a_minimum() {
        let bound = |name: &str, minimum| Bounds { name: name.to_owned(), minimum, largest: Some(100.0) };
        let bounds = [bound("latency_ms", Some(2.0)), bound("energy_mj", None)];
        let named = |limits: [f64; 2]| -> BTreeMap<String, f64> {
            bounds.iter().map(|bound| bound.name.clone()).zip(limits).collect()
        };
        let verdict = |limits: [f64; 2]| Unfound::of(&bounds, &limits, 7).in_words(&named(limits));
        assert_eq!(verdict([1.0, 1.0]), "infeasible: no subnet has latency_ms below 2");
        assert_eq!(verdict([2.0, 0.1]), "none found in 7 evaluations");
    }
}
