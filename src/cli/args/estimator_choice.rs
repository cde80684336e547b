//! The `--predictor` argument of commands that fit one.

use ofa_predictors::EstimatorChoice;
use ofa_space::input_file;
use serde::Deserialize;
use std::path::Path;

/// Reads `auto`, a kind, or a kind with settings: a TOML table such as `{ kind = "ridge", penalty = 1.0 }`, or the name
/// of a TOML file that holds one.
pub fn parse(text: &str) -> Result<EstimatorChoice, String> {
    #[derive(Deserialize)]
    struct Argument {
        predictor: EstimatorChoice,
    }
    let message = |e: toml::de::Error| e.message().to_owned();
    if text.trim_start().starts_with('{') {
        let argument: Argument = toml::from_str(&format!("predictor = {text}")).map_err(message)?;
        return Ok(argument.predictor);
    }
    if text.ends_with(".toml") {
        let file = input_file::read_text(Path::new(text), input_file::LARGEST_TEXT)
            .map_err(|e| format!("cannot read {text}: {e}"))?;
        return toml::from_str(&file).map_err(|e| format!("{text}: {e}"));
    }
    EstimatorChoice::named(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ofa_predictors::estimators::Ridge;

    #[test]
    fn a_kind_a_table_or_a_file() {
        let expected = EstimatorChoice::from(Ridge { penalty: Some(2.0) });
        assert_eq!(parse("ridge").unwrap().to_string(), "ridge");
        assert_eq!(parse("auto").unwrap(), EstimatorChoice::Auto);
        assert_eq!(parse("{ kind = \"ridge\", penalty = 2.0 }").unwrap(), expected);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ridge.toml");
        std::fs::write(&path, "kind = \"ridge\"\npenalty = 2.0\n").unwrap();
        assert_eq!(parse(path.to_str().unwrap()).unwrap(), expected);
        for (text, expected) in [
            ("rigde", "did you mean `ridge`?"),
            ("{ kind = \"ridge\", penalty = 0.0 }", "`penalty` is 0, expected more than 0"),
            ("{ kind = \"ridge\"", "inline table"),
            ("absent.toml", "cannot read absent.toml"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
