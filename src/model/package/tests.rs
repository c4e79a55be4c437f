//! Networks with another head: what is new answers as it should, what was
//! there answers as before.

use prost::Message;

use super::super::nets::{CHANNELS, CLASSES, floats, heads, info, model, network, node, picture};
use super::super::onnx::ModelProto;
use super::super::{ClassMap, Classifier, Explain, Heads, Options, Wanted};
use super::*;
use crate::explain::Seed;

/// Two heads on one feature map; the first ends in a softmax.
fn two_heads() -> ModelProto {
    let gemm = |w: &str, out: &str| node("Gemm", &["f", w], out, vec![]);
    let nodes = vec![
        node("GlobalAveragePool", &["a"], "p", vec![]),
        node("Flatten", &["p"], "f", vec![]),
        gemm("w", "l"),
        node("Softmax", &["l"], "logits", vec![]),
        gemm("v", "others"),
    ];
    let weights = vec![floats("w", &[CHANNELS, CLASSES], 7), floats("v", &[CHANNELS, 2], 9)];
    let mut net = network(17, nodes, weights);
    net.graph.as_mut().unwrap().output.extend([info("others", &[]), info("a", &[])]);
    net
}

fn described(dir: &Path, net: &ModelProto) -> Model {
    let mut model = model(dir, net);
    let names = |n: usize, c: char| (0..n).map(|i| format!("{c}{i}")).collect();
    let head = |name: &str, output: &str, labels| HeadSpec {
        output: output.to_owned(),
        ..HeadSpec::new(name, labels)
    };
    model.spec.heads =
        vec![head("kind", "logits", names(CLASSES, 'k')), head("mark", "others", names(2, 'm'))];
    model
}

fn new_head(name: &str, classes: usize) -> NewHead {
    let values = |n: usize, step: usize| -> Vec<f32> {
        (0..n).map(|i| (i * step % 13) as f32 / 6.0 - 1.0).collect()
    };
    NewHead {
        spec: HeadSpec::new(name, (0..classes).map(|i| format!("c{i}")).collect()),
        weights: values(classes * CHANNELS, 5),
        bias: values(classes, 3),
    }
}

fn load(model: &Model, head: &str) -> Classifier {
    let mut explain = Explain::of(Heads::Named(vec![head.to_owned()]));
    explain.seed = Seed::Logit;
    let options = Options { explain, ..Options::default() };
    Classifier::load(model, &options).unwrap()
}

/// Weights times features plus bias.
fn linear(head: &NewHead, features: &[f32]) -> Vec<f32> {
    let rows = head.weights.chunks_exact(features.len());
    rows.zip(&head.bias)
        .map(|(w, b)| w.iter().zip(features).map(|(w, f)| w * f).sum::<f32>() + b)
        .collect()
}

fn assert_near(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?} is not {b:?}");
}

