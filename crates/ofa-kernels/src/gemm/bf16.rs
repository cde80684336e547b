//! Products in bf16: both factors rounded, sums in f32.
//!
//! The instructions multiply pairs of neighbouring values. In a panel of the weight the two rows of a pair therefore lie
//! interleaved, and a tap's rows are filled up with zeros to whole tiles of the AMX unit: what is read of the pixels
//! beyond a tap is multiplied by zero. Those are values of neighbouring pixels: if one is infinite or not a number, the
//! result is not a number either, even that of another image of the batch.
#![expect(unsafe_code, reason = "instructions without a safe form")]

use super::packed::{Finish, Panel, Pixels, UNIT, WIDEST, panels};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx512};
use crate::instruction_set::arch;
#[cfg(target_arch = "x86_64")]
use crate::instruction_set::{InstructionSet, in_use};
use crate::nonlinearity::{activate, activate_stored, is_short};
use bytemuck::{Pod, Zeroable};
use pulp::{Simd, WithSimd};
use std::cell::Cell;

/// Rows of the weight that a tile of the AMX unit holds.
pub(super) const DEEP: usize = 32;
/// Pixels that are multiplied at a time.
pub(super) const ROWS: usize = 32;
/// Columns of the widest panel.
pub(super) const WIDTH: usize = WIDEST * UNIT;

/// How products in bf16 are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// In f32, of rounded numbers.
    Rounded,
    /// By the dot products of AVX-512 BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// By the tiles of AMX.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

/// The fastest method that the processor has and the instruction set in use allows.
pub fn method() -> Method {
    #[cfg(target_arch = "x86_64")]
    match in_use() {
        InstructionSet::Amx => return Method::Amx,
        InstructionSet::Avx512 if avx512::is_available() => return Method::Avx512,
        _ => {}
    }
    Method::Rounded
}

/// Rounds to the nearest bf16, to the even one of two.
fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Rounds values in place, which stay f32.
pub fn round_all(values: &mut [f32]) {
    for value in values {
        *value = f32::from_bits(u32::from(rounded(*value)) << 16);
    }
}

/// A line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u16; 32]);

// SAFETY: 32 numbers of two bytes fill the 64 bytes of a line; any bits are numbers.
unsafe impl Zeroable for Line {}
// SAFETY: as above.
unsafe impl Pod for Line {}

/// Values of a line.
const LINE: usize = 32;

