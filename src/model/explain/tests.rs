//! Every derivative against finite differences.
//!
//! The picture itself serves as the feature map, so that HiResCAM's value at
//! one place, `sum_k G_k A_k`, is the slope of the logit when all channels of
//! that place grow in proportion: two passes give it without any derivative.

use prost::Message;

use super::super::nets::{floats, info, ints, list, node, number};
use super::super::onnx::attribute_proto::AttributeType;
use super::super::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use super::super::{Classifier, Explain, Model, Options, Wanted};
use crate::explain::{FeatureLayout, Method, Methods};

const SHAPE: [usize; 3] = [3, 6, 8];

/// Nodes from `a`, the feature map, to `h`, with their weights.
struct Head {
    name: String,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
}

fn head(name: &str, nodes: Vec<NodeProto>, weights: Vec<TensorProto>) -> Head {
    Head { name: name.to_owned(), nodes, weights }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(value),
        ..AttributeProto::default()
    }
}

fn text(name: &str, value: &'static str) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::String as i32),
        s: Some(value.as_bytes().into()),
        ..AttributeProto::default()
    }
}

fn scalar(name: &str, value: f32) -> TensorProto {
    TensorProto { dims: vec![], float_data: vec![value], ..floats(name, &[], 1) }
}

fn positive(name: &str, dims: &[usize], seed: u32) -> TensorProto {
    let mut t = floats(name, dims, seed);
    t.float_data.iter_mut().for_each(|v| *v = v.abs() + 0.3);
    t
}

fn reduce(opset: i64, op: &str, axes: &[i64], keep: i64) -> Head {
    let since = if op == "ReduceSum" { 13 } else { 18 };
    let keep = number("keepdims", keep);
    let name = format!("{op} over {axes:?}");
    if opset >= since {
        let nodes = vec![node(op, &["a", "axes"], "h", vec![keep])];
        return head(&name, nodes, vec![ints("axes", axes)]);
    }
    head(&name, vec![node(op, &["a"], "h", vec![list("axes", axes), keep])], vec![])
}

fn pointwise(opset: i64) -> Vec<Head> {
    let since = [
        ("Relu", 9),
        ("LeakyRelu", 9),
        ("Elu", 9),
        ("Celu", 12),
        ("Selu", 9),
        ("Sigmoid", 9),
        ("HardSigmoid", 9),
        ("Tanh", 9),
        ("Softplus", 9),
        ("Softsign", 9),
        ("Erf", 9),
        ("Exp", 9),
        ("Abs", 9),
        ("Neg", 9),
        ("Sin", 9),
        ("Cos", 9),
        ("ThresholdedRelu", 10),
        ("HardSwish", 14),
        ("Mish", 18),
        ("Gelu", 20),
        ("Identity", 9),
    ];
    let mut heads: Vec<Head> = since
        .into_iter()
        .filter(|(_, since)| opset >= *since)
        .map(|(op, _)| {
            let attributes = match op {
                "ThresholdedRelu" => vec![float("alpha", 0.123)],
                "Celu" => vec![float("alpha", 1.7)],
                _ => vec![],
            };
            head(op, vec![node(op, &["a"], "h", attributes)], vec![])
        })
        .collect();
    if opset >= 20 {
        let nodes = vec![node("Gelu", &["a"], "h", vec![text("approximate", "tanh")])];
        heads.push(head("Gelu by tanh", nodes, vec![]));
    }
    for op in ["Log", "Sqrt", "Reciprocal"] {
        let nodes = vec![node("Exp", &["a"], "e", vec![]), node(op, &["e"], "h", vec![])];
        heads.push(head(op, nodes, vec![]));
    }
    heads.push(if opset < 11 {
        let limits = vec![float("min", -0.512), float("max", 0.377)];
        head("Clip", vec![node("Clip", &["a"], "h", limits)], vec![])
    } else {
        let limits = vec![scalar("lo", -0.512), scalar("hi", 0.377)];
        head("Clip", vec![node("Clip", &["a", "lo", "hi"], "h", vec![])], limits)
    });
    heads
}

