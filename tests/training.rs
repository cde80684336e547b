//! `ofa train`: the plan without the work, a user's own folders, and starting from a supernet that exists.
#![allow(clippy::unwrap_used, missing_docs)]

mod program;

#[path = "program/photos.rs"]
#[allow(dead_code)]
mod photos;

use program::{TRAINING, run_line, train};
use std::path::Path;

/// A few steps on photos of any size.
const PHOTOS: &str = r#"
batch_size = 16
validation_images = 20
calibration_images = 32

[space]
kind = "mbv3"
name = "small"
width = 0.35
resolutions = [32, 40]
expand_ratios = [2, 3]
depths = [1, 2]

[[phases]]
name = "all"
opens = { kernel_size = 1, depth = 1, expansion = 1 }
epochs = 0.3
learning_rate = 0.01
subnets_per_step = 2
"#;

#[test]
fn a_dry_run_tells_the_plan_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("training.toml");
    std::fs::write(&config, TRAINING).unwrap();
    let plan = run_line("train {} --dry-run --images 3200", &[&config]).ok().json();
    assert_eq!(plan["steps_per_epoch"], 200);
    // 0.01 and 0.005 epochs of 200 steps.
    assert_eq!(plan["steps"], 3);
    assert_eq!(plan["samples"], 48);
    assert_eq!(plan["phases"][1]["passes"], 2);
    assert_eq!(plan["phases"][1]["teacher"], true);
    for number in [&plan["seconds"], &plan["probe"]["largest_ms"], &plan["memory"]["activations"]] {
        assert!(number.as_f64().unwrap() > 0.0, "{plan}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let refused = run_line("train {}", &[&config]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("--out"), "{refused:#?}");
    // Data that are not here yet: the plan can be had without them.
    let refused = run_line("train {} --dry-run --data {}", &[&config, &folder.path().join("nowhere")]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("nowhere") && refused.stderr.contains("--images N"), "{refused:#?}");
}

/// Epochs and subnets a step of every phase.
fn phases(file: &Path) -> Vec<(f64, i64)> {
    let config: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    let phase =
        |phase: &toml::Value| (phase["epochs"].as_float().unwrap(), phase["subnets_per_step"].as_integer().unwrap());
    config["phases"].as_array().unwrap().iter().map(phase).collect()
}

#[test]
fn a_budget_is_decided_once_and_read_again_by_the_same_training() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("training.toml"), folder.path().join("run"));
    std::fs::write(&config, TRAINING).unwrap();
    let short = run_line("train {} --out {} --budget 1ms", &[&config, &out]);
    assert_eq!(short.code, Some(2), "{short:#?}");
    assert!(short.stderr.contains("less than one step") && short.stderr.contains("resolution"), "{short:#?}");
    assert!(!out.join("train.toml").exists());
    let wrong = run_line("train {} --out {} --budget soon", &[&config, &out]);
    assert_eq!(wrong.code, Some(2), "{wrong:#?}");

    let begun = run_line("train {} --out {} --budget 2s", &[&config, &out]).ok();
    assert!(begun.stderr.contains("in epochs: resolution"), "{begun:#?}");
    let chosen = phases(&out.join("train.toml"));
    // One factor; too few steps for two subnets a step, so twice as many of one.
    assert!((chosen[0].0 / chosen[1].0 - 1.0).abs() < 0.01, "{chosen:?}");
    assert_eq!(chosen.iter().map(|phase| phase.1).collect::<Vec<_>>(), [1, 1]);
    let model = std::fs::read(out.join("supernet.safetensors")).unwrap();

    // Neither another budget nor none measures anew.
    for options in ["--budget 1h", ""] {
        run_line(&format!("train {{}} --out {{}} --resume {options}"), &[&config, &out]).ok();
        assert_eq!(phases(&out.join("train.toml")), chosen);
        assert_eq!(std::fs::read(out.join("supernet.safetensors")).unwrap(), model);
    }
    std::fs::write(&config, TRAINING.replace("\"expansion\"", "\"everything\"")).unwrap();
    let other = run_line("train {} --out {} --resume", &[&config, &out]);
    assert_eq!(other.code, Some(2), "{other:#?}");
    assert!(other.stderr.contains("train.toml") && other.stderr.contains("everything"), "{other:#?}");
}

