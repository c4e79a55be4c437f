//! The maps against PyTorch's, on the networks of `tests/golden`.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayD, Axis, IxDyn};
use prost::Message;

use super::onnx::ModelProto;
use super::*;
use crate::annotation::ActivationMap;
use crate::explain::{Method, Methods, Seed};
use crate::preprocess::{ChannelOrder, InputSpec, Layout, Resize};
use crate::still::Resample;

pub(super) fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case)
}

/// The arrays of a case.
fn npy(path: PathBuf) -> ArrayD<f32> {
    let array = crate::npy::Array::parse(&std::fs::read(&path).unwrap()).unwrap();
    ArrayD::from_shape_vec(IxDyn(&array.shape), array.values).unwrap()
}

struct Case {
    model: Model,
    info: serde_json::Value,
    /// Channels first.
    input: ArrayD<f32>,
    classes: Vec<usize>,
}

fn case(name: &str, file: &str) -> Option<Case> {
    case_in(&folder(name), file)
}

fn case_in(folder: &Path, file: &str) -> Option<Case> {
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
            name: "golden".to_owned(),
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
                resample: Resample::Bilinear,
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

fn each_case_in(root: &Path, mut check: impl FnMut(&Path, &str, Case)) -> usize {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    let mut seen = 0;
    for folder in folders {
        for exporter in ["ts", "dyn"] {
            if let Some(case) = case_in(&folder, &format!("model.{exporter}.onnx")) {
                check(&folder, exporter, case);
                seen += 1;
            }
        }
    }
    seen
}

fn image(input: &ArrayD<f32>, n: usize) -> Vec<f32> {
    input.index_axis(Axis(0), n).iter().copied().collect()
}

fn max_abs<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// Our methods and the names of their files.
const METHODS: [(&str, &str); 6] = [
    ("cam", "cam"),
    ("gradcam", "gradcam"),
    ("gradcam++", "gradcampp_paper"),
    ("gradcam++:eps=1e-6", "gradcampp"),
    ("layercam", "layercam"),
    ("hirescam", "hirescam"),
];

/// Compares every method with the case's files; the largest deviation.
fn compare(folder: &Path, exporter: &str, case: &Case) -> f32 {
    let name = format!("{} {exporter}", folder.display());
    let files: Vec<(Method, PathBuf)> = METHODS
        .iter()
        .map(|(method, file)| (method.parse().unwrap(), folder.join(format!("raw_{file}.npy"))))
        .filter(|(_, file)| file.exists())
        .collect();
    let tensors = |key: &str| -> Vec<String> {
        serde_json::from_value(case.info["models"][exporter][key].clone()).unwrap()
    };
    let default = case.info["target_is_default"] != false;
    let explain = Explain {
        methods: Methods::These(files.iter().map(|f| f.0).collect()),
        top_k: 0,
        feature: (!default).then(|| tensors("feature_tensors_equal")[0].clone()),
        ..Explain::default()
    };
    let options = Options { explain, ..Options::default() };
    let mut net = Classifier::load(&case.model, &options).unwrap();
    assert_eq!(net.why_no_map(0), None, "{name}");
    let found = net.finding(0).unwrap().clone();
    assert!(tensors("logit_tensors_equal").contains(&found.logits_tensor), "{name}: {found:?}");
    // A transposed copy of the feature map serves as well as the map.
    let nhwc = case.info["input_layout"] == "NHWC";
    let named = tensors("feature_tensors_equal").contains(&found.feature_tensor);
    assert!(named || nhwc, "{name}: {found:?}");
    assert_eq!(found.methods().contains(&Method::Cam), folder.join("raw_cam.npy").exists());
    let logits = npy(folder.join("logits.npy"));
    let mut worst = 0.0f32;
    for n in 0..case.input.shape()[0] {
        let wanted: Vec<Wanted> =
            case.classes.iter().map(|&class| Wanted { head: 0, class }).collect();
        let out = net.run(&image(&case.input, n), &wanted).unwrap();
        for (got, want) in out.heads[0].logits.iter().zip(logits.index_axis(Axis(0), n)) {
            assert!((got - want).abs() < 1e-4, "{name}: logit {got} is not {want}");
        }
        assert_eq!(out.maps.len(), files.len() * case.classes.len(), "{name}");
        for (method, file) in &files {
            let raw = npy(file.clone());
            let norm = file.to_str().unwrap().replace("raw_", "norm_");
            let norm = Path::new(&norm).exists().then(|| npy(norm.into()));
            let maps = out.maps.iter().filter(|m| m.method == *method);
            assert!(maps.clone().map(|m| m.class).eq(case.classes.iter().copied()));
            for (k, got) in maps.enumerate() {
                let of =
                    |a: &ArrayD<f32>| a.index_axis(Axis(0), n).index_axis(Axis(0), k).to_owned();
                let want = of(&raw);
                assert_eq!([got.map.rows, got.map.cols], want.shape());
                let relative = largest_miss(&got.map, &want) / max_abs(&want);
                assert!(relative < 1e-4, "{name} {method} class {}: off by {relative}", got.class);
                worst = worst.max(relative);
                if let Some(norm) = &norm {
                    let miss = largest_miss(&got.map.normalised(), &of(norm));
                    assert!(miss < 1e-3, "{name} {method}: normalised, off by {miss}");
                }
            }
        }
    }
    worst
}

fn largest_miss(got: &ActivationMap, want: &ArrayD<f32>) -> f32 {
    got.values.iter().zip(want).fold(0.0f32, |m, (a, b)| {
        // NaN must not pass as zero.
        let miss = (a - b).abs();
        if miss.is_nan() { f32::INFINITY } else { m.max(miss) }
    })
}

#[test]
fn maps_logits_and_tensors_are_pytorchs() {
    let mut worst = 0.0f32;
    let root = folder("");
    let seen = each_case_in(&root, |folder, exporter, case| {
        worst = worst.max(compare(folder, exporter, &case));
    });
    assert_eq!(seen, 22);
    assert!(worst > 0.0);
    eprintln_figure("largest deviation from PyTorch, relative", worst);
}

#[test]
fn maps_are_those_of_another_folder() {
    let Some(root) = std::env::var_os("HEATCAST_GOLDEN") else {
        return eprintln_figure("skipped, HEATCAST_GOLDEN is not set", 0.0);
    };
    let mut worst = 0.0f32;
    let seen = each_case_in(Path::new(&root), |folder, exporter, case| {
        worst = worst.max(compare(folder, exporter, &case));
    });
    eprintln_figure("cases", seen as f32);
    eprintln_figure("largest deviation from PyTorch, relative", worst);
}

/// A figure for people who run the tests with `--nocapture`.
#[allow(clippy::print_stderr, reason = "a test prints its figure")]
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
    each_case_in(&folder(""), |folder, exporter, case| {
        let name = folder.display();
        if !folder.join("features.npy").exists() || !folder.join("raw_cam.npy").exists() {
            return;
        }
        let Some((weights, bias)) = linear(&case.model) else { return };
        let features = npy(folder.join("features.npy"));
        let mut net = Classifier::load(&case.model, &Options::default()).unwrap();
        for n in 0..case.input.shape()[0] {
            let a = features.index_axis(Axis(0), n);
            let (channels, positions) = (a.shape()[0], a.shape()[1] * a.shape()[2]);
            let a = a.to_owned().into_shape_with_order((channels, positions)).unwrap();
            let maps = weights.dot(&a);
            let all: Vec<Wanted> =
                (0..weights.nrows()).map(|class| Wanted { head: 0, class }).collect();
            let out = net.run(&image(&case.input, n), &all).unwrap();
            for ClassMap { class, map, .. } in &out.maps {
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
    let mut net = Classifier::load(&case.model, &explaining(|e| e.top_k = 2)).unwrap();
    let picture = image(&case.input, 0);
    let out = net.run(&picture, &[]).unwrap();
    let logits = &out.heads[0].logits;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    assert_eq!(out.maps.iter().map(|m| m.class).collect::<Vec<_>>(), order[..2]);
    let wanted = [order[4], order[0]].map(|class| Wanted { head: 0, class });
    let again = net.run(&picture, &wanted).unwrap();
    let classes: Vec<usize> = again.maps.iter().map(|m| m.class).collect();
    assert_eq!(classes, [order[4], order[0], order[1]]);
    assert_eq!(again.maps[1], out.maps[0]);
    assert!((out.heads[0].probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

#[test]
fn the_map_follows_the_picture() {
    let case = case("gap_fc_nonsquare", "model.dyn.onnx").unwrap();
    let mut net = Classifier::load(&case.model, &Options::default()).unwrap();
    let mut picture = image(&case.input, 0);
    let before = net.run(&picture, &[Wanted { head: 0, class: 0 }]).unwrap();
    // Something else in the right quarter: the left of the map stays.
    let (w, h) = (case.model.spec.input.width, case.model.spec.input.height);
    for (i, v) in picture.iter_mut().enumerate() {
        if i % w >= w * 3 / 4 {
            *v = if (i / w) % 2 == 0 { 2.0 } else { -2.0 };
        }
    }
    assert_eq!(picture.len(), 3 * w * h);
    let after = net.run(&picture, &[Wanted { head: 0, class: 0 }]).unwrap();
    let (a, b) = (&before.maps[0].map, &after.maps[0].map);
    let change = |cols: std::ops::Range<usize>| {
        let cells = (0..a.rows * a.cols).filter(|i| cols.contains(&(i % a.cols)));
        cells.fold(0.0f32, |m, i| m.max((a.values[i] - b.values[i]).abs()))
    };
    assert!(change(0..a.cols / 2) < 1e-5 * a.max().max(1.0), "{}", change(0..a.cols / 2));
    assert!(change(a.cols * 3 / 4..a.cols) > 0.05 * max_abs(&a.values));
}

#[test]
fn a_method_that_does_not_fit_is_said_and_the_network_still_classifies() {
    let case = case("gap_mlp_bn_hardswish", "model.ts.onnx").unwrap();
    let options = explaining(|e| e.methods = Methods::These(vec![Method::Cam]));
    let mut net = Classifier::load(&case.model, &options).unwrap();
    assert!(matches!(net.why_no_map(0), Some(NoMap::NeedsLinear { .. })), "{net:?}");
    let wanted = [Wanted { head: 0, class: 1 }];
    let out = net.run(&image(&case.input, 0), &wanted).unwrap();
    let want = npy(folder("gap_mlp_bn_hardswish").join("logits.npy"));
    for (got, want) in out.heads[0].logits.iter().zip(&want) {
        assert!((got - want).abs() < 1e-4);
    }
    assert!(out.maps.is_empty());
    // Left to choose, it takes the method that fits.
    let mut net = Classifier::load(&case.model, &Options::default()).unwrap();
    let out = net.run(&image(&case.input, 0), &wanted).unwrap();
    assert_eq!(out.maps[0].method, Method::GradCam);
}

#[test]
fn for_one_linear_layer_three_methods_are_one_in_logit_units() {
    let case = case("gap_fc_nonsquare", "model.dyn.onnx").unwrap();
    let all = vec![Method::Cam, Method::GradCam, Method::HiResCam];
    let mut net =
        Classifier::load(&case.model, &explaining(|e| e.methods = Methods::These(all))).unwrap();
    let out = net.run(&image(&case.input, 0), &[Wanted { head: 0, class: 4 }]).unwrap();
    let maps: Vec<ActivationMap> =
        out.maps.iter().filter(|m| m.class == 4).map(ClassMap::in_logit_units).collect();
    let [cam, others @ ..] = maps.as_slice() else { panic!("{out:?}") };
    assert_eq!(others.len(), 2);
    for other in others {
        let scale = max_abs(&cam.values);
        for (a, b) in cam.values.iter().zip(&other.values) {
            assert!((a - b).abs() < 1e-5 * scale, "{a} {b}");
        }
    }
}

#[test]
fn the_margin_is_the_class_less_the_softmax_of_the_others() {
    let case = case("gap_fc_resnetlike", "model.ts.onnx").unwrap();
    let picture = image(&case.input, 0);
    let all: Vec<Wanted> = (0..5).map(|class| Wanted { head: 0, class }).collect();
    let plain = Classifier::load(&case.model, &Options::default())
        .and_then(|mut net| net.run(&picture, &all))
        .unwrap();
    let margin = Classifier::load(&case.model, &explaining(|e| e.seed = Seed::Margin))
        .and_then(|mut net| net.run(&picture, &all))
        .unwrap();
    let logits = &plain.heads[0].logits;
    for (class, got) in margin.maps.iter().enumerate() {
        assert_eq!(got.class, class);
        let weight = |j: usize| if j == class { 0.0 } else { logits[j].exp() };
        let total: f32 = (0..5).map(weight).sum();
        for (place, got) in got.map.values.iter().enumerate() {
            let at = |j: usize| plain.maps[j].map.values[place];
            let others: f32 = (0..5).map(|j| weight(j) / total * at(j)).sum();
            let want = at(class) - others;
            assert!((got - want).abs() < 1e-4 * max_abs(&plain.maps[class].map.values), "{class}");
        }
    }
}

#[test]
fn one_logit_with_two_labels_speaks_for_the_second_and_against_the_first() {
    let mut case = case("binary_one_logit", "model.dyn.onnx").unwrap();
    case.model.spec.heads[0].labels = vec!["calm".into(), "action".into()];
    for seed in [Seed::Logit, Seed::Auto] {
        let mut net = Classifier::load(&case.model, &explaining(|e| e.seed = seed)).unwrap();
        let both = [0, 1].map(|class| Wanted { head: 0, class });
        let out = net.run(&image(&case.input, 0), &both).unwrap();
        let raw = npy(folder("binary_one_logit").join("raw_cam.npy"));
        for (i, want) in raw.iter().enumerate() {
            assert!((out.maps[1].map.values[i] - want).abs() < 1e-4 * max_abs(&raw));
            assert_eq!(out.maps[0].map.values[i], -out.maps[1].map.values[i]);
        }
        let answer = &out.heads[0];
        assert_eq!(answer.logits[0], -answer.logits[1]);
        assert!((answer.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        // The better class comes without asking.
        let best = net.run(&image(&case.input, 0), &[]).unwrap().maps[0].class;
        assert_eq!(best, usize::from(answer.logits[1] > 0.0));
    }
}

#[test]
fn other_weights_give_another_map() {
    let case = case("flatten_fc_vgglike", "model.ts.onnx").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let map = |model: &Model| {
        let mut net = Classifier::load(model, &Options::default()).unwrap();
        net.run(&image(&case.input, 0), &[Wanted { head: 0, class: 1 }]).unwrap().maps[0]
            .map
            .clone()
    };
    let before = map(&case.model);
    let bytes = std::fs::read(&case.model.onnx).unwrap();
    let mut file = ModelProto::decode(bytes.as_slice()).unwrap();
    for weight in &mut file.graph.as_mut().unwrap().initializer {
        if weight.name().contains("head") {
            let mut raw = weight.raw_data().to_vec();
            // The numbers in reverse: as large, but elsewhere.
            raw.reverse();
            raw.chunks_exact_mut(4).for_each(<[u8]>::reverse);
            weight.raw_data = Some(raw.into());
        }
    }
    let mut other = case.model.clone();
    other.onnx = dir.path().join("other.onnx");
    std::fs::write(&other.onnx, file.encode_to_vec()).unwrap();
    let after = map(&other);
    let differs = before.values.iter().zip(&after.values).filter(|(a, b)| (*a - *b).abs() > 1e-6);
    assert!(differs.count() > before.values.len() / 2);
}

fn explaining(change: impl FnOnce(&mut Explain)) -> Options {
    let mut options = Options::default();
    change(&mut options.explain);
    options
}

#[test]
fn a_bare_file_is_understood() {
    for (name, layout) in [("nhwc_gap_fc", Layout::Nhwc), ("multilabel_sigmoid", Layout::Nchw)] {
        let model = Model::open(&folder(name).join("model.dyn.onnx"), None).unwrap();
        assert_eq!((model.spec.input.layout, model.spec.input.width), (layout, 64));
        let net = Classifier::load(&model, &Options::default()).unwrap();
        assert!(net.heads()[0].labels.len() >= 5 && net.why_no_map(0).is_none());
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
    says(&|_, o| o.explain.heads = Heads::Named(vec!["sport".into()]), "its heads are class");
    says(&|_, o| o.explain.feature = Some("reluu_1".into()), "did you mean \"relu_1\"");
    says(&|_, o| o.explain.logits = Some("nothing".into()), "no tensor \"nothing\"");
}

#[test]
fn a_picture_or_class_that_does_not_fit_is_refused() {
    let case = case("gap_fc_resnetlike", "model.ts.onnx").unwrap();
    let mut net = Classifier::load(&case.model, &Options::default()).unwrap();
    let mut picture = image(&case.input, 0);
    let error = net.run(&picture[1..], &[]).unwrap_err().to_string();
    assert!(error.contains("12288") && error.contains("12287"), "{error}");
    let error = net.run(&picture, &[Wanted { head: 0, class: 5 }]).unwrap_err().to_string();
    assert!(error.contains("no class 5; its classes are 0 to 4"), "{error}");
    let error = net.run(&picture, &[Wanted { head: 1, class: 0 }]).unwrap_err().to_string();
    assert!(error.contains("the explained heads are class"), "{error}");
    picture[0] = f32::NAN;
    let wanted = [Wanted { head: 0, class: 0 }];
    assert!(matches!(net.run(&picture, &wanted), Err(Error::NotFinite { .. })));
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
