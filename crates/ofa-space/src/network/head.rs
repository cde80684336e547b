//! The classifier of a network: the linear layer that it ends in.

use super::net_spec::{NetSpec, TensorRef};
use super::operation::OpKind;
use crate::settings::{self, InvalidSetting};

impl NetSpec {
    /// Weight `[classes, features]` and bias `[classes]` of the linear layer that the network ends in, if it ends in one.
    pub fn head(&self) -> Option<(&TensorRef, Option<&TensorRef>)> {
        match &self.blocks.last()?.ops.last()?.kind {
            OpKind::Linear { weight, bias } => Some((weight, bias.as_ref())),
            _ => None,
        }
    }

    /// The same network with another number of logits.
    ///
    /// # Errors
    /// [`InvalidSetting`] on `classes` if there are fewer than 2, or if the network does not end in a linear layer.
    pub fn with_classes(mut self, classes: usize) -> Result<NetSpec, InvalidSetting> {
        if classes == self.classes {
            return Ok(self);
        }
        settings::count("classes", classes, 2..=1_000_000)?;
        let last = self.blocks.last_mut();
        let Some((block, op)) = last.and_then(|block| Some((&mut block.output, block.ops.last_mut()?))) else {
            return Err(no_head());
        };
        let OpKind::Linear { weight, bias } = &mut op.kind else { return Err(no_head()) };
        for tensor in std::iter::once(weight).chain(bias) {
            tensor.full[0] = classes;
            tensor.take[0] = classes;
        }
        op.output[0] = classes;
        *block = op.output;
        self.classes = classes;
        Ok(self)
    }
}

/// The error for a network whose number of classes cannot be changed.
pub(crate) fn no_head() -> InvalidSetting {
    InvalidSetting::new("classes", "cannot be changed: the network does not end in a linear layer")
}
