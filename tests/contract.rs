//! The command line's contract, through the program itself: exit codes, JSON shapes, and results that agree with
//! each other.
#![allow(clippy::unwrap_used, missing_docs)]

mod program;

use npyz::WriterBuilder;
use program::{Outcome, run, run_line, train};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A folder with a model that has learnt little, shared by the tests; each writes into a folder of its own.
fn trained() -> &'static (TempDir, Value) {
    static RUN: OnceLock<(TempDir, Value)> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let report = train(folder.path(), "").json();
        (folder, report)
    })
}

fn supernet() -> PathBuf {
    trained().0.path().join("run/supernet.safetensors")
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn read_npy(path: &Path) -> (Vec<f32>, Vec<u64>) {
    let file = npyz::NpyFile::new(std::io::BufReader::new(std::fs::File::open(path).unwrap())).unwrap();
    let shape = file.shape().to_vec();
    (file.into_vec().unwrap(), shape)
}

/// Writes a batch of waves, different for every image and channel.
fn write_batch(path: &Path, shape: [u64; 4]) {
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd().unwrap();
    let count: u64 = shape.iter().product();
    let (image, row) = (shape[1] * shape[2] * shape[3], shape[3]);
    let value = |i: u64| ((i / image + 1) as f32 * 0.05 * (i % image) as f32).sin() + ((i / row) as f32 * 0.3).cos();
    writer.extend((0..count).map(value)).unwrap();
    writer.finish().unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Checks that two sets of logits agree to `tolerance` of the largest.
fn assert_close(ours: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let difference = ours.iter().zip(expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(largest > 0.0 && difference <= tolerance * largest, "{what}: {difference} of {largest}");
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn assert_refused(outcome: &Outcome, words: &str) {
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stdout.is_empty(), "{outcome:#?}");
    assert!(outcome.stderr.contains(words), "`{words}` is missing: {outcome:#?}");
}

/// Archs of `tiny-28` from a fixed linear congruence, in the form that the program prints: blocks that the depth
/// leaves out have their smallest choices.
fn archs(count: usize) -> Vec<Value> {
    let mut state = 12_345u64;
    let mut pick = |choices: [u64; 3]| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        choices[(state >> 33) as usize % 3]
    };
    let mut arch = || {
        let d = [pick([2, 3, 3]), pick([2, 2, 3])];
        let mut genes = |choices: [u64; 3]| -> Vec<u64> {
            let active = |block: u64| block % 3 < d[block as usize / 3];
            (0..6).map(|block| if active(block) { pick(choices) } else { choices[0] }).collect()
        };
        let (ks, e) = (genes([3, 5, 7]), genes([2, 3, 4]));
        json!({ "ks": ks, "e": e, "d": d, "r": pick([20, 24, 28]) })
    };
    (0..count).map(|_| arch()).collect()
}

fn write_lines(path: &Path, values: &[Value]) {
    std::fs::write(path, values.iter().map(|v| format!("{v}\n")).collect::<String>()).unwrap();
}

/// The costs of a `tiny-28` arch.
fn costs(arch: &Value) -> Value {
    run(&["info", "--space", "tiny-28", "--json", "--arch", &arch.to_string()]).ok().json()
}

#[test]
fn listings_are_arrays_of_named_entries() {
    for (command, expected) in [
        ("spaces", ["ofa-mbv3-w1.0", "ofa-mbv3-w1.2"].as_slice()),
        ("devices", &["host", "note10", "i7-8700k"]),
        ("predictors", &["elastic-net", "mlp", "svr"]),
        ("strategies", &["evolution", "random"]),
    ] {
        let listed = run_line(command, &[]).ok().json();
        let names: Vec<&str> = listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        for name in expected {
            assert!(names.contains(name), "{command} lacks {name}: {names:?}");
        }
    }
}

#[test]
fn info_of_a_supernet_lists_its_blocks_and_its_range() {
    let report = run_line("info --model {} --device stm32f746", &[&supernet()]).ok().json();
    let space = run_line("info --space tiny-28", &[]).ok().json();
    assert_eq!((&report["type"], &report["space"]), (&json!("supernet"), &space["space"]));
    assert_eq!(report["subnets"], space["subnets"]);
    let elastic = report["elastic"].as_array().unwrap();
    assert_eq!(elastic.len(), 6);
    for block in elastic {
        assert_eq!(
            (&block["kernel_sizes"], &block["expand_ratios"]),
            (&json!([3, 5, 7]), &json!([2, 3, 4])),
            "{block}"
        );
    }
    assert_eq!((&report["depths"], &report["fixed"]), (&json!([[2, 3], [2, 3]]), &json!([])));
    for (extreme, label) in report["extremes"].as_array().unwrap().iter().zip(["min", "mid", "max"]) {
        assert_eq!(extreme["label"], label);
        let costs = costs(&extreme["arch"]);
        for field in ["params", "macs", "peak_activation_bytes"] {
            assert_eq!(extreme[field], costs[field], "{label} {field}");
        }
        let arch = extreme["arch"].to_string();
        let line = ["latency", "--device", "stm32f746", "--space", "tiny-28", "--json", "--arch", &arch];
        assert_eq!(run(&line).ok().json()["latency_ms"], extreme["latency_ms"], "{label}");
    }
    assert_refused(&run_line("info --model {} --arch max --device stm32f746", &[&supernet()]), "--arch");
}

#[test]
fn info_counts_the_paper_s_space_exactly() {
    let space = run_line("info --space ofa-mbv3-w1.0", &[]).ok().json();
    // Five stages of 2 to 4 blocks, each with three kernel sizes and three expand ratios.
    let subnets = (9u128.pow(2) + 9u128.pow(3) + 9u128.pow(4)).pow(5);
    assert_eq!(space["space"], "ofa-mbv3-w1.0");
    assert_eq!(space["subnets"], subnets.to_string());
    assert_eq!(space["subnets_with_resolutions"], (subnets * 25).to_string());
    let genes = space["genes"].as_array().unwrap();
    let of = |group: &str| genes.iter().filter(|gene| gene["group"] == group).count();
    assert_eq!((of("ks"), of("e"), of("d"), genes.len()), (20, 20, 5, 45));
}

#[test]
fn info_costs_an_arch_and_its_blocks_add_up() {
    let max = run_line("info --space ofa-mbv3-w1.0 --arch max", &[]).ok().json();
    assert_eq!(max["arch"]["r"], 224);
    let blocks = max["blocks"].as_array().unwrap();
    let sum = |field: &str| blocks.iter().map(|block| block[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(max["params"], sum("params"));
    assert_eq!(max["macs"], sum("macs"));
    assert!(max["macs_se"].as_u64().unwrap() > 0);
    assert!(max["peak_activation_bytes"].as_u64().unwrap() > 4 * 3 * 224 * 224);
    assert_eq!(blocks[0]["in"], json!([3, 224, 224]));
    for pair in blocks.windows(2) {
        assert_eq!(pair[0]["out"], pair[1]["in"], "{} does not feed {}", pair[0]["name"], pair[1]["name"]);
    }
    assert_eq!(blocks.last().unwrap()["out"], json!([1000, 1, 1]));

    let ten = run_line("info --space ofa-mbv3-w1.0 --classes 10 --arch max", &[]).ok().json();
    assert_eq!(ten["blocks"].as_array().unwrap().last().unwrap()["out"][0], 10);
    let min = run_line("info --space ofa-mbv3-w1.0 --arch min", &[]).ok().json();
    assert!(min["macs"].as_u64() < max["macs"].as_u64());
    let random = |seed| run_line(&format!("info --space ofa-mbv3-w1.0 --arch random --seed {seed}"), &[]).ok().json();
    assert_eq!(random(1), random(1));
    assert_ne!(random(1)["arch"], random(2)["arch"]);
}

#[test]
fn info_agrees_with_the_authors_costs() {
    let Some(shared) = ofa_reference_data::folder_with(&["golden/cost.json"]) else { return };
    let spaces = read_json(&shared.join("golden/cost.json"))["spaces"].take();
    for space in ["ofa-mbv3-w1.0", "ofa-mbv3-w1.2"] {
        for case in spaces[space].as_array().unwrap().iter().take(3) {
            let ours = run(&["info", "--space", space, "--json", "--arch", &case["arch"].to_string()]).ok().json();
            for field in ["params", "macs", "macs_se"] {
                assert_eq!(ours[field], case[field], "{field} of {space} {}", case["arch"]);
            }
        }
    }
}

#[test]
fn latency_prints_one_line_for_each_arch_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archs.jsonl");
    let archs = archs(7);
    write_lines(&file, &archs);
    let lines = run_line("latency --device pixel4-cpu --space tiny-28 --archs {}", &[&file]).ok().lines();
    assert_eq!(lines.len(), archs.len());
    for (line, arch) in lines.iter().zip(&archs) {
        assert_eq!(&line["arch"], arch);
        assert_eq!(line["source"], "analytic");
        let arch = arch.to_string();
        let alone = ["latency", "--device", "pixel4-cpu", "--space", "tiny-28", "--json", "--arch", &arch];
        assert_eq!(run(&alone).ok().json(), *line);
    }
    let slowest = run_line("latency --device pixel4-cpu --space tiny-28 --arch max", &[]).ok().json();
    assert!(lines.iter().all(|line| number(&line["latency_ms"]) <= number(&slowest["latency_ms"])));
}

#[test]
fn blocks_that_the_depth_leaves_out_change_nothing() {
    let shallow = json!({ "ks": [3, 3, 3, 3, 3, 3], "e": [2, 2, 2, 2, 2, 2], "d": [2, 2], "r": 24 });
    let mut other = shallow.clone();
    (other["ks"][2], other["e"][2], other["ks"][5]) = (json!(7), json!(4), json!(5));
    assert_eq!(costs(&other), costs(&shallow));
    let mut deeper = other.clone();
    deeper["d"] = json!([3, 3]);
    assert_ne!(costs(&deeper)["macs"], costs(&shallow)["macs"]);
}

#[test]
fn latency_of_the_note10_comes_from_the_authors_table() {
    let line = run_line("latency --device note10 --space ofa-mbv3-w1.2 --arch max", &[]).ok().json();
    assert_eq!(line["source"], "table");
    let outside = run_line("latency --device note10 --space ofa-mbv3-w1.0 --arch max", &[]);
    assert_refused(&outside, "measured for other networks");
    let Some(shared) = ofa_reference_data::folder_with(&["golden/latency-note10.json"]) else { return };
    let file = read_json(&shared.join("golden/latency-note10.json"));
    let folder = tempfile::tempdir().unwrap();
    let (mut archs, mut expected) = (Vec::new(), Vec::new());
    for case in file["cases"].as_array().unwrap() {
        for (resolution, latency) in case["latency_ms"].as_object().unwrap() {
            let mut arch = case["arch"].clone();
            arch["r"] = json!(resolution.parse::<u32>().unwrap());
            archs.push(arch);
            expected.push(number(latency));
        }
    }
    let path = folder.path().join("archs.jsonl");
    write_lines(&path, &archs);
    let lines = run_line("latency --device note10 --space ofa-mbv3-w1.2 --archs {}", &[&path]).ok().lines();
    assert_eq!(lines.len(), expected.len());
    for (line, expected) in lines.iter().zip(&expected) {
        let ours = number(&line["latency_ms"]);
        assert!((ours - expected).abs() < 1e-9 * expected, "{line}: expected {expected}");
    }
}

#[test]
fn bad_usage_and_bad_input_exit_with_2_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let broken = folder.path().join("broken.jsonl");
    std::fs::write(&broken, "{\"ks\":[3,3,3,3,3,3],\"e\":[2,2,2,2,2,2],\"d\":[2,2],\"r\":28}\n{\"ks\":\n").unwrap();
    let no_model = folder.path().join("no-model.safetensors");
    std::fs::write(&no_model, b"not a model").unwrap();
    let config = folder.path().join("bad.toml");
    std::fs::write(&config, program::TRAINING.replace("batch_size = 16", "batch_size = 0")).unwrap();
    let unknown_field = folder.path().join("unknown.toml");
    std::fs::write(&unknown_field, program::TRAINING.replace("batch_size", "batchsize")).unwrap();
    let cases: &[(&str, &[&Path], &str)] = &[
        ("", &[], "Usage"),
        ("infos", &[], "info"),
        ("spaces --threads 0", &[], "--threads"),
        ("spaces --threads many", &[], "--threads"),
        ("info --space ofa-mbv3-w1.O", &[], "did you mean `ofa-mbv3-w1.0`"),
        ("info --space {}", &[&missing], "missing"),
        ("info --space tiny-28 --arch {\"ks\":[3", &[], "JSON"),
        ("info --space tiny-28 --arch {\"ks\":[3],\"e\":[2],\"d\":[2,2],\"r\":28}", &[], "list of 6 values"),
        ("info --space tiny-28 --arch biggest", &[], "biggest"),
        ("latency --device note11 --space ofa-mbv3-w1.2 --arch max", &[], "did you mean `note10`"),
        ("latency --device note10 --space ofa-mbv3-w1.2", &[], "--arch"),
        ("latency --device pixel4-cpu --space tiny-28 --archs {}", &[&missing], "missing"),
        ("latency --device pixel4-cpu --space tiny-28 --archs {}", &[&broken], "broken.jsonl:2"),
        ("eval --data bundled --arch max --model {}", &[&missing], "missing"),
        ("eval --data bundled --arch max --model {}", &[&no_model], "no-model.safetensors"),
        ("train {} --out {}", &[&config, &missing], "batch_size"),
        ("train {} --out {}", &[&unknown_field, &missing], "batchsize"),
        ("search --space tiny-28 --max-macs 1e6 --accuracy {}", &[&missing], "missing"),
        ("fit --space tiny-28 --pairs {} -o {}", &[&missing, &missing], "missing"),
    ];
    for (line, paths, words) in cases {
        assert_refused(&run_line(line, paths), words);
    }
    assert!(!missing.exists(), "a refused command left something behind");
}

#[test]
fn help_and_version_are_no_failures() {
    for arguments in [["--help"], ["--version"]] {
        let outcome = run(&arguments).ok();
        assert!(outcome.stdout.contains("ofa") || outcome.stdout.contains("Once-for-All"), "{outcome:#?}");
        assert!(outcome.stderr.is_empty(), "{outcome:#?}");
    }
}

#[test]
fn quiet_commands_print_only_their_result() {
    let folder = tempfile::tempdir().unwrap();
    let subnet = folder.path().join("subnet.safetensors");
    let outcome = run_line("extract --arch min -q --model {} -o {}", &[&supernet(), &subnet]).ok();
    assert_eq!(outcome.stderr, "");
    assert_eq!(outcome.json()["calibrated"], false);
}

#[test]
fn training_reports_its_phases_and_the_model_scores_every_subnet() {
    let report = &trained().1;
    assert_eq!(Path::new(report["model"].as_str().unwrap()), supernet());
    assert!(number(&report["seconds"]) > 0.0);
    let phases = report["phases"].as_array().unwrap();
    assert_eq!(phases.iter().map(|p| p["name"].as_str().unwrap()).collect::<Vec<_>>(), ["resolution", "expansion"]);

    let evaluate = |options: &str| {
        run_line(&format!("eval --data bundled --limit 200 {options} --model {{}}"), &[&supernet()]).ok().json()
    };
    let max = evaluate("--arch max --calibration-images 100");
    assert_eq!(max["images"], 200);
    let (top1, top5) = (number(&max["top1"]), number(&max["top5"]));
    assert!((0.0..=1.0).contains(&top1) && top1 <= top5 && top5 <= 1.0, "{max}");
    // The limit is a seeded sample: the same images each time.
    assert_eq!(evaluate("--arch max --calibration-images 100")["top1"], max["top1"]);
    // The contract's spelling of the option.
    let spelled = evaluate("--arch max --calibrate-images 100");
    assert_eq!((&spelled["top1"], &spelled["top5"]), (&max["top1"], &max["top5"]));
    let no_arch = run_line("eval --data bundled --limit 10 --model {}", &[&supernet()]);
    assert_refused(&no_arch, "--arch");
}

#[test]
fn an_extracted_subnet_computes_what_the_supernet_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (input, calibration) = (at("x.npy"), at("c.npy"));
    write_batch(&input, [3, 1, 24, 24]);
    write_batch(&calibration, [8, 1, 24, 24]);
    let arch = json!({ "ks": [5, 7, 3, 3, 5, 3], "e": [3, 2, 2, 4, 3, 2], "d": [2, 2], "r": 24 }).to_string();
    let (text, model) = (std::fs::write(at("arch.json"), &arch), supernet());
    text.unwrap();
    for (name, forward, extract) in [("shared", "", ""), ("calibrated", " --calibrate {}", " --calibrate {}")] {
        let (inside, alone, subnet) = (
            at(&format!("{name}-supernet.npy")),
            at(&format!("{name}-subnet.npy")),
            at(&format!("{name}.safetensors")),
        );
        let arch = at("arch.json");
        let mut paths: Vec<&Path> = vec![&model, &arch, &input, &inside];
        if !forward.is_empty() {
            paths.push(&calibration);
        }
        let line = format!("forward --model {{}} --arch {{}} --input {{}} --output {{}}{forward}");
        assert_eq!(run_line(&line, &paths).ok().json()["shape"], json!([3, 10]));

        let mut paths: Vec<&Path> = vec![&model, &arch, &subnet];
        if !extract.is_empty() {
            paths.push(&calibration);
        }
        let report = run_line(&format!("extract --model {{}} --arch {{}} -o {{}}{extract}"), &paths).ok().json();
        assert_eq!(report["calibrated"], !extract.is_empty());
        assert_eq!(report["params"], costs(&read_json(&arch))["params"]);
        run_line("forward --model {} --input {} --output {}", &[&subnet, &input, &alone]).ok();

        let ((ours, shape), (expected, _)) = (read_npy(&alone), read_npy(&inside));
        assert_eq!(shape, [3, 10]);
        assert_close(&ours, &expected, 1e-5, name);
    }
    let (shared, _) = read_npy(&at("shared-subnet.npy"));
    let (calibrated, _) = read_npy(&at("calibrated-subnet.npy"));
    assert_ne!(shared, calibrated, "calibration changed nothing");
}

#[test]
fn forward_refuses_what_is_no_batch_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let (colour, output) = (folder.path().join("colour.npy"), folder.path().join("y.npy"));
    write_batch(&colour, [2, 3, 28, 28]);
    let line = "forward --arch max --model {} --input {} --output {}";
    assert_refused(&run_line(line, &[&supernet(), &colour, &output]), "3 channels");
    std::fs::write(&colour, b"no array").unwrap();
    assert_refused(&run_line(line, &[&supernet(), &colour, &output]), "colour.npy");
    assert!(!output.exists());
}

