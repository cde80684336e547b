//! A collection in parts that are merged is that of one process, byte for byte; what is missing, doubled, damaged or of another
//! collection is refused.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

use program::{Outcome, run, run_line, train};
use std::path::{Path, PathBuf};

/// Collects on few images.
fn collect(folder: &Path, options: &str, output: &str) -> Outcome {
    let line =
        format!("collect --model {{}} --data bundled --calibration-images 64 --validation-images 60 {options} -o {{}}");
    run_line(&line, &[&folder.join("run/supernet.safetensors"), &folder.join(output)])
}

fn merge(folder: &Path, parts: &[PathBuf], output: &str) -> Outcome {
    let mut arguments = vec!["collect".into(), "--merge".into()];
    arguments.extend(parts.iter().map(|path| path.as_os_str().to_owned()));
    arguments.extend(["-o".into(), folder.join(output).into_os_string(), "--json".into()]);
    run(&arguments)
}

#[test]
fn eight_merged_parts_are_the_collection_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, "");
    let whole = collect(folder, "--count 34", "whole.jsonl").ok();
    let parts: Vec<PathBuf> = (1..=8)
        .map(|number| {
            let name = format!("part{number}.jsonl");
            collect(folder, &format!("--count 34 --part {number}/8"), &name).ok();
            folder.join(name)
        })
        .collect();
    // In any order.
    let mut shuffled = parts.clone();
    shuffled.rotate_left(3);
    let merged = merge(folder, &shuffled, "merged.jsonl").ok();
    assert_eq!(merged.stdout, whole.stdout);
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert!(bytes("merged.jsonl") == bytes("whole.jsonl"));

    let refused = |parts: &[PathBuf], expected: &str| {
        let refused = merge(folder, parts, "refused.jsonl");
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains(expected), "{refused:#?}");
        assert!(!folder.join("refused.jsonl").exists());
    };
    refused(&parts[1..], "these are missing: 1");
    refused(&[&parts[..], &parts[..1]].concat(), "part 1 is there twice");
    refused(&[folder.join("whole.jsonl")], "is not a finished part");
    collect(folder, "--count 34 --seed 1 --part 2/8", "other.jsonl").ok();
    let with = |path: PathBuf| [&parts[..1], &[path], &parts[2..]].concat();
    refused(&with(folder.join("other.jsonl")), "`seed` was 0, is 1");
    let cut = folder.join("cut.jsonl");
    let text = std::fs::read_to_string(&parts[1]).unwrap();
    std::fs::write(&cut, text.lines().next().unwrap()).unwrap();
    refused(&with(cut), "is damaged");
    let again = merge(folder, &parts, "merged.jsonl");
    assert!(again.code == Some(2) && again.stderr.contains("exists"), "{again:#?}");

    // A part that is there is not measured again, and is a pairs file like any other.
    let resumed = collect(folder, "--count 34 --part 2/8 --resume", "part2.jsonl").ok();
    assert!(resumed.stderr.contains("nothing left to do"), "{resumed:#?}");
    assert_eq!(std::fs::read_to_string(&parts[1]).unwrap(), text);
    let fit = "fit --space tiny-28 --predictor ridge --pairs {} --holdout 0.25 -o {}";
    run_line(fit, &[&parts[0], &folder.join("predictor.json")]);

    let many = collect(folder, "--count 10 --part 1/8", "many.jsonl");
    assert!(many.code == Some(2) && many.stderr.contains("3 parts at most"), "{many:#?}");
}
