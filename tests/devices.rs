//! From a device to a file, through the program: profiles, calibration, the user's command, export in every precision.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

use program::{run_line, train};
use rand::SeedableRng;
use serde_json::{Value, json};
use std::path::Path;

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("no number `{field}` in {value}"))
}

#[test]
fn a_profile_is_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (profile, scatter) = (file("machine.toml"), file("scatter.jsonl"));
    let line = "profile --space tiny-28 --resolutions 20 --rounds 3 --nets 12 --check 12 --check-output {} -o {}";
    let report = run_line(line, &[&scatter, &profile]).ok().json();
    assert!(number(&report, "entries") > 20.0 && number(&report["check"], "nets") == 12.0, "{report}");
    assert!(!file("machine.toml.partial").exists());
    let latency = |device: &Path, arch: &str| {
        run_line(&format!("latency --device {{}} --space tiny-28 --arch {arch}"), &[device])
    };
    let line = latency(&profile, "min").ok().json();
    assert_eq!(line["source"], "table");
    assert!(number(&line, "latency_ms") > 0.0);
    // Other image sizes were not measured, and nothing is guessed.
    let refused = latency(&profile, "max");
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("no entry"), "{}", refused.stderr);
    // The comparison serves as measurements for other kinds of device.
    let fitted = file("fitted.toml");
    run_line("devices fit --space tiny-28 --measured {} -o {}", &[&scatter, &fitted]).ok();
    assert!(number(&latency(&fitted, "max").ok().json(), "latency_ms") > 0.0);
    let calibrated = file("calibrated.toml");
    let line = "devices calibrate --device pixel4-cpu --space tiny-28 --measured {} -o {}";
    let report = run_line(line, &[&scatter, &calibrated]).ok().json();
    assert!(number(&report, "mape_after") <= number(&report, "mape_before"), "{report}");
    assert!(number(&latency(&calibrated, "max").ok().json(), "latency_ms") > 0.0);
    let line = "devices calibrate --device {} --space tiny-28 --measured {} -o {}";
    run_line(line, &[&profile, &scatter, &calibrated]).ok();
    let refused = run_line("devices calibrate --device host --space tiny-28 --measured {} -o {}", &[&scatter, &fitted]);
    assert_eq!(refused.code, Some(2));
    // The published layout, read back.
    let table = file("machine.yaml");
    run_line("profile --space tiny-28 --resolutions 20 --rounds 1 --nets 0 --format yaml -o {}", &[&table]).ok();
    assert!(number(&latency(&table, "min").ok().json(), "latency_ms") > 0.0);
}

#[test]
fn timings_of_different_runtimes_or_threads_are_never_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (profile, scatter) = (file("machine.toml"), file("scatter.jsonl"));
    let line = "profile --space tiny-28 --resolutions 20 --rounds 1 --nets 8 --check 8 --check-output {} -o {}";
    run_line(line, &[&scatter, &profile]).ok();
    let text = std::fs::read_to_string(&scatter).unwrap();
    assert!(text.contains("\"threads\":1") && text.contains("\"runtime\":\"rten "), "{text}");
    let (first, rest) = text.split_once('\n').unwrap();
    let others = [("\"threads\":1", "\"threads\":2"), ("\"runtime\":\"rten ", "\"runtime\":\"onnxruntime ")];
    for (own, other) in others {
        let mixed = file("mixed.jsonl");
        std::fs::write(&mixed, format!("{first}\n{}", rest.replace(own, other))).unwrap();
        let line = "devices fit --space tiny-28 --measured {} -o {}";
        let refused = run_line(line, &[&mixed, &file("fitted.toml")]);
        assert!(refused.code == Some(2) && refused.stderr.contains("mixed.jsonl:2"), "{refused:?}");
        std::fs::write(&mixed, text.replace(own, other)).unwrap();
        let line = "devices calibrate --device {} --space tiny-28 --measured {} -o {}";
        let refused = run_line(line, &[&profile, &mixed, &file("calibrated.toml")]);
        assert!(refused.code == Some(2) && refused.stderr.contains("never mixed"), "{refused:?}");
        // A roofline is of no runtime.
        run_line(line, &[Path::new("pixel4-cpu"), &mixed, &file("calibrated.toml")]).ok();
    }
}

