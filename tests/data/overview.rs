//! `ofa data`: what a folder holds, without training.

use crate::pictures::write;
use crate::program::{run, run_line};
use serde_json::json;

#[test]
fn a_folder_is_described_in_the_words_of_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("photos");
    for (class, first) in [("ja", 0), ("nein", 1000)] {
        write(&data.join("train").join(class), first..first + 40);
        write(&data.join("val").join(class), first + 500..first + 505);
        write(&data.join("test").join(class), first + 600..first + 607);
    }
    std::fs::copy(data.join("train/ja/0000.png"), data.join("test/ja/again.png")).unwrap();
    std::fs::write(data.join("train/ja/photo.heic"), "").unwrap();
    std::fs::write(data.join("train/ja/broken.jpg"), "").unwrap();
    let described = run_line("data {}", &[&data]).ok().json();
    let mut keys: Vec<&str> = described.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["classes", "duplicates", "layout", "recipe", "skipped"]);
    assert_eq!(
        described["classes"],
        json!([
            {"name": "ja", "train": 40, "val": 5, "test": 8},
            {"name": "nein", "train": 40, "val": 5, "test": 7},
        ])
    );
    assert_eq!(described["duplicates"], 1);
    let mut skipped = described["skipped"].as_array().unwrap().clone();
    skipped.sort_by_key(|kind| kind["kind"].to_string());
    assert_eq!(skipped, [json!({"kind": "corrupt", "files": 1}), json!({"kind": "heic", "files": 1})]);
    assert!(described["layout"].as_str().unwrap().contains("folder"), "{described}");
    assert!(described["recipe"].as_str().unwrap().contains("tiny-28"), "{described}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was written");

    let told = run(&["data", data.to_str().unwrap(), "-v"]).ok().stdout;
    for words in ["28 × 28", "broken.jpg", "photo.heic", "nein", "1 images are copies", "warning: 1 images are in more"]
    {
        assert!(told.contains(words), "`{words}` is missing: {told}");
    }
    let refused = run_line("data {}", &[&folder.path().join("nowhere")]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
}

#[test]
fn the_digits_inside_the_program_are_described_too() {
    let described = run_line("data bundled", &[]).ok().json();
    assert_eq!(described["layout"], "IDX");
    let classes = described["classes"].as_array().unwrap();
    let sum = |part: &str| classes.iter().map(|class| class[part].as_u64().unwrap()).sum::<u64>();
    assert_eq!((classes.len(), sum("train"), sum("val"), sum("test")), (10, 18_000, 2_000, 10_000));
}
