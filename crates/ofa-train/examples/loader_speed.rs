//! How fast images are loaded from a folder, and how much this slows down training.
//!
//! ```text
//! cargo run --release -p ofa-train --example loader_speed -- FOLDER [SIDE] [IMAGES] [STEPS] [PYTHON]
//! ```
//!
//! 1. The loader alone: JPEG files decoded, augmented and normalised, in batches of 64; then the same from memory.
//!    Small images of one size are shifted and mirrored, photos cropped at random and mirrored.
//! 2. With PYTHON, an interpreter that has torchvision: its `ImageFolder` and `DataLoader(num_workers=2)` on the same
//!    files with the same transforms (`loader_speed.py`). They alternate three times; the median of the ratios is
//!    printed.
//! 3. Training steps of the largest subnet of a CIFAR-sized space, with images from the loader or from tensors prepared
//!    in advance, alternating; compares the medians over all steps.

use burn::tensor::Device;
use ofa_space::Resize;
use ofa_space::{initialisation, registry, supernet};
use ofa_train::data::batches::epoch_order;
use ofa_train::data::prefetch::prefetch;
use ofa_train::data::{self, Augmentation, Dataset, Flip, LoadOptions};
use ofa_train::training::optimizer::Optimizer;
use ofa_train::training::step::{StepInput, step};
use ofa_train::{Images, Supernet};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::error::Error;
use std::process::Command;
use std::time::Instant;

const BATCH: usize = 64;
const AHEAD: usize = 2;
const ROUNDS: usize = 3;
const VARIED: Augmentation =
    Augmentation { shift: 3, flip: Flip::Always, crop_area: 0.08, brightness: 0.0, contrast: 0.0, saturation: 0.0 };

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: loader_speed FOLDER [SIDE] [IMAGES] [STEPS]")?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse::<usize>());
    let (side, images, steps) = (number(32)? as u32, number(10_000)?, number(20)?);
    let python = arguments.next();
    let options = LoadOptions { max_resolution: side, validation: 0, ..LoadOptions::default() };

    let files = data::load_within(&folder, &options, 0)?;
    let kind = match files.input.resize {
        Resize::Stretch => "small images of one size",
        Resize::CenterCrop { .. } => "photos",
    };
    println!("{folder}: {kind}, {side} px, batches of {BATCH}");
    let mut ratios = Vec::new();
    for _ in 0..if python.is_some() { ROUNDS } else { 1 } {
        let ours = alone(&files, side, images, "decoded at each use")?;
        if let Some(python) = &python {
            ratios.push(ours / torchvision(python, &folder, side, images)?);
        }
    }
    if python.is_some() {
        println!("the loader alone is {:.2} times as fast as torchvision", median(ratios));
    }
    drop(files);
    let memory = data::load(&folder, &options)?;
    alone(&memory, side, images, "kept in memory")?;
    if steps > 0 && memory.channels == 3 {
        training(&memory, steps)?;
    }
    Ok(())
}

type Batch = Result<(Images, Vec<usize>), data::DataError>;

fn batch(dataset: &Dataset, order: &[usize], side: u32, number: usize) -> Batch {
    let batches = (order.len() / BATCH).max(1);
    let start = (number % batches) * BATCH;
    let end = (start + BATCH).min(order.len());
    dataset.train_batch(&order[start..end], side, &VARIED, 0, (number / batches) as u64)
}

fn alone(dataset: &Dataset, side: u32, images: usize, how: &str) -> Result<f64, Box<dyn Error>> {
    let order = epoch_order(dataset.train.len(), 0, 0);
    let batches = (images / BATCH).max(1);
    let run = |to: usize| -> Result<usize, data::DataError> {
        prefetch(
            0,
            to,
            AHEAD,
            |number| batch(dataset, &order, side, number),
            |next| {
                let mut read = 0;
                while let Some(batch) = next() {
                    read += batch?.1.len();
                }
                Ok(read)
            },
        )
    };
    run(4)?;
    let started = Instant::now();
    let read = run(batches)?;
    let seconds = started.elapsed().as_secs_f64();
    println!("loader alone, {how}: {read} images in {seconds:.2} s, {:.0} images/s", read as f64 / seconds);
    Ok(read as f64 / seconds)
}

/// Images a second of `loader_speed.py`.
fn torchvision(python: &str, folder: &str, side: u32, images: usize) -> Result<f64, Box<dyn Error>> {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/loader_speed.py");
    let done = Command::new(python).arg(SCRIPT).args([folder, &side.to_string(), &images.to_string()]).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    print!("{said}");
    let rate = said.split_whitespace().rev().nth(1).and_then(|word| word.parse().ok());
    Ok(rate.ok_or_else(|| String::from_utf8_lossy(&done.stderr).into_owned())?)
}

fn training(dataset: &Dataset, steps: usize) -> Result<(), Box<dyn Error>> {
    const SIDE: u32 = 32;
    let space = registry::with_classes(registry::named("cifar-32")?.as_ref(), dataset.class_names.len())?;
    let net = space.resolve(&space.max_arch().with_resolution(SIDE))?;
    let defs = supernet::tensors(space.as_ref())?;
    let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(0));
    let mut model = Supernet::new(defs, &weights, &Device::flex().autodiff())?;
    let mut optimizer = Optimizer::new(0.9, 3e-5);
    let order = epoch_order(dataset.train.len(), 0, 0);
    let mut train = |images: &Images, labels: &[usize]| {
        let input = StepInput::from_labels(images, labels, std::slice::from_ref(&net));
        step(&mut model, &mut optimizer, 0.01, &input)
    };
    let prepared = (0..steps).map(|number| batch(dataset, &order, SIDE, number)).collect::<Result<Vec<_>, _>>()?;
    let (mut from_tensors, mut from_loader) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS * 2 {
        // The first round warms up.
        let keep = |times: &mut Vec<f64>, started: Instant| {
            if round > 0 {
                times.push(started.elapsed().as_secs_f64());
            }
        };
        for (images, labels) in &prepared {
            let started = Instant::now();
            train(images, labels)?;
            keep(&mut from_tensors, started);
        }
        prefetch(
            0,
            steps,
            AHEAD,
            |number| batch(dataset, &order, SIDE, number),
            |next| {
                let mut started = Instant::now();
                while let Some(batch) = next() {
                    let (images, labels) = batch?;
                    train(&images, &labels)?;
                    keep(&mut from_loader, started);
                    started = Instant::now();
                }
                Ok::<(), Box<dyn Error>>(())
            },
        )?;
    }
    let (tensors, loader) = (median(from_tensors), median(from_loader));
    println!(
        "a training step: {:.1} ms from prepared tensors, {:.1} ms from the loader: {:.3} times",
        1e3 * tensors,
        1e3 * loader,
        loader / tensors
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