#[test]
fn an_exported_net_gives_our_logits_in_another_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let (subnet, onnx) = (folder.path().join("subnet.safetensors"), folder.path().join("net.onnx"));
    run_line("extract --arch random --seed 3 --model {} -o {}", &[&supernet(), &subnet]).ok();
    for (line, model) in
        [("export --verify --model {} -o {}", subnet), ("export --verify --arch min --model {} -o {}", supernet())]
    {
        let report = run_line(line, &[&model, &onnx]).ok().json();
        assert_eq!(Path::new(report["output"].as_str().unwrap()), onnx);
        assert_eq!(report["bytes"], std::fs::metadata(&onnx).unwrap().len());
        assert!(report["opset"].as_u64().unwrap() >= 13 && report["runtime"].is_string(), "{report}");
        let (difference, logit) = (number(&report["max_abs_diff"]), number(&report["max_abs_logit"]));
        assert!(logit > 0.0 && difference <= 1e-4 * logit, "{report}");
    }
}

#[test]
fn measure_times_the_net_on_this_machine() {
    let measured = run_line("measure --runs 5 --threads 1 --arch min --model {}", &[&supernet()]).ok().json();
    let [p10, median, p90] = ["p10_ms", "median_ms", "p90_ms"].map(|field| number(&measured[field]));
    assert!(0.0 < p10 && p10 <= median && median <= p90, "{measured}");
    assert_eq!((&measured["runs"], &measured["threads"]), (&json!(5), &json!(1)));
    assert!(measured["runtime"].is_string());
}