/// 200 photos in two classes; the fifth file is cut off.
fn two_classes(folder: &Path) -> String {
    let files = photos::write(folder, 100);
    for file in files.iter().filter(|file| file.starts_with(folder.join(photos::CLASSES[2]))) {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::remove_dir(folder.join(photos::CLASSES[2])).unwrap();
    let whole = std::fs::read(&files[4]).unwrap();
    std::fs::write(&files[4], &whole[..whole.len() / 2]).unwrap();
    files[4].file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_folder_of_one_s_own_trains_with_and_without_parts() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("photos.toml");
    std::fs::write(&config, PHOTOS).unwrap();
    let (plain, parts) = (folder.path().join("plain photos"), folder.path().join("in parts é"));
    let broken = two_classes(&plain);
    two_classes(&parts.join("train"));
    for (number, class) in photos::CLASSES[..2].iter().enumerate() {
        let (from, to) = (parts.join("train").join(class), parts.join("val").join(class));
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(&from).unwrap().skip(10 * number + 20).take(20) {
            let path = file.unwrap().path();
            std::fs::rename(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
    for (data, name) in [(&plain, "a"), (&parts, "b")] {
        let out = folder.path().join(name);
        let refused = run_line("train {} --data {} --out {}", &[&config, data, &out]);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains(&broken), "the corrupt file is not named: {refused:#?}");
        let line = "train {} --data {} --out {} --on-corrupt skip";
        let trained = run_line(line, &[&config, data, &out]).ok();
        assert!(trained.stderr.contains("1 files left out"), "{trained:#?}");
        assert!(Path::new(trained.json()["model"].as_str().unwrap()).is_file());
    }
}

#[test]
fn training_goes_on_from_a_supernet_with_the_same_or_other_classes() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "");
    let first = folder.path().join("run/supernet.safetensors");
    let init = |new_head: bool| {
        format!(
            "data = \"bundled\"\nvalidation_images = 100\ncalibration_images = 64\nbatch_size = 16\n[init]\nmodel = {}\n\
             new_head = {new_head}\n[[phases]]\nname = \"more\"\nopens = {{ kernel_size = 1, depth = 2, expansion = 2 \
             }}\nepochs = 0.003\nlearning_rate = 0.001\n",
            toml::Value::from(first.to_str().unwrap())
        )
    };
    let config = folder.path().join("more.toml");
    std::fs::write(&config, init(false)).unwrap();
    let again = run_line("train {} --out {}", &[&config, &folder.path().join("more")]).ok().json();
    // The space is the model's; a few small steps leave the weights near where they were.
    let load = |path: &Path| ofa_space::Model::load(path).unwrap();
    let (before, after) = (load(&first), load(Path::new(again["model"].as_str().unwrap())));
    assert_eq!(after.space().unwrap().name(), "tiny-28");
    let mut moved = 0.0f32;
    for (name, old) in before.weights.iter().filter(|(name, _)| name.ends_with("conv.weight")) {
        let new = after.weights.get(name).unwrap();
        let difference = old.data.iter().zip(&new.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 0.1, "{name} moved by {difference}: it did not start from the model");
        moved = moved.max(difference);
    }
    assert!(moved > 0.0, "nothing was trained");

    // Two classes of photos: the classifier does not fit, unless it starts afresh.
    let data = folder.path().join("photos");
    two_classes(&data);
    let out = folder.path().join("photos-out");
    let line = "train {} --data {} --out {} --on-corrupt skip";
    let refused = run_line(line, &[&config, &data, &out]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("--new-head"), "{refused:#?}");
    let out = folder.path().join("photos-new-head");
    let trained = run_line(&format!("{line} --new-head"), &[&config, &data, &out]).ok().json();
    let model = trained["model"].as_str().unwrap();
    let pairs = folder.path().join("pairs.jsonl");
    let line = "collect --model {} --data {} --count 12 -o {} --calibration-images 32 --on-corrupt skip";
    assert_eq!(run_line(line, &[Path::new(model), &data, &pairs]).ok().lines().len(), 12);
    // The new task's predictor, and the best subnet by it.
    let predictor = folder.path().join("predictor.json");
    run_line("fit --space tiny-28 --predictor elastic-net --pairs {} -o {}", &[&pairs, &predictor]).ok();
    let line = "search --space tiny-28 --strategy random --max-macs 1.5e6 --accuracy {}";
    let found = run_line(line, &[&predictor]).ok().json();
    assert!(found["results"][0]["macs"].as_f64().unwrap() <= 1.5e6, "{found}");

    let without = folder.path().join("without.toml");
    std::fs::write(&without, TRAINING).unwrap();
    let refused = run_line("train {} --out {} --new-head", &[&without, &folder.path().join("x")]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("[init]"), "{refused:#?}");
}

/// A teacher of one's own, which is neither the supernet's largest subnet nor of its resolution.
#[test]
fn another_network_teaches() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "");
    let supernet = folder.path().join("run/supernet.safetensors");
    let [largest, smallest] = ["max", "min"].map(|arch| {
        let net = folder.path().join(format!("{arch}.safetensors"));
        run_line(&format!("extract --model {{}} --arch {arch} --calibrate bundled -o {{}}"), &[&supernet, &net]).ok();
        net
    });
    let config = folder.path().join("taught.toml");
    let write = |distillation: &str, sampler: &str| {
        let sampler = format!("sampler = {{ kind = \"{sampler}\" }}");
        std::fs::write(&config, format!("distillation = {distillation}\n{sampler}\n{TRAINING}")).unwrap();
    };
    let taught_by = |net: &Path| format!("{{ weight = 0.5, teacher = {} }}", toml::Value::from(net.to_str().unwrap()));
    let trained = |name: &str| {
        let report = run_line("train {} --out {}", &[&config, &folder.path().join(name)]).ok().json();
        std::fs::read(report["model"].as_str().unwrap()).unwrap()
    };
    write("0.5", "uniform");
    let plan = run_line("train {} --dry-run --images 3200", &[&config]).ok().json();
    assert_eq!([&plan["phases"][0]["teacher"], &plan["phases"][1]["teacher"]], [false, true], "{plan}");
    let by_itself = trained("itself");
    write(&taught_by(&largest), "uniform");
    let plan = run_line("train {} --dry-run --images 3200", &[&config]).ok().json();
    assert_eq!([&plan["phases"][0]["teacher"], &plan["phases"][1]["teacher"]], [true, true], "{plan}");
    let by_largest = trained("largest");
    assert!(by_largest != by_itself, "the teacher changed nothing");
    assert!(by_largest == trained("largest again"));
    write(&taught_by(&smallest), "uniform");
    assert!(by_largest != trained("smallest"), "another teacher changed nothing");
    // Weights of another teacher under the same name are another job.
    write(&taught_by(&largest), "uniform");
    std::fs::copy(&smallest, &largest).unwrap();
    let refused = run_line("train {} --out {} --resume", &[&config, &folder.path().join("largest")]);
    assert!(refused.code != Some(0), "{refused:#?}");
    write(&taught_by(&largest), "sandwich");
    assert!(trained("sandwich") != by_largest);
    for (teacher, expected) in [(&supernet, "--arch"), (&folder.path().join("none.safetensors"), "none.safetensors")] {
        write(&taught_by(teacher), "uniform");
        let refused = run_line("train {} --out {}", &[&config, &folder.path().join("refused")]);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains("distillation.teacher") || refused.stderr.contains(expected), "{refused:#?}");
    }
    write("{ strength = 1 }", "uniform");
    let refused = run_line("train {} --out {}", &[&config, &folder.path().join("refused")]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("`weight` and `teacher`"), "{refused:#?}");
}

