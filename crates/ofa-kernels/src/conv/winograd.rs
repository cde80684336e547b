//! 3×3 convolutions with stride 1 in the transformed domain: a tile of 2×2 outputs takes 16 products per pair of channels
//! instead of 36.
//!
//! F(2×2, 3×3) of A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.1: with
//! the matrices `G`, `Bᵀ` and `Aᵀ` given there, `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`. The sums over input channels are sixteen
//! matrix products over tiles. All entries of the matrices are 0, ±1 and ±½, so little precision is lost.

use super::depthwise::Band;
use crate::gemm::packed::{self, Finish, Packed, Pixels, Strides};
use crate::instruction_set::arch;
use crate::nonlinearity::{activate, activate_stored, is_short};
use crate::precision::Precision;
use ofa_space::ConvGeometry;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Positions of a transformed tile.
const POSITIONS: usize = 16;
/// Tiles that are worth reading a weight for.
const TILES: usize = 64;
/// Channels on either side below which the transforms cost more than they save.
const LEAST_CHANNELS: usize = 24;
/// Values of a weight's matrix above which the sixteen of them no longer fit the caches.
const LARGEST: usize = 1 << 18;

/// A weight `[out, in, 3, 3]`, transformed: a matrix `[in, out]` for every position.
#[derive(Debug)]
pub struct Transformed {
    positions: Vec<Packed>,
    channels: usize,
    outputs: usize,
}

/// Memory for tiles.
#[derive(Default)]
pub struct Tiles {
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

/// Whether a convolution gains by it.
pub fn suits(geometry: &ConvGeometry, channels: usize, outputs: usize) -> bool {
    let shape = ConvGeometry { kernel: 3, stride: 1, padding: 1, extra: 0, groups: 1 };
    *geometry == shape && channels.min(outputs) >= LEAST_CHANNELS && channels * outputs <= LARGEST
}

/// Rows of outputs to take at a time; even.
pub fn rows_at_once(out_width: usize) -> usize {
    2 * TILES.div_ceil(out_width.div_ceil(2))
}

impl Transformed {
    /// Transforms a weight.
    pub fn new(weight: &[f32], outputs: usize) -> Self {
        let channels = weight.len() / outputs / 9;
        // [out, in, position]
        let mut transformed = vec![0.0; outputs * channels * POSITIONS];
        transformed.par_chunks_mut(channels * POSITIONS).zip(weight.par_chunks(channels * 9)).for_each(
            |(out, weight)| {
                for (out, g) in out.chunks_exact_mut(POSITIONS).zip(weight.chunks_exact(9)) {
                    transform(g, out);
                }
            },
        );
        let strides = Strides {
            taps: 1,
            pieces: 1,
            inner: channels,
            columns: outputs,
            tap: 0,
            value: POSITIONS,
            column: channels * POSITIONS,
            backwards: false,
        };
        let positions =
            (0..POSITIONS).map(|position| Packed::new(&transformed[position..], strides, Precision::F32)).collect();
        Self { positions, channels, outputs }
    }

    /// Convolves what a band holds: for each of its images the `rows` output rows from the second of the band's rows on, where the
    /// band has `rows` rounded up to an even number and 2 more. `out` is `[images, rows, out_width, outputs]`.
    ///
    /// # Panics
    /// If sizes do not fit.
    pub fn convolve(
        &self,
        band: &Band,
        [rows, out_width]: [usize; 2],
        tiles: &mut Tiles,
        finish: Finish<'_>,
        out: &mut [f32],
    ) {
        let (values, [band_rows, columns, channels]) = band.images();
        assert_eq!(channels, self.channels, "channels of the band");
        assert_eq!(band_rows, rows.next_multiple_of(2) + 2, "rows of the band");
        let images = values.len() / (band_rows * columns * channels).max(1);
        assert_eq!(out.len(), images * rows * out_width * self.outputs, "size of the output");
        let grid = Grid { images, rows: rows.div_ceil(2), columns: out_width.div_ceil(2) };
        tiles.inputs.resize(POSITIONS * grid.tiles() * channels, 0.0);
        tiles.outputs.resize(POSITIONS * grid.tiles() * self.outputs, 0.0);
        let arch = arch();
        arch.dispatch(Into { source: values, columns, channels, grid, out: &mut tiles.inputs });
        let of_position = tiles.inputs.chunks_exact(grid.tiles() * channels);
        let products = tiles.outputs.chunks_exact_mut(grid.tiles() * self.outputs);
        for ((weight, inputs), products) in self.positions.iter().zip(of_position).zip(products) {
            packed::multiply(&Pixels::matrix(inputs, channels), weight, Finish::default(), products);
        }
        let size = [rows, out_width];
        arch.dispatch(Back { products: &tiles.outputs, channels: self.outputs, grid, finish, size, out });
    }
}

/// `G g Gᵀ` for a kernel of 3×3.
fn transform(g: &[f32], out: &mut [f32]) {
    let line = |a: f32, b: f32, c: f32| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
    let mut columns = [[0.0; 3]; 4];
    for x in 0..3 {
        for (y, value) in line(g[x], g[3 + x], g[6 + x]).into_iter().enumerate() {
            columns[y][x] = value;
        }
    }
    for (out, [a, b, c]) in out.chunks_exact_mut(4).zip(columns) {
        out.copy_from_slice(&line(a, b, c));
    }
}

/// Tiles of some images, row by row.
#[derive(Clone, Copy)]
struct Grid {
    images: usize,
    rows: usize,
    columns: usize,
}

impl Grid {
    fn tiles(&self) -> usize {
        self.images * self.rows * self.columns
    }

