//! What the values of a graph are on real images: ranges, histograms, and channel by channel.

use crate::batch::Batch;
use crate::error::{ExportError, RuntimeError};
use crate::onnx::file::{read, write};
use crate::onnx::nodes::untyped_value;
use crate::onnx::{INPUT, OUTPUT, PREPROCESSING};
use crate::precision::Ranges;
use crate::precision::histogram::Histogram;
use crate::precision::readers::readers;
use onnx_protobuf::ModelProto;
use rten::{Model, NodeId, RunOptions};
use rten_tensor::NdTensorView;
use rten_tensor::prelude::*;
use std::collections::BTreeMap;

/// Images that are run at once.
const BATCH: usize = 32;

/// Runs an f32 file in rten and watches every value of its graph.
pub struct Calibration {
    model: Model,
    input: NodeId,
    watched: Vec<(String, NodeId)>,
    seen: BTreeMap<String, Seen>,
    /// Outside which a value changes nothing.
    matters: BTreeMap<String, (f32, f32)>,
}

/// A value on all images.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    histogram: Histogram,
    /// Its channels, or features.
    pub channels: Vec<Channel>,
}

/// A channel of a value.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Channel {
    /// The lowest value, or 0.
    pub low: f32,
    /// The highest value, or 0.
    pub high: f32,
    sum: f64,
    count: u64,
}

impl Channel {
    /// The largest magnitude.
    pub fn largest(&self) -> f32 {
        self.high.max(-self.low)
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

impl Seen {
    /// Values (N,C,…).
    fn extend(&mut self, values: &[f32], shape: &[usize]) {
        self.histogram.extend(values);
        let channels = shape.get(1).copied().unwrap_or(1).max(1);
        let per_channel = shape.iter().skip(2).product::<usize>().max(1);
        self.channels.resize(channels, Channel::default());
        for (index, plane) in values.chunks(per_channel).enumerate() {
            let channel = &mut self.channels[index % channels];
            let (low, high) = plane.iter().fold((channel.low, channel.high), |(l, h), v| (l.min(*v), h.max(*v)));
            (channel.low, channel.high) = (low, high);
            channel.sum += plane.iter().map(|v| f64::from(*v)).sum::<f64>();
            channel.count += plane.len() as u64;
        }
    }

    /// Its lowest and highest value, with 0 in between.
    fn extremes(&self) -> (f32, f32) {
        self.channels.iter().fold((0.0, 0.0), |(low, high), channel| (low.min(channel.low), high.max(channel.high)))
    }
}

const RUNTIME: &str = "rten";

impl Calibration {
    /// Loads a file without preprocessing in its graph.
    ///
    /// # Errors
    /// [`ExportError`] if the file is not one of this crate, takes bytes, or does not load.
    pub fn new(onnx: &[u8]) -> Result<Self, ExportError> {
        Self::of(&read(onnx)?)
    }

    pub(crate) fn of(model: &ModelProto) -> Result<Self, ExportError> {
        let mut proto = model.clone();
        let graph = proto.graph.as_mut().ok_or_else(|| ExportError::NotOurs("has no graph".into()))?;
        if graph.node.iter().any(|node| node.name.starts_with(PREPROCESSING)) {
            return Err(ExportError::NotOurs("takes bytes: watch the same network without preprocessing".into()));
        }
        let matters = readers(&graph.node).into_iter().map(|(name, readers)| (name, readers.matters())).collect();
        let outputs = graph.node.iter().flat_map(|node| node.output.iter());
        let names: Vec<String> = outputs.filter(|name| *name != OUTPUT).cloned().collect();
        // A value that is an output of the graph survives the runtime's fusions.
        graph.output.extend(names.iter().map(|name| untyped_value(name)));
        let failed = |problem: String| RuntimeError::Load { runtime: RUNTIME, problem };
        let model = Model::load(write(&proto)?).map_err(|e| failed(e.to_string()))?;
        let id = |name: &str| model.node_id(name).map_err(|e| failed(e.to_string()));
        let watched = names.iter().map(|name| Ok((name.clone(), id(name)?))).collect::<Result<_, RuntimeError>>()?;
        let input = id(INPUT)?;
        Ok(Self { model, input, watched, seen: BTreeMap::new(), matters })
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
        self.seen.entry(INPUT.to_owned()).or_default().extend(images, &shape);
        for ((name, _), value) in self.watched.iter().zip(outputs) {
            let values: rten_tensor::Tensor<f32> =
                value.try_into().map_err(|_| failed(format!("`{name}` is not f32")))?;
            self.seen.entry(name.clone()).or_default().extend(&values.to_vec(), values.shape());
        }
        Ok(())
    }

    /// Watches all of these images.
    pub(crate) fn watch(&mut self, images: &Batch) -> Result<(), ExportError> {
        images.chunks(BATCH).try_for_each(|(values, shape)| self.add(values, shape))
    }

    /// What was seen of every value.
    pub fn seen(&self) -> &BTreeMap<String, Seen> {
        &self.seen
    }

    /// The mean of every channel of every value.
    pub(crate) fn means(&self) -> BTreeMap<String, Vec<f64>> {
        let mean = |seen: &Seen| seen.channels.iter().map(|channel| channel.mean()).collect();
        self.seen.iter().map(|(name, seen)| (name.clone(), mean(seen))).collect()
    }

    /// The range of every value that costs the least squared error ([`Histogram::least_error`]).
    pub fn ranges(&self) -> Ranges {
        let whole = (f32::NEG_INFINITY, f32::INFINITY);
        let range = |(name, seen): (&String, &Seen)| {
            let matters = self.matters.get(name).copied().unwrap_or(whole);
            (name.clone(), seen.histogram.least_error(seen.extremes(), matters))
        };
        self.seen.iter().map(range).collect()
    }
}
