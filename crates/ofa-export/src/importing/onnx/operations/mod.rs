//! Nodes of an ONNX graph as operations.
//!
//! Some operations are several nodes: `x · sigmoid(x)` is SiLU, and pooling, two 1×1 convolutions, a gate and a product are
//! a squeeze-excite. Batch norms that an exporter folded stay folded: a convolution with bias.

mod gates;
mod layers;

use super::graph::{Constant, Graph, Node};
use ofa_space::{Activation, Gate, OpKind, Tensor, TensorRef, TensorRole, Weights};
use std::collections::{BTreeMap, BTreeSet};

/// An operation in a chain: value 0 is the image, operation `i` makes value `i + 1`.
#[derive(Clone, Debug)]
pub struct FlatOp {
    /// Values read.
    pub inputs: Vec<usize>,
    /// What is computed; tensors are named after the node.
    pub kind: OpKind,
}

/// A graph as operations.
#[derive(Debug)]
pub struct Flat {
    /// In order of execution.
    pub ops: Vec<FlatOp>,
    /// Their tensors.
    pub weights: Weights,
}

/// What a name in the graph refers to.
#[derive(Clone, Debug)]
enum Value {
    /// What an operation makes.
    Made(usize),
    /// That, with zeros around it: top, left, bottom, right.
    Padded(usize, [usize; 4]),
    /// A factor made of it.
    Factor(usize, Gate),
    /// Something that could not be read; the reason is noted.
    Unknown,
}

/// Operations that are read.
const READ: [&str; 23] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Constant",
    "Conv",
    "Dropout",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Squeeze",
    "Swish",
];

struct Reader<'a> {
    graph: &'a Graph,
    values: BTreeMap<String, Value>,
    ops: Vec<Option<FlatOp>>,
    weights: Weights,
    /// What could not be read, and how often.
    problems: BTreeMap<String, usize>,
}

impl Flat {
    /// Reads the nodes of a graph.
    ///
    /// # Errors
    /// What cannot be read: every operation with its count.
    pub fn read(graph: &Graph) -> Result<Self, String> {
        let values = BTreeMap::from([(graph.input.clone(), Value::Made(0))]);
        let problems = BTreeMap::new();
        let mut reader = Reader { graph, values, ops: Vec::new(), weights: Weights::default(), problems };
        for node in graph.nodes.iter().filter(|node| !READ.contains(&node.op.as_str())) {
            *reader.problems.entry(format!("`{}`", node.op)).or_default() += 1;
        }
        if reader.problems.is_empty() {
            for node in &graph.nodes {
                let value = match reader.node(node) {
                    Ok(value) => value,
                    Err(problem) => {
                        *reader.problems.entry(format!("`{}` {problem}", node.op)).or_default() += 1;
                        Value::Unknown
                    }
                };
                reader.values.insert(node.output.clone(), value);
            }
        }
        reader.finish()
    }
}

