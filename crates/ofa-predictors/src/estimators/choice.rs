//! Which estimator to fit: one with settings of its own, or whichever does best in cross-validation.

use super::{Estimator, named};
use ofa_space::plugin::UnknownName;
use ofa_space::{InvalidSetting, Settings};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// The name for the best estimator by cross-validation.
pub(super) const AUTO: &str = "auto";

/// Which estimator to fit. In TOML and JSON it is `"auto"`, a kind such as `"ridge"`, or a table with settings such as
/// `{ kind = "ridge", penalty = 1.0 }`; reading one checks it.
///
/// ```
/// use ofa_predictors::{EstimatorChoice, estimators::Ridge};
///
/// let read = |text: &str| serde_json::from_str::<EstimatorChoice>(text);
/// let with_settings = read(r#"{ "kind": "ridge", "penalty": 1.0 }"#)?;
/// assert_eq!(with_settings.to_string(), "ridge");
/// assert_eq!(EstimatorChoice::from(Ridge { penalty: Some(1.0) }), with_settings);
/// assert_eq!(serde_json::to_string(&read(r#""ridge""#)?)?, r#""ridge""#);
/// assert!(read(r#"{ "kind": "ridge", "penalty": -1.0 }"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default, Debug)]
pub enum EstimatorChoice {
    /// The best of the fast ones by cross-validation.
    #[default]
    Auto,
    /// The registered one of this name with its default settings.
    Named(&'static str),
    /// One with settings.
    Given(Arc<dyn Estimator>),
}

impl EstimatorChoice {
    /// `auto`, or the registered estimator of this name with its default settings.
    ///
    /// # Errors
    /// [`UnknownName`] with the nearest name and all names.
    pub fn named(name: &str) -> Result<Self, UnknownName> {
        match name {
            AUTO => Ok(Self::Auto),
            name => Ok(Self::Named(named(name)?.name)),
        }
    }

    /// The estimator; `None` if it is still to be chosen.
    ///
    /// # Errors
    /// [`UnknownName`] if a name was put in that is not registered.
    pub fn estimator(&self) -> Result<Option<Arc<dyn Estimator>>, UnknownName> {
        Ok(match self {
            Self::Auto => None,
            Self::Named(name) => Some(Arc::from((named(name)?.build)())),
            Self::Given(estimator) => Some(estimator.clone()),
        })
    }
}

impl<E: Estimator + 'static> From<E> for EstimatorChoice {
    fn from(estimator: E) -> Self {
        Self::Given(Arc::new(estimator))
    }
}

/// The kind, or `auto`.
impl fmt::Display for EstimatorChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => AUTO,
            Self::Named(name) => name,
            Self::Given(estimator) => estimator.kind(),
        })
    }
}

/// Equal choices are written alike.
impl PartialEq for EstimatorChoice {
    fn eq(&self, other: &Self) -> bool {
        matches!((serde_json::to_value(self), serde_json::to_value(other)), (Ok(one), Ok(other)) if one == other)
    }
}

impl Settings for EstimatorChoice {
    fn check(&self) -> Result<(), InvalidSetting> {
        match self {
            Self::Auto | Self::Named(_) => Ok(()),
            Self::Given(estimator) => estimator.check(),
        }
    }
}

impl Serialize for EstimatorChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => AUTO.serialize(serializer),
            Self::Named(name) => name.serialize(serializer),
            Self::Given(estimator) => (**estimator).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for EstimatorChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = EstimatorChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a kind of predictor, or a table with a `kind` and its settings")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<EstimatorChoice, E> {
                EstimatorChoice::named(name).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<EstimatorChoice, A::Error> {
                let estimator = Box::<dyn Estimator>::deserialize(MapAccessDeserializer::new(table))?;
                estimator.check().map_err(A::Error::custom)?;
                Ok(EstimatorChoice::Given(Arc::from(estimator)))
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_kind_is_read_with_its_settings() {
        for entry in crate::estimators::entries() {
            let default = EstimatorChoice::Given(Arc::from((entry.build)()));
            default.check().unwrap();
            let written = serde_json::to_string(&default).unwrap();
            assert_eq!(serde_json::from_str::<EstimatorChoice>(&written).unwrap(), default, "{written}");
            let short = format!("{{\"kind\":\"{}\"}}", entry.name);
            assert_eq!(serde_json::from_str::<EstimatorChoice>(&short).unwrap(), default, "{written}");
            let named = EstimatorChoice::named(entry.name).unwrap();
            assert_eq!(serde_json::to_string(&named).unwrap(), format!("\"{}\"", entry.name));
            assert_eq!(named.to_string(), default.to_string());
        }
    }

    #[test]
    fn mistakes_name_what_is_wrong() {
        for (text, expected) in [
            ("\"rigde\"", "did you mean `ridge`?"),
            ("\"rigde\"", "svr, auto"),
            ("{\"kind\":\"rigde\"}", "rigde"),
            ("{\"kind\":\"ridge\",\"penalties\":1.0}", "penalties"),
            ("{\"kind\":\"ridge\",\"penalty\":0.0}", "`penalty` is 0, expected more than 0"),
            ("3", "a kind of predictor, or a table"),
        ] {
            let error = serde_json::from_str::<EstimatorChoice>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
