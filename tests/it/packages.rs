//! Models as others package them, and what `heatcast model` says about them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{Dir, annotate, counter_model, fails, heatcast, json_of, text};
use crate::pictures::{number, write_number};

fn check(model: &Path, more: &[&str]) -> std::process::Command {
    let mut command = heatcast(["model", "check", "--json"]);
    command.arg(model).args(more);
    command
}

/// The counter model as Hugging Face's tools would have written it.
fn hugging_face(folder: &Path, onnx: &str, change: impl Fn(&mut Value, &mut Value)) -> PathBuf {
    let to = folder.join(onnx);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(counter_model().join("model.onnx"), to).unwrap();
    let names = (0..128).map(|n| (n.to_string(), Value::from(format!("n{n:03}"))));
    let mut config = json!({
        "_name_or_path": "someone/counter-vit",
        "architectures": ["ViTForImageClassification"],
        "id2label": names.clone().collect::<serde_json::Map<_, _>>(),
        "label2id": names.map(|(id, name)| (name.as_str().unwrap().to_owned(), Value::from(id.parse::<u32>().unwrap()))).collect::<serde_json::Map<_, _>>(),
        "model_type": "vit",
        "num_channels": 3,
        "torch_dtype": "float32",
        "transformers_version": "4.36.0"
    });
    let mut preprocessor = json!({
        "do_normalize": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": [0.0, 0.0, 0.0],
        "image_processor_type": "ViTImageProcessor",
        "image_std": [1.0, 1.0, 1.0],
        "resample": 2,
        "rescale_factor": 0.003_921_568_627_450_98,
        "size": { "height": 32, "width": 64 }
    });
    change(&mut config, &mut preprocessor);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("preprocessor_config.json"), preprocessor.to_string()).unwrap();
    folder.to_owned()
}

#[test]
fn a_hugging_face_folder_is_a_model() {
    let dir = Dir::new();
    write_number(&dir.path("set/n042/a.png"), 42);
    for (name, onnx) in [("flat", "model.onnx"), ("optimum", "onnx/model.onnx")] {
        let model = hugging_face(&dir.path(name), onnx, |_, _| {});
        let image = dir.path("set/n042/a.png");
        let seen = json_of(check(&model, &["--image", image.to_str().unwrap()]));
        assert_eq!(seen["model"], "counter-vit");
        assert_eq!(seen["heads"][0]["top"][0]["label"], "n042", "{seen}");
        let mut eval = heatcast(["eval", "-q", "--json", "--model"]);
        eval.arg(&model).arg(dir.path("set"));
        assert_eq!(json_of(eval)["accuracy"], 1.0);
    }
    let mut inspect = heatcast(["model", "inspect", "--json"]);
    inspect.arg(dir.path("flat"));
    let found = json_of(inspect);
    assert_eq!(
        (&found["input"]["width"], &found["heads"][0]["labels"][3]),
        (&64.into(), &"n003".into())
    );
    assert!(found["why_no_map"].is_null() && found["feature_tensor"] == "features");
}

#[test]
fn what_a_hugging_face_folder_lacks_is_named() {
    let dir = Dir::new();
    let make = |name: &str, change: &dyn Fn(&mut Value, &mut Value)| {
        hugging_face(&dir.path(name), "model.onnx", change)
    };
    let no_names = make("a", &|config, _| {
        config.as_object_mut().unwrap().remove("id2label");
    });
    fails(check(&no_names, &[]), 2, &["config.json", "no id2label", "--labels"]);
    let labels = counter_model().join("labels.txt");
    json_of(check(&no_names, &["--labels", labels.to_str().unwrap()]));
    let few = make("b", &|config, _| {
        config["id2label"] = json!({ "0": "LABEL_0", "1": "LABEL_1" });
    });
    fails(check(&few, &[]), 2, &["2 labels", "128 classes"]);
    let size =
        make("c", &|_, preprocessor| preprocessor["size"] = json!({ "height": 64, "width": 64 }));
    fails(check(&size, &[]), 2, &["[1, 3, 32, 64]", "correct width, height"]);
    let mean = make("d", &|_, preprocessor| preprocessor["image_mean"] = json!(0.5));
    fails(check(&mean, &[]), 2, &["preprocessor_config.json", "image_mean"]);
    std::fs::remove_file(make("e", &|_, _| {}).join("preprocessor_config.json")).unwrap();
    fails(check(&dir.path("e"), &[]), 2, &["preprocessor_config.json", "check that it exists"]);
}