impl Reader<'_> {
    fn finish(self) -> Result<Flat, String> {
        if !self.problems.is_empty() {
            let list: Vec<String> =
                self.problems.into_iter().map(|(problem, count)| format!("{problem} ({count})")).collect();
            return Err(format!("has operations that cannot be imported: {}", list.join(", ")));
        }
        let Some(Value::Made(last)) = self.values.get(&self.graph.output) else {
            return Err(format!("does not compute its output `{}`", self.graph.output));
        };
        // Only what the output depends on, numbered anew.
        let mut wanted = BTreeSet::from([*last]);
        for value in (1..=*last).rev().filter(|value| *value > 0) {
            if wanted.contains(&value)
                && let Some(op) = &self.ops[value - 1]
            {
                wanted.extend(op.inputs.iter().copied());
            }
        }
        let order: Vec<usize> = wanted.into_iter().filter(|value| *value > 0).collect();
        let renumbered = |value: usize| match value {
            0 => Some(0),
            value => order.iter().position(|known| *known == value).map(|at| at + 1),
        };
        let mut ops = Vec::with_capacity(order.len());
        for value in &order {
            let op = self.ops[value - 1].as_ref().ok_or("reads inside a squeeze-excite")?;
            let inputs = op.inputs.iter().map(|input| renumbered(*input)).collect::<Option<Vec<usize>>>();
            ops.push(FlatOp { inputs: inputs.ok_or("is no chain of operations")?, kind: op.kind.clone() });
        }
        Ok(Flat { ops, weights: self.weights })
    }

    fn push(&mut self, inputs: Vec<usize>, kind: OpKind) -> Value {
        self.ops.push(Some(FlatOp { inputs, kind }));
        Value::Made(self.ops.len())
    }

    fn value(&self, node: &Node, index: usize) -> Result<Value, String> {
        let name = node.inputs.get(index).ok_or("lacks an input")?;
        match self.values.get(name) {
            Some(value) => Ok(value.clone()),
            None => Err(format!("reads `{name}`, which is no value of an operation")),
        }
    }

    /// The value that an operation makes, as it is.
    fn made(&self, node: &Node, index: usize) -> Result<Option<usize>, String> {
        match self.value(node, index)? {
            Value::Made(value) => Ok(Some(value)),
            Value::Unknown => Ok(None),
            Value::Padded(..) => Err("reads what is padded with zeros".to_owned()),
            Value::Factor(..) => Err("reads what a sigmoid makes".to_owned()),
        }
    }

    fn floats(&self, node: &Node, index: usize) -> Result<Option<&Tensor>, String> {
        match node.inputs.get(index).filter(|name| !name.is_empty()) {
            None => Ok(None),
            Some(name) => match self.graph.constants.get(name) {
                Some(Constant::Floats(tensor)) => Ok(Some(tensor)),
                _ => Err(format!("has weights `{name}` that the file does not hold")),
            },
        }
    }

    /// Keeps a tensor of a node.
    fn tensor(&mut self, node: &Node, suffix: &str, role: TensorRole, tensor: Tensor) -> TensorRef {
        let name = format!("{}.{suffix}", node.name);
        let (full, take) = (tensor.shape.clone(), tensor.shape.clone());
        self.weights.insert(name.clone(), tensor);
        TensorRef { name, role, full, take, kernel_steps: Vec::new() }
    }

    fn node(&mut self, node: &Node) -> Result<Value, String> {
        match node.op.as_str() {
            "Conv" => return self.convolution(node),
            "Pad" => return self.pad(node),
            "Sigmoid" | "HardSigmoid" => return self.factor(node),
            "Mul" => return self.product(node),
            "Add" => return self.sum(node),
            "Gemm" | "MatMul" => return self.linear(node),
            "Identity" | "Dropout" => return self.value(node, 0),
            "Constant" => return Err("without a tensor".to_owned()),
            _ => {}
        }
        let Some(input) = self.made(node, 0)? else { return Ok(Value::Unknown) };
        let kind = match node.op.as_str() {
            "BatchNormalization" => self.batch_norm(node)?,
            "Relu" => OpKind::Activation { function: Activation::Relu },
            "HardSwish" => OpKind::Activation { function: Activation::HSwish },
            "Swish" if node.float("alpha", 1.0) == 1.0 => OpKind::Activation { function: Activation::Silu },
            "Swish" => return Err("with a factor".to_owned()),
            "Clip" => self.clip(node)?,
            "GlobalAveragePool" => OpKind::GlobalAveragePool,
            "ReduceMean" => {
                let axes = match node.inputs.get(1).and_then(|name| self.graph.constants.get(name)) {
                    Some(Constant::Ints(axes)) => axes.clone(),
                    _ => node.ints("axes").to_vec(),
                };
                let mut axes: Vec<i64> = axes.iter().map(|axis| axis.rem_euclid(4)).collect();
                axes.sort_unstable();
                if axes != [2, 3] {
                    return Err("over other axes than height and width".to_owned());
                }
                OpKind::GlobalAveragePool
            }
            "AveragePool" | "MaxPool" => self.pool(node)?,
            // What follows reads single pixels, or a linear layer that flattens by itself.
            "Flatten" if node.int("axis", 1) == 1 => return Ok(Value::Made(input)),
            "Flatten" => return Err("of another axis than 1".to_owned()),
            "Squeeze" => return Ok(Value::Made(input)),
            "Reshape" => match node.inputs.get(1).and_then(|name| self.graph.constants.get(name)) {
                Some(Constant::Ints(shape)) if shape.len() == 2 => return Ok(Value::Made(input)),
                _ => return Err("to something else than (N, values)".to_owned()),
            },
            _ => return Err("is not read".to_owned()),
        };
        Ok(self.push(vec![input], kind))
    }

    fn sum(&mut self, node: &Node) -> Result<Value, String> {
        // A bias behind a matrix product.
        for (value, constant) in [(0, 1), (1, 0)] {
            let Some(Constant::Floats(bias)) =
                node.inputs.get(constant).and_then(|name| self.graph.constants.get(name))
            else {
                continue;
            };
            let bias = bias.clone();
            let Some(made) = self.made(node, value)? else { return Ok(Value::Unknown) };
            let reference = TensorRef {
                name: format!("{}.bias", node.name),
                role: TensorRole::LinearBias,
                full: bias.shape.clone(),
                take: bias.shape.clone(),
                kernel_steps: Vec::new(),
            };
            return match made.checked_sub(1).and_then(|at| self.ops[at].as_mut()) {
                Some(FlatOp { kind: OpKind::Linear { weight, bias: none @ None }, .. })
                    if bias.shape == [weight.full[0]] =>
                {
                    self.weights.insert(reference.name.clone(), bias);
                    *none = Some(reference);
                    Ok(Value::Made(made))
                }
                _ => Err("of a constant that is no bias".to_owned()),
            };
        }
        match (self.made(node, 0)?, self.made(node, 1)?) {
            (Some(a), Some(b)) => Ok(self.push(vec![a, b], OpKind::Add)),
            _ => Ok(Value::Unknown),
        }
    }
}
