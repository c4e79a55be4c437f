//! Changing a network: taking an output and what only it needs away, adding
//! weights. Called by `package`, which writes the result to a file.

use std::collections::{BTreeSet, HashSet};

use super::super::onnx::tensor_proto::{DataLocation, DataType};
use super::super::onnx::{AttributeProto, GraphProto, TensorProto};
use super::Graph;

/// The oldest version of the format whose weights need not be inputs as well.
const IR_VERSION: i64 = 4;

impl Graph {
    /// The values of a stored weight of 32-bit floats that lies in the file
    /// itself.
    pub(in super::super) fn stored_floats(&self, tensor: &str) -> Option<Vec<f32>> {
        let t = self.graph.initializer.get(*self.initializer.get(tensor)?)?;
        let plain =
            t.data_type() == DataType::Float as i32 && t.data_location() == DataLocation::Default;
        let raw = t.raw_data();
        match (plain, raw.is_empty()) {
            (false, _) => None,
            (true, true) => Some(t.float_data.clone()),
            (true, false) => {
                Some(raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
        }
    }

    /// The files beside the network that hold some of its weights.
    pub(in super::super) fn external_files(&self) -> BTreeSet<String> {
        let outside = |t: &&TensorProto| t.data_location() == DataLocation::External;
        let location = |t: &TensorProto| {
            let entry = t.external_data.iter().find(|e| e.key() == "location");
            entry.map(|e| e.value().to_owned())
        };
        self.graph.initializer.iter().filter(outside).filter_map(location).collect()
    }

    /// A tensor name like `wanted` that is not taken yet.
    pub(in super::super) fn unused_name(&self, wanted: &str) -> String {
        let taken = |name: &str| {
            self.has_tensor(name) || self.graph.output.iter().any(|o| o.name() == name)
        };
        let mut name = wanted.to_owned();
        let mut number = 1;
        while taken(&name) {
            number += 1;
            name = format!("{wanted}_{number}");
        }
        name
    }

    /// Stores a weight of 32-bit floats.
    pub(in super::super) fn store_floats(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        let ir = self.model.ir_version.unwrap_or(IR_VERSION);
        self.model.ir_version = Some(ir.max(IR_VERSION));
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect(),
            data_type: Some(DataType::Float as i32),
            raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()),
            ..TensorProto::default()
        });
        self.index();
    }

    /// Takes the output `name` away, with every node and weight that neither
    /// another output nor the tensor `kept` needs.
    pub(in super::super) fn remove_output(&mut self, name: &str, kept: &str) {
        self.graph.output.retain(|o| o.name() != name);
        let mut needed: HashSet<String> =
            self.graph.output.iter().map(|o| o.name().to_owned()).collect();
        needed.insert(kept.to_owned());
        let mut kept = vec![false; self.graph.node.len()];
        // Nodes stand in the order of their work, so once backwards is enough.
        for (node, kept) in self.graph.node.iter().zip(&mut kept).rev() {
            if node.output.iter().any(|o| needed.contains(o)) {
                *kept = true;
                needed.extend(node.input.iter().cloned());
                for graph in node.attribute.iter().flat_map(subgraphs) {
                    needed_inside(graph, &mut needed);
                }
            }
        }
        let mut kept = kept.into_iter();
        self.graph.node.retain(|_| kept.next().unwrap_or(true));
        self.graph.initializer.retain(|t| needed.contains(t.name()));
        self.graph
            .sparse_initializer
            .retain(|t| t.values.as_ref().is_none_or(|values| needed.contains(values.name())));
        let weights: HashSet<String> =
            self.initializer.keys().filter(|n| !needed.contains(*n)).cloned().collect();
        self.graph.input.retain(|i| !weights.contains(i.name()));
        self.graph.value_info.retain(|v| needed.contains(v.name()));
        self.producer.clear();
        self.index();
    }
}

fn subgraphs(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.iter().chain(&attribute.graphs)
}

/// What the branches and loops inside a node may take from outside.
fn needed_inside(graph: &GraphProto, needed: &mut HashSet<String>) {
    for node in &graph.node {
        needed.extend(node.input.iter().cloned());
        for graph in node.attribute.iter().flat_map(subgraphs) {
            needed_inside(graph, needed);
        }
    }
    needed.extend(graph.output.iter().map(|o| o.name().to_owned()));
}
