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
    TensorProto {
        name: name.to_owned(),
        dims: shape.iter().map(|d| *d as i64).collect(),
        data_type: DataType::FLOAT.value(),
        raw_data: data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// An f32 graph input or output; the first dimension is the dynamic batch `N`.
pub fn batch_value(name: &str, rest: &[usize]) -> ValueInfoProto {
    let mut batch = Dimension::new();
    batch.set_dim_param("N".to_owned());
    let mut shape = TensorShapeProto::new();
    shape.dim.push(batch);
    for size in rest {
        let mut dimension = Dimension::new();
        dimension.set_dim_value(*size as i64);
        shape.dim.push(dimension);
    }
    let mut tensor_type = onnx_protobuf::type_proto::Tensor::new();
    tensor_type.elem_type = DataType::FLOAT.value();
    tensor_type.shape = protobuf::MessageField::some(shape);
    let mut value_type = TypeProto::new();
    value_type.set_tensor_type(tensor_type);
    ValueInfoProto {
        name: name.to_owned(),
        type_: protobuf::MessageField::some(value_type),
        ..ValueInfoProto::default()
    }
}

/// A metadata entry.
pub fn metadata(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value: value.to_owned(), ..StringStringEntryProto::default() }
}
