//! Ranges of activations over real images, for quantisation.

use crate::error::{ExportError, RuntimeError};
use crate::onnx::file::{read, write};
use crate::onnx::nodes::untyped_value;
use crate::onnx::{INPUT, OUTPUT, PREPROCESSING};
use crate::precision::Ranges;
use rten::{Model, NodeId, RunOptions};
use rten_tensor::NdTensorView;
use rten_tensor::prelude::*;
use std::collections::BTreeMap;

/// Runs an f32 file in rten and watches every value of its graph.
///
/// A batch's lowest and highest value count, averaged over batches: a single outlier image moves a range by its share
/// only.
pub struct Calibration {
    model: Model,
    input: NodeId,
    watched: Vec<(String, NodeId)>,
    sums: BTreeMap<String, (f64, f64)>,
    batches: usize,
}

const RUNTIME: &str = "rten";

impl Calibration {
    /// Loads a file without preprocessing in its graph.
    ///
    /// # Errors
    /// [`ExportError`] if the file is not one of this crate, takes bytes, or does not load.
    pub fn new(onnx: &[u8]) -> Result<Self, ExportError> {
        let mut proto = read(onnx)?;
        let graph = proto.graph.as_mut().ok_or_else(|| ExportError::NotOurs("has no graph".into()))?;
        if graph.node.iter().any(|node| node.name.starts_with(PREPROCESSING)) {
            return Err(ExportError::NotOurs("takes bytes: watch the same network without preprocessing".into()));
        }
        let outputs = graph.node.iter().flat_map(|node| node.output.iter());
        let names: Vec<String> = outputs.filter(|name| *name != OUTPUT).cloned().collect();
        // A value that is an output of the graph survives the runtime's fusions.
        graph.output.extend(names.iter().map(|name| untyped_value(name)));
        let failed = |problem: String| RuntimeError::Load { runtime: RUNTIME, problem };
        let model = Model::load(write(&proto)?).map_err(|e| failed(e.to_string()))?;
        let id = |name: &str| model.node_id(name).map_err(|e| failed(e.to_string()));
        let watched = names.iter().map(|name| Ok((name.clone(), id(name)?))).collect::<Result<_, RuntimeError>>()?;
        let input = id(INPUT)?;
        Ok(Self { model, input, watched, sums: BTreeMap::new(), batches: 0 })
    }

    /// Watches a batch of normalised images (N,C,H,W).
    ///
    /// # Errors
    /// [`ExportError::Runtime`] if the runtime fails.
    pub fn add(&mut self, images: &[f32], shape: [usize; 4]) -> Result<(), ExportError> {
        let expected: usize = shape.iter().product();
        if images.len() != expected {
            return Err(RuntimeError::InputShape { shape, expected, found: images.len() }.into());
        }
        let view = NdTensorView::from_data(shape, images).into();
        let failed = |problem: String| RuntimeError::Run { runtime: RUNTIME, problem };
        let ids: Vec<NodeId> = self.watched.iter().map(|(_, id)| *id).collect();
        let outputs = self
            .model
            .run(vec![(self.input, view)], &ids, Some(RunOptions::default()))
            .map_err(|e| failed(e.to_string()))?;
        self.extend(INPUT, images.iter().copied());
        let names: Vec<String> = self.watched.iter().map(|(name, _)| name.clone()).collect();
        for (name, value) in names.iter().zip(outputs) {
            let values: rten_tensor::Tensor<f32> =
                value.try_into().map_err(|_| failed(format!("`{name}` is not f32")))?;
            self.extend(name, values.iter().copied());
        }
        self.batches += 1;
        Ok(())
    }

    fn extend(&mut self, name: &str, values: impl Iterator<Item = f32>) {
        let (low, high) = values.fold((0.0f32, 0.0f32), |(low, high), v| (low.min(v), high.max(v)));
        let sum = self.sums.entry(name.to_owned()).or_default();
        sum.0 += f64::from(low);
        sum.1 += f64::from(high);
    }

    /// The ranges over all batches.
    pub fn ranges(&self) -> Ranges {
        let mean = |sum: f64| (sum / self.batches.max(1) as f64) as f32;
        self.sums.iter().map(|(name, (low, high))| (name.clone(), (mean(*low), mean(*high)))).collect()
    }
}
