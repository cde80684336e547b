//! Energy as a search objective.

use crate::backend::HardwareBackend;
use crate::error::HwError;
use ofa_space::{Arch, Objective, ObjectiveError, SearchSpace};
use std::sync::Arc;

/// Energy of one image through a space's subnets on a device, in millijoules, under the name `energy_mj`.
pub struct EnergyObjective {
    space: Arc<dyn SearchSpace>,
    device: Arc<dyn HardwareBackend>,
}

impl EnergyObjective {
    /// The energy that subnets of `space` need on `device`.
    ///
    /// # Errors
    /// [`HwError::NoEnergy`] if the device gives none (see [`HardwareBackend::energy_mj`]).
    pub fn new(space: Arc<dyn SearchSpace>, device: Arc<dyn HardwareBackend>) -> Result<Self, HwError> {
        match device.energy_mj(&space.resolve(&space.min_arch())?) {
            Some(_) => Ok(Self { space, device }),
            None => Err(HwError::NoEnergy),
        }
    }
}

impl Objective for EnergyObjective {
    fn name(&self) -> &str {
        "energy_mj"
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        // A device that gives the energy of some networks only gives no reason to choose the others.
        let energy = |arch| Ok(self.device.energy_mj(&self.space.resolve(arch)?).unwrap_or(f64::INFINITY));
        archs.iter().map(energy).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_energy_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let space = ofa_space::registry::named("tiny-28")?;
        let table = crate::named("note10")?;
        assert!(matches!(EnergyObjective::new(space.clone(), table), Err(HwError::NoEnergy)));
        let text = "[device]\nkind = \"roofline\"\npeak_gmacs = 10.0\npeak_source = \"s\"\nbandwidth_gb_s = 50.0\n\
                    bandwidth_source = \"s\"\npj_per_mac = 2.0\npj_per_byte = 10.0\nenergy_source = \"s\"\n";
        let device = crate::registry::from_profile(text, "board.toml")?;
        let energy = EnergyObjective::new(space.clone(), device.clone())?;
        let found = energy.evaluate(&[space.min_arch(), space.max_arch()]).map_err(|e| e.to_string())?;
        assert_eq!(Some(found[0]), device.energy_mj(&space.resolve(&space.min_arch())?));
        assert!(found[0] < found[1]);
        Ok(())
    }
}
