//! Outputs appear together or not at all.

use crate::workplace::Workplace;

#[test]
fn an_export_that_fails_leaves_the_file_before_it() {
    let place = Workplace::new();
    std::fs::write(place.at("net.onnx"), "old").unwrap();
    std::fs::create_dir(place.at("folder.json")).unwrap();
    for more in [
        "--labels absent/labels.txt",
        "--netspec absent/net.json",
        "--netspec folder.json",
        "--labels new.txt --netspec absent/net.json",
        // The runtime does not know so old an operator set, or the file is not opened.
        "--verify --runtime nonsense",
    ] {
        let before = place.content();
        let outcome = place.line(&format!("export --model net.safetensors --output net.onnx {more}"));
        assert_ne!(outcome.code, Some(0), "{more}: {outcome:#?}");
        assert!(place.content() == before, "{more} left something: {outcome:#?}");
    }
}

#[test]
fn a_fit_whose_curve_fails_leaves_the_predictor_before_it() {
    let place = Workplace::new();
    let line =
        "fit --pairs pairs.jsonl --space tiny-28 --predictor ridge --output predictor.json --holdout 0 --curve 5";
    place.assert_refused(line, &["--curve"]);
}

#[test]
fn a_file_that_cannot_be_renamed_takes_back_those_before_it() {
    let place = Workplace::new();
    let line = "export --model net.safetensors --output new.onnx --labels new.txt --netspec new.json";
    place.line(line).ok();
    let names: Vec<String> = place.content().into_keys().filter(|name| name.starts_with("new")).collect();
    assert_eq!(names, ["new.json", "new.onnx", "new.safetensors", "new.txt"]);
    assert!(place.content().keys().all(|name| !name.starts_with('.')));
}