/// A network whose batch norms were folded by an exporter gets them back, measured on training images.
#[test]
fn a_folded_network_becomes_a_supernet() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "");
    let [net, onnx, folded] =
        ["net.safetensors", "net.onnx", "folded.safetensors"].map(|name| folder.path().join(name));
    let supernet = folder.path().join("run/supernet.safetensors");
    run_line("extract --model {} --arch max --calibrate bundled -o {}", &[&supernet, &net]).ok();
    run_line("export --model {} -o {}", &[&net, &onnx]).ok();
    run_line("import pretrained {} --mean 0.1307 --std 0.3081 -o {}", &[&onnx, &folded]).ok();
    let config = folder.path().join("folded.toml");
    let text = format!(
        "data = \"bundled\"\nvalidation_images = 100\ncalibration_images = 64\nbatch_size = 16\n[init]\nmodel = {}\n\
         [[phases]]\nname = \"all\"\nopens = {{ kernel_size = 1, depth = 2, expansion = 2 }}\nepochs = 0.003\n\
         learning_rate = 0.0001\n",
        toml::Value::from(folded.to_str().unwrap())
    );
    std::fs::write(&config, text).unwrap();
    let report = run_line("train {} --out {}", &[&config, &folder.path().join("out")]).ok().json();
    let model = Path::new(report["model"].as_str().unwrap()).to_owned();
    let trained = ofa_space::Model::load(&model).unwrap();
    assert!(trained.weights.iter().any(|(name, _)| name.ends_with("running_var")), "no batch norm was put back");
    // Twelve steps at a small rate leave the largest subnet nearly what the folded network is.
    let top1 = |line: &str, file: &Path| {
        let report = run_line(&format!("{line} --data bundled --split validation"), &[file]).ok().json();
        report["top1"].as_f64().unwrap()
    };
    let (before, after) = (top1("eval --model {}", &folded), top1("eval --model {} --arch max", &model));
    assert!((before - after).abs() < 0.15, "{before} became {after}");
}

