//! Images for a network: to calibrate on, to compare logits on.

use crate::error::RuntimeError;
use crate::runtime::Values;
use ofa_space::InputFormat;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A batch of images in the layout of a network's input.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    pixels: Pixels,
    shape: [usize; 4],
}

#[derive(Clone, PartialEq, Debug)]
enum Pixels {
    /// (N,C,H,W).
    Normalised(Vec<f32>),
    /// (N,H,W,C).
    Bytes(Vec<u8>),
}

impl Batch {
    /// Normalised images of `shape` (N,C,H,W), row-major.
    ///
    /// # Errors
    /// [`RuntimeError::InputShape`] if the values do not fill the shape.
    pub fn new(values: Vec<f32>, shape: [usize; 4]) -> Result<Self, RuntimeError> {
        Values::F32(&values).fill(shape)?;
        Ok(Self { pixels: Pixels::Normalised(values), shape })
    }

    /// Images of `shape` (N,H,W,C) as bytes, row-major, for a network with its preprocessing in the graph.
    ///
    /// # Errors
    /// [`RuntimeError::InputShape`] if the bytes do not fill the shape.
    pub fn of_bytes(bytes: Vec<u8>, shape: [usize; 4]) -> Result<Self, RuntimeError> {
        Values::U8(&bytes).fill(shape)?;
        Ok(Self { pixels: Pixels::Bytes(bytes), shape })
    }

    /// Images of `shape` (N,C,H,W) whose values are drawn evenly from −2 to 2.
    pub fn random(shape: [usize; 4], seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let values = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0)).collect();
        Self { pixels: Pixels::Normalised(values), shape }
    }

    /// Images of `shape` (N,H,W,C) of random bytes.
    pub fn random_bytes(shape: [usize; 4], seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bytes = (0..shape.iter().product()).map(|_| rng.random()).collect();
        Self { pixels: Pixels::Bytes(bytes), shape }
    }

    /// The values, for a runtime.
    pub fn values(&self) -> Values<'_> {
        match &self.pixels {
            Pixels::Normalised(values) => Values::F32(values),
            Pixels::Bytes(bytes) => Values::U8(bytes),
        }
    }

    /// Normalised values (N,C,H,W), unless the images are bytes.
    pub fn floats(&self) -> Option<&[f32]> {
        match &self.pixels {
            Pixels::Normalised(values) => Some(values),
            Pixels::Bytes(_) => None,
        }
    }

    /// (N,C,H,W), or (N,H,W,C) for bytes.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// `[channels, height, width]` of an image.
    pub fn image(&self) -> [usize; 3] {
        let [_, a, b, c] = self.shape;
        match self.pixels {
            Pixels::Normalised(_) => [a, b, c],
            Pixels::Bytes(_) => [c, a, b],
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first of the images, as many as there are of `most`; none of bytes.
    #[cfg(feature = "rten")]
    pub(crate) fn first(&self, most: usize) -> Self {
        let [n, c, h, w] = self.shape;
        let n = n.min(most);
        let values = self.floats().map(|values| values[..n * c * h * w].to_vec()).unwrap_or_default();
        let n = if values.is_empty() { 0 } else { n };
        Self { pixels: Pixels::Normalised(values), shape: [n, c, h, w] }
    }

    /// Normalised values and shape of every `size` images in turn; nothing for bytes.
    pub(crate) fn chunks(&self, size: usize) -> impl Iterator<Item = (&[f32], [usize; 4])> {
        let [_, c, h, w] = self.shape;
        let values = self.floats().unwrap_or_default();
        let image = (c * h * w).max(1);
        values.chunks(size.max(1) * image).map(move |part| (part, [part.len() / image, c, h, w]))
    }

    /// Puts as many images of `other` first as there is room for.
    pub(crate) fn begin_with(&mut self, other: &Batch) {
        if let (Pixels::Normalised(own), Pixels::Normalised(given)) = (&mut self.pixels, &other.pixels) {
            let shared = own.len().min(given.len());
            own[..shared].copy_from_slice(&given[..shared]);
        }
    }

    /// Whether the images are bytes.
    pub(crate) fn is_bytes(&self) -> bool {
        matches!(self.pixels, Pixels::Bytes(_))
    }

    /// The images as the network takes them: `(byte / 255 − mean) / std` in (N,C,H,W). Normalised images stay as
    /// they are.
    pub fn normalised(&self, format: &InputFormat) -> Self {
        let Pixels::Bytes(bytes) = &self.pixels else { return self.clone() };
        let [n, h, w, c] = self.shape;
        let mut values = Vec::with_capacity(bytes.len());
        for image in bytes.chunks_exact((h * w * c).max(1)) {
            let formats = format.mean.iter().cycle().zip(format.std.iter().cycle());
            for (channel, (mean, std)) in formats.take(c).enumerate() {
                let plane = image.iter().skip(channel).step_by(c);
                values.extend(plane.map(|byte| (f32::from(*byte) / 255.0 - mean) / std));
            }
        }
        Self { pixels: Pixels::Normalised(values), shape: [n, c, h, w] }
    }
}
