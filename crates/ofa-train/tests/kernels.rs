//! The CPU kernels against the bodies of plain Burn operations: values, statistics and every gradient; and the same
//! bits on any number of threads.
#![allow(clippy::unwrap_used, missing_docs)]
#![cfg(feature = "flex")]

mod fixed_cases;

use burn::tensor::{Device, Tensor, TensorData};
use fixed_cases::{host, noise};
use ofa_space::{Activation, ConvGeometry};
use ofa_train::elastic::layer_ops::Normalised;
use ofa_train::elastic::{layer_ops, operation};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    images: usize,
    size: usize,
    channels: usize,
    outputs: usize,
    geometry: ConvGeometry,
    activation: Option<Activation>,
    seed: u32,
}

fn cases() -> impl Strategy<Value = Case> {
    let kernel = prop_oneof![Just(1usize), Just(3), Just(5), Just(7)];
    let activation = prop_oneof![
        Just(None),
        Just(Some(Activation::Relu)),
        Just(Some(Activation::Relu6)),
        Just(Some(Activation::HSwish)),
        Just(Some(Activation::Silu))
    ];
    (1usize..6, 2usize..10, 1usize..35, 1usize..35, kernel, 1usize..3, 0usize..3, activation, any::<u32>()).prop_map(
        |(images, size, channels, outputs, kernel, stride, kind, activation, seed)| {
            let depthwise = kind > 0 && kernel > 1;
            let geometry = ConvGeometry {
                kernel,
                stride: if kernel == 1 { 1 } else { stride },
                padding: kernel / 2,
                extra: usize::from(kernel > 1 && seed % 4 == 0),
                groups: if depthwise { channels } else { 1 },
            };
            let outputs = if depthwise { channels } else { outputs };
            // A single value per channel has no deviation to normalise by.
            let images = if size == 2 && images == 1 { 2 } else { images };
            Case { images, size, channels, outputs, geometry, activation, seed }
        },
    )
}

struct Result {
    value: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    gradients: [Vec<f32>; 4],
}

type Layer = fn(Tensor<4>, Tensor<4>, ConvGeometry, Tensor<1>, Tensor<1>, f64, Option<Activation>) -> Normalised;

fn run(case: &Case, layer: Layer) -> Result {
    let device = Device::flex().autodiff();
    let Case { images, size, channels, outputs, geometry, .. } = *case;
    let tensor = |shape: [usize; 4], seed: u32| {
        let data = TensorData::new(noise(shape.iter().product(), seed), shape);
        Tensor::<4>::from_data(data, &device).require_grad()
    };
    let vector = |offset: f32, seed: u32| {
        let values: Vec<f32> = noise(outputs, seed).iter().map(|v| v * 0.5 + offset).collect();
        Tensor::<1>::from_data(TensorData::new(values, [outputs]), &device).require_grad()
    };
    let x = tensor([images, size, size, channels], case.seed);
    // A slice of a wider tensor, as an elastic layer reads it.
    let wide = tensor([outputs + 3, channels / geometry.groups + 2, geometry.kernel, geometry.kernel], case.seed ^ 1);
    let k = geometry.kernel;
    let weight = wide.clone().slice([0..outputs, 0..channels / geometry.groups, 0..k, 0..k]);
    let (scale, shift) = (vector(1.0, case.seed ^ 2), vector(0.3, case.seed ^ 3));
    let made = layer(x.clone(), weight, geometry, scale.clone(), shift.clone(), 1e-5, case.activation);
    let [n, h, w, c] = made.value.dims();
    let pull = TensorData::new(noise(n * h * w * c, case.seed ^ 4), [n, h, w, c]);
    let loss = (made.value.clone() * Tensor::from_data(pull, &device)).sum();
    let gradients = loss.backward();
    Result {
        value: host(made.value.inner()),
        mean: host(made.mean),
        variance: host(made.variance),
        gradients: [
            host(x.grad(&gradients).unwrap()),
            host(wide.grad(&gradients).unwrap()),
            host(scale.grad(&gradients).unwrap()),
            host(shift.grad(&gradients).unwrap()),
        ],
    }
}

