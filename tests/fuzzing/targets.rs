//! The readers that are fuzzed: what each reads, how its files are changed, and what is done with what it accepts.

use super::{Scratch, Seed, formats, mutation};
use image::{ImageFormat, RgbImage};
use ofa::export::importing::net_config::NetConfig;
use ofa::export::importing::pretrained::Wanted;
use ofa::export::importing::state_dict::StateDict;
use ofa::export::importing::supernet::imagenet_input;
use ofa::export::{OnnxFile, Runtime, SessionOptions, TorchModule, importing};
use ofa::hw::{DeviceProfile, HardwareBackend, Measurements};
use ofa::predictors::{FittedPredictor, PairsFile, Target as Quantity, pairs};
use ofa::space::{Arch, ArchJson, Model, ModelBody, NetSpec, Opened, SearchSpace, cost, json, memory, registry};
use ofa::train::data::{self, LoadOptions};
use ofa::train::{Images, Supernet, TrainConfig, device};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A reader.
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Valid files.
    pub seeds: fn() -> Vec<Seed>,
    /// Makes another file of a valid one.
    pub change: fn(&[u8], &mut ChaCha8Rng) -> Vec<u8>,
    /// Reads a file, and does with it what commands do; whether it was accepted.
    pub read: fn(&Seed, &Scratch) -> bool,
}

/// Every reader.
pub const ALL: &[Target] = &[
    Target { name: "safetensors", seeds: models, change: formats::safetensors, read: model },
    Target { name: "pth", seeds: checkpoints, change: formats::archive, read: checkpoint },
    Target { name: "onnx", seeds: onnx_files, change: formats::protobuf, read: onnx },
    Target { name: "onnx-runtime", seeds: onnx_files, change: formats::protobuf, read: onnx_in_runtime },
    Target { name: "description", seeds: descriptions, change: formats::json, read: description },
    Target { name: "space-toml", seeds: spaces, change: mutation::text, read: space },
    Target { name: "training-toml", seeds: trainings, change: mutation::text, read: training },
    Target { name: "pipeline-toml", seeds: pipelines, change: mutation::text, read: pipeline },
    Target { name: "device-toml", seeds: devices, change: mutation::text, read: profile },
    Target { name: "tables-yaml", seeds: tables, change: mutation::text, read: table },
    Target { name: "archs", seeds: archs, change: formats::json_lines, read: arch_list },
    Target { name: "pairs", seeds: pairs_files, change: formats::json_lines, read: pairs_file },
    Target { name: "measurements", seeds: measured, change: formats::json_lines, read: measurements },
    Target { name: "predictor", seeds: predictors, change: formats::json, read: predictor },
    Target { name: "idx", seeds: idx_files, change: mutation::bytes, read: in_folder },
    Target { name: "idx-gz", seeds: zipped_idx_files, change: formats::gzip, read: in_folder },
    Target { name: "cifar", seeds: cifar_files, change: mutation::bytes, read: in_folder },
    Target { name: "images", seeds: pictures, change: formats::picture, read: picture },
    Target { name: "labels", seeds: labels_files, change: mutation::text, read: in_folder },
    Target { name: "npy", seeds: arrays, change: mutation::text, read: array },
    Target { name: "results", seeds: results_files, change: formats::json, read: results },
];

/// Files of an earlier version, all of them small.
fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/5257198").join(path)
}

fn fixtures(paths: &[&str]) -> Vec<Seed> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let seed =
        |path: &&str| Seed { name: name(Path::new(path)), bytes: std::fs::read(fixture(path)).expect("a fixture") };
    paths.iter().map(seed).collect()
}

fn seed(name: &str, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { name: name.to_owned(), bytes: bytes.into() }
}

