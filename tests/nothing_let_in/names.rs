//! Number 12: names from files reached the terminal and the report as they stood.

use crate::{changed_model, fixture, line, photo};
use serde_json::{Value, json};

#[test]
fn names_of_classes_hold_no_control_characters() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    photo(&at("photo.png"), 30, 30, 90);
    let names: Vec<String> = (0..10).map(|class| format!("\u{1b}[31mred\n{class}\u{202e}")).collect();
    changed_model(&at("model.safetensors"), "net", |m| m["class_names"] = json!(names), |_| {});
    let outcome = line("classify --top 10 --model {} {}", &[&at("model.safetensors"), &at("photo.png")]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:#?}");
    assert!(
        !outcome.stdout.contains(['\u{1b}', '\u{202e}']) && outcome.stdout.contains("\\u{1b}[31mred\\n3"),
        "{outcome:#?}"
    );
    let json = line("classify --json --model {} {}", &[&at("model.safetensors"), &at("photo.png")]);
    let guess: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(!guess["top"][0]["class"].as_str().unwrap().contains('\u{1b}'), "{json:#?}");
    std::fs::rename(at("photo.png"), at("\u{1b}[2Jphoto.txt")).unwrap();
    let outcome = line("classify --model {} {}", &[&fixture("models/net.safetensors"), &at("\u{1b}[2Jphoto.txt")]);
    assert!(!(outcome.stdout + &outcome.stderr).contains('\u{1b}'));
}

#[cfg(unix)]
#[test]
fn folders_that_are_not_unicode_do_not_collide() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    for (index, name) in [&b"cat\xff"[..], b"cat\xfe", b"new\nline"].into_iter().enumerate() {
        let class = folder.path().join(std::ffi::OsStr::from_bytes(name));
        (0..8).for_each(|number| {
            photo(&class.join(format!("{number}.png")), 20 + number, 20 + index as u32, 10 * number as u8)
        });
    }
    let outcome = line("data --json {}", &[folder.path()]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    for name in ["cat\\\\xff", "cat\\\\xfe", "new\\\\nline"] {
        assert!(outcome.stdout.contains(name), "`{name}` is missing: {outcome:#?}");
    }
}

#[test]
fn a_report_shows_names_as_text() {
    const TAG: &str = "<img src=x onerror=alert(1)> [a](javascript:b) | `c` \"d\" \u{1b}[31m\n# e";
    let folder = tempfile::tempdir().unwrap();
    let mut results: Value = serde_json::from_slice(&std::fs::read(fixture("run/results.json")).unwrap()).unwrap();
    for pointer in [
        "/space",
        "/data",
        "/class_names/0",
        "/cases/0/device",
        "/fronts/0/device",
        "/phases/0/name",
        "/predictor/kind",
    ] {
        *results.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = TAG.into();
    }
    results["warnings"] = json!([TAG]);
    std::fs::write(folder.path().join("results.json"), results.to_string()).unwrap();
    let outcome = line("report {}", &[folder.path()]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let mut shown = 0;
    for name in ["report.html", "report.md"] {
        for path in [folder.path().join(name), folder.path().join("work").join(name)] {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            shown += 1;
            assert!(!text.contains("<img") && !text.contains('\u{1b}'), "{name}");
            assert!(
                !text.contains("href=\"javascript:") && (name == "report.html" || !text.contains("[a](javascript:")),
                "{name}"
            );
            assert!(text.lines().all(|line| !line.starts_with("# e")), "{name}");
        }
    }
    assert!(shown >= 1);
}
