//! A look into an ONNX file before it is handed to ONNX Runtime: is it one, and where does it keep its weights?

use std::path::Path;

use onnx_rs::ast::{Graph, TensorProto};

use dataset::{Error, Result};

/// The files outside an ONNX model that hold weights, as the model names them. Errs when the bytes are no ONNX model.
pub(crate) fn external_data(path: &Path, onnx: &[u8]) -> Result<Vec<String>> {
    let hint = "export the model again, or copy it again if the copy broke off";
    let model = onnx_rs::parse(onnx)
        .map_err(|e| Error::unreadable(path.display(), format!("expected a whole ONNX model, got {e}"), hint))?;
    let graph = model.graph.filter(|graph| model.ir_version > 0 && !graph.node.is_empty());
    let graph =
        graph.ok_or_else(|| Error::unreadable(path.display(), "expected an ONNX model, got something else", hint))?;
    let mut locations = Vec::new();
    collect(&graph, &mut locations);
    locations.sort();
    locations.dedup();
    Ok(locations)
}

fn collect(graph: &Graph<'_>, locations: &mut Vec<String>) {
    let mut tensor = |tensor: &TensorProto<'_>| {
        let entries = tensor.external_data().iter().filter(|entry| entry.key == "location");
        locations.extend(entries.map(|entry| entry.value.to_owned()));
    };
    graph.initializer.iter().for_each(&mut tensor);
    let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
    attributes().filter_map(|attribute| attribute.t.as_ref()).for_each(&mut tensor);
    attributes().filter_map(|attribute| attribute.g.as_ref()).for_each(|graph| collect(graph, locations));
}