/// Starts the program, waits for a file, sends what Ctrl-C sends, and returns the exit code.
#[cfg(unix)]
fn interrupted(line: &str, paths: &[&Path], sign: &Path) -> Option<i32> {
    let mut paths = paths.iter();
    let arguments: Vec<std::ffi::OsString> = line
        .split_whitespace()
        .map(|word| if word == "{}" { paths.next().unwrap().as_os_str().to_owned() } else { word.into() })
        .collect();
    let mut child = program::program(&arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
    while !sign.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {} was there", sign.display());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    child.wait().unwrap().code()
}

#[cfg(unix)]
#[test]
fn a_profile_is_cancelled_and_goes_on_in_the_same_way_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (profile, partial) = (file("machine.toml"), file("machine.toml.partial"));
    let line = "profile --space tiny-28 --rounds 3 --nets 8 -o {}";
    assert_eq!(interrupted(line, &[&profile], &partial), Some(130));
    assert!(partial.exists() && !profile.exists());
    let kept = std::fs::read(&partial).unwrap();
    let refused = run_line(&format!("{line} --threads 2"), &[&profile]);
    assert!(refused.code == Some(2) && refused.stderr.contains("never mixed"), "{refused:?}");
    assert_eq!(std::fs::read(&partial).unwrap(), kept);
    let done = run_line(line, &[&profile]).ok();
    assert!(done.stderr.contains("going on from"), "{}", done.stderr);
    assert_eq!(done.json()["threads"], 1);
    assert!(profile.exists() && !partial.exists());
}

#[cfg(unix)]
#[test]
fn measuring_by_a_command_is_cancelled_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (board, script, started, ended) = (file("board.toml"), file("bench.sh"), file("started"), file("ended"));
    let text =
        format!("trap 'echo > {}; exit 1' TERM\necho > {}\nsleep 1000 &\nwait\n", ended.display(), started.display());
    std::fs::write(&script, text).unwrap();
    let device = format!(
        "[device]\nkind = \"command\"\ncommand = [\"sh\", \"{}\", \"{{onnx}}\"]\ncache = \"\"\n",
        script.display()
    );
    std::fs::write(&board, device).unwrap();
    let lines = [
        "latency --allow-commands --device {} --space tiny-28 --arch min",
        "profile --allow-commands --device {} --space tiny-28 -o {}",
        "search --allow-commands --device {} --accuracy {} --space tiny-28 --strategy random --max-latency-ms 3",
    ];
    let seconds = [None, Some(file("profile.toml")), Some(predictor(folder.path()))];
    for (line, second) in lines.iter().zip(&seconds) {
        let paths: Vec<&Path> = std::iter::once(board.as_path()).chain(second.as_deref()).collect();
        assert_eq!(interrupted(line, &paths, &started), Some(130), "{line}");
        assert!(ended.exists(), "{line}: the command was not asked to end");
        std::fs::remove_file(&started).unwrap();
        std::fs::remove_file(&ended).unwrap();
    }
}

