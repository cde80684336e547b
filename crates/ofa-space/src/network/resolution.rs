//! A network at another input size: the same operations, with every shape computed anew.

use super::net_spec::{Block, NetSpec, Op, Shape};
use super::operation::{OpKind, PoolRounding};
use crate::settings::InvalidSetting;

impl NetSpec {
    /// The same network on square images of another size.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the operation that the size is too small for, or whose weights fit one size only.
    pub fn at_resolution(&self, size: usize) -> Result<NetSpec, InvalidSetting> {
        let mut net = self.clone();
        net.input = [self.input[0], size, size];
        let mut shape = net.input;
        for block in &mut net.blocks {
            block.reshape(shape)?;
            shape = block.output;
        }
        Ok(net)
    }
}

impl Block {
    /// Sets the input's shape and computes those of all values.
    fn reshape(&mut self, input: Shape) -> Result<(), InvalidSetting> {
        self.input = input;
        for index in 0..self.ops.len() {
            let value = |at: usize| if at == 0 { input } else { self.ops[at - 1].output };
            let inputs: Vec<Shape> = self.ops[index].inputs.iter().map(|at| value(*at)).collect();
            if let Some([_, height, _]) = inputs.first() {
                self.ops[index].kind.pad_for(*height);
            }
            let op = &self.ops[index];
            let output = op.output_on(&inputs).map_err(|problem| InvalidSetting::new(&op.name, problem))?;
            self.ops[index].output = output;
        }
        self.output = self.ops.last().map_or(input, |op| op.output);
        Ok(())
    }
}

impl Op {
    /// Shape of the output on inputs of these shapes; what is wrong, if there is none.
    pub(super) fn output_on(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let Some(&[channels, height, width]) = inputs.first() else {
            return Err("reads nothing, expected an input".to_owned());
        };
        let window =
            |kernel: usize, padded: usize, output: &dyn Fn(usize) -> usize| match height.min(width) + padded < kernel {
                true => Err(format!("has a window of {kernel} pixels, but its input is {height}×{width}")),
                false => Ok([output(height), output(width)]),
            };
        match &self.kind {
            OpKind::Conv { weight, kernel, .. } => {
                let geometry = self.kind.geometry().ok_or("is no convolution")?;
                let padded = 2 * geometry.padding + geometry.extra;
                let [height, width] = window(*kernel, padded, &|size| geometry.output(size))?;
                Ok([weight.take[0], height, width])
            }
            OpKind::AveragePool { kernel, stride, padding, rounding: PoolRounding::Ceil } => {
                let output = |size: usize| (size + 2 * padding).saturating_sub(*kernel).div_ceil(*stride) + 1;
                Ok([channels, output(height), output(width)])
            }
            OpKind::AveragePool { kernel, stride, padding, rounding: PoolRounding::Floor }
            | OpKind::MaxPool { kernel, stride, padding } => {
                let [height, width] = window(*kernel, 2 * padding, &|size| (size + 2 * padding - kernel) / stride + 1)?;
                Ok([channels, height, width])
            }
            OpKind::GlobalAveragePool => Ok([channels, 1, 1]),
            OpKind::BatchNorm(_) | OpKind::Activation { .. } | OpKind::SqueezeExcite { .. } => {
                Ok([channels, height, width])
            }
            OpKind::Add => match inputs.iter().all(|shape| *shape == inputs[0]) {
                true => Ok([channels, height, width]),
                false => Err(format!("adds values of different shapes: {inputs:?}")),
            },
            OpKind::Linear { weight, .. } => match channels * height * width == weight.take[1] {
                true => Ok([weight.take[0], 1, 1]),
                false => {
                    Err(format!("expects {} values, this image size gives {channels}×{height}×{width}", weight.take[1]))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::spaces::registry;

    #[test]
    fn every_family_is_reshaped_as_its_space_resolves_it() {
        for name in ["ofa-mbv3-w1.0", "ofa-proxyless-w1.3", "ofa-resnet50", "tiny-28", "cifar-32"] {
            let space = registry::named(name).unwrap();
            for arch in [space.max_arch(), space.min_arch()] {
                let net = space.resolve(&arch.with_resolution(32)).unwrap();
                for size in [28, 33, 64] {
                    let expected = space.resolve(&arch.with_resolution(size)).unwrap();
                    assert_eq!(net.at_resolution(size as usize).unwrap(), expected, "{name} at {size}");
                }
            }
        }
    }

    #[test]
    fn an_image_that_is_too_small_is_an_error() {
        let space = registry::named("tiny-28").unwrap();
        let mut net = space.resolve(&space.max_arch()).unwrap();
        if let Some(crate::OpKind::Conv { padding, .. }) = net.blocks[0].ops.first_mut().map(|op| &mut op.kind) {
            *padding = 0;
        }
        let error = net.at_resolution(2).unwrap_err();
        assert!(error.to_string().contains("window of 3 pixels, but its input is 2×2"), "{error}");
    }
}
