//! Products of pixels with a weight matrix that is packed once and used by every lane.
//!
//! The pixels are read where they are: in NHWC a pixel's channels lie side by side, and so do the channels of each tap of
//! a dense convolution, whose patches are never gathered. A row of the product is therefore a pixel's first value and,
//! for every tap, a distance from there. Only the weight is laid out anew, in panels of columns in the order in which
//! the inner loop reads them.
#![expect(unsafe_code, reason = "the inner loops of products")]

use super::bf16::{self, Pairs};
use crate::buffers::Buffer;
use crate::instruction_set::arch;
use crate::nonlinearity::{activate, activate_stored, is_short};
use crate::precision::Precision;
use ofa_space::Activation;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a panel come in units of this: the widest vector of f32.
pub(super) const UNIT: usize = 16;
/// Units of the widest panel.
pub(super) const WIDEST: usize = 2;
/// Rows of a panel that are worked through before the next rows of pixels: with the pixels, they fit the caches.
const DEPTH: usize = 512;
/// Values from which packing is divided between threads.
const LARGE: usize = 1 << 16;

/// A matrix `[depth, columns]` in panels.
#[derive(Debug)]
pub struct Packed {
    values: Values,
    depth: usize,
    columns: usize,
}

/// The values of the panels.
#[derive(Debug)]
enum Values {
    /// In f32.
    Whole(Buffer),
    /// Rounded to bf16, but held in f32: for processors without products in bf16.
    Rounded(Buffer),
    /// In bf16.
    Pairs(Pairs),
}

/// Some whole units of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    /// First unit.
    pub first: usize,
    /// Units, 1 to [`WIDEST`].
    pub units: usize,
}

/// The panels of a matrix, as wide as possible.
pub(super) fn panels(columns: usize) -> impl Iterator<Item = Panel> + Clone {
    let all = columns.div_ceil(UNIT);
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = all - first;
        let units = left.min(WIDEST);
        let panel = Panel { first, units };
        first += units;
        (units > 0).then_some(panel)
    })
}

/// Where the values of a matrix `[taps · inner, columns]` lie in a weight.
#[derive(Clone, Copy, Debug)]
pub struct Strides {
    /// Taps.
    pub taps: usize,
    /// Values of a tap.
    pub inner: usize,
    /// Columns.
    pub columns: usize,
    /// Distance between taps; the taps are taken from the last to the first if `backwards`.
    pub tap: usize,
    /// Distance between the values of a tap.
    pub value: usize,
    /// Distance between columns.
    pub column: usize,
    /// Order of the taps.
    pub backwards: bool,
    /// Pieces in which the values of a pixel lie: those of several taps may be neighbours.
    pub pieces: usize,
}

impl Packed {
    /// Packs a weight.
    ///
    /// # Panics
    /// If a stride leads outside the weight.
    pub fn new(weight: &[f32], s: Strides, precision: Precision) -> Self {
        let depth = s.taps * s.inner;
        let mut values = Buffer::take(depth * s.columns.div_ceil(UNIT) * UNIT);
        let mut parts = Vec::new();
        let mut rest = &mut values[..];
        for panel in panels(s.columns) {
            let (part, after) = rest.split_at_mut(depth * panel.units * UNIT);
            parts.push((panel, part));
            rest = after;
        }
        let fill = |(panel, part): (Panel, &mut [f32])| {
            let width = panel.units * UNIT;
            let from = panel.first * UNIT;
            let real = (s.columns - from).min(width);
            let place = |row: usize| {
                let (tap, value) = (row / s.inner, row % s.inner);
                let tap = if s.backwards { s.taps - 1 - tap } else { tap };
                tap * s.tap + value * s.value + from * s.column
            };
            // A few rows at a time: what lies side by side in the weight is then read once.
            for (group, rows) in part.chunks_mut(UNIT * width).enumerate() {
                for (i, out) in rows.chunks_exact_mut(width).enumerate() {
                    out[real..].fill(0.0);
                    if s.column == 1 {
                        let start = place(group * UNIT + i);
                        out[..real].copy_from_slice(&weight[start..start + real]);
                    }
                }
                if s.column == 1 {
                    continue;
                }
                let mut starts = [0; UNIT];
                let count = rows.len() / width;
                starts.iter_mut().enumerate().take(count).for_each(|(i, start)| *start = place(group * UNIT + i));
                for column in 0..real {
                    for (i, start) in starts[..count].iter().enumerate() {
                        rows[i * width + column] = weight[start + column * s.column];
                    }
                }
            }
        };
        if weight.len() < LARGE {
            parts.into_iter().for_each(fill);
        } else {
            parts.into_par_iter().for_each(fill);
        }
        let method = match precision {
            Precision::F32 => return Self { values: Values::Whole(values), depth, columns: s.columns },
            Precision::Bf16 => bf16::method(),
        };
        let values = match method {
            bf16::Method::Rounded => {
                bf16::round_all(&mut values);
                Values::Rounded(values)
            }
            #[allow(unreachable_patterns, reason = "processors without another method")]
            method => Values::Pairs(Pairs::new(&values, [s.pieces, depth / s.pieces.max(1), s.columns], method)),
        };
        Self { values, depth, columns: s.columns }
    }
}

