//! Settings that are checked once, where they enter the program.
//!
//! A configuration struct implements [`Settings`]; code that acts on it takes a [`Checked`] one, which only exists if the
//! check passed. Reading a `Checked` from TOML or JSON checks it on the way in, so the parser's message carries the line.
//!
//! ```
//! use ofa_space::settings::{self, Checked, InvalidSetting, Settings};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields, default)]
//! struct Rehearsal {
//!     steps: usize,
//!     momentum: f64,
//! }
//! impl Default for Rehearsal {
//!     fn default() -> Self {
//!         Self { steps: 20, momentum: 0.9 }
//!     }
//! }
//! impl Settings for Rehearsal {
//!     fn check(&self) -> Result<(), InvalidSetting> {
//!         settings::count("steps", self.steps, 1..=1000)?;
//!         settings::number("momentum", self.momentum, 0.0..=1.0)
//!     }
//! }
//!
//! let valid = Rehearsal::default().checked()?;
//! assert_eq!(valid.steps, 20);
//! let error = Rehearsal { steps: 0, momentum: 0.9 }.checked().err().map(|e| e.to_string());
//! assert_eq!(error.as_deref(), Some("`steps` is 0, expected 1 to 1000"));
//! # Ok::<(), InvalidSetting>(())
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::Display;
use std::ops::{Bound, Deref, RangeBounds, RangeInclusive};

/// A setting with an impossible value. Reads as "`field` problem".
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct InvalidSetting {
    /// The offending field, with the tables that hold it: `phases[2].epochs`.
    pub field: String,
    /// What is wrong and what was expected: `is 0, expected 1 to 64`.
    pub problem: String,
}

impl InvalidSetting {
    /// A problem of one field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same problem, seen from the table that holds this one under the key `table`.
    #[must_use]
    pub fn within(self, table: &str) -> Self {
        Self { field: format!("{table}.{}", self.field), problem: self.problem }
    }
}

/// Values that can be impossible, and the check that refuses them.
pub trait Settings {
    /// Refuses impossible values, its own and those of the settings it holds.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the first offending field.
    fn check(&self) -> Result<(), InvalidSetting>;

    /// The same settings, checked.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the first offending field.
    fn checked(self) -> Result<Checked<Self>, InvalidSetting>
    where
        Self: Sized,
    {
        self.check()?;
        Ok(Checked(self))
    }
}

impl<T: Settings + ?Sized> Settings for Box<T> {
    fn check(&self) -> Result<(), InvalidSetting> {
        (**self).check()
    }
}

/// Settings that passed their check; they can be read, not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Checked<T>(T);

impl<T> Checked<T> {
    /// The settings, to be changed and checked again.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Settings> Checked<T> {
    /// The settings after `change`, checked again.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the first offending field.
    pub fn changed(self, change: impl FnOnce(&mut T)) -> Result<Self, InvalidSetting> {
        let mut settings = self.0;
        change(&mut settings);
        settings.checked()
    }
}

impl<T> Deref for Checked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Serialize> Serialize for Checked<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Settings + Deserialize<'de>> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer)?.checked().map_err(serde::de::Error::custom)
    }
}

/// Refuses a count outside `range`.
///
/// # Errors
/// [`InvalidSetting`] with the value and the range.
pub fn count(field: &str, value: usize, range: RangeInclusive<usize>) -> Result<(), InvalidSetting> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(outside(field, value, &range)),
    }
}

/// Refuses a number outside `range`, and NaN.
///
/// # Errors
/// [`InvalidSetting`] with the value and the range.
pub fn number(field: &str, value: f64, range: impl RangeBounds<f64>) -> Result<(), InvalidSetting> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(outside(field, value, &range)),
    }
}

/// Refuses a number that is zero, negative, infinite or NaN.
///
/// # Errors
/// [`InvalidSetting`] with the value.
pub fn positive(field: &str, value: f64) -> Result<(), InvalidSetting> {
    number(field, value, (Bound::Excluded(0.0), Bound::Excluded(f64::INFINITY)))
}