#[test]
fn a_run_profiles_this_machine_and_its_result_is_searched_with() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let plan = "[train]\nspace = \"tiny-28\"\ndata = \"bundled\"\nbatch_size = 16\nvalidation_images = 60\n\
                calibration_images = 32\n[[train.phases]]\nname = \"all\"\n\
                opens = { kernel_size = 2, depth = 2, expansion = 2 }\nepochs = 0.005\nlearning_rate = 0.05\n\
                [collect]\ncount = 12\ncalibration_images = 32\n[deploy]\nhost_nets = 6\nhost_runs = 3\n\
                [search]\nevaluations = 200\n[[search.devices]]\ndevice = \"pixel4-cpu\"\n";
    std::fs::write(file("plan.toml"), plan).unwrap();
    run_line("run {} --out {}", &[&file("plan.toml"), &file("out")]).ok();
    let timings: Value = serde_json::from_slice(&std::fs::read(file("out/work/timings.json")).unwrap()).unwrap();
    assert_eq!(timings["latency_check"].as_array().unwrap().len(), 6);
    assert!(file("out/plots/latency.svg").exists() && file("out/plots/latency-roofline.svg").exists());
    let page = std::fs::read_to_string(file("out/report.html")).unwrap();
    assert!(page.contains("Predicted latency on this machine"));
    // The three steps of a newcomer: search on the profile, take what was found, export it.
    let line = "search --space tiny-28 --accuracy {} --device {} --strategy random --max-latency-ms 50";
    let found = run_line(line, &[&file("out/work/predictor.json"), &file("out/work/host.toml")]).ok();
    std::fs::write(file("found.json"), &found.stdout).unwrap();
    let line = "extract --model {} --arch {} -o {}";
    let supernet = file("out/work/train/supernet.safetensors");
    run_line(line, &[&supernet, &file("found.json"), &file("net.safetensors")]).ok();
    // Of several networks none is chosen silently.
    let mut several = found.json();
    let first = several["results"][0].clone();
    several["results"].as_array_mut().unwrap().push(first);
    std::fs::write(file("found.json"), several.to_string()).unwrap();
    let refused = run_line(line, &[&supernet, &file("found.json"), &file("net.safetensors")]);
    assert!(refused.code == Some(2) && refused.stderr.contains("2 networks, expected one"), "{refused:?}");
}

#[test]
fn a_dropped_in_profile_is_a_device_and_a_malformed_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("my-board.toml");
    let text = "[device]\nkind = \"roofline\"\nname = \"my board\"\npeak_gmacs = 24.0\npeak_source = \"data sheet\"\n\
                bandwidth_gb_s = 12.8\nbandwidth_source = \"data sheet\"\n";
    std::fs::write(&profile, text).unwrap();
    let line = ["latency", "--device", "my-board", "--space", "tiny-28", "--arch", "max", "--json"];
    let run = |line: &[&str]| program::program(line).env("OFA_DEVICE_PATH", folder.path()).output().unwrap();
    let found = run(&line);
    assert!(found.status.success() && String::from_utf8_lossy(&found.stdout).contains("analytic"), "{found:?}");
    assert!(String::from_utf8_lossy(&run(&["devices"]).stdout).contains("my-board"));
    std::fs::write(&profile, text.replace("24.0", "\"fast\"")).unwrap();
    let refused = run(&line);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2));
    assert!(said.contains("my-board.toml: line 4, `device.peak_gmacs`"), "{said}");
    assert!(String::from_utf8_lossy(&run(&["devices"]).stderr).contains("line 4, `device.peak_gmacs`"));
}

#[test]
fn an_unfinished_profile_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("machine.toml");
    let partial = folder.path().join("machine.toml.partial");
    std::fs::write(&partial, r#"{"fingerprint":"another","groups":[{"pacer_ms":1.0,"ms":{"x":1.0}}]}"#).unwrap();
    let refused = run_line("profile --space tiny-28 --resolutions 20 --rounds 1 --nets 0 -o {}", &[&profile]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("machine.toml.partial") && refused.stderr.contains("never mixed"));
    std::fs::write(&partial, "nonsense").unwrap();
    let refused = run_line("profile --space tiny-28 --resolutions 20 --rounds 1 --nets 0 -o {}", &[&profile]);
    assert!(refused.code == Some(2) && refused.stderr.contains("machine.toml.partial"), "{refused:?}");
}

#[test]
fn runtimes_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("machine.toml");
    let refused = run_line("profile --space tiny-28 --runtime tensorflow -o {}", &[&profile]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("rten, onnxruntime"), "{}", refused.stderr);
}

