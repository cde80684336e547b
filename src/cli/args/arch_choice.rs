//! Reading ARCH: `max`, `min`, `random`, inline JSON, or a file; and files of many archs.

use super::Failure;
use ofa_space::{Arch, ArchJson, Opened, SearchSpace, input_file, json};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// The arch that `text` names.
pub fn arch(text: &str, space: &dyn SearchSpace, seed: u64) -> Result<Arch, Failure> {
    match text {
        "max" => Ok(space.max_arch()),
        "min" => Ok(space.min_arch()),
        "random" => Ok(space.sample(&Opened::EVERYTHING, &mut ChaCha8Rng::seed_from_u64(seed))),
        _ if text.trim_start().starts_with('{') => parse(text, space, "--arch"),
        path if Path::new(path).is_file() => parse(&read(Path::new(path))?, space, path),
        other => Err(Failure::Input(format!(
            "--arch `{other}`: expected max, min, random, JSON such as {{\"ks\":[…],…}}, or a file with one arch; \
             there is no such file"
        ))),
    }
}

/// The archs of a JSON Lines file, one a line.
pub fn archs(path: &Path, space: &dyn SearchSpace) -> Result<Vec<Arch>, Failure> {
    let text = read(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| parse(line, space, &format!("{}:{}", path.display(), index + 1))).collect()
}

/// One arch or many, as the two flags give them.
pub fn one_or_many(
    arch_text: Option<&str>,
    file: Option<&Path>,
    space: &dyn SearchSpace,
    seed: u64,
) -> Result<Vec<Arch>, Failure> {
    match (arch_text, file) {
        (Some(text), None) => Ok(vec![arch(text, space, seed)?]),
        (None, Some(path)) => archs(path, space),
        _ => Err(Failure::Input("give either --arch ARCH or --archs FILE.jsonl".into())),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    input_file::read_text(path, input_file::LARGEST_RECORDS)
        .map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))
}

/// One JSON arch, bare or under `"arch"`, or the one that a search found.
fn parse(text: &str, space: &dyn SearchSpace, origin: &str) -> Result<Arch, Failure> {
    let bad = |problem: String| Failure::Input(format!("{origin}: {problem}"));
    let mut value: serde_json::Value = json::from_str(text).map_err(|e| bad(format!("is not a JSON arch: {e}")))?;
    if let Some(results) = value.get_mut("results").and_then(serde_json::Value::as_array_mut) {
        results.retain(|result| result.get("arch").is_some_and(|arch| !arch.is_null()));
        match results.as_mut_slice() {
            [only] => value = only.take(),
            several => {
                return Err(bad(format!(
                    "is a search result with {} networks, expected one: search with one limit, or take one \
                     \"arch\" out of it",
                    several.len()
                )));
            }
        }
    }
    if let Some(inner) = value.get_mut("arch") {
        value = inner.take();
    }
    let json: ArchJson = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
    space.parse(&json).map_err(|e| bad(e.to_string()))
}
