//! Energy as a search objective.

use crate::backend::HardwareBackend;
use crate::error::HwError;
use crate::objectives::objective_of_field;
use ofa_space::{Arch, BlockObjective, FnObjective, Objective, SearchSpace};
use std::sync::Arc;

/// Energy of one image through a space's subnets on a device, in millijoules, under the name `energy_mj`. Where the device
/// gives that of blocks, it is tabulated.
pub struct EnergyObjective(Box<dyn Objective>);

const NAME: &str = "energy_mj";

impl EnergyObjective {
    /// The energy that subnets of `space` need on `device`.
    ///
    /// # Errors
    /// [`HwError::NoEnergy`] if the device gives none (see [`HardwareBackend::energy_mj`]).
    pub fn new(space: Arc<dyn SearchSpace>, device: Arc<dyn HardwareBackend>) -> Result<Self, HwError> {
        let smallest = space.resolve(&space.min_arch())?;
        let blockwise = device.block_mj(&smallest, 0).is_some();
        if !blockwise && device.energy_mj(&smallest).is_none() {
            return Err(HwError::NoEnergy);
        }
        // A device that gives the energy of some networks only gives no reason to choose the others.
        let given = |energy: Option<f64>| energy.unwrap_or(f64::INFINITY);
        Ok(Self(match blockwise {
            true => {
                Box::new(BlockObjective::new(NAME, space, move |net, block| Ok(given(device.block_mj(net, block)))))
            }
            false => {
                Box::new(FnObjective::new(NAME, move |arch: &Arch| Ok(given(device.energy_mj(&space.resolve(arch)?)))))
            }
        }))
    }
}

objective_of_field!(EnergyObjective, 0);

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
        let whole = device.energy_mj(&space.resolve(&space.min_arch())?).unwrap_or(f64::NAN);
        assert!((found[0] - whole).abs() <= 1e-12 * whole, "{found:?}, {whole}");
        assert!(found[0] < found[1]);
        Ok(())
    }
}
