//! Batches of images on the host.

/// A batch of images in NHWC, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Values, `[n, h, w, c]`, already normalised.
    pub data: Vec<f32>,
    /// `[n, h, w, c]`.
    pub shape: [usize; 4],
}

impl Images {
    /// From `[n, c, h, w]` values.
    ///
    /// # Panics
    /// If the number of values is not the product of the shape.
    pub fn from_nchw(values: &[f32], [n, c, h, w]: [usize; 4]) -> Self {
        assert_eq!(values.len(), n * c * h * w, "values do not fill the shape");
        let area = h * w;
        let mut data = vec![0.0; values.len()];
        for image in 0..n {
            let from = &values[image * c * area..(image + 1) * c * area];
            let into = &mut data[image * c * area..(image + 1) * c * area];
            for (channel, plane) in from.chunks_exact(area.max(1)).enumerate() {
                for (pixel, value) in plane.iter().enumerate() {
                    into[pixel * c + channel] = *value;
                }
            }
        }
        Self { data, shape: [n, h, w, c] }
    }

    /// The values as `[n, c, h, w]`.
    pub fn to_nchw(&self) -> Vec<f32> {
        let [n, h, w, c] = self.shape;
        // The same transposition with the roles of pixels and channels exchanged.
        Self::from_nchw(&self.data, [n, h * w, c, 1]).data
    }

    /// Cuts the batch, in order, into batches of these sizes; the last size repeats until the images are used up.
    pub fn split(&self, sizes: &[usize]) -> Vec<Images> {
        let [n, h, w, c] = self.shape;
        let image = h * w * c;
        let mut batches = Vec::new();
        let mut start = 0;
        let mut sizes = sizes.iter().copied().filter(|size| *size > 0);
        let mut size = n;
        while start < n {
            size = sizes.next().unwrap_or(size);
            let end = (start + size).min(n);
            let data = self.data[start * image..end * image].to_vec();
            batches.push(Images { data, shape: [end - start, h, w, c] });
            start = end;
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_round_trip_and_splits_keep_order() {
        let values: Vec<f32> = (0..2 * 3 * 4 * 5).map(|v| v as f32).collect();
        let images = Images::from_nchw(&values, [2, 3, 4, 5]);
        assert_eq!(images.data[1], 20.0); // pixel 0, channel 1
        assert_eq!(images.to_nchw(), values);
        let many = Images { data: (0..10).map(|v| v as f32).collect(), shape: [10, 1, 1, 1] };
        let sizes: Vec<usize> = many.split(&[5, 2]).iter().map(|b| b.shape[0]).collect();
        assert_eq!(sizes, [5, 2, 2, 1]);
        assert_eq!(many.split(&[4])[2].data, [8.0, 9.0]);
    }
}