/// The space of most fixtures.
fn mobile() -> &'static Arc<dyn SearchSpace> {
    static SPACE: OnceLock<Arc<dyn SearchSpace>> = OnceLock::new();
    SPACE.get_or_init(|| {
        registry::load(&fixture("models/mobile.safetensors").to_string_lossy()).expect("the space of a fixture")
    })
}

/// The arch of a line of a list or of a pairs file.
fn arch_of(line: &str) -> Option<Arch> {
    let line: serde_json::Value = json::from_str(line).ok()?;
    let genes = line.get("arch").cloned().unwrap_or(line);
    mobile().parse(&serde_json::from_value::<ArchJson>(genes).ok()?).ok()
}

fn some_archs() -> &'static [Arch] {
    static ARCHS: OnceLock<Vec<Arch>> = OnceLock::new();
    ARCHS.get_or_init(|| {
        let text = std::fs::read_to_string(fixture("archs.jsonl")).expect("a fixture");
        text.lines().filter_map(arch_of).collect()
    })
}

/// What `info`, `export` and `forward` do with a network.
fn use_net(model: &Model, net: &NetSpec) {
    /// Multiply-accumulates of networks that are run.
    const FEW: u64 = 5_000_000;
    const SMALL: usize = 64;
    let _ = (cost::params(net), cost::macs(net), cost::macs_se(net));
    let _ = memory::peak_activation_bytes(net, memory::Schedule::MICROCONTROLLER);
    let _ = memory::weight_bytes(net, 1);
    let _ = ofa::export::export(model, net);
    let [channels, height, width] = net.input;
    if cost::macs(net) > FEW || height > SMALL || width > SMALL {
        return;
    }
    let device = device::open("flex").expect("the backend");
    if let Ok(supernet) = Supernet::from_model(model, &device) {
        let images = Images { data: vec![0.5; channels * height * width], shape: [1, height, width, channels] };
        let prepared = supernet.prepare(net, &supernet.running);
        let _ = ofa::train::to_host(prepared.forward(supernet.upload(&images)).logits);
    }
}

fn models() -> Vec<Seed> {
    fixtures(&[
        "models/net.safetensors",
        "models/mobile.safetensors",
        "models/proxyless.safetensors",
        "models/resnet.safetensors",
    ])
}

fn model(input: &Seed, scratch: &Scratch) -> bool {
    let Ok(model) = Model::load(&scratch.put("model.safetensors", &input.bytes)) else { return false };
    match &model.body {
        ModelBody::Net { spec, .. } => {
            use_net(&model, spec);
            let _ = TorchModule::of(&model, &BTreeMap::new());
            if let Ok(space) = model.elastic_space() {
                use_space(space.as_ref());
            }
        }
        ModelBody::Supernet { space } => {
            use_space(space.as_ref());
            for arch in [space.min_arch(), space.max_arch()] {
                if let Ok(net) = model.net(Some(&arch)) {
                    use_net(&model, &net);
                }
                let _ = model.extract(&arch);
            }
        }
    }
    true
}

/// What `info` and a search do with a space.
fn use_space(space: &dyn SearchSpace) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for arch in [space.min_arch(), space.max_arch(), space.sample(&Opened::EVERYTHING, &mut rng)] {
        let _ = space.format(&arch).to_string();
        if let Ok(net) = space.resolve(&arch) {
            let _ = (cost::params(&net), cost::macs(&net));
        }
    }
    let _ = space.fixed_parts();
}

fn checkpoints() -> Vec<Seed> {
    let model = Model::load(&fixture("models/net.safetensors")).expect("a fixture");
    let module = TorchModule::of(&model, &BTreeMap::new()).expect("a module of a fixture");
    vec![seed("net.pth", module.weights)]
}

/// Mean and standard deviation as for photos, at the size of the fixtures.
fn wanted() -> Wanted {
    let input = imagenet_input();
    Wanted { mean: Some(vec![input.mean[0]]), std: Some(vec![input.std[0]]), image_size: Some(28), ..Wanted::default() }
}

