//! Whether a network from a file can be followed: every operation reads values that are there, and tensors of its own shape;
//! every shape is what the operations make of the input's. What passes here can be costed, drawn, exported and run.

use super::net_spec::{Block, NetSpec, Op, Shape, TensorRef, TensorRole};
use super::operation::OpKind;
use crate::settings::{self, InvalidSetting};
use std::collections::BTreeSet;

/// Height and width of an input, pixels; kernels, strides and paddings are smaller still.
const LARGEST_SIDE: usize = 8192;
/// Channels of a value.
const MOST_CHANNELS: usize = 1 << 20;
/// Elements of one value: half a gigabyte of f32.
const MOST_ELEMENTS: usize = 1 << 27;

impl NetSpec {
    /// Refuses what no network can have, before anything is computed from it.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the operation, or `blocks` if there is none.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        self.check_operations()?;
        let [channels, height, width] = self.input;
        settings::count("input", channels, 1..=MOST_CHANNELS)?;
        settings::count("input", height, 1..=LARGEST_SIDE)?;
        settings::count("input", width, 1..=LARGEST_SIDE)?;
        let mut names = BTreeSet::new();
        let mut shape = self.input;
        for block in &self.blocks {
            block.check(shape)?;
            shape = block.output;
            for op in block.ops.iter().filter(|op| !op.kind.tensors().is_empty()) {
                if !names.insert(op.name.as_str()) {
                    return Err(InvalidSetting::new(&op.name, "is the name of two operations, expected one"));
                }
            }
        }
        match shape.iter().product::<usize>() == self.classes {
            true => Ok(()),
            false => {
                let problem = format!("is {}, but the last operation makes {shape:?}", self.classes);
                Err(InvalidSetting::new("classes", problem))
            }
        }
    }
}

impl NetSpec {
    /// Refuses operations that no network can have, before shapes are computed from them: the shapes that are there do not
    /// count.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the operation, or `blocks` if there is none.
    pub fn check_operations(&self) -> Result<(), InvalidSetting> {
        if self.blocks.is_empty() || self.blocks.iter().any(|block| block.ops.is_empty()) {
            return Err(InvalidSetting::new("blocks", "are without operations, expected at least one in each"));
        }
        for block in &self.blocks {
            for (position, op) in block.ops.iter().enumerate() {
                op.check(position).map_err(|problem| InvalidSetting::new(&op.name, problem))?;
            }
        }
        Ok(())
    }
}

impl Block {
    /// Refuses a block that does not follow from an input of this shape.
    fn check(&self, input: Shape) -> Result<(), InvalidSetting> {
        let differs = |what: &str, found: Shape, expected: Shape| match found == expected {
            true => Ok(()),
            false => Err(InvalidSetting::new(&self.name, format!("has {what} {found:?}, expected {expected:?}"))),
        };
        differs("input", self.input, input)?;
        let mut values = vec![input];
        for op in &self.ops {
            let refused = |problem: String| InvalidSetting::new(&op.name, problem);
            let inputs: Vec<Shape> = op.inputs.iter().map(|value| values[*value]).collect();
            let output = op.output_on(&inputs).map_err(refused)?;
            if output != op.output {
                return Err(refused(format!("makes {output:?} of {inputs:?}, the file has {:?}", op.output)));
            }
            let [channels, height, width] = output;
            let elements = channels.checked_mul(height).and_then(|area| area.checked_mul(width));
            if elements.is_none_or(|elements| !(1..=MOST_ELEMENTS).contains(&elements)) {
                return Err(refused(format!("makes {output:?} values of an image, expected at most {MOST_ELEMENTS}")));
            }
            op.check_weights(inputs[0]).map_err(refused)?;
            values.push(output);
        }
        differs("output", self.output, values[self.ops.len()])?;
        for group in &self.channel_groups {
            let (name, axis) = &group.importance;
            let scale = group.scale.iter().flat_map(|scale| [(&scale.weight, 0), (&scale.bias, 0)]);
            let members = group.members.iter().map(|(name, axis)| (name, *axis)).chain(scale).chain([(name, *axis)]);
            for (name, axis) in members {
                let tensors = self.ops.iter().flat_map(|op| op.kind.tensors()).map(|(_, tensor)| tensor);
                // A group may reach into the blocks around.
                let Some(tensor) = tensors.into_iter().find(|tensor| tensor.name == *name) else { continue };
                if tensor.full.get(axis).is_none_or(|size| *size < group.width) || group.width == 0 {
                    let problem = format!("permutes {} channels along axis {axis} of `{name}`", group.width);
                    return Err(InvalidSetting::new(&group.name, problem));
                }
            }
        }
        Ok(())
    }
}

