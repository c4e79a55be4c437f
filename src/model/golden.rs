//! The maps against PyTorch's, on the networks of `tests/golden`.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayD, Axis, IxDyn};
use prost::Message;

use super::onnx::ModelProto;
use super::*;
use crate::preprocess::{ChannelOrder, InputSpec, Layout, Resize};

/// Cases with average pooling and at most one linear layer.
const CASES: [&str; 7] = [
    "binary_one_logit",
    "gap_fc_batch3",
    "gap_fc_nonsquare",
    "gap_fc_resnetlike",
    "multilabel_sigmoid",
    "nhwc_gap_fc",
    "squeezenet_conv_gap",
];

pub(super) fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case)
}

/// A float32 array in C order from a NumPy file.
fn npy(path: PathBuf) -> ArrayD<f32> {
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes[6], 1, "version 1 of the format");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once('(').unwrap().1.split_once(')').unwrap().0;
    let shape: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let values = bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    ArrayD::from_shape_vec(IxDyn(&shape), values.collect()).unwrap()
}

struct Case {
    model: Model,
    info: serde_json::Value,
    /// Channels first.
    input: ArrayD<f32>,
    classes: Vec<usize>,
}

fn case(name: &str, file: &str) -> Option<Case> {
    let folder = folder(name);
    let onnx = folder.join(file);
    if !onnx.exists() {
        return None;
    }
    let text = std::fs::read_to_string(folder.join("case.json")).unwrap();
    let info: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut input = npy(folder.join("input.npy"));
    let nhwc = info["input_layout"] == "NHWC";
    if nhwc {
        input = input.permuted_axes(IxDyn(&[0, 3, 1, 2])).as_standard_layout().to_owned();
    }
    let activation = match info["final_activation"].as_str() {
        Some("Softmax") => Activation::Softmax,
        Some("Sigmoid") => Activation::Sigmoid,
        _ => Activation::None,
    };
    let classes = info["n_classes"].as_u64().unwrap() as usize;
    let model = Model {
        described_by: onnx.clone(),
        onnx,
        spec: ModelSpec {
            name: name.to_owned(),
            version: String::new(),
            licence: String::new(),
            input: InputSpec {
                width: input.shape()[3],
                height: input.shape()[2],
                layout: if nhwc { Layout::Nhwc } else { Layout::Nchw },
                color: ChannelOrder::Rgb,
                resize: Resize::Stretch,
                mean: [0.0; 3],
                std: [1.0; 3],
                crop_fraction: 1.0,
            },
            heads: vec![HeadSpec {
                name: "class".into(),
                output: "output".into(),
                activation,
                labels: (0..classes).map(|c| c.to_string()).collect(),
                labels_file: None,
                explain_scale: 6.0,
                temperature: 1.0,
                smoothing: None,
            }],
        },
    };
    let explained = info["classes"].as_array().unwrap();
    let classes = explained.iter().map(|c| c.as_u64().unwrap() as usize).collect();
    Some(Case { model, info, input, classes })
}

