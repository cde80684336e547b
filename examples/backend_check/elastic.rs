//! Training steps of random subnets at every resolution, in three rounds: the first visit of each, when kernels may have to be
//! compiled and chosen, the second, and the third, which is the steady state.

use crate::networks::{Batch, Fresh};
use crate::{Options, Outcome, report};
use ofa::space::{NetSpec, Opened};
use ofa::train::device::Device;
use ofa::train::training::optimizer::Optimizer;
use ofa::train::training::step::queue_step;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::time::Instant;

pub fn time(device: &Device, options: &Options) -> Outcome<()> {
    let (space, subnets, images) = if options.small { ("tiny-28", 10, 16) } else { ("cifar-32", 40, 64) };
    let fresh = Fresh::new(space, 10)?;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let sizes = fresh.space.info().resolutions.clone();
    let nets = (0..subnets)
        .map(|index| {
            let arch = fresh.space.sample(&Opened::EVERYTHING, &mut rng);
            Ok(fresh.space.resolve(&arch.with_resolution(sizes[index % sizes.len()]))?)
        })
        .collect::<Outcome<Vec<NetSpec>>>()?;
    let mut model = fresh.on(device, options.precision)?;
    let mut optimizer = Optimizer::new(0.9, 3e-5);
    for round in 1..=3 {
        let mut milliseconds = Vec::with_capacity(nets.len());
        let started = Instant::now();
        for net in &nets {
            let batch = Batch::random(net, images, 5);
            let input = batch.input(std::slice::from_ref(net));
            let begun = Instant::now();
            let outcome = queue_step(&mut model, &mut optimizer, 0.01, &input)?.read()?;
            model.running.follow(&outcome.moments, 0.1);
            milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let seconds = started.elapsed().as_secs_f64();
        milliseconds.sort_by(f64::total_cmp);
        report(
            "elastic",
            json!({
                "backend": options.backend, "space": space, "subnets": subnets, "images": images, "round": round,
                "seconds": seconds, "median_ms": milliseconds[milliseconds.len() / 2],
                "longest_ms": milliseconds.last(), "host_mb": host_mb(),
            }),
        );
    }
    Ok(())
}

/// Memory of this process.
pub fn host_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
