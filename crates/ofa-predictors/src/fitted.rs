//! A predictor with everything needed to use it: encoder, space, report; one JSON file.

use crate::code::Code;
use crate::cross_validation;
use crate::encoder::Encoder;
use crate::error::PredictorError;
use crate::estimator;
use crate::metrics;
use crate::official;
use crate::pairs::Pair;
use crate::predictor::Predictor;
use crate::sparse::SparseRows;
use ofa_space::{Arch, Population, SearchSpace, atomic_file};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// Version of the predictor file.
const FORMAT: u32 = 1;

/// How a fit went, on pairs that it has not seen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FitReport {
    /// Kind of the estimator.
    pub predictor: String,
    /// Pairs fitted on.
    pub n_train: usize,
    /// Pairs tested on; without any, the figures are `null`.
    pub n_test: usize,
    /// Root mean squared error.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub rmse: f64,
    /// Mean absolute error.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub mae: f64,
    /// Coefficient of determination.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub r2: f64,
    /// Kendall's tau-b.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub kendall_tau: f64,
    /// Spearman's rank correlation.
    #[serde(deserialize_with = "metrics::or_undefined")]
    pub spearman: f64,
    /// Wall time of the fit; not reproducible, and not kept in the file.
    #[serde(default)]
    pub fit_seconds: f64,
}

/// A predictor with everything needed to use it.
#[derive(Debug, Serialize, Deserialize)]
pub struct FittedPredictor {
    format: u32,
    /// Space that it was fitted for; `None` for the authors' files, which do not say.
    pub space: Option<String>,
    /// Its encoder.
    pub encoder: Encoder,
    /// Resolutions of that space, for encodings that have a column for each: a search may narrow the space, and the
    /// columns stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resolutions: Vec<u32>,
    /// Figures on held-out pairs.
    pub report: FitReport,
    predictor: Box<dyn Predictor>,
}

/// Fits the estimator called `kind` (or `auto`: the best by cross-validation) on `train`, and scores it on `test`.
///
/// # Errors
/// [`PredictorError`] for an unknown kind or too few pairs.
pub fn fit(
    space: &dyn SearchSpace,
    train: &[Pair],
    test: &[Pair],
    kind: &str,
    seed: u64,
) -> Result<FittedPredictor, PredictorError> {
    fit_encoded(space, train, test, kind, Encoder::OneHotCost, seed)
}

/// The same with another encoding of the archs.
///
/// # Errors
/// As [`fit`]; an encoding of another family.
pub fn fit_encoded(
    space: &dyn SearchSpace,
    train: &[Pair],
    test: &[Pair],
    kind: &str,
    encoder: Encoder,
    seed: u64,
) -> Result<FittedPredictor, PredictorError> {
    let started = Instant::now();
    let archs = |pairs: &[Pair]| pairs.iter().map(|p| p.arch.clone()).collect::<Vec<_>>();
    let targets: Vec<f64> = train.iter().map(|p| p.value).collect();
    let features = encoder.encode(space, &archs(train))?;
    let entry = match kind {
        "auto" => cross_validation::choose(&features, &targets, seed)?,
        name => estimator::named(name)?,
    };
    let predictor = (entry.build)().fit(&features, &targets, seed)?;
    let truth: Vec<f64> = test.iter().map(|p| p.value).collect();
    let predicted = predictor.predict(&encoder.encode(space, &archs(test))?);
    let report = FitReport {
        predictor: entry.name.to_owned(),
        n_train: train.len(),
        n_test: test.len(),
        rmse: metrics::rmse(&truth, &predicted),
        mae: metrics::mae(&truth, &predicted),
        r2: metrics::r2(&truth, &predicted),
        kendall_tau: metrics::kendall_tau(&truth, &predicted),
        spearman: metrics::spearman(&truth, &predicted),
        fit_seconds: started.elapsed().as_secs_f64(),
    };
    let (space, resolutions) = (Some(space.name().to_owned()), space.info().resolutions.clone());
    Ok(FittedPredictor { format: FORMAT, space, encoder, resolutions, report, predictor })
}

/// One point of a learning curve.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CurvePoint {
    /// Pairs fitted on.
    pub pairs: usize,
    /// Root mean squared error on the test pairs, mean over the draws.
    pub rmse: f64,
    /// Kendall's tau-b on the test pairs, mean over the draws.
    pub kendall_tau: f64,
    /// Draws of that many training pairs.
    pub draws: usize,
}