#[cfg(unix)]
#[test]
fn a_board_is_profiled_by_the_user_s_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    // A "board" whose time is the size of the file.
    let script = "printf '{\"latency_ms\": %d}\\n' \"$(wc -c < \"$1\")\"\n";
    std::fs::write(file("bench.sh"), script).unwrap();
    let device = format!(
        "[device]\nkind = \"command\"\nname = \"board\"\ncommand = [\"sh\", \"{}\", \"{{onnx}}\"]\ncache = \"{}\"\n",
        file("bench.sh").display(),
        file("cache").display()
    );
    std::fs::write(file("board.toml"), device).unwrap();
    let (board, profile) = (file("board.toml"), file("profile.toml"));
    let line = "profile --allow-commands --device {} --space tiny-28 --resolutions 20 --nets 10 -o {}";
    let report = run_line(line, &[&board, &profile]).ok().json();
    assert_eq!(report["runtime"], "command board");
    let latency = |device: &Path| {
        let line = run_line("latency --allow-commands --device {} --space tiny-28 --arch min", &[device]).ok().json();
        number(&line, "latency_ms")
    };
    let (predicted, measured) = (latency(&profile), latency(&board));
    assert!((predicted / measured - 1.0).abs() < 0.1, "{predicted} {measured}");
}

#[test]
fn a_trained_net_is_exported_in_every_precision_and_scored() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    train(folder.path(), "");
    let (supernet, net) = (file("run/supernet.safetensors"), file("net.safetensors"));
    run_line("extract --model {} --arch max --calibrate bundled -o {}", &[&supernet, &net]).ok();
    let (plain, int8, half) = (file("net.onnx"), file("int8.onnx"), file("half.onnx"));
    let (labels, spec) = (file("labels.txt"), file("spec.json"));
    let line = "export --model {} -o {} --verify --labels {} --netspec {} --metadata licence=MIT";
    let report = run_line(line, &[&net, &plain, &labels, &spec]).ok().json();
    assert!(number(&report, "max_abs_diff") <= 1e-4 * number(&report, "max_abs_logit"), "{report}");
    assert_eq!(std::fs::read_to_string(labels).unwrap().lines().count(), 10);
    let spec: Value = serde_json::from_str(&std::fs::read_to_string(spec).unwrap()).unwrap();
    assert!(spec["blocks"].as_array().unwrap().len() > 5 && file("spec.safetensors").exists());
    run_line("export --model {} -o {} --int8 --calibrate bundled --preprocess --verify", &[&net, &int8]).ok();
    let line = "export --model {} -o {} --fp16 --static-batch 2 --verify";
    let report = run_line(line, &[&net, &half]).ok().json();
    assert!(number(&report, "max_abs_diff") <= 2e-2 * number(&report, "max_abs_logit"), "{report}");
    assert!(number(&report, "operations_in_f32") < number(&report, "operations"), "{report}");
    let refused = run_line("export --model {} -o {} --fp16 --fp16-tolerance 0", &[&net, &half]);
    assert!(refused.code == Some(2) && refused.stderr.contains("--fp16-tolerance"), "{refused:?}");
    let (module, weights) = (file("net.py"), file("net.pth"));
    let line = "export --model {} --to torch -o {} --metadata licence=MIT";
    let report = run_line(line, &[&net, &module]).ok().json();
    assert_eq!((&report["output"], &report["weights"]), (&json!(module), &json!(weights)), "{report}");
    let source = std::fs::read_to_string(&module).unwrap();
    assert!(source.contains("def build(") && source.contains("    licence: MIT\n"), "{source}");
    for (options, words) in [
        ("--int8 --calibrate bundled", "--int8 is for ONNX files"),
        ("--verify", "`ofa forward`"),
        ("--opset 17", "--opset is for ONNX files"),
        ("--preprocess", "normalise()"),
    ] {
        let refused = run_line(&format!("export --model {{}} --to torch -o {{}} {options}"), &[&net, &module]);
        assert!(refused.code == Some(2) && refused.stderr.contains(words), "{refused:?}");
    }
    let refused = run_line("export --model {} --to torch -o {}", &[&net, &file("module.onnx")]);
    assert!(refused.code == Some(2) && refused.stderr.contains("ends in .py"), "{refused:?}");
    let refused = run_line("export --model {} -o {}", &[&net, &module]);
    assert!(refused.code == Some(2) && refused.stderr.contains("--to torch"), "{refused:?}");
    std::fs::write(&weights, "a checkpoint of someone else").unwrap();
    let refused = run_line("export --model {} --to torch -o {}", &[&net, &module]);
    assert!(refused.code == Some(2) && refused.stderr.contains("net.pth"), "{refused:?}");
    let bytes = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(bytes(&int8) < bytes(&half) && bytes(&half) < bytes(&plain));
    let top1 = |line: &str, path: &Path| number(&run_line(line, &[path]).ok().json(), "top1");
    let by_us = top1("eval --model {} --data bundled --limit 500", &net);
    let by_runtime = top1("eval --onnx {} --data bundled --limit 500", &plain);
    assert!((by_us - by_runtime).abs() <= 0.002, "{by_us} {by_runtime}");
    let quantised = top1("eval --onnx {} --data bundled --limit 500", &int8);
    assert!((by_us - quantised).abs() <= 0.1, "{by_us} {quantised}");
    let refused = run_line("export --model {} -o {} --int8", &[&net, &int8]);
    assert_eq!(refused.code, Some(2));
    let refused = run_line("export --model {} -o {} --opset 9", &[&net, &int8]);
    assert!(refused.code == Some(2) && refused.stderr.contains("opset"), "{refused:?}");
    let refused = run_line("export --model {} -o {} --metadata licence", &[&net, &int8]);
    assert!(refused.code == Some(2) && refused.stderr.contains("KEY=VALUE"), "{refused:?}");
}

