//! Depthwise convolution over NHWC, vectorised over channels; weights as `[k·k, channels]`.

use crate::plan::ConvGeometry;

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

/// `[c, 1, k, k]` → `[k·k, c]`.
pub fn taps_first(weight: &[f32], channels: usize) -> Vec<f32> {
    let taps = weight.len() / channels.max(1);
    (0..weight.len()).map(|i| weight[(i % channels) * taps + i / channels]).collect()
}

/// `[k·k, c]` → `[c, 1, k, k]`.
pub fn channels_first(weight: &[f32], channels: usize) -> Vec<f32> {
    let taps = weight.len() / channels.max(1);
    (0..weight.len()).map(|i| weight[(i % taps) * channels + i / taps]).collect()
}

/// The taps `k` for which `at · stride + k − padding` falls inside `0..size`.
#[inline(always)]
fn valid_taps(at: usize, geometry: &ConvGeometry, size: usize) -> std::ops::Range<usize> {
    let start = at * geometry.stride;
    let first = geometry.padding.saturating_sub(start);
    let last = (size + geometry.padding).saturating_sub(start).min(geometry.kernel);
    first..last.max(first)
}

/// Calls `$body` for blocks of channels: 16 wide, then 8, then one by one.
macro_rules! for_channel_blocks {
    ($channels:expr, $block:ident, $at:ident => $body:expr) => {{
        let mut $at = 0;
        while $at + 16 <= $channels {
            const $block: usize = 16;
            $body;
            $at += 16;
        }
        while $at + 8 <= $channels {
            const $block: usize = 8;
            $body;
            $at += 8;
        }
        while $at < $channels {
            const $block: usize = 1;
            $body;
            $at += 1;
        }
    }};
}

/// `acc += a · b` over a block.
#[inline(always)]
fn accumulate<const B: usize>(acc: &mut [f32; B], a: &[f32], b: &[f32]) {
    for ((acc, a), b) in acc.iter_mut().zip(&a[..B]).zip(&b[..B]) {
        *acc = a.mul_add(*b, *acc);
    }
}

/// One image: `output[oy, ox, c] = Σ input[…] · weight[tap, c]`.
#[inline(always)]
pub fn forward(input: &[f32], weight: &[f32], output: &mut [f32], s: &Sizes, geometry: &ConvGeometry) {
    let c = s.channels;
    for oy in 0..s.out_height {
        let rows = valid_taps(oy, geometry, s.height);
        for ox in 0..s.out_width {
            let columns = valid_taps(ox, geometry, s.width);
            let pixel = &mut output[(oy * s.out_width + ox) * c..][..c];
            for_channel_blocks!(c, B, at => {
                let mut acc = [0.0f32; B];
                for ky in rows.clone() {
                    let iy = oy * geometry.stride + ky - geometry.padding;
                    for kx in columns.clone() {
                        let ix = ox * geometry.stride + kx - geometry.padding;
                        let x = &input[(iy * s.width + ix) * c + at..];
                        accumulate::<B>(&mut acc, x, &weight[(ky * geometry.kernel + kx) * c + at..]);
                    }
                }
                pixel[at..at + B].copy_from_slice(&acc);
            });
        }
    }
}

/// One image: the gradient of the input, gathered from the gradient of the output.
#[inline(always)]
pub fn backward_input(gradient: &[f32], weight: &[f32], input: &mut [f32], s: &Sizes, geometry: &ConvGeometry) {
    let c = s.channels;
    let (k, stride, padding) = (geometry.kernel, geometry.stride, geometry.padding);
    for iy in 0..s.height {
        for ix in 0..s.width {
            let pixel = &mut input[(iy * s.width + ix) * c..][..c];
            for_channel_blocks!(c, B, at => {
                let mut acc = [0.0f32; B];
                for ky in 0..k {
                    let top = iy + padding;
                    if top < ky || (top - ky) % stride != 0 || (top - ky) / stride >= s.out_height {
                        continue;
                    }
                    let oy = (top - ky) / stride;
                    for kx in 0..k {
                        let left = ix + padding;
                        if left < kx || (left - kx) % stride != 0 || (left - kx) / stride >= s.out_width {
                            continue;
                        }
                        let ox = (left - kx) / stride;
                        let g = &gradient[(oy * s.out_width + ox) * c + at..];
                        accumulate::<B>(&mut acc, g, &weight[(ky * k + kx) * c + at..]);
                    }
                }
                pixel[at..at + B].copy_from_slice(&acc);
            });
        }
    }
}

/// One image: adds its share to the gradient of the weight, `[k·k, c]`.
#[inline(always)]
pub fn backward_weight(gradient: &[f32], input: &[f32], weight: &mut [f32], s: &Sizes, geometry: &ConvGeometry) {
    let c = s.channels;
    let (k, stride, padding) = (geometry.kernel, geometry.stride, geometry.padding);
    // Output positions whose tap `t` falls inside the image.
    let positions = |t: usize, size: usize, out: usize| {
        let first = padding.saturating_sub(t).div_ceil(stride);
        let end = if size + padding > t { (size + padding - t).div_ceil(stride) } else { 0 };
        first..end.min(out).max(first)
    };
    for ky in 0..k {
        let rows = positions(ky, s.height, s.out_height);
        for kx in 0..k {
            let columns = positions(kx, s.width, s.out_width);
            let tap = &mut weight[(ky * k + kx) * c..][..c];
            for_channel_blocks!(c, B, at => {
                let mut acc = [0.0f32; B];
                for oy in rows.clone() {
                    let iy = oy * stride + ky - padding;
                    for ox in columns.clone() {
                        let ix = ox * stride + kx - padding;
                        let g = &gradient[(oy * s.out_width + ox) * c + at..];
                        accumulate::<B>(&mut acc, g, &input[(iy * s.width + ix) * c + at..]);
                    }
                }
                for (sum, value) in tap[at..at + B].iter_mut().zip(acc) {
                    *sum += value;
                }
            });
        }
    }
}
