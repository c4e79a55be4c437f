//! Folders as Hugging Face's `transformers` and `optimum` write them for image
//! classification: `config.json` names the classes, `preprocessor_config.json`
//! says what the network wants to see, `model.onnx` (or `onnx/model.onnx`) is
//! the network.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Error;
use super::files::read_file;
use super::graph::Graph;
use super::spec::{Activation, HeadSpec, Model, ModelSpec, NETWORK};
use crate::preprocess::{ChannelOrder, InputSpec, Layout, Resize};
use crate::still::Resample;

/// The file that names the classes.
const CONFIG: &str = "config.json";
/// The file that says how pictures are prepared.
const PREPROCESSOR: &str = "preprocessor_config.json";

/// True for a folder of this kind.
pub(super) fn is_folder(folder: &Path) -> bool {
    folder.join(CONFIG).is_file() && network(folder).is_some()
}

fn network(folder: &Path) -> Option<PathBuf> {
    [folder.join(NETWORK), folder.join("onnx").join(NETWORK)].into_iter().find(|p| p.is_file())
}

/// Opens such a folder; `labels` replace the names it gives its classes.
///
/// # Errors
/// [`Error::Read`], [`Error::Spec`] when a file says too little or something
/// that cannot be done here, [`Error::NotOnnx`] and [`Error::Network`].
pub(super) fn open(folder: &Path, labels: Option<Vec<String>>) -> Result<Model, Error> {
    let config_path = folder.join(CONFIG);
    let config = json(&config_path)?;
    let onnx = network(folder).unwrap_or_else(|| folder.join(NETWORK));
    let graph = Graph::parse(read_file(&onnx)?.into(), &onnx)?;
    let labels = match labels {
        Some(labels) => labels,
        None => classes(&config).map_err(|why| Error::spec(&config_path, why))?,
    };
    let preprocessor_path = folder.join(PREPROCESSOR);
    let preprocessor = json(&preprocessor_path)?;
    let mut input = input(&preprocessor).map_err(|why| Error::spec(&preprocessor_path, why))?;
    if let [port] = graph.inputs().as_slice()
        && let [_, _, _, Some(3)] = port.dims[..]
    {
        input.layout = Layout::Nhwc;
    }
    let outputs = graph.outputs();
    let output = outputs.iter().find(|o| o.name == "logits").or(outputs.first());
    let output = output.ok_or_else(|| Error::network(&onnx, "it has no output"))?;
    let multi = config["problem_type"] == "multi_label_classification";
    let mut head = HeadSpec::new("class", labels);
    head.output.clone_from(&output.name);
    head.activation = if multi { Activation::Sigmoid } else { Activation::Softmax };
    let name = config["_name_or_path"].as_str().filter(|n| !n.is_empty());
    let name = name.and_then(|n| n.rsplit('/').next()).map(str::to_owned);
    let own = || folder.file_name().map(|n| n.to_string_lossy().into_owned());
    let spec = ModelSpec {
        name: name.or_else(own).unwrap_or_else(|| "model".to_owned()),
        version: String::new(),
        licence: String::new(),
        input,
        heads: vec![head],
    };
    match spec.fault() {
        Some(reason) => Err(Error::spec(&config_path, reason)),
        None => Ok(Model { onnx, described_by: config_path, spec }),
    }
}

fn json(path: &Path) -> Result<Value, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|e| Error::spec(path, e.to_string()))
}

/// The names in `id2label`, in order.
fn classes(config: &Value) -> Result<Vec<String>, String> {
    let Some(names) = config["id2label"].as_object().filter(|names| !names.is_empty()) else {
        return Err("it has no id2label; give the names of the classes with --labels".to_owned());
    };
    (0..names.len())
        .map(|id| match names.get(&id.to_string()).and_then(Value::as_str) {
            Some(name) => Ok(name.to_owned()),
            None => {
                Err(format!("id2label has {} classes but none with the number {id}", names.len()))
            }
        })
        .collect()
}

