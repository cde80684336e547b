//! Which layers an int8 file loses most by, measured on the logits.

use crate::batch::Batch;
use crate::error::ExportError;
use crate::onnx::file::write;
use crate::onnx::nodes::is_weighted;
use crate::precision::int8::{self, Numbers};
use crate::runtime::{SessionOptions, load};
use onnx_protobuf::ModelProto;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A layer: an operation with weights and what follows it up to the next one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// Name of its operation with weights.
    pub name: String,
    /// How far the logits move if it alone is in int8: the root of the mean square of the differences over that of the
    /// logits.
    pub effect: f64,
}

/// The logits of a file on images.
pub(crate) fn logits(model: &ModelProto, images: &Batch) -> Result<Vec<f32>, ExportError> {
    Ok(load(&write(model)?, &SessionOptions::default())?.logits(images)?)
}

/// How far logits are from others, as a share of them.
pub(crate) fn distance(expected: &[f32], found: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let apart: f64 = expected.iter().zip(found).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let all: f64 = expected.iter().map(|a| square(f64::from(*a))).sum();
    (apart / all.max(f64::MIN_POSITIVE)).sqrt()
}

/// Share of the images whose largest logit is another.
pub(crate) fn changed_answers(expected: &[f32], found: &[f32], classes: usize) -> f64 {
    let answer = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(index, _)| index);
    let rows = expected.chunks(classes.max(1)).zip(found.chunks(classes.max(1)));
    let images = rows.clone().count().max(1);
    rows.filter(|(a, b)| answer(a) != answer(b)).count() as f64 / images as f64
}

/// Every layer of an f32 file without preprocessing, the one with the largest effect first.
///
/// # Errors
/// [`ExportError`] if the file is not of this crate, or does not run.
pub(crate) fn ranked(plain: &ModelProto, numbers: &Numbers<'_>, images: &Batch) -> Result<Vec<Layer>, ExportError> {
    let expected = logits(plain, images)?;
    let nodes = plain.graph.iter().flat_map(|graph| &graph.node);
    let names: Vec<String> = nodes.filter(|node| is_weighted(node)).map(|node| node.name.clone()).collect();
    let mut layers = Vec::with_capacity(names.len());
    for name in &names {
        let in_f32: BTreeSet<String> = names.iter().filter(|other| *other != name).cloned().collect();
        let mut alone = plain.clone();
        int8::quantise_model(&mut alone, &Numbers { in_f32: &in_f32, ..*numbers })?;
        layers.push(Layer { name: name.clone(), effect: distance(&expected, &logits(&alone, images)?) });
    }
    layers.sort_by(|a, b| b.effect.total_cmp(&a.effect));
    Ok(layers)
}
