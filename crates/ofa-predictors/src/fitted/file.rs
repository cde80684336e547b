//! Predictor files: JSON of ours, and the authors' `.pth`.

use super::FittedPredictor;
use crate::encoding::seen::Seen;
use crate::error::PredictorError;
use crate::fit::FitReport;
use crate::inference::{finite, official};
use crate::target::Target;
use ofa_space::settings::{self, InvalidSetting};
use ofa_space::{atomic_file, input_file, json};
use serde::Deserialize;
use std::path::Path;

/// Format of a file whose predictor predicts accuracy; it names no target.
const ACCURACY: u32 = 1;
/// Format of a file that names its target: readers of format 1 alone would take any for accuracy.
const WITH_TARGET: u32 = 2;

impl FittedPredictor {
    /// The format of a file with this target.
    pub(crate) fn format(target: Target) -> u32 {
        match target {
            Target::Accuracy => ACCURACY,
            Target::Latency => WITH_TARGET,
        }
    }

    /// Writes the file, whole or not at all; the same fit gives the same bytes.
    ///
    /// # Errors
    /// [`PredictorError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), PredictorError> {
        let mut value = serde_json::to_value(self).map_err(|e| PredictorError::Format {
            path: path.to_owned(),
            line: None,
            problem: e.to_string(),
        })?;
        // Time does not repeat, the file must.
        if let Some(report) = value.get_mut("report").and_then(serde_json::Value::as_object_mut) {
            report.remove("fit_seconds");
        }
        let io = |source| PredictorError::Io { action: "write", path: path.to_owned(), source };
        atomic_file::write(path, value.to_string().as_bytes()).map_err(io)
    }

    /// Reads a predictor file of ours, or an official `.pth`, of whatever target.
    ///
    /// # Errors
    /// [`PredictorError::Io`], or [`PredictorError::Format`] naming the file and what is wrong.
    pub fn load(path: &Path) -> Result<Self, PredictorError> {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pth")) {
            let (mlp, encoder) = official::read(path)?;
            return Ok(Self {
                format: ACCURACY,
                target: Target::Accuracy,
                space: None,
                encoder,
                resolutions: Vec::new(),
                seen: Seen::default(),
                columns: 0,
                noise: None,
                report: FitReport::unknown("official"),
                predictor: Box::new(mlp),
            });
        }
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let bad = |problem: String| PredictorError::Format { path: path.to_owned(), line: None, problem };
        let foreign = |e: serde_json::Error| bad(format!("is not a predictor file of ofa: {e}"));
        let io = |source| PredictorError::Io { action: "read", path: path.to_owned(), source };
        let text = input_file::read_text(path, input_file::LARGEST_RECORDS).map_err(io)?;
        let Version { format } = json::from_str(&text).map_err(foreign)?;
        if !(ACCURACY..=WITH_TARGET).contains(&format) {
            return Err(bad(format!(
                "is of format {format}, this version reads {ACCURACY} to {WITH_TARGET}: read it with the version that \
                 wrote it, or fit it again"
            )));
        }
        let fitted: Self = serde_json::from_str(&text).map_err(foreign)?;
        fitted.check().map_err(|invalid| bad(format!("bad predictor: {invalid}")))?;
        match format == Self::format(fitted.target) {
            true => Ok(fitted),
            false => Err(bad(format!("has target {} in format {format}: it was not written by ofa", fitted.target))),
        }
    }

    /// Refuses what no fit gives.
    fn check(&self) -> Result<(), InvalidSetting> {
        self.predictor.check().map_err(|invalid| invalid.within("predictor"))?;
        if let (Some(width), true) = (self.predictor.width(), self.columns != 0) {
            settings::count("columns", self.columns, width..=width)?;
        }
        self.noise.map_or(Ok(()), |noise| settings::number("noise", noise, 0.0..=1e30))?;
        let figures =
            [self.report.rmse, self.report.mae, self.report.r2, self.report.kendall_tau, self.report.spearman];
        finite("report", figures.into_iter().filter(|figure| !figure.is_nan()))
    }

    /// Reads a predictor file and makes sure what it predicts.
    ///
    /// # Errors
    /// As [`load`](Self::load); [`PredictorError::OtherTarget`] if it predicts something else.
    pub fn load_for(path: &Path, target: Target) -> Result<Self, PredictorError> {
        let fitted = Self::load(path)?;
        let of_file = |error| match error {
            PredictorError::OtherTarget { found, wanted, .. } => {
                PredictorError::OtherTarget { path: Some(path.to_owned()), found, wanted }
            }
            other => other,
        };
        fitted.expect(target).map_err(of_file)?;
        Ok(fitted)
    }
}
