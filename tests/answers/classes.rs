//! Item 1: classes are compared by name, wherever a network meets data.

use crate::fruit::{FRUIT, folder, photos, supernet, top1, trained};
use crate::program::{Outcome, run_line};
use std::path::Path;

fn eval(data: &Path, options: &str) -> Outcome {
    run_line(&format!("eval --model {{}} --arch max --split train --data {{}} {options}"), &[&supernet(), data])
}

/// A failure with exit code 2 whose message holds all of these.
fn refused(outcome: Outcome, parts: &[&str]) {
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    for part in parts {
        assert!(outcome.stderr.contains(part), "`{part}` is missing: {}", outcome.stderr);
    }
}

#[test]
fn a_folder_in_other_letters_is_scored_like_the_original() {
    assert_eq!(top1(eval(&trained().join("photos"), "")), 1.0);
    let scratch = tempfile::tempdir().unwrap();
    let renamed = folder(scratch.path(), ["apple", "pear", "Plum"], 20);
    let outcome = eval(&renamed, "").ok();
    assert!(outcome.stderr.contains("`Plum` is `plum`"), "{}", outcome.stderr);
    assert_eq!(top1(outcome), 1.0);
    // By position, `Plum` comes first: every label is wrong.
    assert_eq!(top1(eval(&renamed, "--classes-by-position")), 0.0);
}

#[test]
fn a_class_that_the_data_lack_is_reported_and_one_that_the_network_lacks_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let fewer = scratch.path().join("fewer");
    photos(&fewer.join("apple"), FRUIT[0].1, 20);
    photos(&fewer.join("plum"), FRUIT[2].1, 20);
    let outcome = eval(&fewer, "").ok();
    assert!(outcome.stderr.contains("`pear`"), "{}", outcome.stderr);
    // Labels are the network's, so plums are its third class, and no image is a pear.
    let report = outcome.json();
    assert_eq!(
        (&report["per_class"][1]["images"], &report["per_class"][2]["recall"]),
        (&0.into(), &1.0.into()),
        "{report}"
    );
    let others = folder(&scratch.path().join("others"), ["apple", "pear", "plumm"], 20);
    refused(eval(&others, ""), &["`plumm`", "nearest class is `plum`", "--class-map"]);
    let twice = folder(&scratch.path().join("twice"), ["Apple", "aPple", "plum"], 20);
    refused(eval(&twice, ""), &["`Apple`", "`aPple`", "`apple`"]);
}

#[test]
fn a_map_names_the_rest() {
    let scratch = tempfile::tempdir().unwrap();
    let german = folder(&scratch.path().join("photos"), ["Apfel", "Birne", "plum"], 20);
    let map = scratch.path().join("map.csv");
    std::fs::write(&map, "theirs,ours\nBirne,pear\nApfel,apple\n").unwrap();
    let command = "eval --model {} --arch max --split train --data {} --class-map {}";
    assert_eq!(top1(run_line(command, &[&supernet(), &german, &map])), 1.0);
    std::fs::write(&map, "Birne,peer\nApfel,apple\n").unwrap();
    refused(run_line(command, &[&supernet(), &german, &map]), &["line 1", "`peer`", "`pear`"]);
}

#[test]
fn every_command_that_reads_data_for_a_network_compares_names() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let renamed = folder(&path("renamed"), ["apple", "pear", "Plum"], 20);
    let others = folder(&path("others"), ["dog", "cat", "horse"], 20);
    let (net, onnx) = (path("net.safetensors"), path("net.onnx"));
    let model = supernet();
    let extract = "extract --model {} --arch max -o {} --calibrate {}";
    run_line(extract, &[&model, &net, &trained().join("photos")]).ok();
    let export = "export --model {} -o {} --int8 --calibrate {}";
    run_line("export --model {} -o {}", &[&net, &onnx]).ok();

    let scored = "eval --onnx {} --split train --data {}";
    assert_eq!(top1(run_line(scored, &[&onnx, &renamed])), 1.0);
    let collect = "collect --model {} --count 2 --calibration-images 20 -o {} --data {}";
    let pairs = path("pairs.jsonl");
    for line in run_line(collect, &[&model, &pairs, &renamed]).ok().lines() {
        assert!(line["top1"].as_f64().unwrap() > 0.9, "{line}");
    }
    let finetune = "finetune --model {} -o {} --epochs 1 --learning-rate 0.001 --data {}";
    let tuned = run_line(finetune, &[&net, &path("tuned.safetensors"), &renamed]).ok().json();
    assert!(tuned["top1_before"].as_f64().unwrap() > 0.9, "{tuned}");

    let refused_by = |line: &str, paths: &[&Path]| refused(run_line(line, paths), &["`cat`", "nearest"]);
    refused_by(scored, &[&onnx, &others]);
    refused_by(collect, &[&model, &path("p.jsonl"), &others]);
    refused_by(finetune, &[&net, &path("t.safetensors"), &others]);
    refused_by(extract, &[&model, &path("n.safetensors"), &others]);
    refused_by(export, &[&net, &path("n.onnx"), &others]);
    refused_by("refine --model {} -o {} --pairs {} --data {}", &[&model, &path("p.json"), &pairs, &others]);
    // What follows is up to the user: these are other classes, taken for the network's.
    run_line(&format!("{scored} --classes-by-position"), &[&onnx, &others]).ok();
}

#[test]
fn numbered_classes_go_on_as_before() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("run/supernet.safetensors");
    crate::program::train(scratch.path(), "");
    run_line("eval --model {} --arch max --data bundled --limit 20 --calibrate-images 20", &[&model]).ok();
}
