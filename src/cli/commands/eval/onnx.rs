//! `ofa eval --onnx`: accuracy of an exported file in a real runtime; its metadata describe its input.

use super::{EvalReport, SplitChoice};
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::model_data::{self, Reading};
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::{Context, Failure};
use ofa_export::{OnnxFile, Session, SessionOptions, Values};
use ofa_space::InputFormat;
use ofa_train::Images;
use ofa_train::data::{Dataset, OnCorrupt, SplitName, TrainedOn, stratified};
use ofa_train::evaluation::Confusion;
use std::path::Path;
use std::time::Instant;

/// What to score.
pub(super) struct OnnxEvaluation<'a> {
    pub(super) file: &'a Path,
    pub(super) data: &'a str,
    pub(super) split: SplitChoice,
    pub(super) limit: Option<usize>,
    pub(super) on_corrupt: OnCorrupt,
    pub(super) classes: &'a ClassArgs,
    pub(super) runtime: &'a RuntimeArgs,
}

const BATCH: usize = 50;

pub(super) fn evaluate(args: &OnnxEvaluation<'_>, context: &Context) -> Result<EvalReport, Failure> {
    let started = Instant::now();
    let named = |error: ofa_export::ExportError| Failure::Input(format!("{}: {error}", args.file.display()));
    let onnx =
        std::fs::read(args.file).map_err(|e| Failure::Input(format!("cannot read {}: {e}", args.file.display())))?;
    let about = OnnxFile::read(&onnx).map_err(named)?;
    let format = about.input_format().map_err(named)?;
    let classes = about.class_names().map_err(named)?;
    let provenance: std::collections::BTreeMap<String, String> =
        about.metadata.get("provenance").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let resolution = about.image[1] as u32;
    let trained = TrainedOn::from_metadata(&provenance, &classes, &format)?;
    let reading = Reading { max_resolution: resolution, on_corrupt: args.on_corrupt, classes: args.classes };
    let dataset = model_data::load(&trained, args.data, &reading, context)?;
    dataset.require(args.split.into())?;
    let mut session = args.runtime.runtime()?.load(&onnx, &SessionOptions { threads: context.common.threads })?;
    let split = SplitName::from(args.split);
    let indices = match args.limit {
        Some(limit) => stratified::sample(dataset.split(split), limit, context.common.seed),
        None => (0..dataset.split(split).len()).collect(),
    };
    let mut confusion = Confusion::new(classes.len());
    let batches = Batches { dataset: &dataset, split, indices: &indices };
    let (top1, top5) = score(&mut *session, &about, &format, &batches, &mut confusion)?;
    let fraction = |count: usize| count as f64 / indices.len().max(1) as f64;
    Ok(EvalReport {
        top1: fraction(top1),
        top5: fraction(top5),
        images: indices.len(),
        balanced_accuracy: confusion.balanced_accuracy(),
        per_class: confusion.per_class(&classes),
        confusion: confusion.counts().to_vec(),
        calibration_images: 0,
        seconds: started.elapsed().as_secs_f64(),
        runtime: Some(session.runtime_name().to_owned()),
    })
}

/// Images to score.
struct Batches<'a> {
    dataset: &'a Dataset,
    split: SplitName,
    indices: &'a [usize],
}

/// How many images have their label first, and among the first five; and the answers class by class.
fn score(
    session: &mut dyn Session,
    about: &OnnxFile,
    format: &InputFormat,
    batches: &Batches<'_>,
    confusion: &mut Confusion,
) -> Result<(usize, usize), Failure> {
    let Batches { dataset, split, indices } = *batches;
    let [c, h, w] = about.image;
    let (mut top1, mut top5) = (0, 0);
    for chunk in indices.chunks(about.batch.unwrap_or(BATCH)) {
        let (mut images, labels) = dataset.eval_batch(split, chunk, h as u32)?;
        // A fixed batch is filled up with zeros.
        let n = about.batch.unwrap_or(chunk.len());
        images.data.resize(n * h * w * c, 0.0);
        images.shape = [n, h, w, c];
        let logits = match about.takes_bytes {
            true => session.run_timed(Values::U8(&bytes(&images, format)), [n, h, w, c])?.output,
            false => session.run(&images.to_nchw(), [n, c, h, w])?,
        };
        let width = logits.len() / n.max(1);
        confusion.add(&logits[..width * labels.len()], &labels);
        for (row, label) in logits.chunks(width).zip(&labels) {
            let rank = ofa_train::evaluation::rank_of(row, *label);
            top1 += usize::from(rank == 0);
            top5 += usize::from(rank < 5);
        }
    }
    Ok((top1, top5))
}

/// The bytes that normalised images came from.
fn bytes(images: &Images, format: &InputFormat) -> Vec<u8> {
    let channels = format.mean.len().max(1);
    let byte = |(index, value): (usize, &f32)| {
        let share = value * format.std[index % channels] + format.mean[index % channels];
        (share * 255.0).round().clamp(0.0, 255.0) as u8
    };
    images.data.iter().enumerate().map(byte).collect()
}
