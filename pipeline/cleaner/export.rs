//! The classifier as ONNX: opset 20, inputs `input_ids` and `attention_mask` of any batch and length, output `logits[batch, 2]`.
//!
//! In the int8 variant the encoder's linear layers and the word embeddings are quantised. Weights have a scale per output
//! channel (embeddings: per row); inputs have one fixed scale per layer, calibrated on training texts, so that a text's score
//! does not depend on the texts around it. Weights use 7 bits: products of 8 bits overflow the 16-bit sums of processors
//! without VNNI, and the same model would score differently there.

use std::collections::BTreeMap;

use candle_core::Result;
use onnx_rs::ast::{
    Attribute, AttributeType, DataType, Dimension, Graph, Model, Node, OpType, OperatorSetId, TensorProto, TensorShape,
    TensorShapeDimension, TensorTypeProto, TypeProto, TypeValue, ValueInfo,
};

use crate::candle;
use crate::roberta::{EMBEDDING_NORM, ENCODER, LABELS, POSITIONS, Roberta, TYPES, WORDS};

/// The smallest and largest input of each linear layer, by name.
pub type Ranges = BTreeMap<String, (f32, f32)>;

const OPSET: i64 = 20;
const IR_VERSION: i64 = 9;
/// Largest quantised weight: 7 bits.
const WEIGHT_MAX: f32 = 63.0;

/// The model as an ONNX file; int8 where ranges are given.
pub fn to_onnx(model: &Roberta, ranges: Option<&Ranges>) -> dataset::Result<Vec<u8>> {
    let mut builder = Builder { model, ranges, tensors: Vec::new(), nodes: Vec::new() };
    builder.build().map_err(candle)?;
    Ok(builder.encode())
}

/// A weight of the graph.
struct Weight {
    name: String,
    dims: Vec<i64>,
    kind: DataType,
    bytes: Vec<u8>,
}

/// One operation.
struct Operation {
    kind: OpType<'static>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Vec<(&'static str, Setting)>,
}

enum Setting {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
}

struct Builder<'a> {
    model: &'a Roberta,
    ranges: Option<&'a Ranges>,
    tensors: Vec<Weight>,
    nodes: Vec<Operation>,
}