fn arithmetic() -> Vec<Head> {
    let per_channel = |seed| floats("k", &[3, 1, 1], seed);
    let exp = || node("Exp", &["a"], "e", vec![]);
    let sigmoid = || node("Sigmoid", &["a"], "s", vec![]);
    vec![
        head("SiLU", vec![sigmoid(), node("Mul", &["a", "s"], "h", vec![])], vec![]),
        head("square", vec![node("Mul", &["a", "a"], "h", vec![])], vec![]),
        head("quotient", vec![exp(), node("Div", &["a", "e"], "h", vec![])], vec![]),
        head("Sub", vec![node("Sub", &["k", "a"], "h", vec![])], vec![per_channel(3)]),
        head("Div", vec![exp(), node("Div", &["k", "e"], "h", vec![])], vec![per_channel(4)]),
        head("Max", vec![node("Max", &["a", "k"], "h", vec![])], vec![scalar("k", 0.123)]),
        head("Min", vec![sigmoid(), node("Min", &["a", "s"], "h", vec![])], vec![]),
        head("Pow", vec![exp(), node("Pow", &["e", "k"], "h", vec![])], vec![scalar("k", 2.7)]),
        head("third power", vec![node("Pow", &["a", "k"], "h", vec![])], vec![scalar("k", 3.0)]),
        head("PRelu", vec![node("PRelu", &["a", "k"], "h", vec![])], vec![per_channel(5)]),
        head("Sum", vec![sigmoid(), node("Sum", &["a", "s", "a"], "h", vec![])], vec![]),
        head(
            "squeeze and excite",
            vec![
                node("GlobalAveragePool", &["a"], "p", vec![]),
                node("Conv", &["p", "w1"], "q", vec![]),
                node("Sigmoid", &["q"], "gate", vec![]),
                node("Mul", &["gate", "a"], "h", vec![]),
            ],
            vec![floats("w1", &[3, 3, 1, 1], 6)],
        ),
        head(
            "generalised mean",
            vec![
                exp(),
                node("Pow", &["e", "k"], "m", vec![]),
                node("GlobalAveragePool", &["m"], "p", vec![]),
                node("Pow", &["p", "i"], "h", vec![]),
            ],
            vec![scalar("k", 3.0), scalar("i", 1.0 / 3.0)],
        ),
    ]
}

fn windows(opset: i64) -> Vec<Head> {
    let square = |k: i64| list("kernel_shape", &[k, k]);
    let strides = |s: i64| list("strides", &[s, s]);
    let pads = || list("pads", &[1, 1, 1, 1]);
    let count = |v| number("count_include_pad", v);
    let w = |dims: &[usize]| vec![floats("w1", dims, 9)];
    let conv = |attributes| vec![node("Conv", &["a", "w1"], "h", attributes)];
    let pool = |op: &str, attributes| vec![node(op, &["a"], "h", attributes)];
    let average = "AveragePool";
    let mut heads = vec![
        head("MaxPool", pool("MaxPool", vec![square(2), strides(2)]), vec![]),
        head("overlapping MaxPool", pool("MaxPool", vec![square(3), strides(2), pads()]), vec![]),
        head("dense MaxPool", pool("MaxPool", vec![square(3)]), vec![]),
        head("AveragePool", pool(average, vec![square(3), strides(2), pads(), count(0)]), vec![]),
        head("padded AveragePool", pool(average, vec![square(3), pads(), count(1)]), vec![]),
        head("whole AveragePool", pool(average, vec![list("kernel_shape", &[6, 8])]), vec![]),
        head("uneven AveragePool", pool(average, vec![square(4), strides(3)]), vec![]),
        head("GlobalMaxPool", pool("GlobalMaxPool", vec![]), vec![]),
        head("Conv", conv(vec![strides(2), pads()]), w(&[4, 3, 3, 3])),
        head("strided Conv", conv(vec![strides(3)]), w(&[4, 3, 2, 2])),
        head("grouped Conv", conv(vec![number("group", 3), pads()]), w(&[6, 1, 3, 3])),
        head("wide Conv", conv(vec![list("dilations", &[2, 2])]), w(&[2, 3, 2, 3])),
        head("same Conv", conv(vec![strides(2), text("auto_pad", "SAME_UPPER")]), w(&[2, 3, 3, 3])),
        head(
            "InstanceNormalization",
            vec![node("InstanceNormalization", &["a", "s", "b1"], "h", vec![])],
            vec![floats("s", &[3], 2), floats("b1", &[3], 3)],
        ),
        head(
            "BatchNormalization",
            vec![node("BatchNormalization", &["a", "s", "b1", "m", "v"], "h", vec![])],
            vec![
                floats("s", &[3], 2),
                floats("b1", &[3], 3),
                floats("m", &[3], 4),
                positive("v", &[3], 5),
            ],
        ),
    ];
    if opset >= 10 {
        let attributes = vec![square(3), strides(2), number("ceil_mode", 1)];
        heads.push(head("rounded-up MaxPool", pool("MaxPool", attributes), vec![]));
    }
    if opset >= 17 {
        let nodes = vec![node("LayerNormalization", &["a", "s", "b1"], "h", vec![])];
        let weights = vec![floats("s", &[8], 2), floats("b1", &[8], 3)];
        heads.push(head("LayerNormalization", nodes, weights));
        let nodes = vec![node("LayerNormalization", &["a", "s"], "h", vec![number("axis", 1)])];
        heads.push(head("LayerNormalization of all", nodes, vec![floats("s", &SHAPE, 2)]));
    }
    heads
}

