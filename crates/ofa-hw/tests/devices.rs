//! Devices: parity with the authors' tables where the reference results are at hand, invariants, and bad input.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_hw::devices::lut::Lut;
use ofa_hw::{HwError, LatencySource, entries, load, registry};
use ofa_space::{ArchJson, Opened};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};

#[test]
fn note10_latencies_are_the_authors() {
    let Some(shared) = ofa_reference_data::folder_with(&["golden/latency-note10.json", "data/luts/note10"]) else {
        return;
    };
    let text = std::fs::read_to_string(shared.join("golden/latency-note10.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
    let space = ofa_space::registry::named("ofa-mbv3-w1.2").unwrap();
    let built_in = load("note10").unwrap();
    let files = Lut::from_folder(&shared.join("data/luts/note10")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    for case in cases {
        let json: ArchJson = serde_json::from_value(case["arch"].clone()).unwrap();
        let arch = space.parse(&json).unwrap();
        for (resolution, expected) in case["latency_ms"].as_object().unwrap() {
            let net = space.resolve(&arch.with_resolution(resolution.parse().unwrap())).unwrap();
            let ours = built_in.latency_ms(&net).unwrap();
            let expected = expected.as_f64().unwrap();
            assert!((ours - expected).abs() <= 1e-6 * expected, "{json} at {resolution}: {ours}, {expected}");
            let from_files: f64 = files.lookups(&net).unwrap().iter().map(|(_, ms)| ms).sum();
            assert_eq!(from_files, ours);
        }
    }
    let json: ArchJson = serde_json::from_value(cases[2]["arch"].clone()).unwrap();
    let net = space.resolve(&space.parse(&json).unwrap().with_resolution(192)).unwrap();
    let ours: Vec<String> = files.lookups(&net).unwrap().into_iter().map(|(key, _)| key).collect();
    let expected: Vec<&str> =
        golden["lookups_case_2_at_192"].as_array().unwrap().iter().map(|l| l["key"].as_str().unwrap()).collect();
    assert_eq!(ours, expected);
}

#[test]
fn pixel_1_keys_are_the_published_ones() {
    let name = "data/luts/pixel1/mobile_trim.yaml";
    let Some(shared) = ofa_reference_data::folder_with(&[name]) else { return };
    let path = shared.join(name);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return;
    }
    let device = Lut::from_file(&path).unwrap();
    let text = "[space]\nkind = \"proxyless\"\nexpand_ratios = [3, 6]\nresolutions = [224]\n";
    let space = ofa_space::registry::from_toml(text, Path::new("space.toml")).unwrap();
    let keys = |arch: &ofa_space::Arch| -> Vec<String> {
        device.lookups(&space.resolve(arch).unwrap()).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    let max = keys(&space.max_arch());
    assert_eq!(max.len(), 25, "stem, fixed block, 21 blocks, last convolution, classifier");
    assert_eq!(max[0], "Conv-input:224x224x3-output:112x112x32");
    assert_eq!(max[2], "expanded_conv-input:112x112x16-output:56x56x24-expand:6-kernel:7-stride:2-idskip:0");
    assert_eq!(max[23..], ["Conv_1-input:7x7x320-output:7x7x1280", "Logits-input:7x7x1280-output:1000"]);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..50 {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        assert!(keys(&arch).len() >= 15);
    }
}

#[test]
fn the_i7_table_knows_both_widths() {
    let device = load("i7-8700k").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for name in ["ofa-mbv3-w1.0", "ofa-mbv3-w1.2"] {
        let space = ofa_space::registry::named(name).unwrap();
        for _ in 0..50 {
            let arch = space.sample(&Opened::EVERYTHING, &mut rng);
            let latency = device.latency_ms(&space.resolve(&arch).unwrap()).unwrap();
            assert!(latency > 0.0);
        }
    }
}

#[test]
fn every_registered_device_answers_or_says_why() {
    let space = ofa_space::registry::named("tiny-28").unwrap();
    let net = space.resolve(&space.max_arch()).unwrap();
    assert!(entries().len() >= 10);
    for entry in entries() {
        let device = (entry.build)().unwrap();
        assert_eq!(device.source(), entry.source, "{}", entry.name);
        match device.latency_ms(&net) {
            Ok(latency) => assert!(latency > 0.0 && latency.is_finite(), "{}: {latency}", entry.name),
            Err(error) => {
                assert_eq!(entry.source, LatencySource::Table);
                assert!(matches!(error, HwError::MissingKey { .. } | HwError::MissingResolution { .. }), "{error}");
            }
        }
    }
    let error = load("note-10").unwrap_err().to_string();
    assert!(error.contains("did you mean `note10`"), "{error}");
}

proptest! {
    #[test]
    fn a_larger_gene_never_takes_less_time(seed in any::<u64>()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for name in ["tiny-28", "ofa-mbv3-w1.0"] {
            let space = ofa_space::registry::named(name).unwrap();
            let arch = space.sample(&Opened::EVERYTHING, &mut rng);
            let genes = &space.info().genes;
            let gene = seed as usize % genes.len();
            let mut raised = arch.choices().to_vec();
            raised[gene] = (genes[gene].choices.len() - 1) as u8;
            let raised = space.arch(raised, arch.resolution()).unwrap();
            for device in ["pixel4-cpu", "stm32f746", "v100"] {
                let device = load(device).unwrap();
                let latency = |arch| device.latency_ms(&space.resolve(arch).unwrap()).unwrap();
                prop_assert!(latency(&arch) <= latency(&raised) * (1.0 + 1e-12));
            }
        }
    }
}

const PROFILE: &str = r#"
[device]
kind = "roofline"
peak_gmacs = 10.0
peak_source = "somewhere"
bandwidth_gb_s = 5.0
bandwidth_source = "somewhere"
"#;

#[test]
fn malformed_profiles_name_file_line_and_field() {
    assert!(registry::from_profile(PROFILE, "p.toml").is_ok());
    let with = |more: &str| format!("{PROFILE}{more}\n");
    let kind = |body: &str| format!("[device]\n{body}\n");
    let table = "kind = \"block-table\"\nformat = 1\nspace = \"t\"\nruntime = \"r\"\nthreads = 1\nrounds = 3\n";
    let cases = [
        (PROFILE.replace("10.0", "-1.0"), "line 4, `device.peak_gmacs`: `peak_gmacs` is -1"),
        (PROFILE.replace("10.0", "nan"), "line 4, `device.peak_gmacs`"),
        (PROFILE.replace("10.0", "\"fast\""), "line 4, `device.peak_gmacs`: invalid type: string \"fast\""),
        (PROFILE.replace("\"somewhere\"\nbandwidth_gb_s", "\"\"\nbandwidth_gb_s"), "line 5, `device.peak_source`"),
        (PROFILE.replace("bandwidth_gb_s = 5.0\n", ""), "line 2, `device`: missing field `bandwidth_gb_s`"),
        (with("cores = 4"), "line 8, `device.cores`: unknown field `cores`"),
        (with("efficiency = { dense = \"high\" }"), "line 8, `device.efficiency.dense`: invalid type"),
        (with("[device.efficiency]\ndense = 7.5"), "line 9, `device.efficiency.dense`"),
        (PROFILE.replace("roofline", "rooflin"), "line 3, `device.kind`: unknown variant `rooflin`"),
        (PROFILE.replace("kind = \"roofline\"\n", ""), "line 2, `device`: missing field `kind`"),
        (PROFILE.replace("kind = \"roofline\"", ""), "line 2, `device`: missing field `kind`"),
        (kind("kind = \"command\"\ncommand = [\"bench\"]"), "line 3, `device.command`: `command` has no argument"),
        (kind("kind = \"command\"\ncommand = [\"bench\", 3]"), "line 3, `device.command"),
        (kind("retries = 99\nkind = \"command\"\ncommand = [\"b\", \"{onnx}\"]"), "line 2, `device.retries`"),
        (kind("kind = \"host\"\nthreads = \"two\""), "line 3, `device.threads`"),
        (
            kind(&format!("{table}[device.whole_net]\nscale = \"big\"\n[device.blocks]")),
            "line 9, `device.whole_net.scale`",
        ),
        (
            kind(&format!("{table}[device.whole_net]\nscale = -1.0\n[device.blocks]")),
            "line 9, `device.whole_net.scale`",
        ),
        (kind(&format!("{table}[device.blocks]\n\"zz\" = 3.0")), "line 9, `device.blocks.zz`"),
        ("device = 3".to_owned(), "line 1: `device` is a integer"),
        ("[devices]".to_owned(), "has no table [device]"),
        ("\nnonsense".to_owned(), "line 2"),
        (PROFILE.replace("5.0", "5.0.0"), "line 6"),
    ];
    for (text, expected) in cases {
        let error = registry::from_profile(&text, "p.toml").unwrap_err().to_string();
        assert!(error.starts_with("p.toml: ") && error.contains(expected), "{text}\n{error}");
        assert_eq!(error.trim(), error);
    }
}

#[test]
fn malformed_tables_name_file_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let good = "expanded_conv-input:1x1x8-output:1x1x8-expand:8-kernel:3-stride:1-idskip:1-se:0-hs:0:\n  mean: 1.0\n";
    let write = |text: &str| -> PathBuf {
        let path: PathBuf = Path::new(folder.path()).join("table.yaml");
        std::fs::write(&path, text).unwrap();
        path
    };
    assert!(Lut::from_file(&write(good)).is_ok());
    let key = good.split(":\n").next().unwrap();
    let bad = [
        (good.replace("1.0", ".nan"), key),
        (good.replace("1.0", "-1.0"), key),
        (good.replace("1.0", "fast"), "line 2"),
        (good.replace("mean", "median"), "mean"),
        (format!("{good}{good}"), "line 3"),
        ("[]".to_owned(), "table"),
        ("Conv-input:1: {mean: 1.0}".to_owned(), "expanded_conv"),
    ];
    for (text, place) in bad {
        let error = Lut::from_file(&write(&text)).unwrap_err().to_string();
        assert!(error.contains("table.yaml") && error.contains(place), "{error}");
    }
    assert!(load(folder.path().join("missing.yaml").to_str().unwrap()).is_err());
}
