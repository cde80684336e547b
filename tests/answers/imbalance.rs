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
