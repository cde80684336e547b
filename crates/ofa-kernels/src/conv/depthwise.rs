//! Depthwise convolution over NHWC, vectorised over channels.
//!
//! The operands are *bands*: a few rows of an image, copied by the caller into scratch memory with zeros around them
//! and the channels rounded up to whole vectors. So the loops need no special cases for borders or remainders, and every load
//! is a full vector from the cache.
#![expect(unsafe_code, reason = "the inner loops")]

use crate::gemm::packed::Pixels;
use crate::instruction_set::arch;
use ofa_space::ConvGeometry;
use pulp::{Simd, WithSimd};

/// Channels of a band are a multiple of this: the widest vector of f32.
const UNIT: usize = 16;

/// Channels with the padding of a band.
pub fn padded_channels(channels: usize) -> usize {
    channels.next_multiple_of(UNIT)
}

/// Height, width and channels of an image on both sides of the convolution.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Output height.
    pub out_height: usize,
    /// Output width.
    pub out_width: usize,
    /// Channels.
    pub channels: usize,
}

/// `[c, 1, k, k]` → `[k·k, padded c]`.
pub fn taps_first(weight: &[f32], channels: usize) -> Vec<f32> {
    let (taps, padded) = (weight.len() / channels.max(1), padded_channels(channels));
    let mut into = vec![0.0; taps * padded];
    for (channel, taps) in weight.chunks_exact(taps.max(1)).enumerate() {
        for (tap, value) in taps.iter().enumerate() {
            into[tap * padded + channel] = *value;
        }
    }
    into
}

/// `[k·k, padded c]` → `[c, 1, k, k]`.
pub fn channels_first(weight: &[f32], channels: usize) -> Vec<f32> {
    let padded = padded_channels(channels);
    let taps = weight.len() / padded.max(1);
    let value = |i: usize| weight[(i % taps) * padded + i / taps];
    (0..channels * taps).map(value).collect()
}

/// Rows `first..first + rows` of some images with `margin` columns of zeros to the left and others to the right, each
/// `[rows, columns, c]`; rows outside the image are zero. The depthwise kernels take one image at a time.
#[derive(Clone, Debug, Default)]
pub struct Band {
    values: Vec<f32>,
    first: isize,
    rows: usize,
    columns: usize,
    margin: usize,
    channels: usize,
}

impl Band {
    /// Makes it hold other rows, with so many columns of zeros to the left and to the right; `fill(row of the image, values [width, padded channels])` writes those that exist.
    pub fn load(
        &mut self,
        rows: std::ops::Range<isize>,
        [height, width, channels]: [usize; 3],
        margins: [usize; 2],
        mut fill: impl FnMut(usize, &mut [f32]),
    ) {
        let image = [height, width, padded_channels(channels)];
        self.load_unpadded(1, rows, image, margins, |_, row, out| fill(row, out));
    }

    /// As [`load`](Self::load), the same rows of several images and with the channels as they are: for dense
    /// convolutions. `fill(image, row, values)`.
    pub fn load_unpadded(
        &mut self,
        images: usize,
        rows: std::ops::Range<isize>,
        [height, width, channels]: [usize; 3],
        margins: [usize; 2],
        mut fill: impl FnMut(usize, usize, &mut [f32]),
    ) {
        self.first = rows.start;
        self.rows = (rows.end - rows.start).max(0) as usize;
        let [margin, after] = margins;
        (self.columns, self.margin, self.channels) = (margin + width + after, margin, channels);
        let row_values = self.columns * channels;
        self.values.resize(images * self.rows * row_values, 0.0);
        for (index, row) in self.values.chunks_exact_mut(row_values.max(1)).enumerate() {
            let at = self.first + (index % self.rows) as isize;
            if at < 0 || at >= height as isize {
                row.fill(0.0);
                continue;
            }
            let (left, rest) = row.split_at_mut(margin * channels);
            let (inside, right) = rest.split_at_mut(width * channels);
            left.fill(0.0);
            right.fill(0.0);
            fill(index / self.rows, at as usize, inside);
        }
    }

