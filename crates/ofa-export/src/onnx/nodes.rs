//! Small builders of ONNX protobuf messages.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::tensor_shape_proto::Dimension;
use onnx_protobuf::{
    AttributeProto, NodeProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
};
use protobuf::Enum;

/// A node of the default domain with one output.
pub fn node(op: &str, name: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        name: name.to_owned(),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attributes,
        ..NodeProto::default()
    }
}

/// Whether an operation has weights.
pub fn is_weighted(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "Conv" | "Gemm")
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), type_: AttributeType::INT.into(), i: value, ..AttributeProto::default() }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), type_: AttributeType::FLOAT.into(), f: value, ..AttributeProto::default() }
}

/// An attribute of several integers.
pub fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        type_: AttributeType::INTS.into(),
        ints: values.iter().map(|v| *v as i64).collect(),
        ..AttributeProto::default()
    }
}

/// An f32 initializer.
pub fn tensor(name: &str, shape: &[usize], data: &[f32]) -> TensorProto {
    raw_tensor(name, Element::F32, shape, data.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Element types of tensors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// Unsigned byte.
    U8,
    /// Signed byte.
    I8,
    /// 32-bit integer.
    I32,
}

impl Element {
    fn data_type(self) -> DataType {
        match self {
            Element::F32 => DataType::FLOAT,
            Element::F16 => DataType::FLOAT16,
            Element::U8 => DataType::UINT8,
            Element::I8 => DataType::INT8,
            Element::I32 => DataType::INT32,
        }
    }

    /// Its number in the file format.
    pub fn code(self) -> i64 {
        i64::from(self.data_type().value())
    }
}

/// An initializer of any type from its little-endian bytes.
pub fn raw_tensor(name: &str, element: Element, shape: &[usize], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: shape.iter().map(|d| *d as i64).collect(),
        data_type: element.data_type().value(),
        raw_data: bytes,
        ..TensorProto::default()
    }
}

/// A graph input or output; the first dimension is the batch, called `N` if it is dynamic.
pub fn batch_value(name: &str, element: Element, fixed_batch: Option<usize>, rest: &[usize]) -> ValueInfoProto {
    let mut batch = Dimension::new();
    match fixed_batch {
        Some(size) => batch.set_dim_value(size as i64),
        None => batch.set_dim_param("N".to_owned()),
    }
    let mut shape = TensorShapeProto::new();
    shape.dim.push(batch);
    for size in rest {
        let mut dimension = Dimension::new();
        dimension.set_dim_value(*size as i64);
        shape.dim.push(dimension);
    }
    let mut tensor_type = onnx_protobuf::type_proto::Tensor::new();
    tensor_type.elem_type = element.data_type().value();
    tensor_type.shape = protobuf::MessageField::some(shape);
    let mut value_type = TypeProto::new();
    value_type.set_tensor_type(tensor_type);
    ValueInfoProto {
        name: name.to_owned(),
        type_: protobuf::MessageField::some(value_type),
        ..ValueInfoProto::default()
    }
}

/// A graph output of any shape.
pub fn untyped_value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.to_owned(), ..ValueInfoProto::default() }
}

/// A metadata entry.
pub fn metadata(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value: value.to_owned(), ..StringStringEntryProto::default() }
}