fn shapes(opset: i64) -> Vec<Head> {
    let turn = || node("Transpose", &["a"], "t", vec![list("perm", &[0, 2, 3, 1])]);
    let flat = |name: &str| {
        let to = ints("to", &[0, 3, -1]);
        (node("Reshape", &["a", "to"], name, vec![]), to)
    };
    let (to_3d, shape) = flat("r");
    let pick = |name, axis, indices: &[i64]| {
        let nodes = vec![node("Gather", &["a", "i"], "h", vec![number("axis", axis)])];
        head(name, nodes, vec![ints("i", indices)])
    };
    vec![
        head("Transpose", vec![turn(), node("Exp", &["t"], "h", vec![])], vec![]),
        head("Softmax", vec![node("Softmax", &["a"], "h", vec![number("axis", 3)])], vec![]),
        head("LogSoftmax", vec![node("LogSoftmax", &["a"], "h", vec![number("axis", 3)])], vec![]),
        head(
            "Softmax of channels",
            vec![node("Softmax", &["a"], "h", vec![number("axis", 1)])],
            vec![],
        ),
        head(
            "Concat",
            vec![
                turn(),
                node("Transpose", &["t"], "u", vec![list("perm", &[0, 3, 1, 2])]),
                node("Exp", &["u"], "e", vec![]),
                node("Concat", &["a", "e", "a"], "h", vec![number("axis", 1)]),
            ],
            vec![],
        ),
        pick("Gather of channels", 1, &[2, 0]),
        pick("Gather of rows", 2, &[3, 4, -1]),
        head(
            "bilinear pooling",
            vec![
                to_3d.clone(),
                node("Transpose", &["r"], "t", vec![list("perm", &[0, 2, 1])]),
                node("MatMul", &["r", "t"], "h", vec![]),
            ],
            vec![shape.clone()],
        ),
        head(
            "MatMul",
            vec![node("MatMul", &["a", "w1"], "h", vec![])],
            vec![floats("w1", &[8, 5], 4)],
        ),
        head(
            "MatMul from the left",
            vec![node("MatMul", &["w1", "a"], "h", vec![])],
            vec![floats("w1", &[2, 6], 4)],
        ),
        reduce(opset, "ReduceMean", &[2], 1),
        reduce(opset, "ReduceSum", &[1, 3], 0),
        reduce(opset, "ReduceMax", &[-1], 0),
        reduce(opset, "ReduceMin", &[2, 3], 1),
        reduce(opset, "ReduceL2", &[1], 1),
        reduce(opset, "ReduceSumSquare", &[3], 0),
        reduce(opset, "ReduceLogSumExp", &[2, 3], 0),
        head(
            "LpNormalization",
            vec![node("LpNormalization", &["a"], "h", vec![number("axis", 3)])],
            vec![],
        ),
    ]
}

/// Operators whose settings moved from attributes to inputs.
fn settings(opset: i64) -> Vec<Head> {
    let mut heads = Vec::new();
    let (from, to, axes, steps) = ([1, 6], [-1, i64::MIN + 1], [2, 3], [2, -3]);
    heads.push(if opset < 10 {
        let attributes =
            vec![list("starts", &[1, 2]), list("ends", &[-1, 99]), list("axes", &axes)];
        head("Slice", vec![node("Slice", &["a"], "h", attributes)], vec![])
    } else {
        let weights =
            vec![ints("from", &from), ints("till", &to), ints("axes", &axes), ints("by", &steps)];
        head(
            "Slice",
            vec![node("Slice", &["a", "from", "till", "axes", "by"], "h", vec![])],
            weights,
        )
    });
    let pads = [0, 1, 0, 2, 0, 0, 3, 1];
    heads.push(if opset < 11 {
        head("Pad", vec![node("Pad", &["a"], "h", vec![list("pads", &pads)])], vec![])
    } else {
        head("Pad", vec![node("Pad", &["a", "pads"], "h", vec![])], vec![ints("pads", &pads)])
    });
    let mut split = node("Split", &["a"], "s0", vec![number("axis", 2)]);
    split.output.push("s1".into());
    let mut weights = vec![];
    if opset >= 13 {
        split.input.push("parts".into());
        weights.push(ints("parts", &[4, 2]));
    } else {
        split.attribute.push(list("split", &[4, 2]));
    }
    let nodes = vec![split, node("Exp", &["s1"], "h", vec![])];
    heads.push(head("Split", nodes, weights));
    heads.push(head(
        "Expand",
        vec![node("Expand", &["m", "to"], "h", vec![])],
        vec![ints("to", &[2, 3, 6, 8])],
    ));
    // Its input is a mean.
    let mean = node("GlobalAveragePool", &["a"], "m", vec![]);
    if let Some(expand) = heads.last_mut() {
        expand.nodes.insert(0, mean);
    }
    heads
}

