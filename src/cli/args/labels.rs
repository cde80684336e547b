//! `--labels`: names of a network's classes.

use super::Failure;
use ofa_space::input_file;
use ofa_space::plain_text::plain;
use ofa_train::pretrained;
use std::path::Path;

/// Selects ImageNet's class names instead of a file.
pub const IMAGENET: &str = "imagenet";

/// Class names: a file with one name a line, or a JSON list of them; or ImageNet's.
pub fn labels(choice: &str) -> Result<Vec<String>, Failure> {
    if choice == IMAGENET {
        let known = pretrained::named("mcunet").map(|network| network.model()).transpose()?;
        return Ok(known.map(|model| model.class_names).unwrap_or_default());
    }
    let path = Path::new(choice);
    let text = input_file::read_text(path, input_file::LARGEST_TEXT).map_err(|e| {
        Failure::Input(format!("--labels {choice}: {e}; expected a file with one name a line, or `{IMAGENET}`"))
    })?;
    let names: Vec<String> = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(&text)
            .map_err(|e| Failure::Input(format!("{choice}: {e}, expected a list of names")))?,
        false => text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect(),
    };
    let names: Vec<String> = names.iter().map(|name| plain(name).into_owned()).collect();
    match names.is_empty() {
        true => Err(Failure::Input(format!("{choice}: holds no names"))),
        false => Ok(names),
    }
}
