//! Every way of writing a file computes the same network: opsets, fixed batch, bytes in, int8; and f16 has the right
//! types (its numbers are checked in `tests/check_onnx.py`, since rten computes f16 files in f32).
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_export::precision::calibration::Calibration;
use ofa_export::precision::{half, int8, mixed};
use ofa_export::{
    Batch, ExportError, ExportOptions, Exporter, OnnxFile, Precision, Preprocessing, SessionOptions, Values,
    export_net, runtime,
};
use ofa_space::network::block_builder::BlockBuilder;
use ofa_space::{Activation, BlockKind, InputFormat, NetSpec, OpKind, Resize, Weights};
use ofa_space::{initialisation, registry, supernet};
use onnx_protobuf::{Message, ModelProto};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

const IMAGES: usize = 3;

fn network(space: &str) -> (NetSpec, Weights) {
    let space = registry::named(space).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut weights = initialisation::initialise(&supernet::tensors(space.as_ref()).unwrap(), &mut rng);
    // Statistics as after training, so that folding has something to fold.
    let names: Vec<String> = weights.iter().map(|(name, _)| name.clone()).collect();
    for name in names.iter().filter(|name| name.ends_with("running_mean")) {
        weights.get_mut(name).unwrap().data.iter_mut().for_each(|v| *v = rng.random_range(-0.2..0.2));
    }
    (space.resolve(&space.max_arch()).unwrap(), weights)
}

/// The f32 file, written as the options say.
fn with(net: &NetSpec, weights: &Weights, options: &ExportOptions) -> Result<Vec<u8>, ExportError> {
    Ok(Exporter::new(net.clone(), weights).options(options.clone()).export()?.onnx)
}

fn images(net: &NetSpec, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(count as u64);
    (0..count * net.input.iter().product::<usize>()).map(|_| rng.random_range(-2.0..2.0)).collect()
}

