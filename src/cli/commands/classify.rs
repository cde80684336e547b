//! `ofa classify`: predictions for image files, with the model's own preprocessing.

use crate::cli::args::calibration::{CalibrationImages, warn_of_shared};
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::model_choice::{self, Network};
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_train::data;
use ofa_train::device;
use ofa_train::evaluation::EVALUATION_BATCH;
use ofa_train::{Supernet, to_host};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `ofa classify`.
#[derive(Args, Debug)]
pub struct ClassifyArgs {
    /// Model file, or the name of a pretrained network: mcunet.
    #[arg(long)]
    model: PathBuf,
    /// Subnet of a supernet, or of the space derived from a whole network: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// Recalibrate a supernet's subnet on this data set's training images, or on an .npy batch.
    #[arg(long)]
    calibrate: Option<String>,
    /// Keep the batch-norm statistics that all subnets share, without a warning.
    #[arg(long, conflicts_with = "calibrate")]
    no_calibrate: bool,
    #[command(flatten)]
    classes: ClassArgs,
    /// How many classes to print.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Image files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Line {
    image: PathBuf,
    top: Vec<Guess>,
    /// Present and false where batch norm has the statistics that all subnets share.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibrated: Option<bool>,
}

#[derive(Serialize)]
struct Guess {
    class: String,
    index: usize,
    logit: f32,
    probability: f32,
}

/// Training images for BN statistics.
const RECALIBRATION_IMAGES: usize = 2000;

pub fn run(args: &ClassifyArgs, context: &Context) -> Result<(), Failure> {
    let Network { mut model, arch, has_own_statistics } =
        model_choice::network(&args.model, args.arch.as_deref(), context.common.seed)?;
    let net = model.net(arch.as_ref())?;
    let device = device::open(&context.common.backend)?;
    let mut calibrated = has_own_statistics;
    if let (Some(source), Some(arch)) = (&args.calibrate, &arch) {
        let images = CalibrationImages::load(source, &model, Some(arch), &args.classes, context)?;
        let used = images.recalibrate(&mut model, arch, RECALIBRATION_IMAGES, &[EVALUATION_BATCH], context)?;
        calibrated |= used > 0;
    }
    if !calibrated {
        warn_of_shared(args.no_calibrate, context);
    }
    let supernet = Supernet::from_model(&model, &device)?;
    let shown = (arch.is_some() || !calibrated).then_some(calibrated);
    let prepared = supernet.prepare(&net, &supernet.running);
    for path in &args.images {
        let image = data::read_image(path, &model.input, net.input[0], net.input[1] as u32)?;
        let logits = to_host(prepared.forward(supernet.upload(&image)).logits)?;
        let line = Line { image: path.clone(), top: best(&logits, &model.class_names, args.top), calibrated: shown };
        context.output.result(&line, || {
            let guesses: Vec<String> =
                line.top.iter().map(|g| format!("{} {:.1} %", g.class, 100.0 * g.probability)).collect();
            format!("{}: {}", line.image.display(), guesses.join(", "))
        })?;
    }
    Ok(())
}

/// The classes with the largest logits, and their softmax probabilities.
fn best(logits: &[f32], names: &[String], count: usize) -> Vec<Guess> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = logits.iter().map(|l| (l - largest).exp()).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order
        .into_iter()
        .take(count)
        .map(|index| Guess {
            class: names.get(index).cloned().unwrap_or_else(|| index.to_string()),
            index,
            logit: logits[index],
            probability: (logits[index] - largest).exp() / total,
        })
        .collect()
}