thread_local! {
    /// Used again from product to product.
    static LINES: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Passes on the values in bf16, followed by at least [`DEEP`] zeros.
pub fn with_pairs<R>(values: &[f32], work: impl FnOnce(&[u16]) -> R) -> R {
    // A thread that waits for others meanwhile may come here again: then it does without this memory.
    let mut lines = LINES.take();
    let wanted = values.len().div_ceil(LINE) + 1;
    if lines.len() < wanted {
        lines.resize(wanted, Line::zeroed());
    }
    let all: &mut [u16] = bytemuck::cast_slice_mut(&mut lines[..wanted]);
    let (real, rest) = all.split_at_mut(values.len());
    round_into(values, real);
    rest.fill(0);
    let result = work(all);
    LINES.set(lines);
    result
}

fn round_into(values: &[f32], out: &mut [u16]) {
    #[cfg(target_arch = "x86_64")]
    if method() != Method::Rounded {
        // SAFETY: the methods are those of processors with AVX-512 BF16.
        return unsafe { avx512::round_into(values, out) };
    }
    values.iter().zip(out).for_each(|(value, out)| *out = rounded(*value));
}

/// Panels of a weight in pairs of rows.
#[derive(Debug)]
pub struct Pairs {
    lines: Vec<Line>,
    /// Rows of a tap, and those that fill them up to a multiple of [`DEEP`].
    inner: usize,
    padded: usize,
    taps: usize,
    columns: usize,
    method: Method,
}

impl Pairs {
    /// Brings panels of f32, `[taps · inner, width]` each, into pairs.
    pub fn new(values: &[f32], [taps, inner, columns]: [usize; 3], method: Method) -> Self {
        let padded = inner.next_multiple_of(DEEP);
        let depth = taps * inner;
        let mut lines = vec![Line::zeroed(); taps * padded * columns.div_ceil(UNIT) * UNIT / LINE];
        let mut rounded_values = vec![0; values.len()];
        round_into(values, &mut rounded_values);
        let all: &mut [u16] = bytemuck::cast_slice_mut(&mut lines);
        for panel in panels(columns) {
            let width = panel.units * UNIT;
            let from = &rounded_values[panel.first * UNIT * depth..][..width * depth];
            let into = &mut all[panel.first * UNIT * taps * padded..][..width * taps * padded];
            for (tap, into) in into.chunks_exact_mut(width * padded).enumerate() {
                let rows = from[tap * inner * width..][..inner * width].chunks_exact(width);
                for (row, values) in rows.enumerate() {
                    let pair = &mut into[row / 2 * 2 * width..][..2 * width];
                    for (column, value) in values.iter().enumerate() {
                        pair[2 * column + row % 2] = *value;
                    }
                }
            }
        }
        Self { lines, inner, padded, taps, columns, method }
    }

    /// A panel: `[taps · padded / 2, width, 2]`.
    fn panel(&self, panel: Panel) -> &[u16] {
        let depth = self.taps * self.padded;
        &bytemuck::cast_slice(&self.lines)[panel.first * UNIT * depth..][..panel.units * UNIT * depth]
    }

    /// Pixels times a panel, into rows of `row` values from column `at` on. The pixels' values are followed by
    /// [`DEEP`] others, see [`with_pairs`].
    ///
    /// # Panics
    /// If a tap of a pixel lies outside the values, or sizes do not fit.
    pub fn multiply(
        &self,
        pixels: &Pixels<'_, u16>,
        panel: Panel,
        finish: Finish<'_>,
        out: &mut [f32],
        row: usize,
        at: usize,
    ) {
        assert_eq!((pixels.taps.len(), pixels.inner), (self.taps, self.inner), "taps");
        assert_eq!(out.len() % row.max(1), 0, "whole rows");
        let from = panel.first * UNIT;
        let real = (self.columns - from).min(panel.units * UNIT);
        assert!(at + real <= row, "columns of the output");
        let finish = Finish { bias: finish.bias.map(|bias| &bias[from..from + real]), ..finish };
        let weight = self.panel(panel);
        let task = Task { values: pixels.values, taps: pixels.taps, inner: self.inner, padded: self.padded, weight };
        let furthest = pixels.taps.iter().max().copied().unwrap_or_default() + self.padded;
        #[cfg(target_arch = "x86_64")]
        let mut tiles = (self.method == Method::Amx).then(|| amx::Tiles::new(&task));
        let mut sums = Sums::zeroed();
        #[cfg(target_arch = "x86_64")]
        let plain = finish.bias.is_none() && finish.activation.is_none() && real == panel.units * UNIT;
        for (group, out) in out.chunks_mut(ROWS * row).enumerate() {
            let rows = out.len() / row;
            // A short group repeats its last pixel; the copies are not written.
            let mut offsets = [0; ROWS];
            for (i, offset) in offsets.iter_mut().enumerate() {
                *offset = pixels.offset(group * ROWS + i.min(rows - 1));
                assert!(*offset + furthest <= pixels.values.len(), "a pixel outside the values");
            }
            match self.method {
                Method::Rounded => task.add_up(&offsets[..rows], &mut sums),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the method is that of processors with AVX-512 BF16; the offsets were checked above.
                Method::Avx512 => unsafe { avx512::add_up(&task, &offsets[..rows], &mut sums) },
                #[cfg(target_arch = "x86_64")]
                Method::Amx => {
                    let Some(tiles) = &mut tiles else { unreachable!("made above") };
                    if plain && rows == ROWS {
                        // SAFETY: as above, with AMX.
                        unsafe { tiles.add_up(&offsets, &mut out[at..], row) };
                        continue;
                    }
                    // SAFETY: as above, with AMX.
                    unsafe { tiles.add_up(&offsets, &mut sums.0, WIDTH) }
                }
            }
            arch().dispatch(Finished { sums: &sums.0, finish, out, row, at, real });
        }
    }
}

/// Sums of [`ROWS`] pixels and [`WIDTH`] columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Sums(pub [f32; ROWS * WIDTH]);

impl Sums {
    fn zeroed() -> Self {
        Self([0.0; ROWS * WIDTH])
    }
}

/// What is multiplied: pixels, of which every tap has `inner` values, and a panel `[taps · padded / 2, width, 2]`.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub values: &'a [u16],
    pub taps: &'a [usize],
    pub inner: usize,
    pub padded: usize,
    pub weight: &'a [u16],
}

impl Task<'_> {
    /// Columns of the panel.
    pub fn width(&self) -> usize {
        self.weight.len() / (self.taps.len() * self.padded).max(1)
    }

    /// The sums of the pixels at some offsets, by plain loops.
    fn add_up(&self, offsets: &[usize], sums: &mut Sums) {
        let width = self.width();
        let wide = |value: u16| f32::from_bits(u32::from(value) << 16);
        for (offset, sums) in offsets.iter().zip(sums.0.chunks_exact_mut(WIDTH)) {
            sums.fill(0.0);
            for (tap, weight) in self.taps.iter().zip(self.weight.chunks_exact(width * self.padded)) {
                for k in 0..self.inner {
                    let x = wide(self.values[offset + tap + k]);
                    let pairs = weight[k / 2 * 2 * width..][..2 * width].chunks_exact(2);
                    sums.iter_mut().zip(pairs).for_each(|(sum, pair)| *sum += x * wide(pair[k % 2]));
                }
            }
        }
    }
}

/// Writes sums, finished, into rows of the output.
struct Finished<'a> {
    sums: &'a [f32],
    finish: Finish<'a>,
    out: &'a mut [f32],
    row: usize,
    at: usize,
    real: usize,
}

