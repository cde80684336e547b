//! Number 10: model files that are not what they say. Most of these panicked, or gave answers that meant nothing.

use crate::{assert_refused, changed_model, fixture, line, npy, photo};
use serde_json::{Value, json};

type Change = (&'static str, fn(&mut Value), &'static str);

#[test]
fn metadata_is_checked_once_on_reading() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    photo(&at("photo.png"), 30, 30, 90);
    let changes: [Change; 15] = [
        (
            "a value that is not there",
            |m| m["body"]["spec"]["blocks"][1]["ops"][1]["inputs"] = json!([7]),
            "reads value 7",
        ),
        ("a deviation of 0", |m| m["input"]["std"] = json!([0]), "std"),
        ("a negative deviation", |m| m["input"]["std"] = json!([-1]), "std"),
        ("three deviations", |m| m["input"]["std"] = json!([1, 1, 1]), "std"),
        ("two means", |m| m["input"]["mean"] = json!([0.1, 0.2]), "mean"),
        ("no blocks", |m| m["body"]["spec"]["blocks"] = json!([]), "blocks"),
        ("a huge input", |m| m["body"]["spec"]["input"] = json!([1, 1u64 << 32, 1u64 << 32]), "input"),
        ("a large input", |m| m["body"]["spec"]["input"] = json!([1, 65_536, 65_536]), "input"),
        ("five names", |m| m["class_names"] = json!(["a", "b", "c", "d", "e"]), "class_names"),
        ("five classes", |m| m["body"]["spec"]["classes"] = json!(5), "classes"),
        (
            "a huge scale",
            |m| m["input"]["resize"] = json!({"type": "center_crop", "numerator": u32::MAX, "denominator": 1}),
            "resize",
        ),
        (
            "no scale",
            |m| m["input"]["resize"] = json!({"type": "center_crop", "numerator": 1, "denominator": 0}),
            "resize",
        ),
        ("another shape", |m| m["body"]["spec"]["blocks"][1]["ops"][0]["output"] = json!([1, 1, 1]), "the file has"),
        ("a negative eps", |m| eps(m, -5.0), "eps"),
        ("another stride", |m| m["body"]["spec"]["blocks"][0]["ops"][0]["kind"]["stride"] = json!(1), "the file has"),
    ];
    for (what, change, word) in changes {
        let model = at("model.safetensors");
        changed_model(&model, "net", change, |_| {});
        for command in [
            "info --model {}",
            "classify --model {} {photo}",
            "export --model {} -o {out}",
            "forward --model {} --input {npy} -o {out}",
        ] {
            let command = command.replace("{photo}", "{}").replace("{npy}", "{}").replace("{out}", "{}");
            let paths = [model.clone(), at("photo.png"), fixture("input.npy"), at("out.onnx")];
            let paths: Vec<&std::path::Path> = match command.split(' ').next() {
                Some("info") => vec![&paths[0]],
                Some("classify") => vec![&paths[0], &paths[1]],
                Some("export") => vec![&paths[0], &paths[3]],
                _ => vec![&paths[0], &paths[2], &paths[3]],
            };
            let outcome = line(&command, &paths);
            assert_eq!(outcome.code, Some(2), "{what}: {outcome:#?}");
            assert_refused(&outcome, &["model.safetensors", word]);
        }
        assert!(!at("out.onnx").exists(), "{what}");
    }
}

fn eps(model: &mut Value, value: f64) {
    for block in model["body"]["spec"]["blocks"].as_array_mut().unwrap() {
        for op in block["ops"].as_array_mut().unwrap() {
            if op["kind"]["type"] == "batch_norm" {
                op["kind"]["eps"] = json!(value);
            }
        }
    }
}

/// A field that came twice counted as the last of the two.
#[test]
fn a_field_that_comes_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = std::fs::read_to_string(fixture("pairs.jsonl")).unwrap();
    std::fs::write(at("pairs.jsonl"), text.replacen("\"top1\":", "\"top1\":0.9,\"top1\":", 1)).unwrap();
    let outcome =
        line("fit --pairs {} --space {} -o {}", &[&at("pairs.jsonl"), &fixture("spaces/mobile.toml"), &at("p.json")]);
    assert_refused(&outcome, &["pairs.jsonl:1", "`top1` comes twice"]);
    let arch = std::fs::read_to_string(fixture("archs.jsonl")).unwrap();
    let arch = arch.lines().next().unwrap().replacen("\"ks\":", "\"ks\":[3],\"ks\":", 1);
    std::fs::write(at("arch.json"), arch).unwrap();
    let outcome = line("info --space {} --arch {}", &[&fixture("spaces/mobile.toml"), &at("arch.json")]);
    assert_refused(&outcome, &["`ks` comes twice"]);
    let bytes = std::fs::read(fixture("models/net.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap().replacen('{', "{\"__metadata__\":{},", 1);
    let changed = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat();
    std::fs::write(at("model.safetensors"), changed).unwrap();
    assert_eq!(line("info --model {}", &[&at("model.safetensors")]).code, Some(2));
}

/// Sizes of 0 panicked in a kernel, and products of sizes overflowed.
#[test]
fn arrays_hold_what_their_head_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (shape, words) in [
        ("(4, 1, 0, 0)", "0 rows"),
        ("(0, 1, 24, 24)", "0 images"),
        ("(4294967296, 4294967296, 4, 4)", "images"),
        ("(1000000, 1, 24, 24)", "truncated"),
        ("(2, 1, 65536, 65536)", "rows"),
        ("(4, 24, 24)", "expected (N,C,H,W)"),
    ] {
        npy(&at("a.npy"), shape, [0.5, 0.5]);
        let outcome = line(
            "forward --model {} --input {} -o {}",
            &[&fixture("models/net.safetensors"), &at("a.npy"), &at("o.npy")],
        );
        assert_refused(&outcome, &["a.npy", words]);
        let extract = "extract --model {} --arch max --calibrate {} -o {}";
        let outcome = line(extract, &[&fixture("models/mobile.safetensors"), &at("a.npy"), &at("o.safetensors")]);
        assert_refused(&outcome, &["a.npy", words]);
    }
    assert!(!at("o.npy").exists() && !at("o.safetensors").exists());
}

/// Results with a matrix that is no square panicked in `ofa report`.
#[test]
fn results_are_checked_before_they_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let results: Value = serde_json::from_slice(&std::fs::read(fixture("run/results.json")).unwrap()).unwrap();
    std::fs::create_dir(&run).unwrap();
    let show = |results: &Value| {
        std::fs::write(run.join("results.json"), results.to_string()).unwrap();
        line("report {}", &[&run])
    };
    let changes: [Change; 4] = [
        ("a matrix that is no square", |r| r["cases"][0]["confusion"] = json!([[1, 2], [3]]), "confusion"),
        ("a share of 1e308", |r| r["cases"][0]["accuracy"] = json!(1e308), "accuracy"),
        ("a file elsewhere", |r| r["cases"][0]["onnx"] = json!("../../etc/passwd"), "onnx"),
        ("a link that runs", |r| r["cases"][0]["onnx"] = json!("javascript:alert(1)"), "onnx"),
    ];
    for (what, change, word) in changes {
        let mut changed = results.clone();
        change(&mut changed);
        let outcome = show(&changed);
        assert_eq!(outcome.code, Some(2), "{what}: {outcome:#?}");
        assert_refused(&outcome, &["results.json", word]);
    }
}
