//! Checks that the configurations of the built-in spaces share: every refusal names the space and the field.

use crate::error::SpaceError;

/// Refuses impossible values of one space's configuration.
pub(crate) struct ConfigCheck<'a> {
    space: &'a str,
}

impl<'a> ConfigCheck<'a> {
    /// Checks of the space called `name`, which must not be empty.
    pub(crate) fn new(name: &'a str) -> Result<Self, SpaceError> {
        let check = Self { space: name };
        match name.is_empty() {
            true => Err(check.error("name", "is empty".into())),
            false => Ok(check),
        }
    }

    /// An error about one field.
    pub(crate) fn error(&self, field: &str, problem: String) -> SpaceError {
        SpaceError::Config { space: self.space.to_owned(), field: field.to_owned(), problem }
    }

    /// A count within bounds.
    pub(crate) fn count(&self, field: &str, value: usize, least: usize, most: usize) -> Result<(), SpaceError> {
        match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(self.error(field, format!("is {value}, expected {least} to {most}"))),
        }
    }

    /// A number within bounds.
    pub(crate) fn number(&self, field: &str, value: f64, least: f64, most: f64) -> Result<(), SpaceError> {
        match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(self.error(field, format!("is {value}, expected {least} to {most}"))),
        }
    }

    /// A list of numbers within bounds, ascending without repeats, not empty.
    pub(crate) fn ascending(&self, field: &str, values: &[f64], least: f64, most: f64) -> Result<(), SpaceError> {
        let ordered = !values.is_empty() && values.windows(2).all(|pair| pair[0] < pair[1]);
        match ordered && values.iter().all(|value| (least..=most).contains(value)) {
            true => Ok(()),
            false => {
                Err(self.error(field, format!("is {values:?}, expected values {least} to {most} in ascending order")))
            }
        }
    }

    /// The fields that every space has.
    pub(crate) fn common(
        &self,
        classes: usize,
        input_channels: usize,
        resolutions: &[u32],
        bn_eps: f64,
    ) -> Result<(), SpaceError> {
        self.count("classes", classes, 2, 1_000_000)?;
        self.count("input_channels", input_channels, 1, 16)?;
        let pixels: Vec<f64> = resolutions.iter().map(|r| f64::from(*r)).collect();
        self.ascending("resolutions", &pixels, 4.0, 4096.0)?;
        match bn_eps > 0.0 && bn_eps < 1.0 {
            true => Ok(()),
            false => Err(self.error("bn_eps", format!("is {bn_eps}, expected between 0 and 1"))),
        }
    }
}

/// Counts as the numbers that [`ConfigCheck::ascending`] and genes take.
pub(crate) fn as_numbers(counts: &[usize]) -> Vec<f64> {
    counts.iter().map(|count| *count as f64).collect()
}
