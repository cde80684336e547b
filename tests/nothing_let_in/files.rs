//! Number 16 for whole commands: damaged files end with a message, never with a panic. The readers themselves are fuzzed by
//! `tests/readers.rs`.

use crate::{fixture, line};

#[test]
fn a_cut_or_emptied_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mobile = fixture("models/mobile.safetensors");
    for (name, command) in [
        ("models/net.safetensors", "info --model {}"),
        ("models/net.onnx", "eval --data bundled --model {}"),
        ("predictors/mlp.json", "predict --space {mobile} --arch max --predictor {}"),
        ("devices/block-table.toml", "latency --space {mobile} --arch max --device {}"),
        ("devices/published-layout.yaml", "latency --space {mobile} --arch max --device {}"),
        ("spaces/mobile.toml", "info --space {}"),
    ] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let path = at(name.rsplit('/').next().unwrap());
        for keep in [0, 1, bytes.len() / 3] {
            std::fs::write(&path, &bytes[..keep]).unwrap();
            let command = command.replace("{mobile}", "{}");
            let paths: Vec<&std::path::Path> =
                if command.matches("{}").count() == 2 { vec![&mobile, &path] } else { vec![&path] };
            let outcome = line(&command, &paths);
            assert_eq!(outcome.code, Some(2), "{keep} bytes of {name}: {outcome:#?}");
            assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        }
    }
}
