//! Latency as a search objective.

use crate::backend::HardwareBackend;
use ofa_space::{Arch, Objective, ObjectiveError, SearchSpace};
use std::sync::Arc;

/// Latency of a space's subnets on a device, in milliseconds, under the name `latency_ms`.
pub struct LatencyObjective {
    space: Arc<dyn SearchSpace>,
    device: Arc<dyn HardwareBackend>,
}

impl LatencyObjective {
    /// The latency of subnets of `space` on `device`.
    pub fn new(space: Arc<dyn SearchSpace>, device: Arc<dyn HardwareBackend>) -> Self {
        Self { space, device }
    }
}

impl Objective for LatencyObjective {
    fn name(&self) -> &str {
        "latency_ms"
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        archs.iter().map(|arch| Ok(self.device.latency_ms(&self.space.resolve(arch)?)?)).collect()
    }
}