fn checkpoint(input: &Seed, scratch: &Scratch) -> bool {
    let path = scratch.put("net.pth", &input.bytes);
    let read = StateDict::read(&path).is_ok();
    let _ = importing::import(&path, &wanted());
    let _ = FittedPredictor::load(&path);
    read
}

fn onnx_files() -> Vec<Seed> {
    fixtures(&["models/net.onnx"])
}

fn onnx(input: &Seed, scratch: &Scratch) -> bool {
    let about = OnnxFile::read(&input.bytes);
    if let Ok(about) = &about {
        let _ = (about.class_names(), about.input_format().map(|format| format.check(about.image[0])));
    }
    let imported = importing::import(&scratch.put("net.onnx", &input.bytes), &wanted());
    if let Ok(imported) = &imported {
        let model = &imported.import.model;
        if let Ok(net) = model.net(None) {
            use_net(model, &net);
        }
    }
    imported.is_ok()
}

fn onnx_in_runtime(input: &Seed, _: &Scratch) -> bool {
    let Ok(about) = OnnxFile::read(&input.bytes) else { return false };
    let [channels, height, width] = about.image;
    let Ok(mut session) = Runtime::default().load(&input.bytes, &SessionOptions::default()) else { return false };
    if channels > 4 || height > 64 || width > 64 || about.batch.is_some_and(|batch| batch > 4) {
        return true;
    }
    let n = about.batch.unwrap_or(1);
    session.run(&vec![0.5; n * channels * height * width], [n, channels, height, width]).is_ok()
}

fn descriptions() -> Vec<Seed> {
    vec![seed("net.config", include_bytes!("description.json"))]
}

fn description(input: &Seed, scratch: &Scratch) -> bool {
    let Ok(config) = NetConfig::read(&scratch.put("net.config", &input.bytes)) else { return false };
    if let Ok(net) = config.net(32) {
        let _ = (net.check(), cost::macs(&net), cost::params(&net));
    }
    true
}

fn spaces() -> Vec<Seed> {
    fixtures(&["spaces/mobile.toml", "spaces/proxyless.toml", "spaces/resnet.toml"])
}

fn space(input: &Seed, scratch: &Scratch) -> bool {
    let path = scratch.put("space.toml", &input.bytes);
    let Ok(space) = registry::load(&path.to_string_lossy()) else { return false };
    use_space(space.as_ref());
    true
}

fn trainings() -> Vec<Seed> {
    fixtures(&["training/training.toml"])
}

fn training(input: &Seed, scratch: &Scratch) -> bool {
    let Ok(config) = TrainConfig::load(&scratch.put("training.toml", &input.bytes)) else { return false };
    if let Ok(space) = config.space() {
        use_space(space.as_ref());
    }
    true
}

fn pipelines() -> Vec<Seed> {
    fixtures(&["pipeline.toml"])
}

fn pipeline(input: &Seed, scratch: &Scratch) -> bool {
    let Ok(config) = ofa::pipeline::config::PipelineConfig::load(&scratch.put("pipeline.toml", &input.bytes)) else {
        return false;
    };
    let _ = config.to_toml();
    true
}

fn devices() -> Vec<Seed> {
    const COMMAND: &str = "[device]\nkind = \"command\"\nname = \"board\"\ncommand = [\"./bench\", \"{onnx}\"]\n\
                           timeout_s = 3.5\nretries = 2\ncache = \"kept\"\n";
    let mut seeds = fixtures(&["devices/block-table.toml", "devices/regression.toml", "devices/roofline.toml"]);
    seeds.push(seed("command.toml", COMMAND));
    seeds
}

fn profile(input: &Seed, scratch: &Scratch) -> bool {
    let Ok(profile) = DeviceProfile::load(&scratch.put("device.toml", &input.bytes)) else { return false };
    use_device(profile.device.as_ref());
    let _ = profile.to_toml();
    true
}

