//! A latency predictor as a device: read from a profile, asked for subnets, searched with, and refused where it does not
//! belong.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_hw::{DeviceProfile, HwError, LatencyObjective, LatencySource, Objective, load};
use ofa_predictors::{EstimatorChoice, Fit, Pair, PredictorError, Target};
use ofa_space::{Arch, Opened, Population, SearchSpace, registry};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn random(space: &dyn SearchSpace, count: usize, seed: u64) -> Vec<Arch> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| space.sample(&Opened::EVERYTHING, &mut rng)).collect()
}

/// A predictor of what a roofline gives for subnets of `space`, as a file.
fn predictor(folder: &Path, space: &dyn SearchSpace, target: Target) -> PathBuf {
    let truth = load("raspberry-pi-4").unwrap();
    let value = |arch: &Arch| match target {
        Target::Latency => truth.subnet_latency_ms(space, arch).unwrap(),
        Target::Accuracy => 0.5,
    };
    let pairs: Vec<Pair> = random(space, 150, 0).into_iter().map(|arch| Pair { value: value(&arch), arch }).collect();
    let fit = Fit { estimator: EstimatorChoice::named("ridge").unwrap(), target, ..Fit::default() };
    let path = folder.join(format!("{target}.json"));
    fit.run(space, &pairs, &[]).unwrap().save(&path).unwrap();
    path
}

fn profile(folder: &Path, space: &str, file: &str) -> PathBuf {
    let path = folder.join("phone.toml");
    let text =
        format!("[device]\nkind = \"predictor\"\nname = \"phone\"\npredictor = \"{file}\"\nspace = \"{space}\"\n");
    std::fs::write(&path, text).unwrap();
    path
}

fn tiny() -> Arc<dyn SearchSpace> {
    registry::named("tiny-28").unwrap()
}

#[test]
fn subnets_are_predicted_and_networks_refused() {
    let folder = tempfile::tempdir().unwrap();
    let space = tiny();
    predictor(folder.path(), space.as_ref(), Target::Latency);
    let device = load(profile(folder.path(), "tiny-28", "latency.json").to_str().unwrap()).unwrap();
    assert_eq!(device.source(), LatencySource::Analytic);
    let truth = load("raspberry-pi-4").unwrap();
    let archs = random(space.as_ref(), 40, 9);
    let asked = |arch: &Arch| device.subnet_latency_ms(space.as_ref(), arch).unwrap();
    for arch in &archs {
        let expected = truth.subnet_latency_ms(space.as_ref(), arch).unwrap();
        assert!((asked(arch) / expected - 1.0).abs() < 0.15, "{} {expected}", asked(arch));
    }
    let net = space.resolve(&archs[0]).unwrap();
    let error = device.latency_ms(&net).unwrap_err();
    assert!(matches!(error, HwError::NeedsArch { .. }) && error.to_string().contains("`phone`"), "{error}");
    // As an objective it gives the same numbers, and slopes beside them.
    let objective = LatencyObjective::new(space.clone(), device.clone());
    let values = objective.evaluate(&archs).unwrap();
    for (arch, value) in archs.iter().zip(&values) {
        assert_eq!(*value, asked(arch));
    }
    let (mut rows, mut slopes) = (Vec::new(), Vec::new());
    objective.evaluate_rows(&Population::of(&archs), &mut rows).unwrap();
    assert_eq!(rows, values);
    assert!(objective.slopes(&Population::of(&archs), &mut slopes).unwrap());
}

#[test]
fn fewer_resolutions_and_other_classes_are_the_same_space() {
    let folder = tempfile::tempdir().unwrap();
    let space = tiny();
    predictor(folder.path(), space.as_ref(), Target::Latency);
    let device = load(profile(folder.path(), "tiny-28", "latency.json").to_str().unwrap()).unwrap();
    let arch = space.max_arch();
    let expected = device.subnet_latency_ms(space.as_ref(), &arch).unwrap();
    let narrow = registry::with_field(space.as_ref(), "resolutions", serde_json::json!([28])).unwrap();
    let classes = registry::with_classes(space.as_ref(), 3).unwrap();
    for same in [narrow, classes] {
        assert_eq!(device.subnet_latency_ms(same.as_ref(), &arch).unwrap(), expected);
        let objective = LatencyObjective::new(same, device.clone());
        assert_eq!(objective.evaluate(std::slice::from_ref(&arch)).unwrap(), [expected]);
    }
}

#[test]
fn what_was_fitted_for_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let space = tiny();
    predictor(folder.path(), space.as_ref(), Target::Latency);
    predictor(folder.path(), space.as_ref(), Target::Accuracy);
    let refused = |space: &str, file: &str| {
        DeviceProfile::load(&profile(folder.path(), space, file)).map(|_| ()).unwrap_err().to_string()
    };
    let error = refused("tiny-28", "accuracy.json");
    assert!(error.contains("accuracy.json") && error.contains("latency"), "{error}");
    let error = refused("cifar-32", "latency.json");
    assert!(error.contains("latency.json") && error.contains("`tiny-28`") && error.contains("`cifar-32`"), "{error}");
    assert!(refused("tiny-28", "absent.json").contains("absent.json"));
    assert!(refused("tiny-29", "latency.json").contains("did you mean `tiny-28`?"));
    assert!(refused("", "latency.json").contains("line 5, `device.space`"));
    // The right profile, asked for another space.
    let device = load(profile(folder.path(), "tiny-28", "latency.json").to_str().unwrap()).unwrap();
    let other = registry::named("cifar-32").unwrap();
    let error = device.subnet_latency_ms(other.as_ref(), &other.max_arch()).unwrap_err();
    assert!(matches!(error, HwError::OtherSpace { .. }), "{error}");
    let objective = LatencyObjective::new(other.clone(), device.clone());
    let error = objective.evaluate(&[other.max_arch()]).unwrap_err().to_string();
    assert!(error.contains("`phone`") && error.contains("`cifar-32`"), "{error}");
    // A resolution that no pair had.
    let unseen = space.max_arch().with_resolution(40);
    let error = device.subnet_latency_ms(space.as_ref(), &unseen).unwrap_err();
    assert!(matches!(error, HwError::Predictor(PredictorError::UnseenResolution { .. })), "{error}");
}

#[test]
fn files_are_found_from_the_profile_s_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    let text = "[space]\nkind = \"mbv3\"\nname = \"own\"\nresolutions = [24, 28]\n";
    let space_file = folder.path().join("files/own.toml");
    std::fs::write(&space_file, text).unwrap();
    let Ok(space) = registry::load(space_file.to_str().unwrap()) else { panic!("a space") };
    predictor(&folder.path().join("files"), space.as_ref(), Target::Latency);
    let path = profile(folder.path(), "files/own.toml", "files/latency.json");
    let loaded = DeviceProfile::load(&path).unwrap();
    assert!(loaded.device.subnet_latency_ms(space.as_ref(), &space.max_arch()).unwrap() > 0.0);
    // The paths stay as they were written.
    let copy = folder.path().join("copy.toml");
    loaded.save(&copy).unwrap();
    let text = std::fs::read_to_string(&copy).unwrap();
    assert!(text.contains("predictor = \"files/latency.json\""), "{text}");
    assert!(DeviceProfile::load(&copy).is_ok());
}
