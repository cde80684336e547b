//! `ofa run --data my-photos/`: a folder of photos becomes ONNX files that classify, without a word of configuration.
#![allow(clippy::unwrap_used, missing_docs)]

// This file trains no model of its own.
#[allow(dead_code)]
mod program;

#[path = "program/photos.rs"]
mod photos;

use photos::CLASSES;
use program::{run, run_line};

#[test]
fn photos_become_networks_that_know_their_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("my photos"), folder.path().join("out"));
    let files = photos::write(&data, 12);
    let broken = &files[5];
    let whole = std::fs::read(broken).unwrap();
    std::fs::write(broken, &whole[..whole.len() / 2]).unwrap();

    let refused = run_line("run --data {} --out {}", &[&data, &out]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    let name = broken.file_name().unwrap().to_str().unwrap();
    assert!(refused.stderr.contains(name) && refused.stderr.contains("--on-corrupt skip"), "{refused:#?}");
    assert!(!out.exists(), "a refused run left something behind");

    let finished = run_line("run --data {} --out {} --on-corrupt skip", &[&data, &out]).ok();
    // The plan is stated before the work.
    for words in ["3 classes: blue sky, grüne Wiese, 猫", "epochs in batches", "photos, so", "1 files left out"] {
        assert!(finished.stderr.contains(words), "`{words}` is missing: {finished:#?}");
    }
    let report = finished.json();
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 9, "{report}");
    for file in ["report.html", "report.md", "results.json", "pipeline.toml", "plots/training-loss.svg"] {
        assert!(out.join(file).is_file(), "{file} is missing");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for class in CLASSES {
        assert!(page.contains(class), "the report does not name {class}");
        let onnx = std::fs::read(results[0]["onnx"].as_str().unwrap()).unwrap();
        // Metadata is JSON; names outside ASCII stand as they are.
        assert!(
            onnx.windows(class.len()).any(|bytes| bytes == class.as_bytes()),
            "the ONNX file does not name {class}"
        );
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "the report refers to something outside");

    // A chosen network names classes, for files with any name.
    let onnx = results[0]["onnx"].as_str().unwrap();
    let model = std::path::Path::new(onnx).with_extension("safetensors");
    let line = run_line("classify --top 3 --model {} {} {}", &[&model, &files[0], &files[files.len() - 1]]).ok();
    let lines = line.lines();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let classes: Vec<&str> = line["top"].as_array().unwrap().iter().map(|g| g["class"].as_str().unwrap()).collect();
        assert!(CLASSES.iter().all(|class| classes.contains(class)), "{line}");
    }

    // What the folder was started with is in it: nothing needs to be said again, and nothing is done again.
    let resumed = run_line("run --resume --on-corrupt skip --out {}", &[&out]).ok();
    assert!(resumed.stderr.contains("deploy: done before"), "{resumed:#?}");
    assert_eq!(resumed.json(), report);
    let again = run(&["run", "--out", out.to_str().unwrap()]);
    assert_eq!(again.code, Some(2), "{again:#?}");
}
