//! Average, maximum and global pooling over NHWC, and their gradients.

use crate::block::source::Source;
use crate::block::{ImageShape, Slot};
use crate::simd::{add_to, vectorised};
use ofa_space::{OpKind, PoolRounding};
use rayon::prelude::*;

/// The windows of a pooling.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Size.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Padding on every side.
    pub padding: usize,
    /// What becomes of a last window that reaches beyond the edge.
    pub rounding: PoolRounding,
}

impl Window {
    /// The windows of a pooling operation; `None` if it is another one.
    pub fn of<W>(op: &OpKind<W>) -> Option<Self> {
        match *op {
            OpKind::AveragePool { kernel, stride, padding, rounding } => {
                Some(Self { kernel, stride, padding, rounding })
            }
            OpKind::MaxPool { kernel, stride, padding } => {
                Some(Self { kernel, stride, padding, rounding: PoolRounding::Floor })
            }
            _ => None,
        }
    }

    /// Output size along one axis; a last window starts inside the image or its left padding, as in PyTorch.
    pub fn output(&self, size: usize) -> usize {
        let span = (size + 2 * self.padding).saturating_sub(self.kernel);
        match self.rounding {
            PoolRounding::Floor => span / self.stride + 1,
            PoolRounding::Ceil => {
                let count = span.div_ceil(self.stride) + 1;
                if (count - 1) * self.stride >= size + self.padding { count - 1 } else { count }
            }
        }
    }

    /// The inside of window `index` along an axis.
    pub fn range(&self, index: usize, size: usize) -> std::ops::Range<usize> {
        let start = index * self.stride;
        let end = (start + self.kernel).saturating_sub(self.padding).min(size);
        start.saturating_sub(self.padding).min(end)..end
    }
}

/// Runs a pooling operation over every image.
pub fn pool(op: &OpKind<Slot>, read: &Source<'_>, [h, w, c]: ImageShape, pooled: &mut [f32]) {
    match (op, Window::of(op)) {
        (OpKind::MaxPool { .. }, Some(window)) => max_pool(read, [h, w, c], &window, pooled),
        (OpKind::AveragePool { .. }, Some(window)) => average_pool(read, [h, w, c], &window, pooled),
        (OpKind::GlobalAveragePool, _) => global_pool(read, [h, w, c], pooled),
        _ => unreachable!("{op:?} is not a pooling"),
    }
}

/// Adds the gradient `dy` of a pooling of `x` to that of `x`.
pub fn pool_back(op: &OpKind<Slot>, dy: &[f32], x: &[f32], input: ImageShape, dx: &mut [f32]) {
    match (op, Window::of(op)) {
        (OpKind::MaxPool { .. }, Some(window)) => max_pool_back(dy, x, input, &window, dx),
        (OpKind::AveragePool { .. }, Some(window)) => average_pool_back(dy, input, &window, dx),
        (OpKind::GlobalAveragePool, _) => global_pool_back(dy, input, dx),
        _ => unreachable!("{op:?} is not a pooling"),
    }
}

/// Mean over height and width of every image.
pub fn global_pool(read: &Source<'_>, [h, w, c]: ImageShape, pooled: &mut [f32]) {
    pooled.par_chunks_mut(c).enumerate().for_each_init(Vec::new, |scratch, (image, mean)| {
        let rows = read.rows(image * h * w..(image + 1) * h * w, scratch);
        mean.fill(0.0);
        for row in rows.chunks_exact(c) {
            add_to(mean, row);
        }
        mean.iter_mut().for_each(|value| *value /= (h * w) as f32);
    });
}

