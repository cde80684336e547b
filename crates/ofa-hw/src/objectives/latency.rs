//! Latency as a search objective.

use crate::backend::{HardwareBackend, LatencySource};
use ofa_space::{Arch, BlockObjective, BlockSum, Objective, ObjectiveError, Population, SearchSpace};
use std::sync::{Arc, Mutex, PoisonError};

/// Latency of a space's subnets on a device, in milliseconds, under the name `latency_ms`.
///
/// Where the device is a sum over blocks (a lookup table, a roofline), it is tabulated once per resolution and then
/// costs one gather per block; any other device is asked about every network.
pub struct LatencyObjective {
    space: Arc<dyn SearchSpace>,
    device: Arc<dyn HardwareBackend>,
    blocks: Option<BlockObjective>,
    /// Held while a network is measured: two at a time would slow each other down.
    turn: Mutex<()>,
}

const NAME: &str = "latency_ms";

impl LatencyObjective {
    /// The latency of subnets of `space` on `device`.
    pub fn new(space: Arc<dyn SearchSpace>, device: Arc<dyn HardwareBackend>) -> Self {
        let blocks = device.blockwise().is_some().then(|| {
            let device = device.clone();
            BlockObjective::new(NAME, space.clone(), move |net, block| match device.blockwise() {
                Some(blockwise) => Ok(blockwise.block_ms(net, block)?),
                None => Err("the device is no longer a sum over blocks".into()),
            })
        });
        Self { space, device, blocks, turn: Mutex::new(()) }
    }
}

impl Objective for LatencyObjective {
    fn name(&self) -> &str {
        NAME
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        match &self.blocks {
            Some(blocks) => blocks.evaluate(archs),
            None => {
                let measures = self.device.source() == LatencySource::Measured;
                let _turn = measures.then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
                Ok(self.device.subnet_latencies_ms(self.space.as_ref(), archs)?)
            }
        }
    }

    fn evaluate_rows(&self, rows: &Population, values: &mut Vec<f64>) -> Result<(), ObjectiveError> {
        match &self.blocks {
            Some(blocks) => blocks.evaluate_rows(rows, values),
            None => {
                *values = self.evaluate(&rows.archs())?;
                Ok(())
            }
        }
    }

    fn block_sum(&self, resolution: Option<u32>) -> Option<Arc<BlockSum>> {
        self.blocks.as_ref().and_then(|blocks| blocks.block_sum(resolution))
    }
}
