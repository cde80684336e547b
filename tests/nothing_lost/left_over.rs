//! What killed processes leave: temporary files go at the next start, and what is in the place of unfinished work is not followed.

use crate::small_run::SmallRun;
use crate::workplace::Workplace;
use std::fs::File;
use std::os::unix::fs::symlink;

const COLLECT: &str = "collect --model supernet.safetensors --data bundled --count 2 --output collected.jsonl --resume \
                       --calibration-images 20 --validation-images 20";

#[test]
fn a_collection_does_not_go_on_through_a_link() {
    let place = Workplace::new();
    for (target, content) in [("empty", ""), ("mine", "precious"), ("other.jsonl", "")] {
        std::fs::write(place.at(target), content).unwrap();
        for part in ["collected.jsonl.part", "collected.jsonl.part.key"] {
            symlink(target, place.at(part)).unwrap();
            place.assert_refused(COLLECT, &[part]);
            std::fs::remove_file(place.at(part)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(place.at(target)).unwrap(), content);
    }
    // Nor does it wait for a pipe.
    let made = std::process::Command::new("mkfifo").arg(place.at("collected.jsonl.part")).status().unwrap();
    assert!(made.success());
    place.assert_refused_or_failed(COLLECT, "collected.jsonl.part");
}

impl Workplace {
    #[track_caller]
    fn assert_refused_or_failed(&self, line: &str, word: &str) {
        let outcome = self.line(line);
        assert!(matches!(outcome.code, Some(1 | 2)), "{outcome:#?}");
        assert!(outcome.stderr.contains(word), "{outcome:#?}");
    }
}

#[test]
fn half_written_files_of_a_killed_process_go_and_those_in_use_stay() {
    let place = Workplace::new();
    let (left, in_use) = (place.at(".ofa-AbCdEf0123.tmp"), place.at(".ofa-ZyXwVu9876.tmp"));
    let others = [".tmpAbCdEf", ".ofa-notes.tmp", "x.ofa-AbCdEf0123.tmp"].map(|name| place.at(name));
    for path in others.iter().chain([&left, &in_use]) {
        std::fs::write(path, "half").unwrap();
    }
    let lock = File::open(&in_use).unwrap();
    lock.lock().unwrap();
    place.line("extract --model supernet.safetensors --arch min --output small.safetensors").ok();
    assert!(!left.exists(), "the half-written file is still there");
    assert!(in_use.exists(), "a file was removed while it was written");
    assert!(others.iter().all(|path| path.exists()), "a file of somebody else's was removed");
}

#[test]
fn a_run_that_goes_on_removes_half_written_files_of_every_version() {
    let run = SmallRun::finished();
    let places = ["", "nets/", "plots/", "work/", "work/train/"];
    let left: Vec<_> = places
        .iter()
        .flat_map(|folder| [".ofa-AbCdEf0123.tmp", ".tmpA1b2C3"].map(|name| run.out().join(folder).join(name)))
        .filter(|path| path.parent().unwrap().is_dir())
        .collect();
    left.iter().for_each(|path| std::fs::write(path, "half").unwrap());
    run.resume(&[]).ok();
    let still: Vec<_> = left.iter().filter(|path| path.exists()).collect();
    assert!(still.is_empty(), "{still:?}");
}