#[cfg(test)]
impl Packed {
    /// The values of the panels, which are in f32.
    pub fn values(&self) -> &[f32] {
        match &self.values {
            Values::Whole(values) | Values::Rounded(values) => values,
            Values::Pairs(_) => unreachable!("in bf16"),
        }
    }
}

/// A panel of values in f32.
fn panel_of(values: &[f32], panel: Panel, depth: usize) -> &[f32] {
    let start = panel.first * UNIT * depth;
    &values[start..start + panel.units * UNIT * depth]
}

/// The rows of the other side: pixels, and what is read of each.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a, T = f32> {
    /// Their values.
    pub values: &'a [T],
    /// Columns and pixels of an image of results; pixels are counted along its rows, and images follow each other.
    pub sizes: [usize; 2],
    /// Distance from a pixel to its right neighbour, to the pixel below, and to that of the next image.
    pub steps: [usize; 3],
    /// Distance from a pixel to each tap, in order.
    pub taps: &'a [usize],
    /// Values of a tap.
    pub inner: usize,
}

impl<'a, T> Pixels<'a, T> {
    /// Rows of a matrix with `inner` columns.
    pub fn matrix(values: &'a [T], inner: usize) -> Self {
        Self { values, sizes: [usize::MAX; 2], steps: [inner, 0, 0], taps: &[0], inner }
    }

    /// The same pixels with their values in another form.
    pub(super) fn with_values<U>(self, values: &'a [U]) -> Pixels<'a, U> {
        Pixels { values, sizes: self.sizes, steps: self.steps, taps: self.taps, inner: self.inner }
    }

    /// Where a pixel begins.
    #[inline(always)]
    pub(super) fn offset(&self, pixel: usize) -> usize {
        let ([width, area], [right, down, next]) = (self.sizes, self.steps);
        if pixel < width {
            return pixel * right;
        }
        let (image, within) = (pixel / area, pixel % area);
        image * next + within / width * down + within % width * right
    }
}

/// What is done to a result before it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish<'a> {
    /// Added per column.
    pub bias: Option<&'a [f32]>,
    /// Then a nonlinearity.
    pub activation: Option<Activation>,
}

/// `out[pixel, ·] = finish(pixel · packed)` for pixels `0..out.len() / columns`.
///
/// # Panics
/// If a tap of a pixel lies outside the values, or sizes do not fit.
pub fn multiply(pixels: &Pixels<'_>, packed: &Packed, finish: Finish<'_>, out: &mut [f32]) {
    let columns = packed.columns;
    multiply_panels(pixels, packed, finish, |multiply| {
        for panel in panels(columns) {
            multiply(panel, out, columns, panel.first * UNIT);
        }
    });
}

/// As [`multiply`], the columns divided between threads: for few pixels and a large weight.
///
/// # Panics
/// As [`multiply`].
pub fn multiply_in_parallel(pixels: &Pixels<'_>, packed: &Packed, finish: Finish<'_>, out: &mut [f32]) {
    let columns = packed.columns;
    let rows = out.len() / columns.max(1);
    let all: Vec<Panel> = panels(columns).collect();
    let mut parts: Vec<(Panel, Vec<f32>)> = Vec::new();
    multiply_panels(pixels, packed, finish, |multiply| {
        let part = |panel: Panel| {
            let mut part = vec![0.0; rows * panel.units * UNIT];
            multiply(panel, &mut part, panel.units * UNIT, 0);
            (panel, part)
        };
        parts = all.into_par_iter().map(part).collect();
    });
    for (panel, part) in parts {
        let (from, width) = (panel.first * UNIT, panel.units * UNIT);
        let real = (columns - from).min(width);
        for (row, part) in out.chunks_exact_mut(columns).zip(part.chunks_exact(width)) {
            row[from..from + real].copy_from_slice(&part[..real]);
        }
    }
}

/// Multiplies by one panel: into rows of some length, from a column on.
type MultiplyPanel<'a> = dyn Fn(Panel, &mut [f32], usize, usize) + Sync + 'a;