    /// The patches of the output rows whose [`rows_read`] the band holds unpadded. A row of a patch lies in one piece:
    /// `lines` are filled with [`Self::lines`].
    pub fn patches<'a>(
        &'a self,
        [out_rows, out_width]: [usize; 2],
        geometry: &ConvGeometry,
        lines: &'a [usize],
    ) -> Pixels<'a> {
        let step = geometry.stride * self.channels;
        let steps = [step, step * self.columns, self.rows * self.columns * self.channels];
        let inner = geometry.kernel * self.channels;
        Pixels { values: &self.values, sizes: [out_width, out_rows * out_width], steps, taps: lines, inner }
    }

    /// Its values, and the rows, columns and channels of each image.
    pub fn images(&self) -> (&[f32], [usize; 3]) {
        (&self.values, [self.rows, self.columns, self.channels])
    }

    /// Distances from the first value of a patch to its rows.
    pub fn lines(&self, kernel: usize) -> Vec<usize> {
        (0..kernel).map(|line| line * self.columns * self.channels).collect()
    }

    /// Offset of a pixel's first channel. The kernels rely on it being inside the values.
    ///
    /// # Panics
    /// If the band does not hold the pixel.
    fn offset(&self, row: isize, column: isize) -> usize {
        let (y, x) = (row - self.first, column + self.margin as isize);
        let inside = y >= 0 && (y as usize) < self.rows && x >= 0 && (x as usize) < self.columns;
        assert!(inside, "the band does not hold row {row}, column {column}");
        (y as usize * self.columns + x as usize) * self.channels
    }
}

/// Where a tap reads its first pixel, and its weights.
#[derive(Clone, Copy)]
struct Tap {
    source: usize,
    weight: usize,
}

/// One row of outputs: `out[j · out_step + c] = Σ source[tap + j · step + c] · weight[tap + c]`, for `count` pixels.
struct Row<'a> {
    source: &'a [f32],
    step: usize,
    weight: &'a [f32],
    taps: &'a [Tap],
    out: &'a mut [f32],
    out_step: usize,
    count: usize,
    channels: usize,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let padded = padded_channels(self.channels);
        let mut out = RowOut { row: self.out, step: self.out_step, channels: self.channels };
        if self.count == 0 {
            return;
        }
        // Everything that the loops below read and write. The taps' offsets are inside the values (`Band::offset`), so
        // that the sums do not overflow.
        let last = (self.count - 1) * self.step + padded;
        for tap in self.taps {
            assert!(tap.source < self.source.len() && tap.source + last <= self.source.len(), "pixels of a tap");
            assert!(tap.weight + padded <= self.weight.len(), "weights of a tap");
        }
        assert!((self.count - 1) * out.step + self.channels <= out.row.len());
        let mut at = 0;
        while at < self.channels {
            let mut j = 0;
            // SAFETY: `at + F32_LANES ≤ padded` because both are multiples of the vector's length, and the assertions
            // above cover every tap of pixels up to `count − 1`.
            unsafe {
                if S::F32_LANES == UNIT {
                    while j + 8 <= self.count {
                        tile::<S, 8>(simd, self.source, self.step, self.weight, self.taps, &mut out, j, at);
                        j += 8;
                    }
                }
                while j + 4 <= self.count && (S::F32_LANES < UNIT || self.count - j == 4) {
                    tile::<S, 4>(simd, self.source, self.step, self.weight, self.taps, &mut out, j, at);
                    j += 4;
                }
                // All that are left at once: each has a chain of sums to itself, and they wait together.
                macro_rules! rest {
                    ($($count:literal)*) => {
                        match self.count - j {
                            $($count => {
                                tile::<S, $count>(simd, self.source, self.step, self.weight, self.taps, &mut out, j, at);
                            })*
                            _ => {}
                        }
                    };
                }
                rest!(1 2 3 5 6 7);
            }
            at += S::F32_LANES;
        }
    }
}

struct RowOut<'a> {
    row: &'a mut [f32],
    step: usize,
    channels: usize,
}

/// # Safety
/// `values` must have a whole vector at `at`.
#[inline(always)]
unsafe fn load<S: Simd>(values: &[f32], at: usize) -> S::f32s {
    // SAFETY: in bounds by the caller; a vector of f32 is any bits of that many f32.
    unsafe { values.as_ptr().add(at).cast::<S::f32s>().read_unaligned() }
}

/// # Safety
/// `values` must have a whole vector at `at`.
#[inline(always)]
unsafe fn store<S: Simd>(values: &mut [f32], at: usize, vector: S::f32s) {
    // SAFETY: in bounds by the caller.
    unsafe { values.as_mut_ptr().add(at).cast::<S::f32s>().write_unaligned(vector) }
}