fn use_device(device: &dyn HardwareBackend) {
    for arch in some_archs() {
        let _ = device.subnet_latency_ms(mobile().as_ref(), arch);
    }
}

fn tables() -> Vec<Seed> {
    fixtures(&["devices/published-layout.yaml"])
}

fn table(input: &Seed, scratch: &Scratch) -> bool {
    let path = scratch.put("table.yaml", &input.bytes);
    let Ok(device) = ofa::hw::load(&path.to_string_lossy()) else { return false };
    use_device(device.as_ref());
    true
}

fn archs() -> Vec<Seed> {
    fixtures(&["archs.jsonl"])
}

fn arch_list(input: &Seed, _: &Scratch) -> bool {
    let text = String::from_utf8_lossy(&input.bytes);
    let read = |line: &str| {
        let arch = arch_of(line)?;
        let net = mobile().resolve(&arch).ok()?;
        Some((mobile().format(&arch).to_string(), cost::macs(&net)))
    };
    text.lines().all(|line| line.trim().is_empty() || read(line).is_some())
}

fn pairs_files() -> Vec<Seed> {
    fixtures(&["pairs.jsonl", "collected.jsonl"])
}

fn pairs_file(input: &Seed, scratch: &Scratch) -> bool {
    let path = scratch.put("pairs.jsonl.part", &input.bytes);
    let _ = pairs::read(&path, mobile().as_ref(), Quantity::Latency);
    let read = pairs::read(&path, mobile().as_ref(), Quantity::Accuracy);
    let _ = PairsFile::begin(&scratch.path().join("pairs.jsonl"), mobile().as_ref(), Quantity::Accuracy);
    read.is_ok()
}

fn measured() -> Vec<Seed> {
    fixtures(&["measurements.jsonl"])
}

fn measurements(input: &Seed, scratch: &Scratch) -> bool {
    let path = scratch.put("measurements.jsonl", &input.bytes);
    Measurements::load(&path, mobile().as_ref()).is_ok_and(|found| found.nets(mobile().as_ref()).is_ok())
}

fn predictors() -> Vec<Seed> {
    let names =
        ["auto", "cost-prior", "elastic-net", "gaussian-process", "mlp", "ridge-one-hot", "ridge-one-hot-cost", "svr"];
    let paths: Vec<String> = names.iter().map(|name| format!("predictors/{name}.json")).collect();
    fixtures(&paths.iter().map(String::as_str).collect::<Vec<_>>())
}

fn predictor(input: &Seed, scratch: &Scratch) -> bool {
    let Ok(fitted) = FittedPredictor::load(&scratch.put("predictor.json", &input.bytes)) else { return false };
    let space = mobile();
    let _ = fitted.narrowed(space.clone());
    let _ = fitted.predict_with_deviations(space.as_ref(), some_archs());
    if let Ok(code) = fitted.code(space.as_ref())
        && let Ok(rows) = code.rows(space.as_ref(), &ofa::space::Population::of(some_archs()))
    {
        let _ = fitted.gradients(&rows, &mut Vec::new());
    }
    true
}

/// Twenty images of eight pixels, of two classes, as the four files of an IDX set.
fn idx_files() -> Vec<Seed> {
    let head = |kind: u8, sizes: &[u32]| -> Vec<u8> {
        [0, 0, 8, kind].into_iter().chain(sizes.iter().flat_map(|size| size.to_be_bytes())).collect()
    };
    let mut seeds = Vec::new();
    for (part, count) in [("train", 20u32), ("t10k", 6)] {
        let pixels = (0..count * 64).map(|at| (at * 7) as u8);
        let labels = (0..count).map(|at| (at % 2) as u8);
        let images: Vec<u8> = head(3, &[count, 8, 8]).into_iter().chain(pixels).collect();
        seeds.push(seed(&format!("{part}-images-idx3-ubyte"), images));
        seeds.push(seed(
            &format!("{part}-labels-idx1-ubyte"),
            head(1, &[count]).into_iter().chain(labels).collect::<Vec<_>>(),
        ));
    }
    seeds
}