/// Maximum pooling of every image.
fn max_pool(read: &Source<'_>, [h, w, c]: ImageShape, window: &Window, pooled: &mut [f32]) {
    let (out_h, out_w) = (window.output(h), window.output(w));
    pooled.par_chunks_mut(out_h * out_w * c).enumerate().for_each_init(Vec::new, |scratch, (image, pooled)| {
        let rows = read.rows(image * h * w..(image + 1) * h * w, scratch);
        vectorised(
            #[inline(always)]
            || {
                for (index, best) in pooled.chunks_exact_mut(c).enumerate() {
                    best.fill(f32::NEG_INFINITY);
                    for y in window.range(index / out_w, h) {
                        for x in window.range(index % out_w, w) {
                            for (best, value) in best.iter_mut().zip(&rows[(y * w + x) * c..][..c]) {
                                *best = if *value > *best { *value } else { *best };
                            }
                        }
                    }
                }
            },
        );
    });
}

/// Average pooling of every image.
fn average_pool(read: &Source<'_>, [h, w, c]: ImageShape, window: &Window, pooled: &mut [f32]) {
    let (out_h, out_w) = (window.output(h), window.output(w));
    pooled.par_chunks_mut(out_h * out_w * c).enumerate().for_each_init(Vec::new, |scratch, (image, pooled)| {
        let rows = read.rows(image * h * w..(image + 1) * h * w, scratch);
        for (index, mean) in pooled.chunks_exact_mut(c).enumerate() {
            let (ys, xs) = (window.range(index / out_w, h), window.range(index % out_w, w));
            let share = 1.0 / (ys.len() * xs.len()) as f32;
            mean.fill(0.0);
            for y in ys {
                for x in xs.clone() {
                    add_to(mean, &rows[(y * w + x) * c..][..c]);
                }
            }
            mean.iter_mut().for_each(|value| *value *= share);
        }
    });
}

/// Adds the gradient of every window to the first of its largest pixels.
fn max_pool_back(dy: &[f32], x: &[f32], [h, w, c]: ImageShape, window: &Window, dx: &mut [f32]) {
    let (out_h, out_w) = (window.output(h), window.output(w));
    let images = dx.par_chunks_mut(h * w * c).zip(dy.par_chunks(out_h * out_w * c)).zip(x.par_chunks(h * w * c));
    images.for_each_init(
        || (vec![0.0; c], vec![0; c]),
        |(best, at), ((dx, dy), x)| {
            for (index, dy) in dy.chunks_exact(c).enumerate() {
                best.fill(f32::NEG_INFINITY);
                at.fill(0);
                for row in window.range(index / out_w, h) {
                    for column in window.range(index % out_w, w) {
                        let pixel = (row * w + column) * c;
                        for ((value, best), at) in x[pixel..pixel + c].iter().zip(&mut *best).zip(&mut *at) {
                            if *value > *best {
                                (*best, *at) = (*value, pixel);
                            }
                        }
                    }
                }
                for (channel, (dy, pixel)) in dy.iter().zip(&*at).enumerate() {
                    dx[pixel + channel] += dy;
                }
            }
        },
    );
}

/// Adds the gradient of every window to the pixels that it is the mean of.
fn average_pool_back(dy: &[f32], [h, w, c]: ImageShape, window: &Window, dx: &mut [f32]) {
    let (out_h, out_w) = (window.output(h), window.output(w));
    dx.par_chunks_mut(h * w * c).zip(dy.par_chunks(out_h * out_w * c)).for_each(|(dx, dy)| {
        for (index, dy) in dy.chunks_exact(c).enumerate() {
            let (ys, xs) = (window.range(index / out_w, h), window.range(index % out_w, w));
            let share = 1.0 / (ys.len() * xs.len()) as f32;
            for y in ys {
                for x in xs.clone() {
                    let into = &mut dx[(y * w + x) * c..][..c];
                    into.iter_mut().zip(dy).for_each(|(sum, value)| *sum += value * share);
                }
            }
        }
    });
}

/// Adds the gradient of every mean to the pixels of its image.
fn global_pool_back(dy: &[f32], [h, w, c]: ImageShape, dx: &mut [f32]) {
    let share = 1.0 / (h * w) as f32;
    for (dx, dy) in dx.chunks_exact_mut(h * w * c).zip(dy.chunks_exact(c)) {
        for row in dx.chunks_exact_mut(c) {
            row.iter_mut().zip(dy).for_each(|(sum, value)| *sum += value * share);
        }
    }
}
