//! A session of ONNX Runtime and what is needed to feed it: pictures and
//! classes in, logits and maps out, unchecked. Used by the classifier only.

use std::path::{Path, PathBuf};

use ort::session::{Session, builder::GraphOptimizationLevel};
use ort::value::{Tensor, TensorRef};

use super::Error;
use super::explain::{classes_name, indices_name, map_name};
use super::library::Runtime;
use super::options::{ClassMap, Wanted};
use crate::annotation::ActivationMap;
use crate::explain::Method;
use crate::preprocess::Layout;

/// Turns the bytes of a network into a session.
pub(super) fn session(
    runtime: &Runtime,
    onnx: &Path,
    threads: usize,
    level: GraphOptimizationLevel,
    bytes: &[u8],
) -> ort::Result<Session> {
    // Weights kept outside the file are looked for beside it.
    let folder = onnx.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).to_string_lossy().into_owned();
    Session::builder(&runtime.environment)?
        // Errors come back from the calls; they are not logged as well.
        .with_log_level(ort::logging::LogLevel::Fatal)?
        .with_optimization_level(level)?
        .with_intra_threads(threads.max(1))?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_config_entry("session.model_external_initializers_file_folder_path", folder)?
        .commit_from_memory(bytes)
}

/// A head with maps.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    pub(super) head: usize,
    pub(super) methods: Vec<Method>,
}

/// A session and what is needed to feed it.
pub(super) struct Net {
    pub(super) session: Session,
    pub(super) path: PathBuf,
    pub(super) input_name: String,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) layout: Layout,
    /// Pictures the network insists on in one pass.
    pub(super) images: usize,
    pub(super) heads: usize,
    pub(super) mapped: Vec<Mapped>,
    /// The picture as the network wants it.
    pub(super) scratch: Vec<f32>,
}

/// What one pass gives, unchecked.
pub(super) struct Raw {
    pub(super) logits: Vec<Vec<f32>>,
    pub(super) maps: Vec<ClassMap>,
}

impl Net {
    /// Numbers in one picture.
    pub(super) fn size(&self) -> usize {
        3 * self.width * self.height
    }

    pub(super) fn run(&mut self, input: &[f32], wanted: &[Wanted]) -> Result<Raw, Error> {
        let path = self.path.clone();
        self.try_run(input, wanted).map_err(|e| Error::Inference {
            action: "run",
            path,
            reason: e.to_string(),
        })
    }

    fn try_run(&mut self, input: &[f32], wanted: &[Wanted]) -> ort::Result<Raw> {
        let (n, w, h) = (self.images, self.width, self.height);
        let shape = match self.layout {
            Layout::Nchw => [n, 3, h, w],
            Layout::Nhwc => [n, h, w, 3],
        };
        let picture = if n == 1 && self.layout == Layout::Nchw {
            TensorRef::from_array_view((shape, input))?
        } else {
            fill(&mut self.scratch, input, n, self.layout);
            TensorRef::from_array_view((shape, self.scratch.as_slice()))?
        };
        let mut inputs = ort::inputs![self.input_name.as_str() => picture];
        let mut asked_nothing = Vec::new();
        for mapped in &self.mapped {
            let of_head = wanted.iter().filter(|w| w.head == mapped.head);
            let mut classes: Vec<i64> =
                of_head.filter_map(|w| i64::try_from(w.class).ok()).collect();
            if classes.is_empty() {
                // Some kernels refuse an empty list.
                asked_nothing.push(mapped.head);
                classes.push(0);
            }
            let classes = Tensor::from_array(([classes.len()], classes))?;
            inputs.push((classes_name(mapped.head).into(), classes.into()));
        }
        let outputs = self.session.run(inputs)?;
        let logits = (0..self.heads)
            .map(|i| {
                let (_, all) = outputs[logits_name(i).as_str()].try_extract_tensor::<f32>()?;
                Ok(all.get(..all.len() / n).unwrap_or_default().to_vec())
            })
            .collect::<ort::Result<_>>()?;
        let mut maps: Vec<ClassMap> = Vec::new();
        for mapped in &self.mapped {
            let head = mapped.head;
            let (_, classes) = outputs[indices_name(head).as_str()].try_extract_tensor::<i64>()?;
            let first = usize::from(asked_nothing.contains(&head));
            for (m, &method) in mapped.methods.iter().enumerate() {
                let (shape, values) =
                    outputs[map_name(head, m).as_str()].try_extract_tensor::<f32>()?;
                let [_, _, rows, cols] = shape[..] else {
                    return Err(ort::Error::new("the map does not have rows and columns"));
                };
                let (rows, cols) = (rows.max(0) as usize, cols.max(0) as usize);
                let each = values.chunks_exact((rows * cols).max(1));
                for (&class, values) in classes.iter().zip(each).skip(first) {
                    let class = usize::try_from(class).unwrap_or(0);
                    let new = |c: &ClassMap| (c.head, c.class, c.method) != (head, class, method);
                    if maps.iter().all(new) {
                        let map = ActivationMap { rows, cols, values: values.to_vec() };
                        maps.push(ClassMap { head, class, method, map });
                    }
                }
            }
        }
        Ok(Raw { logits, maps })
    }
}

/// The picture `images` times, its channels where the network wants them.
fn fill(out: &mut Vec<f32>, input: &[f32], images: usize, layout: Layout) {
    out.clear();
    for _ in 0..images {
        if layout == Layout::Nchw {
            out.extend_from_slice(input);
            continue;
        }
        let (red, rest) = input.split_at(input.len() / 3);
        let (green, blue) = rest.split_at(red.len());
        out.extend(red.iter().zip(green).zip(blue).flat_map(|((r, g), b)| [*r, *g, *b]));
    }
}

/// Output: the logits of head number `head`, 32-bit floats.
pub(super) fn logits_name(head: usize) -> String {
    format!("cam_logits_{head}")
}
