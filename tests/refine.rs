//! `ofa refine` through the program itself: the pairs grow by what is measured, and everything repeats.
#![allow(clippy::unwrap_used, missing_docs)]

mod program;

use program::{run_line, train};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

const IMAGES: &str = "--calibration-images 64 --data bundled --model {}";

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn pairs_grow_round_by_round_and_everything_repeats() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "");
    let at = |name: &str| folder.path().join(name);
    let (model, pairs) = (at("run/supernet.safetensors"), at("pairs.jsonl"));
    run_line(&format!("collect --count 24 {IMAGES} -o {{}}"), &[&model, &pairs]).ok();
    let given = std::fs::read(&pairs).unwrap();

    let refine = |from: &Path, rounds: usize, output: &Path, options: &str| {
        let line = format!("refine {IMAGES} --pairs {{}} --rounds {rounds} --per-round 4 -o {{}} {options}");
        run_line(&format!("{line} --evaluations 400 --predictor ridge --device pixel4-cpu"), &[&model, from, output])
    };
    let report = refine(&pairs, 2, &at("one/predictor.json"), "").ok().json();
    let grown = at("one/pairs-refined.jsonl");
    assert_eq!(std::fs::read(&pairs).unwrap(), given, "the given pairs were changed");
    assert!(std::fs::read(&grown).unwrap().starts_with(&given));
    let all = lines(&grown);
    assert_eq!(all.len(), 24 + 2 * 4);
    let archs: HashSet<String> = all.iter().map(|pair| pair["arch"].to_string()).collect();
    assert_eq!(archs.len(), all.len(), "an arch was measured twice");
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    for (index, round) in rounds.iter().enumerate() {
        assert_eq!(round["round"], index + 1);
        assert_eq!(round["measured"], 4);
        assert_eq!(round["pairs"], 24 + 4 * (index + 1));
        assert!((0.0..1.0).contains(&round["mae"].as_f64().unwrap()), "{round}");
    }

    // A new pair is what `ofa eval` says of the arch on the same images.
    let last = all.last().unwrap();
    std::fs::write(at("arch.json"), last["arch"].to_string()).unwrap();
    let line = format!("eval --split validation {IMAGES} --arch {{}}");
    assert_eq!(run_line(&line, &[&model, &at("arch.json")]).ok().json()["top1"], last["top1"]);

    let line = "predict --space tiny-28 --predictor {} --arch min";
    let predicted = run_line(line, &[&at("one/predictor.json")]).ok().json();
    assert!(predicted["value"].as_f64().unwrap().is_finite());

    refine(&pairs, 2, &at("two/predictor.json"), "--threads 1").ok();
    assert_eq!(std::fs::read(at("two/pairs-refined.jsonl")).unwrap(), std::fs::read(&grown).unwrap());

    // One round after another is the same as both at once; the grown file is not overwritten by mistake.
    refine(&pairs, 1, &at("parts/predictor.json"), "").ok();
    let part = at("parts/pairs-refined.jsonl");
    let refused = refine(&pairs, 1, &at("parts/predictor.json"), "");
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("exists: go on from it"), "{refused:#?}");
    refine(&part, 1, &at("parts/predictor.json"), "").ok();
    assert_eq!(std::fs::read(&part).unwrap(), std::fs::read(&grown).unwrap());
}