#[test]
fn classify_ranks_the_classes_of_each_image() {
    let folder = tempfile::tempdir().unwrap();
    let images = [folder.path().join("bar.png"), folder.path().join("blank.png")];
    let bar: Vec<u8> = (0..28 * 28).map(|i| if (12..16).contains(&(i % 28)) { 255 } else { 0 }).collect();
    for (path, grey) in images.iter().zip([bar, vec![0; 28 * 28]]) {
        image::save_buffer(path, &grey, 28, 28, image::ExtendedColorType::L8).unwrap();
    }
    let line = "classify --arch max --top 10 --model {} {} {}";
    let lines = run_line(line, &[&supernet(), &images[0], &images[1]]).ok().lines();
    assert_eq!(lines.len(), 2);
    for (line, image) in lines.iter().zip(&images) {
        assert_eq!(Path::new(line["image"].as_str().unwrap()), image);
        let top = line["top"].as_array().unwrap();
        assert_eq!(top.len(), 10);
        assert!(top.windows(2).all(|pair| number(&pair[0]["logit"]) >= number(&pair[1]["logit"])), "{line}");
        let total: f64 = top.iter().map(|guess| number(&guess["probability"])).sum();
        assert!((total - 1.0).abs() < 1e-4, "probabilities add up to {total}");
        // The digits' names are the digits.
        assert!(top.iter().all(|guess| guess["class"].as_str() == Some(&guess["index"].to_string())), "{line}");
    }
    assert_ne!(lines[0]["top"], lines[1]["top"]);
    std::fs::write(&images[1], b"no image").unwrap();
    let refused = run_line("classify --arch max --model {} {}", &[&supernet(), &images[1]]);
    // A file that cannot be read has its line, and the others would go on.
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.json()["error"].as_str().unwrap().contains("blank.png"), "{refused:#?}");
    assert!(refused.stderr.contains("blank.png"), "{refused:#?}");
}

