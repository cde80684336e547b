//! From an f32 file and images to the numbers of its int8 file.
//!
//! Channels are brought to similar ranges ([`equalisation`]), ranges of activations are cut off where that costs the least
//! error ([`Histogram::least_error`](crate::precision::histogram::Histogram::least_error)), and biases take back the shift
//! that rounded weights cause ([`bias_correction`](crate::precision::bias_correction)). If the answers still change on
//! the images, the layers that move the logits most stay in f32, as few as will do.

use crate::batch::Batch;
use crate::error::ExportError;
use crate::precision::calibration::Calibration;
use crate::precision::int8::{self, Numbers};
use crate::precision::sensitivity::{self, Layer};
use crate::precision::{Ranges, equalisation};
use onnx_protobuf::ModelProto;
use std::collections::{BTreeMap, BTreeSet};

/// Images that layers are ranked on.
const RANKING_IMAGES: usize = 32;
/// Images whose answers are compared.
const ANSWERS: usize = 256;
/// Share of the answers that may change before layers stay in f32.
const CHANGED_ANSWERS: f64 = 0.02;
/// Layers that may stay in f32.
const LAYERS_IN_F32: usize = 4;

/// The numbers of an int8 file.
pub(crate) struct Quantisation {
    /// The f32 file without preprocessing, whose weights and biases are rounded.
    plain: ModelProto,
    ranges: Ranges,
    means: BTreeMap<String, Vec<f64>>,
    /// What stays in f32, the most sensitive layer first.
    pub in_f32: Vec<Layer>,
}

impl Quantisation {
    /// Finds the numbers for an f32 file without preprocessing on images that it was trained on, or like them.
    ///
    /// # Errors
    /// [`ExportError`] if the file is not of this crate, or does not run.
    pub fn of(mut plain: ModelProto, images: &Batch) -> Result<Self, ExportError> {
        let mut before = Calibration::of(&plain)?;
        before.watch(images)?;
        let graph = plain.graph.as_mut().ok_or_else(|| ExportError::NotOurs("has no graph".into()))?;
        equalisation::equalise(graph, before.seen())?;
        let mut seen = Calibration::of(&plain)?;
        seen.watch(images)?;
        let mut found = Self { plain, ranges: seen.ranges(), means: seen.means(), in_f32: Vec::new() };
        found.leave_in_f32(images)?;
        Ok(found)
    }

    /// Leaves the most sensitive layers in f32, as few as keep the answers, or as change the fewest.
    fn leave_in_f32(&mut self, images: &Batch) -> Result<(), ExportError> {
        let compared = images.first(ANSWERS);
        let expected = sensitivity::logits(&self.plain, &compared)?;
        let classes = expected.len() / compared.len().max(1);
        let changed = |one: &Self| -> Result<f64, ExportError> {
            let mut file = one.plain.clone();
            one.apply(&mut file)?;
            Ok(sensitivity::changed_answers(&expected, &sensitivity::logits(&file, &compared)?, classes))
        };
        let (mut least, mut best) = (changed(self)?, 0);
        if least <= CHANGED_ANSWERS {
            return Ok(());
        }
        let ranked = sensitivity::ranked(&self.plain, &self.numbers(&BTreeSet::new()), &images.first(RANKING_IMAGES))?;
        for count in 1..=LAYERS_IN_F32.min(ranked.len()) {
            self.in_f32 = ranked[..count].to_vec();
            let share = changed(self)?;
            if share < least {
                (least, best) = (share, count);
            }
            if least <= CHANGED_ANSWERS {
                break;
            }
        }
        self.in_f32.truncate(best);
        Ok(())
    }

    fn numbers<'a>(&'a self, in_f32: &'a BTreeSet<String>) -> Numbers<'a> {
        Numbers { ranges: &self.ranges, means: &self.means, in_f32 }
    }

    /// Writes the numbers into an f32 file of the same network, whose input may be another.
    ///
    /// # Errors
    /// [`ExportError::NotOurs`] if it is of another network.
    pub fn apply(&self, model: &mut ModelProto) -> Result<(), ExportError> {
        if let (Some(graph), Some(own)) = (model.graph.as_mut(), self.plain.graph.as_ref()) {
            let own: BTreeMap<&str, _> = own.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
            for initializer in &mut graph.initializer {
                if let Some(found) = own.get(initializer.name.as_str()) {
                    initializer.clone_from(found);
                }
            }
        }
        let in_f32 = self.in_f32.iter().map(|layer| layer.name.clone()).collect();
        int8::quantise_model(model, &self.numbers(&in_f32))
    }
}
