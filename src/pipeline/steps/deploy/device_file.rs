//! The file of a network in the precision that a device computes in, judged by its answers on the test images in the runtime.

use crate::failure::Failure;
use crate::measured_accuracy::RightAnswers;
use crate::pipeline::folder::kept_networks::{Kept, ONNX, OnDevice};
use crate::pipeline::steps::Subject;
use crate::pipeline::steps::deploy::tuned_networks::Tuned;
use ofa_export::{Batch, Exporter, Precision, SessionOptions, runtime};
use ofa_hw::Arithmetic;
use ofa_space::{NetSpec, digest};
use ofa_train::data::{Dataset, SplitName, stratified};
use ofa_train::evaluation::{AnswerCount, Answers};
use std::path::Path;

/// Training images for the numbers of int8.
const INT8_IMAGES: usize = 512;
/// As many of them are enough to judge f16 and to verify.
const FEW_IMAGES: usize = 32;
/// Images that are decoded, or run, at once.
const BATCH: usize = 32;

/// Extension of the file of this precision.
pub(crate) fn extension_of(precision: Precision) -> String {
    format!("{}.{ONNX}", precision.name())
}

/// The precision of a device's file; `None` where it is the f32 file.
pub(crate) fn precision_of(arithmetic: Arithmetic) -> Option<Precision> {
    match arithmetic {
        Arithmetic::F32 => None,
        Arithmetic::F16 => Some(Precision::f16()),
        Arithmetic::Int8 => Some(Precision::Int8),
    }
}

/// Training images for a file of this precision, normalised as `net` takes them: the first of a class-balanced sample. `read`
/// is called with the number of batches that are read, and of all.
///
/// # Errors
/// [`Failure::Input`] if an image cannot be read.
pub fn training_images(
    dataset: &Dataset,
    net: &NetSpec,
    precision: Precision,
    seed: u64,
    mut read: impl FnMut(usize, usize),
) -> Result<Batch, Failure> {
    let [c, h, w] = net.input;
    let mut indices = stratified::sample(&dataset.train, INT8_IMAGES, seed);
    indices.truncate(if precision == Precision::Int8 { INT8_IMAGES } else { FEW_IMAGES });
    let mut values = Vec::with_capacity(indices.len() * c * h * w);
    for (done, chunk) in indices.chunks(BATCH).enumerate() {
        let (images, _) = dataset.eval_batch(SplitName::Train, chunk, h as u32)?;
        values.extend(images.to_nchw());
        read(done + 1, indices.len().div_ceil(BATCH));
    }
    Ok(Batch::new(values, [indices.len(), c, h, w])?)
}

/// The file of a network, as it is kept, or exported and scored on the test images, whose digest is `test`.
pub(crate) fn of(
    subject: &Subject<'_>,
    (tuned, kept): (&Tuned, &Kept),
    (precision, seed): (Precision, u64),
    test: &str,
    path: &Path,
) -> Result<(Vec<u8>, OnDevice), Failure> {
    let (name, extension) = (precision.name(), extension_of(precision));
    let of = format!("{} {}, seed {seed}, {test}", env!("CARGO_PKG_VERSION"), tuned.weights);
    let known = kept.on_device(&tuned.name, name).filter(|known| known.of == of);
    if let Some((onnx, known)) = known.and_then(|known| Some((kept.file(&tuned.name, &extension, &known.onnx)?, known)))
    {
        return Ok((onnx, known));
    }
    let failed = |problem: String| Failure::Running(format!("{}: {problem}", path.display()));
    let images = training_images(subject.dataset, &tuned.net, precision, seed, |_, _| {})?;
    let exporter = Exporter::of(&tuned.model)?.precision(precision).calibration(&images).seed(seed);
    let made = exporter.export().map_err(|e| failed(e.to_string()))?;
    let Answers { accuracy, confusion, right } = answers(subject.dataset, &made.onnx, &tuned.net)?;
    let on_device = OnDevice {
        of,
        onnx: digest::sha256(&made.onnx),
        top1: accuracy.top1,
        confusion,
        right: RightAnswers::of(&right),
        layers_in_f32: made.report.layers_in_f32.into_iter().map(|layer| layer.name).collect(),
    };
    kept.keep_file(&tuned.name, &extension, &made.onnx)?;
    kept.write_on_device(&tuned.name, name, &on_device)?;
    Ok((made.onnx, on_device))
}

/// What the file of a network answers on the test images.
fn answers(dataset: &Dataset, onnx: &[u8], net: &NetSpec) -> Result<Answers, Failure> {
    let mut session = runtime::load(onnx, &SessionOptions::default())?;
    let [c, h, w] = net.input;
    let mut count = AnswerCount::new(net.classes);
    let indices: Vec<usize> = (0..dataset.test.len()).collect();
    for chunk in indices.chunks(BATCH) {
        let (images, labels) = dataset.eval_batch(SplitName::Test, chunk, h as u32)?;
        let logits = session.run(&images.to_nchw(), [chunk.len(), c, h, w])?;
        count.add(&logits, &labels);
    }
    Ok(count.answers())
}
