//! Pillow's bilinear resize of 8-bit images with antialiasing, bit for bit, in its fixed-point arithmetic.
//!
//! Evaluation of published networks is only comparable with the very pixels that they were evaluated with; the faster
//! general resizer that training uses rounds differently by a grey level here and there.
//!
//! Source: `ImagingResample` in Pillow's `src/libImaging/Resample.c`.

/// Bits after the binary point of a coefficient: 8-bit pixels and a sum of coefficients of 1 fill 32 bits.
const PRECISION: u32 = 32 - 8 - 2;

/// Which input pixels make one output pixel, and with which weights.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of every output pixel along one axis.
fn taps(input: usize, output: usize) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    // The triangle reaches one output pixel to either side where the image shrinks, one input pixel where it grows.
    let support = scale.max(1.0);
    (0..output)
        .map(|at| {
            let centre = (at as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            let triangle = |pixel: usize| (1.0 - ((pixel as f64 - centre + 0.5) / support).abs()).max(0.0);
            let weights: Vec<f64> = (first..last).map(triangle).collect();
            let total: f64 = weights.iter().sum();
            let fixed = |weight: &f64| (0.5 + weight / total * f64::from(1 << PRECISION)) as i32;
            Taps { first, weights: weights.iter().map(fixed).collect() }
        })
        .collect()
}

fn round(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

/// Resizes `[height, width, channels]` to `[to_height, to_width, channels]`: rows first, rounded to 8 bits, then
/// columns.
///
/// # Panics
/// If the pixels do not fill the size, a size is 0, or pixels have neither 1 nor 3 channels.
pub(crate) fn resize(
    pixels: &[u8],
    (width, height): (usize, usize),
    (to_width, to_height): (usize, usize),
    channels: usize,
    into: &mut Vec<u8>,
) {
    assert_eq!(pixels.len(), width * height * channels, "pixels that do not fill the image");
    assert!([1, 3].contains(&channels), "{channels} channels");
    let mut rows = Vec::new();
    let narrowed: &[u8] = if width == to_width {
        pixels
    } else {
        let taps = taps(width, to_width);
        rows.reserve_exact(to_width * height * channels);
        for row in pixels.chunks_exact(width * channels) {
            match channels {
                1 => narrow::<1>(row, &taps, &mut rows),
                _ => narrow::<3>(row, &taps, &mut rows),
            }
        }
        &rows
    };
    into.clear();
    if height == to_height {
        into.extend_from_slice(narrowed);
        return;
    }
    let row_length = to_width * channels;
    let mut sums = vec![0i32; row_length];
    for Taps { first, weights } in taps(height, to_height) {
        sums.fill(HALF);
        for (weight, row) in weights.iter().zip(narrowed[first * row_length..].chunks_exact(row_length)) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(*value);
            }
        }
        into.extend(sums.iter().map(|sum| round(*sum)));
    }
}

/// One row of pixels of `N` channels at its new width.
fn narrow<const N: usize>(row: &[u8], taps: &[Taps], into: &mut Vec<u8>) {
    let pixels = row.as_chunks::<N>().0;
    for Taps { first, weights } in taps {
        let mut sums = [HALF; N];
        for (weight, pixel) in weights.iter().zip(&pixels[*first..]) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += weight * i32::from(*value);
            }
        }
        into.extend(sums.map(round));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_pillow() {
        // Image.fromarray(numpy.arange(0, 250, 10, dtype="uint8").reshape(5, 5)).resize((3, 2), Image.BILINEAR)
        let image: Vec<u8> = (0..25).map(|v| v * 10).collect();
        let mut resized = Vec::new();
        resize(&image, (5, 5), (3, 2), 1, &mut resized);
        assert_eq!(resized, EXPECTED);
        resize(&image, (5, 5), (5, 5), 1, &mut resized);
        assert_eq!(resized, image);
    }

    const EXPECTED: [u8; 6] = [54, 70, 86, 154, 170, 186];
}
