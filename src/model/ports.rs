//! Whether the inputs, outputs and tensors of a network are those that a model's
//! description and a person's wishes speak of. Used by the classifier when it
//! loads.

use std::path::Path;

use super::Error;
use super::graph::Graph;
use super::spec::{Activation, HeadSpec, Model};
use crate::names::{nearest, plain};
use crate::preprocess::{InputSpec, Layout};

/// Networks for more pictures at a time are not run.
const MOST_IMAGES: usize = 64;
/// Nor those that want more numbers in one pass: 1 GB.
const MOST_INPUT: usize = 1 << 28;

/// A tensor that was named must exist and show something of the picture.
pub(super) fn check_tensor(graph: &Graph, name: &str, path: &Path) -> Result<(), Error> {
    if graph.depends_on_input(name) {
        return Ok(());
    }
    let tensors = graph.made().filter(|t| graph.depends_on_input(t));
    let nearest = nearest(tensors.map(|t| (plain(t), t)), &plain(name));
    Err(Error::NoSuchTensor {
        path: path.to_path_buf(),
        name: name.to_owned(),
        nearest: nearest.map(str::to_owned),
    })
}

/// The name of the one input, once it is known to take the described picture,
/// and the number of pictures it takes in one pass.
pub(super) fn check_input(
    graph: &Graph,
    spec: &InputSpec,
    path: &Path,
) -> Result<(String, usize), Error> {
    let inputs = graph.inputs();
    let [input] = inputs.as_slice() else {
        let names: Vec<_> = inputs.iter().map(|i| i.name.as_str()).collect();
        let reason =
            format!("it has {} inputs ({}) instead of one picture", inputs.len(), names.join(", "));
        return Err(Error::network(path, reason));
    };
    if !input.is_f32() {
        let reason = format!(
            "its input {:?} is not of 32-bit floats; export the model with a float input",
            input.name
        );
        return Err(Error::network(path, reason));
    }
    if input.dims.is_empty() {
        return Ok((input.name.clone(), 1));
    }
    let images = input.dims[0].unwrap_or(1);
    let numbers = images.saturating_mul(3 * spec.width * spec.height);
    if images > MOST_IMAGES || numbers > MOST_INPUT {
        let (width, height) = (spec.width, spec.height);
        let reason = format!(
            "it wants {images} pictures of {width} x {height} pixels in one pass, which is too much; export it for one smaller picture"
        );
        return Err(Error::network(path, reason));
    }
    let (wanted, order) = match spec.layout {
        Layout::Nchw => ([images, 3, spec.height, spec.width], "nchw"),
        Layout::Nhwc => ([images, spec.height, spec.width, 3], "nhwc"),
    };
    let fits = input.dims.len() == 4
        && input.dims.iter().zip(wanted).all(|(d, w)| d.is_none_or(|d| d == w));
    if fits {
        return Ok((input.name.clone(), images));
    }
    let axes: Vec<_> =
        input.dims.iter().map(|d| d.map_or("any".to_owned(), |d| d.to_string())).collect();
    let reason = format!(
        "its input {:?} is [{}] but the model's description makes it {wanted:?} ({order}); correct width, height or layout, or export the model with a float32 input of that shape",
        input.name,
        axes.join(", ")
    );
    Err(Error::network(path, reason))
}

/// The tensor with the logits of each head.
pub(super) fn logit_tensors(
    graph: &Graph,
    model: &Model,
    named: Option<(usize, &str)>,
) -> Result<Vec<String>, Error> {
    let outputs = graph.outputs();
    let tensor = |(n, head): (usize, &HeadSpec)| {
        if let Some((_, name)) = named.filter(|(of, _)| *of == n) {
            return Ok(name.to_owned());
        }
        if outputs.iter().all(|o| o.name != head.output) {
            let names: Vec<_> = outputs.iter().map(|o| o.name.as_str()).collect();
            let reason = format!(
                "head {:?} reads output {:?}, which the network does not have; its outputs are {}",
                head.name,
                head.output,
                names.join(", ")
            );
            return Err(Error::spec(&model.described_by, reason));
        }
        Ok(match head.activation {
            Activation::None => head.output.clone(),
            Activation::Softmax | Activation::Sigmoid => graph.logits_of(&head.output).0,
        })
    };
    model.spec.heads.iter().enumerate().map(tensor).collect()
}
