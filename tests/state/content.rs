//! Steps depend on images and files by their content, not by where they are or what they are called.

use crate::small_run::{CLASSES, SmallRun, assert_redone, assert_refused, copy_folder, draw};

const STEPS: [&str; 5] = ["train", "collect", "fit", "search", "deploy"];

#[test]
fn replaced_test_images_are_scored_anew_and_nothing_else_is() {
    let run = SmallRun::finished();
    // The images of two classes change places.
    let at = |name: &str| run.data().join("test").join(name);
    std::fs::rename(at("apple"), at("held")).unwrap();
    std::fs::rename(at("plum"), at("apple")).unwrap();
    std::fs::rename(at("held"), at("plum")).unwrap();
    let resumed = run.resume(&[]).ok();
    assert_redone(&resumed, &["train", "collect", "fit", "search"], &["deploy"]);
    assert!(resumed.stderr.contains("data.test_images"), "{resumed:#?}");
    // As if the run had been made with these images.
    let fresh = SmallRun::prepared();
    std::fs::remove_dir_all(fresh.data()).unwrap();
    copy_folder(&run.data(), &fresh.data());
    fresh.start(&[]).ok();
    assert_eq!(run.results(), fresh.results());
    assert_eq!(run.nets(), fresh.nets());
}

#[test]
fn an_edited_device_profile_is_searched_for_anew() {
    let run = SmallRun::finished();
    let latency = |run: &SmallRun| run.results()["cases"][2]["latency_ms"].as_f64().unwrap();
    let before = latency(&run);
    let edited = std::fs::read_to_string(run.device()).unwrap().replace("peak_gmacs = 0.5", "peak_gmacs = 0.05");
    std::fs::write(run.device(), edited).unwrap();
    let resumed = run.resume(&[]).ok();
    assert_redone(&resumed, &["train", "collect", "fit"], &["search", "deploy"]);
    assert!(resumed.stderr.contains("search.devices[1].content"), "{resumed:#?}");
    assert!(latency(&run) > 2.0 * before, "{} after {before}", latency(&run));
}

#[test]
fn a_renamed_class_and_other_training_or_validation_images_are_noticed() {
    for (change, words) in [
        ("class", &["data.classes", "plum", "Plum"][..]),
        ("train", &["data.training_images"]),
        ("val", &["data.validation_images"]),
    ] {
        let run = SmallRun::finished();
        let supernet = std::fs::read(run.at("train/supernet.safetensors")).unwrap();
        match change {
            "class" => {
                for part in ["train", "val", "test"] {
                    let of = |name: &str| run.data().join(part).join(name);
                    std::fs::rename(of("plum"), of("Plum")).unwrap();
                    // The order of the classes stays.
                    std::fs::rename(of("apple"), of("Apple")).unwrap();
                    std::fs::rename(of("pear"), of("Pear")).unwrap();
                }
            }
            part => draw(&run.data().join(part).join("pear/00.png"), 1, 9999),
        }
        let refused = run.resume(&[]);
        assert_refused(&refused, words);
        assert_refused(&refused, &["--retrain", "Undo the change"]);
        assert_eq!(std::fs::read(run.at("train/supernet.safetensors")).unwrap(), supernet);
    }
}

#[test]
fn where_the_data_are_does_not_matter() {
    let run = SmallRun::finished();
    let before = (run.results(), run.nets());
    let photos = run.data();
    let absolute = photos.to_str().unwrap().to_owned();
    let renamed = run.root().join("pictures of fruit");
    for data in [absolute.clone() + "/", "./photos/../photos".to_owned(), absolute, "photos/".to_owned()] {
        assert_redone(&run.resume(&["--data", &data]).ok(), &STEPS, &[]);
    }
    std::fs::rename(&photos, &renamed).unwrap();
    assert_refused(&run.resume(&[]), &["photos", "does not exist"]);
    let resumed = run.resume(&["--data", renamed.to_str().unwrap()]).ok();
    assert_redone(&resumed, &STEPS, &[]);
    assert_eq!((run.results(), run.nets()), before);
    // And from then on the folder is found where it is.
    assert_redone(&run.resume(&[]).ok(), &STEPS, &[]);
}

#[test]
fn an_image_that_keeps_its_size_and_time_is_found_by_reading_all() {
    let run = SmallRun::finished();
    assert_redone(&run.resume(&["--verify-data"]).ok(), &STEPS, &[]);
    let image = run.data().join("test/pear/01.png");
    let changed = std::fs::metadata(&image).unwrap().modified().unwrap();
    let bytes = std::fs::read(&image).unwrap();
    // What follows the end of a PNG is not part of the picture.
    std::fs::write(&image, [&bytes[..], b"1"].concat()).unwrap();
    assert_redone(&run.resume(&[]).ok(), &["train", "collect", "fit", "search"], &["deploy"]);
    std::fs::write(&image, [&bytes[..], b"2"].concat()).unwrap();
    std::fs::File::options().write(true).open(&image).unwrap().set_modified(changed).unwrap();
    assert_redone(&run.resume(&["--verify-data"]).ok(), &["train", "collect", "fit", "search"], &["deploy"]);
}

#[test]
fn a_plan_is_not_made_anew_for_a_run_that_has_one() {
    let run = SmallRun::finished();
    let plan = std::fs::read(run.at("pipeline.toml")).unwrap();
    // One more test image: a new plan would have another schedule, the old one has not.
    draw(&run.data().join("test").join(CLASSES[0]).join("99.png"), 0, 4321);
    let resumed = run.resume(&["--data", "photos"]).ok();
    assert_redone(&resumed, &["train", "collect", "fit", "search"], &["deploy"]);
    assert_eq!(std::fs::read(run.at("pipeline.toml")).unwrap(), plan);
    assert_redone(&run.resume(&["--data", "photos", "--from", "scratch"]).ok(), &STEPS, &[]);
    let other_start = run.resume(&["--data", "photos", "--from", "mcunet"]);
    assert_refused(&other_start, &["started from something else", "--from"]);
}