/// A size as these files write it: one number, or an object.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Extent {
    Shortest(usize),
    Exact { height: usize, width: usize },
}

fn extent(value: &Value, one_number: fn(usize) -> Extent) -> Option<Extent> {
    let number = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    if let Some(side) = number(value) {
        return Some(one_number(side));
    }
    if let Some(side) = number(&value["shortest_edge"]) {
        return Some(Extent::Shortest(side));
    }
    Some(Extent::Exact { height: number(&value["height"])?, width: number(&value["width"])? })
}

fn square(side: usize) -> Extent {
    Extent::Exact { height: side, width: side }
}

/// What the preprocessor does, as far as one resize and one normalisation can
/// do the same.
fn input(config: &Value) -> Result<InputSpec, String> {
    let flag = |key: &str, default: bool| config[key].as_bool().unwrap_or(default);
    let size = extent(&config["size"], square);
    let crop = extent(&config["crop_size"], square).filter(|_| flag("do_center_crop", false));
    let crop = crop.map(|crop| match crop {
        Extent::Shortest(side) => (side, side),
        Extent::Exact { height, width } => (height, width),
    });
    let part = config["crop_pct"].as_f64().filter(|p| *p > 0.0 && *p <= 1.0);
    if !flag("do_resize", true) {
        return Err("do_resize is false; the network takes pictures of any size, which a classifier of video cannot use".to_owned());
    }
    let (width, height, resize, crop_fraction) = match (size, crop, part) {
        (Some(Extent::Shortest(side)), Some((height, width)), _) => {
            let most = height.max(width);
            if most > side {
                return Err(format!(
                    "crop_size is larger than size.shortest_edge ({most}, {side})"
                ));
            }
            (width, height, Resize::Crop, most as f64 / side as f64)
        }
        (Some(Extent::Exact { height, width }), Some((h, w)), _) => {
            let fraction = h as f64 / height as f64;
            if w * height != h * width || fraction > 1.0 {
                return Err("crop_size is not a smaller size of the same shape".to_owned());
            }
            (w, h, Resize::Stretch, fraction)
        }
        // As ConvNeXt's: small inputs are cropped, large ones are not.
        (Some(Extent::Shortest(side) | Extent::Exact { height: side, .. }), None, Some(part)) => {
            if side < 384 {
                (side, side, Resize::Crop, part)
            } else {
                (side, side, Resize::Stretch, 1.0)
            }
        }
        (Some(Extent::Exact { height, width }), None, None) => {
            (width, height, Resize::Stretch, 1.0)
        }
        (Some(Extent::Shortest(side)), _, _) => (side, side, Resize::Crop, 1.0),
        (None, ..) => {
            return Err("it has no size; write size = {\"height\": ..., \"width\": ...}".to_owned());
        }
    };
    let resample = resample(&config["resample"])?;
    let mut spec = InputSpec { resize, crop_fraction, resample, ..InputSpec::new(width, height) };
    let rescale = if flag("do_rescale", true) {
        config["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0)
    } else {
        1.0
    };
    if !(rescale.is_finite() && rescale > 0.0) {
        return Err(format!("rescale_factor is {rescale}; it must be above 0"));
    }
    let (mean, std) = if flag("do_normalize", true) {
        (three(config, "image_mean")?, three(config, "image_std")?)
    } else {
        ([0.0; 3], [1.0; 3])
    };
    spec.mean = mean.map(|m| (m / rescale) as f32);
    spec.std = std.map(|s| (s / rescale) as f32);
    if flag("do_flip_channel_order", false) {
        spec.color = ChannelOrder::Bgr;
    }
    Ok(spec)
}

/// The filter that goes by one of Pillow's numbers.
fn resample(number: &Value) -> Result<Resample, String> {
    match number.as_u64() {
        None if number.is_null() => Ok(Resample::Bilinear),
        Some(1) => Ok(Resample::Lanczos),
        Some(2) => Ok(Resample::Bilinear),
        Some(3) => Ok(Resample::Bicubic),
        _ => Err(format!(
            "resample is {number}; only lanczos (1), bilinear (2) and bicubic (3) are done here: write the nearest to what the network was trained with"
        )),
    }
}

fn three(config: &Value, key: &str) -> Result<[f64; 3], String> {
    let list =
        config[key].as_array().map(|l| l.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
    match list.as_deref() {
        Some([a, b, c]) => Ok([*a, *b, *c]),
        _ => Err(format!("{key} is not a list of three numbers, though do_normalize is on")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<InputSpec, String> {
        input(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn preprocessors_of_well_known_models_are_understood() {
        // The shapes of google/vit-base-patch16-224, microsoft/resnet-50,
        // google/mobilenet_v2_1.0_224, apple/mobilevit-small and efficientnet.
        let vit = r#"{"do_normalize":true,"do_resize":true,"image_mean":[0.5,0.5,0.5],
            "image_std":[0.5,0.5,0.5],"resample":2,"size":224}"#;
        let resnet = r#"{"crop_pct":0.875,"do_normalize":true,"do_resize":true,
            "feature_extractor_type":"ConvNextFeatureExtractor","image_mean":[0.485,0.456,0.406],
            "image_std":[0.229,0.224,0.225],"resample":3,"size":224}"#;
        let mobilenet = r#"{"crop_size":{"height":224,"width":224},"do_center_crop":true,
            "do_normalize":true,"do_rescale":true,"do_resize":true,"image_mean":[0.5,0.5,0.5],
            "image_std":[0.5,0.5,0.5],"resample":2,"rescale_factor":0.00392156862745098,
            "size":{"shortest_edge":256}}"#;
        let mobilevit = r#"{"crop_size":{"height":256,"width":256},"do_center_crop":true,
            "do_flip_channel_order":true,"do_normalize":false,"do_rescale":true,"do_resize":true,
            "rescale_factor":0.00392156862745098,"resample":2,"size":{"shortest_edge":288}}"#;
        let (a, b) = (spec(vit).unwrap(), spec(resnet).unwrap());
        assert_eq!(
            (a.width, a.height, a.resize, a.crop_fraction),
            (224, 224, Resize::Stretch, 1.0)
        );
        assert!((a.mean[0] - 127.5).abs() < 1e-4 && (a.std[2] - 127.5).abs() < 1e-4);
        assert_eq!((b.width, b.resize, b.crop_fraction), (224, Resize::Crop, 0.875));
        assert_eq!((a.resample, b.resample), (Resample::Bilinear, Resample::Bicubic));
        assert!((b.mean[1] - 116.28).abs() < 1e-3 && (b.std[0] - 58.395).abs() < 1e-3);
        let (c, d) = (spec(mobilenet).unwrap(), spec(mobilevit).unwrap());
        assert_eq!((c.width, c.resize, c.crop_fraction), (224, Resize::Crop, 0.875));
        assert_eq!((d.width, d.color), (256, ChannelOrder::Bgr));
        assert!((d.crop_fraction - 256.0 / 288.0).abs() < 1e-12);
        assert!((d.std[0] - 255.0).abs() < 1e-3 && d.mean == [0.0; 3]);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        for (text, says) in [
            ("{}", "it has no size"),
            (r#"{"size":224}"#, "image_mean is not a list"),
            (r#"{"size":224,"do_resize":false}"#, "do_resize is false"),
            (r#"{"size":224,"resample":0}"#, "resample is 0; only lanczos (1)"),
            (
                r#"{"size":{"shortest_edge":200},"do_center_crop":true,"crop_size":224,"do_normalize":false}"#,
                "larger than size.shortest_edge",
            ),
        ] {
            let said = spec(text).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        let config: Value = serde_json::from_str(r#"{"id2label":{"0":"a","2":"b"}}"#).unwrap();
        assert!(classes(&config).unwrap_err().contains("none with the number 1"));
        let config: Value = serde_json::from_str(r#"{"id2label":{"1":"b","0":"a"}}"#).unwrap();
        assert_eq!(classes(&config).unwrap(), ["a", "b"]);
    }
}
