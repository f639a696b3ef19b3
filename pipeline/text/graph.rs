//! A look into an ONNX file before it is handed to ONNX Runtime: is it one, and where does it keep its weights?

use std::collections::BTreeSet;
use std::path::Path;

use onnx_rs::ast::{Attribute, Graph, Node, SparseTensor, TensorProto};

use dataset::{Error, Result};

/// The files outside an ONNX model that hold weights, as the model names them. Errs when the bytes are no ONNX model.
pub(crate) fn external_data(path: &Path, onnx: &[u8]) -> Result<Vec<String>> {
    let hint = "export the model again, or copy it again if the copy broke off";
    shallow(onnx).map_err(|what| Error::unreadable(path.display(), what, hint))?;
    let model = onnx_rs::parse(onnx)
        .map_err(|e| Error::unreadable(path.display(), format!("expected a whole ONNX model, got {e}"), hint))?;
    let graph = model.graph.as_ref().filter(|graph| model.ir_version > 0 && !graph.node.is_empty());
    let graph =
        graph.ok_or_else(|| Error::unreadable(path.display(), "expected an ONNX model, got something else", hint))?;
    let mut locations = Locations::default();
    locations.graph(graph);
    for function in &model.functions {
        locations.nodes(&function.node);
        function.attribute_proto.iter().for_each(|attribute| locations.attribute(attribute));
    }
    for training in &model.training_info {
        [&training.initialization, &training.algorithm].into_iter().flatten().for_each(|graph| locations.graph(graph));
    }
    Ok(locations.0.into_iter().collect())
}

/// Where tensors lie outside the file, gathered from wherever a model can hold one.
#[derive(Default)]
struct Locations(BTreeSet<String>);

impl Locations {
    fn graph(&mut self, graph: &Graph<'_>) {
        graph.initializer.iter().for_each(|tensor| self.tensor(tensor));
        graph.sparse_initializer.iter().for_each(|tensor| self.sparse(tensor));
        self.nodes(&graph.node);
    }

    fn nodes(&mut self, nodes: &[Node<'_>]) {
        nodes.iter().flat_map(|node| &node.attribute).for_each(|attribute| self.attribute(attribute));
    }

    fn attribute(&mut self, attribute: &Attribute<'_>) {
        attribute.t.iter().chain(&attribute.tensors).for_each(|tensor| self.tensor(tensor));
        attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors).for_each(|tensor| self.sparse(tensor));
        attribute.g.as_deref().into_iter().chain(&attribute.graphs).for_each(|graph| self.graph(graph));
    }

    fn sparse(&mut self, tensor: &SparseTensor<'_>) {
        [&tensor.values, &tensor.indices].into_iter().flatten().for_each(|tensor| self.tensor(tensor));
    }

    fn tensor(&mut self, tensor: &TensorProto<'_>) {
        let entries = tensor.external_data().iter().filter(|entry| entry.key == "location");
        self.0.extend(entries.map(|entry| entry.value.to_owned()));
    }
}

/// Messages in each other, at most: more than that no protobuf reader takes, ONNX Runtime's neither.
const DEEPEST: usize = 100;

/// The messages of an ONNX file that may hold others of their kind: graphs in attributes of nodes, and types of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Value,
    Type,
    TypeOfOne,
    TypeOfValues,
}

impl Message {
    /// What a field holds (onnx.proto); none: nothing that goes deeper.
    fn field(self, number: u64) -> Option<Message> {
        Some(match (self, number) {
            (Message::Model, 7) | (Message::Training, 1 | 2) | (Message::Attribute, 6 | 11) => Message::Graph,
            (Message::Model, 20) => Message::Training,
            (Message::Model, 25) => Message::Function,
            (Message::Graph, 1) | (Message::Function, 7) => Message::Node,
            (Message::Graph, 11..=13) => Message::Value,
            (Message::Node, 5) | (Message::Function, 11) => Message::Attribute,
            (Message::Value, 2) | (Message::Attribute, 14 | 15) => Message::Type,
            (Message::Type, 4 | 9) => Message::TypeOfOne,
            (Message::Type, 5) => Message::TypeOfValues,
            (Message::TypeOfOne, 1) | (Message::TypeOfValues, 2) => Message::Type,
            _ => return None,
        })
    }
}