#[test]
fn a_bare_network_takes_its_labels_from_a_file() {
    let dir = Dir::new();
    let bare = dir.path("bare.onnx");
    std::fs::copy(counter_model().join("model.onnx"), &bare).unwrap();
    let labels = dir.path("labels.txt");
    let names: String = (0..128).map(|n| format!("number {n}\n")).collect();
    std::fs::write(&labels, names).unwrap();
    let flag = ["--labels", labels.to_str().unwrap()];
    let mut inspect = heatcast(["model", "inspect"]);
    let out = inspect.arg(&bare).args(flag).output().unwrap();
    assert!(text(&out.stdout).contains("(number 0, number 1,"), "{}", text(&out.stderr));
    let clip = dir.make(
        "v.mkv",
        "videotestsrc num-buffers=10 ! video/x-raw,width=64,height=32,framerate=25/1 ! x264enc ! h264parse ! matroskamux ! filesink location=FILE",
    );
    let events = dir.path("e.jsonl");
    let mut command = heatcast(["annotate", "-q", "--json", "--model"]);
    command.arg(&bare).args(flag).arg(&clip).arg("-o").arg(dir.path("o.mkv"));
    json_of({
        command.arg("--events").arg(&events);
        command
    });
    assert!(std::fs::read_to_string(events).unwrap().contains("\"label\":\"number "));
    std::fs::write(&labels, "one\ntwo\n").unwrap();
    fails(check(&bare, &flag), 2, &["2 labels", "128 classes"]);
    fails(check(&bare, &["--labels", "/nowhere/l.txt"]), 2, &["/nowhere/l.txt"]);
    fails(
        annotate(&clip, &dir.path("p.mkv"), &["--labels", "/nowhere/l.txt"]),
        2,
        &["/nowhere/l.txt"],
    );
}

#[test]
fn a_hugging_face_folder_is_resized_by_the_filter_it_names() {
    let dir = Dir::new();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
    let noise = pictures.join("noise.png");
    // Pillow's numbers of the filters, and what Pillow made by them.
    for (number, name, made) in [
        (1, "lanczos", "counter-lanczos.rgb"),
        (2, "bilinear", "counter.rgb"),
        (3, "bicubic", "counter-bicubic.rgb"),
    ] {
        let model = hugging_face(&dir.path(name), "model.onnx", |_, preprocessor| {
            preprocessor["resample"] = number.into();
        });
        let npy = dir.path("t.npy");
        json_of(check(
            &model,
            &["--image", noise.to_str().unwrap(), "--tensor", npy.to_str().unwrap()],
        ));
        let got = heatcast::npy::Array::parse(&std::fs::read(&npy).unwrap()).unwrap().values;
        let wanted = std::fs::read(pictures.join(made)).unwrap();
        assert_eq!(got.len(), wanted.len());
        for (i, wanted) in wanted.iter().enumerate() {
            let got = got[i % 3 * 64 * 32 + i / 3];
            assert!((got - f32::from(*wanted) / 255.0).abs() < 1e-6, "{name} {i}: {got} {wanted}");
        }
        let mut inspect = heatcast(["model", "inspect", "--json"]);
        inspect.arg(&model);
        assert_eq!(json_of(inspect)["input"]["resample"], name);
    }
    let nearest = hugging_face(&dir.path("nearest"), "model.onnx", |_, preprocessor| {
        preprocessor["resample"] = 0.into();
    });
    fails(check(&nearest, &[]), 2, &["preprocessor_config.json", "resample is 0", "bicubic (3)"]);
}

