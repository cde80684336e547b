//! How much information a set of archs carries about the effect of every choice, and which further archs would add most.
//!
//! A predictor learns from pairs how much each choice of each gene is worth. With few pairs the archs that were drawn
//! matter as much as their number: effects that always come together cannot be separated. The information of a design about a
//! linear model with a ridge prior is `det(I + A Aᵀ)` over the rows of features `A`; here it grows by a few rows at a
//! time.
//!
//! Source: Bayesian D-optimal design, e.g. Chaloner & Verdinelli, "Bayesian Experimental Design: A Review" (1995); the
//! growth by rows is the matrix determinant lemma, the update the Woodbury identity. The Cholesky factor is linfa's.

use linfa_linalg::cholesky::CholeskyInplace;
use linfa_linalg::triangular::{SolveTriangularInplace, UPLO};
use ndarray::Array2;
use ofa_space::{Arch, Gene, Opened, SearchSpace};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Archs drawn to learn how often each choice is active.
const SAMPLE: usize = 1000;
/// The constant column: a wide prior, so that the mean costs no information.
const CONSTANT: f64 = 30.0;

/// Features of archs: a constant, one column for each active choice of a gene and one for each resolution, each divided
/// by its standard deviation over the space.
pub(super) struct Features {
    genes: Vec<Gene>,
    resolutions: Vec<u32>,
    scale: Vec<f64>,
}

/// The columns of one arch that are not 0.
pub(super) type Row = Vec<(usize, f64)>;

impl Features {
    pub fn new(space: &dyn SearchSpace) -> Self {
        let info = space.info();
        let columns = 1 + info.genes.iter().map(|gene| gene.choices.len()).sum::<usize>() + info.resolutions.len();
        let (genes, resolutions) = (info.genes.clone(), info.resolutions.clone());
        let mut features = Self { genes, resolutions, scale: vec![1.0; columns] };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut active = vec![0usize; columns];
        for _ in 0..SAMPLE {
            let row = features.row(&space.sample(&Opened::EVERYTHING, &mut rng));
            row.iter().for_each(|(column, _)| active[*column] += 1);
        }
        features.scale = active
            .iter()
            .map(|&count| {
                let share = count.clamp(1, SAMPLE - 1) as f64 / SAMPLE as f64;
                1.0 / (share * (1.0 - share)).sqrt()
            })
            .collect();
        features.scale[0] = CONSTANT;
        features
    }

    pub fn row(&self, arch: &Arch) -> Row {
        let mut row = Vec::with_capacity(self.genes.len() + 2);
        row.push((0, self.scale[0]));
        let mut column = 1;
        for (gene, choice) in self.genes.iter().zip(arch.choices()) {
            if gene.is_active(&self.genes, arch.choices()) {
                let at = column + usize::from(*choice);
                row.push((at, self.scale[at]));
            }
            column += gene.choices.len();
        }
        if let Some(index) = self.resolutions.iter().position(|known| Some(*known) == arch.resolution()) {
            row.push((column + index, self.scale[column + index]));
        }
        row
    }
}

/// What is still unknown after the archs so far: the covariance of the effects under the prior and those rows.
pub(super) struct Unknown {
    columns: usize,
    covariance: Vec<f64>,
}

impl Unknown {
    /// Nothing is known: every effect has variance 1.
    pub fn new(features: &Features) -> Self {
        let columns = features.scale.len();
        let mut covariance = vec![0.0; columns * columns];
        covariance.iter_mut().step_by(columns + 1).for_each(|variance| *variance = 1.0);
        Self { columns, covariance }
    }

    /// By which factor these rows together shrink what is unknown: `det(I + A C Aᵀ)`.
    pub fn gain(&self, rows: &[Row]) -> f64 {
        self.factor(rows).map_or(1.0, |lower| lower.diag().iter().map(|pivot| pivot.powi(2)).product())
    }

    /// Takes the rows as known: `C − C Aᵀ (I + A C Aᵀ)⁻¹ A C`.
    pub fn learn(&mut self, rows: &[Row]) {
        let n = self.columns;
        let moved: Vec<f64> = rows.iter().flat_map(|row| self.times(row)).collect();
        let (Some(lower), Ok(mut moved)) = (self.factor(rows), Array2::from_shape_vec((rows.len(), n), moved)) else {
            return;
        };
        // With L Lᵀ = I + A C Aᵀ, the rows of L⁻¹ A C square to what is subtracted.
        if lower.solve_triangular_inplace(&mut moved, UPLO::Lower).is_err() {
            return;
        }
        for row in moved.rows() {
            for (line, &left) in self.covariance.chunks_exact_mut(n).zip(row) {
                line.iter_mut().zip(row).for_each(|(value, right)| *value -= left * right);
            }
        }
    }

    /// The lower triangle `L` with `L Lᵀ = I + A C Aᵀ`. It always exists: every pivot is at least 1.
    fn factor(&self, rows: &[Row]) -> Option<Array2<f64>> {
        let size = rows.len();
        Array2::from_shape_vec((size, size), self.spread(rows)).ok()?.cholesky_into_dirty().ok()
    }

    fn times(&self, row: &Row) -> Vec<f64> {
        let mut product = vec![0.0; self.columns];
        for &(column, value) in row {
            let line = &self.covariance[column * self.columns..(column + 1) * self.columns];
            product.iter_mut().zip(line).for_each(|(sum, covariance)| *sum += value * covariance);
        }
        product
    }

    /// `I + A C Aᵀ`.
    fn spread(&self, rows: &[Row]) -> Vec<f64> {
        let mut matrix = vec![0.0; rows.len() * rows.len()];
        for (i, left) in rows.iter().enumerate() {
            for (j, right) in rows.iter().enumerate().take(i + 1) {
                let mut sum = f64::from(u8::from(i == j));
                for &(row, a) in left {
                    let line = &self.covariance[row * self.columns..(row + 1) * self.columns];
                    sum += a * right.iter().map(|&(column, b)| line[column] * b).sum::<f64>();
                }
                matrix[i * rows.len() + j] = sum;
                matrix[j * rows.len() + i] = sum;
            }
        }
        matrix
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ofa_space::registry;

    #[test]
    fn learning_in_two_steps_gains_what_learning_at_once_does() {
        let space = registry::named("ofa-mbv3-w1.0").unwrap();
        let features = Features::new(space.as_ref());
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let rows: Vec<Row> = (0..6).map(|_| features.row(&space.sample(&Opened::EVERYTHING, &mut rng))).collect();
        let mut unknown = Unknown::new(&features);
        let at_once = unknown.gain(&rows);
        let first = unknown.gain(&rows[..4]);
        unknown.learn(&rows[..4]);
        let then = unknown.gain(&rows[4..]);
        assert!((first * then / at_once - 1.0).abs() < 1e-9, "{first} · {then} is not {at_once}");
        // Repetitions add little: each less than the one before.
        let again = unknown.gain(&rows[..1]);
        assert!(again < Unknown::new(&features).gain(&rows[..1]) && again > 1.0, "{again}");
    }
}
