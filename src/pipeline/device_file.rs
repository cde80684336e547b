//! The file of a network in the precision that a device computes in, judged by its answers on the test images in the runtime.

use super::Subject;
use super::kept::{Kept, ONNX, OnDevice};
use super::tuning::Tuned;
use crate::failure::Failure;
use crate::measured_accuracy::RightAnswers;
use ofa_export::{Batch, Exporter, Precision, SessionOptions, runtime};
use ofa_hw::Arithmetic;
use ofa_space::digest;
use ofa_train::data::{DataError, Dataset, SplitName, stratified};
use ofa_train::evaluation::{Confusion, Tally, rank_of};
use std::path::Path;

/// Training images for the numbers of int8.
pub const INT8_IMAGES: usize = 512;
/// As many of them are enough to judge f16 and to verify.
pub const FEW_IMAGES: usize = 32;
/// Images that are decoded, or run, at once.
const BATCH: usize = 32;

/// The precision of a device's file; `None` where it is the f32 file.
pub(super) fn precision_of(arithmetic: Arithmetic) -> Option<Precision> {
    match arithmetic {
        Arithmetic::F32 => None,
        Arithmetic::F16 => Some(Precision::f16()),
        Arithmetic::Int8 => Some(Precision::Int8),
    }
}

/// Training images for a file of this precision, normalised as a network of `resolution` pixels takes them: the first of a
/// class-balanced sample. `read` is called with the batches that are read, and all there are.
///
/// # Errors
/// [`DataError`] if an image cannot be read.
pub fn training_images(
    dataset: &Dataset,
    resolution: u32,
    precision: Precision,
    seed: u64,
    mut read: impl FnMut(usize, usize),
) -> Result<Vec<f32>, DataError> {
    let mut indices = stratified::sample(&dataset.train, INT8_IMAGES, seed);
    indices.truncate(if precision == Precision::Int8 { INT8_IMAGES } else { FEW_IMAGES });
    let mut values = Vec::new();
    for (done, chunk) in indices.chunks(BATCH).enumerate() {
        let (images, _) = dataset.eval_batch(SplitName::Train, chunk, resolution)?;
        values.extend(images.to_nchw());
        read(done + 1, indices.len().div_ceil(BATCH));
    }
    Ok(values)
}

/// The file of a network, as it is kept, or exported and scored on the test images, whose digest is `test`.
pub(super) fn of(
    subject: &Subject<'_>,
    (tuned, kept): (&Tuned, &Kept),
    (precision, seed): (Precision, u64),
    test: &str,
    path: &Path,
) -> Result<(Vec<u8>, OnDevice), Failure> {
    let (name, extension) = (precision.name(), format!("{}.{ONNX}", precision.name()));
    let of = format!("{} {}, seed {seed}, {test}", env!("CARGO_PKG_VERSION"), tuned.weights);
    let known = kept.on_device(&tuned.name, name).filter(|known| known.of == of);
    if let Some((onnx, known)) = known.and_then(|known| Some((kept.file(&tuned.name, &extension, &known.onnx)?, known)))
    {
        return Ok((onnx, known));
    }
    let failed = |problem: String| Failure::Running(format!("{}: {problem}", path.display()));
    let [c, h, w] = tuned.net.input;
    let values = training_images(subject.dataset, h as u32, precision, seed, |_, _| {})?;
    let images = Batch::new(values.clone(), [values.len() / (c * h * w).max(1), c, h, w])?;
    let exporter = Exporter::of(&tuned.model)?.precision(precision).calibration(&images).seed(seed);
    let made = exporter.export().map_err(|e| failed(e.to_string()))?;
    let (top1, confusion, right) = answers(subject.dataset, &made.onnx, tuned)?;
    let on_device = OnDevice {
        of,
        onnx: digest::sha256(&made.onnx),
        top1,
        confusion,
        right,
        layers_in_f32: made.report.layers_in_f32.into_iter().map(|layer| layer.name).collect(),
    };
    kept.keep_file(&tuned.name, &extension, &made.onnx)?;
    kept.write_on_device(&tuned.name, name, &on_device)?;
    Ok((made.onnx, on_device))
}

/// What a file answers on the test images: top-1, class by class, and which were right.
fn answers(dataset: &Dataset, onnx: &[u8], tuned: &Tuned) -> Result<(f64, Confusion, RightAnswers), Failure> {
    let mut session = runtime::load(onnx, &SessionOptions::default())?;
    let [c, h, w] = tuned.net.input;
    let classes = tuned.net.classes;
    let (mut tally, mut confusion, mut right) = (Tally::default(), Confusion::new(classes), Vec::new());
    let indices: Vec<usize> = (0..dataset.test.len()).collect();
    for chunk in indices.chunks(BATCH) {
        let (images, labels) = dataset.eval_batch(SplitName::Test, chunk, h as u32)?;
        let logits = session.run(&images.to_nchw(), [chunk.len(), c, h, w])?;
        tally.add(&logits, &labels);
        confusion.add(&logits, &labels);
        right.extend(logits.chunks(classes.max(1)).zip(&labels).map(|(row, label)| rank_of(row, *label) == 0));
    }
    Ok((tally.accuracy().top1, confusion, RightAnswers::of(&right)))
}