/// `x`, its copy `a`, the head to `h`, and one linear layer.
fn network(opset: i64, head: &Head, width: usize) -> ModelProto {
    let mut nodes = vec![node("Mul", &["x", "one"], "a", vec![])];
    nodes.extend(head.nodes.iter().cloned());
    nodes.push(node("Reshape", &["h", "flat"], "f", vec![]));
    nodes.push(node("MatMul", &["f", "w"], "logits", vec![]));
    let mut initializer =
        vec![scalar("one", 1.0), ints("flat", &[1, -1]), floats("w", &[width, 2], 11)];
    initializer.extend(head.weights.iter().cloned());
    let input = vec![info("x", &[1, 3, 6, 8])];
    let output = vec![info("logits", &[])];
    let graph = GraphProto {
        name: Some("n".into()),
        node: nodes,
        initializer,
        input,
        output,
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(if opset < 11 { 4 } else { 8 }),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(opset) }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// Numbers in `h`, found by trying: ONNX Runtime says what it expected.
fn width_of(head: &Head, opset: i64, dir: &std::path::Path) -> usize {
    let mut net = network(opset, head, 1);
    let graph = net.graph.as_mut().unwrap();
    graph.node.pop();
    graph.output = vec![info("f", &[])];
    let path = dir.join("width.onnx");
    std::fs::write(&path, net.encode_to_vec()).unwrap();
    let mut model = Model::open(&path, None).unwrap();
    model.spec.heads[0].labels.clear();
    let explain = Explain { heads: super::super::Heads::None, ..Explain::default() };
    let loaded = Classifier::load(&model, &Options { explain, ..Options::default() });
    let loaded = loaded.unwrap_or_else(|e| panic!("{} in operator set {opset}: {e}", head.name));
    loaded.heads()[0].labels.len()
}

#[test]
fn every_derivative_is_the_slope_in_every_operator_set() {
    let dir = tempfile::tempdir().unwrap();
    // All values differ by more than a step, so that no maximum moves.
    let picture: Vec<f32> = (0..144).map(|i| ((i * 89 % 144) as f32 - 71.3) / 60.0).collect();
    let step = 2e-3;
    for opset in [9, 11, 13, 17, 20, 21] {
        let heads =
            [pointwise(opset), arithmetic(), windows(opset), shapes(opset), settings(opset)];
        for head in heads.into_iter().flatten() {
            let name = format!("{} in operator set {opset}", head.name);
            let width = width_of(&head, opset, dir.path());
            let path = dir.path().join("net.onnx");
            std::fs::write(&path, network(opset, &head, width).encode_to_vec()).unwrap();
            let explain = Explain {
                methods: Methods::These(vec![Method::HiResCam, Method::GradCam]),
                feature: Some("a".into()),
                layout: Some(FeatureLayout::Nchw),
                ..Explain::default()
            };
            let options = Options { explain, ..Options::default() };
            let model = Model::open(&path, None).unwrap();
            let mut net = Classifier::load(&model, &options).unwrap();
            assert_eq!(net.why_no_map(0), None, "{name}");
            let wanted = [Wanted { head: 0, class: 1 }];
            let out = net.run(&picture, &wanted).unwrap();
            let map = &out.map(wanted[0]).unwrap().map;
            let largest = map.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            assert!(largest > 1e-4, "{name}: the map is empty");
            for (place, got) in map.values.iter().enumerate() {
                let mut logit = |factor: f32| {
                    let mut changed = picture.clone();
                    changed.iter_mut().skip(place).step_by(48).for_each(|v| *v *= factor);
                    f64::from(net.run(&changed, &[]).unwrap().heads[0].logits[1])
                };
                let (up, down) = (logit(1.0 + step), logit(1.0 - step));
                let slope = ((up - down) / f64::from(2.0 * step)) as f32;
                let miss = (slope - got).abs();
                assert!(
                    miss < 2e-2 * largest + 2e-3,
                    "{name}: {got} is not the slope {slope} at {place}"
                );
            }
        }
    }
}