/// Largest difference as a share of the largest value.
fn relative(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max) / largest
}

/// Whether some channel hardly varies, or is normalised over a few values only: there, normalising magnifies rounding
/// without bound. Or whether a filter is a single factor, which batch norm takes out again: its gradient is zero but for
/// rounding, and nothing to compare.
fn degenerate(case: &Case, result: &Result) -> bool {
    let geometry = &case.geometry;
    let weights = case.channels / geometry.groups * geometry.kernel * geometry.kernel;
    let pixels = geometry.output(case.size).pow(2);
    weights < 2 || case.images * pixels < 16 || result.variance.iter().any(|v| *v < 1e-2)
}

/// Kinks of the nonlinearity: a value that rounding puts on the other side has another slope.
fn near_kink(case: &Case) -> bool {
    let plain = run(&Case { activation: None, ..case.clone() }, layer_ops::conv_normalise_batch);
    let kinks: &[f32] = match case.activation {
        None | Some(Activation::Silu) => &[],
        Some(Activation::Relu) => &[0.0],
        Some(Activation::Relu6) => &[0.0, 6.0],
        Some(Activation::HSwish) => &[-3.0, 3.0],
    };
    plain.value.iter().any(|v| kinks.iter().any(|kink| (v - kink).abs() < 1e-4))
}

proptest! {
    #![proptest_config(fixed_cases::config(150))]

    #[test]
    fn kernels_agree_with_plain_operations(case in cases()) {
        let plain = run(&case, layer_ops::conv_normalise_batch);
        prop_assume!(!degenerate(&case, &plain) && !near_kink(&case));
        let kernel = run(&case, operation::conv_normalise_batch);
        prop_assert!(relative(&kernel.value, &plain.value) < 1e-4, "value");
        prop_assert!(relative(&kernel.mean, &plain.mean) < 1e-4, "mean");
        prop_assert!(relative(&kernel.variance, &plain.variance) < 1e-4, "variance");
        for (name, (ours, theirs)) in
            ["x", "weight", "scale", "shift"].iter().zip(kernel.gradients.iter().zip(&plain.gradients))
        {
            prop_assert!(relative(ours, theirs) < 1e-3, "gradient of {name}: {}", relative(ours, theirs));
        }
    }

    #[test]
    fn evaluation_agrees_with_plain_operations(case in cases()) {
        let device = Device::flex();
        let Case { images, size, channels, outputs, geometry, .. } = case;
        let tensor = |shape: [usize; 4], seed: u32| {
            Tensor::<4>::from_data(TensorData::new(noise(shape.iter().product(), seed), shape), &device)
        };
        let x = tensor([images, size, size, channels], case.seed);
        let weight = tensor([outputs, channels / geometry.groups, geometry.kernel, geometry.kernel], case.seed ^ 1);
        let bias = Tensor::<1>::from_data(TensorData::new(noise(outputs, case.seed ^ 2), [outputs]), &device);
        let run = |layer: fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, ConvGeometry, Option<Activation>) -> Tensor<4>| {
            host(layer(x.clone(), weight.clone(), Some(bias.clone()), geometry, case.activation))
        };
        prop_assert!(relative(&run(operation::conv_activate), &run(layer_ops::conv_activate)) < 1e-4);
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    for (kernel, stride, groups, outputs) in [(1, 1, 1, 40), (5, 2, 24, 24), (3, 1, 1, 16)] {
        let geometry = ConvGeometry { kernel, stride, padding: kernel / 2, extra: 0, groups };
        let case = Case {
            images: 37,
            size: 12,
            channels: 24,
            outputs,
            geometry,
            activation: Some(Activation::HSwish),
            seed: 7,
        };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&case, operation::conv_normalise_batch))
        };
        let (one, three) = (on(1), on(3));
        assert_eq!(one.value, three.value);
        assert_eq!(one.variance, three.variance);
        assert_eq!(one.gradients, three.gradients);
    }
}