impl Builder<'_> {
    fn build(&mut self) -> Result<()> {
        let config = &self.model.config;
        let (width, heads) = (config.hidden_size as i64, config.num_attention_heads as i64);
        self.ints("axis_1", &[1], vec![]);
        self.ints("axes_1_2", &[1, 2], vec![2]);
        self.ints("padding", &[i64::from(config.pad_token_id)], vec![]);
        self.ints("heads", &[0, 0, heads, width / heads], vec![4]);
        self.ints("joined", &[0, 0, width], vec![3]);
        self.ints("thirds", &[width, width, width], vec![3]);
        self.floats("one", &[1.0], vec![]);
        self.floats("masked", &[-1e9], vec![]);

        // 0 for tokens, very negative for padding: [batch, 1, 1, length].
        let mask = self.node(OpType::Cast, &["attention_mask"], "mask/float", vec![("to", Setting::Int(1))]);
        let absent = self.node(OpType::Sub, &["one", &mask], "mask/absent", vec![]);
        let absent = self.node(OpType::Mul, &[&absent, "masked"], "mask/large", vec![]);
        let mask = self.node(OpType::Unsqueeze, &[&absent, "axes_1_2"], "mask/bias", vec![]);

        let words = self.words()?;
        let counted = self.node(OpType::CumSum, &["attention_mask", "axis_1"], "positions/counted", vec![]);
        let counted = self.node(OpType::Mul, &[&counted, "attention_mask"], "positions/tokens", vec![]);
        let positions = self.node(OpType::Add, &[&counted, "padding"], "positions/ids", vec![]);
        let kind = self.model.get(TYPES).narrow(0, 0, 1)?;
        let table = self.model.get(POSITIONS).broadcast_add(&kind)?;
        let dims = table.dims().iter().map(|&d| d as i64).collect();
        self.floats("positions", &table.flatten_all()?.to_vec1::<f32>()?, dims);
        let positions = self.node(OpType::Gather, &["positions", &positions], "positions/rows", vec![]);
        let summed = self.node(OpType::Add, &[&words, &positions], "embeddings/sum", vec![]);
        let mut x = self.layer_norm(&summed, EMBEDDING_NORM)?;
        for layer in 0..config.num_hidden_layers {
            let name = |part: &str| format!("{ENCODER}.{layer}.{part}");
            let attended = self.attention(&x, &mask, layer)?;
            let attended = self.linear(&attended, &[&name("attention.output.dense")], 1.0)?;
            let summed = self.node(OpType::Add, &[&attended, &x], &name("attention.sum"), vec![]);
            x = self.layer_norm(&summed, &name("attention.output.LayerNorm"))?;
            let inner = self.linear(&x, &[&name("intermediate.dense")], 1.0)?;
            let inner = self.node(OpType::Gelu, &[&inner], &name("gelu"), vec![]);
            let fed = self.linear(&inner, &[&name("output.dense")], 1.0)?;
            let summed = self.node(OpType::Add, &[&fed, &x], &name("sum"), vec![]);
            x = self.layer_norm(&summed, &name("output.LayerNorm"))?;
        }
        self.ints("first", &[0], vec![]);
        let first = self.node(OpType::Gather, &[&x, "first"], "head/first", vec![("axis", Setting::Int(1))]);
        let pooled = self.linear(&first, &["classifier.dense"], 1.0)?;
        let pooled = self.node(OpType::Tanh, &[&pooled], "head/pooled", vec![]);
        let logits = self.linear(&pooled, &["classifier.out_proj"], 1.0)?;
        self.nodes.last_mut().expect("the graph has nodes").outputs = vec!["logits".into()];
        debug_assert_ne!(logits, "logits");
        Ok(())
    }

    fn attention(&mut self, x: &str, mask: &str, layer: usize) -> Result<String> {
        let name = |part: &str| format!("{ENCODER}.{layer}.attention.{part}");
        let parts = ["self.query", "self.key", "self.value"].map(name);
        let config = &self.model.config;
        // The scale of the scores is in the query's weights already.
        let scale = 1.0 / ((config.hidden_size / config.num_attention_heads) as f64).sqrt();
        let joint = self.linear(x, &[&parts[0], &parts[1], &parts[2]], scale)?;
        let thirds = ["q", "k", "v"].map(name);
        self.nodes.push(Operation {
            kind: OpType::Split,
            inputs: vec![joint, "thirds".into()],
            outputs: thirds.to_vec(),
            attributes: vec![("axis", Setting::Int(-1))],
        });
        let mut split = |third: &str, order: [i64; 4]| {
            let heads = self.node(OpType::Reshape, &[third, "heads"], &format!("{third}/heads"), vec![]);
            let order = vec![("perm", Setting::Ints(order.to_vec()))];
            self.node(OpType::Transpose, &[&heads], &format!("{third}/turned"), order)
        };
        let (query, key, value) =
            (split(&thirds[0], [0, 2, 1, 3]), split(&thirds[1], [0, 2, 3, 1]), split(&thirds[2], [0, 2, 1, 3]));
        let scores = self.node(OpType::MatMul, &[&query, &key], &name("scores"), vec![]);
        let scores = self.node(OpType::Add, &[&scores, mask], &name("masked"), vec![]);
        let weights = self.node(OpType::Softmax, &[&scores], &name("weights"), vec![("axis", Setting::Int(-1))]);
        let mixed = self.node(OpType::MatMul, &[&weights, &value], &name("mixed"), vec![]);
        let order = vec![("perm", Setting::Ints(vec![0, 2, 1, 3]))];
        let mixed = self.node(OpType::Transpose, &[&mixed], &name("turned"), order);
        Ok(self.node(OpType::Reshape, &[&mixed, "joined"], &name("joined"), vec![]))
    }

    /// One matrix product for all the named layers, which share their input; the first one's result is scaled.
    fn linear(&mut self, x: &str, names: &[&str], scale: f64) -> Result<String> {
        let mut weights = Vec::new();
        let mut bias = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let scale = if i == 0 { scale } else { 1.0 };
            weights.push((self.model.get(&format!("{name}.weight")) * scale)?);
            bias.extend((self.model.get(&format!("{name}.bias")) * scale)?.to_vec1::<f32>()?);
        }
        let weights_oi = candle_core::Tensor::cat(&weights, 0)?;
        let (out, into) = weights_oi.dims2()?;
        let name = names[0];
        let (weight, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
        self.floats(&bias_name, &bias, vec![out as i64]);
        let range = self.ranges.and_then(|ranges| ranges.get(name)).filter(|_| !name.starts_with("classifier."));
        let product = match range {
            Some(&(low, high)) => {
                let x = self.quantised_input(x, name, low, high);
                let weight = self.quantised_weight(&weight, &weights_oi.to_vec2::<f32>()?);
                self.node(OpType::MatMul, &[&x, &weight], &format!("{name}/product"), vec![])
            }
            None => {
                let transposed = weights_oi.t()?.flatten_all()?.to_vec1::<f32>()?;
                self.floats(&weight, &transposed, vec![into as i64, out as i64]);
                self.node(OpType::MatMul, &[x, &weight], &format!("{name}/product"), vec![])
            }
        };
        Ok(self.node(OpType::Add, &[&product, &bias_name], &format!("{name}/sum"), vec![]))
    }

    /// To 8 bits and back, with a fixed scale.
    fn quantised_input(&mut self, x: &str, name: &str, low: f32, high: f32) -> String {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
        let (scale_name, zero_name) = (format!("{name}.input_scale"), format!("{name}.input_zero"));
        self.floats(&scale_name, &[scale], vec![]);
        self.bytes(&zero_name, DataType::Uint8, vec![(-low / scale).round() as u8], vec![]);
        let parameters = [scale_name.as_str(), zero_name.as_str()];
        let inputs = [&[x], parameters.as_slice()].concat();
        let quantised = self.node(OpType::QuantizeLinear, &inputs, &format!("{name}/quantised"), vec![]);
        let inputs = [&[quantised.as_str()], parameters.as_slice()].concat();
        self.node(OpType::DequantizeLinear, &inputs, &format!("{name}/input"), vec![])
    }

    /// Rows are output channels; the graph's matrix is the transpose.
    fn quantised_weight(&mut self, name: &str, rows: &[Vec<f32>]) -> String {
        let (out, into) = (rows.len(), rows.first().map_or(0, Vec::len));
        let (scales, quantised) = quantise_rows(rows, WEIGHT_MAX);
        let transposed = (0..into).flat_map(|i| quantised.iter().map(move |row| row[i] as u8)).collect();
        let names = [name.to_owned(), format!("{name}_scale"), format!("{name}_zero")];
        self.bytes(&names[0], DataType::Int8, transposed, vec![into as i64, out as i64]);
        self.floats(&names[1], &scales, vec![out as i64]);
        self.bytes(&names[2], DataType::Int8, vec![0; out], vec![out as i64]);
        let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
        let axis = vec![("axis", Setting::Int(1))];
        self.node(OpType::DequantizeLinear, &inputs, &format!("{name}/float"), axis)
    }

    fn words(&mut self) -> Result<String> {
        let rows = self.model.get(WORDS).to_vec2::<f32>()?;
        let (count, width) = (rows.len() as i64, self.model.config.hidden_size as i64);
        if self.ranges.is_none() {
            self.floats("words", &rows.concat(), vec![count, width]);
            return Ok(self.node(OpType::Gather, &["words", "input_ids"], "words/rows", vec![]));
        }
        let (scales, quantised) = quantise_rows(&rows, 127.0);
        let bytes = quantised.concat().into_iter().map(|value| value as u8).collect();
        self.bytes("words", DataType::Int8, bytes, vec![count, width]);
        self.floats("words_scale", &scales, vec![count, 1]);
        let rows = self.node(OpType::Gather, &["words", "input_ids"], "words/rows", vec![]);
        let rows = self.node(OpType::Cast, &[&rows], "words/float", vec![("to", Setting::Int(1))]);
        let scales = self.node(OpType::Gather, &["words_scale", "input_ids"], "words/scales", vec![]);
        Ok(self.node(OpType::Mul, &[&rows, &scales], "words/scaled", vec![]))
    }

    fn layer_norm(&mut self, x: &str, name: &str) -> Result<String> {
        let (scale, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        for parameter in [&scale, &bias] {
            let values = self.model.get(parameter).to_vec1::<f32>()?;
            self.floats(parameter, &values, vec![values.len() as i64]);
        }
        let epsilon = Setting::Float(self.model.config.layer_norm_eps as f32);
        let attributes = vec![("axis", Setting::Int(-1)), ("epsilon", epsilon)];
        Ok(self.node(OpType::LayerNormalization, &[x, &scale, &bias], &format!("{name}/normed"), attributes))
    }

    fn node(
        &mut self,
        kind: OpType<'static>,
        inputs: &[&str],
        output: &str,
        attributes: Vec<(&'static str, Setting)>,
    ) -> String {
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        self.nodes.push(Operation { kind, inputs, outputs: vec![output.to_owned()], attributes });
        output.to_owned()
    }

    fn floats(&mut self, name: &str, values: &[f32], dims: Vec<i64>) {
        self.bytes(name, DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect(), dims);
    }

    fn ints(&mut self, name: &str, values: &[i64], dims: Vec<i64>) {
        self.bytes(name, DataType::Int64, values.iter().flat_map(|value| value.to_le_bytes()).collect(), dims);
    }

    fn bytes(&mut self, name: &str, kind: DataType, bytes: Vec<u8>, dims: Vec<i64>) {
        self.tensors.push(Weight { name: name.to_owned(), dims, kind, bytes });
    }

    fn encode(&self) -> Vec<u8> {
        let node = self.nodes.iter().map(|operation| Node {
            input: operation.inputs.iter().map(String::as_str).collect(),
            output: operation.outputs.iter().map(String::as_str).collect(),
            name: &operation.outputs[0],
            op_type: operation.kind.clone(),
            attribute: operation.attributes.iter().map(attribute).collect(),
            ..Node::default()
        });
        let initializer = self.tensors.iter().map(|t| TensorProto::from_raw(&t.name, t.dims.clone(), t.kind, &t.bytes));
        let text = [Dimension::Param("batch"), Dimension::Param("length")];
        let graph = Graph {
            name: "roberta",
            node: node.collect(),
            initializer: initializer.collect(),
            input: ["input_ids", "attention_mask"].map(|name| value(name, DataType::Int64, text.clone())).into(),
            output: vec![value(
                "logits",
                DataType::Float,
                [Dimension::Param("batch"), Dimension::Value(LABELS.len() as i64)],
            )],
            ..Graph::default()
        };
        onnx_rs::encode(&Model {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetId { domain: "", version: OPSET }],
            producer_name: "querent",
            producer_version: env!("CARGO_PKG_VERSION"),
            graph: Some(graph),
            ..Model::default()
        })
    }
}

