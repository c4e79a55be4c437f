//! Networks that are damaged, hostile, or no classifiers: one sentence each, and
//! no more memory than an honest network takes.

use std::path::Path;
use std::process::Command;

use crate::common::{Dir, fails, heatcast};
use crate::onnx::{classifier, floats, ints, longs, network, node, numbers};
use crate::pictures::write_number;

/// The command under a limit on its memory, in megabytes. ONNX Runtime's and
/// GStreamer's libraries take some hundreds.
pub(crate) fn limited(run: &Command, megabytes: usize) -> Command {
    let mut command = Command::new("bash");
    let script = format!("ulimit -v {}; exec \"$@\"", megabytes * 1024);
    command.arg("-c").arg(script).arg("bash").arg(run.get_program()).args(run.get_args());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// `heatcast explain` with this network, which must fail.
fn explained(dir: &Dir, name: &str, network: &[u8], code: i32, words: &[&str]) {
    let (model, picture) = (dir.path(name), dir.path("p/1.png"));
    std::fs::write(&model, network).unwrap();
    write_number(&picture, 1);
    let mut command = heatcast(["explain", "-q", "--json", "--threads", "1", "--model"]);
    command.arg(&model).arg(&picture);
    fails(limited(&command, 3000), code, words);
}

#[test]
fn a_sound_network_is_explained_within_the_limit_that_the_others_are_held_to() {
    let dir = Dir::new();
    let (model, picture) = (dir.path("m.onnx"), dir.path("p/1.png"));
    std::fs::write(&model, classifier(&[], &numbers(12))).unwrap();
    write_number(&picture, 1);
    let mut command = heatcast(["explain", "-q", "--json", "--threads", "1", "--model"]);
    command.arg(&model).arg(&picture);
    let said = crate::common::json_of(limited(&command, 3000));
    assert_eq!(said["head_kind"], "pool_linear");
}

#[test]
fn damaged_networks_are_refused_in_one_sentence() {
    let dir = Dir::new();
    let good = classifier(&[], &numbers(12));
    let half = &good[..good.len() / 2];
    explained(&dir, "cut.onnx", half, 2, &["cut.onnx", "cut off", "copy the model again"]);
    explained(&dir, "text.onnx", b"All happy families", 2, &["text.onnx", "not a usable ONNX"]);
    // An attribute that claims to be 2 GB long.
    let claim = [&good[..40], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x07], &good[40..]].concat();
    explained(&dir, "claim.onnx", &claim, 2, &["claim.onnx"]);
    let circle = [node("Add", &["a", "m"], "n", &[]), node("Relu", &["n"], "m", &[])];
    explained(&dir, "circle.onnx", &classifier(&circle, &numbers(12)), 2, &["circle.onnx"]);
    let shape = [floats("v", &[7, 5, 3, 3], &numbers(315)), node("Conv", &["a", "v"], "m", &[])];
    explained(&dir, "shape.onnx", &classifier(&shape, &numbers(12)), 2, &["shape.onnx"]);
    let nan = [&[f32::NAN], &numbers(11)[..]].concat();
    explained(
        &dir,
        "nan.onnx",
        &classifier(&[], &nan),
        2,
        &["answered NaN", "class 0", "weights or the input are damaged"],
    );
    explained(&dir, "inf.onnx", &classifier(&[], &[f32::INFINITY; 12]), 2, &["inf.onnx"]);
}

