//! Predicted accuracy as a search objective.

use crate::code::Code;
use crate::fitted::FittedPredictor;
use ofa_space::{Arch, Objective, ObjectiveError, Population, SearchSpace};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// Predicted accuracy of a space's subnets, under the name `accuracy`.
pub struct AccuracyObjective {
    space: Arc<dyn SearchSpace>,
    predictor: Arc<FittedPredictor>,
    code: OnceLock<Code>,
}

/// Archs that one thread predicts together.
const CHUNK: usize = 640;

impl AccuracyObjective {
    /// The accuracy that `predictor` promises for subnets of `space`.
    pub fn new(space: Arc<dyn SearchSpace>, predictor: Arc<FittedPredictor>) -> Self {
        Self { space, predictor, code: OnceLock::new() }
    }

    fn code(&self) -> Result<&Code, ObjectiveError> {
        if let Some(code) = self.code.get() {
            return Ok(code);
        }
        let code = self.predictor.code(self.space.as_ref())?;
        Ok(self.code.get_or_init(|| code))
    }
}

impl Objective for AccuracyObjective {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        let code = self.code()?;
        let predict = |archs: &[Arch]| -> Result<Vec<f64>, ObjectiveError> {
            Ok(self.predictor.predict_rows(&code.rows(self.space.as_ref(), &Population::of(archs))?))
        };
        if archs.len() <= CHUNK {
            return predict(archs);
        }
        let parts: Result<Vec<Vec<f64>>, ObjectiveError> = archs.par_chunks(CHUNK).map(predict).collect();
        Ok(parts?.concat())
    }

    fn evaluate_rows(&self, rows: &Population, values: &mut Vec<f64>) -> Result<(), ObjectiveError> {
        *values = self.predictor.predict_rows(&self.code()?.rows(self.space.as_ref(), rows)?);
        Ok(())
    }

    fn slopes(&self, rows: &Population, slopes: &mut Vec<f32>) -> Result<bool, ObjectiveError> {
        let code = self.code()?;
        let rows = code.rows(self.space.as_ref(), rows)?;
        let mut gradients = Vec::new();
        Ok(self.predictor.gradients(&rows, &mut gradients) && code.slopes(&gradients, slopes))
    }
}