#[test]
fn the_tensor_is_pillows_to_the_last_bit() {
    let dir = Dir::new();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
    let (noise, npy) = (pictures.join("noise.png"), dir.path("t.npy"));
    let flags = ["--image", noise.to_str().unwrap(), "--tensor", npy.to_str().unwrap()];
    let seen = json_of(check(&counter_model(), &flags));
    let bytes = std::fs::read(&npy).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00") && (bytes.len() - 3 * 64 * 32 * 4) % 64 == 0);
    let header = text(&bytes[10..bytes.len() - 3 * 64 * 32 * 4]);
    assert!(header.contains("'shape': (1, 3, 32, 64") && header.ends_with('\n'), "{header}");
    let values: Vec<f32> = bytes[bytes.len() - 3 * 64 * 32 * 4..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    // Image.open(noise).resize((64, 32), BILINEAR) by Pillow, divided by 255.
    let wanted = std::fs::read(pictures.join("counter.rgb")).unwrap();
    for (i, wanted) in wanted.iter().enumerate() {
        let got = values[i % 3 * 64 * 32 + i / 3];
        assert!((got - f32::from(*wanted) / 255.0).abs() < 1e-6, "{i}: {got} {wanted}");
    }
    let green: Vec<f64> = wanted.iter().skip(1).step_by(3).map(|v| f64::from(*v) / 255.0).collect();
    let mean = green.iter().sum::<f64>() / green.len() as f64;
    let got = &seen["tensor"]["channels"][1];
    assert!((got["mean"].as_f64().unwrap() - mean).abs() < 1e-5, "{got}");
    let max = green.iter().copied().fold(0.0, f64::max);
    assert!((got["max"].as_f64().unwrap() - max).abs() < 1e-6, "{got}");
}

#[test]
fn a_picture_says_the_same_as_a_still_and_as_a_video() {
    let dir = Dir::new();
    let still = dir.path("s.png");
    number(99, 320, 160).save(&still).unwrap();
    let seen = json_of(check(&counter_model(), &["--image", still.to_str().unwrap()]));
    let clip = dir.path("c.mkv");
    let picture = crate::pictures::number_in_i420(99, 320, 160);
    let sink = format!(
        "appsrc name=v ! x264enc pass=quant quantizer=4 ! h264parse ! matroskamux ! filesink location={}",
        clip.display()
    );
    crate::common::encode(
        &sink,
        (320, 160),
        (0..5).map(|i| (i * 40_000_000, 40_000_000, picture.clone())),
    );
    let events = dir.path("e.jsonl");
    let mut command = annotate(&clip, &dir.path("o.mkv"), &["--events"]);
    command.arg(&events);
    json_of(command);
    let line = std::fs::read_to_string(events).unwrap().lines().nth(1).unwrap().to_owned();
    let line: Value = serde_json::from_str(&line).unwrap();
    let top = &seen["heads"][0]["top"][0];
    assert_eq!(line["label"], top["label"]);
    let (a, b) = (line["probability"].as_f64().unwrap(), top["probability"].as_f64().unwrap());
    assert!((a - b).abs() < 1e-3, "{a} in the video, {b} as a still");
}

#[test]
fn models_and_pictures_that_cannot_be_used_are_refused() {
    let dir = Dir::new();
    let huge = dir.path("huge.onnx");
    std::fs::File::create(&huge).unwrap().set_len(3 << 30).unwrap();
    fails(check(&huge, &[]), 2, &["huge.onnx is too large", "less than 2 GB"]);
    let prose = dir.path("x.jpg");
    std::fs::write(&prose, "All happy families").unwrap();
    fails(check(&counter_model(), &["--image", prose.to_str().unwrap()]), 1, &["x.jpg is no JPEG"]);
    fails(check(&counter_model(), &["--image", "/nowhere/x.jpg"]), 1, &["/nowhere/x.jpg"]);
    let twice = dir.path("twice");
    std::fs::create_dir(&twice).unwrap();
    let counter = counter_model();
    for file in ["model.onnx", "model.toml"] {
        std::fs::copy(counter.join(file), twice.join(file)).unwrap();
    }
    let labels = std::fs::read_to_string(counter.join("labels.txt")).unwrap();
    std::fs::write(twice.join("labels.txt"), labels.replace("n005", "n004")).unwrap();
    let seen = json_of(check(&twice, &[]));
    assert!(seen["notes"][0].as_str().unwrap().contains("4 and 5 are both called \"n004\""));
    write_number(&dir.path("set/n004/a.png"), 4);
    let mut eval = heatcast(["eval", "-q", "--model"]);
    eval.arg(&twice).arg(dir.path("set"));
    fails(eval, 2, &["more than one class \"n004\""]);
}

#[test]
fn a_network_that_answers_nan_is_refused() {
    let dir = Dir::new();
    let mut network = std::fs::read(counter_model().join("model.onnx")).unwrap();
    // The weight's name, then its values: the tag, the length in two bytes.
    let head = b"fc.bias\x4a\x80\x04";
    let at = network.windows(head.len()).position(|w| w == head).unwrap() + head.len();
    network[at + 20..at + 24].copy_from_slice(&f32::NAN.to_le_bytes());
    let broken = dir.path("nan.onnx");
    std::fs::write(&broken, network).unwrap();
    fails(check(&broken, &[]), 2, &["nan.onnx", "answered NaN for class 5"]);
    write_number(&dir.path("set/class 5/a.png"), 5);
    let mut eval = heatcast(["eval", "-q", "--model"]);
    eval.arg(&broken).arg(dir.path("set"));
    fails(eval, 2, &["answered NaN"]);
}