/// `T` neighbouring outputs of one vector of channels.
///
/// # Safety
/// Every tap must have a vector at `at` for pixels `j..j + T`, and so must its weights; `out` must hold their channels.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "an inner loop")]
unsafe fn tile<S: Simd, const T: usize>(
    simd: S,
    source: &[f32],
    step: usize,
    weight: &[f32],
    taps: &[Tap],
    out: &mut RowOut<'_>,
    j: usize,
    at: usize,
) {
    let mut sums = [simd.splat_f32s(0.0); T];
    for tap in taps {
        // SAFETY: in bounds by the caller.
        unsafe {
            let w = load::<S>(weight, tap.weight + at);
            for (t, sum) in sums.iter_mut().enumerate() {
                let x = load::<S>(source, tap.source + (j + t) * step + at);
                *sum = simd.mul_add_e_f32s(x, w, *sum);
            }
        }
    }
    for (t, sum) in sums.into_iter().enumerate() {
        let into = (j + t) * out.step + at;
        if at + S::F32_LANES <= out.channels {
            // SAFETY: in bounds by the caller.
            unsafe { store::<S>(out.row, into, sum) }
        } else {
            let mut values = [0.0f32; UNIT];
            // SAFETY: no vector is longer than `UNIT`.
            unsafe { store::<S>(&mut values, 0, sum) }
            let count = out.channels - at;
            out.row[into..into + count].copy_from_slice(&values[..count]);
        }
    }
}

/// Output rows `rows` of one image into `output` (those rows only), from a band that holds every input row they read.
pub fn forward(
    band: &Band,
    weight: &[f32],
    output: &mut [f32],
    rows: std::ops::Range<usize>,
    s: &Sizes,
    geometry: &ConvGeometry,
) {
    let (k, stride, padding) = (geometry.kernel, geometry.stride, geometry.padding as isize);
    let padded = padded_channels(s.channels);
    let mut taps = Vec::with_capacity(k * k);
    for (oy, out) in rows.zip(output.chunks_exact_mut(s.out_width * s.channels)) {
        taps.clear();
        for ky in 0..k {
            let iy = (oy * stride + ky) as isize - padding;
            if iy < 0 || iy >= s.height as isize {
                continue;
            }
            for kx in 0..k {
                let source = band.offset(iy, kx as isize - padding);
                taps.push(Tap { source, weight: (ky * k + kx) * padded });
            }
        }
        arch().dispatch(Row {
            source: &band.values,
            step: stride * padded,
            weight,
            taps: &taps,
            out,
            out_step: s.channels,
            count: s.out_width,
            channels: s.channels,
        });
    }
}

/// The input rows that output rows `rows` read.
pub fn rows_read(rows: &std::ops::Range<usize>, geometry: &ConvGeometry) -> std::ops::Range<isize> {
    let first = (rows.start * geometry.stride) as isize - geometry.padding as isize;
    let last = ((rows.end - 1) * geometry.stride + geometry.kernel) as isize - geometry.padding as isize;
    first..last
}

/// The output rows that read input rows `rows`, whether they exist or not.
pub fn rows_reading(rows: &std::ops::Range<usize>, geometry: &ConvGeometry) -> std::ops::Range<isize> {
    let stride = geometry.stride as isize;
    let first = (rows.start + geometry.padding) as isize - (geometry.kernel as isize - 1);
    let last = (rows.end - 1 + geometry.padding) as isize;
    first.div_euclid(stride)..last.div_euclid(stride) + 1
}

/// Columns of zeros that a band of output gradients needs on either side.
pub fn gradient_margin(geometry: &ConvGeometry) -> usize {
    if geometry.stride == 1 { geometry.padding.max(geometry.kernel - 1 - geometry.padding) } else { geometry.kernel }
}

/// Gradient of input rows `rows` of one image into `input` (those rows only), from a band that holds
/// [`rows_reading`] them.
pub fn backward_input(
    band: &Band,
    weight: &[f32],
    input: &mut [f32],
    rows: std::ops::Range<usize>,
    s: &Sizes,
    geometry: &ConvGeometry,
) {
    let (k, stride, padding) = (geometry.kernel, geometry.stride as isize, geometry.padding as isize);
    let padded = padded_channels(s.channels);
    let mut taps = Vec::with_capacity(k * k);
    for (iy, out) in rows.zip(input.chunks_exact_mut(s.width * s.channels)) {
        // Pixels of the same remainder read the same taps.
        for phase in 0..geometry.stride.min(s.width) {
            taps.clear();
            for ky in 0..k {
                let top = iy as isize + padding - ky as isize;
                let oy = top.div_euclid(stride);
                if top.rem_euclid(stride) != 0 || oy < 0 || oy >= s.out_height as isize {
                    continue;
                }
                for kx in 0..k {
                    let left = phase as isize + padding - kx as isize;
                    if left.rem_euclid(stride) == 0 {
                        let source = band.offset(oy, left.div_euclid(stride));
                        taps.push(Tap { source, weight: (ky * k + kx) * padded });
                    }
                }
            }
            arch().dispatch(Row {
                source: &band.values,
                step: padded,
                weight,
                taps: &taps,
                out: &mut out[phase * s.channels..],
                out_step: geometry.stride * s.channels,
                count: (s.width - phase).div_ceil(geometry.stride),
                channels: s.channels,
            });
        }
    }
}

