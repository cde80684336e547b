//! Predicted accuracy as a search objective.

use crate::fitted::FittedPredictor;
use ofa_space::{Arch, Objective, ObjectiveError, SearchSpace};
use std::sync::Arc;

/// Predicted accuracy of a space's subnets, under the name `accuracy`.
pub struct AccuracyObjective {
    space: Arc<dyn SearchSpace>,
    predictor: Arc<FittedPredictor>,
}

impl AccuracyObjective {
    /// The accuracy that `predictor` promises for subnets of `space`.
    pub fn new(space: Arc<dyn SearchSpace>, predictor: Arc<FittedPredictor>) -> Self {
        Self { space, predictor }
    }
}

impl Objective for AccuracyObjective {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        Ok(self.predictor.predict(self.space.as_ref(), archs)?)
    }
}
