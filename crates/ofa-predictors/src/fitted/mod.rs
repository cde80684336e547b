//! A predictor with everything needed to use it: encoder, space, report; one JSON file.

use crate::encoding::Encoder;
use crate::encoding::code::Code;
use crate::encoding::seen::{self, Seen};
use crate::encoding::sparse::SparseRows;
use crate::error::PredictorError;
use crate::estimators::{self, Effort};
use crate::evaluation::cross_validation::{self, OutOfFold};
use crate::evaluation::metrics;
use crate::inference::Predictor;
use crate::inference::official;
use crate::pairs::Pair;
use crate::standardise::Moments;
use ofa_space::{Arch, Population, SearchSpace, atomic_file, registry};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
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
    /// What a user should know before relying on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A prediction and how sure it is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Prediction {
    /// The prediction.
    pub value: f64,
    /// Standard deviation of what would be measured around it; `None` if nothing is known of it.
    pub deviation: Option<f64>,
}

/// A predictor with everything needed to use it.
#[derive(Debug, Serialize, Deserialize)]
pub struct FittedPredictor {
    format: u32,
    /// Space that it was fitted for; `None` for the authors' files, which do not say.
    pub space: Option<String>,
    /// Its encoder.
    pub encoder: Encoder,
    /// Resolutions of the pairs, which have a column each in most encodings: a search may narrow the space, and the
    /// columns stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resolutions: Vec<u32>,
    /// Choices that the pairs lacked.
    #[serde(default)]
    seen: Seen,
    /// Features; 0 where a file does not say.
    #[serde(default)]
    columns: usize,
    /// Standard deviation of what is measured around what the model knows, from pairs that it was fitted without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    noise: Option<f64>,
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
    fit_encoded(space, train, test, kind, Encoder::default(), seed)
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
    let targets: Vec<f64> = train.iter().map(|p| p.value).collect();
    let (resolutions, seen) = (seen::resolutions(train), Seen::of(space, train));
    let code = Code::new(encoder, space, Some(&resolutions))?.with_seen(&seen.unseen, &resolutions);
    let features = rows(&code, space, train)?.dense();
    let mut warnings = Vec::new();
    let (entry, mut unfitted) = match kind {
        "auto" => {
            let choice = cross_validation::choose(&features, &targets, seed)?;
            if !choice.beats_mean {
                warnings.push(nothing_learnt(choice.entry.name, &targets, features[0].len()));
            }
            (choice.entry, Some(choice.out_of_fold))
        }
        name => (estimators::named(name)?, None),
    };
    let estimator = (entry.build)();
    let predictor = estimator.fit(&features, &targets, seed)?;
    if unfitted.is_none() && entry.effort == Effort::Fast && targets.len() >= 2 * cross_validation::FOLDS {
        let folds = cross_validation::FOLDS;
        unfitted = Some(cross_validation::out_of_fold(estimator.as_ref(), &features, &targets, folds, seed)?);
    }
    let known = |pair: &&Pair| {
        pair.arch.resolution().is_none_or(|r| code.knows(r)) && code.count_unseen(pair.arch.choices()) == 0
    };
    let test_known: Vec<Pair> = test.iter().filter(known).cloned().collect();
    if test_known.len() < test.len() {
        let left_out = test.len() - test_known.len();
        warnings
            .push(format!("{left_out} test pairs are not scored: no training pair has their resolution or choices"));
    }
    let truth: Vec<f64> = test_known.iter().map(|p| p.value).collect();
    let test_features = rows(&code, space, &test_known)?.dense();
    let predicted = predictor.predict(&test_features);
    let noise = match unfitted {
        Some(unfitted) => Some(noise(&targets, &unfitted)),
        None if truth.len() >= FEWEST_FOR_NOISE => {
            let deviations = predictor.deviations(&test_features);
            Some(noise(&truth, &OutOfFold { predictions: predicted.clone(), deviations }))
        }
        None => None,
    };
    if !seen.unseen.is_empty() {
        warnings.push(format!(
            "no training pair has {}: predictions for them are refused, and searches avoid them; collect more pairs",
            shortened(&seen.names(space))
        ));
    }
    let report = FitReport {
        predictor: entry.name.to_owned(),
        n_train: train.len(),
        n_test: truth.len(),
        rmse: metrics::rmse(&truth, &predicted),
        mae: metrics::mae(&truth, &predicted),
        r2: metrics::r2(&truth, &predicted),
        kendall_tau: metrics::kendall_tau(&truth, &predicted),
        spearman: metrics::spearman(&truth, &predicted),
        fit_seconds: started.elapsed().as_secs_f64(),
        warnings,
    };
    let (space, columns) = (Some(space.name().to_owned()), code.width());
    Ok(FittedPredictor { format: FORMAT, space, encoder, resolutions, seen, columns, noise, report, predictor })
}

