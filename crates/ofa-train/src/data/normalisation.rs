//! From pixels to the values that a network reads.

use crate::data::error::DataError;
use ofa_space::InputFormat;

/// Largest side that a batch can have: far above any network's input.
const MAX_RESOLUTION: u32 = 8192;

/// Refuses what no network reads, before memory is taken for it.
pub(crate) fn check_resolution(resolution: u32) -> Result<(), DataError> {
    if (1..=MAX_RESOLUTION).contains(&resolution) {
        return Ok(());
    }
    let expected = format!("1 to {MAX_RESOLUTION} pixels");
    Err(DataError::Request { what: "the resolution", found: resolution.to_string(), expected })
}

/// `(v / 255 − mean) / std` for each value of a pixel, looked up.
pub(crate) struct Normaliser {
    tables: Vec<[f32; 256]>,
}

impl Normaliser {
    /// # Errors
    /// [`DataError::Request`] if the format is for neither grey nor colour images.
    pub fn new(input: &InputFormat) -> Result<Self, DataError> {
        if input.mean.len() != input.std.len() || ![1, 3].contains(&input.mean.len()) {
            let found = format!("of {} means and {} standard deviations", input.mean.len(), input.std.len());
            let expected = "1 of each (grey) or 3 (RGB)".to_owned();
            return Err(DataError::Request { what: "the normalisation", found, expected });
        }
        let table = |(mean, std): (&f32, &f32)| std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std);
        Ok(Self { tables: input.mean.iter().zip(&input.std).map(table).collect() })
    }

    /// 1 or 3.
    pub fn channels(&self) -> usize {
        self.tables.len()
    }

    /// Normalises HWC pixels.
    pub fn write(&self, pixels: &[u8], out: &mut [f32]) {
        match self.tables.as_slice() {
            [red, green, blue] => {
                for (values, [r, g, b]) in out.as_chunks_mut::<3>().0.iter_mut().zip(pixels.as_chunks::<3>().0) {
                    *values = [red[usize::from(*r)], green[usize::from(*g)], blue[usize::from(*b)]];
                }
            }
            tables => {
                for (value, &pixel) in out.iter_mut().zip(pixels) {
                    *value = tables[0][usize::from(pixel)];
                }
            }
        }
    }
}
