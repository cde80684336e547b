//! The plan of a run is the user's.

use crate::small_run::SmallRun;
use crate::workplace::run_in;

#[test]
fn going_on_without_a_plan_starts_nothing_and_removes_nothing() {
    let run = SmallRun::finished();
    std::fs::remove_file(run.at("pipeline.toml")).unwrap();
    let checkpoint = std::fs::read(run.at("train/checkpoint.ofa")).unwrap();
    let outcome = run_in(run.root(), &["run", "--out", "run", "--resume"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("pipeline.toml"), "{outcome:#?}");
    assert!(std::fs::read(run.at("train/checkpoint.ofa")).unwrap() == checkpoint);
    assert!(!run.at("pipeline.toml").exists());
}

#[test]
fn edits_and_comments_stay_when_the_data_are_named_again() {
    let run = SmallRun::finished();
    let plan = run.at("pipeline.toml");
    let text = std::fs::read_to_string(&plan).unwrap();
    assert!(text.contains("evaluations = 60"), "{text}");
    let edited = format!("# a note of mine\n{}", text.replace("evaluations = 60", "evaluations = 70"));
    std::fs::write(&plan, &edited).unwrap();
    let outcome = run_in(run.root(), &["run", "--data", "photos", "--out", "run", "--resume"]).ok();
    assert!(!outcome.stderr.contains("search: done before"), "{outcome:#?}");
    assert_eq!(std::fs::read_to_string(&plan).unwrap(), edited);
}

#[test]
fn a_run_that_fails_leaves_the_plan() {
    let run = SmallRun::finished();
    let plan = run.at("pipeline.toml");
    let edited = std::fs::read_to_string(&plan).unwrap() + "\n# a note of mine\n";
    std::fs::write(&plan, &edited).unwrap();
    for options in [
        ["--device", "no such device"],
        ["--data", "no such folder"],
        ["--max-macs", "1"],
        ["--backend", "no such backend"],
    ] {
        let outcome = run_in(run.root(), &[["run", "--out", "run", "--resume"].as_slice(), &options].concat());
        assert_ne!(outcome.code, Some(0), "{outcome:#?}");
        assert_eq!(std::fs::read_to_string(&plan).unwrap(), edited, "{options:?}");
    }
}