fn run(onnx: &[u8], net: &NetSpec, input: &[f32], count: usize) -> Vec<f32> {
    let [c, h, w] = net.input;
    let mut session = runtime::load(onnx, &SessionOptions { threads: Some(1) }).unwrap();
    session.run(input, [count, c, h, w]).unwrap()
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

fn format(channels: usize) -> InputFormat {
    let values = |first: f32| (0..channels).map(|c| first + 0.03 * c as f32).collect();
    InputFormat { mean: values(0.4), std: values(0.2), resize: Resize::Stretch }
}

#[test]
fn opsets_and_batches_change_nothing() {
    for name in ["tiny-28", "cifar-32"] {
        let (net, weights) = network(name);
        let input = images(&net, IMAGES);
        let plain = run(&export_net(&net, &weights, &Default::default()).unwrap(), &net, &input, IMAGES);
        for opset in 13..=21 {
            let options = ExportOptions { opset, ..ExportOptions::default() };
            let onnx = with(&net, &weights, &options).unwrap();
            assert!(difference(&plain, &run(&onnx, &net, &input, IMAGES)) < 1e-5, "{name} opset {opset}");
        }
        let options = ExportOptions { batch: Some(IMAGES), ..ExportOptions::default() };
        let onnx = with(&net, &weights, &options).unwrap();
        assert!(difference(&plain, &run(&onnx, &net, &input, IMAGES)) < 1e-6);
        assert_eq!(OnnxFile::read(&onnx).unwrap().batch, Some(IMAGES));
    }
}

#[test]
fn bytes_are_normalised_in_the_graph() {
    for name in ["tiny-28", "cifar-32"] {
        let (net, weights) = network(name);
        let [c, h, w] = net.input;
        let format = format(c);
        let options =
            ExportOptions { preprocessing: Preprocessing::InGraph(format.clone()), ..ExportOptions::default() };
        let onnx = with(&net, &weights, &options).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let bytes: Vec<u8> = (0..IMAGES * h * w * c).map(|_| rng.random()).collect();
        let mut planes = vec![0.0; bytes.len()];
        for (index, byte) in bytes.iter().enumerate() {
            let (image, pixel, channel) = (index / (h * w * c), index / c % (h * w), index % c);
            planes[(image * c + channel) * h * w + pixel] =
                (f32::from(*byte) / 255.0 - format.mean[channel]) / format.std[channel];
        }
        let expected = run(&export_net(&net, &weights, &Default::default()).unwrap(), &net, &planes, IMAGES);
        let mut session = runtime::load(&onnx, &SessionOptions::default()).unwrap();
        let found = session.run_timed(Values::U8(&bytes), [IMAGES, h, w, c]).unwrap().output;
        assert!(difference(&expected, &found) < 1e-4, "{name}");
        let about = OnnxFile::read(&onnx).unwrap();
        assert!(about.takes_bytes && about.image == net.input);
    }
}

#[test]
fn int8_is_near_and_small() {
    for (name, bound) in [("tiny-28", 0.25), ("cifar-32", 0.25)] {
        let (net, weights) = network(name);
        let onnx = export_net(&net, &weights, &Default::default()).unwrap();
        let mut calibration = Calibration::new(&onnx).unwrap();
        let [c, h, w] = net.input;
        for _ in 0..2 {
            calibration.add(&images(&net, 16), [16, c, h, w]).unwrap();
        }
        let int8 = int8::quantise(&onnx, &calibration.ranges()).unwrap();
        assert_eq!(int8, int8::quantise(&onnx, &calibration.ranges()).unwrap());
        let input = images(&net, IMAGES);
        let (plain, quantised) = (run(&onnx, &net, &input, IMAGES), run(&int8, &net, &input, IMAGES));
        let apart = difference(&plain, &quantised);
        assert!(apart > 0.0 && apart < bound, "{name}: {apart}");
        let proto = ModelProto::parse_from_bytes(&int8).unwrap();
        let weight_bytes = |wanted: i32| -> usize {
            proto.graph.initializer.iter().filter(|t| t.data_type == wanted).map(|t| t.raw_data.len()).sum()
        };
        let (floats, bytes) = (weight_bytes(1), weight_bytes(3));
        assert!(bytes > 2 * floats, "{name}: {floats} bytes of scales, {bytes} of int8");
        // A range that was not watched is named.
        let error = int8::quantise(&onnx, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("input"), "{error}");
    }
}

#[test]
fn half_precision_is_half_the_size_with_f32_at_both_ends() {
    let (net, weights) = network("cifar-32");
    let onnx = export_net(&net, &weights, &Default::default()).unwrap();
    let half = half::convert(&onnx, 0).unwrap();
    assert!(half.len() * 10 < onnx.len() * 6, "{} {}", half.len(), onnx.len());
    let proto = ModelProto::parse_from_bytes(&half).unwrap();
    assert!(proto.graph.initializer.iter().all(|t| t.data_type == 10));
    let first = proto.graph.node.first().unwrap();
    let last = proto.graph.node.last().unwrap();
    assert_eq!((first.op_type.as_str(), last.op_type.as_str()), ("Cast", "Cast"));
    assert_eq!(proto.graph.input[0].type_.tensor_type().elem_type, 1);
    assert_eq!(proto.graph.output[0].type_.tensor_type().elem_type, 1);
    // What is f16 already cannot be converted again.
    assert!(half::convert(&half, 0).is_err());
}

#[test]
fn the_first_operations_stay_in_f32_as_far_as_needed() {
    let (net, weights) = network("tiny-28");
    let onnx = export_net(&net, &weights, &Default::default()).unwrap();
    let cuts = mixed::cuts(&onnx).unwrap();
    assert_eq!((cuts[0].operations_in_f32, cuts[0].weights_in_f32), (0, 0.0));
    assert!(cuts.is_sorted_by(|a, b| a.weights_in_f32 <= b.weights_in_f32) && cuts.len() > 10);
    let (input, [c, h, w]) = (images(&net, IMAGES), net.input);
    let plain = run(&onnx, &net, &input, IMAGES);
    let apart = |cut: usize| difference(&plain, &run(&mixed::simulate(&onnx, cut).unwrap(), &net, &input, IMAGES));
    let everything = apart(0);
    assert!(everything > 1e-4 && everything < 0.2, "{everything}");
    let best = cuts.iter().map(|cut| apart(cut.operations_in_f32)).fold(everything, f32::min);
    assert!(best < 0.9 * everything, "{best} {everything}");
    let within = |tolerance: f64| mixed::first_cut_within(&onnx, &input, [IMAGES, c, h, w], tolerance);
    assert_eq!(within(0.5).unwrap().0, cuts[0]);
    let tolerance = f64::from(best + everything) / 2.0;
    let (cut, found) = within(tolerance).unwrap();
    assert!(cut.operations_in_f32 > 0 && found.within(tolerance), "{cut:?} {found:?}");
    // Operations before the cut keep their type, those behind it lose it, with one change between.
    let mixed = ModelProto::parse_from_bytes(&half::convert(&onnx, cut.operations_in_f32).unwrap()).unwrap();
    let casts = mixed.graph.node.iter().filter(|node| node.op_type == "Cast").count();
    let types: Vec<i32> = mixed.graph.initializer.iter().map(|t| t.data_type).collect();
    assert!(casts == 2 && types.contains(&1) && types.contains(&10), "{casts} {types:?}");
    assert!(matches!(within(1e-9), Err(ExportError::F16Tolerance { tolerance: 1e-9, .. })));
}

#[test]
fn preprocessing_stays_in_f32() {
    let (net, weights) = network("cifar-32");
    let options = ExportOptions { preprocessing: Preprocessing::InGraph(format(3)), ..ExportOptions::default() };
    let onnx = with(&net, &weights, &options).unwrap();
    let half = ModelProto::parse_from_bytes(&half::convert(&onnx, 0).unwrap()).unwrap();
    let named = |t: &&onnx_protobuf::TensorProto| t.name.starts_with("preprocessing.");
    assert!(half.graph.initializer.iter().filter(named).all(|t| t.data_type == 1));
    assert!(half.graph.initializer.iter().filter(|t| !named(t)).all(|t| t.data_type == 10));
}

#[test]
fn impossible_options_are_named() {
    let (net, weights) = network("tiny-28");
    let default = ExportOptions::default;
    let cases = [
        (ExportOptions { opset: 12, ..default() }, "opset"),
        (ExportOptions { opset: 22, ..default() }, "opset"),
        (ExportOptions { ir_version: Some(3), ..default() }, "ir_version"),
        (ExportOptions { batch: Some(0), ..default() }, "batch"),
        (ExportOptions { preprocessing: Preprocessing::InGraph(format(3)), ..default() }, "preprocessing"),
    ];
    for (options, option) in cases {
        match with(&net, &weights, &options) {
            Err(ExportError::Setting(setting)) => assert_eq!(setting.field, option),
            other => panic!("{option}: {other:?}"),
        }
    }
    assert!(OnnxFile::read(b"not onnx").is_err());
    let about = OnnxFile::read(&export_net(&net, &weights, &Default::default()).unwrap()).unwrap();
    assert!(about.class_names().unwrap_err().to_string().contains("classes"));
}

#[test]
fn layers_that_matter_most_may_stay_in_f32_and_are_named() {
    // Random weights answer at random, so answers change whatever the precision.
    let (net, weights) = network("tiny-28");
    let [c, h, w] = net.input;
    let batch = Batch::new(images(&net, 48), [48, c, h, w]).unwrap();
    let exporter = Exporter::new(net.clone(), &weights).precision(Precision::Int8).calibration(&batch);
    let exported = exporter.export().unwrap();
    let proto = ModelProto::parse_from_bytes(&exported.onnx).unwrap();
    let layers = exported.report.layers_in_f32;
    assert!(layers.len() <= 4 && layers.is_sorted_by(|a, b| a.effect >= b.effect), "{layers:?}");
    let weighted = proto.graph.node.iter().filter(|node| matches!(node.op_type.as_str(), "Conv" | "Gemm"));
    for node in weighted {
        // A weight is an initializer in f32, and restored from integers otherwise.
        let is_float = proto.graph.initializer.iter().any(|tensor| tensor.name == node.input[1]);
        assert_eq!(is_float, layers.iter().any(|layer| layer.name == node.name), "{}", node.name);
    }
    let named = OnnxFile::read(&exported.onnx).unwrap().metadata.get("layers_in_f32").cloned();
    let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(named.unwrap_or_default(), names.join(","));
    let input = images(&net, IMAGES);
    let plain = run(&export_net(&net, &weights, &Default::default()).unwrap(), &net, &input, IMAGES);
    assert!(difference(&plain, &run(&exported.onnx, &net, &input, IMAGES)) < 0.25);
    // With bytes in, the same numbers.
    let options = ExportOptions { preprocessing: Preprocessing::InGraph(format(c)), ..ExportOptions::default() };
    let of_bytes = exporter.options(options).export().unwrap();
    assert_eq!(of_bytes.report.layers_in_f32, layers);
}

/// SiLU alone, and in the place of every nonlinearity of a network.
#[test]
fn silu_is_written_for_every_opset() {
    let mut block = BlockBuilder::new("act", "act", [2, 3, 5]);
    block.activation("act", Activation::Silu);
    let net = NetSpec { input: [2, 3, 5], classes: 1, blocks: vec![block.finish(BlockKind::Pool)] };
    let input: Vec<f32> = (0..30).map(|i| (i as f32 - 15.0) * 0.7).collect();
    let (mut network, weights) = network("tiny-28");
    for op in network.blocks.iter_mut().flat_map(|block| &mut block.ops) {
        if let OpKind::Activation { function } = &mut op.kind {
            *function = Activation::Silu;
        }
    }
    let batch = images(&network, IMAGES);
    let plain = run(&export_net(&network, &weights, &Default::default()).unwrap(), &network, &batch, IMAGES);
    for opset in 13..=21 {
        let options = ExportOptions { opset, ..ExportOptions::default() };
        let file = with(&net, &Weights::default(), &options).unwrap();
        for (u, y) in input.iter().zip(run(&file, &net, &input, 1)) {
            let exact = f64::from(*u) / (1.0 + (-f64::from(*u)).exp());
            assert!((f64::from(y) - exact).abs() < 1e-5, "opset {opset}: silu({u}) = {y}");
        }
        let file = with(&network, &weights, &options).unwrap();
        assert_eq!(run(&file, &network, &batch, IMAGES), plain);
    }
}
