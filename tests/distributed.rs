//! What the command line says about working on several processes, in a program that was built without MPI.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

use program::{TRAINING, run_line};

#[test]
fn a_way_that_is_not_there_is_refused_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("training.toml"), folder.path().join("run"));
    std::fs::write(&config, TRAINING).unwrap();
    let expected = if cfg!(feature = "mpi") { "there is no communicator" } else { "--features mpi" };
    let kind = if cfg!(feature = "mpi") { "mpy" } else { "mpi" };
    let refused = run_line(&format!("train {{}} --out {{}} --distributed {kind}"), &[&config, &out]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains(expected), "{refused:#?}");
    assert!(!out.exists());
}

#[test]
fn one_rank_is_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("training.toml");
    std::fs::write(&config, TRAINING).unwrap();
    let [alone, single] = ["", "--distributed single"].map(|options| {
        let out = folder.path().join(format!("run{}", options.len()));
        run_line(&format!("train {{}} --out {{}} {options}"), &[&config, &out]).ok();
        std::fs::read(out.join("supernet.safetensors")).unwrap()
    });
    assert!(alone == single);
}
