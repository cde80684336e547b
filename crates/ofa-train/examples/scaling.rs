//! What a training step in shards costs: time, the part of it that is communication, and bytes sent by each rank.
//!
//! ```text
//! cargo run --release -p ofa-train --example scaling -- cifar-32 --batch 64 --steps 20 --threads 2 --shards 1
//! mpirun --bind-to none -n 2 target/release/examples/scaling cifar-32 --batch 64 --steps 20 --threads 1 --shards 2 --distributed mpi
//! ```
//!
//! Steps train the largest subnet. `--json yes` prints a record. `benches/scaling` compares several such lines in turn.

use burn::tensor::Device;
use ofa_space::{initialisation, registry, supernet};
use ofa_train::communication::{CommunicationError, Communicator, connect};
use ofa_train::training::optimizer::Optimizer;
use ofa_train::training::shards::Shards;
use ofa_train::training::step::{StepInput, step};
use ofa_train::{Images, Supernet};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counts what goes through another communicator.
struct Counted {
    inner: Box<dyn Communicator>,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Communicator for Counted {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn exchange(&self, partner: usize, outgoing: &[f32], incoming: &mut [f32]) -> Result<(), CommunicationError> {
        let started = Instant::now();
        let result = self.inner.exchange(partner, outgoing, incoming);
        self.nanoseconds.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(4 * outgoing.len() as u64, Ordering::Relaxed);
        result
    }

    fn send(&self, to: usize, message: &[u8]) -> Result<(), CommunicationError> {
        self.inner.send(to, message)
    }

    fn receive(&self, from: usize) -> Result<Vec<u8>, CommunicationError> {
        self.inner.receive(from)
    }

    fn poll(&self) -> Result<Option<(usize, Vec<u8>)>, CommunicationError> {
        self.inner.poll()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    let number = |name: &str, default: usize| option(name).map_or(Ok(default), |text| text.parse::<usize>());
    let (batch, steps, threads) = (number("--batch", 64)?, number("--steps", 20)?, number("--threads", 1)?);
    let count = number("--shards", 1)?;
    let kind = option("--distributed").unwrap_or_else(|| "single".to_owned());
    let space = registry::load(arguments.first().map_or("cifar-32", String::as_str))?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let inner = connect(&kind, |_, _| std::process::exit(1))?;
    let ranks = Counted { inner, bytes: AtomicU64::new(0), nanoseconds: AtomicU64::new(0) };
    let shards = Shards::new(&ranks, count)?;

    let net = space.resolve(&space.max_arch())?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let defs = supernet::tensors(space.as_ref())?;
    let weights = initialisation::initialise(&defs, &mut rng);
    let mut model = Supernet::new(defs, &weights, &Device::flex().autodiff())?;
    let [channels, height, width] = net.input;
    let shape = [batch / count, height, width, channels];
    let data = (0..shape.iter().product()).map(|_| rng.random_range(-1.0f32..1.0)).collect();
    let images = Images { data, shape };
    let labels: Vec<usize> = (0..shape[0]).map(|image| image % net.classes).collect();
    let inputs: Vec<StepInput<'_>> =
        (0..shards.own()).map(|_| StepInput::from_labels(&images, &labels, std::slice::from_ref(&net))).collect();
    let mut optimizer = Optimizer::new(0.9, 3e-5);
    let mut times = Vec::new();
    let mut communication = Vec::new();
    for round in 0..=steps {
        ranks.barrier()?;
        let (started, before) = (Instant::now(), ranks.nanoseconds.load(Ordering::Relaxed));
        match count {
            1 => drop(step(&mut model, &mut optimizer, 1e-4, &inputs[0])?),
            _ => drop(shards.step(&mut model, &mut optimizer, 1e-4, &inputs, false)?),
        }
        // The first is slower: memory is fetched, and code read.
        if round > 0 {
            times.push(started.elapsed().as_secs_f64() * 1e3);
            communication.push((ranks.nanoseconds.load(Ordering::Relaxed) - before) as f64 / 1e6);
        }
    }
    let bytes = ranks.bytes.load(Ordering::Relaxed) / (steps as u64 + 1);
    let mut alone = sums_alone(&ranks, bytes, steps)?;
    if ranks.rank() == 0 {
        let (time, spent, alone) = (median(&mut times), median(&mut communication), median(&mut alone));
        if option("--json").is_some() {
            let record = serde_json::json!({
                "space": space.name(), "ranks": ranks.size(), "threads": threads, "batch": batch, "shards": count,
                "step_ms": time, "least_ms": times[0], "exchange_ms": spent, "sum_ms": alone, "bytes": bytes,
            });
            println!("{record}");
            return Ok(());
        }
        println!(
            "{}: {} ranks of {threads} threads, batch {batch} in {count} shards: {time:.1} ms a step (least {:.1}), exchanges \
             {spent:.2} ms ({:.1} %), waiting included; a sum alone {alone:.2} ms; {bytes} bytes sent by a rank",
            space.name(),
            ranks.size(),
            times[0],
            100.0 * spent / time,
        );
    }
    Ok(())
}

/// Milliseconds of sums of as many bytes as a step's, all ranks being there when each begins.
fn sums_alone(ranks: &Counted, bytes: u64, times: usize) -> Result<Vec<f64>, Box<dyn Error>> {
    let size = ranks.size();
    // Of a buffer, a rank sends 2 (R − 1) / R; of one that ranks do not divide, some send a little more.
    let mut values = (bytes * size as u64 / (8 * (size as u64 - 1).max(1))).to_le_bytes().to_vec();
    ranks.broadcast(&mut values)?;
    let values = values.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut buffer = vec![1.0f32; values as usize];
    let mut spent = Vec::new();
    for _ in 0..times.max(1) {
        ranks.barrier()?;
        let started = Instant::now();
        ranks.sum(&mut buffer)?;
        spent.push(started.elapsed().as_secs_f64() * 1e3);
        buffer.fill(1.0);
    }
    Ok(spent)
}

/// Sorts them.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
