//! The authors' small supernet: imported, extracted, sorted, exported, run in an independent runtime, and compared
//! with their logits, where the reference results are at hand.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_export::importing::supernet::{Head, import_supernet};
use ofa_export::{SessionOptions, agreement, export_net, runtime};
use ofa_space::spaces::mbv3::{Mbv3, Mbv3Config};
use ofa_space::{ArchJson, SearchSpace, Weights, extraction, importance, supernet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MBV3: [&str; 2] = ["golden/mbv3-small", "golden/supernet-mbv3-small-legacy-keys.pth"];
const OTHERS: [&str; 4] = [
    "golden/proxyless-small",
    "golden/supernet-proxyless-small.pth",
    "golden/resnet-small",
    "golden/supernet-resnet-small.pth",
];

/// The folder of the reference results, if it holds `names`.
fn golden(names: &[&str]) -> Option<PathBuf> {
    Some(ofa_reference_data::folder_with(names)?.join("golden"))
}

fn read_f32(path: &Path) -> (Vec<f32>, Vec<usize>) {
    let file = npyz::NpyFile::new(std::fs::File::open(path).unwrap()).unwrap();
    let shape = file.shape().iter().map(|d| *d as usize).collect();
    (file.into_vec().unwrap(), shape)
}

fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn small_space(cases: &serde_json::Value) -> Arc<dyn SearchSpace> {
    let constructor = &cases["constructor"];
    let config = Mbv3Config {
        width: constructor["width_mult"].as_f64().unwrap(),
        classes: constructor["n_classes"].as_u64().unwrap() as usize,
        bn_eps: constructor["bn_param"]["eps"].as_f64().unwrap(),
        ..Mbv3Config::default()
    };
    Arc::new(Mbv3::try_from(config).unwrap())
}

fn archs(cases: &serde_json::Value) -> Vec<ArchJson> {
    let list = ["cases", "archs"].iter().find_map(|key| cases[*key].as_array()).expect("a list of cases");
    list.iter()
        .map(|case| {
            let arch = if case["arch"].is_object() { &case["arch"] } else { case };
            let mut arch = arch.clone();
            arch.as_object_mut().unwrap().retain(|key, _| ["ks", "e", "d"].contains(&key.as_str()));
            serde_json::from_value(arch).unwrap()
        })
        .collect()
}

#[test]
fn exported_subnets_give_the_authors_logits() {
    let Some(golden) = golden(&MBV3) else { return };
    let folder = golden.join("mbv3-small");
    let cases = read_json(&folder.join("cases.json"));
    let space = small_space(&cases);
    let checkpoint = golden.join(cases["checkpoint"].as_str().unwrap());
    let import = import_supernet(&checkpoint, &space, Head::Imported).unwrap();
    assert_eq!(import.unused, Vec::<String>::new());
    let mut worst: f64 = 0.0;
    for size in [64, 96] {
        let (inputs, shape) = read_f32(&folder.join(format!("inputs-{size}.npy")));
        let (logits, logits_shape) = read_f32(&folder.join(format!("logits-dynamic-{size}.npy")));
        let per_case = logits_shape[1] * logits_shape[2];
        let archs = archs(&cases);
        assert_eq!(archs.len(), logits_shape[0]);
        for (arch, expected) in archs.iter().zip(logits.chunks_exact(per_case)) {
            let net = space.resolve(&space.parse(arch).unwrap().with_resolution(size)).unwrap();
            let onnx = export_net(&net, &import.model.weights, &Default::default()).unwrap();
            let mut session = runtime::load(&onnx, &SessionOptions::default()).unwrap();
            let ours = session.run(&inputs, shape.clone().try_into().unwrap()).unwrap();
            let result = agreement(&ours, expected);
            worst = worst.max(result.max_abs_diff / result.max_abs_logit);
            assert!(result.within(1e-4), "{arch} at {size}: {result:?}");
        }
    }
    println!("exported ONNX in rten against PyTorch: within {worst:.1e} of the largest logit");
}

#[test]
fn extraction_gives_the_authors_static_subnet() {
    let Some(golden) = golden(&MBV3) else { return };
    let folder = golden.join("mbv3-small");
    let cases = read_json(&folder.join("cases.json"));
    let space = small_space(&cases);
    let checkpoint = golden.join(cases["checkpoint"].as_str().unwrap());
    let weights = import_supernet(&checkpoint, &space, Head::Imported).unwrap().model.weights;
    let arch = space.parse(&archs(&cases)[2]).unwrap().with_resolution(64);
    let (_, ours) = extraction::extract(&space.resolve(&arch).unwrap(), &weights).unwrap();
    let (theirs, _) = Weights::load(&folder.join("static-subnet-arch-2.safetensors")).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (name, tensor) in theirs.iter() {
        let name = name.replace(".mobile_inverted_conv.", ".conv.");
        let ours = ours.expect(&name, &tensor.shape).unwrap();
        let difference = ours.data.iter().zip(&tensor.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference <= 1e-6, "{name} differs by {difference}");
    }
}

#[test]
fn channels_sort_as_the_authors_with_stable_ties() {
    let Some(golden) = golden(&[MBV3[0], MBV3[1], "golden/sorted"]) else { return };
    let sorted = read_json(&golden.join("sorted/sorted.json"));
    let cases = read_json(&golden.join("mbv3-small/cases.json"));
    let space = small_space(&cases);
    let checkpoint = golden.join(cases["checkpoint"].as_str().unwrap());
    let original = import_supernet(&checkpoint, &space, Head::Imported).unwrap().model.weights;
    let channels = supernet::elastic_channels(space.as_ref()).unwrap();
    let (inputs, shape) = read_f32(&golden.join("mbv3-small/inputs-64.npy"));
    let max = space.resolve(&space.max_arch().with_resolution(64)).unwrap();
    let logits = |weights: &Weights| {
        let onnx = export_net(&max, weights, &Default::default()).unwrap();
        let mut session = runtime::load(&onnx, &SessionOptions::default()).unwrap();
        session.run(&inputs, shape.clone().try_into().unwrap()).unwrap()
    };
    let before = logits(&original);
    for stage in 0..2 {
        let golden = &sorted["mbv3-small"][format!("stage_{stage}")];
        let expected = match &golden["stable_permutations"] {
            serde_json::Value::Null => &golden["official_permutations"],
            stable => stable,
        };
        let expected: Vec<Vec<usize>> = serde_json::from_value(expected.clone()).unwrap();
        let mut weights = original.clone();
        let permutations = importance::sort_channels(&mut weights, &channels, stage).unwrap();
        let ours: Vec<Vec<usize>> = permutations.into_iter().map(|p| p.order).collect();
        assert_eq!(ours.len(), expected.len(), "stage {stage}");
        for (index, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            assert_eq!(ours, expected, "stage {stage}, sort {index}");
        }
        let result = agreement(&before, &logits(&weights));
        assert!(result.within(1e-5), "stage {stage} changed the max subnet: {result:?}");
    }
}

#[test]
fn sorting_leaves_the_other_families_max_subnet_as_it_was() {
    let Some(golden) = golden(&OTHERS) else { return };
    for (kind, name) in [("proxyless", "proxyless-small"), ("resnet50", "resnet-small")] {
        let cases = read_json(&golden.join(name).join("cases.json"));
        let mut toml = format!("[space]\nkind = \"{kind}\"\n");
        for (key, value) in cases["constructor"].as_object().unwrap() {
            match key.as_str() {
                "bn_param" => toml += &format!("bn_eps = {}\n", value["eps"]),
                "dropout_rate" => {}
                _ => toml += &format!("{key} = {value}\n"),
            }
        }
        let space = ofa_space::registry::from_toml(&toml, Path::new("space.toml")).unwrap();
        let checkpoint = golden.join(cases["checkpoint"].as_str().unwrap());
        let original = import_supernet(&checkpoint, &space, Head::Imported).unwrap().model.weights;
        let channels = supernet::elastic_channels(space.as_ref()).unwrap();
        assert!(!channels.is_empty());
        let (inputs, shape) = read_f32(&golden.join(name).join("inputs-64.npy"));
        let max = space.resolve(&space.max_arch().with_resolution(64)).unwrap();
        let logits = |weights: &Weights| {
            let onnx = export_net(&max, weights, &Default::default()).unwrap();
            let mut session = runtime::load(&onnx, &SessionOptions::default()).unwrap();
            session.run(&inputs, shape.clone().try_into().unwrap()).unwrap()
        };
        let before = logits(&original);
        for stage in 0..2 {
            let mut weights = original.clone();
            let permutations = importance::sort_channels(&mut weights, &channels, stage).unwrap();
            assert!(permutations.iter().any(|p| p.order.iter().enumerate().any(|(new, old)| new != *old)));
            let result = agreement(&before, &logits(&weights));
            assert!(result.within(1e-5), "{name} stage {stage}: {result:?}");
        }
    }
}