/// Refuses a list that is empty, does not ascend, or has values outside `range`.
///
/// # Errors
/// [`InvalidSetting`] with the list and the range.
pub fn ascending(field: &str, values: &[f64], range: impl RangeBounds<f64>) -> Result<(), InvalidSetting> {
    let ordered = !values.is_empty() && values.windows(2).all(|pair| pair[0] < pair[1]);
    match ordered && values.iter().all(|value| range.contains(value)) {
        true => Ok(()),
        false => {
            let expected = described(&range);
            Err(InvalidSetting::new(field, format!("is {values:?}, expected values {expected} in ascending order")))
        }
    }
}

fn outside<T: Display + PartialEq + Into<Limit> + Copy>(
    field: &str,
    value: T,
    range: &impl RangeBounds<T>,
) -> InvalidSetting {
    InvalidSetting::new(field, format!("is {value}, expected {}", described(range)))
}

/// A bound as text, or no bound at all (infinity).
struct Limit(Option<String>);

impl From<usize> for Limit {
    fn from(value: usize) -> Self {
        Self((value != usize::MAX).then(|| value.to_string()))
    }
}

impl From<f64> for Limit {
    fn from(value: f64) -> Self {
        Self(value.is_finite().then(|| value.to_string()))
    }
}

/// A range in words: `0 to 1`, `at least 1`, `more than 0`, `at least 0 and less than 1`.
fn described<T: Into<Limit> + Copy>(range: &impl RangeBounds<T>) -> String {
    let text = |value: &T| -> Option<String> { (*value).into().0 };
    let (least, below) = match range.start_bound() {
        Bound::Included(value) => (text(value), false),
        Bound::Excluded(value) => (text(value), true),
        Bound::Unbounded => (None, false),
    };
    let (most, under) = match range.end_bound() {
        Bound::Included(value) => (text(value), false),
        Bound::Excluded(value) => (text(value), true),
        Bound::Unbounded => (None, false),
    };
    let lower = least.as_ref().map(|v| if below { format!("more than {v}") } else { format!("at least {v}") });
    let upper = most.as_ref().map(|v| if under { format!("less than {v}") } else { format!("at most {v}") });
    match (least, most) {
        (Some(least), Some(most)) if !below && !under => format!("{least} to {most}"),
        _ => match (lower, upper) {
            (Some(lower), Some(upper)) => format!("{lower} and {upper}"),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => "a number".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Inner {
        epochs: f64,
    }

    impl Settings for Inner {
        fn check(&self) -> Result<(), InvalidSetting> {
            positive("epochs", self.epochs)
        }
    }

    #[derive(Debug, Deserialize)]
    struct Outer {
        phase: Checked<Inner>,
    }

    #[test]
    fn ranges_read_as_words() {
        let problem = |result: Result<(), InvalidSetting>| result.unwrap_err().to_string();
        assert_eq!(problem(count("keep", 0, 1..=100)), "`keep` is 0, expected 1 to 100");
        assert_eq!(problem(count("keep", 0, 1..=usize::MAX)), "`keep` is 0, expected at least 1");
        assert_eq!(problem(number("x", 1.0, 0.0..1.0)), "`x` is 1, expected at least 0 and less than 1");
        assert_eq!(problem(number("x", f64::NAN, 0.0..)), "`x` is NaN, expected at least 0");
        assert_eq!(problem(positive("x", f64::INFINITY)), "`x` is inf, expected more than 0");
        assert_eq!(
            problem(ascending("r", &[3.0, 2.0], 1.0..=9.0)),
            "`r` is [3.0, 2.0], expected values 1 to 9 in ascending order"
        );
        assert_eq!(
            problem(positive("epochs", 0.0).map_err(|e| e.within("phases[1]"))).split(' ').next(),
            Some("`phases[1].epochs`")
        );
    }

    #[test]
    fn what_is_read_is_checked() {
        assert_eq!(toml::from_str::<Outer>("phase = { epochs = 2.0 }").unwrap().phase.epochs, 2.0);
        let error = toml::from_str::<Outer>("phase = { epochs = 0.0 }").unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("`epochs` is 0, expected more than 0"), "{error}");
    }
}
