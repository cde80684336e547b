//! Damaged and hostile checkpoints and descriptions: an error that names the place, never a panic or a hang, and memory
//! within a constant times the file's size.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_export::importing::net_config::NetConfig;
use ofa_export::importing::state_dict::StateDict;
use ofa_export::importing::supernet::{Head, import_supernet};
use ofa_space::registry;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Largest resident memory of this process so far in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn truncated_and_flipped_checkpoints() {
    let Some(shared) = ofa_reference_data::folder_with(&["golden", "data/mcunet"]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let damaged = scratch.path().join("damaged.pth");
    let space =
        registry::from_toml("[space]\nkind = \"mbv3\"\nwidth = 0.25\nclasses = 10\n", Path::new("space.toml")).unwrap();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(shared.join("golden")).unwrap().map(|e| e.unwrap().path()).collect();
    files.extend(
        ["mcunet-320kb-1mb_imagenet", "proxyless-w0.3-r176_imagenet"]
            .map(|name| shared.join("data/mcunet").join(name).with_extension("pth")),
    );
    files.retain(|file| file.extension().is_some_and(|e| e == "pth") && file.exists());
    assert!(!files.is_empty());
    let before = peak_memory();
    let mut largest = 0;
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        largest = largest.max(whole.len() as u64);
        for point in 0..50 {
            std::fs::write(&damaged, &whole[..whole.len() * point / 50]).unwrap();
            let error = StateDict::read(&damaged).unwrap_err().to_string();
            assert!(error.contains("damaged.pth"), "{error}");
        }
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for _ in 0..200 {
            let mut bytes = whole.clone();
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= rng.random_range(1..=255u8);
            std::fs::write(&damaged, &bytes).unwrap();
            // A flip in padding, or in a file without checksums, may pass; what fails must say where.
            if let Err(error) = import_supernet(&damaged, &space, Head::Imported) {
                assert!(error.to_string().contains("damaged.pth"), "{error}");
            }
        }
    }
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        let grown = after.saturating_sub(before);
        assert!(grown <= 16 * largest + (32 << 20), "{grown} bytes for files of at most {largest}");
    }
}

#[test]
fn an_object_that_is_no_tensor_is_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("evil.pth");
    let witness = scratch.path().join("witness");
    let command = format!("touch {}", witness.display());
    let call = |module: &str| {
        let mut bytes = format!("c{module}\nsystem\n(X").into_bytes();
        bytes.extend((command.len() as u32).to_le_bytes());
        bytes.extend(command.as_bytes());
        bytes.extend(b"tR");
        bytes
    };
    for module in ["os", "posix"] {
        let mut alone = b"\x80\x02".to_vec();
        alone.extend(call(module));
        alone.push(b'.');
        let mut beside = b"\x80\x02}(X\x0a\x00\x00\x00state_dict}X\x05\x00\x00\x00extra".to_vec();
        beside.extend(call(module));
        beside.extend(b"u.");
        for bytes in [alone, beside] {
            std::fs::write(&path, bytes).unwrap();
            let error = StateDict::read(&path).unwrap_err().to_string();
            assert!(error.contains("evil.pth") && error.contains(&format!("{module}.system")), "{error}");
        }
    }
    assert!(!witness.exists());
}

fn description() -> Value {
    let conv = |kernel: usize, stride: usize, input: usize, output: usize| {
        json!({
            "name": "ConvLayer", "kernel_size": kernel, "stride": stride, "dilation": 1, "groups": 1, "bias": false,
            "has_shuffle": false, "in_channels": input, "out_channels": output, "use_bn": true, "act_func": "relu6",
            "dropout_rate": 0, "ops_order": "weight_bn_act"
        })
    };
    json!({
        "name": "ProxylessNASNets",
        "bn": {"momentum": 0.1, "eps": 1e-5},
        "first_conv": conv(3, 2, 3, 16),
        "blocks": [
            {
                "name": "MobileInvertedResidualBlock",
                "mobile_inverted_conv": {
                    "name": "MBInvertedConvLayer", "in_channels": 16, "out_channels": 16, "kernel_size": 5, "stride": 1,
                    "expand_ratio": 3, "mid_channels": 48, "act_func": "relu6", "use_se": false
                },
                "shortcut": {"name": "IdentityLayer", "in_channels": [16], "out_channels": [16]}
            },
            {
                "name": "MobileInvertedResidualBlock",
                "mobile_inverted_conv": {"name": "ZeroLayer", "stride": 1},
                "shortcut": {"name": "IdentityLayer", "in_channels": 16, "out_channels": 16}
            }
        ],
        "feature_mix_layer": conv(1, 1, 16, 32),
        "classifier": {
            "name": "LinearLayer", "in_features": 32, "out_features": 10, "bias": true, "use_bn": false,
            "act_func": null, "dropout_rate": 0, "ops_order": "weight_bn_act"
        }
    })
}