/// Adds the share of output rows `rows` to the gradient of the weight, `[k·k, padded c]`: from a band of inputs that
/// holds [`rows_read`] and a band of output gradients that holds `rows`.
pub fn backward_weight(
    gradient: &Band,
    input: &Band,
    weight: &mut [f32],
    rows: std::ops::Range<usize>,
    s: &Sizes,
    geometry: &ConvGeometry,
) {
    let task = WeightRows { gradient, input, weight, rows, s, geometry };
    arch().dispatch(task);
}

struct WeightRows<'a> {
    gradient: &'a Band,
    input: &'a Band,
    weight: &'a mut [f32],
    rows: std::ops::Range<usize>,
    s: &'a Sizes,
    geometry: &'a ConvGeometry,
}

impl WithSimd for WeightRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let k = self.geometry.kernel;
        let padded = padded_channels(self.s.channels);
        assert!(self.weight.len() >= k * k * padded);
        let mut at = 0;
        while at < padded {
            for oy in self.rows.clone() {
                // As many rows and columns of taps at once as there are registers for.
                match k {
                    3 => self.taps::<S, 3, 3>(simd, oy, 0, 0, at),
                    5 => {
                        self.taps::<S, 2, 5>(simd, oy, 0, 0, at);
                        self.taps::<S, 2, 5>(simd, oy, 2, 0, at);
                        self.taps::<S, 1, 5>(simd, oy, 4, 0, at);
                    }
                    7 => {
                        for ky in 0..7 {
                            self.taps::<S, 1, 7>(simd, oy, ky, 0, at);
                        }
                    }
                    _ => {
                        for ky in 0..k {
                            for kx in 0..k {
                                self.taps::<S, 1, 1>(simd, oy, ky, kx, at);
                            }
                        }
                    }
                }
            }
            at += S::F32_LANES;
        }
    }
}

impl WeightRows<'_> {
    /// Taps `ky..ky + R` × `kx..kx + K` over one row of outputs.
    #[inline(always)]
    fn taps<S: Simd, const R: usize, const K: usize>(&mut self, simd: S, oy: usize, ky: usize, kx: usize, at: usize) {
        let (k, stride) = (self.geometry.kernel, self.geometry.stride);
        let padding = self.geometry.padding as isize;
        let padded = padded_channels(self.s.channels);
        let top = (oy * stride + ky) as isize - padding;
        if top + R as isize <= 0 || top >= self.s.height as isize {
            return;
        }
        let source = self.input.offset(top, kx as isize - padding);
        let row = self.input.columns * padded;
        let from = self.gradient.offset(oy as isize, 0);
        let count = self.s.out_width;
        let last = source + (R - 1) * row + ((count - 1) * stride + K) * padded;
        assert!(last <= self.input.values.len() && from + count * padded <= self.gradient.values.len());
        let mut sums = [[simd.splat_f32s(0.0); K]; R];
        // SAFETY: the assertions cover the last vector of the last pixel; `at` and `padded` are multiples of a vector.
        unsafe {
            for ox in 0..count {
                let g = load::<S>(&self.gradient.values, from + ox * padded + at);
                let pixel = source + ox * stride * padded + at;
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (t, sum) in sums.iter_mut().enumerate() {
                        let x = load::<S>(&self.input.values, pixel + r * row + t * padded);
                        *sum = simd.mul_add_e_f32s(g, x, *sum);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (t, sum) in sums.iter().enumerate() {
                    let tap = ((ky + r) * k + kx + t) * padded + at;
                    let old = load::<S>(self.weight, tap);
                    store::<S>(self.weight, tap, simd.add_f32s(old, *sum));
                }
            }
        }
    }
}