fn attribute<'a>((name, setting): &'a (&'static str, Setting)) -> Attribute<'a> {
    let bare = Attribute { name, ..Attribute::default() };
    match setting {
        Setting::Int(i) => Attribute { r#type: AttributeType::Int, i: *i, ..bare },
        Setting::Ints(ints) => Attribute { r#type: AttributeType::Ints, ints: ints.clone(), ..bare },
        Setting::Float(f) => Attribute { r#type: AttributeType::Float, f: *f, ..bare },
    }
}

fn value<'a>(name: &'a str, elem_type: DataType, dims: [Dimension<'a>; 2]) -> ValueInfo<'a> {
    let dim = dims.into_iter().map(|value| TensorShapeDimension { value, ..TensorShapeDimension::default() }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(TensorShape { dim }) };
    let kind = TypeProto { value: Some(TypeValue::Tensor(tensor)), ..TypeProto::default() };
    ValueInfo { name, r#type: Some(kind), ..ValueInfo::default() }
}

/// Symmetric: each row divided by its scale, so that its largest value becomes `largest`.
fn quantise_rows(rows: &[Vec<f32>], largest: f32) -> (Vec<f32>, Vec<Vec<i8>>) {
    rows.iter()
        .map(|row| {
            let scale = (row.iter().fold(0.0_f32, |max, value| max.max(value.abs())) / largest).max(f32::MIN_POSITIVE);
            (scale, row.iter().map(|value| (value / scale).round() as i8).collect())
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantised_rows_are_within_half_a_step() {
        let rows = vec![vec![0.5, -1.0, 0.25], vec![0.0, 0.0, 0.0], vec![1e-3, 2e-3, -4e-3]];
        let (scales, quantised) = quantise_rows(&rows, WEIGHT_MAX);
        for ((row, scale), quantised) in rows.iter().zip(scales).zip(quantised) {
            for (value, level) in row.iter().zip(quantised) {
                assert!((value - f32::from(level) * scale).abs() <= scale / 2.0 + 1e-9);
            }
        }
    }
}
