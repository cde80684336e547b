//! What to execute: a [`NetSpec`] as steps, each convolution together with its batch norm and its nonlinearity.

use ofa_space::{NetSpec, Shape, Step, fuse};

/// A network ready for execution. It holds no tensors, only which slices of which supernet tensors every step reads.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `[channels, height, width]` of the input image.
    pub input: Shape,
    /// Steps of every block in order.
    pub blocks: Vec<Vec<Step>>,
}

impl Plan {
    /// The plan of a network.
    pub fn new(net: &NetSpec) -> Self {
        Self { input: net.input, blocks: net.blocks.iter().map(fuse).collect() }
    }
}
