//! `ofa classify`: predictions for image files, with the model's own preprocessing.

use crate::cli::args::calibration::{CalibrationImages, warn_of_shared};
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::model_choice::{self, Network};
use crate::cli::args::onnx_network::OnnxNetwork;
use crate::cli::args::run_choice::RunNetworkArgs;
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::{Context, Failure};
use crate::pipeline::finished_run::FinishedRun;
use clap::Args;
use ofa_space::InputFormat;
use ofa_train::data::{self, OnCorrupt, Skipped};
use ofa_train::evaluation::{EVALUATION_BATCH, check_finite};
use ofa_train::{Images, Supernet, device, to_host};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `ofa classify`.
#[derive(Args, Debug)]
pub struct ClassifyArgs {
    /// Model file, the name of a pretrained network (mcunet), or an exported ONNX file [default: the recommended
    /// network of the run given as the first argument].
    #[arg(long)]
    model: Option<PathBuf>,
    #[command(flatten)]
    network: RunNetworkArgs,
    /// Subnet of a supernet, or of the space derived from a whole network: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// Data set whose training images are used to recalibrate a subnet of a supernet, or an .npy batch.
    #[arg(long)]
    calibrate: Option<String>,
    /// Keep the batch-norm statistics shared by all subnets, without a warning.
    #[arg(long, conflicts_with = "calibrate")]
    no_calibrate: bool,
    #[command(flatten)]
    classes: ClassArgs,
    /// Number of classes to print.
    #[arg(long, default_value_t = 5)]
    top: usize,
    #[command(flatten)]
    runtime: RuntimeArgs,
    #[command(flatten)]
    corrupt: CorruptArgs,
    /// Image files, or folders of images. Without --model, the first argument is the folder of a run.
    #[arg(required = true, value_name = "[RUN] IMAGE")]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Line {
    image: PathBuf,
    top: Vec<Guess>,
    /// Present and false where batch norm has the statistics that all subnets share.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibrated: Option<bool>,
    /// Why the image cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
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

/// A network that is ready to run.
struct Classifier {
    input: InputFormat,
    channels: usize,
    resolution: u32,
    class_names: Vec<String>,
    /// Whether batch norm has the network's own statistics, where that is in question.
    calibrated: Option<bool>,
    logits: Box<dyn FnMut(Images) -> Result<Vec<f32>, Failure>>,
}

pub fn run(args: &ClassifyArgs, context: &Context) -> Result<(), Failure> {
    let (model, images) = args.subject(context)?;
    let images = args.files(&images, context)?;
    let mut classifier = match OnnxNetwork::is_named(&model) {
        true => args.onnx(&model, context)?,
        false => args.model(&model, context)?,
    };
    let mut unreadable = 0;
    for path in &images {
        let Classifier { input, channels, resolution, .. } = &classifier;
        let calibrated = classifier.calibrated;
        let line = match data::read_image(path, input, *channels, *resolution) {
            Ok(image) => {
                let logits = (classifier.logits)(image)?;
                let top = best(&logits, &classifier.class_names, args.top);
                Line { image: path.clone(), top, calibrated, error: None }
            }
            // The others are classified all the same.
            Err(error) => {
                unreadable += 1;
                Line { image: path.clone(), top: Vec::new(), calibrated, error: Some(error.to_string()) }
            }
        };
        context.output.result(&line, || match &line.error {
            Some(error) => error.clone(),
            None => {
                let guesses: Vec<String> =
                    line.top.iter().map(|g| format!("{} {:.1} %", g.class, 100.0 * g.probability)).collect();
                format!("{}: {}", line.image.display(), guesses.join(", "))
            }
        })?;
        if let Some(error) = &line.error {
            context.output.note(&format!("warning: {error}"));
        }
    }
    match args.corrupt.choice() {
        OnCorrupt::Error if unreadable > 0 => Err(Failure::Input(format!(
            "{unreadable} of {} images cannot be read: repair or remove them, or give --on-corrupt skip",
            images.len()
        ))),
        _ => Ok(()),
    }
}

impl ClassifyArgs {
    /// The network, and where the images are.
    fn subject(&self, context: &Context) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
        if let Some(model) = &self.model {
            self.network.refuse()?;
            return Ok((model.clone(), self.images.clone()));
        }
        match self.images.split_first() {
            Some((folder, images)) if FinishedRun::is_at(folder) && !images.is_empty() => {
                let network = self.network.network(folder, context)?;
                Ok((network.weights, images.to_vec()))
            }
            Some((folder, [])) if FinishedRun::is_at(folder) => {
                Err(Failure::Input(format!("{} is a run: give images, or folders of them, after it", folder.display())))
            }
            _ => Err(Failure::Input(
                "give --model M, or the folder of a run before the images (one that `ofa run` made)".into(),
            )),
        }
    }

    /// The image files that are meant.
    fn files(&self, images: &[PathBuf], context: &Context) -> Result<Vec<PathBuf>, Failure> {
        let mut files = Vec::new();
        for path in images {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let (images, skipped) = data::image_files(path)?;
            if !skipped.is_empty() {
                context.output.note(&format!("{}: not read: {}", path.display(), Skipped::in_words(&skipped)));
            }
            if context.common.verbose > 0 {
                skipped.iter().for_each(|file| {
                    context.output.note(&format!("  {}: {}", file.path.display(), file.kind));
                });
            }
            if images.is_empty() {
                return Err(Failure::Input(format!("{}: there are no images in this folder", path.display())));
            }
            files.extend(images);
        }
        Ok(files)
    }

    fn model(&self, path: &Path, context: &Context) -> Result<Classifier, Failure> {
        let Network { mut model, arch, has_own_statistics } =
            model_choice::network(path, self.arch.as_deref(), context.common.seed)?;
        let net = model.net(arch.as_ref())?;
        let device = device::open(&context.common.backend)?;
        let mut calibrated = has_own_statistics;
        if let (Some(source), Some(arch)) = (&self.calibrate, &arch) {
            let on_corrupt = self.corrupt.choice();
            let images = CalibrationImages::load(source, &model, Some(arch), &self.classes, on_corrupt, context)?;
            let used = images.recalibrate(&mut model, arch, RECALIBRATION_IMAGES, &[EVALUATION_BATCH], context)?;
            calibrated |= used > 0;
        }
        if !calibrated {
            warn_of_shared(self.no_calibrate, context);
        }
        let supernet = Supernet::from_model(&model, &device)?;
        let prepared = supernet.prepare(&net, &supernet.running);
        Ok(Classifier {
            input: model.input,
            channels: net.input[0],
            resolution: net.input[1] as u32,
            class_names: model.class_names,
            calibrated: (arch.is_some() || !calibrated).then_some(calibrated),
            logits: Box::new(move |image| {
                let logits = to_host(prepared.forward(supernet.upload(&image)).logits)?;
                check_finite(&logits)?;
                Ok(logits)
            }),
        })
    }

    fn onnx(&self, path: &Path, context: &Context) -> Result<Classifier, Failure> {
        if let Some(arch) = &self.arch {
            let problem = "an ONNX file holds one network, expected a supernet";
            return Err(Failure::Input(format!("--arch {arch}: {}: {problem}", path.display())));
        }
        let mut network = OnnxNetwork::open(path, &self.runtime, context)?;
        let [channels, resolution, _] = network.about.image;
        Ok(Classifier {
            input: network.input.clone(),
            channels,
            resolution: resolution as u32,
            class_names: network.class_names.clone(),
            calibrated: None,
            logits: Box::new(move |image| network.logits(image)),
        })
    }
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