/// Brings the pixels into the form of the packed values, and passes on how to multiply them by a panel.
fn multiply_panels(pixels: &Pixels<'_>, packed: &Packed, finish: Finish<'_>, all: impl FnOnce(&MultiplyPanel<'_>)) {
    assert_eq!(pixels.taps.len() * pixels.inner, packed.depth, "inner dimension");
    let multiply_f32 = |pixels: &Pixels<'_>, values: &[f32], panel: Panel, out: &mut [f32], row, at| {
        multiply_panel(pixels, panel_of(values, panel, packed.depth), panel, packed, finish, out, row, at);
    };
    match &packed.values {
        Values::Whole(values) => all(&|panel, out, row, at| multiply_f32(pixels, values, panel, out, row, at)),
        Values::Rounded(values) => {
            let mut rounded = Buffer::take_briefly(pixels.values.len());
            rounded.copy_from_slice(pixels.values);
            bf16::round_all(&mut rounded);
            let pixels = pixels.with_values(&rounded);
            all(&|panel, out, row, at| multiply_f32(&pixels, values, panel, out, row, at));
        }
        Values::Pairs(pairs) => bf16::with_pairs(pixels.values, |values| {
            let pixels = pixels.with_values(values);
            all(&|panel, out, row, at| pairs.multiply(&pixels, panel, finish, out, row, at));
        }),
    }
}

#[expect(clippy::too_many_arguments, reason = "the body of a loop")]
fn multiply_panel(
    pixels: &Pixels<'_>,
    weight: &[f32],
    panel: Panel,
    packed: &Packed,
    finish: Finish<'_>,
    out: &mut [f32],
    row: usize,
    at: usize,
) {
    assert_eq!(out.len() % row.max(1), 0, "whole rows");
    let real = (packed.columns - panel.first * UNIT).min(panel.units * UNIT);
    assert!(at + real <= row, "columns of the output");
    // A few taps, or a part of one, at a time.
    let whole = (DEPTH / pixels.inner.max(1)).max(1);
    let width = panel.units * UNIT;
    let bias = finish.bias.map(|bias| &bias[panel.first * UNIT..panel.first * UNIT + real]);
    for (group, taps) in pixels.taps.chunks(whole).enumerate() {
        let start = group * whole * pixels.inner;
        let is_last = start + taps.len() * pixels.inner == packed.depth;
        arch().dispatch(PanelProduct {
            pixels: Pixels { taps, ..*pixels },
            weight: &weight[start * width..(start + taps.len() * pixels.inner) * width],
            units: panel.units,
            real,
            begin: if group == 0 { Begin::Zero } else { Begin::Sum },
            finish: if is_last { Finish { bias, ..finish } } else { Finish::default() },
            out,
            row,
            at,
        });
    }
}

/// What the sums begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    Zero,
    /// With what the output holds.
    Sum,
}

struct PanelProduct<'a> {
    pixels: Pixels<'a>,
    /// `[taps · inner, units · UNIT]`.
    weight: &'a [f32],
    units: usize,
    /// Columns that exist.
    real: usize,
    begin: Begin,
    finish: Finish<'a>,
    out: &'a mut [f32],
    /// Values of a row of the output, and its first column of this panel.
    row: usize,
    at: usize,
}

impl WithSimd for PanelProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let depth = self.pixels.taps.len() * self.pixels.inner;
        assert_eq!(self.weight.len(), depth * self.units * UNIT);
        if S::F32_LANES == UNIT {
            match self.units {
                1 => self.rows::<S, 8, 1>(simd, 0),
                // Three units would need every register, and the compiler then moves sums to memory.
                _ => self.rows::<S, 8, 2>(simd, 0),
            }
        } else {
            // Sixteen registers: a unit at a time.
            for unit in 0..self.units {
                match UNIT / S::F32_LANES {
                    2 => self.rows::<S, 6, 2>(simd, unit * UNIT),
                    4 => self.rows::<S, 4, 4>(simd, unit * UNIT),
                    _ => (0..UNIT / S::F32_LANES)
                        .for_each(|v| self.rows::<S, 4, 1>(simd, unit * UNIT + v * S::F32_LANES)),
                }
            }
        }
    }
}

