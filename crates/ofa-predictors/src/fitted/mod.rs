//! A predictor with everything needed to use it: encoder, space, target and report; one JSON file.

mod file;

use crate::encoding::Encoder;
use crate::encoding::code::Code;
use crate::encoding::seen::Seen;
use crate::encoding::sparse::SparseRows;
use crate::error::PredictorError;
use crate::fit::FitReport;
use crate::inference::Predictor;
use crate::target::Target;
use ofa_space::{Arch, Population, SearchSpace, registry};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A prediction and how sure it is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Prediction {
    /// The prediction.
    pub value: f64,
    /// Standard deviation of what would be measured around it; `None` if it is unknown.
    pub deviation: Option<f64>,
}

/// A predictor with everything needed to use it.
#[derive(Debug, Serialize, Deserialize)]
pub struct FittedPredictor {
    pub(crate) format: u32,
    /// What it predicts; the files of accuracy predictors leave it out.
    #[serde(default, skip_serializing_if = "Target::is_accuracy")]
    pub(crate) target: Target,
    /// Space that it was fitted for; `None` for the authors' files, which name none.
    pub space: Option<String>,
    /// Its encoder.
    pub encoder: Encoder,
    /// Resolutions of the pairs, which have a column each in most encodings: a search may narrow the space, and the
    /// columns stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) resolutions: Vec<u32>,
    /// Choices that the pairs lacked.
    #[serde(default)]
    pub(crate) seen: Seen,
    /// Number of features; 0 where a file lacks it.
    #[serde(default)]
    pub(crate) columns: usize,
    /// Standard deviation of measurements around the model's mean, from pairs that it was not fitted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) noise: Option<f64>,
    /// Figures on held-out pairs.
    pub report: FitReport,
    pub(crate) predictor: Box<dyn Predictor>,
}

impl FittedPredictor {
    /// What it predicts.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Refuses a predictor of anything but `target`.
    ///
    /// # Errors
    /// [`PredictorError::OtherTarget`].
    pub fn expect(&self, target: Target) -> Result<(), PredictorError> {
        match self.target == target {
            true => Ok(()),
            false => Err(PredictorError::OtherTarget { path: None, found: self.target, wanted: target }),
        }
    }

    /// Predictions for archs of the space it was fitted for.
    ///
    /// # Errors
    /// [`PredictorError::OtherSpace`], [`PredictorError::UnseenResolution`] and [`PredictorError::UnseenChoice`] for archs
    /// unlike any training pair, or [`PredictorError::Space`] for one that does not fit the encoding.
    pub fn predict(&self, space: &dyn SearchSpace, archs: &[Arch]) -> Result<Vec<f64>, PredictorError> {
        Ok(self.predict_rows(&self.checked_rows(space, archs)?))
    }

    /// The same with standard deviations: the model's own uncertainty, and the noise seen around it.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_with_deviations(
        &self,
        space: &dyn SearchSpace,
        archs: &[Arch],
    ) -> Result<Vec<Prediction>, PredictorError> {
        let rows = self.checked_rows(space, archs)?;
        let own = self.deviations(&rows);
        let deviation = |row: usize| match (&own, self.noise) {
            (None, noise) => noise,
            (Some(own), noise) => Some(own[row].hypot(noise.unwrap_or(0.0))),
        };
        let values = self.predict_rows(&rows).into_iter().enumerate();
        Ok(values.map(|(row, value)| Prediction { value, deviation: deviation(row) }).collect())
    }

    fn checked_rows(&self, space: &dyn SearchSpace, archs: &[Arch]) -> Result<SparseRows, PredictorError> {
        let code = self.code(space)?;
        for arch in archs {
            if let Some(choice) = code.unseen(space, arch.choices()) {
                return Err(PredictorError::UnseenChoice { arch: space.format(arch).to_string(), choice });
            }
        }
        code.rows(space, &Population::of(archs))
    }

    /// The space, narrowed to those of its resolutions that the predictor accepts.
    ///
    /// # Errors
    /// [`PredictorError::UnseenResolution`] if it accepts none of them, [`PredictorError::OtherSpace`].
    pub fn narrowed(&self, space: Arc<dyn SearchSpace>) -> Result<Arc<dyn SearchSpace>, PredictorError> {
        let code = self.code(space.as_ref())?;
        let listed = &space.info().resolutions;
        let kept: Vec<u32> = listed.iter().copied().filter(|resolution| code.has_resolution(*resolution)).collect();
        match (kept.len(), listed.first()) {
            (0, Some(resolution)) => Err(PredictorError::UnseenResolution {
                resolution: *resolution,
                known: self.resolutions.clone(),
                interpolates: false,
            }),
            (all, _) if all == listed.len() => Ok(space),
            _ => Ok(registry::with_field(space.as_ref(), "resolutions", serde_json::json!(kept))?),
        }
    }

    /// The encoding for archs of the space it was fitted for. Where no training pair had a resolution, it has no code.
    ///
    /// # Errors
    /// [`PredictorError::OtherSpace`], or an encoding of another family.
    pub fn code(&self, space: &dyn SearchSpace) -> Result<Code, PredictorError> {
        if let Some(fitted) = self.space.as_ref().filter(|fitted| *fitted != space.name()) {
            return Err(PredictorError::OtherSpace { fitted: fitted.clone(), asked: space.name().to_owned() });
        }
        let genes = &space.info().genes;
        let lacks = |gene: usize, choice: u8| genes.get(gene).is_none_or(|g| usize::from(choice) >= g.choices.len());
        if let Some((gene, choice)) = self.seen.unseen.iter().copied().find(|(gene, choice)| lacks(*gene, *choice)) {
            return Err(PredictorError::UnknownChoice { space: space.name().to_owned(), gene, choice });
        }
        let known = Some(self.resolutions.as_slice()).filter(|known| !known.is_empty());
        let code = Code::new(self.encoder, space, known)?.with_seen(&self.seen.unseen, &self.resolutions, self.target);
        let fitted = self.predictor.width().unwrap_or(self.columns);
        if fitted != 0 && fitted != code.width() {
            let asked = code.width();
            return Err(PredictorError::OtherChoices { space: space.name().to_owned(), fitted, asked });
        }
        Ok(code)
    }

    /// Predictions for rows of [`code`](Self::code).
    pub fn predict_rows(&self, rows: &SparseRows) -> Vec<f64> {
        self.predictor.predict_sparse(rows)
    }

    /// Derivatives of the predictions for rows of [`code`](Self::code) by feature; false if the model has none.
    pub fn gradients(&self, rows: &SparseRows, gradients: &mut Vec<f32>) -> bool {
        self.predictor.gradients(rows, gradients)
    }

    /// Standard deviations of the predictions for rows of [`code`](Self::code), as the model takes them; `None` if
    /// it has no notion of them.
    pub fn deviations(&self, rows: &SparseRows) -> Option<Vec<f64>> {
        self.predictor.deviations(&rows.dense())
    }

    /// The model as a linear function of its features, if it is one.
    pub fn linear(&self) -> Option<(&[f64], f64)> {
        self.predictor.linear()
    }

    /// Whether the model has an uncertainty of its own.
    pub fn knows_uncertainty(&self) -> bool {
        self.predictor.deviations(&[]).is_some()
    }
}