impl WithSimd for Finished<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, finish, out, row, at, real } = self;
        let short = finish.activation.filter(|activation| is_short(*activation));
        let long = finish.activation.filter(|activation| !is_short(*activation));
        let lanes = S::F32_LANES;
        // What is read of bias and sums beyond the last column is not written.
        let mut bias = [0.0; WIDTH];
        if let Some(real) = finish.bias {
            bias[..real.len()].copy_from_slice(real);
        }
        let (bias, _) = S::as_simd_f32s(&bias);
        for (sums, out) in sums.chunks_exact(WIDTH).zip(out.chunks_exact_mut(row)) {
            let out = &mut out[at..at + real];
            let (sums, _) = S::as_simd_f32s(sums);
            for (v, into) in out.chunks_mut(lanes).enumerate() {
                let mut value = simd.add_f32s(sums[v], bias[v]);
                if let Some(activation) = short {
                    value = activate(simd, activation, value);
                }
                if into.len() == lanes {
                    // SAFETY: the slice has the length of a vector.
                    unsafe { into.as_mut_ptr().cast::<S::f32s>().write_unaligned(value) };
                } else {
                    simd.partial_store_f32s(into, value);
                }
            }
            if let Some(activation) = long {
                activate_stored(activation, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::packed::{Packed, Strides};
    use crate::noise;
    use crate::precision::Precision;

    fn widened(values: &[f32]) -> Vec<f32> {
        let mut values = values.to_vec();
        round_all(&mut values);
        values
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_ties_to_even() {
        let cases = [(1.0, 1.0), (1.003_906_2, 1.0), (1.011_718_8, 1.015_625), (1.0039064, 1.0078125), (-0.0, -0.0)];
        for (value, expected) in cases {
            assert_eq!(widened(&[value]), [expected], "{value}");
        }
        assert_eq!(widened(&[f32::MAX, f32::NEG_INFINITY]), [f32::INFINITY, f32::NEG_INFINITY]);
        assert!(widened(&[f32::NAN, f32::from_bits(0x7f80_0001)]).iter().all(|value| value.is_nan()));
    }

    /// Every method against loops over the same rounded numbers, for sizes around the edges of tiles, and taps.
    #[test]
    fn every_method_agrees_with_plain_loops() {
        let mut methods = vec![Method::Rounded];
        #[cfg(target_arch = "x86_64")]
        {
            methods.extend(avx512::is_available().then_some(Method::Avx512));
            methods.extend(amx::is_available().then_some(Method::Amx));
        }
        for method in methods {
            for (rows, inner, columns, taps) in [
                (1, 1, 1, 1),
                (3, 5, 7, 1),
                (33, 16, 16, 1),
                (70, 24, 40, 3),
                (32, 33, 49, 1),
                (65, 64, 24, 5),
                (40, 100, 112, 2),
            ] {
                // Pixels overlap, as the patches of a convolution do, and begin anew after seven.
                let steps = [inner / 2 + 1, 3 * inner + 11, 0];
                let sizes = [7, usize::MAX];
                let places: Vec<usize> = (0..taps).map(|tap| tap * (inner + 3)).collect();
                let offset = |pixel: usize| pixel / 7 * steps[1] + pixel % 7 * steps[0];
                let length = (0..rows).map(offset).max().unwrap_or(0) + places[taps - 1] + inner;
                let (values, weight, bias) = (noise(length, 1), noise(columns * taps * inner, 2), noise(columns, 3));
                let depth = taps * inner;
                let strides = Strides {
                    taps,
                    inner,
                    columns,
                    tap: inner,
                    value: 1,
                    column: depth,
                    backwards: false,
                    pieces: taps,
                };
                let whole = Packed::new(&weight, strides, Precision::F32);
                let pairs = Pairs::new(whole.values(), [taps, inner, columns], method);
                let (wide, wide_weight) = (widened(&values), widened(&weight));
                for (bias, activation) in [(Some(&bias), Some(ofa_space::Activation::HSwish)), (None, None)] {
                    let finish = Finish { bias: bias.map(Vec::as_slice), activation };
                    let mut out = vec![f32::NAN; rows * columns];
                    with_pairs(&values, |values| {
                        let pixels = Pixels { values, sizes, steps, taps: &places, inner };
                        for panel in panels(columns) {
                            pairs.multiply(&pixels, panel, finish, &mut out, columns, panel.first * UNIT);
                        }
                    });
                    for (i, made) in out.iter().enumerate() {
                        let (pixel, column) = (i / columns, i % columns);
                        let terms = (0..depth).map(|k| {
                            let at = offset(pixel) + places[k / inner] + k % inner;
                            f64::from(wide[at]) * f64::from(wide_weight[column * depth + k])
                        });
                        let sum = terms.sum::<f64>() + bias.map_or(0.0, |bias| f64::from(bias[column]));
                        let expected = activation.map_or(sum, |_| sum * (sum + 3.0).clamp(0.0, 6.0) / 6.0);
                        let error = (f64::from(*made) - expected).abs();
                        assert!(error < 2e-6 * depth as f64 + 1e-5, "{method:?}, value {i}: {made} and {expected}");
                    }
                }
            }
        }
    }
}
