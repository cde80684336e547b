//! Number 10 of predictor files: a vector that is one entry short, a choice that no gene has, numbers beyond all bounds.

use crate::{assert_refused, fixture, line};
use serde_json::Value;
use std::path::Path;

/// Every list of more than three entries, as a path of fields.
fn lists(value: &Value, path: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, inner)| {
            path.push(name.clone());
            lists(inner, path, into);
            path.pop();
        }),
        Value::Array(values) if values.len() > 3 => into.push(path.clone()),
        _ => {}
    }
}

fn predict(predictor: &Path) -> crate::program::Outcome {
    line(
        "predict --predictor {} --space {} --archs {}",
        &[predictor, &fixture("spaces/mobile.toml"), &fixture("archs.jsonl")],
    )
}

#[test]
fn a_list_that_is_one_entry_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictor.json");
    for name in ["auto", "cost-prior", "elastic-net", "gaussian-process", "mlp", "ridge", "svr"] {
        let whole: Value =
            serde_json::from_slice(&std::fs::read(fixture(&format!("predictors/{name}.json"))).unwrap()).unwrap();
        let mut found = Vec::new();
        lists(&whole["predictor"], &mut Vec::new(), &mut found);
        assert!(!found.is_empty(), "{name}");
        for fields in found {
            let mut short = whole.clone();
            let list = fields.iter().fold(&mut short["predictor"], |value, field| &mut value[field]);
            list.as_array_mut().unwrap().pop();
            std::fs::write(&path, short.to_string()).unwrap();
            let outcome = predict(&path);
            assert_eq!(outcome.code, Some(2), "{name} without the last of {fields:?}: {outcome:#?}");
            assert_refused(&outcome, &[]);
        }
    }
}

#[test]
fn impossible_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictor.json");
    let whole = std::fs::read_to_string(fixture("predictors/elastic-net.json")).unwrap();
    let json: Value = serde_json::from_str(&whole).unwrap();
    for (what, change) in [
        ("a weight of 1e308", (|p| p["predictor"]["weights"][0] = 1e308.into()) as fn(&mut Value)),
        ("a weight of null", |p| p["predictor"]["weights"][0] = Value::Null),
        ("a figure of 1e308", |p| p["report"]["rmse"] = 1e308.into()),
        ("a gene of 2^31", |p| p["seen"] = serde_json::json!({"unseen": [[1u64 << 31, 0]]})),
        ("a choice of 200", |p| p["seen"] = serde_json::json!({"unseen": [[0, 200]]})),
    ] {
        let mut changed = json.clone();
        change(&mut changed);
        std::fs::write(&path, changed.to_string()).unwrap();
        let outcome = predict(&path);
        assert_eq!(outcome.code, Some(2), "{what}: {outcome:#?}");
        assert_refused(&outcome, &[]);
    }
}
