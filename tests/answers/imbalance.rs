//! Item 16: what an accuracy over all images hides.

use crate::fruit::{FRUIT, photos, supernet, trained};
use crate::program::run_line;

#[test]
fn missed_classes_show_in_the_balanced_accuracy() {
    let scratch = tempfile::tempdir().unwrap();
    // 45 apples, and three plums that look like apples: every one is missed.
    let (data, net) = (scratch.path().join("photos"), scratch.path().join("net.safetensors"));
    photos(&data.join("apple"), FRUIT[0].1, 45);
    photos(&data.join("plum"), [205, 45, 38], 3);
    let cut = "extract --model {} --arch max -o {} --calibrate {}";
    run_line(cut, &[&supernet(), &net, &trained().join("photos")]).ok();
    let report = run_line("eval --model {} --split train --data {}", &[&net, &data]).ok().json();
    let (images, top1) = (report["images"].as_u64().unwrap(), report["top1"].as_f64().unwrap());
    assert!(top1 > 0.9, "{report}");
    assert_eq!(report["balanced_accuracy"], 0.5, "{report}");
    let classes = report["per_class"].as_array().unwrap();
    let named: Vec<&str> = classes.iter().map(|class| class["class"].as_str().unwrap()).collect();
    assert_eq!(named, ["apple", "pear", "plum"]);
    assert_eq!((&classes[0]["recall"], &classes[2]["recall"]), (&1.0.into(), &0.0.into()), "{report}");
    assert!(classes[1]["recall"].is_null() && classes[2]["precision"].is_null(), "{report}");
    assert_eq!(classes.iter().map(|class| class["images"].as_u64().unwrap()).sum::<u64>(), images);
    let plums = classes[2]["images"].as_u64().unwrap();
    assert!((classes[0]["precision"].as_f64().unwrap() - (images - plums) as f64 / images as f64).abs() < 1e-12);
    assert_eq!(report["confusion"][2][0].as_u64(), Some(plums), "{report}");
    assert_eq!(report["confusion"][0][0].as_u64(), Some(images - plums), "{report}");
}

#[test]
fn fine_tuning_may_show_every_class_equally_often() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, net) = (scratch.path().join("photos"), scratch.path().join("net.safetensors"));
    // Plums that look like apples, and few of them; pears are missing.
    photos(&data.join("apple"), FRUIT[0].1, 60);
    photos(&data.join("plum"), [200, 60, 90], 6);
    run_line("extract --model {} --arch max -o {} --calibrate {}", &[&supernet(), &net, &trained().join("photos")])
        .ok();
    let recall = |options: &str| {
        let tuned = scratch.path().join("tuned.safetensors");
        let line = format!("finetune --model {{}} -o {{}} --data {{}} --epochs 6 --batch-size 8 {options}");
        run_line(&line, &[&net, &tuned, &data]).ok();
        let report = run_line("eval --split train --model {} --data {}", &[&tuned, &data]).ok().json();
        println!("{options}: {report}");
        (report["per_class"][2]["recall"].as_f64().unwrap(), std::fs::read(&tuned).unwrap())
    };
    let (plain, balanced) = (recall(""), recall("--balanced"));
    assert!(balanced.0 >= plain.0 && balanced.0 > 0.7, "{} {}", balanced.0, plain.0);
    assert_ne!(plain.1, balanced.1);
}
