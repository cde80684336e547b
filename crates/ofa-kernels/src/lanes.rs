//! How a batch is divided between threads.

/// A division of the batch into lanes of images that are worked on in parallel. It depends on shapes only, so sums come
/// out the same on any number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    images: usize,
    /// Images of a lane; the last may have fewer.
    pub per_lane: usize,
}

impl Lanes {
    /// Lanes for a layer whose weight has this many values: each lane packs the weight for its matrix products and
    /// accumulates a gradient of its own.
    pub fn new(images: usize, weight: usize) -> Self {
        let lanes = match weight {
            0..=32_768 => 16,
            32_769..=131_072 => 8,
            _ => 4,
        };
        Self { images, per_lane: images.div_ceil(lanes).max(1) }
    }

    /// A single lane.
    pub fn one(images: usize) -> Self {
        Self { images, per_lane: images.max(1) }
    }

    /// The images of a lane.
    pub fn range(&self, lane: usize) -> std::ops::Range<usize> {
        let start = lane * self.per_lane;
        start..(start + self.per_lane).min(self.images)
    }
}