/// How the error falls with the number of training pairs: fits on the first part of seeded shuffles of `train`, and
/// scores on `test`. Sizes beyond the number of training pairs are left out.
///
/// # Errors
/// As [`fit`].
pub fn learning_curve(
    space: &dyn SearchSpace,
    train: &[Pair],
    test: &[Pair],
    kind: &str,
    encoder: Encoder,
    sizes: &[usize],
    seed: u64,
) -> Result<Vec<CurvePoint>, PredictorError> {
    const DRAWS: u64 = 3;
    let mut points = Vec::new();
    for size in sizes.iter().copied().filter(|size| *size <= train.len()) {
        // All pairs can be drawn in one way only.
        let draws = if size == train.len() { 1 } else { DRAWS };
        let (mut rmse, mut tau) = (0.0, 0.0);
        for draw in 0..draws {
            let mut order: Vec<usize> = (0..train.len()).collect();
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed.wrapping_add(draw)));
            let part: Vec<Pair> = order[..size].iter().map(|index| train[*index].clone()).collect();
            let report = fit_encoded(space, &part, test, kind, encoder, seed)?.report;
            rmse += report.rmse / draws as f64;
            tau += report.kendall_tau / draws as f64;
        }
        points.push(CurvePoint { pairs: size, rmse, kendall_tau: tau, draws: draws as usize });
    }
    Ok(points)
}

impl FittedPredictor {
    /// Predictions for archs of the space it was fitted for.
    ///
    /// # Errors
    /// [`PredictorError::OtherSpace`], or an arch that the encoder does not know.
    pub fn predict(&self, space: &dyn SearchSpace, archs: &[Arch]) -> Result<Vec<f64>, PredictorError> {
        let code = self.code(space)?;
        Ok(self.predict_rows(&code.rows(space, &Population::of(archs))?))
    }

    /// The encoding for archs of the space it was fitted for.
    ///
    /// # Errors
    /// [`PredictorError::OtherSpace`], or an encoding of another family.
    pub fn code(&self, space: &dyn SearchSpace) -> Result<Code, PredictorError> {
        if let Some(fitted) = self.space.as_ref().filter(|fitted| *fitted != space.name()) {
            return Err(PredictorError::OtherSpace { fitted: fitted.clone(), asked: space.name().to_owned() });
        }
        let known = Some(self.resolutions.as_slice()).filter(|known| !known.is_empty());
        Code::new(self.encoder, space, known)
    }

    /// Predictions for rows of [`code`](Self::code).
    pub fn predict_rows(&self, rows: &SparseRows) -> Vec<f64> {
        self.predictor.predict_sparse(rows)
    }

    /// Derivatives of the predictions for rows of [`code`](Self::code) by feature; false if the model has none.
    pub fn gradients(&self, rows: &SparseRows, gradients: &mut Vec<f32>) -> bool {
        self.predictor.gradients(rows, gradients)
    }

    /// Standard deviations of the predictions for rows of [`code`](Self::code), as the model itself sees them; `None` if
    /// it has no notion of them.
    pub fn deviations(&self, rows: &SparseRows) -> Option<Vec<f64>> {
        self.predictor.deviations(&rows.dense())
    }

    /// The model as a linear function of its features, if it is one.
    pub fn linear(&self) -> Option<(&[f64], f64)> {
        self.predictor.linear()
    }

    /// Whether the model knows its own uncertainty.
    pub fn knows_uncertainty(&self) -> bool {
        self.predictor.deviations(&[]).is_some()
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

    /// Reads a predictor file of ours, or an official `.pth`.
    ///
    /// # Errors
    /// [`PredictorError`] naming the file and what is wrong.
    pub fn load(path: &Path) -> Result<Self, PredictorError> {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pth")) {
            let (mlp, encoder) = official::read(path)?;
            let nan = f64::NAN;
            let report = FitReport {
                predictor: "official".into(),
                n_train: 0,
                n_test: 0,
                rmse: nan,
                mae: nan,
                r2: nan,
                kendall_tau: nan,
                spearman: nan,
                fit_seconds: 0.0,
            };
            return Ok(Self {
                format: FORMAT,
                space: None,
                encoder,
                resolutions: Vec::new(),
                report,
                predictor: Box::new(mlp),
            });
        }
        let bad = |problem: String| PredictorError::Format { path: path.to_owned(), line: None, problem };
        let text = std::fs::read_to_string(path).map_err(|source| PredictorError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let fitted: Self =
            serde_json::from_str(&text).map_err(|e| bad(format!("is not a predictor file of ofa: {e}")))?;
        match fitted.format {
            FORMAT => Ok(fitted),
            other => Err(bad(format!("is of format {other}, this version reads {FORMAT}"))),
        }
    }
}
