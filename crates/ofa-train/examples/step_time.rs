//! How long a training step and an evaluation pass of a space's largest subnet take on the CPU.
//!
//! ```text
//! cargo run -p ofa-train --example step_time
//! OFA_KERNELS=off cargo run -p ofa-train --example step_time    # the plain Burn operations
//! cargo run -p ofa-train --example step_time -- cifar-32 20     # one space, 20 repetitions
//! ```
//!
//! The median is the expected time; on a shared machine, compare the minimum.

use burn::tensor::Device;
use ofa_space::{NetSpec, initialisation, registry, supernet};
use ofa_train::training::optimizer::Optimizer;
use ofa_train::training::step::{StepInput, step};
use ofa_train::{Images, Supernet, to_host};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::error::Error;
use std::time::Instant;

const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let repetitions = arguments.get(1).map_or(Ok(9), |count| count.parse::<usize>())?.max(1);
    let spaces = match arguments.first() {
        Some(space) => vec![space.as_str()],
        None => vec!["tiny-28", "cifar-32"],
    };
    let kernels = std::env::var("OFA_KERNELS").unwrap_or_else(|_| "on".into());
    let threads = std::thread::available_parallelism()?;
    println!("batch {BATCH}, kernels {kernels}, {threads} threads, {repetitions} repetitions");
    for space in spaces {
        measure(space, repetitions)?;
    }
    Ok(())
}

fn measure(name: &str, repetitions: usize) -> Result<(), Box<dyn Error>> {
    let space = registry::load(name)?;
    let net = space.resolve(&space.max_arch())?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let defs = supernet::tensors(space.as_ref())?;
    let weights = initialisation::initialise(&defs, &mut rng);
    let mut model = Supernet::new(defs, &weights, &Device::flex().autodiff())?;

    let [channels, height, width] = net.input;
    let shape = [BATCH, height, width, channels];
    let data = (0..shape.iter().product()).map(|_| rng.random_range(-1.0f32..1.0)).collect();
    let images = Images { data, shape };
    let labels: Vec<usize> = (0..BATCH).map(|image| image % 10).collect();

    let training = training(&mut model, &net, &images, &labels, repetitions)?;
    report(name, "training step", training);

    // Reading the logits waits for the work.
    let running = model.running.clone();
    let prepared = model.prepare(&net, &running);
    let evaluation = timed(repetitions, || {
        to_host(prepared.forward(model.upload(&images)).logits)?;
        Ok(())
    })?;
    report(name, "evaluation", evaluation);
    let recalibration = timed(repetitions, || {
        to_host(model.forward_batch_statistics(&net, &images).logits)?;
        Ok(())
    })?;
    report(name, "recalibration", recalibration);
    Ok(())
}

fn training(
    model: &mut Supernet,
    net: &NetSpec,
    images: &Images,
    labels: &[usize],
    repetitions: usize,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut optimizer = Optimizer::new(0.9, 3e-5);
    let input = StepInput::from_labels(images, labels, std::slice::from_ref(net));
    timed(repetitions, || {
        step(model, &mut optimizer, 0.01, &input)?;
        Ok(())
    })
}

/// Milliseconds of every repetition, in ascending order; two more come first, unmeasured.
fn timed(repetitions: usize, mut work: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Vec<f64>, Box<dyn Error>> {
    work()?;
    work()?;
    let mut times = Vec::with_capacity(repetitions);
    for _ in 0..repetitions {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn report(space: &str, what: &str, times: Vec<f64>) {
    println!("{space:>10} {what:<14} median {:8.2} ms, minimum {:8.2} ms", times[times.len() / 2], times[0]);
}
