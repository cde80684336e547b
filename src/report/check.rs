//! Whether a file of results can be shown: shares are shares, matrices are square, and files lie in the run's folder. A report
//! goes from hand to hand, and so does the folder that it is made of.

use super::{Case, RunResults};
use ofa_space::plain_text::plain;
use ofa_space::settings::{self, InvalidSetting};
use serde_json::Value;
use std::path::{Component, Path};

/// Images, parameters and operations that are counted: no sum of such numbers overflows.
const MOST: u64 = 1 << 50;
/// Resolutions, and blocks of a network that are drawn.
const MOST_DRAWN: usize = 10_000;

impl RunResults {
    /// Refuses what no run writes.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the field.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        for count in self.images {
            counted("images", count as u64)?;
        }
        settings::count("places", self.places.len(), 0..=MOST_DRAWN)?;
        share("baseline", self.baseline)?;
        let cases =
            self.cases.iter().map(|case| ("cases", case)).chain(self.reference.iter().map(|c| ("reference", c)));
        cases.into_iter().try_for_each(|(field, case)| case.check().map_err(|invalid| invalid.within(field)))
    }
}

impl Case {
    fn check(&self) -> Result<(), InvalidSetting> {
        inside("onnx", &self.onnx)?;
        self.onnx_f32.as_ref().map_or(Ok(()), |file| inside("onnx_f32", file))?;
        for (field, value) in [
            ("accuracy", Some(self.accuracy)),
            ("accuracy_f32", self.accuracy_f32),
            ("balanced_accuracy", self.balanced_accuracy),
            ("supernet_accuracy", self.supernet_accuracy),
        ] {
            share(field, value)?;
        }
        counted("macs", self.macs)?;
        counted("params", self.params)?;
        settings::count("blocks", self.blocks.len(), 0..=MOST_DRAWN)?;
        let classes = self.confusion.len();
        if self.confusion.iter().any(|row| row.len() != classes) || (classes > 0 && self.per_class.len() != classes) {
            let problem = format!(
                "has {classes} rows, expected a square with a row for each of {} classes",
                self.per_class.len()
            );
            return Err(InvalidSetting::new("confusion", problem));
        }
        self.confusion.iter().flatten().try_for_each(|count| counted("confusion", *count as u64))
    }
}

/// The value with all text in it as it is shown: without control characters.
pub fn plain_values(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(plain(&text).into_owned()),
        Value::Array(values) => values.into_iter().map(plain_values).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (plain(&name).into_owned(), plain_values(value))).collect()
        }
        other => other,
    }
}

fn counted(field: &str, value: u64) -> Result<(), InvalidSetting> {
    match value <= MOST {
        true => Ok(()),
        false => Err(InvalidSetting::new(field, format!("is {value}, expected at most {MOST}"))),
    }
}

fn share(field: &str, value: Option<f64>) -> Result<(), InvalidSetting> {
    value.map_or(Ok(()), |value| settings::number(field, value, 0.0..=1.0))
}

/// Refuses a file outside of the run's folder, and what a browser takes for something else than a file.
fn inside(field: &str, file: &str) -> Result<(), InvalidSetting> {
    let is_inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
    match is_inside && !file.is_empty() && !file.contains([':', '\\']) {
        true => Ok(()),
        false => Err(InvalidSetting::new(field, format!("is `{}`, expected a file in the run's folder", plain(file)))),
    }
}