/// Every path to an object's field in a JSON value.
fn fields(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, entry) in entries {
                into.push(format!("{path}/{key}"));
                fields(entry, &format!("{path}/{key}"), into);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                fields(item, &format!("{path}/{index}"), into);
            }
        }
        _ => {}
    }
}

#[test]
fn malformed_descriptions_name_the_place() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("net.config");
    let read = |value: &Value| {
        std::fs::write(&path, serde_json::to_string_pretty(value).unwrap()).unwrap();
        NetConfig::read(&path).map_err(|e| e.to_string())
    };
    let good = description();
    assert_eq!(read(&good).unwrap().net(64).unwrap().classes, 10);

    let mut all = Vec::new();
    fields(&good, "", &mut all);
    // What the published descriptions leave out has a known value.
    let optional = ["mid_channels", "act_func", "use_se"];
    for place in &all {
        let (parent, field) = place.rsplit_once('/').unwrap();
        let mut changed = good.clone();
        changed.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
        let is_optional = parent.ends_with("mobile_inverted_conv") && optional.contains(&field);
        match read(&changed) {
            Ok(_) => assert!(is_optional, "{place} may be missing"),
            Err(error) => assert!(error.contains("net.config") && error.contains(field), "{place}: {error}"),
        }
        // A value of a type that no field has.
        let mut changed = good.clone();
        *changed.pointer_mut(place).unwrap() = json!({"unexpected": [true]});
        let error = read(&changed).unwrap_err();
        assert!(error.contains("net.config"), "{place}: {error}");
        let mut changed = good.clone();
        changed.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert("surplus".into(), json!(1));
        let error = read(&changed).unwrap_err();
        assert!(error.contains("surplus"), "{place}: {error}");
    }
    let cases = [
        ("/blocks/0/mobile_inverted_conv/kernel_size", json!(4), "blocks[0].mobile_inverted_conv.kernel_size"),
        ("/blocks/0/mobile_inverted_conv/stride", json!(0), "blocks[0].mobile_inverted_conv.stride"),
        ("/blocks/0/mobile_inverted_conv/mid_channels", json!(1u64 << 60), "mid_channels"),
        ("/blocks/0/mobile_inverted_conv/in_channels", json!(24), "blocks[0].mobile_inverted_conv.in_channels"),
        ("/blocks/0/mobile_inverted_conv/act_func", json!("gelu"), "gelu"),
        ("/blocks/0/mobile_inverted_conv/name", json!("SomeLayer"), "SomeLayer"),
        ("/blocks/0/mobile_inverted_conv/expand_ratio", json!(-3), "expand_ratio"),
        ("/first_conv/kernel_size", json!(4), "first_conv.kernel_size"),
        ("/first_conv/out_channels", json!(0), "first_conv.out_channels"),
        ("/first_conv/in_channels", json!(-1), "-1"),
        ("/bn/eps", json!(0), "bn.eps"),
        ("/classifier/in_features", json!(33), "classifier.in_features"),
        ("/classifier/out_features", json!(1u64 << 40), "classifier.out_features"),
        ("/name", json!("ResNets"), "ResNets"),
        ("/feature_mix_layer/groups", json!(2), "feature_mix_layer.groups"),
    ];
    for (place, value, expected) in cases {
        let mut changed = good.clone();
        *changed.pointer_mut(place).unwrap() = value;
        let error = read(&changed).unwrap_err();
        assert!(error.contains(expected) && error.contains("net.config"), "{place}: {error}");
    }
    std::fs::write(&path, b"{\"name\": ").unwrap();
    assert!(NetConfig::read(&path).unwrap_err().to_string().contains("line 1"));
    assert!(NetConfig::read(&scratch.path().join("absent")).is_err());
}