#[test]
fn networks_that_would_fill_the_memory_are_refused_before_they_do() {
    let dir = Dir::new();
    // Tera-numbers out of twenty bytes.
    let bomb = [
        longs("s", &[1, 4, 1 << 20, 1 << 20]),
        node("ConstantOfShape", &["s"], "c", &[]),
        node("ReduceMax", &["c"], "d", &[ints("axes", &[2, 3])]),
        node("Add", &["a", "d"], "m", &[]),
    ];
    let words = ["bomb.onnx", "would take", "GB of memory"];
    explained(&dir, "bomb.onnx", &classifier(&bomb, &numbers(12)), 2, &words);
    let tiles = [longs("s", &[1, 1, 1 << 14, 1 << 14]), node("Tile", &["a", "s"], "m", &[])];
    explained(&dir, "tile.onnx", &classifier(&tiles, &numbers(12)), 2, &["GB of memory"]);
    let claim = [floats("v", &[1 << 40, 1 << 20], &[1.0]), node("Add", &["a", "v"], "m", &[])];
    explained(&dir, "claim.onnx", &classifier(&claim, &numbers(12)), 2, &["claim.onnx"]);
    let wide = |input: &[i64]| {
        let parts =
            [node("GlobalAveragePool", &["x"], "p", &[]), node("Flatten", &["p"], "logits", &[])];
        network(input, &[1, 3], &parts)
    };
    let words = ["input size is 100000 x 100000", "at most 8192"];
    explained(&dir, "wide.onnx", &wide(&[1, 3, 100_000, 100_000]), 2, &words);
    let words = ["64 pictures of 8000 x 8000 pixels in one pass"];
    explained(&dir, "many.onnx", &wide(&[64, 3, 8000, 8000]), 2, &words);
}

#[test]
fn what_is_no_classifier_says_which_tensor_could_be_chosen() {
    let dir = Dir::new();
    // A detector: four numbers for each place, and nothing else.
    let boxes = |more: &[Vec<u8>]| {
        let mut parts = vec![
            floats("w", &[4, 3, 3, 3], &numbers(108)),
            longs("s", &[1, 4, -1]),
            node("Conv", &["x", "w"], "a", &[]),
            node("Reshape", &["a", "s"], "logits", &[]),
        ];
        parts.extend_from_slice(more);
        network(&[1, 3, 32, 32], &[1, 4, 900], &parts)
    };
    let words = ["shape [1, 4, 900] does not hold one logit", "no other tensor does either"];
    explained(&dir, "detector.onnx", &boxes(&[]), 1, &words);
    let list = [
        floats("l", &[4, 3], &numbers(12)),
        node("GlobalAveragePool", &["a"], "p", &[]),
        node("Flatten", &["p"], "f", &[]),
        node("MatMul", &["f", "l"], "scores", &[]),
    ];
    explained(&dir, "both.onnx", &boxes(&list), 1, &["--logits scores"]);
    // A transformer: patches, and from there on tokens only.
    let tokens = network(
        &[1, 3, 32, 32],
        &[1, 3],
        &[
            floats("w", &[8, 3, 8, 8], &numbers(1536)),
            longs("s", &[1, 8, 16]),
            floats("q", &[8, 8], &numbers(64)),
            floats("g", &[8], &numbers(8)),
            floats("l", &[8, 3], &numbers(24)),
            node("Conv", &["x", "w"], "a", &[ints("strides", &[8, 8])]),
            node("Reshape", &["a", "s"], "r", &[]),
            node("Transpose", &["r"], "t", &[ints("perm", &[0, 2, 1])]),
            node("MatMul", &["t", "q"], "u", &[]),
            node("Add", &["t", "u"], "v", &[]),
            node("LayerNormalization", &["v", "g"], "n", &[]),
            node("ReduceMean", &["n"], "p", &[ints("axes", &[1])]),
            node("Flatten", &["p"], "f", &[]),
            node("MatMul", &["f", "l"], "logits", &[]),
        ],
    );
    explained(
        &dir,
        "tokens.onnx",
        &tokens,
        1,
        &["works on tokens", "--feature ", "--layout tokens"],
    );
}

#[test]
fn a_model_that_is_no_file_or_larger_than_the_format_is_refused_before_it_is_read() {
    let dir = Dir::new();
    let inspect = |model: &Path| {
        let mut command = heatcast(["model", "inspect"]);
        command.arg(model);
        limited(&command, 3000)
    };
    fails(inspect(Path::new("/dev/zero")), 2, &["/dev/zero", "not a file"]);
    // A file with a hole: it has a size but takes no room.
    let huge = dir.path("huge.onnx");
    std::fs::File::create(&huge).unwrap().set_len(5 << 30).unwrap();
    fails(inspect(&huge), 2, &["huge.onnx is too large", "5.4 GB", "less than 2 GB"]);
}