#[test]
fn a_head_is_replaced_or_added_and_the_others_answer_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let base = described(dir.path(), &two_heads());
    let (embedding, known) = base.with_embedding("kind", &dir.path().join("e")).unwrap();
    let known = known.unwrap();
    assert_eq!((known.classes, known.features), (CLASSES, CHANNELS));
    let before = load(&base, "kind").run(&picture(1), &[]).unwrap();
    let seen = load(&embedding, "kind").run(&picture(1), &[]).unwrap();
    let features = &seen.heads[2].logits;
    assert_near(&seen.heads[0].logits, &before.heads[0].logits);
    let own =
        NewHead { weights: known.values, bias: vec![0.0; CLASSES], ..new_head("kind", CLASSES) };
    assert_near(&linear(&own, features), &before.heads[0].logits);

    for (name, classes, heads) in [("kind", 3, 2), ("mark", 2, 2), ("new", 6, 3)] {
        let folder = dir.path().join(name);
        let new = new_head(name, classes);
        let taught = base.with_head(&new, &folder).unwrap();
        taught.write_description().unwrap();
        let read = Model::open(&folder, None).unwrap();
        assert_eq!(read.spec.heads.len(), heads, "{name}");
        let mut net = load(&read, name);
        let at = net.explained_heads().next().unwrap();
        assert_eq!(net.why_no_map(at), None, "{name}");
        let all: Vec<_> = (0..classes).map(|class| Wanted { head: at, class }).collect();
        let out = net.run(&picture(1), &all).unwrap();
        assert_near(&out.heads[at].logits, &linear(&new, features));
        for ClassMap { class, map, .. } in &out.maps {
            let mean = map.values.iter().sum::<f32>() / map.values.len() as f32;
            assert_near(&[mean + new.bias[*class]], &[out.heads[at].logits[*class]]);
        }
        for other in (0..2).filter(|&i| base.spec.heads[i].name != name) {
            assert_near(&out.heads[other].logits, &before.heads[other].logits);
        }
        // Nothing of a replaced head is left; its feature map still is.
        let bytes = std::fs::read(folder.join("model.onnx")).unwrap();
        let graph = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
        let has = |w: &str| graph.initializer.iter().any(|t| t.name() == w);
        assert_eq!((has("w"), has("v")), (name != "kind", name != "mark"), "{name}");
        assert!(graph.output.iter().any(|o| o.name() == "a"));
    }
    // A second time, on what was written the first time.
    let once = Model::open(&dir.path().join("new"), None).unwrap();
    let new = new_head("new", 2);
    let twice = once.with_head(&new, &dir.path().join("twice")).unwrap();
    let out = load(&twice, "new").run(&picture(1), &[]).unwrap();
    assert_near(&out.heads[2].logits, &linear(&new, features));
}

#[test]
fn every_form_of_network_gives_features_and_takes_a_head() {
    let dir = tempfile::tempdir().unwrap();
    for opset in [9, 13, 18] {
        for (name, nodes, weights) in heads(opset) {
            let net = network(opset, nodes, weights);
            let base = model(dir.path(), &net);
            let folder = dir.path().join("made");
            let (embedding, known) = base.with_embedding("class", &folder).unwrap();
            let seen = load(&embedding, "class").run(&picture(2), &[]).unwrap();
            let features = seen.heads[1].logits.clone();
            if let Some(known) = &known {
                // The same weights give the same logits, but for the bias.
                let own = NewHead {
                    weights: known.values.clone(),
                    bias: vec![0.0; CLASSES],
                    ..new_head("x", CLASSES)
                };
                let rest: Vec<f32> = linear(&own, &features)
                    .iter()
                    .zip(&seen.heads[0].logits)
                    .map(|(a, b)| b - a)
                    .collect();
                let again = load(&embedding, "class").run(&picture(5), &[]).unwrap();
                let other: Vec<f32> = linear(&own, &again.heads[1].logits)
                    .iter()
                    .zip(&again.heads[0].logits)
                    .map(|(a, b)| b - a)
                    .collect();
                assert_near(&rest, &other);
            } else {
                assert!(name.ends_with("before"), "{name}: the weights were not found");
            }
            let mut new = new_head("mine", 3);
            new.weights = (0..3 * features.len()).map(|i| (i % 7) as f32 - 3.0).collect();
            let taught = base.with_head(&new, &folder).unwrap();
            let mut net = load(&taught, "mine");
            assert_eq!(net.why_no_map(1), None, "{name} {opset}");
            let out = net.run(&picture(2), &[]).unwrap();
            assert_near(&out.heads[1].logits, &linear(&new, &features));
        }
    }
}

#[test]
fn a_network_without_averaged_features_says_why_it_cannot_be_taught() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = vec![
        node("GlobalMaxPool", &["a"], "p", vec![]),
        node("Flatten", &["p"], "f", vec![]),
        node("Gemm", &["f", "w"], "logits", vec![]),
    ];
    let base = model(dir.path(), &network(17, nodes, vec![floats("w", &[CHANNELS, CLASSES], 7)]));
    let said = base.with_embedding("class", &dir.path().join("e")).unwrap_err().to_string();
    assert!(said.contains("averaged over the picture") && said.contains("GlobalMaxPool"), "{said}");
    assert!(!dir.path().join("e").exists());
}
