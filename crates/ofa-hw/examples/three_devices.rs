//! Latency of a space's smallest and largest subnet on three devices.
#![allow(clippy::print_stdout)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space = ofa_space::registry::named("ofa-mbv3-w1.2")?;
    for name in ["note10", "pixel4-cpu", "stm32h743"] {
        let device = ofa_hw::load(name)?;
        let latency = |arch: ofa_space::Arch| -> Result<f64, Box<dyn std::error::Error>> {
            Ok(device.latency_ms(&space.resolve(&arch.with_resolution(224))?)?)
        };
        let (smallest, largest) = (latency(space.min_arch())?, latency(space.max_arch())?);
        println!("{name:<12} {smallest:9.2} to {largest:9.2} ms ({})", device.source());
    }
    Ok(())
}