#[test]
fn collect_writes_distinct_pairs_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let (four, six) = (folder.path().join("four.jsonl"), folder.path().join("six.jsonl"));
    let line = "collect --data bundled --calibration-images 64 --validation-images 50 --model {} -o {}";
    let collected = run_line(&format!("{line} --count 4"), &[&supernet(), &four]).ok().lines();
    let file = std::fs::read_to_string(&four).unwrap();
    let mut pairs: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Lines of the file have a checksum besides.
    assert!(pairs.iter_mut().all(|pair| pair.as_object_mut().unwrap().remove("crc32c").is_some()), "{file}");
    assert_eq!(collected, pairs);
    assert_eq!(pairs.len(), 4);
    for (index, pair) in pairs.iter().enumerate() {
        let images = number(&pair["top1"]) * 50.0;
        assert!((images - images.round()).abs() < 1e-6, "{pair}: not a share of 50 images");
        assert!(pairs[..index].iter().all(|other| other["arch"] != pair["arch"]), "{pair} comes twice");
    }
    assert_refused(&run_line(&format!("{line} --count 4"), &[&supernet(), &four]), "--resume");
    // Two pairs of a longer run that was cut off.
    std::fs::write(folder.path().join("six.jsonl.part"), file.lines().take(2).collect::<Vec<_>>().join("\n") + "\n")
        .unwrap();
    let resumed = run_line(&format!("{line} --count 6 --resume"), &[&supernet(), &six]).ok().lines();
    assert_eq!(resumed.len(), 6);
    assert_eq!(resumed[..4], pairs);
}

