//! Tests of products with packed weights.

use super::*;
use crate::noise;
use crate::nonlinearity::with_nonlinearity;

fn close(a: &[f32], b: &[f32], depth: usize) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 1e-6 * (depth as f32) + 1e-5, "value {i}: {a} and {b}");
    }
}

#[test]
fn panels_cover_every_column_once() {
    for columns in 1..400 {
        let all: Vec<Panel> = panels(columns).collect();
        let mut next = 0;
        for panel in &all {
            assert_eq!(panel.first, next);
            assert!((1..=WIDEST).contains(&panel.units));
            next += panel.units;
        }
        assert_eq!(next, columns.div_ceil(UNIT));
    }
}

/// Three loops, for every size around the tiles' edges.
#[test]
fn products_agree_with_three_loops() {
    for (rows, depth, columns) in
        [(1, 1, 1), (3, 5, 7), (8, 16, 16), (9, 24, 40), (17, 33, 49), (7, 600, 24), (21, 1300, 65), (50, 40, 112)]
    {
        let (a, weight) = (noise(rows * depth, 1), noise(columns * depth, 2));
        let bias = noise(columns, 3);
        let strides =
            Strides { taps: 1, inner: depth, columns, tap: 0, value: 1, column: depth, backwards: false, pieces: 1 };
        let packed = Packed::new(&weight, strides, Precision::F32);
        for activation in [None, Some(Activation::Relu), Some(Activation::Relu6), Some(Activation::HSwish)] {
            let expected: Vec<f32> = (0..rows * columns)
                .map(|i| {
                    let (r, c) = (i / columns, i % columns);
                    let sum: f32 = (0..depth).map(|k| a[r * depth + k] * weight[c * depth + k]).sum();
                    with_nonlinearity!(activation, Act => <Act as crate::nonlinearity::Nonlinearity>::value(sum + bias[c]))
                })
                .collect();
            let finish = Finish { bias: Some(&bias), activation };
            let mut out = vec![f32::NAN; rows * columns];
            multiply(&Pixels::matrix(&a, depth), &packed, finish, &mut out);
            close(&out, &expected, depth);
            let mut parallel = vec![f32::NAN; rows * columns];
            multiply_in_parallel(&Pixels::matrix(&a, depth), &packed, finish, &mut parallel);
            assert_eq!(out, parallel);
        }
    }
}

/// A 3×3 convolution with stride 2 over two padded images, taps forwards and backwards.
#[test]
fn taps_are_read_where_they_are() {
    let (height, width, inner, columns) = (9, 7, 5, 19);
    let images = noise(2 * height * width * inner, 4);
    let weight = noise(columns * inner * 9, 5);
    let taps: Vec<usize> = (0..9).map(|t| (t / 3 * width + t % 3) * inner).collect();
    let (out_height, out_width) = ((height - 3) / 2 + 1, (width - 3) / 2 + 1);
    for backwards in [false, true] {
        let strides = Strides { taps: 9, inner, columns, tap: 1, value: 9, column: inner * 9, backwards, pieces: 9 };
        let packed = Packed::new(&weight, strides, Precision::F32);
        let sizes = [out_width, out_height * out_width];
        let steps = [2 * inner, 2 * width * inner, height * width * inner];
        let pixels = Pixels { values: &images, sizes, steps, taps: &taps, inner };
        let mut out = vec![f32::NAN; 2 * out_height * out_width * columns];
        multiply(&pixels, &packed, Finish::default(), &mut out);
        let expected: Vec<f32> = (0..out.len())
            .map(|i| {
                let (pixel, c) = (i / columns % sizes[1], i % columns);
                let corner = (pixel / out_width * 2 * width + pixel % out_width * 2) * inner;
                let corner = corner + i / columns / sizes[1] * steps[2];
                (0..9 * inner)
                    .map(|k| {
                        let (tap, value) = (k / inner, k % inner);
                        let of_weight = if backwards { 8 - tap } else { tap };
                        images[corner + taps[tap] + value] * weight[c * inner * 9 + value * 9 + of_weight]
                    })
                    .sum()
            })
            .collect();
        close(&out, &expected, 45);
    }
}

#[test]
#[should_panic(expected = "a pixel outside the values")]
fn a_pixel_outside_the_values_is_noticed() {
    let packed = Packed::new(
        &[1.0; 4],
        Strides { taps: 1, inner: 4, columns: 1, tap: 0, value: 1, column: 4, backwards: false, pieces: 1 },
        Precision::F32,
    );
    multiply(&Pixels::matrix(&[0.0; 11], 4), &packed, Finish::default(), &mut [0.0; 3]);
}