impl PanelProduct<'_> {
    /// All rows, `M` at a time, for `V` vectors of columns from `column` of the panel on.
    #[inline(always)]
    fn rows<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, column: usize) {
        let count = self.out.len() / self.row;
        let mut pixel = 0;
        while pixel + M <= count {
            self.tile::<S, M, V>(simd, pixel, column);
            pixel += M;
        }
        if pixel == count {
            return;
        }
        if self.begin == Begin::Zero && count >= M {
            // Some rows are made twice, which costs less than making the last ones alone.
            return self.tile::<S, M, V>(simd, count - M, column);
        }
        while pixel + 4 <= count {
            self.tile::<S, 4, V>(simd, pixel, column);
            pixel += 4;
        }
        while pixel + 2 <= count {
            self.tile::<S, 2, V>(simd, pixel, column);
            pixel += 2;
        }
        while pixel < count {
            self.tile::<S, 1, V>(simd, pixel, column);
            pixel += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, pixel: usize, column: usize) {
        let (lanes, inner, width) = (S::F32_LANES, self.pixels.inner, self.units * UNIT);
        let mut furthest = inner;
        for tap in self.pixels.taps {
            furthest = furthest.max(tap + inner);
        }
        let mut offsets = [0usize; M];
        for (m, offset) in offsets.iter_mut().enumerate() {
            *offset = self.pixels.offset(pixel + m);
            assert!(*offset + furthest <= self.pixels.values.len(), "a pixel outside the values");
        }
        assert!(column + V * lanes <= width);
        let mut sums = [[simd.splat_f32s(0.0); V]; M];
        if self.begin == Begin::Sum {
            for (m, sums) in sums.iter_mut().enumerate() {
                let from = (pixel + m) * self.row + self.at;
                for (v, sum) in sums.iter_mut().enumerate() {
                    let columns = self.columns(column + v * lanes, lanes);
                    *sum = simd.partial_load_f32s(&self.out[from + columns.start..from + columns.end]);
                }
            }
        }
        // SAFETY: every read of pixels is at `offset + tap + k` with `k < inner`, below the length by the assertion above;
        // every read of the weight is at row `tap · inner + k`, below `depth`, and columns up to `column + V · lanes`, inside the
        // row's `width`: `with_simd` asserts that the weight has `depth · width` values. A vector of f32 is any bits of that
        // many f32.
        unsafe {
            let mut weight = self.weight.as_ptr().add(column);
            for tap in self.pixels.taps {
                let mut rows = [self.pixels.values.as_ptr(); M];
                for (row, offset) in rows.iter_mut().zip(offsets) {
                    *row = row.add(offset + tap);
                }
                for k in 0..inner {
                    let mut w = [simd.splat_f32s(0.0); V];
                    for (v, w) in w.iter_mut().enumerate() {
                        *w = weight.add(v * lanes).cast::<S::f32s>().read_unaligned();
                    }
                    for (row, sums) in rows.iter().zip(sums.iter_mut()) {
                        let x = simd.splat_f32s(*row.add(k));
                        for v in 0..V {
                            sums[v] = simd.mul_add_e_f32s(x, w[v], sums[v]);
                        }
                    }
                    // After the last row this is beyond the end of the weight, which `add` does not allow even unread.
                    weight = weight.wrapping_add(width);
                }
            }
        }
        if let Some(bias) = self.finish.bias {
            for v in 0..V {
                let bias = simd.partial_load_f32s(&bias[self.columns(column + v * lanes, lanes)]);
                for sums in &mut sums {
                    sums[v] = simd.add_f32s(sums[v], bias);
                }
            }
        }
        if let Some(activation) = self.finish.activation.filter(|activation| is_short(*activation)) {
            // Loops, not adaptors: those would be compiled without the wide vectors, and called.
            for sums in &mut sums {
                for sum in sums {
                    *sum = activate(simd, activation, *sum);
                }
            }
        }
        for (m, sums) in sums.into_iter().enumerate() {
            let into = (pixel + m) * self.row + self.at;
            for (v, sum) in sums.into_iter().enumerate() {
                let columns = self.columns(column + v * lanes, lanes);
                let out = &mut self.out[into + columns.start..into + columns.end];
                if out.len() == lanes {
                    // SAFETY: the slice has the length of a vector.
                    unsafe { out.as_mut_ptr().cast::<S::f32s>().write_unaligned(sum) };
                } else {
                    simd.partial_store_f32s(out, sum);
                }
            }
        }
        if let Some(activation) = self.finish.activation.filter(|activation| !is_short(*activation)) {
            let columns = self.columns(column, V * lanes);
            for m in 0..M {
                let into = (pixel + m) * self.row + self.at;
                activate_stored(activation, &mut self.out[into + columns.start..into + columns.end]);
            }
        }
    }

    /// The columns of the panel that a vector from `column` on covers and that exist.
    #[inline(always)]
    fn columns(&self, column: usize, lanes: usize) -> Range<usize> {
        column.min(self.real)..(column + lanes).min(self.real)
    }
}

#[cfg(test)]
mod tests;
