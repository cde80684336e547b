//! Predicted accuracy or latency as a search objective.

use crate::encoding::code::Code;
use crate::error::PredictorError;
use crate::fitted::FittedPredictor;
use crate::target::Target;
use ofa_space::{Arch, BlockSum, Objective, ObjectiveError, Population, SearchSpace};
use rayon::prelude::*;
use std::sync::{Arc, OnceLock};

/// What a predictor predicts for a space's subnets, under the name `accuracy` or `latency_ms`. Every choice that none of
/// the predictor's training pairs had costs 1 in accuracy, or 10⁶ ms, so that searches avoid it; a resolution that they
/// lacked is an error (see [`FittedPredictor::narrowed`]).
pub struct PredictedObjective {
    space: Arc<dyn SearchSpace>,
    predictor: Arc<FittedPredictor>,
    code: OnceLock<Code>,
    caution: f64,
}

/// Archs that one thread predicts together.
const CHUNK: usize = 640;

impl PredictedObjective {
    /// The accuracy or latency that `predictor` predicts for subnets of `space`.
    ///
    /// # Errors
    /// [`PredictorError::OtherTarget`] if it does not predict `target`.
    pub fn new(
        space: Arc<dyn SearchSpace>,
        predictor: Arc<FittedPredictor>,
        target: Target,
    ) -> Result<Self, PredictorError> {
        predictor.expect(target)?;
        Ok(Self { space, predictor, code: OnceLock::new(), caution: 0.0 })
    }

    /// A bound on the cautious side instead of the mean: `caution` standard deviations below a predicted accuracy, or
    /// above a predicted latency, so that a search does not favour what the predictor is least sure of.
    ///
    /// # Errors
    /// [`PredictorError::NoUncertainty`] if the predictor has no uncertainty of its own.
    pub fn cautious(self, caution: f64) -> Result<Self, PredictorError> {
        if caution != 0.0 && !self.predictor.knows_uncertainty() {
            return Err(PredictorError::NoUncertainty { predictor: self.predictor.report.predictor.clone() });
        }
        Ok(Self { caution, ..self })
    }

    fn values(&self, archs: &Population) -> Result<Vec<f64>, ObjectiveError> {
        let code = self.code()?;
        let rows = code.rows(self.space.as_ref(), archs)?;
        let mut values = self.predictor.predict_rows(&rows);
        if self.caution != 0.0 {
            let caution = match self.predictor.target() {
                Target::Accuracy => -self.caution,
                Target::Latency => self.caution,
            };
            let deviations = self.predictor.deviations(&rows).unwrap_or_default();
            values.iter_mut().zip(deviations).for_each(|(value, deviation)| *value += caution * deviation);
        }
        for (row, value) in values.iter_mut().enumerate() {
            *value += code.value_of_unseen(archs.choices(row));
        }
        Ok(values)
    }

    fn code(&self) -> Result<&Code, ObjectiveError> {
        if let Some(code) = self.code.get() {
            return Ok(code);
        }
        let code = self.predictor.code(self.space.as_ref())?;
        Ok(self.code.get_or_init(|| code))
    }
}

impl Objective for PredictedObjective {
    fn name(&self) -> &str {
        match self.predictor.target() {
            Target::Accuracy => "accuracy",
            Target::Latency => "latency_ms",
        }
    }

    fn evaluate(&self, archs: &[Arch]) -> Result<Vec<f64>, ObjectiveError> {
        let predict = |archs: &[Arch]| self.values(&Population::of(archs));
        if archs.len() <= CHUNK {
            return predict(archs);
        }
        let parts: Result<Vec<Vec<f64>>, ObjectiveError> = archs.par_chunks(CHUNK).map(predict).collect();
        Ok(parts?.concat())
    }

    fn evaluate_rows(&self, rows: &Population, values: &mut Vec<f64>) -> Result<(), ObjectiveError> {
        *values = self.values(rows)?;
        Ok(())
    }

    fn slopes(&self, rows: &Population, slopes: &mut Vec<f32>) -> Result<bool, ObjectiveError> {
        let (code, space) = (self.code()?, self.space.as_ref());
        let mut gradients = Vec::new();
        Ok(self.predictor.gradients(&code.rows(space, rows)?, &mut gradients)
            && code.slopes(space, rows, &gradients, slopes))
    }

    fn block_sum(&self, resolution: Option<u32>) -> Option<Arc<BlockSum>> {
        if self.caution != 0.0 {
            return None;
        }
        let (weights, intercept) = self.predictor.linear()?;
        self.code().ok()?.linear_sum(weights, intercept, resolution).map(Arc::new)
    }
}
