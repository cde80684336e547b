//! Cholesky factorisation of a symmetric positive definite matrix.

use rayon::prelude::*;

/// The lower triangular factor `L` of `A = L Lᵀ`, row after row, each as long as its part of the triangle.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Cholesky {
    rows: Vec<Vec<f64>>,
}

/// Rows that are finished together, before the rows below take them in on all threads.
const BLOCK: usize = 64;

/// Eight sums side by side: the same on machines with any vectors.
#[inline(always)]
fn dot(one: &[f64], other: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0f64; LANES];
    let (a, b) = (one.chunks_exact(LANES), other.chunks_exact(LANES));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Finishes columns `from..to` of a row, whose earlier columns are finished, by the rows `block` = `from..to`.
fn finish(row: &mut [f64], block: &[Vec<f64>], from: usize, to: usize) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for column in from..to {
                let pivot = &block[column - from];
                row[column] = (row[column] - dot(&row[..column], &pivot[..column])) / pivot[column];
            }
        },
    );
}

impl Cholesky {
    /// Factorises a matrix given by its lower triangle; `None` if it is not positive definite.
    pub fn new(mut rows: Vec<Vec<f64>>) -> Option<Self> {
        let n = rows.len();
        for from in (0..n).step_by(BLOCK) {
            let to = (from + BLOCK).min(n);
            let (done, below) = rows.split_at_mut(to);
            let block = &mut done[from..];
            for index in 0..block.len() {
                let (earlier, row) = block.split_at_mut(index);
                let row = &mut row[0];
                let diagonal = from + index;
                finish(row, earlier, from, diagonal);
                let rest = row[diagonal] - dot(&row[..diagonal], &row[..diagonal]);
                if !(rest > 0.0 && rest.is_finite()) {
                    return None;
                }
                row[diagonal] = rest.sqrt();
            }
            below.par_iter_mut().for_each(|row| finish(row, block, from, to));
        }
        Some(Self { rows })
    }

    /// `x` of `L x = b`.
    pub fn solve_lower(&self, b: &[f64]) -> Vec<f64> {
        let mut x = Vec::with_capacity(b.len());
        for (row, value) in self.rows.iter().zip(b) {
            let diagonal = x.len();
            x.push((value - dot(&row[..diagonal], &x)) / row[diagonal]);
        }
        x
    }

    /// `x` of `A x = b`.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let mut x = self.solve_lower(b);
        for index in (0..x.len()).rev() {
            let row = &self.rows[index];
            x[index] /= row[index];
            let value = x[index];
            x[..index].iter_mut().zip(row).for_each(|(x, l)| *x -= l * value);
        }
        x
    }

    /// The diagonal of the inverse of `A`.
    pub fn inverse_diagonal(&self) -> Vec<f64> {
        let n = self.rows.len();
        // Column j of the inverse of L starts at row j; the diagonal of the inverse of A sums their squares.
        let column = |j: usize| -> f64 {
            let mut x: Vec<f64> = Vec::with_capacity(n - j);
            for i in j..n {
                let row = &self.rows[i];
                let right = if i == j { 1.0 } else { 0.0 };
                x.push((right - dot(&row[j..i], &x)) / row[i]);
            }
            dot(&x, &x)
        };
        (0..n).into_par_iter().map(column).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn solves_and_inverts() {
        let n = 150;
        let entry = |i: usize, j: usize| {
            let near = (-(i.abs_diff(j) as f64) / 9.0).exp();
            if i == j { near + 0.3 } else { near }
        };
        let factor = Cholesky::new((0..n).map(|i| (0..=i).map(|j| entry(i, j)).collect()).collect()).unwrap();
        let b: Vec<f64> = (0..n).map(|i| (i as f64 * 0.37).sin()).collect();
        let x = factor.solve(&b);
        for (i, b) in b.iter().enumerate() {
            let product: f64 = (0..n).map(|j| entry(i, j) * x[j]).sum();
            assert!((product - b).abs() < 1e-10);
        }
        let inverse = factor.inverse_diagonal();
        for index in [0, 70, 149] {
            let mut unit = vec![0.0; n];
            unit[index] = 1.0;
            assert!((factor.solve(&unit)[index] - inverse[index]).abs() < 1e-10);
        }
        assert!(Cholesky::new(vec![vec![1.0], vec![2.0, 1.0]]).is_none());
    }
}
