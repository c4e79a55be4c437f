//! What must hold for every network, tried on many with weights drawn by
//! chance: maps equal plain sums that know no gradient, add up to the logits,
//! follow the picture and the weights, and never hold anything but numbers.

use ndarray::{Array1, Array2, Array3, ArrayView3, Axis};
use prost::Message;

use super::nets::{floats, info, list, node};
use super::onnx::{GraphProto, ModelProto, OperatorSetIdProto};
use super::*;
use crate::annotation::ActivationMap;
use crate::explain::{Method, Methods};

/// Networks of each kind that are tried.
const SEEDS: std::ops::Range<u32> = 1..25;
const PLUS_PLUS: Method = Method::GradCamPlusPlus { eps: 0.0 };

/// A convolution with ReLU, then average pooling or flattening, then one layer.
struct Net {
    /// Rows and columns of the picture and of the feature map.
    size: [usize; 2],
    kernel: Vec<f32>,
    shift: Vec<f32>,
    /// A row for each class.
    layer: Array2<f32>,
    bias: Array1<f32>,
    flattens: bool,
}

fn draw(count: usize, seed: u32) -> Vec<f32> {
    floats("", &[count], seed).float_data
}

impl Net {
    fn pooled(seed: u32) -> Self {
        let (channels, classes) = (1 + seed as usize % 6, 2 + seed as usize % 4);
        let size = [3 + seed as usize % 5, 4 + seed as usize % 7];
        Self {
            size,
            kernel: draw(channels * 27, seed),
            shift: draw(channels, seed + 100),
            layer: Array2::from_shape_vec(
                (classes, channels),
                draw(classes * channels, seed + 200),
            )
            .unwrap(),
            bias: draw(classes, seed + 300).into(),
            flattens: false,
        }
    }

    fn flattened(seed: u32) -> Self {
        let pooled = Self::pooled(seed);
        let width = pooled.layer.ncols() * pooled.size[0] * pooled.size[1];
        let classes = pooled.layer.nrows();
        let layer = Array2::from_shape_vec((classes, width), draw(classes * width, seed + 200));
        Self { layer: layer.unwrap(), flattens: true, ..pooled }
    }

    fn classes(&self) -> usize {
        self.layer.nrows()
    }

    fn channels(&self) -> usize {
        self.shift.len()
    }

    fn places(&self) -> usize {
        self.size[0] * self.size[1]
    }

    fn picture(&self, seed: u32) -> Vec<f32> {
        draw(3 * self.places(), seed + 400)
    }

    fn load(&self, dir: &std::path::Path) -> Classifier {
        let stored = |name: &str, dims: &[usize], values: &[f32]| {
            let mut tensor = floats(name, dims, 1);
            tensor.float_data = values.to_vec();
            tensor
        };
        let (c, n) = (self.channels(), self.classes());
        let mut nodes = vec![
            node("Conv", &["x", "k", "s"], "c", vec![list("pads", &[1, 1, 1, 1])]),
            node("Relu", &["c"], "a", vec![]),
        ];
        let from = if self.flattens { "a" } else { "p" };
        if !self.flattens {
            nodes.push(node("GlobalAveragePool", &["a"], "p", vec![]));
        }
        nodes.push(node("Flatten", &[from], "f", vec![]));
        let turned = super::nets::number("transB", 1);
        nodes.push(node("Gemm", &["f", "l", "b"], "logits", vec![turned]));
        let layer: Vec<f32> = self.layer.iter().copied().collect();
        let [rows, cols] = self.size.map(|s| s as i64);
        let graph = GraphProto {
            name: Some("net".into()),
            node: nodes,
            initializer: vec![
                stored("k", &[c, 3, 3, 3], &self.kernel),
                stored("s", &[c], &self.shift),
                stored("l", &[n, self.layer.ncols()], &layer),
                stored("b", &[n], self.bias.as_slice().unwrap()),
            ],
            input: vec![info("x", &[1, 3, rows, cols])],
            output: vec![info("logits", &[1, n as i64])],
            ..GraphProto::default()
        };
        let file = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
            graph: Some(graph),
            ..ModelProto::default()
        };
        let path = dir.join("net.onnx");
        std::fs::write(&path, file.encode_to_vec()).unwrap();
        let explain = Explain { methods: Methods::All, top_k: 0, ..Explain::default() };
        let model = Model::open(&path, None).unwrap();
        Classifier::load(&model, &Options { explain, ..Options::default() }).unwrap()
    }

    /// The feature map: channels, rows, columns; sums written out.
    fn features(&self, picture: &[f32]) -> Array3<f32> {
        let [rows, cols] = self.size;
        let picture = ArrayView3::from_shape((3, rows, cols), picture).unwrap();
        Array3::from_shape_fn((self.channels(), rows, cols), |(k, y, x)| {
            let mut sum = self.shift[k];
            for (c, dy, dx) in (0..27).map(|i| (i / 9, i / 3 % 3, i % 3)) {
                // One row and column of zeros around the picture.
                let (from_y, from_x) = ((y + dy).wrapping_sub(1), (x + dx).wrapping_sub(1));
                if let Some(v) = picture.get((c, from_y, from_x)) {
                    sum += v * self.kernel[k * 27 + c * 9 + dy * 3 + dx];
                }
            }
            sum.max(0.0)
        })
    }

    /// `sum_k w_k A_k`, place by place.
    fn weighted(features: &Array3<f32>, weights: impl Fn(usize) -> f32) -> Vec<f32> {
        let mut sum = Array2::<f32>::zeros((features.len_of(Axis(1)), features.len_of(Axis(2))));
        for (k, channel) in features.outer_iter().enumerate() {
            sum.scaled_add(weights(k), &channel);
        }
        sum.into_iter().collect()
    }
}

