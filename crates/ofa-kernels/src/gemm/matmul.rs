//! Matrix products over slices, by the `gemm` crate on one thread (the caller divides the work).
#![expect(unsafe_code, reason = "the interface of `gemm`")]

/// A matrix in a slice: `rows × columns`, with the distance between rows and between columns in elements.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// If the slice is not `rows · columns` long.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "matrix of {rows} by {columns}");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Some columns of a row-major matrix.
    ///
    /// # Panics
    /// If they do not exist, or the matrix is transposed.
    pub fn columns(self, columns: std::ops::Range<usize>) -> Self {
        assert!(self.column_stride == 1 && columns.end <= self.columns, "columns of the matrix");
        let start = if self.rows == 0 { 0 } else { columns.start };
        Self { data: &self.data[start..], columns: columns.len(), ..self }
    }

    /// The transposed view.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `output = left · right`, row-major.
///
/// # Panics
/// If the shapes do not fit.
pub fn multiply(left: Matrix<'_>, right: Matrix<'_>, output: &mut [f32]) {
    product(left, right, output, Old::Overwrite);
}

/// `output += left · right`, row-major.
///
/// # Panics
/// If the shapes do not fit.
pub fn multiply_add(left: Matrix<'_>, right: Matrix<'_>, output: &mut [f32]) {
    product(left, right, output, Old::Keep);
}

/// What becomes of the values that the output holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Old {
    Overwrite,
    Keep,
}

fn product(left: Matrix<'_>, right: Matrix<'_>, output: &mut [f32], old: Old) {
    assert_eq!(left.columns, right.rows, "inner dimensions");
    assert_eq!(output.len(), left.rows * right.columns, "output size");
    if output.is_empty() {
        return;
    }
    if left.columns == 0 {
        if old == Old::Overwrite {
            output.fill(0.0);
        }
        return;
    }
    let keep = old == Old::Keep;
    // SAFETY: `Matrix` holds views whose largest index, (rows − 1)·row_stride + (columns − 1)·column_stride, is inside
    // its slice (checked in `new`, kept by `columns` and `transposed`); `output` is exactly rows × columns, row-major, and borrowed
    // mutably, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            output.as_mut_ptr(),
            1,
            right.columns as isize,
            keep,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_three_loops_for_every_layout() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (16, 8, 4), (33, 17, 9)] {
            let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.7).sin()).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.3).cos()).collect();
            let bt: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
            let at: Vec<f32> = (0..k * m).map(|i| a[(i % m) * k + i / m]).collect();
            let mut expected = vec![0.0f32; m * n];
            for i in 0..m {
                for j in 0..n {
                    expected[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
                }
            }
            let lefts = [Matrix::new(&a, m, k), Matrix::new(&at, k, m).transposed()];
            let rights = [Matrix::new(&b, k, n), Matrix::new(&bt, n, k).transposed()];
            for left in lefts {
                for right in rights {
                    let mut output = vec![f32::NAN; m * n];
                    multiply(left, right, &mut output);
                    assert!(output.iter().zip(&expected).all(|(o, e)| (o - e).abs() < 1e-4));
                    multiply_add(left, right, &mut output);
                    assert!(output.iter().zip(&expected).all(|(o, e)| (o - 2.0 * e).abs() < 2e-4));
                }
            }
        }
    }
}
