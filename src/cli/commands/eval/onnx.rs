//! `ofa eval --onnx`: accuracy of an exported file in a real runtime; its metadata describe its input.

use super::{EvalReport, SplitChoice};
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::model_data::{self, Reading};
use crate::cli::args::onnx_network::OnnxNetwork;
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::{Context, Failure};
use ofa_train::data::{OnCorrupt, SplitName, TrainedOn, stratified};
use ofa_train::evaluation::AnswerCount;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// What to score.
pub(super) struct OnnxEvaluation<'a> {
    pub(super) file: &'a Path,
    pub(super) data: &'a str,
    pub(super) split: SplitChoice,
    pub(super) limit: Option<usize>,
    pub(super) on_corrupt: OnCorrupt,
    /// The size at which a run keeps images, pixels.
    pub(super) kept_resolution: Option<u32>,
    pub(super) classes: &'a ClassArgs,
    pub(super) runtime: &'a RuntimeArgs,
}

const BATCH: usize = 50;

pub(super) fn evaluate(args: &OnnxEvaluation<'_>, context: &Context) -> Result<EvalReport, Failure> {
    let started = Instant::now();
    let mut network = OnnxNetwork::open(args.file, args.runtime, context)?;
    let provenance: BTreeMap<String, String> =
        network.about.metadata.get("provenance").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let resolution = network.about.image[1] as u32;
    let trained = TrainedOn::from_metadata(&provenance, &network.class_names, &network.input)?;
    let max_resolution = args.kept_resolution.unwrap_or(resolution);
    let reading = Reading { max_resolution, on_corrupt: args.on_corrupt, classes: args.classes };
    let dataset = model_data::load(&trained, args.data, &reading, context)?;
    dataset.require(args.split.into())?;
    let split = SplitName::from(args.split);
    let indices = match args.limit {
        Some(limit) => stratified::sample(dataset.split(split), limit, context.common.seed),
        None => (0..dataset.split(split).len()).collect(),
    };
    let mut count = AnswerCount::new(network.class_names.len());
    for chunk in indices.chunks(network.about.batch.unwrap_or(BATCH)) {
        let (images, labels) = dataset.eval_batch(split, chunk, resolution)?;
        let logits = network.logits(images)?;
        count.add(&logits, &labels);
    }
    let answers = count.answers();
    let report = EvalReport::of(answers.accuracy, &answers.confusion, &network.class_names, started);
    Ok(EvalReport { runtime: Some(network.runtime_name().to_owned()), ..report })
}