fn all_maps(net: &Net, loaded: &mut Classifier, picture: &[f32]) -> (Vec<f32>, Vec<ClassMap>) {
    let wanted: Vec<Wanted> = (0..net.classes()).map(|class| Wanted { head: 0, class }).collect();
    let out = loaded.run(picture, &wanted).unwrap();
    (out.heads[0].logits.clone(), out.maps)
}

fn of(maps: &[ClassMap], class: usize, method: Method) -> &ActivationMap {
    &maps.iter().find(|m| (m.class, m.method) == (class, method)).unwrap().map
}

fn is_near(what: &str, got: &[f32], want: &[f32]) {
    let scale = want.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() < 1e-4 * scale, "{what}: {got} is not {want} at {i}");
    }
}

#[test]
fn behind_average_pooling_every_method_is_a_plain_sum_and_cam_adds_up_to_the_logit() {
    let dir = tempfile::tempdir().unwrap();
    for seed in SEEDS {
        let net = Net::pooled(seed);
        let mut loaded = net.load(dir.path());
        let picture = net.picture(seed);
        let (logits, maps) = all_maps(&net, &mut loaded, &picture);
        let features = net.features(&picture);
        let places = net.places() as f32;
        let means: Vec<f32> = features.outer_iter().map(|a| a.sum() / places).collect();
        assert_eq!(maps.len(), 5 * net.classes());
        for (class, logit) in logits.iter().enumerate() {
            let row = net.layer.row(class);
            let name = |method: &str| format!("{method} of network {seed}, class {class}");
            let cam = Net::weighted(&features, |k| row[k]);
            is_near(&name("cam"), &of(&maps, class, Method::Cam).values, &cam);
            let shares: Vec<f32> = cam.iter().map(|v| v / places).collect();
            is_near(&name("gradcam"), &of(&maps, class, Method::GradCam).values, &shares);
            is_near(&name("hirescam"), &of(&maps, class, Method::HiResCam).values, &shares);
            let positive = Net::weighted(&features, |k| row[k].max(0.0) / places);
            is_near(&name("layercam"), &of(&maps, class, Method::LayerCam).values, &positive);
            let weight = |k: usize| row[k].max(0.0) / (2.0 + row[k] * means[k]);
            let plus_plus = Net::weighted(&features, weight);
            is_near(&name("gradcam++"), &of(&maps, class, PLUS_PLUS).values, &plus_plus);
            let own = &of(&maps, class, Method::Cam).values;
            let mean = own.iter().sum::<f32>() / places;
            is_near(&name("the logit"), &[mean + net.bias[class]], &[*logit]);
        }
    }
}

#[test]
fn behind_flattening_hirescam_adds_up_to_the_logit() {
    let dir = tempfile::tempdir().unwrap();
    for seed in SEEDS {
        let net = Net::flattened(seed);
        let mut loaded = net.load(dir.path());
        let picture = net.picture(seed);
        let (logits, maps) = all_maps(&net, &mut loaded, &picture);
        let features = net.features(&picture);
        for (class, logit) in logits.iter().enumerate() {
            let name = format!("network {seed}, class {class}");
            let hires = &of(&maps, class, Method::HiResCam).values;
            let sum = hires.iter().sum::<f32>();
            is_near(&name, &[sum + net.bias[class]], &[*logit]);
            // The gradient is the layer itself, place by place.
            let mut plain = vec![0.0f32; net.places()];
            for ((i, a), w) in features.iter().enumerate().zip(net.layer.row(class)) {
                plain[i % net.places()] += a * w;
            }
            is_near(&name, hires, &plain);
        }
    }
}

