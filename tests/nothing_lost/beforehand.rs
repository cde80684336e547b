//! What can be found before the work is found before it.

use crate::small_run::{DEVICE, SmallRun};
use crate::workplace::Workplace;
use std::collections::BTreeSet;
use std::process::Command;

/// Neither data nor output are there; the output is looked at first, since nothing is read before it.
#[test]
fn an_output_that_cannot_be_is_found_before_the_work() {
    let place = Workplace::new();
    std::fs::write(place.at("training.toml"), crate::program::TRAINING).unwrap();
    let long = "n".repeat(250);
    for output in ["absent/x", "training.toml/x", ".", &"n".repeat(300), &long] {
        for line in [
            "finetune --model net.safetensors --data nowhere --output",
            "collect --model supernet.safetensors --data nowhere --count 2 --output",
        ] {
            let before = place.content();
            let outcome = place.line(&format!("{line} {output}"));
            assert!(matches!(outcome.code, Some(1 | 2)), "{outcome:#?}");
            assert!(outcome.stderr.contains(output) && !outcome.stderr.contains("nowhere"), "{line}: {outcome:#?}");
            assert!(place.content() == before && !place.at("absent").exists());
        }
    }
}

#[test]
fn devices_of_any_name_have_files_of_their_own() {
    let run = SmallRun::prepared();
    let (a, b) = ("a".repeat(140), "b".repeat(140));
    let devices = [format!("{a}/{b}.toml"), "pi/4.toml".to_owned(), "pi_4.toml".to_owned()];
    let mut entries = String::new();
    for device in &devices {
        let path = run.root().join(device);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, DEVICE).unwrap();
        entries += &format!("[[search.devices]]\ndevice = \"{device}\"\nlimits = 1\n\n");
    }
    run.configure(|text| {
        let (before, rest) = text.split_once("[[search.devices]]").unwrap();
        format!("{before}{entries}[deploy]{}", rest.split_once("[deploy]").unwrap().1)
    });
    run.start(&[]).ok();
    let files: BTreeSet<String> = run.listed().into_iter().collect();
    assert_eq!(files.len(), 2 * devices.len(), "{files:?}");
    assert!(files.iter().all(|file| run.at(file).is_file()));
    let plots = std::fs::read_dir(run.at("plots")).unwrap().map(|entry| entry.unwrap().file_name());
    let fronts = plots.filter(|name| name.to_string_lossy().starts_with("front-"));
    assert_eq!(fronts.count(), devices.len());
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_without_room_for_the_checkpoints_is_found_before_training() {
    let place = Workplace::new();
    std::fs::create_dir(place.at("disk")).unwrap();
    std::fs::write(place.at("training.toml"), crate::program::TRAINING).unwrap();
    // Room for one checkpoint, not for those that are kept. The file system is seen by this shell only, and goes with it.
    let script = "mount -t tmpfs -o size=1m tmpfs disk || exit 77; \"$@\"; code=$?; ls -A disk/run; exit $code";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(crate::program::program::<&str>(&[]).get_program())
        .args(["train", "training.toml", "--out", "disk/run"])
        .current_dir(place.root())
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(77) && !output.stderr.starts_with(b"unshare:") => output,
        _ => {
            eprintln!("skipped: no file system can be mounted here");
            return;
        }
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("checkpoints") && err.contains("MB"), "{err}");
    assert!(out.lines().all(|name| name == ".lock"), "training had begun: {out}{err}");
}
