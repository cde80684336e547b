//! Item 13: a limit is called infeasible only below the exact minimum of its quantity.

use crate::predictions::predictor;
use crate::program::{Outcome, run, run_line};
use serde_json::Value;

fn search(options: &str) -> Outcome {
    run_line(&format!("search --space tiny-28 {options} --accuracy {{}}"), &[&predictor("plain")])
}

/// The same, for a person.
fn printed(options: &str) -> Outcome {
    let file = predictor("plain");
    let mut arguments: Vec<&str> = "search --space tiny-28 --accuracy".split(' ').collect();
    arguments.push(file.to_str().unwrap());
    arguments.extend(options.split(' '));
    run(&arguments)
}

fn smallest() -> Value {
    run_line("info --space tiny-28 --arch min", &[]).ok().json()
}

/// Strategies that draw at random, with a budget that meets hardly any subnet.
const HASTY: [&str; 3] =
    ["--strategy random --evaluations 3", "--strategy evolution --evaluations 3", "--strategy memetic --evaluations 2"];

#[test]
fn what_only_the_smallest_subnet_keeps_is_found_by_every_strategy() {
    let macs = smallest()["macs"].as_u64().unwrap();
    let fastest = run_line("latency --device pixel4-cpu --space tiny-28 --arch min", &[]).ok().json();
    let fastest = fastest["latency_ms"].as_f64().unwrap();
    let limits = [
        format!("--max-macs {macs}"),
        format!("--device pixel4-cpu --max-latency-ms {fastest}"),
        // The smallest subnet has the smallest memory too; SRAM is a maximum over blocks.
        "--max-sram-kb 12 --max-flash-kb 40".to_owned(),
    ];
    let memory = run_line("info --space tiny-28 --arch min", &[]).ok().json();
    println!("{}", memory["peak_activation_bytes"]);
    for limit in &limits {
        for hasty in HASTY {
            let outcome = search(&format!("{limit} {hasty}"));
            assert_eq!(outcome.code, Some(0), "{limit} {hasty}: {outcome:#?}");
            assert!(outcome.json()["results"][0]["arch"].is_object(), "{limit} {hasty}");
        }
    }
}

#[test]
fn a_limit_below_the_minimum_is_infeasible_and_the_minimum_is_printed() {
    let macs = smallest()["macs"].as_u64().unwrap();
    for hasty in HASTY {
        let outcome = search(&format!("--max-macs {} {hasty}", macs - 1));
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        let case = outcome.json()["results"][0].take();
        assert_eq!(
            (&case["infeasible"], case["minimum"]["macs"].as_f64()),
            (&true.into(), Some(macs as f64)),
            "{case}"
        );
        assert_eq!(case["closest"]["macs"].as_f64(), Some(macs as f64), "{case}");
    }
    let outcome = printed(&format!("--max-macs {} --strategy random --evaluations 3", macs - 1));
    assert!(outcome.stdout.contains(&format!("infeasible: no subnet has macs below {macs}")), "{outcome:#?}");
}

#[test]
fn what_has_no_known_minimum_is_not_called_infeasible() {
    let folder = tempfile::tempdir().unwrap();
    let board = folder.path().join("board.toml");
    // What a command measures is no sum over blocks.
    let text = "[device]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"echo '{\\\"latency_ms\\\": 5}'\", \"{onnx}\"]\ncache = \"\"\n";
    std::fs::write(&board, text).unwrap();
    let options =
        format!("--allow-commands --device {} --max-latency-ms 1 --strategy random --evaluations 4", board.display());
    let outcome = printed(&options);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(outcome.stdout.contains("none found in "), "{outcome:#?}");
    assert!(outcome.stdout.contains("closest") && !outcome.stdout.contains("infeasible"), "{outcome:#?}");
    assert!(!outcome.stderr.contains("no case is feasible"), "{outcome:#?}");
}

#[test]
fn a_limit_above_the_largest_network_is_reported_and_an_infinite_one_refused() {
    let outcome = search("--max-macs 1e12 --strategy random --evaluations 50").ok();
    assert!(outcome.stderr.contains("macs ≤ 1000000000000 is above the largest network"), "{}", outcome.stderr);
    let report = outcome.json();
    let results = report["results"].as_array().unwrap();
    assert!(results.iter().all(|case| case["constraint"].as_object().unwrap().values().all(|limit| !limit.is_null())));
    assert_eq!(search("--max-macs 1e12,inf --strategy random --evaluations 50").code, Some(2));
}