#[test]
fn collect_resumes_a_finished_file_as_its_count_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pairs.jsonl");
    let collect = |options: &str| {
        let line = format!("collect --data bundled --calibration-images 64 --validation-images 50 {options}");
        run_line(&format!("{line} --model {{}} -o {{}}"), &[&supernet(), &file]).ok().lines()
    };
    let three = collect("--count 3");
    // Nothing is left to do, but what is asked for is printed all the same.
    assert_eq!(collect("--count 3 --resume"), three);
    let five = collect("--count 5 --resume");
    assert_eq!((five.len(), &five[..3]), (5, three.as_slice()));
}

/// A predictor of a known function: the more of the largest choices, the better.
fn predictor() -> &'static (TempDir, Value) {
    static FIT: OnceLock<(TempDir, Value)> = OnceLock::new();
    FIT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (pairs, output) = (folder.path().join("pairs.jsonl"), folder.path().join("predictor.json"));
        let lines: Vec<Value> = archs(200).iter().map(|arch| json!({ "arch": arch, "top1": quality(arch) })).collect();
        write_lines(&pairs, &lines);
        let line = "fit --space tiny-28 --predictor elastic-net --holdout 0.2 --pairs {} -o {}";
        let report = run_line(line, &[&pairs, &output]).ok().json();
        (folder, report)
    })
}