    /// Image, row and column of a tile.
    #[inline(always)]
    fn place(&self, tile: usize) -> [usize; 3] {
        let of_image = self.rows * self.columns;
        [tile / of_image, tile % of_image / self.columns, tile % self.columns]
    }
}

/// `Bᵀ d B` of every tile of 4×4 inputs: `out` is `[position, tile, channel]`.
struct Into<'a> {
    source: &'a [f32],
    /// Of the source; the last tile may reach one beyond.
    columns: usize,
    channels: usize,
    grid: Grid,
    out: &'a mut [f32],
}

impl WithSimd for Into<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { source, columns, channels, grid, out } = self;
        let rows = 2 * grid.rows + 2;
        let position = grid.tiles() * channels;
        for tile in 0..grid.tiles() {
            let [image, y, x] = grid.place(tile);
            let corner = ((image * rows + 2 * y) * columns + 2 * x) * channels;
            let inside = (columns - 2 * x).min(4);
            let mut from = 0;
            while from < channels {
                let to = (from + S::F32_LANES).min(channels);
                let mut d = [[simd.splat_f32s(0.0); 4]; 4];
                for (y, d) in d.iter_mut().enumerate() {
                    for (x, d) in d.iter_mut().enumerate().take(inside) {
                        let pixel = corner + (y * columns + x) * channels;
                        *d = simd.partial_load_f32s(&source[pixel + from..pixel + to]);
                    }
                }
                let [d0, d1, d2, d3] = d;
                let mut t = [[simd.splat_f32s(0.0); 4]; 4];
                for x in 0..4 {
                    t[0][x] = simd.sub_f32s(d0[x], d2[x]);
                    t[1][x] = simd.add_f32s(d1[x], d2[x]);
                    t[2][x] = simd.sub_f32s(d2[x], d1[x]);
                    t[3][x] = simd.sub_f32s(d1[x], d3[x]);
                }
                for (y, [t0, t1, t2, t3]) in t.into_iter().enumerate() {
                    let made =
                        [simd.sub_f32s(t0, t2), simd.add_f32s(t1, t2), simd.sub_f32s(t2, t1), simd.sub_f32s(t1, t3)];
                    for (x, made) in made.into_iter().enumerate() {
                        let at = (4 * y + x) * position + tile * channels;
                        simd.partial_store_f32s(&mut out[at + from..at + to], made);
                    }
                }
                from = to;
            }
        }
    }
}

/// `Aᵀ m A` of every tile, finished: 2×2 outputs, of which those beyond the last row and column are dropped.
struct Back<'a> {
    /// `[position, tile, channel]`.
    products: &'a [f32],
    channels: usize,
    grid: Grid,
    finish: Finish<'a>,
    /// Rows and columns of an image of outputs.
    size: [usize; 2],
    out: &'a mut [f32],
}

