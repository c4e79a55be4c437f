//! Small made-up networks: every form of head that is recognised, in every
//! operator set, and some that are not.

use super::onnx::attribute_proto::AttributeType;
use super::onnx::tensor_proto::{DataLocation, DataType};
use super::onnx::type_proto::{Tensor, Value};
use super::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto,
};
use super::*;
use crate::explain::Methods;
use prost::Message;
use std::path::Path;

pub(super) const CHANNELS: usize = 5;
pub(super) const CLASSES: usize = 4;

pub(super) fn floats(name: &str, dims: &[usize], seed: u32) -> TensorProto {
    let mut state = seed.wrapping_mul(747_796_405) | 1;
    let value = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    TensorProto {
        name: Some(name.into()),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: Some(DataType::Float as i32),
        float_data: (0..dims.iter().product()).map(value).collect(),
        ..TensorProto::default()
    }
}

pub(super) fn ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: vec![values.len() as i64],
        data_type: Some(DataType::Int64 as i32),
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

pub(super) fn list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

pub(super) fn number(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

pub(super) fn node(
    op: &str,
    inputs: &[&str],
    output: &str,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto {
        name: Some(format!("make_{output}")),
        op_type: Some(op.into()),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    }
}

pub(super) fn info(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&v: &i64| tensor_shape_proto::Dimension {
        value: (v > 0).then_some(tensor_shape_proto::dimension::Value::DimValue(v)),
        ..Default::default()
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = Tensor { elem_type: Some(DataType::Float as i32), shape };
    let value = Some(Value::TensorType(tensor));
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value, ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

/// Convolution and ReLU (`a`), then `tail` to `logits`.
pub(super) fn network(opset: i64, tail: Vec<NodeProto>, weights: Vec<TensorProto>) -> ModelProto {
    let mut nodes = vec![
        node("Conv", &["x", "w0", "b0"], "c", vec![list("pads", &[1, 1, 1, 1])]),
        node("Relu", &["c"], "a", vec![]),
    ];
    nodes.extend(tail);
    let mut initializer = vec![floats("w0", &[CHANNELS, 3, 3, 3], 1), floats("b0", &[CHANNELS], 2)];
    initializer.extend(weights);
    let graph = GraphProto {
        name: Some("net".into()),
        node: nodes,
        initializer,
        input: vec![info("x", &[0, 3, 6, 8])],
        output: vec![info("logits", &[])],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(opset) };
    ModelProto {
        ir_version: Some(if opset.version() < 11 { 4 } else { 8 }),
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn mean(opset: i64, input: &str, axes: &[i64], keep: i64) -> (NodeProto, Vec<TensorProto>) {
    let keep = number("keepdims", keep);
    if opset >= 18 {
        (node("ReduceMean", &[input, "axes"], "p", vec![keep]), vec![ints("axes", axes)])
    } else {
        (node("ReduceMean", &[input], "p", vec![list("axes", axes), keep]), vec![])
    }
}

fn squeeze(opset: i64, input: &str, output: &str) -> (NodeProto, Vec<TensorProto>) {
    if opset >= 13 {
        (node("Squeeze", &[input, "sq"], output, vec![]), vec![ints("sq", &[2, 3])])
    } else {
        (node("Squeeze", &[input], output, vec![list("axes", &[2, 3])]), vec![])
    }
}

/// Every recognised head: name, nodes, weights.
pub(super) fn heads(opset: i64) -> Vec<(&'static str, Vec<NodeProto>, Vec<TensorProto>)> {
    let gap = || node("GlobalAveragePool", &["a"], "p", vec![]);
    let flat = || node("Flatten", &["p"], "f", vec![]);
    let bias = || floats("b", &[CLASSES], 8);
    let (wt, w) = (floats("w", &[CLASSES, CHANNELS], 7), floats("w", &[CHANNELS, CLASSES], 7));
    let w1x1 = floats("w", &[CLASSES, CHANNELS, 1, 1], 7);
    let (nhwc, axes) = mean(opset, "t", &[1, 2], 0);
    let (negative, negative_axes) = mean(opset, "a", &[-2, -1], 1);
    let (sq, sq_axes) = squeeze(opset, "q", "logits");
    let kernel = || list("kernel_shape", &[6, 8]);
    let gemm = |mut more: Vec<AttributeProto>| {
        more.push(number("transB", 1));
        node("Gemm", &["f", "w", "b"], "logits", more)
    };
    let half = AttributeProto {
        name: Some("alpha".into()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(0.5),
        ..AttributeProto::default()
    };
    vec![
        ("gemm", vec![gap(), flat(), gemm(vec![])], vec![wt.clone(), bias()]),
        ("alpha", vec![gap(), flat(), gemm(vec![half])], vec![wt.clone(), bias()]),
        (
            "untransposed gemm",
            vec![gap(), flat(), node("Gemm", &["f", "w", "b"], "logits", vec![])],
            vec![w.clone(), bias()],
        ),
        (
            "matmul",
            vec![gap(), flat(), node("MatMul", &["f", "w"], "logits", vec![])],
            vec![w.clone()],
        ),
        (
            "matmul and bias, channels last",
            vec![
                node("Transpose", &["a"], "t", vec![list("perm", &[0, 2, 3, 1])]),
                nhwc,
                node("MatMul", &["p", "w"], "m", vec![]),
                node("Add", &["b", "m"], "logits", vec![]),
            ],
            [vec![w, bias()], axes].concat(),
        ),
        (
            "average over negative axes",
            vec![negative, flat(), gemm(vec![])],
            [vec![wt.clone(), bias()], negative_axes].concat(),
        ),
        (
            "average pooling of everything",
            vec![node("AveragePool", &["a"], "p", vec![kernel()]), flat(), gemm(vec![])],
            vec![wt, bias()],
        ),
        (
            "1x1 convolution after",
            vec![gap(), node("Conv", &["p", "w", "b"], "q", vec![]), sq],
            [vec![w1x1.clone(), bias()], sq_axes].concat(),
        ),
        (
            "1x1 convolution before",
            vec![
                node("Conv", &["a", "w", "b"], "k", vec![]),
                node("GlobalAveragePool", &["k"], "p", vec![]),
                node("Flatten", &["p"], "logits", vec![]),
            ],
            vec![w1x1, bias()],
        ),
    ]
}

pub(super) fn model(dir: &Path, net: &ModelProto) -> Model {
    let path = dir.join("net.onnx");
    std::fs::write(&path, net.encode_to_vec()).unwrap();
    Model::open(&path, None).unwrap()
}

fn all() -> Vec<Wanted> {
    (0..CLASSES).map(|class| Wanted { head: 0, class }).collect()
}

pub(super) fn picture(seed: usize) -> Vec<f32> {
    (0..3 * 6 * 8).map(|i| ((i * (7 + seed)) % 23) as f32 / 11.0 - 1.0).collect()
}

#[test]
fn every_form_of_head_in_every_operator_set_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    for opset in 9..=21 {
        for (name, nodes, weights) in heads(opset) {
            let bias = weights.iter().find(|w| w.name() == "b").map(|w| w.float_data.clone());
            let net = network(opset, nodes, weights);
            let mut net = Classifier::load(&model(dir.path(), &net), &Options::default()).unwrap();
            assert_eq!(net.why_no_map(0), None, "{name}, operator set {opset}");
            let kind = if name.ends_with("before") {
                HeadKind::ClassMaps
            } else {
                HeadKind::PoolThenLinear
            };
            assert_eq!(net.finding(0).map(|f| f.head_kind), Some(kind), "{name}");
            for seed in 0..2 {
                let out = net.run(&picture(seed), &all()).unwrap();
                assert_eq!(out.maps.len(), CLASSES);
                for ClassMap { class, map, .. } in &out.maps {
                    assert_eq!((map.rows, map.cols), (6, 8));
                    let b = bias
                        .as_ref()
                        .filter(|_| kind == HeadKind::PoolThenLinear)
                        .map_or(0.0, |b| b[*class]);
                    let mean = map.values.iter().sum::<f32>() / 48.0;
                    let logit = out.heads[0].logits[*class];
                    assert!(
                        (mean + b - logit).abs() < 1e-4,
                        "{name} {opset}: {mean} + {b} is not {logit}"
                    );
                }
            }
        }
    }
}

#[test]
fn heads_that_have_no_map_say_why_and_still_classify() {
    let dir = tempfile::tempdir().unwrap();
    let gemm = |input: &str| node("Gemm", &[input, "w", "b"], "logits", vec![]);
    let small = vec![floats("w", &[CHANNELS, CLASSES], 7), floats("b", &[CLASSES], 8)];
    let flat = |from: &str| node("Flatten", &[from], "f", vec![]);
    let cases: Vec<(&str, Vec<NodeProto>, Vec<TensorProto>)> = vec![
        (
            "operator CumSum (node \"make_d\")",
            vec![
                node("GlobalAveragePool", &["a"], "p", vec![]),
                flat("p"),
                node("CumSum", &["f", "axis"], "d", vec![]),
                gemm("d"),
            ],
            [small.clone(), vec![ints("axis", &[1])]].concat(),
        ),
        (
            "does not hold one logit for each class",
            vec![node("Conv", &["a", "w"], "logits", vec![])],
            vec![floats("w", &[CLASSES, CHANNELS, 1, 1], 7)],
        ),
        (
            "no tensor with rows and columns",
            vec![
                node("Flatten", &["x"], "f", vec![]),
                node("MatMul", &["f", "w"], "logits", vec![]),
            ],
            vec![floats("w", &[144, CLASSES], 7)],
        ),
    ];
    for (why, nodes, weights) in cases {
        let model = model(dir.path(), &network(17, nodes, weights));
        let mut net = Classifier::load(&model, &Options::default()).unwrap();
        let reason = net.why_no_map(0).unwrap().to_string();
        assert!(reason.contains(why), "{reason}");
        let out = net.run(&picture(0), &[Wanted { head: 0, class: 0 }]).unwrap();
        assert!(out.maps.is_empty() && !out.heads[0].logits.is_empty());
    }
}

#[test]
fn tokens_are_explained_when_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    // Patches, a class token before them, and only its logits.
    let nodes = vec![
        node("Reshape", &["a", "to_tokens"], "r", vec![]),
        node("Transpose", &["r"], "t", vec![list("perm", &[0, 2, 1])]),
        node("Concat", &["token", "t"], "all", vec![number("axis", 1)]),
        node("Transpose", &["all"], "turned", vec![list("perm", &[0, 2, 1])]),
        node("MatMul", &["all", "turned"], "likeness", vec![]),
        node("Softmax", &["likeness"], "attention", vec![number("axis", 2)]),
        node("MatMul", &["attention", "all"], "mixed", vec![]),
        node("Gather", &["mixed", "first"], "head", vec![number("axis", 1)]),
        node("MatMul", &["head", "w"], "logits", vec![]),
    ];
    let first = TensorProto { dims: vec![], ..ints("first", &[0]) };
    let shape = ints("to_tokens", &[1, CHANNELS as i64, 48]);
    let token = floats("token", &[1, 1, CHANNELS], 3);
    let weights = vec![shape, token, first, floats("w", &[CHANNELS, CLASSES], 7)];
    let model = model(dir.path(), &network(17, nodes, weights));
    let net = Classifier::load(&model, &Options::default()).unwrap();
    let reason = net.why_no_map(0).unwrap().to_string();
    assert!(reason.contains("--feature all --layout tokens"), "{reason}");
    let named = Explain { feature: Some("all".into()), ..Explain::default() };
    let mut net =
        Classifier::load(&model, &Options { explain: named, ..Options::default() }).unwrap();
    let found = net.finding(0).unwrap();
    assert_eq!((found.rows, found.cols, found.channels), (6, 8, CHANNELS));
    let out = net.run(&picture(0), &all()).unwrap();
    assert!(out.maps.iter().all(|m| m.map.values.iter().any(|v| *v != 0.0)));
}

#[test]
fn an_edited_network_is_not_edited_again_and_damaged_weights_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (_, nodes, weights) = heads(17).swap_remove(0);
    let mut net = network(17, nodes, weights);
    let mut taken = net.clone();
    let graph = taken.graph.as_mut().unwrap();
    graph.node.push(node("Identity", &["p"], "cam_classes_0", vec![]));
    let loaded = Classifier::load(&model(dir.path(), &taken), &Options::default()).unwrap();
    assert!(matches!(loaded.why_no_map(0), Some(NoMap::NameTaken { .. })), "{loaded:?}");

    let weights = &mut net.graph.as_mut().unwrap().initializer;
    weights.iter_mut().find(|w| w.name() == "b").unwrap().float_data[2] = f32::NAN;
    let error = Classifier::load(&model(dir.path(), &net), &Options::default()).unwrap_err();
    assert!(matches!(error, Error::NotFinite { class: 2, .. }), "{error}");
}

#[test]
fn the_head_that_is_asked_for_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let gemm = |w: &str, out: &str| node("Gemm", &["f", w], out, vec![]);
    let nodes = vec![
        node("GlobalAveragePool", &["a"], "p", vec![]),
        node("Flatten", &["p"], "f", vec![]),
        gemm("w", "logits"),
        gemm("v", "others"),
        node("Sigmoid", &["others"], "marks", vec![]),
    ];
    let weights = vec![floats("w", &[CHANNELS, CLASSES], 7), floats("v", &[CHANNELS, 2], 9)];
    let mut net = network(17, nodes, weights);
    net.graph.as_mut().unwrap().output.push(info("marks", &[]));
    std::fs::write(dir.path().join("model.onnx"), net.encode_to_vec()).unwrap();
    let text = r#"
        name = "two"
        [input]
        width = 8
        height = 6
        mean = [0, 0, 0]
        std = [1, 1, 1]
        [[head]]
        name = "kind"
        output = "logits"
        activation = "softmax"
        labels = ["a", "b", "c", "d"]
        temperature = 2
        [[head]]
        name = "mark"
        output = "marks"
        activation = "sigmoid"
        labels = ["x", "y"]
    "#;
    std::fs::write(dir.path().join("model.toml"), text).unwrap();
    let model = Model::find(dir.path().to_str().unwrap(), &Places::default()).unwrap();
    let options = |heads: Heads, top_k| Options {
        explain: Explain { heads, top_k, ..Explain::default() },
        ..Options::default()
    };
    for (index, name) in ["kind", "mark"].into_iter().enumerate() {
        let only = options(Heads::Named(vec![name.into()]), 1);
        let mut net = Classifier::load(&model, &only).unwrap();
        let out = net.run(&picture(3), &[]).unwrap();
        assert_eq!(out.maps.iter().map(|m| m.head).collect::<Vec<_>>(), [index], "{name}");
        assert!(net.run(&picture(3), &[Wanted { head: 1 - index, class: 0 }]).is_err());
    }
    let mut net = Classifier::load(&model, &options(Heads::All, 1)).unwrap();
    // Head and class change from run to run.
    for wanted in [vec![], vec![(0, 1)], vec![(1, 1), (0, 3), (1, 0)]] {
        let wanted: Vec<Wanted> =
            wanted.into_iter().map(|(head, class)| Wanted { head, class }).collect();
        let out = net.run(&picture(3), &wanted).unwrap();
        assert!(wanted.iter().all(|w| out.map(*w).is_some()), "{wanted:?}");
        for (head, answer) in out.heads.iter().enumerate() {
            let best = (0..answer.logits.len())
                .max_by(|&a, &b| answer.logits[a].total_cmp(&answer.logits[b]));
            assert!(out.map(Wanted { head, class: best.unwrap() }).is_some());
        }
        for ClassMap { head, class, map, .. } in &out.maps {
            let mean = map.values.iter().sum::<f32>() / 48.0;
            assert!((mean - out.heads[*head].logits[*class]).abs() < 1e-4);
        }
        let (kind, mark) = (&out.heads[0], &out.heads[1]);
        let ratio = (kind.probabilities[0] / kind.probabilities[1]).ln();
        assert!((ratio - (kind.logits[0] - kind.logits[1]) / 2.0).abs() < 1e-4);
        assert!((mark.probabilities[1] - 1.0 / (1.0 + (-mark.logits[1]).exp())).abs() < 1e-6);
    }
    assert!(net.run(&picture(3), &[Wanted { head: 1, class: 2 }]).is_err());
}

#[test]
fn a_network_for_two_pictures_at_a_time_shows_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_, nodes, weights) = heads(17).swap_remove(0);
    let mut net = network(17, nodes, weights);
    let one = Classifier::load(&model(dir.path(), &net), &Options::default())
        .and_then(|mut one| one.run(&picture(1), &all()))
        .unwrap();
    net.graph.as_mut().unwrap().input = vec![info("x", &[2, 3, 6, 8])];
    let all_methods = Explain { methods: Methods::All, ..Explain::default() };
    let options = Options { explain: all_methods, ..Options::default() };
    let mut two = Classifier::load(&model(dir.path(), &net), &options).unwrap();
    let two = two.run(&picture(1), &all()).unwrap();
    assert_eq!(two.maps.len(), 5 * CLASSES);
    for map in &one.maps {
        let same = two.map(Wanted { head: 0, class: map.class }).unwrap();
        let mut pairs = map.map.values.iter().zip(&same.map.values);
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn damaged_networks_never_panic_the_search() {
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let dir = tempfile::tempdir().unwrap();
    let mut found = 0;
    for (_, nodes, weights) in heads(13) {
        let good = network(13, nodes, weights).encode_to_vec();
        for _ in 0..40 {
            let mut bytes = good.clone();
            for _ in 0..1 + random(4) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            let path = dir.path().join("bad.onnx");
            std::fs::write(&path, bytes).unwrap();
            let loaded = Model::open(&path, None)
                .and_then(|model| Classifier::load(&model, &Options::default()));
            found += usize::from(loaded.is_ok_and(|net| net.finding(0).is_some()));
        }
    }
    assert!(found > 20, "{found}");
}

#[test]
fn a_circle_ends_the_search() {
    let nodes = vec![
        node("Identity", &["a"], "logits", vec![]),
        node("Identity", &["logits"], "k", vec![]),
        node("Identity", &["k"], "logits", vec![]),
    ];
    let bytes = network(17, nodes, vec![]).encode_to_vec();
    let graph = graph::Graph::parse(bytes.into(), Path::new("net.onnx")).unwrap();
    graph.logits_of("logits");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("net.onnx"), graph.encode()).unwrap();
    let model = Model::open(&dir.path().join("net.onnx"), None).unwrap();
    assert!(matches!(
        Classifier::load(&model, &Options::default()),
        Err(Error::Inference { action: "load", .. })
    ));
}

#[test]
fn half_precision_and_8_bit_heads_have_maps() {
    let dir = tempfile::tempdir().unwrap();
    let half = || number("to", DataType::Float16 as i64);
    let scalar = |name: &str, value: f32| TensorProto {
        dims: vec![],
        float_data: vec![value],
        ..floats(name, &[], 1)
    };
    let zero = TensorProto {
        name: Some("z".into()),
        data_type: Some(DataType::Int8 as i32),
        int32_data: vec![0],
        ..TensorProto::default()
    };
    let codes = TensorProto {
        name: Some("w8".into()),
        dims: vec![CLASSES as i64, CHANNELS as i64],
        data_type: Some(DataType::Int8 as i32),
        int32_data: (0..CLASSES * CHANNELS).map(|i| (i * 53 % 255) as i32 - 127).collect(),
        ..TensorProto::default()
    };
    let pool = |input: &str| node("GlobalAveragePool", &[input], "p", vec![]);
    let gemm = |w: &str, out: &str| node("Gemm", &["f", w, "b"], out, vec![number("transB", 1)]);
    let fp16 = vec![
        node("Cast", &["a"], "h", vec![half()]),
        pool("h"),
        node("Flatten", &["p"], "f", vec![]),
        node("Cast", &["w"], "wh", vec![half()]),
        node("Cast", &["b32"], "b", vec![half()]),
        gemm("wh", "l"),
        node("Cast", &["l"], "logits", vec![number("to", DataType::Float as i64)]),
    ];
    let fp16_weights = vec![floats("w", &[CLASSES, CHANNELS], 7), floats("b32", &[CLASSES], 8)];
    let int8 = vec![
        pool("a"),
        node("QuantizeLinear", &["p", "s", "z"], "pq", vec![]),
        node("DequantizeLinear", &["pq", "s", "z"], "pd", vec![]),
        node("Flatten", &["pd"], "f", vec![]),
        node("DequantizeLinear", &["w8", "s", "z"], "w", vec![]),
        gemm("w", "logits"),
    ];
    let int8_weights = vec![scalar("s", 0.01), zero, codes, floats("b", &[CLASSES], 8)];
    for (nodes, weights) in [(fp16, fp16_weights), (int8, int8_weights)] {
        let model = model(dir.path(), &network(17, nodes, weights));
        let mut net = Classifier::load(&model, &Options::default()).unwrap();
        assert_eq!(net.why_no_map(0), None);
        assert_eq!(net.run(&picture(0), &all()).unwrap().maps.len(), CLASSES);
    }
}

#[test]
fn weights_beside_the_file_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (_, nodes, weights) = heads(17).swap_remove(0);
    let mut net = network(17, nodes, weights);
    let w = &mut net.graph.as_mut().unwrap().initializer;
    let w = w.iter_mut().find(|w| w.name() == "w").unwrap();
    let bytes: Vec<u8> = w.float_data.drain(..).flat_map(f32::to_le_bytes).collect();
    w.data_location = Some(DataLocation::External as i32);
    let entry =
        |k: &str, v: &str| StringStringEntryProto { key: Some(k.into()), value: Some(v.into()) };
    w.external_data = vec![
        entry("location", "net.data"),
        entry("offset", "0"),
        entry("length", &bytes.len().to_string()),
    ];
    let missing =
        Classifier::load(&model(dir.path(), &net), &Options::default()).unwrap_err().to_string();
    assert!(missing.contains("net.data"), "{missing}");
    std::fs::write(dir.path().join("net.data"), bytes).unwrap();
    let mut net = Classifier::load(&model(dir.path(), &net), &Options::default()).unwrap();
    assert_eq!(net.run(&picture(0), &[]).unwrap().maps.len(), 1);
}