impl Op {
    /// What is wrong with the operation at this position of its block, whatever it reads.
    fn check(&self, position: usize) -> Result<(), String> {
        let expected = if matches!(self.kind, OpKind::Add) { 2 } else { 1 };
        if self.inputs.len() != expected {
            return Err(format!("reads {} values, expected {expected}", self.inputs.len()));
        }
        if let Some(later) = self.inputs.iter().find(|value| **value > position) {
            return Err(format!("reads value {later}, expected one made before it, 0 to {position}"));
        }
        let (numbers, padding) = match self.kind {
            OpKind::Conv { kernel, stride, padding, extra_padding, groups, .. } => {
                (vec![kernel, stride, groups], Some((kernel, padding, extra_padding)))
            }
            OpKind::AveragePool { kernel, stride, padding, .. } | OpKind::MaxPool { kernel, stride, padding } => {
                (vec![kernel, stride], Some((kernel, padding, 0)))
            }
            _ => (Vec::new(), None),
        };
        if numbers.contains(&0) {
            return Err("has a kernel, stride or number of groups of 0, expected at least 1".to_owned());
        }
        if let Some((kernel, padding, extra)) = padding {
            let end = padding.saturating_add(extra);
            if end >= kernel {
                return Err(format!(
                    "is padded by {:?} pixels, expected fewer than its kernel's {kernel}",
                    [padding, end]
                ));
            }
            if kernel > LARGEST_SIDE || numbers[1] > LARGEST_SIDE {
                return Err(format!("has a kernel or stride above {LARGEST_SIDE}"));
            }
        }
        if let OpKind::BatchNorm(norm) = &self.kind
            && !(norm.eps > 0.0 && norm.eps <= 1.0)
        {
            return Err(format!("has an `eps` of {}, expected more than 0 and at most 1", norm.eps));
        }
        for (suffix, tensor) in self.kind.tensors() {
            let least = match (&self.kind, suffix) {
                (OpKind::Conv { .. }, "weight") => 4,
                (OpKind::Linear { .. } | OpKind::SqueezeExcite { .. }, suffix) if suffix.ends_with("weight") => 2,
                _ => 1,
            };
            let fits = tensor.take.iter().zip(&tensor.full).all(|(take, full)| (1..=*full).contains(take));
            let elements = tensor.full.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
            if tensor.take.len() != tensor.full.len() || tensor.take.len() < least || !fits || elements.is_none() {
                let (take, full) = (&tensor.take, &tensor.full);
                return Err(format!("takes {take:?} of `{}`, whose shape is {full:?}", tensor.name));
            }
            tensor.check_kernels(least)?;
        }
        Ok(())
    }

    /// What is wrong with the shapes of its tensors, on an input of this shape.
    fn check_weights(&self, [channels, height, width]: Shape) -> Result<(), String> {
        let [outputs, ..] = self.output;
        let has = |tensor: &TensorRef, role: TensorRole, expected: &[usize]| {
            // The squeezed convolutions of some files are matrices.
            let shape: &[usize] = match tensor.take.as_slice() {
                [rows, columns, 1, 1] if expected.len() == 2 => &[*rows, *columns],
                shape => shape,
            };
            match shape == expected && tensor.role == role {
                true => Ok(()),
                false => Err(format!(
                    "takes {:?} of `{}` as {:?}, expected {expected:?} as {role:?}",
                    tensor.take, tensor.name, tensor.role
                )),
            }
        };
        match &self.kind {
            OpKind::Conv { weight, bias, kernel, groups, .. } => {
                if channels % groups != 0 || outputs % groups != 0 {
                    return Err(format!("divides {channels} channels, and {outputs} of them, into {groups} groups"));
                }
                has(weight, TensorRole::ConvWeight, &[outputs, channels / groups, *kernel, *kernel])?;
                bias.iter().try_for_each(|bias| has(bias, TensorRole::ConvBias, &[outputs]))
            }
            OpKind::BatchNorm(norm) => {
                has(&norm.weight, TensorRole::NormWeight, &[channels])?;
                has(&norm.bias, TensorRole::NormBias, &[channels])?;
                has(&norm.mean, TensorRole::RunningMean, &[channels])?;
                has(&norm.variance, TensorRole::RunningVariance, &[channels])
            }
            OpKind::SqueezeExcite { reduce_weight, reduce_bias, expand_weight, expand_bias, .. } => {
                let squeezed = reduce_weight.take[0];
                has(reduce_weight, TensorRole::ConvWeight, &[squeezed, channels])?;
                has(reduce_bias, TensorRole::ConvBias, &[squeezed])?;
                has(expand_weight, TensorRole::ConvWeight, &[channels, squeezed])?;
                has(expand_bias, TensorRole::ConvBias, &[channels])
            }
            OpKind::Linear { weight, bias } => {
                has(weight, TensorRole::LinearWeight, &[outputs, channels * height * width])?;
                bias.iter().try_for_each(|bias| has(bias, TensorRole::LinearBias, &[outputs]))
            }
            _ => Ok(()),
        }
    }
}