impl WithSimd for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { products, channels, grid, finish, size: [rows, columns], out } = self;
        let position = grid.tiles() * channels;
        for tile in 0..grid.tiles() {
            let [image, tile_y, tile_x] = grid.place(tile);
            let mut from = 0;
            while from < channels {
                let to = (from + S::F32_LANES).min(channels);
                let mut m = [[simd.splat_f32s(0.0); 4]; 4];
                for (y, m) in m.iter_mut().enumerate() {
                    for (x, m) in m.iter_mut().enumerate() {
                        let at = (4 * y + x) * position + tile * channels;
                        *m = simd.partial_load_f32s(&products[at + from..at + to]);
                    }
                }
                let mut t = [[simd.splat_f32s(0.0); 4]; 2];
                for x in 0..4 {
                    let inner = simd.add_f32s(m[1][x], m[2][x]);
                    t[0][x] = simd.add_f32s(m[0][x], inner);
                    let inner = simd.sub_f32s(m[1][x], m[2][x]);
                    t[1][x] = simd.sub_f32s(inner, m[3][x]);
                }
                let bias = match finish.bias {
                    Some(bias) => simd.partial_load_f32s(&bias[from..to]),
                    None => simd.splat_f32s(0.0),
                };
                for (y, [t0, t1, t2, t3]) in t.into_iter().enumerate() {
                    let row = 2 * tile_y + y;
                    if row >= rows {
                        continue;
                    }
                    let left = simd.add_f32s(t0, simd.add_f32s(t1, t2));
                    let right = simd.sub_f32s(simd.sub_f32s(t1, t2), t3);
                    for (x, made) in [left, right].into_iter().enumerate() {
                        let column = 2 * tile_x + x;
                        if column >= columns {
                            continue;
                        }
                        let mut made = simd.add_f32s(made, bias);
                        if let Some(activation) = finish.activation {
                            made = activate(simd, activation, made);
                        }
                        let at = ((image * rows + row) * columns + column) * channels;
                        simd.partial_store_f32s(&mut out[at + from..at + to], made);
                        if let Some(activation) = finish.activation.filter(|activation| !is_short(*activation)) {
                            activate_stored(activation, &mut out[at + from..at + to]);
                        }
                    }
                }
                from = to;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    /// Four loops in f64, for odd and even sizes, several images, and rows that begin inside the image.
    #[test]
    fn agrees_with_a_plain_convolution() {
        for (images, [height, width], channels, outputs, rows) in [
            (1, [4, 4], 24, 24, 0..4),
            (2, [5, 7], 40, 33, 0..5),
            (1, [9, 6], 16, 50, 4..9),
            (3, [1, 1], 5, 3, 0..1),
            (1, [8, 3], 7, 17, 2..4),
        ] {
            let image = noise(images * height * width * channels, 1);
            let weight = noise(outputs * channels * 9, 2);
            let bias = noise(outputs, 3);
            let mut band = Band::default();
            let end = rows.start + rows.len().next_multiple_of(2) + 1;
            let needed = rows.start as isize - 1..end as isize;
            band.load_unpadded(images, needed, [height, width, channels], [1; 2], |i, row, out| {
                let start = (i * height + row) * width * channels;
                out.copy_from_slice(&image[start..start + width * channels]);
            });
            let mut out = vec![f32::NAN; images * rows.len() * width * outputs];
            let finish = Finish { bias: Some(&bias), activation: Some(ofa_space::Activation::Relu) };
            let weights = Transformed::new(&weight, outputs);
            weights.convolve(&band, [rows.len(), width], &mut Tiles::default(), finish, &mut out);
            for (index, made) in out.iter().enumerate() {
                let (pixel, o) = (index / outputs, index % outputs);
                let (i, y, x) = (pixel / (rows.len() * width), rows.start + pixel / width % rows.len(), pixel % width);
                let mut sum = f64::from(bias[o]);
                for (tap, c) in (0..9).flat_map(|tap| (0..channels).map(move |c| (tap, c))) {
                    let (iy, ix) = ((y + tap / 3).wrapping_sub(1), (x + tap % 3).wrapping_sub(1));
                    if iy < height && ix < width {
                        let pixel = image[((i * height + iy) * width + ix) * channels + c];
                        sum += f64::from(pixel) * f64::from(weight[(o * channels + c) * 9 + tap]);
                    }
                }
                let expected = sum.max(0.0);
                assert!((f64::from(*made) - expected).abs() < 2e-5, "value {index}: {made} and {expected}");
            }
        }
    }

    #[test]
    fn only_plain_three_by_three_convolutions_suit() {
        let plain = ConvGeometry { kernel: 3, stride: 1, padding: 1, extra: 0, groups: 1 };
        assert!(suits(&plain, 64, 64));
        assert!(!suits(&plain, 3, 64));
        assert!(!suits(&plain, 1024, 1024));
        assert!(!suits(&ConvGeometry { stride: 2, ..plain }, 64, 64));
        assert!(!suits(&ConvGeometry { groups: 64, ..plain }, 64, 64));
        assert!(!suits(&ConvGeometry { kernel: 5, padding: 2, ..plain }, 64, 64));
    }
}
