//! Item 14: no impossible numbers, and doubts where they are due.

use crate::program::{Outcome, run, run_line};
use ofa::space::{Opened, cost, registry};
use rand::SeedableRng;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::OnceLock;
use tempfile::TempDir;

/// Pairs of `count` random subnets of tiny-28 with made-up accuracies of their share of the largest's MACs.
fn pairs(count: usize, accuracy: impl Fn(f64) -> f64, largest_share: f64) -> Vec<Value> {
    let space = registry::named("tiny-28").unwrap();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let macs = |arch: &ofa::space::Arch| cost::macs(&space.resolve(arch).unwrap()) as f64;
    let most = macs(&space.max_arch());
    let mut lines = Vec::new();
    while lines.len() < count {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        let share = macs(&arch) / most;
        if share <= largest_share {
            lines.push(json!({ "arch": space.format(&arch), "top1": accuracy(share) }));
        }
    }
    lines
}

fn folder() -> &'static TempDir {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, lines: Vec<Value>| {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("plain.jsonl", pairs(150, |share| 0.5 + 0.4 * share, 1.0));
        // Only small subnets were measured, and accuracy rises steeply with size.
        write("steep.jsonl", pairs(150, |share| 0.3 + 1.2 * share, 0.5));
        write("same.jsonl", pairs(40, |_| 1.0, 1.0));
        write("few.jsonl", pairs(30, |share| 0.5 + 0.4 * share, 1.0));
        folder
    })
}

fn fit(name: &str, json: bool) -> Outcome {
    let at = |name: &str| folder().path().join(name).to_str().unwrap().to_owned();
    let (from, to) = (at(&format!("{name}.jsonl")), at(&format!("{name}.json")));
    let mut arguments = vec!["fit", "--space", "tiny-28", "--predictor", "ridge", "--pairs", &from, "-o", &to];
    arguments.extend(json.then_some("--json"));
    run(&arguments).ok()
}

/// A predictor fitted on the pairs of this name.
pub fn predictor(name: &str) -> PathBuf {
    // A file of its own for each thread that asks: tests run side by side.
    let path = folder().path().join(format!("{name}-{:?}.json", std::thread::current().id()));
    let line = "fit --space tiny-28 --predictor ridge --pairs {} -o {}";
    run_line(line, &[&folder().path().join(format!("{name}.jsonl")), &path]).ok();
    path
}

#[test]
fn accuracies_above_one_are_clamped_and_marked_and_still_ranked() {
    let steep = predictor("steep");
    let line = run_line("predict --space tiny-28 --arch max --predictor {}", &[&steep]).ok().json();
    assert_eq!((line["value"].as_f64(), &line["extrapolated"]), (Some(1.0), &true.into()), "{line}");
    let line = run_line("predict --space tiny-28 --arch min --predictor {}", &[&steep]).ok().json();
    assert!(line["value"].as_f64().unwrap() < 1.0 && line.get("extrapolated").is_none(), "{line}");
    let found = run_line("search --space tiny-28 --max-macs 100% --accuracy {}", &[&steep]).ok().json();
    let case = &found["results"][0];
    assert_eq!((case["accuracy"].as_f64(), &case["extrapolated"]), (Some(1.0), &true.into()), "{case}");
    // The search ranks what lies above 1 too: the largest subnet, or one close to it, is the best.
    let space = registry::named("tiny-28").unwrap();
    let most = cost::macs(&space.resolve(&space.max_arch()).unwrap()) as f64;
    assert!(case["macs"].as_f64().unwrap() > 0.9 * most, "{case}");
    let front = run_line("search --space tiny-28 --pareto --accuracy {}", &[&steep]).ok().json();
    for case in front["results"].as_array().unwrap() {
        assert!((0.0..=1.0).contains(&case["accuracy"].as_f64().unwrap()), "{case}");
    }
}

#[test]
fn undefined_metrics_are_null_and_dashes() {
    let report = fit("same", true).json();
    for metric in ["r2", "kendall_tau", "spearman"] {
        assert!(report[metric].is_null(), "{metric}: {report}");
    }
    let printed = fit("same", false).stdout;
    assert!(printed.contains("R² –") && printed.contains("Kendall tau –"), "{printed}");
    assert!(!printed.contains("NaN"), "{printed}");
}

#[test]
fn metrics_of_few_pairs_come_with_their_count_and_a_warning() {
    // A fifth of 30 pairs is held out.
    let printed = fit("few", false);
    assert_eq!(printed.stdout.matches("(warning: 6 pairs)").count(), 5, "{printed:#?}");
    let report = fit("few", true).json();
    assert!(report["warnings"].to_string().contains("6 hold-out pairs"), "{report}");
    let enough = fit("plain", false);
    assert!(!enough.stdout.contains("warning"), "{enough:#?}");
}