/// Test pairs from which the noise of a slow estimator is taken.
const FEWEST_FOR_NOISE: usize = 20;

fn rows(code: &Code, space: &dyn SearchSpace, pairs: &[Pair]) -> Result<SparseRows, PredictorError> {
    code.rows(space, &Population::of(&pairs.iter().map(|p| p.arch.clone()).collect::<Vec<_>>()))
}

/// What is left of the squared errors on unseen pairs after the model's own variance.
fn noise(truth: &[f64], unfitted: &OutOfFold) -> f64 {
    let own = |row: usize| unfitted.deviations.as_ref().map_or(0.0, |deviations| deviations[row].powi(2));
    let excess = |(row, (t, p)): (usize, (&f64, &f64))| (t - p) * (t - p) - own(row);
    let sum: f64 = truth.iter().zip(&unfitted.predictions).enumerate().map(excess).sum();
    (sum / truth.len().max(1) as f64).max(0.0).sqrt()
}

/// Why nothing was learnt, and what would help: the accuracy of one net, measured on `n` images, varies by
/// `√(p (1 − p) / n)`.
fn nothing_learnt(chosen: &str, targets: &[f64], columns: usize) -> String {
    let moments = Moments::of(targets.iter().copied());
    let chance = moments.mean * (1.0 - moments.mean);
    let spread = Moments::of(targets.iter().copied()).deviation;
    let varied = targets.iter().any(|target| *target != targets[0]);
    let pairs = (2 * targets.len()).max(columns);
    let images = match varied && chance > 0.0 {
        // Noise of half the spread.
        true => format!("at least {} validation images", two_digits(4.0 * chance / (spread * spread))),
        false => "more validation images".to_owned(),
    };
    format!(
        "in cross-validation on these {} pairs no predictor is surely better than their mean ({:.4}, deviation {:.4}); \
         `{chosen}` was taken, which can rank nets wrongly. What helps: accuracies measured on {images}, and {pairs} \
         pairs or more",
        targets.len(),
        moments.mean,
        if varied { spread } else { 0.0 },
    )
}

/// Rounded up to two digits.
fn two_digits(value: f64) -> f64 {
    let unit = 10f64.powf((value.max(1.0).log10().floor() - 1.0).max(0.0));
    (value / unit).ceil() * unit
}

/// The first few of many names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 8;
    match names.len() {
        n if n > SHOWN => format!("{} and {} choices more", names[..SHOWN].join(", "), n - SHOWN),
        _ => names.join(", "),
    }
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
    /// [`PredictorError::OtherSpace`], [`PredictorError::UnseenResolution`] and [`PredictorError::UnseenChoice`] for archs
    /// of which the training pairs say nothing, or an arch that the encoder does not know.
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

    /// The space with those of its resolutions that the predictor knows.
    ///
    /// # Errors
    /// [`PredictorError::UnseenResolution`] if it knows none of them, [`PredictorError::OtherSpace`].
    pub fn narrowed(&self, space: Arc<dyn SearchSpace>) -> Result<Arc<dyn SearchSpace>, PredictorError> {
        let code = self.code(space.as_ref())?;
        let listed = &space.info().resolutions;
        let kept: Vec<u32> = listed.iter().copied().filter(|resolution| code.knows(*resolution)).collect();
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
        let known = Some(self.resolutions.as_slice()).filter(|known| !known.is_empty());
        let code = Code::new(self.encoder, space, known)?.with_seen(&self.seen.unseen, &self.resolutions);
        if self.columns != 0 && self.columns != code.width() {
            let (fitted, asked) = (self.columns, code.width());
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
                warnings: Vec::new(),
            };
            return Ok(Self {
                format: FORMAT,
                space: None,
                encoder,
                resolutions: Vec::new(),
                seen: Seen::default(),
                columns: 0,
                noise: None,
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
