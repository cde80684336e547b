//! Number 14: NaN and infinity in weights and images ended with exit code 0, and with answers such as `0 NaN %`.

use crate::program::{TRAINING, run_line};
use crate::{assert_refused, changed_model, fixture, line, npy, photo};

#[test]
fn weights_that_are_not_finite_are_refused_with_the_tensor_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    photo(&at("photo.png"), 30, 30, 90);
    let one = |data: &mut [u8]| data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let all = |data: &mut [u8]| data.as_chunks_mut::<4>().0.iter_mut().for_each(|b| *b = f32::INFINITY.to_le_bytes());
    let model = at("model.safetensors");
    for all_of_them in [false, true] {
        changed_model(&model, "net", |_| {}, |data| if all_of_them { all(data) } else { one(data) });
        for (command, paths) in [
            ("classify --model {} {}", vec![model.as_path(), &at("photo.png")]),
            ("forward --model {} --input {} -o {}", vec![&model, &fixture("input.npy"), &at("o.npy")]),
            ("eval --model {} --data bundled", vec![&model]),
            ("measure --model {} --runs 1", vec![&model]),
            ("export --model {} -o {}", vec![&model, &at("o.onnx")]),
        ] {
            assert_refused(&line(command, &paths), &["model.safetensors", "tensor `", "element"]);
        }
        changed_model(&model, "mobile", |_| {}, |data| if all_of_them { all(data) } else { one(data) });
        assert_refused(&line("extract --model {} --arch max -o {}", &[&model, &at("o.safetensors")]), &["tensor `"]);
    }
    assert!(["o.npy", "o.onnx", "o.safetensors"].iter().all(|name| !at(name).exists()));
}

#[test]
fn images_that_are_not_finite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for value in [f32::NAN, f32::INFINITY] {
        let values = (0..2 * 24 * 24).map(|index| if index == 700 { value } else { 0.5 });
        npy(&at("a.npy"), "(2, 1, 24, 24)", values);
        let words = ["a.npy", "in image 1"];
        let (net, mobile) = (fixture("models/net.safetensors"), fixture("models/mobile.safetensors"));
        assert_refused(&line("forward --model {} --input {} -o {}", &[&net, &at("a.npy"), &at("o.npy")]), &words);
        let extract = "extract --model {} --arch max --calibrate {} -o {}";
        assert_refused(&line(extract, &[&mobile, &at("a.npy"), &at("o.safetensors")]), &words);
    }
}

/// Weights of finite numbers can answer with others.
#[test]
fn answers_that_are_not_finite_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    photo(&at("photo.png"), 30, 30, 90);
    let model = at("model.safetensors");
    changed_model(
        &model,
        "net",
        |_| {},
        |data| data.as_chunks_mut::<4>().0.iter_mut().for_each(|b| *b = 3e38f32.to_le_bytes()),
    );
    for (command, paths) in [
        ("classify --model {} {}", vec![model.as_path(), &at("photo.png")]),
        ("forward --model {} --input {} -o {}", vec![&model, &fixture("input.npy"), &at("o.npy")]),
        ("eval --model {} --data bundled", vec![&model]),
    ] {
        let outcome = line(command, &paths);
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        assert!(outcome.stderr.contains("expected finite numbers"), "{outcome:#?}");
    }
    assert!(!at("o.npy").exists());
}

/// The last step of a training delivered weights of 1e29: no further step showed it in a loss.
#[test]
fn a_training_that_diverges_in_its_last_step_delivers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // One step, whose loss is still fine.
    let (head, _) = TRAINING.split_once("[[phases]]").unwrap();
    let phase = "[[phases]]\nname = \"only\"\nepochs = 0.0008\nlearning_rate = 0.05\n";
    std::fs::write(at("training.toml"), format!("{head}weight_decay = 1e30\n{phase}")).unwrap();
    let outcome = run_line("train {} --out {}", &[&at("training.toml"), &at("run")]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(outcome.stderr.contains("the weights of `") && outcome.stderr.contains("gradient_clip"), "{outcome:#?}");
    assert!(!at("run/supernet.safetensors").exists());
}
