//! Limits as they are written: a number, or a share of the largest subnet.

use crate::error::SearchError;
use ofa_space::{Genes, Objective};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A limit on a quantity: `25` is a number in the quantity's own unit, `60%` that share of its value for the largest subnet.
///
/// ```
/// use ofa_search::{FnObjective, Gene, Limit};
///
/// let genes = vec![Gene::new("layers", [2, 4, 8])];
/// let macs = FnObjective::new("macs", |arch| Ok(100.0 * f64::from(arch.choices()[0])));
/// assert_eq!("150".parse::<Limit>()?.value(&macs, &genes)?, 150.0);
/// assert_eq!("60%".parse::<Limit>()?.value(&macs, &genes)?, 120.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Limit {
    /// A number.
    Value(f64),
    /// A share of the largest subnet's value, in per cent.
    PerCent(f64),
}

/// A text that is no limit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` is no limit, expected a number above 0 such as 15, 3e8 or 300M, or a share of the largest subnet such as 60%, up to 100%"
)]
pub struct InvalidLimit(String);

/// Prefixes of counts: `300M` multiply-accumulates.
const UNITS: [(char, f64); 3] = [('k', 1e3), ('M', 1e6), ('G', 1e9)];

impl FromStr for Limit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let invalid = || InvalidLimit(text.to_owned());
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| invalid());
        let value = |value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(Self::Value(value)),
            false => Err(invalid()),
        };
        match text.trim().strip_suffix('%') {
            None => {
                let with_unit =
                    UNITS.iter().find_map(|(unit, factor)| Some((text.trim().strip_suffix(*unit)?, factor)));
                match with_unit {
                    Some((text, factor)) => value(number(text)? * factor),
                    None => value(number(text)?),
                }
            }
            Some(share) => match number(share)? {
                share if share > 0.0 && share <= 100.0 => Ok(Self::PerCent(share)),
                _ => Err(invalid()),
            },
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "{value}"),
            Self::PerCent(share) => write!(f, "{share}%"),
        }
    }
}

impl Limit {
    /// The limit in the quantity's own unit, where the largest subnet takes `largest`.
    pub fn of(self, largest: f64) -> f64 {
        match self {
            Self::Value(value) => value,
            Self::PerCent(share) => largest * share / 100.0,
        }
    }

    /// The limit in the objective's own unit.
    ///
    /// # Errors
    /// [`SearchError`] if the objective cannot be computed for the largest arch.
    pub fn value(&self, objective: &dyn Objective, genes: &dyn Genes) -> Result<f64, SearchError> {
        match self {
            Self::Value(value) => Ok(*value),
            Self::PerCent(_) => {
                let largest = objective
                    .evaluate(&[genes.max_arch()])
                    .map_err(|source| SearchError::Objective { objective: objective.name().to_owned(), source })?;
                Ok(self.of(largest.first().copied().unwrap_or(f64::NAN)))
            }
        }
    }
}

/// A limit in TOML or JSON: a number, or a text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

impl TryFrom<Written> for Limit {
    type Error = InvalidLimit;

    fn try_from(written: Written) -> Result<Self, InvalidLimit> {
        match written {
            // What holds it checks its range, and names the field.
            Written::Number(value) => Ok(Self::Value(value)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Limit> for Written {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Value(value) => Self::Number(value),
            share => Self::Text(share.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_and_shares_are_read_and_written() {
        for (text, limit, json) in [
            ("25", Limit::Value(25.0), "25.0"),
            ("3.5e6", Limit::Value(3.5e6), "3500000.0"),
            ("60%", Limit::PerCent(60.0), "\"60%\""),
            ("300M", Limit::Value(3e8), "300000000.0"),
            ("1.5G", Limit::Value(1.5e9), "1500000000.0"),
            (" 12.5 % ", Limit::PerCent(12.5), "\"12.5%\""),
        ] {
            assert_eq!(text.parse::<Limit>().unwrap(), limit);
            assert_eq!(serde_json::to_string(&limit).unwrap(), json);
            assert_eq!(serde_json::from_str::<Limit>(json).unwrap(), limit);
        }
        assert_eq!(serde_json::from_str::<Limit>("7").unwrap(), Limit::Value(7.0));
        for text in
            ["", "%", "0%", "-5%", "101%", "NaN", "soon", "60%%", "6O%", "inf", "-inf", "1e400", "0", "-5", "1e308G"]
        {
            let error = text.parse::<Limit>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("60%"), "{error}");
        }
    }
}
