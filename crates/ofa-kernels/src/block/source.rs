//! What a convolution reads: a tensor that exists, or batch norm, nonlinearity and gate of one that does.
//!
//! The wide activations between the convolutions of a block never exist as a whole: only what a convolution wrote is
//! kept, and each reader normalises, activates and gates the rows it needs while they are in the cache.

use crate::conv::depthwise::padded_channels;
use crate::nonlinearity::{Nonlinearity, with_nonlinearity};
use crate::normalisation::{self, Affine};
use crate::simd::vectorised;
use ofa_space::Activation;
use std::ops::Range;

/// Values of a batch, `[images · height · width, channels]`.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// As they are.
    Whole {
        /// The values.
        values: &'a [f32],
        /// Channels.
        channels: usize,
    },
    /// `act(z · slope + offset)`, times a gate per image and channel.
    Lazy {
        /// What the convolution wrote.
        z: &'a [f32],
        /// Batch norm or bias.
        affine: &'a Affine,
        /// Nonlinearity.
        activation: Option<Activation>,
        /// `[images, channels]`.
        gates: Option<&'a [f32]>,
        /// Pixels of an image.
        area: usize,
    },
}

impl<'a> Source<'a> {
    /// Channels.
    pub fn channels(&self) -> usize {
        match self {
            Source::Whole { channels, .. } => *channels,
            Source::Lazy { affine, .. } => affine.channels(),
        }
    }

    /// The rows of these pixels of the batch; `scratch` holds them where they do not exist.
    pub fn rows<'s>(&self, pixels: Range<usize>, scratch: &'s mut Vec<f32>) -> &'s [f32]
    where
        'a: 's,
    {
        match self {
            Source::Whole { values, channels } => &values[pixels.start * channels..pixels.end * channels],
            Source::Lazy { .. } => {
                scratch.resize(pixels.len() * self.channels(), 0.0);
                self.write(pixels, scratch);
                scratch
            }
        }
    }

    /// Writes the rows of these pixels.
    pub fn write(&self, pixels: Range<usize>, out: &mut [f32]) {
        let channels = self.channels();
        let values = pixels.start * channels..pixels.end * channels;
        match self {
            Source::Whole { values: whole, .. } => out.copy_from_slice(&whole[values]),
            Source::Lazy { z, affine, activation, gates, area } => {
                with_nonlinearity!(*activation, Act => normalisation::activate::<Act>(&z[values], out, affine));
                if let Some(gates) = gates {
                    gate(out, channels, pixels.start, gates, *area);
                }
            }
        }
    }

    /// Writes one row of pixels with the channels padded with zeros, as a band of the depthwise kernels has them.
    ///
    /// # Panics
    /// If the source is gated: no family has a depthwise convolution after a gate.
    pub fn write_padded(&self, pixels: Range<usize>, out: &mut [f32]) {
        let channels = self.channels();
        if channels == padded_channels(channels) {
            return self.write(pixels, out);
        }
        let values = pixels.start * channels..pixels.end * channels;
        match self {
            Source::Whole { values: whole, .. } => pad(&whole[values], out, channels),
            Source::Lazy { z, affine, activation, gates, .. } => {
                assert!(gates.is_none(), "a gate before a depthwise convolution");
                with_nonlinearity!(*activation, Act => activate_padded::<Act>(&z[values], out, affine));
            }
        }
    }
}

/// Multiplies rows by the gates of their images.
fn gate(rows: &mut [f32], channels: usize, first_pixel: usize, gates: &[f32], area: usize) {
    let mut pixel = first_pixel;
    let mut rows = rows;
    while !rows.is_empty() {
        let image = pixel / area;
        let count = (area - pixel % area).min(rows.len() / channels);
        let (these, rest) = std::mem::take(&mut rows).split_at_mut(count * channels);
        let of_image = &gates[image * channels..(image + 1) * channels];
        vectorised(
            #[inline(always)]
            || {
                for row in these.chunks_exact_mut(channels) {
                    for (value, gate) in row.iter_mut().zip(of_image) {
                        *value *= gate;
                    }
                }
            },
        );
        pixel += count;
        rows = rest;
    }
}

/// Copies rows, padding each with zeros.
pub fn pad(rows: &[f32], out: &mut [f32], channels: usize) {
    for (row, out) in rows.chunks_exact(channels).zip(out.chunks_exact_mut(padded_channels(channels))) {
        out[..channels].copy_from_slice(row);
        out[channels..].fill(0.0);
    }
}

fn activate_padded<A: Nonlinearity>(z: &[f32], y: &mut [f32], affine: &Affine) {
    let channels = affine.channels();
    let padded = padded_channels(channels);
    let (slope, offset) = (&affine.slope[..channels], &affine.offset[..channels]);
    vectorised(
        #[inline(always)]
        || {
            for (row, out) in z.chunks_exact(channels).zip(y.chunks_exact_mut(padded)) {
                let (out, rest) = out.split_at_mut(channels);
                for (((value, out), slope), offset) in row.iter().zip(out).zip(slope).zip(offset) {
                    *out = A::value(value.mul_add(*slope, *offset));
                }
                rest.fill(0.0);
            }
        },
    );
}