#[test]
fn every_map_follows_the_picture_and_only_where_it_changed() {
    let dir = tempfile::tempdir().unwrap();
    for seed in SEEDS {
        let net = Net::pooled(seed);
        let mut loaded = net.load(dir.path());
        let mut picture = net.picture(seed);
        let before = all_maps(&net, &mut loaded, &picture).1;
        let [rows, cols] = net.size;
        for c in 0..3 {
            picture[c * rows * cols] = 4.0 - picture[c * rows * cols];
        }
        let after = all_maps(&net, &mut loaded, &picture).1;
        if net.features(&picture) == net.features(&net.picture(seed)) {
            continue;
        }
        for (before, after) in before.iter().zip(&after) {
            let pairs = before.map.values.iter().zip(&after.map.values).enumerate();
            let changed: Vec<usize> =
                pairs.filter(|(_, (a, b))| (*a - *b).abs() > 1e-6).map(|(i, _)| i).collect();
            // One pixel reaches its neighbours. Grad-CAM++ weighs channels by
            // their means, which change everywhere.
            let near = |i: &usize| i / cols < 2 && i % cols < 2;
            let local = before.method == PLUS_PLUS || changed.iter().all(near);
            assert!(local, "{} of network {seed}: {changed:?}", before.method);
            let positive = net.layer.row(before.class).iter().any(|w| *w > 0.0);
            let blind = matches!(before.method, PLUS_PLUS | Method::LayerCam) && !positive;
            let dead = net.channels() < 4;
            assert!(
                blind || dead || !changed.is_empty(),
                "{} of network {seed} does not change",
                before.method
            );
        }
    }
}

#[test]
fn weights_drawn_anew_give_another_map() {
    let dir = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for seed in SEEDS {
        let net = Net { layer: Net::pooled(seed).layer, ..Net::pooled(seed) };
        if net.channels() < 4 {
            continue;
        }
        let picture = net.picture(seed);
        let before = all_maps(&net, &mut net.load(dir.path()), &picture).1;
        let (classes, channels) = net.layer.dim();
        let layer = draw(classes * channels, seed + 900);
        let other =
            Net { layer: Array2::from_shape_vec((classes, channels), layer).unwrap(), ..net };
        let after = all_maps(&other, &mut other.load(dir.path()), &picture).1;
        for class in 0..classes {
            let [a, b] = [&before, &after].map(|maps| of(maps, class, Method::GradCam));
            let scale = a.values.iter().chain(&b.values).fold(0.0f32, |m, v| m.max(v.abs()));
            let miss = a.values.iter().zip(&b.values).map(|(a, b)| (a - b).abs());
            let largest = miss.fold(0.0f32, f32::max);
            assert!(largest > 0.05 * scale, "network {seed}, class {class}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn evidence_against_a_class_paints_nothing_and_nothing_is_no_number() {
    let dir = tempfile::tempdir().unwrap();
    for seed in SEEDS {
        let mut net = Net::pooled(seed);
        // All evidence is against class 0; of every third network no feature
        // ever answers.
        net.layer.row_mut(0).mapv_inplace(|w| -w.abs() - 0.01);
        let is_silent = seed % 3 == 0;
        if is_silent {
            net.shift.fill(-1e3);
        }
        let mut loaded = net.load(dir.path());
        let picture = net.picture(seed);
        let (_, maps) = all_maps(&net, &mut loaded, &picture);
        for map in &maps {
            assert!(map.map.values.iter().all(|v| v.is_finite()), "{map:?}");
            let heat = map.in_logit_units().heat(6.0);
            let shown = map.map.normalised();
            assert!(shown.values.iter().all(|v| (0.0..=1.0).contains(v)), "{shown:?}");
            if map.class == 0 || is_silent {
                assert!(heat.values.iter().all(|v| *v == 0.0), "{} of {seed}", map.method);
                assert!(shown.values.iter().all(|v| *v == 0.0), "{} of {seed}", map.method);
            }
        }
    }
}
