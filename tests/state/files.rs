//! Files of a run that are lost or damaged are noticed and made again from what there is.

use crate::small_run::{SmallRun, assert_redone, assert_refused};
use std::path::Path;

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

#[test]
fn every_kind_of_file_is_made_again() {
    let whole = SmallRun::finished();
    let (results, nets) = (whole.results(), whole.nets());
    let net = |extension: &str| {
        let listed = whole.listed();
        let name = listed.iter().find(|file| file.contains("toy") && file.ends_with(extension)).unwrap();
        name.clone()
    };
    let damages: [fn(&Path); 3] = [remove, truncate, flip];
    for (file, step) in [
        ("train/supernet.safetensors".to_owned(), "train"),
        ("train.json".to_owned(), "train"),
        ("pairs.jsonl".to_owned(), "collect"),
        ("predictor.json".to_owned(), "fit"),
        ("search.json".to_owned(), "search"),
        (net(".safetensors"), "deploy"),
        (net(".onnx"), "deploy"),
    ] {
        for damage in damages {
            let run = SmallRun::finished();
            damage(&run.at(&file));
            let resumed = run.resume(&[]).ok();
            let steps = ["train", "collect", "fit", "search", "deploy"];
            let kept: Vec<&str> = steps.into_iter().filter(|known| *known != step).collect();
            assert_redone(&resumed, &kept, &[step]);
            assert!(resumed.stderr.contains(&file) && resumed.stderr.contains("made again"), "{resumed:#?}");
            assert_eq!(run.results(), results, "{file}");
            assert_eq!(run.nets(), nets, "{file}");
        }
    }
}

#[test]
fn a_supernet_without_a_checkpoint_is_not_trained_again_silently() {
    let run = SmallRun::finished();
    for checkpoint in ["train/checkpoint.ofa", "train/checkpoint.1.ofa"] {
        remove(&run.at(checkpoint));
    }
    assert_redone(&run.resume(&[]).ok(), &["train", "collect", "fit", "search", "deploy"], &[]);
    flip(&run.at("train/supernet.safetensors"));
    assert_refused(&run.resume(&[]), &["supernet.safetensors", "no checkpoint", "--retrain"]);
    run.resume(&["--retrain"]).ok();
    assert_eq!(run.results(), SmallRun::finished().results());
    assert!(run.at("train-aside-1/supernet.safetensors").exists());
}

#[test]
fn the_folder_of_networks_holds_what_the_report_lists() {
    let run = SmallRun::finished();
    let held = |run: &SmallRun| {
        let names = std::fs::read_dir(run.at("nets")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| format!("nets/{}", name.to_str().unwrap())).collect();
        names.sort();
        names
    };
    assert_eq!(held(&run), run.listed());
    // Of other limits nothing is left; what is not the run's own is kept elsewhere.
    std::fs::write(run.at("nets/mine.onnx"), "mine").unwrap();
    let before = run.listed();
    run.configure(|text| text.replace("limits = 2", "limits = 1"));
    run.start(&["--resume"]).ok();
    assert_eq!(held(&run), run.listed());
    assert!(run.listed().len() < before.len());
    assert_eq!(std::fs::read_to_string(run.at("nets-aside-1/mine.onnx")).unwrap(), "mine");
    std::fs::write(run.at("nets/another.onnx"), "another").unwrap();
    let resumed = run.resume(&[]).ok();
    assert!(resumed.stderr.contains("nets-aside-2"), "{resumed:#?}");
    assert_eq!(held(&run), run.listed());
}
