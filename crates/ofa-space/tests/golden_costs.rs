//! Parity with the authors' PyTorch code, where the reference results are at hand.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_space::{Activation, ArchJson, NetSpec, OpKind, cost, registry};

/// A row of a reference layer list, as our operations describe it: name, kind, channels, kernel, stride, groups, sizes,
/// bias, multiply-accumulates.
#[derive(PartialEq, Debug)]
struct Layer {
    name: String,
    kind: &'static str,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
    sizes: [usize; 2],
    activation: &'static str,
    bias: bool,
    macs: u64,
}

/// The layers of a network outside squeeze-excite.
fn layers(net: &NetSpec) -> Vec<Layer> {
    let mut layers = Vec::new();
    for block in &net.blocks {
        for (index, op) in block.ops.iter().enumerate() {
            let input = match op.inputs[0] {
                0 => block.input,
                value => block.ops[value - 1].output,
            };
            let (kind, kernel, stride, groups, bias) = match &op.kind {
                OpKind::Conv { kernel, stride, groups, bias, .. } => {
                    ("conv", *kernel, *stride, *groups, bias.is_some())
                }
                OpKind::Linear { bias, .. } => ("linear", 1, 1, 1, bias.is_some()),
                OpKind::AveragePool { kernel, stride, .. } => ("avg-pool", *kernel, *stride, 1, false),
                OpKind::MaxPool { kernel, stride, .. } => ("max-pool", *kernel, *stride, 1, false),
                _ => continue,
            };
            let follows = |step: usize| block.ops.get(index + step).map(|op| &op.kind);
            let after_norm = if matches!(follows(1), Some(OpKind::BatchNorm { .. })) { follows(2) } else { follows(1) };
            let activation = match after_norm {
                Some(OpKind::Activation { function: Activation::Relu }) => "relu",
                Some(OpKind::Activation { function: Activation::Relu6 }) => "relu6",
                Some(OpKind::Activation { function: Activation::HSwish }) => "h_swish",
                _ => "none",
            };
            layers.push(Layer {
                name: op.name.clone(),
                kind,
                channels: [input[0], op.output[0]],
                kernel,
                stride,
                groups,
                sizes: [input[1], op.output[1]],
                activation,
                bias,
                macs: cost::op_macs(op),
            });
        }
    }
    layers
}

fn expected_layers(rows: &[serde_json::Value]) -> Vec<Layer> {
    let word = |row: &serde_json::Value, key: &str, words: &[&'static str]| {
        let found = row[key].as_str().unwrap();
        *words.iter().find(|word| **word == found).unwrap_or_else(|| panic!("unknown {key} {found}"))
    };
    let number = |row: &serde_json::Value, key: &str| row[key].as_u64().unwrap() as usize;
    rows.iter()
        .filter(|row| !row["name"].as_str().unwrap().contains(".se."))
        // Pooling by one pixel is the identity, which we leave out.
        .filter(|row| !(row["kind"] == "avg-pool" && row["k"] == 1))
        .map(|row| Layer {
            name: row["name"].as_str().unwrap().to_owned(),
            kind: word(row, "kind", &["conv", "linear", "avg-pool", "max-pool"]),
            channels: [number(row, "in_c"), number(row, "out_c")],
            kernel: number(row, "k"),
            stride: number(row, "stride"),
            groups: number(row, "groups"),
            sizes: [number(row, "in_hw"), number(row, "out_hw")],
            activation: word(row, "act", &["relu", "relu6", "h_swish", "none"]),
            bias: row["bias"].as_bool().unwrap(),
            macs: row["macs"].as_u64().unwrap(),
        })
        .collect()
}

#[test]
fn costs_and_layers_of_every_row() {
    let Some(shared) = ofa_reference_data::folder_with(&["golden/cost.json"]) else { return };
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(shared.join("golden/cost.json")).unwrap()).unwrap();
    let mut rows = 0;
    for (name, cases) in file["spaces"].as_object().unwrap() {
        let space = registry::named(name).unwrap();
        for case in cases.as_array().unwrap() {
            let arch: ArchJson = serde_json::from_value(case["arch"].clone()).unwrap();
            let net = space.resolve(&space.parse(&arch).unwrap()).unwrap();
            assert_eq!(cost::params(&net), case["params"].as_u64().unwrap(), "{name} {arch}");
            assert_eq!(cost::macs(&net), case["macs"].as_u64().unwrap(), "{name} {arch}");
            assert_eq!(cost::macs_se(&net), case["macs_se"].as_u64().unwrap_or(0), "{name} {arch}");
            if let Some(expected) = case["layers"].as_array() {
                assert_eq!(layers(&net), expected_layers(expected), "{name} {arch}");
            }
            rows += 1;
        }
    }
    assert!(rows > 0, "no rows in cost.json");
}
