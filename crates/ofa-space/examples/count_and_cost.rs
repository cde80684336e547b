//! Counts the subnets of a space and computes the cost of three of them, without a deep-learning framework.
//!
//! `cargo run --release -p ofa-space --example count_and_cost [SPACE or FILE.toml]`
#![allow(clippy::print_stdout)]

use ofa_space::memory::{self, Schedule};
use ofa_space::{Opened, cost, registry};
use rand::SeedableRng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "ofa-mbv3-w1.0".into());
    let space = registry::load(&name)?;
    println!("{}: {} subnets at each of {} resolutions", space.name(), space.subnets(), space.info().resolutions.len());
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let random = space.sample(&Opened::EVERYTHING, &mut rng);
    for (label, arch) in [("smallest", space.min_arch()), ("random", random), ("largest", space.max_arch())] {
        let net = space.resolve(&arch)?;
        println!(
            "{label:>8}: {:7.1} M MACs, {:5.2} M parameters, {:5.0} KiB peak activations in f32, {} blocks at {} px",
            cost::macs(&net) as f64 / 1e6,
            cost::params(&net) as f64 / 1e6,
            memory::peak_activation_bytes(&net, Schedule::F32) as f64 / 1024.0,
            net.blocks.len(),
            net.input[1]
        );
    }
    Ok(())
}
