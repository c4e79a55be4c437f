//! `heatcast explain` and `heatcast model inspect`: maps and findings as other
//! programs read them.

use std::path::{Path, PathBuf};

use heatcast::npy::Array;

use crate::common::{Dir, fails, heatcast, json_of};

fn golden(case: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).join(file)
}

fn array(path: &Path) -> Array {
    Array::parse(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_map_of_a_tensor_is_written_as_other_programs_compute_it() {
    let dir = Dir::new();
    let map = dir.path("map.npy");
    for (method, file) in
        [("layercam", "raw_layercam.npy"), ("gradcam++", "raw_gradcampp_paper.npy")]
    {
        let mut explain = heatcast(["explain", "--class-index", "2", "--json", "--method", method]);
        explain.arg("--tensor").arg(golden("gap_fc_batch3", "input.npy"));
        explain.arg("--model").arg(golden("gap_fc_batch3", "model.ts.onnx"));
        explain.arg("--map").arg(&map);
        let said = json_of(explain);
        assert_eq!((&said["layout"], &said["head_kind"]), (&"nchw".into(), &"pool_linear".into()));
        assert_eq!((&said["method"], &said["methods"][0]), (&method.into(), &"cam".into()));
        assert_eq!(said["logits_tensor"], "/n/head/Gemm_output_0");
        let logits = array(&golden("gap_fc_batch3", "logits.npy"));
        let (got, want) = (array(&map), array(&golden("gap_fc_batch3", file)));
        assert_eq!(got.shape, [3, 16, 16]);
        for n in 0..3 {
            let logit = said["logit"][n].as_f64().unwrap() as f32;
            assert!((logit - logits.values[n * 4 + 2]).abs() < 1e-4);
            // Of four classes, the third.
            let want = &want.values[(n * 4 + 2) * 256..][..256];
            let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            for (got, want) in got.values[n * 256..][..256].iter().zip(want) {
                assert!((got - want).abs() < 1e-4 * largest, "{method}: {got} is not {want}");
            }
        }
    }
}

#[test]
fn a_feature_map_can_be_named() {
    let dir = Dir::new();
    let explain = |feature: &str| {
        let mut explain = heatcast(["explain", "--json", "--class", "1", "--method", "gradcam"]);
        explain.arg("--tensor").arg(golden("flatten_fc_prepool", "input.npy"));
        explain.arg("--model").arg(golden("flatten_fc_prepool", "model.ts.onnx"));
        explain.args(["--feature", feature]).arg("--map").arg(dir.path("map.npy"));
        explain
    };
    let said = json_of(explain("/n/features/features.3/Relu_output_0"));
    assert_eq!(said["feature_shape"], serde_json::json!([20, 32, 32]));
    assert!(said["logit"].is_number() && said["pictures"][0]["class"] == 1);
    assert_eq!(array(&dir.path("map.npy")).shape, [1, 32, 32]);
    fails(
        explain("/n/features/features.3/Relu_output"),
        2,
        &["no tensor", "did you mean \"/n/features/features.3/Relu_output_0\"?"],
    );
}

#[test]
fn inspect_says_for_every_head_where_its_maps_come_from() {
    let mut inspect = heatcast(["model", "inspect", "--json"]);
    inspect.arg(golden("gap_mlp_bn_hardswish", "model.dyn.onnx"));
    let said = json_of(inspect);
    assert_eq!(
        (&said["feature_tensor"], &said["head_kind"]),
        (&"hardswish_1".into(), &"pool_layers".into())
    );
    assert_eq!(
        said["methods"],
        serde_json::json!(["gradcam", "gradcam++", "layercam", "hirescam"])
    );
    assert_eq!(said["heads"][0]["feature_tensor"], said["feature_tensor"]);
    assert_eq!(said["heads"][0]["labels"].as_array().unwrap().len(), 6);
}

#[test]
fn what_cannot_be_explained_is_said_in_one_sentence() {
    let dir = Dir::new();
    let explain = |more: &[&str]| {
        let mut explain = heatcast(["explain", "--model"]);
        explain.arg(golden("gap_mlp_bn_hardswish", "model.ts.onnx"));
        explain.arg("--tensor").arg(golden("gap_mlp_bn_hardswish", "input.npy")).args(more);
        explain
    };
    fails(
        explain(&["--method", "cam"]),
        1,
        &["cam needs average pooling", "use the method gradcam"],
    );
    fails(explain(&["--method", "gradcan"]), 2, &["no method \"gradcan\""]);
    fails(explain(&["--class-index", "6"]), 2, &["no class 6", "0 to 5"]);
    fails(explain(&["--class", "class 7"]), 2, &["no class `class 7`"]);
    let text = dir.path("text.npy");
    std::fs::write(&text, "no array").unwrap();
    let mut wrong = heatcast(["explain", "--tensor"]);
    wrong.arg(&text);
    fails(wrong, 2, &["text.npy", "numpy.save"]);
    let flat = dir.path("flat.npy");
    std::fs::write(&flat, Array { shape: vec![2, 2], values: vec![0.0; 4] }.to_bytes()).unwrap();
    let mut wrong = heatcast(["explain", "--tensor"]);
    wrong.arg(&flat);
    fails(wrong, 2, &["flat.npy", "[N,3,H,W]"]);
}
