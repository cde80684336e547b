//! How the error falls with the number of pairs.

use super::Fit;
use crate::error::PredictorError;
use crate::pairs::Pair;
use ofa_space::SearchSpace;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

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

/// Draws of training pairs for each size.
const DRAWS: u64 = 3;

impl Fit {
    /// How the error falls with the number of training pairs: fits on the first part of seeded shuffles of `train`, and
    /// scores on `test`. Sizes beyond the number of training pairs are left out.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn learning_curve(
        &self,
        space: &dyn SearchSpace,
        train: &[Pair],
        test: &[Pair],
        sizes: &[usize],
    ) -> Result<Vec<CurvePoint>, PredictorError> {
        let mut points = Vec::new();
        for size in sizes.iter().copied().filter(|size| *size <= train.len()) {
            // All pairs can be drawn in one way only.
            let draws = if size == train.len() { 1 } else { DRAWS };
            let (mut rmse, mut tau) = (0.0, 0.0);
            for draw in 0..draws {
                let mut order: Vec<usize> = (0..train.len()).collect();
                order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed.wrapping_add(draw)));
                let part: Vec<Pair> = order[..size].iter().map(|index| train[*index].clone()).collect();
                let report = self.run(space, &part, test)?.report;
                rmse += report.rmse / draws as f64;
                tau += report.kendall_tau / draws as f64;
            }
            points.push(CurvePoint { pairs: size, rmse, kendall_tau: tau, draws: draws as usize });
        }
        Ok(points)
    }
}