fn quality(arch: &Value) -> f64 {
    let sum = |group: &str| arch[group].as_array().unwrap().iter().map(number).sum::<f64>();
    0.3 + 0.004 * sum("ks") + 0.01 * sum("e") + 0.001 * number(&arch["r"])
}

#[test]
fn fit_reports_its_scores_and_predict_follows_the_input() {
    let (folder, report) = predictor();
    assert_eq!(report["predictor"], "elastic-net");
    assert_eq!((&report["n_train"], &report["n_test"]), (&json!(160), &json!(40)));
    for field in ["rmse", "mae", "r2", "kendall_tau", "spearman", "fit_seconds"] {
        assert!(report[field].is_number(), "{field} in {report}");
    }
    assert!(number(&report["mae"]) <= number(&report["rmse"]));
    assert!(number(&report["kendall_tau"]) > 0.8, "the pairs are all but linear: {report}");

    let file = folder.path().join("archs.jsonl");
    let archs = archs(9);
    write_lines(&file, &archs);
    let line = "predict --space tiny-28 --predictor {} --archs {}";
    let lines = run_line(line, &[&folder.path().join("predictor.json"), &file]).ok().lines();
    assert_eq!(lines.iter().map(|line| &line["arch"]).collect::<Vec<_>>(), archs.iter().collect::<Vec<_>>());
    for (line, arch) in lines.iter().zip(&archs) {
        assert!((number(&line["value"]) - quality(arch)).abs() < 0.05, "{line}: expected {}", quality(arch));
    }
}

#[test]
fn fit_reads_the_published_flat_form_and_picks_by_cross_validation() {
    let folder = tempfile::tempdir().unwrap();
    let [nested, flat, out] = ["nested.jsonl", "flat.jsonl", "p.json"].map(|name| folder.path().join(name));
    let all = archs(40);
    let nested_lines: Vec<Value> = all.iter().map(|arch| json!({ "arch": arch, "top1": quality(arch) })).collect();
    let flat_line = |arch: &Value| json!({ "ks": arch["ks"], "e": arch["e"], "d": arch["d"], "image_size": arch["r"], "top1": quality(arch) });
    write_lines(&nested, &nested_lines);
    write_lines(&flat, &all.iter().map(flat_line).collect::<Vec<_>>());
    let fit = |pairs: &Path| {
        let mut report =
            run_line("fit --space tiny-28 --predictor elastic-net --pairs {} -o {}", &[pairs, &out]).ok().json();
        report.as_object_mut().unwrap().remove("fit_seconds");
        report
    };
    assert_eq!(fit(&nested), fit(&flat));
    let auto = run_line("fit --space tiny-28 --predictor auto --pairs {} -o {}", &[&nested, &out]).ok().json();
    let kinds = run_line("predictors", &[]).ok().json();
    assert!(kinds.as_array().unwrap().iter().any(|kind| kind["name"] == auto["predictor"]), "{auto}");
    std::fs::write(&nested, "{\"arch\":{}}\n").unwrap();
    assert_refused(&run_line("fit --space tiny-28 --pairs {} -o {}", &[&nested, &out]), "nested.jsonl:1");
}

#[test]
fn fit_takes_settings_and_learns_latency() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_lines(&at("archs.jsonl"), &archs(120));
    let measured =
        run_line("latency --space tiny-28 --device pixel4-cpu --archs {}", &[&at("archs.jsonl")]).ok().lines();
    // Lines of `ofa latency` are pairs as they are.
    write_lines(&at("latencies.jsonl"), &measured);
    let fit = |options: &str| {
        let line = format!("fit --space tiny-28 --pairs {{}} -o {{}} {options}");
        run_line(&line, &[&at("latencies.jsonl"), &at("latency.json")])
    };
    let report = fit("--target latency --predictor ridge").ok().json();
    assert_eq!((&report["predictor"], &report["n_test"]), (&json!("ridge"), &json!(24)));
    assert!(number(&report["kendall_tau"]) > 0.9, "{report}");
    let line = "predict --space tiny-28 --predictor {} --archs {}";
    let predicted = run_line(line, &[&at("latency.json"), &at("archs.jsonl")]).ok().lines();
    for (line, truth) in predicted.iter().zip(&measured) {
        let (value, truth) = (number(&line["value"]), number(&truth["latency_ms"]));
        assert!((value / truth - 1.0).abs() < 0.2, "{line}: expected {truth}");
    }
    let accuracy = "search --space tiny-28 --max-macs 3e6 --evaluations 100 --accuracy {}";
    assert_refused(&run_line(accuracy, &[&at("latency.json")]), "predicts latency");
    assert_refused(&fit(""), "latencies.jsonl:1");

    let penalised = |penalty: &str| {
        let table = format!("--target latency --predictor {{kind=\"ridge\",penalty={penalty}}}");
        fit(&table).ok();
        std::fs::read(at("latency.json")).unwrap()
    };
    let strong = penalised("1000.0");
    assert_ne!(penalised("1.0"), strong);
    std::fs::write(at("ridge.toml"), "kind = \"ridge\"\npenalty = 1000.0\n").unwrap();
    let line = "fit --target latency --space tiny-28 --pairs {} -o {} --predictor {}";
    run_line(line, &[&at("latencies.jsonl"), &at("latency.json"), &at("ridge.toml")]).ok();
    assert_eq!(std::fs::read(at("latency.json")).unwrap(), strong);
    assert_refused(&fit("--predictor {kind=\"ridge\",penalty=0.0}"), "`penalty` is 0, expected more than 0");
    assert_refused(&fit("--predictor {kind=\"ridge\",penalties=1.0}"), "penalties");
}

