//! What reads each value of a graph, which decides how much of the value matters.

use onnx_protobuf::NodeProto;
use std::collections::BTreeMap;

/// The operations that read a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readers {
    /// Anything else: all of it matters.
    Any,
    /// A rectifier alone. What it cuts off needs no integers: quantised after it, in one piece with the convolution.
    Rectifier,
    /// `HardSwish` alone, which is 0 below −3.
    HardSwish,
    /// `HardSigmoid` alone, which is constant outside −3 to 3.
    HardSigmoid,
}

impl Readers {
    /// The range outside which values change nothing.
    pub(crate) fn matters(self) -> (f32, f32) {
        match self {
            Readers::HardSwish => (-3.0, f32::INFINITY),
            Readers::HardSigmoid => (-3.0, 3.0),
            Readers::Any | Readers::Rectifier => (f32::NEG_INFINITY, f32::INFINITY),
        }
    }
}

/// Readers of every value that an operation reads.
pub(crate) fn readers(nodes: &[NodeProto]) -> BTreeMap<String, Readers> {
    let mut found: BTreeMap<String, Readers> = BTreeMap::new();
    for node in nodes {
        let own = match node.op_type.as_str() {
            "Relu" | "Clip" => Readers::Rectifier,
            "HardSwish" => Readers::HardSwish,
            "HardSigmoid" => Readers::HardSigmoid,
            _ => Readers::Any,
        };
        for name in &node.input {
            // A value of two readers is read by anything.
            found.entry(name.clone()).and_modify(|readers| *readers = Readers::Any).or_insert(own);
        }
    }
    found
}
