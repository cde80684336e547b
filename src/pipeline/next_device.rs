//! A finished run gets another device: its plan with further devices and limits.

use super::config::{DeviceConfig, PipelineConfig};
use ofa_search::Limit;

/// Adds devices and limits to a plan. Limits on a quantity join those of an entry for the same device that limits the same
/// quantity alone; what is there already is not added again.
pub fn add(config: &mut PipelineConfig, wanted: &[DeviceConfig]) {
    for new in wanted {
        let place =
            config.search.devices.iter_mut().find(|known| known.device == new.device && is_joinable(known, new));
        match place {
            Some(known) => join(known, new),
            None => config.search.devices.push(new.clone()),
        }
    }
}

/// Whether the cases of both are those of one entry with the limits of both.
fn is_joinable(known: &DeviceConfig, new: &DeviceConfig) -> bool {
    let quantities = |device: &DeviceConfig| device.given().map(|(name, _)| name).collect::<Vec<_>>();
    let (before, now) = (quantities(known), quantities(new));
    let are_equal = serde_json::to_value(known).ok() == serde_json::to_value(new).ok();
    are_equal || (before == now && before.len() == 1 && known.memory_precision() == new.memory_precision())
}

fn join(known: &mut DeviceConfig, new: &DeviceConfig) {
    let add = |limits: &mut Vec<Limit>, more: &[Limit]| {
        for limit in more {
            if !limits.contains(limit) {
                limits.push(*limit);
            }
        }
    };
    add(&mut known.max_latency_ms, &new.max_latency_ms);
    add(&mut known.max_macs, &new.max_macs);
    add(&mut known.max_params, &new.max_params);
    add(&mut known.max_sram_kb, &new.max_sram_kb);
    add(&mut known.max_flash_kb, &new.max_flash_kb);
    add(&mut known.max_energy_mj, &new.max_energy_mj);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pipeline::config::QUICKSTART;

    fn phone(limits: &[f64]) -> DeviceConfig {
        let max_latency_ms = limits.iter().map(|limit| Limit::Value(*limit)).collect();
        DeviceConfig { device: Some("phone".into()), max_latency_ms, ..DeviceConfig::default() }
    }

    #[test]
    fn limits_of_a_known_device_join_its_entry_once() {
        let mut config = PipelineConfig::parse(QUICKSTART, "quickstart").unwrap();
        let before = config.search.devices.len();
        add(&mut config, &[phone(&[5.0, 10.0])]);
        add(&mut config, &[phone(&[10.0, 20.0])]);
        assert_eq!(config.search.devices.len(), before + 1);
        let limits: Vec<String> =
            config.search.devices[before].max_latency_ms.iter().map(ToString::to_string).collect();
        assert_eq!(limits, ["5", "10", "20"]);
        // Limits on another quantity would cross with these, so they are an entry of their own.
        let macs = DeviceConfig { max_macs: vec![Limit::PerCent(50.0)], ..phone(&[]) };
        add(&mut config, std::slice::from_ref(&macs));
        add(&mut config, &[macs]);
        assert_eq!(config.search.devices.len(), before + 2);
        // Nor do those join that are spread over the device's latencies.
        add(&mut config, &[phone(&[])]);
        add(&mut config, &[phone(&[])]);
        assert_eq!(config.search.devices.len(), before + 3);
    }
}