fn search(options: &str) -> Outcome {
    let accuracy = predictor().0.path().join("predictor.json");
    run_line(&format!("search --space tiny-28 --evaluations 3000 {options} --accuracy {{}}"), &[&accuracy])
}

#[test]
fn search_keeps_to_every_limit_and_more_room_is_never_worse() {
    let report = search("--max-macs 1.5e6,2.5e6,3.5e6").ok().json();
    assert_eq!(report["strategy"], "memetic");
    assert!(report["evaluations"].as_u64().unwrap() > 0 && number(&report["seconds"]) > 0.0);
    let results = report["results"].as_array().unwrap();
    let limits: Vec<f64> = results.iter().map(|case| number(&case["constraint"]["macs"])).collect();
    assert_eq!(limits, [1.5e6, 2.5e6, 3.5e6]);
    for (case, limit) in results.iter().zip(&limits) {
        let costs = costs(&case["arch"]);
        assert_eq!((&case["macs"], &case["params"]), (&costs["macs"], &costs["params"]));
        assert!(number(&case["macs"]) <= *limit, "{case}");
        assert!(case["latency_ms"].is_null(), "no device was given: {case}");
    }
    let accuracies: Vec<f64> = results.iter().map(|case| number(&case["accuracy"])).collect();
    assert!(accuracies.is_sorted() && accuracies[0] < accuracies[2], "{accuracies:?}");
    // The accuracy is the predictor's, and the same seed finds the same nets.
    let file = predictor().0.path().join("predictor.json");
    let arch = predictor().0.path().join("found.json");
    std::fs::write(&arch, results[0]["arch"].to_string()).unwrap();
    let predicted = run_line("predict --space tiny-28 --predictor {} --arch {}", &[&file, &arch]).ok().json();
    assert!((number(&predicted["value"]) - accuracies[0]).abs() < 1e-9, "{predicted} {}", results[0]);
    assert_eq!(search("--max-macs 1.5e6,2.5e6,3.5e6").ok().json()["results"], report["results"]);
}

#[test]
fn search_crosses_the_limits_of_a_device_with_others() {
    let report = search("--device pixel4-cpu --max-latency-ms 0.2,0.4 --max-params 40e3,80e3 --strategy random").ok();
    let report = report.json();
    let results = report["results"].as_array().unwrap();
    let pairs: Vec<(f64, f64)> = results
        .iter()
        .map(|case| (number(&case["constraint"]["latency_ms"]), number(&case["constraint"]["params"])))
        .collect();
    assert_eq!(pairs, [(0.2, 40e3), (0.2, 80e3), (0.4, 40e3), (0.4, 80e3)]);
    for (case, (latency, params)) in results.iter().zip(pairs) {
        assert!(number(&case["latency_ms"]) <= latency && number(&case["params"]) <= params, "{case}");
        let arch = case["arch"].to_string();
        let alone = ["latency", "--device", "pixel4-cpu", "--space", "tiny-28", "--json", "--arch", &arch];
        assert_eq!(run(&alone).ok().json()["latency_ms"], case["latency_ms"]);
    }
    // Both limits bind: the largest subnet keeps neither, and more room of either kind gives a better net.
    let slowest = run_line("latency --device pixel4-cpu --space tiny-28 --arch max", &[]).ok().json();
    assert!(number(&slowest["latency_ms"]) > 0.4, "{slowest}");
    let accuracy: Vec<f64> = results.iter().map(|case| number(&case["accuracy"])).collect();
    assert!(accuracy[1] < accuracy[3] && accuracy[2] < accuracy[3], "{accuracy:?}");
}

