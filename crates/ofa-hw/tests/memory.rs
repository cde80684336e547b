//! Memory of the published microcontroller networks under our schedule, beside the figures of MCUNet's model list.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_export::importing::net_config::NetConfig;
use ofa_hw::memory::{Depthwise, Schedule, peak_activation_bytes, weight_bytes};

/// SRAM and flash in kB as MCUNet's README lists them, profiled with TinyEngine on an STM32F746.
///
/// TinyEngine's figures hold more than activations (im2col buffers, the runtime's own state) and its flash the code;
/// ours are activations and weights alone, so ours must be below, and not by much.
const PUBLISHED: [(&str, u32, f64, f64); 2] =
    [("mcunet-320kb-1mb_imagenet.json", 176, 293.0, 897.0), ("proxyless-w0.3-r176_imagenet.json", 176, 292.0, 892.0)];

#[test]
fn published_microcontroller_nets_fit_where_they_were_made_to_fit() {
    let Some(shared) = ofa_reference_data::folder_with(&["data/mcunet"]) else { return };
    for (file, resolution, sram, flash) in PUBLISHED {
        let config = NetConfig::read(&shared.join("data/mcunet").join(file)).unwrap();
        let net = config.net(config.image_size.unwrap_or(resolution)).unwrap();
        let kb = |bytes: u64| bytes as f64 / 1024.0;
        let in_place = kb(peak_activation_bytes(&net, Schedule::MICROCONTROLLER));
        let separate =
            kb(peak_activation_bytes(&net, Schedule { depthwise: Depthwise::Separate, ..Schedule::MICROCONTROLLER }));
        let weights = kb(weight_bytes(&net, 1));
        println!(
            "{file}: activations {in_place:.0} kB in place, {separate:.0} kB separate (published SRAM {sram} kB); \
             weights {weights:.0} kB (published flash {flash} kB)"
        );
        assert!(in_place <= separate);
        assert!(in_place < sram && in_place > 0.5 * sram, "{file}: {in_place}");
        assert!(weights < flash && weights > 0.7 * flash, "{file}: {weights}");
    }
}
