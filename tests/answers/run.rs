//! Items 13, 14 and 16 in a whole run: its own search, and what its results and its report have.

use crate::fruit::{FRUIT, TRAINING_OF_A_RUN, folder};
use crate::program::run_line;
use serde_json::Value;

#[test]
fn a_run_finds_what_one_subnet_keeps_and_counts_by_class() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    folder(&at("photos"), FRUIT.map(|(name, _)| name), 30);
    let config = at("pipeline.toml");
    let text = |limits: &str| {
        format!(
            "{TRAINING_OF_A_RUN}[collect]\ncount = 12\ncalibration_images = 40\n\
             [search]\nstrategy = {{ kind = \"random\" }}\nevaluations = 3\n[[search.devices]]\nmax_macs = [{limits}]\n"
        )
    };
    std::fs::write(&config, text("\"100%\"")).unwrap();
    let out = at("run");
    let all = run_line("run {} --data {} --out {}", &[&config, &at("photos"), &out]).ok();
    assert!(all.stderr.contains("2 hold-out pairs"), "{}", all.stderr);
    let largest = all.json()["results"][0]["constraint"]["macs"].as_f64().unwrap();
    let min = run_line("info --arch min --space {}", &[&out.join("work/train/supernet.safetensors")]).ok().json();
    let macs = min["macs"].as_f64().unwrap();
    // Three random subnets do not meet the smallest one; and one limit is below it, one above the largest.
    std::fs::write(&config, text(&format!("{macs}, {}, {}", macs - 1.0, 2.0 * largest))).unwrap();
    let outcome = run_line("run {} --data {} --out {} --resume", &[&config, &at("photos"), &out]).ok();
    let report = outcome.json();
    assert_eq!(report["results"][0]["macs"].as_f64(), Some(macs), "{report}");
    assert_eq!(report["infeasible"][0]["infeasible"], true, "{report}");
    assert_eq!(report["infeasible"][0]["minimum"]["macs"].as_f64(), Some(macs), "{report}");
    assert!(outcome.stderr.contains("above the largest network"), "{}", outcome.stderr);

    let results: Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    let case = &results["cases"][0];
    assert!(case["balanced_accuracy"].is_number(), "{case}");
    assert_eq!(case["per_class"][2]["class"], "plum", "{case}");
    assert_eq!(case["confusion"].as_array().unwrap().len(), 3, "{case}");
    for name in ["report.md", "report.html"] {
        let page = std::fs::read_to_string(out.join(name)).unwrap();
        for part in ["infeasible: no subnet has macs below", "alanced accuracy", "plum", "(warning: 2 pairs)"] {
            assert!(page.contains(part), "{name} lacks `{part}`");
        }
        assert!(!page.contains("NaN"), "{name}");
    }
}