#[test]
fn every_sampler_and_loss_trains() {
    let folder = tempfile::tempdir().unwrap();
    let names = |command: &str| {
        let listed = run_line(command, &[]).ok().json();
        listed.as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (samplers, losses) = (names("samplers"), names("losses"));
    assert!(samplers.len() >= 4 && losses.len() >= 3);
    let few = TRAINING.replace("epochs = 0.01", "epochs = 0.001").replace("epochs = 0.005", "epochs = 0.001");
    let few = few.replace("subnets_per_step = 2", "subnets_per_step = 3");
    let with_default = |table: &str| format!("{table}\n{few}");
    let tables = samplers.iter().map(|name| format!("sampler = {{ kind = \"{name}\" }}"));
    let tables = tables.chain(losses.iter().map(|name| format!("loss = {{ kind = \"{name}\" }}")));
    for (number, table) in tables.enumerate() {
        let config = folder.path().join(format!("{number}.toml"));
        std::fs::write(&config, with_default(&table)).unwrap();
        let out = folder.path().join(format!("out-{number}"));
        let report = run_line("train {} --out {}", &[&config, &out]).ok().json();
        assert_eq!(report["phases"].as_array().unwrap().len(), 2, "{table}");
    }
    let config = folder.path().join("bad.toml");
    for (table, expected) in [
        ("sampler = { kind = \"pareto_aware\", candidates = 0 }", "sampler.candidates"),
        ("loss = { kind = \"kl\", temperature = -1 }", "loss.temperature"),
        ("loss = { kind = \"kul\" }", "kul"),
        ("keep = 0", "keep"),
        ("precision = \"fp8\"", "bf16"),
        ("ema_decay = 1.0", "ema_decay"),
        ("prefetch = 100", "prefetch"),
    ] {
        std::fs::write(&config, with_default(table)).unwrap();
        let refused = run_line("train {} --out {}", &[&config, &folder.path().join("bad")]);
        assert_eq!(refused.code, Some(2), "{table}: {refused:#?}");
        assert!(refused.stderr.contains(expected), "{table}: {refused:#?}");
    }
}

#[test]
fn bf16_trains_repeatably_and_scores_near_f32() {
    let folder = tempfile::tempdir().unwrap();
    let model = |name: &str, table: &str, options: &str| {
        let (config, out) = (folder.path().join(format!("{name}.toml")), folder.path().join(name));
        std::fs::write(&config, format!("{table}\n{TRAINING}")).unwrap();
        run_line(&format!("train {{}} --out {{}} {options}"), &[&config, &out]).ok();
        std::fs::read(out.join("supernet.safetensors")).unwrap()
    };
    let single = model("f32", "", "");
    assert!(single == model("named", "precision = \"f32\"", ""));
    let half = model("bf16", "precision = \"bf16\"", "--threads 1");
    assert!(single != half);
    assert!(half == model("again", "precision = \"bf16\"", "--threads 2"));
    let recorded = std::fs::read_to_string(folder.path().join("bf16/training.json")).unwrap();
    assert!(recorded.contains("bf16"), "{recorded}");

    // The same run in f32 is another training.
    let changed =
        run_line("train {} --out {} --resume", &[&folder.path().join("f32.toml"), &folder.path().join("bf16")]);
    assert_eq!(changed.code, Some(2), "{changed:#?}");
    assert!(changed.stderr.contains("precision"), "{changed:#?}");

    let supernet = folder.path().join("bf16/supernet.safetensors");
    let score = |options: &str| {
        let line =
            format!("eval --model {{}} --arch max --data bundled --limit 200 --calibration-images 100 {options}");
        run_line(&line, &[&supernet]).ok().json()["top1"].as_f64().unwrap()
    };
    assert!((score("") - score("--precision bf16")).abs() < 0.05);
    let wrong = run_line("eval --model {} --arch max --data bundled --precision fp8", &[&supernet]);
    assert_eq!(wrong.code, Some(2), "{wrong:#?}");
    assert!(wrong.stderr.contains("bf16"), "{wrong:#?}");
}

#[test]
fn the_shipped_configurations_are_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let official = ofa_train::shrinking::TrainConfig::load(&examples.join("imagenet.toml")).unwrap();
    // ImageNet's training images less those for validation.
    let phases = official.plan(1_281_167 - official.validation_images);
    let batches = official.batches(1_281_167 - official.validation_images);
    let epochs: Vec<(usize, usize)> =
        phases.iter().map(|phase| (phase.steps / batches, phase.warmup_steps / batches)).collect();
    assert_eq!(epochs, [(180, 0), (120, 5), (25, 0), (120, 5), (25, 0), (120, 5)]);
    let subnets: Vec<usize> = phases.iter().map(|phase| phase.subnets_per_step).collect();
    assert_eq!(subnets, [1, 1, 2, 2, 4, 4]);
    let sorted: Vec<bool> = phases.iter().map(|phase| phase.sort_channels).collect();
    assert_eq!(sorted, [false, false, false, false, true, true]);
    let distilled: Vec<bool> = phases.iter().map(|phase| phase.distil).collect();
    assert_eq!(distilled, [false, true, true, true, true, true]);
    // The authors' base rates for 64 images, times 32.
    let rates: Vec<f64> = phases[1..].iter().map(|phase| phase.learning_rate / 32.0).collect();
    for (rate, base) in rates.iter().zip([3e-2, 2.5e-3, 7.5e-3, 2.5e-3, 7.5e-3]) {
        assert!((rate - base).abs() < 1e-12, "{rates:?}");
    }
    let small = ofa_train::shrinking::TrainConfig::load(&examples.join("cifar10.toml")).unwrap();
    let space = small.space().unwrap();
    let macs = |arch| ofa_space::cost::macs(&space.resolve(&arch).unwrap());
    assert!(macs(space.min_arch()) <= 1_000_000, "{}", macs(space.min_arch()));
    assert!(macs(space.max_arch()) >= 25_000_000, "{}", macs(space.max_arch()));
}