#[test]
fn a_net_trains_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    train(folder.path(), "");
    let (supernet, tuned, again) =
        (file("run/supernet.safetensors"), file("tuned.safetensors"), file("again.safetensors"));
    let line = "finetune --model {} --arch min --data bundled --epochs 0.02 --learning-rate 0.05 -o {}";
    let report = run_line(line, &[&supernet, &tuned]).ok().json();
    // 0.02 epochs of 310 batches of 64 images: all but the 100 of the model's validation split.
    assert_eq!((number(&report, "steps"), number(&report, "images")), (6.0, 100.0), "{report}");
    let load = |path: &Path| ofa::space::Model::load(path).unwrap();
    let (before, after) = (load(&supernet), load(&tuned));
    let head = |model: &ofa::space::Model| {
        model.weights.iter().find(|(name, _)| name.ends_with("linear.bias")).unwrap().1.data.clone()
    };
    assert_ne!(head(&before), head(&after), "nothing was trained");
    run_line(line, &[&supernet, &again]).ok();
    assert_eq!(std::fs::read(&tuned).unwrap(), std::fs::read(&again).unwrap());
    let refused = run_line("finetune --model {} --data bundled --epochs 0 -o {}", &[&tuned, &again]);
    assert!(refused.code == Some(2) && refused.stderr.contains("epochs"), "{refused:?}");
}

/// A predictor of an accuracy that grows with everything, so that limits bind.
fn predictor(folder: &Path) -> std::path::PathBuf {
    let space = ofa::space::registry::named("tiny-28").unwrap();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let mut lines = String::new();
    for _ in 0..60 {
        let arch = space.sample(&ofa::space::Opened::EVERYTHING, &mut rng);
        let macs = ofa::space::cost::macs(&space.resolve(&arch).unwrap()) as f64;
        lines += &format!("{{\"arch\":{},\"top1\":{}}}\n", space.format(&arch), 0.9 + macs * 1e-8);
    }
    let (pairs, predictor) = (folder.join("pairs.jsonl"), folder.join("predictor.json"));
    std::fs::write(&pairs, lines).unwrap();
    run_line("fit --space tiny-28 --predictor elastic-net --pairs {} -o {}", &[&pairs, &predictor]).ok();
    predictor
}