/// Checks that nothing lies too deep for a reader that calls itself: such a file would end the process.
fn shallow(onnx: &[u8]) -> Result<(), String> {
    // Messages that are open, and where each ends. What is cut off is for the parser to say.
    let mut open = vec![(Message::Model, onnx.len())];
    let mut at = 0;
    while let Some(&(message, end)) = open.last() {
        if at >= end {
            open.pop();
            continue;
        }
        let Some(tag) = varint(onnx, &mut at) else { return Ok(()) };
        let skipped = match tag & 7 {
            0 => varint(onnx, &mut at).map(|_| 0),
            1 => Some(8),
            2 => varint(onnx, &mut at),
            5 => Some(4),
            _ => None,
        };
        let Some(next) = skipped.and_then(|skipped| at.checked_add(usize::try_from(skipped).ok()?)) else {
            return Ok(());
        };
        match message.field(tag >> 3).filter(|_| tag & 7 == 2 && next <= end) {
            Some(_) if open.len() == DEEPEST => {
                return Err(format!("expected at most {DEEPEST} messages in each other, got more"));
            }
            Some(inner) => open.push((inner, next)),
            None => at = next,
        }
    }
    Ok(())
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use onnx_rs::ast::{AttributeType, DataLocation, DataType, Function, Model, OpType, StringStringEntry};
    use proptest::prelude::*;

    use super::*;

    /// A field that holds a message.
    fn field(number: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for mut value in [number << 3 | 2, content.len() as u64] {
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        }
        bytes.extend(content);
        bytes
    }

    fn nested(path: &[u64], times: usize) -> Vec<u8> {
        (0..times).fold(Vec::new(), |inner, _| path.iter().rev().fold(inner, |inner, number| field(*number, &inner)))
    }

    #[test]
    fn what_lies_too_deep_is_refused_before_it_is_parsed() {
        // Graphs in attributes of nodes, and types of types: far deeper than a stack is.
        let graphs = field(7, &nested(&[1, 5, 6], 20_000));
        let types = field(7, &field(11, &field(2, &nested(&[4, 1], 20_000))));
        for onnx in [graphs, types] {
            let said = external_data(Path::new("model.onnx"), &onnx).unwrap_err().to_string();
            assert!(said.contains("expected at most 100 messages in each other"), "{said}");
        }
        assert!(shallow(&field(7, &nested(&[1, 5, 6], 30))).is_ok());
        assert!(shallow(&field(7, &nested(&[1, 5, 6], 40))).is_err());
    }

    #[test]
    fn weights_outside_are_found_wherever_a_model_can_hold_them() {
        let outside = |value| {
            TensorProto::from_raw("t", vec![1], DataType::Float, &[])
                .with_external_data(vec![StringStringEntry { key: "location", value }])
                .with_data_location(DataLocation::External)
        };
        let sparse = |values, indices| SparseTensor {
            values: Some(outside(values)),
            indices: Some(outside(indices)),
            ..SparseTensor::default()
        };
        let attribute = |kind| Attribute { name: "a", r#type: kind, ..Attribute::default() };
        let node = |attribute| Node { op_type: OpType::Identity, attribute, ..Node::default() };
        let graph = |name| Graph { initializer: vec![outside(name)], ..Graph::default() };
        let attributes = vec![
            Attribute { t: Some(outside("one")), ..attribute(AttributeType::Tensor) },
            Attribute { tensors: vec![outside("several")], ..attribute(AttributeType::Tensors) },
            Attribute { sparse_tensor: Some(sparse("values", "indices")), ..attribute(AttributeType::SparseTensor) },
            Attribute { g: Some(Box::new(graph("branch"))), ..attribute(AttributeType::Graph) },
            Attribute { graphs: vec![graph("branches")], ..attribute(AttributeType::Graphs) },
        ];
        let model = Model {
            ir_version: 8,
            graph: Some(Graph {
                node: vec![node(attributes)],
                sparse_initializer: vec![sparse("sparse values", "sparse indices")],
                ..graph("initializer")
            }),
            functions: vec![Function {
                name: "f",
                node: vec![node(vec![Attribute { t: Some(outside("function")), ..attribute(AttributeType::Tensor) }])],
                ..Function::default()
            }],
            ..Model::default()
        };
        let found = external_data(Path::new("model.onnx"), &onnx_rs::encode(&model)).expect("a model");
        let expected = [
            "branch",
            "branches",
            "function",
            "indices",
            "initializer",
            "one",
            "several",
            "sparse indices",
            "sparse values",
            "values",
        ];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_through(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            // So few bytes cannot lie deep; that it ends, and at none beyond the last, is what is asked.
            prop_assert!(shallow(&bytes).is_ok() && shallow(&field(7, &bytes)).is_ok() || bytes.len() > 190);
        }
    }
}