impl TensorRef {
    /// What is wrong with the steps from the whole kernel to the one in use.
    fn check_kernels(&self, rank: usize) -> Result<(), String> {
        let Some(last) = self.kernel_steps.last() else { return Ok(()) };
        let sizes: Vec<usize> =
            self.full.get(2).into_iter().copied().chain(self.kernel_steps.iter().map(|s| s.size)).collect();
        let shrinks = sizes.windows(2).all(|pair| 0 < pair[1] && pair[1] < pair[0] && (pair[0] - pair[1]) % 2 == 0);
        match rank == 4 && shrinks && self.full[2] == self.full[3] && self.take[2..] == [last.size, last.size] {
            true => Ok(()),
            false => Err(format!("cuts the kernels of `{}` in steps of {sizes:?} to {:?}", self.name, self.take)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::network::operation::OpKind;
    use crate::{NetSpec, SpaceEntry, TensorRole, plugin};

    /// Words of the message, and what is done to a sound network.
    type Damage = (&'static str, fn(&mut NetSpec));

    #[test]
    fn every_space_makes_sound_networks_and_a_damaged_one_is_named() {
        for entry in plugin::entries::<SpaceEntry>() {
            let space = (entry.build)().unwrap();
            for arch in [space.min_arch(), space.max_arch()] {
                space.resolve(&arch).unwrap().check().unwrap();
            }
        }
        let space = crate::registry::named("tiny-28").unwrap();
        let net = space.resolve(&space.max_arch()).unwrap();
        let damages: [Damage; 12] = [
            ("is padded by [7, 7] pixels", |net| match &mut net.blocks[0].ops[0].kind {
                OpKind::Conv { padding, .. } => *padding = 7,
                _ => unreachable!(),
            }),
            ("reads value 9", |net| net.blocks[0].ops[0].inputs[0] = 9),
            ("reads 0 values", |net| net.blocks[0].ops[0].inputs.clear()),
            ("of 0", |net| match &mut net.blocks[0].ops[0].kind {
                OpKind::Conv { stride, .. } => *stride = 0,
                _ => unreachable!(),
            }),
            ("whose shape is", |net| match &mut net.blocks[0].ops[0].kind {
                OpKind::Conv { weight, .. } => weight.take[0] += 1,
                _ => unreachable!(),
            }),
            ("without operations", |net| net.blocks[1].ops.clear()),
            ("`classes` is 7", |net| net.classes = 7),
            ("expected 1 to 8192", |net| net.input[1] = 1 << 32),
            ("the file has", |net| net.blocks[0].ops[0].output[1] += 1),
            ("has input", |net| net.blocks[1].input[0] += 1),
            ("`eps` of -1", |net| match &mut net.blocks[0].ops[1].kind {
                OpKind::BatchNorm(norm) => norm.eps = -1.0,
                _ => unreachable!(),
            }),
            ("as ConvBias", |net| match &mut net.blocks[0].ops[0].kind {
                OpKind::Conv { weight, .. } => weight.role = TensorRole::ConvBias,
                _ => unreachable!(),
            }),
        ];
        for (words, damage) in damages {
            let mut damaged = net.clone();
            damage(&mut damaged);
            let error = damaged.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