#[test]
fn memory_and_energy_limit_a_search() {
    let folder = tempfile::tempdir().unwrap();
    let (space, predictor) = (ofa::space::registry::named("tiny-28").unwrap(), predictor(folder.path()));
    let search = |limits: &str| {
        let line = format!("search --space tiny-28 --evaluations 1500 --accuracy {{}} {limits}");
        run_line(&line, &[&predictor])
    };
    let found = search("--max-sram-kb 8,12 --max-flash-kb 60").ok().json();
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 2, "{found}");
    for case in results {
        let json: ofa::space::ArchJson = serde_json::from_value(case["arch"].clone()).unwrap();
        let net = space.resolve(&space.parse(&json).unwrap()).unwrap();
        let schedule = ofa::hw::memory::Schedule::MICROCONTROLLER;
        let sram = ofa::hw::memory::peak_activation_bytes(&net, schedule) as f64 / 1024.0;
        assert!(sram <= number(&case["constraint"], "sram_kb"), "{case}");
        assert!(ofa::hw::memory::weight_bytes(&net, 1) <= 60 * 1024, "{case}");
    }
    let found = search("--device stm32f746 --max-energy-mj 0.05").ok().json();
    assert!(found["results"][0]["arch"].is_object(), "{found}");
    let refused = search("--device v100 --max-energy-mj 0.05");
    assert!(refused.code == Some(2) && refused.stderr.contains("pj_per_mac"), "{refused:?}");
}

#[test]
fn a_latency_predictor_is_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let accuracy = predictor(folder.path());
    let space = ofa::space::registry::named("tiny-28").unwrap();
    let archs = ofa::hw::random_archs(space.as_ref(), 120, 3);
    let lines: Vec<String> = archs.iter().map(|arch| space.format(arch).to_string()).collect();
    std::fs::write(file("archs.jsonl"), lines.join("\n")).unwrap();
    let timed = run_line("latency --device pixel4-cpu --space tiny-28 --archs {}", &[&file("archs.jsonl")]).ok();
    std::fs::write(file("timings.jsonl"), &timed.stdout).unwrap();
    let line = "fit --target latency --space tiny-28 --predictor ridge --pairs {} -o {}";
    run_line(line, &[&file("timings.jsonl"), &file("latency.json")]).ok();
    let profile = |predictor: &str| {
        let text = format!("[device]\nkind = \"predictor\"\npredictor = \"{predictor}\"\nspace = \"tiny-28\"\n");
        std::fs::write(file("phone.toml"), text).unwrap();
    };
    profile("latency.json");
    let phone = file("phone.toml");
    let latency = |device: &Path| {
        let line = run_line("latency --device {} --space tiny-28 --arch max", &[device]).ok().json();
        assert_eq!(line["source"], "analytic");
        number(&line, "latency_ms")
    };
    let (predicted, roofline) = (latency(&phone), latency(Path::new("pixel4-cpu")));
    // The largest subnet lies beyond the random ones, and ridge regression is a line.
    assert!((predicted / roofline - 1.0).abs() < 0.2, "{predicted} ms, {roofline} ms");
    let devices = program::program(&["devices", "--json"]).env("OFA_DEVICE_PATH", folder.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&devices.stdout).contains("\"phone\""), "{devices:?}");
    let limit = 0.6 * latency(&phone);
    let line =
        format!("search --space tiny-28 --evaluations 1500 --accuracy {{}} --device {{}} --max-latency-ms {limit}");
    let found = run_line(&line, &[&accuracy, &phone]).ok().json();
    let found = number(&found["results"][0], "latency_ms");
    assert!(found <= limit && found > 0.9 * limit, "{found} {limit}");
    let other = run_line("latency --device {} --space cifar-32 --arch max", &[&phone]);
    assert!(other.code == Some(2) && other.stderr.contains("`tiny-28`"), "{other:?}");
    profile("predictor.json");
    let refused = run_line("latency --device {} --space tiny-28 --arch max", &[&phone]);
    assert!(refused.code == Some(2) && refused.stderr.contains("accuracy"), "{refused:?}");
}
