//! Whether a network from a file can be followed: every operation reads values that are there and tensors of its own rank.

use super::net_spec::{NetSpec, Op};
use super::operation::OpKind;
use crate::settings::InvalidSetting;

impl NetSpec {
    /// Refuses what no network can have, before anything is computed from it.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the operation, or `blocks` if there is none.
    pub fn check(&self) -> Result<(), InvalidSetting> {
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

impl Op {
    /// What is wrong with the operation at this position of its block.
    fn check(&self, position: usize) -> Result<(), String> {
        let expected = if matches!(self.kind, OpKind::Add) { 2 } else { 1 };
        if self.inputs.len() != expected {
            return Err(format!("reads {} values, expected {expected}", self.inputs.len()));
        }
        if let Some(later) = self.inputs.iter().find(|value| **value > position) {
            return Err(format!("reads value {later}, expected one made before it, 0 to {position}"));
        }
        let numbers = match self.kind {
            OpKind::Conv { kernel, stride, groups, .. } => vec![kernel, stride, groups],
            OpKind::AveragePool { kernel, stride, .. } | OpKind::MaxPool { kernel, stride, .. } => vec![kernel, stride],
            _ => Vec::new(),
        };
        if numbers.contains(&0) {
            return Err("has a kernel, stride or number of groups of 0, expected at least 1".to_owned());
        }
        if let Some(geometry) = self.kind.geometry()
            && geometry.padding.saturating_add(geometry.extra) >= geometry.kernel
        {
            let (kernel, padding) = (geometry.kernel, geometry.margins());
            return Err(format!("is padded by {padding:?} pixels, expected fewer than its kernel's {kernel}"));
        }
        let rank = |suffix: &str| match (&self.kind, suffix) {
            (OpKind::Conv { .. }, "weight") => 4,
            (OpKind::Linear { .. } | OpKind::SqueezeExcite { .. }, suffix) if suffix.ends_with("weight") => 2,
            _ => 1,
        };
        for (suffix, tensor) in self.kind.tensors() {
            let fits = tensor.take.iter().zip(&tensor.full).all(|(take, full)| (1..=*full).contains(take));
            if tensor.take.len() != tensor.full.len() || tensor.take.len() < rank(suffix) || !fits {
                let (take, full) = (&tensor.take, &tensor.full);
                return Err(format!("takes {take:?} of `{}`, whose shape is {full:?}", tensor.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::network::operation::OpKind;
    use crate::{NetSpec, SpaceEntry, plugin};

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
        let damages: [Damage; 6] = [
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
        ];
        for (words, damage) in damages {
            let mut damaged = net.clone();
            damage(&mut damaged);
            let error = damaged.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
