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

/// A run that was killed before it had written its plan, and was resumed, became the quickstart.
#[test]
fn an_empty_folder_is_not_resumed_without_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    for out in ["empty", "absent"] {
        let outcome = run_in(folder.path(), &["run", "--out", out, "--resume"]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(outcome.stderr.contains("holds no run to resume"), "{outcome:#?}");
    }
    assert_eq!(std::fs::read_dir(folder.path().join("empty")).unwrap().count(), 0);
    assert!(!folder.path().join("absent").exists());
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

#[test]
fn a_run_that_was_killed_right_after_it_began_goes_on() {
    let run = SmallRun::finished();
    let again = SmallRun::finished();
    // What is there before the first file of the training: the plan, the parts of the data and the lock.
    for entry in std::fs::read_dir(run.out()).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        match (["pipeline.toml", "split.csv", ".lock"].contains(&name.as_str()), entry.path().is_dir()) {
            (true, _) => {}
            (false, true) => std::fs::remove_dir_all(entry.path()).unwrap(),
            (false, false) => std::fs::remove_file(entry.path()).unwrap(),
        }
    }
    assert!(run.at("split.csv").exists());
    run.resume(&[]).ok();
    assert_eq!(run.nets(), again.nets());
}