#[test]
fn a_pareto_front_holds_no_net_that_another_beats() {
    let report = search("--pareto").ok().json();
    let front: Vec<(f64, f64)> = report["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| (number(&case["macs"]), number(&case["accuracy"])))
        .collect();
    assert!(front.len() > 3, "{front:?}");
    for (i, a) in front.iter().enumerate() {
        let beaten = front.iter().enumerate().find(|(j, b)| i != *j && b.0 <= a.0 && b.1 >= a.1);
        assert!(beaten.is_none(), "{beaten:?} beats {a:?}");
    }
}

#[test]
fn search_takes_several_devices_each_with_limits_of_its_own() {
    let found = search("--device pixel4-cpu:0.2,0.4 --device stm32f746,jetson-nano --max-latency-ms 9").ok().json();
    let named: Vec<(&str, f64)> = found["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| (case["device"].as_str().unwrap(), case["constraint"]["latency_ms"].as_f64().unwrap()))
        .collect();
    assert_eq!(named, [("pixel4-cpu", 0.2), ("pixel4-cpu", 0.4), ("stm32f746", 9.0), ("jetson-nano", 9.0)]);
    for case in found["results"].as_array().unwrap() {
        assert!(case["latency_ms"].as_f64().unwrap() <= case["constraint"]["latency_ms"].as_f64().unwrap());
    }
    // One device alone is not named, as it always was.
    let alone = search("--device pixel4-cpu:0.2,0.4").ok().json();
    assert!(alone["results"][0].get("device").is_none() && alone.get("devices").is_none());
    assert_eq!(alone["results"], search("--device pixel4-cpu --max-latency-ms 0.2,0.4").ok().json()["results"]);
    assert_refused(&search("--device pixel4-cpu:0.2 --device v100"), "v100 has no latency limit");
}

#[test]
fn an_infeasible_search_names_the_closest_net_and_exits_with_1() {
    let impossible = search("--max-macs 1000");
    assert_eq!(impossible.code, Some(1), "{impossible:#?}");
    let case = impossible.json()["results"][0].take();
    assert!(case["arch"].is_null(), "{case}");
    let smallest = run_line("info --space tiny-28 --arch min", &[]).ok().json();
    assert!(number(&case["closest"]["macs"]) >= number(&smallest["macs"]), "{case}");
    assert!(number(&case["closest"]["macs"]) <= 1.2 * number(&smallest["macs"]), "{case}: the smallest has {smallest}");
    // One feasible case is enough.
    let mixed = search("--max-macs 1000,3e6").ok().json();
    assert!(mixed["results"][0]["arch"].is_null() && mixed["results"][1]["arch"].is_object(), "{mixed}");
    assert_refused(&search("--max-macs 3e6 --strategy evolutoin"), "did you mean `evolution`");
    assert_refused(&search("--max-latency-ms 3"), "--device");
    assert_refused(&search(""), "--max-macs");
}

#[test]
fn an_imported_checkpoint_gives_the_authors_logits() {
    let names = ["golden/mbv3-small", "golden/supernet-mbv3-small-legacy-keys.pth"];
    let Some(shared) = ofa_reference_data::folder_with(&names) else { return };
    let golden = shared.join("golden");
    let cases = read_json(&golden.join("mbv3-small/cases.json"));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (space, model, arch) = (at("space.toml"), at("model.safetensors"), at("arch.json"));
    let width = &cases["constructor"]["width_mult"];
    let text = format!("[space]\nkind = \"mbv3\"\nwidth = {width}\nclasses = 10\nresolutions = [64, 96]\n");
    std::fs::write(&space, text).unwrap();
    let checkpoint = golden.join(cases["checkpoint"].as_str().unwrap());
    let report = run_line("import supernet {} --space {} -o {}", &[&checkpoint, &space, &model]).ok().json();
    let max = run_line("info --arch max --space {}", &[&space]).ok().json();
    assert_eq!(report["params"], max["params"]);
    assert_eq!(report["unused"], json!([]));
    let refused = run_line("import supernet {} --space tiny-28 -o {}", &[&checkpoint, &model.with_extension("no")]);
    assert_refused(&refused, "expected [");

    let reference = golden.join("mbv3-small");
    let (input, calibration, output) = (reference.join("inputs-64.npy"), reference.join("calib.npy"), at("y.npy"));
    let (dynamic, _) = read_npy(&reference.join("logits-dynamic-64.npy"));
    let (recalibrated, shape) = read_npy(&reference.join("logits-recalibrated-64.npy"));
    let per_case = (shape[1] * shape[2]) as usize;
    for (index, case) in cases["cases"].as_array().unwrap().iter().enumerate() {
        std::fs::write(&arch, case["arch"].to_string()).unwrap();
        let expected = |all: &[f32]| all[index * per_case..(index + 1) * per_case].to_vec();
        let line = "forward --model {} --arch {} --input {} --output {}";
        run_line(line, &[&model, &arch, &input, &output]).ok();
        assert_close(&read_npy(&output).0, &expected(&dynamic), 1e-4, &format!("{case}"));
        let line = format!("{line} --calibrate {{}} --calibrate-batches 10,8,6");
        run_line(&line, &[&model, &arch, &input, &output, &calibration]).ok();
        assert_close(&read_npy(&output).0, &expected(&recalibrated), 1e-4, &format!("{case}, recalibrated"));
    }
}