fn each_case(mut check: impl FnMut(&str, &str, Case)) {
    let mut seen = 0;
    for name in CASES {
        for exporter in ["ts", "dyn"] {
            if let Some(case) = case(name, &format!("model.{exporter}.onnx")) {
                check(name, exporter, case);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 13);
}

fn image(input: &ArrayD<f32>, n: usize) -> Vec<f32> {
    input.index_axis(Axis(0), n).iter().copied().collect()
}

fn max_abs<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[test]
fn maps_logits_and_tensors_are_pytorchs() {
    let mut worst = 0.0f32;
    each_case(|name, exporter, case| {
        let mut net =
            Classifier::load(&case.model, &Options { top_k: 0, ..Options::default() }).unwrap();
        let tensors = &case.info["models"][exporter]["feature_tensors_equal"];
        // A transposed copy of the feature map serves as well as the map.
        let named = tensors
            .as_array()
            .unwrap()
            .iter()
            .any(|t| Some(t.as_str().unwrap()) == net.feature_tensor());
        assert!(named || name == "nhwc_gap_fc", "{name} {exporter}: {:?}", net.feature_tensor());
        let (raw, logits) =
            (npy(folder(name).join("raw_cam.npy")), npy(folder(name).join("logits.npy")));
        for n in 0..case.input.shape()[0] {
            let out = net.run(&image(&case.input, n), &case.classes).unwrap();
            for (got, want) in out.heads[0].logits.iter().zip(logits.index_axis(Axis(0), n)) {
                assert!((got - want).abs() < 1e-4, "{name} {exporter}: logit {got} is not {want}");
            }
            assert_eq!(out.maps.iter().map(|(c, _)| *c).collect::<Vec<_>>(), case.classes);
            for (k, (class, map)) in out.maps.iter().enumerate() {
                let want = raw.index_axis(Axis(0), n).index_axis(Axis(0), k).to_owned();
                assert_eq!([map.rows, map.cols], want.shape());
                let miss =
                    map.values.iter().zip(&want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
                let relative = miss / max_abs(&want);
                assert!(relative < 1e-4, "{name} {exporter} class {class}: off by {relative}");
                worst = worst.max(relative);
            }
        }
    });
    assert!(worst > 0.0);
    eprintln_figure("largest deviation from PyTorch, relative", worst);
}

/// A figure for people who run the tests with `--nocapture`.
#[allow(clippy::print_stderr)]
pub(super) fn eprintln_figure(what: &str, value: f32) {
    eprintln!("{what}: {value:.3e}");
}

/// Weights and bias of the linear layer, straight from the file.
fn linear(model: &Model) -> Option<(Array2<f32>, Vec<f32>)> {
    let file = ModelProto::decode(std::fs::read(&model.onnx).unwrap().as_slice()).unwrap();
    let stored = file.graph?.initializer;
    let floats = |name: &str| {
        let t = stored.iter().find(|t| t.name() == name)?;
        let raw = t.raw_data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        Some((t.dims.clone(), raw.collect::<Vec<f32>>()))
    };
    let (dims, weights) = floats("n.head.weight")?;
    let shape = (dims[0] as usize, dims[1] as usize);
    Some((Array2::from_shape_vec(shape, weights).unwrap(), floats("n.head.bias")?.1))
}

#[test]
fn an_independent_sum_over_the_features_gives_the_same_maps() {
    let mut checked = 0;
    each_case(|name, exporter, case| {
        let Some((weights, bias)) = linear(&case.model) else { return };
        let features = npy(folder(name).join("features.npy"));
        let mut net = Classifier::load(&case.model, &Options::default()).unwrap();
        for n in 0..case.input.shape()[0] {
            let a = features.index_axis(Axis(0), n);
            let (channels, positions) = (a.shape()[0], a.shape()[1] * a.shape()[2]);
            let a = a.to_owned().into_shape_with_order((channels, positions)).unwrap();
            let maps = weights.dot(&a);
            let all: Vec<usize> = (0..weights.nrows()).collect();
            let out = net.run(&image(&case.input, n), &all).unwrap();
            for (class, map) in &out.maps {
                let want = maps.row(*class);
                let scale = max_abs(want);
                for (got, want) in map.values.iter().zip(want) {
                    assert!((got - want).abs() < 1e-4 * scale, "{name} {exporter}");
                }
                // Completeness: the mean of the map and the bias are the logit.
                let mean = map.values.iter().sum::<f32>() / positions as f32;
                let logit = out.heads[0].logits[*class];
                assert!(
                    (mean + bias[*class] - logit).abs() < 1e-4 * scale.max(1.0),
                    "{name} {exporter}"
                );
            }
        }
        checked += 1;
    });
    assert!(checked >= 9, "{checked}");
}

#[test]
fn the_best_classes_are_explained_without_asking_and_each_once() {
    let case = case("gap_fc_resnetlike", "model.ts.onnx").unwrap();
    let mut net =
        Classifier::load(&case.model, &Options { top_k: 2, ..Options::default() }).unwrap();
    let picture = image(&case.input, 0);
    let out = net.run(&picture, &[]).unwrap();
    let logits = &out.heads[0].logits;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    assert_eq!(out.maps.iter().map(|m| m.0).collect::<Vec<_>>(), order[..2]);
    let again = net.run(&picture, &[order[4], order[0]]).unwrap();
    assert_eq!(again.maps.iter().map(|m| m.0).collect::<Vec<_>>(), [order[4], order[0], order[1]]);
    assert_eq!(again.maps[1].1, out.maps[0].1);
    assert!((out.heads[0].probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

#[test]
fn the_map_follows_the_picture() {
    let case = case("gap_fc_nonsquare", "model.dyn.onnx").unwrap();
    let mut net = Classifier::load(&case.model, &Options::default()).unwrap();
    let mut picture = image(&case.input, 0);
    let before = net.run(&picture, &[0]).unwrap();
    // Something else in the right quarter: the left of the map stays.
    let (w, h) = (case.model.spec.input.width, case.model.spec.input.height);
    for (i, v) in picture.iter_mut().enumerate() {
        if i % w >= w * 3 / 4 {
            *v = if (i / w) % 2 == 0 { 2.0 } else { -2.0 };
        }
    }
    assert_eq!(picture.len(), 3 * w * h);
    let after = net.run(&picture, &[0]).unwrap();
    let (a, b) = (&before.maps[0].1, &after.maps[0].1);
    let change = |cols: std::ops::Range<usize>| {
        let cells = (0..a.rows * a.cols).filter(|i| cols.contains(&(i % a.cols)));
        cells.fold(0.0f32, |m, i| m.max((a.values[i] - b.values[i]).abs()))
    };
    assert!(change(0..a.cols / 2) < 1e-5 * a.max().max(1.0), "{}", change(0..a.cols / 2));
    assert!(change(a.cols * 3 / 4..a.cols) > 0.05 * max_abs(&a.values));
}

#[test]
fn a_network_without_a_map_still_classifies() {
    let case = case("gap_mlp_bn_hardswish", "model.ts.onnx").unwrap();
    let mut net = Classifier::load(&case.model, &Options::default()).unwrap();
    assert!(
        matches!(net.why_no_map(), Some(NoMap::Operator { op, .. }) if op == "HardSwish"),
        "{net:?}"
    );
    let out = net.run(&image(&case.input, 0), &[1]).unwrap();
    let want = npy(folder("gap_mlp_bn_hardswish").join("logits.npy"));
    for (got, want) in out.heads[0].logits.iter().zip(&want) {
        assert!((got - want).abs() < 1e-4);
    }
    assert!(out.maps.is_empty());
}

#[test]
fn a_bare_file_is_understood() {
    for (name, layout) in [("nhwc_gap_fc", Layout::Nhwc), ("multilabel_sigmoid", Layout::Nchw)] {
        let model = Model::open(&folder(name).join("model.dyn.onnx"), None).unwrap();
        assert_eq!((model.spec.input.layout, model.spec.input.width), (layout, 64));
        let net = Classifier::load(&model, &Options::default()).unwrap();
        assert!(net.heads()[0].labels.len() >= 5 && net.why_no_map().is_none());
        assert_eq!((net.provider(), net.sha256().len()), ("cpu", 64));
        assert!(net.runtime_version().starts_with("1."), "{}", net.runtime_version());
    }
}

#[test]
fn a_description_that_does_not_fit_the_network_says_how() {
    let good = case("gap_fc_resnetlike", "model.dyn.onnx").unwrap().model;
    let says = |change: &dyn Fn(&mut Model, &mut Options), text: &str| {
        let (mut model, mut options) = (good.clone(), Options::default());
        change(&mut model, &mut options);
        let error = Classifier::load(&model, &options).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    says(
        &|m, _| drop(m.spec.heads[0].labels.pop()),
        "has 4 labels but output \"output\" has 5 classes",
    );
    says(
        &|m, _| m.spec.heads[0].labels.push("x".into()),
        "has 6 labels but output \"output\" has 5 classes",
    );
    says(&|m, _| m.spec.heads[0].output = "logits".into(), "its outputs are output");
    says(&|m, _| m.spec.input.width = 32, "is [1, 3, 64, 64]");
    says(&|m, _| m.spec.input.layout = Layout::Nhwc, "nhwc");
    says(&|_, o| o.provider = "cuda".into(), "\"cuda\" is not available");
    says(&|_, o| o.head = Some("sport".into()), "its heads are class");
}

#[test]
fn a_picture_or_class_that_does_not_fit_is_refused() {
    let case = case("gap_fc_resnetlike", "model.ts.onnx").unwrap();
    let mut net = Classifier::load(&case.model, &Options::default()).unwrap();
    let mut picture = image(&case.input, 0);
    let error = net.run(&picture[1..], &[]).unwrap_err().to_string();
    assert!(error.contains("12288") && error.contains("12287"), "{error}");
    let error = net.run(&picture, &[5]).unwrap_err().to_string();
    assert!(error.contains("no class 5; its classes are 0 to 4"), "{error}");
    picture[0] = f32::NAN;
    assert!(matches!(net.run(&picture, &[0]), Err(Error::NotFinite { .. })));
}

#[test]
fn files_that_are_no_network_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let good = std::fs::read(folder("binary_one_logit").join("model.ts.onnx")).unwrap();
    let mut flipped = good.clone();
    flipped.iter_mut().step_by(97).for_each(|b| *b ^= 0x5a);
    let files: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("text", b"<!DOCTYPE html><html>Not found</html>"),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00"),
        ("cut", &good[..good.len() / 2]),
        ("flipped", &flipped),
        ("zeros", &[0; 4096]),
    ];
    for (name, bytes) in files {
        let path = dir.path().join(format!("{name}.onnx"));
        std::fs::write(&path, bytes).unwrap();
        let error = Model::open(&path, None).unwrap_err();
        assert!(matches!(error, Error::NotOnnx { .. }), "{name}: {error}");
        assert!(error.to_string().contains(&path.display().to_string()));
        let mut described = case("binary_one_logit", "model.ts.onnx").unwrap().model;
        described.onnx = path;
        assert!(Classifier::load(&described, &Options::default()).is_err());
    }
    assert!(matches!(Model::open(&dir.path().join("no.onnx"), None), Err(Error::Read { .. })));
    assert!(matches!(Model::open(dir.path(), None), Err(Error::Read { .. })));
    // Every cut of a good file is an error or a network, never a panic.
    for end in (0..good.len()).step_by(211) {
        drop(super::graph::Graph::parse(good[..end].to_vec().into(), Path::new("cut.onnx")));
    }
}
