//! Parity with the authors' PyTorch code, where the reference results are at hand.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_space::{ArchJson, cost, registry};
use std::path::PathBuf;

/// The folder of reference results: `$OFA_SHARED/golden` or `../shared/golden` beside the workspace.
fn golden() -> Option<PathBuf> {
    let shared = std::env::var_os("OFA_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let golden = shared.join("golden");
    golden.is_dir().then_some(golden)
}

#[test]
fn costs_of_every_mobilenet_row() {
    let Some(golden) = golden() else {
        eprintln!("skipped: no reference results (set OFA_SHARED)");
        return;
    };
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(golden.join("cost.json")).unwrap()).unwrap();
    let mut rows = 0;
    for (name, cases) in file["spaces"].as_object().unwrap() {
        let Ok(space) = registry::named(name) else {
            eprintln!("skipped: space {name} is not registered");
            continue;
        };
        for case in cases.as_array().unwrap() {
            let arch: ArchJson = serde_json::from_value(case["arch"].clone()).unwrap();
            let net = space.resolve(&space.parse(&arch).unwrap()).unwrap();
            assert_eq!(cost::params(&net), case["params"].as_u64().unwrap(), "{name} {arch}");
            assert_eq!(cost::macs(&net), case["macs"].as_u64().unwrap(), "{name} {arch}");
            assert_eq!(cost::macs_se(&net), case["macs_se"].as_u64().unwrap_or(0), "{name} {arch}");
            if let Some(layers) = case["layers"].as_array() {
                let expected: Vec<(&str, u64)> = layers
                    .iter()
                    .filter(|l| l["macs"].as_u64() > Some(0) && !l["name"].as_str().unwrap().contains(".se."))
                    .map(|l| (l["name"].as_str().unwrap(), l["macs"].as_u64().unwrap()))
                    .collect();
                let ours: Vec<(&str, u64)> =
                    net.ops().map(|op| (op.name.as_str(), cost::op_macs(op))).filter(|(_, macs)| *macs > 0).collect();
                assert_eq!(ours, expected, "{name} {arch}");
            }
            rows += 1;
        }
    }
    assert!(rows >= 40, "only {rows} rows were checked");
}
