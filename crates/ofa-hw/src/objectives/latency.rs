//! Latency as a search objective.

use crate::backend::{HardwareBackend, LatencySource};
use crate::error::HwError;
use ofa_space::{
    Arch, BlockObjective, BlockSum, NetSpec, Objective, ObjectiveError, OverBlocks, Population, SearchSpace,
};
use std::sync::{Arc, Mutex, PoisonError};

/// Latency of a space's subnets on a device, in milliseconds, under the name `latency_ms`.
///
/// Where the device is a sum over blocks (a lookup table, a roofline), it is tabulated once per resolution and then
/// costs one gather per block; a device with an objective of its own (a predictor) is asked through that; any other
/// device is asked for every subnet.
pub struct LatencyObjective {
    space: Arc<dyn SearchSpace>,
    device: Arc<dyn HardwareBackend>,
    fast: Option<Box<dyn Objective>>,
    /// Held while a network is measured: two at a time would slow each other down.
    turn: Mutex<()>,
}

const NAME: &str = "latency_ms";

impl LatencyObjective {
    /// The latency of subnets of `space` on `device`.
    pub fn new(space: Arc<dyn SearchSpace>, device: Arc<dyn HardwareBackend>) -> Self {
        // A block that a table lacks is an error of a device that is a sum all the same.
        let smallest = space.resolve(&space.min_arch());
        let is_sum = smallest.is_ok_and(|net| !matches!(device.block_ms(&net, 0), Ok(None)));
        let fast: Option<Box<dyn Objective>> = match is_sum {
            false => device.latency_objective(&space),
            true => {
                let (fixed, least, device) = (device.fixed_ms(), device.least_ms(), device.clone());
                let block_ms =
                    move |net: &NetSpec, block| device.block_ms(net, block)?.ok_or_else(|| HwError::NoLatency.into());
                let sum = BlockObjective::new(NAME, space.clone(), block_ms).with_constant_and_floor(fixed, least);
                Some(Box::new(sum))
            }
        };
        Self { space, device, fast, turn: Mutex::new(()) }
    }
}

impl Objective for LatencyObjective {
    fn name(&self) -> &str {
        NAME
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        if let Some(fast) = &self.fast {
            return fast.evaluate(archs);
        }
        let measures = self.device.source() == LatencySource::Measured;
        let _turn = measures.then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
        archs.iter().map(|arch| Ok(self.device.subnet_latency_ms(self.space.as_ref(), arch)?)).collect()
    }

    fn evaluate_rows(&self, rows: &Population, values: &mut Vec<f64>) -> Result<(), ObjectiveError> {
        match &self.fast {
            Some(fast) => fast.evaluate_rows(rows, values),
            None => {
                *values = self.evaluate(&rows.archs())?;
                Ok(())
            }
        }
    }

    fn slopes(&self, rows: &Population, slopes: &mut Vec<f32>) -> Result<bool, ObjectiveError> {
        self.fast.as_ref().map_or(Ok(false), |fast| fast.slopes(rows, slopes))
    }

    fn block_sum(&self, resolution: Option<u32>) -> Option<Arc<BlockSum>> {
        self.fast.as_ref().and_then(|fast| fast.block_sum(resolution))
    }

    fn over_blocks(&self, resolution: Option<u32>) -> Option<OverBlocks> {
        self.fast.as_ref().and_then(|fast| fast.over_blocks(resolution))
    }
}