fn zipped_idx_files() -> Vec<Seed> {
    let zip = |file: Seed| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&file.bytes).expect("memory");
        seed(&format!("{}.gz", file.name), encoder.finish().expect("memory"))
    };
    idx_files().into_iter().map(zip).collect()
}

fn cifar_files() -> Vec<Seed> {
    let file = |name: String| {
        // Every class in every file: none may be left without images.
        let records = (0..10u32).flat_map(|at| std::iter::once(at as u8).chain((0..3072).map(move |p| (p * at) as u8)));
        seed(&name, records.collect::<Vec<_>>())
    };
    let names = (1..6).map(|part| format!("data_batch_{part}.bin")).chain(["test_batch.bin".to_owned()]);
    let names_file = seed("batches.meta.txt", (0..10).map(|class| format!("class {class}\n")).collect::<String>());
    names.map(file).chain([names_file]).collect()
}

/// A data set in a folder, of which one file is changed.
fn in_folder(input: &Seed, scratch: &Scratch) -> bool {
    let others = [idx_files as fn() -> Vec<Seed>, zipped_idx_files, cifar_files, labels_files];
    let others = others.iter().map(|files| files()).find(|files| files.iter().any(|file| file.name == input.name));
    for file in others.unwrap_or_default() {
        scratch.put(&file.name, &file.bytes);
    }
    if input.name.starts_with("labels") {
        (0..8).for_each(|at| drop(scratch.put(&format!("{at}.png"), &encoded(ImageFormat::Png))));
    }
    scratch.put(&input.name, &input.bytes);
    let Ok(set) = data::load(&scratch.path().to_string_lossy(), &LoadOptions::default()) else { return false };
    let _ = set.train.digest();
    true
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(21, 17, |x, y| image::Rgb([(x * 9) as u8, (y * 11) as u8, (x * y) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("an image in memory");
    bytes.into_inner()
}

fn pictures() -> Vec<Seed> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    [("png", Png), ("jpg", Jpeg), ("gif", Gif), ("bmp", Bmp), ("tif", Tiff), ("webp", WebP)]
        .map(|(extension, format)| seed(&format!("a/9.{extension}"), encoded(format)))
        .to_vec()
}

fn picture(input: &Seed, scratch: &Scratch) -> bool {
    let path = scratch.put(&input.name, &input.bytes);
    let read = data::read_image(&path, &imagenet_input(), 3, 64);
    for class in ["a", "b"] {
        (0..3).for_each(|at| drop(scratch.put(&format!("{class}/{at}.png"), &encoded(ImageFormat::Png))));
    }
    let _ = data::load(&scratch.path().to_string_lossy(), &LoadOptions::default());
    let _ = std::fs::remove_file(path);
    read.is_ok()
}

fn labels_files() -> Vec<Seed> {
    let lines = (0..8).map(|at| format!("{at}.png,{},{}\n", ["cat", "\"a, dog\""][at % 2], ["train", "val"][at / 6]));
    vec![seed("labels.csv", format!("file,label,split\n{}", lines.collect::<String>()))]
}

fn arrays() -> Vec<Seed> {
    fixtures(&["input.npy"])
}

fn array(input: &Seed, scratch: &Scratch) -> bool {
    let Ok(images) = ofa::npy::read(&scratch.put("input.npy", &input.bytes)) else { return false };
    let _ = (images.to_nchw(), images.split(&[3, 1]));
    true
}

fn results_files() -> Vec<Seed> {
    fixtures(&["run/results.json"])
}

fn results(input: &Seed, scratch: &Scratch) -> bool {
    scratch.put("results.json", &input.bytes);
    ofa::pipeline::report_of(scratch.path()).is_ok()
}
