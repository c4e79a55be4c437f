//! Writes small networks, sound and unsound, as the bytes of ONNX files: field
//! by field, so that nothing is too wrong to be written.

/// A field of a protocol buffer's message: a number.
pub(crate) fn int(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value.cast_unsigned())].concat()
}

/// The same: bytes, a text or a message.
pub(crate) fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A node with attributes.
pub(crate) fn node(op: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut out: Vec<u8> = inputs.iter().flat_map(|i| bytes(1, i.as_bytes())).collect();
    out.extend(bytes(2, output.as_bytes()));
    out.extend(bytes(3, format!("make_{output}").as_bytes()));
    out.extend(bytes(4, op.as_bytes()));
    out.extend(attributes.iter().flat_map(|a| bytes(5, a)));
    bytes(1, &out)
}

/// An attribute: a list of integers.
pub(crate) fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let list = values.iter().flat_map(|v| int(8, *v));
    bytes(1, name.as_bytes()).into_iter().chain(list).chain(int(20, 7)).collect()
}

/// A stored tensor of floats; as many as `values` has, whatever `dims` say.
pub(crate) fn floats(name: &str, dims: &[i64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, dims, 1, &raw)
}

/// A stored list of 64-bit integers.
pub(crate) fn longs(name: &str, values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, &[values.len() as i64], 7, &raw)
}

fn tensor(name: &str, dims: &[i64], data_type: i64, raw: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = dims.iter().flat_map(|d| int(1, *d)).collect();
    out.extend(int(2, data_type));
    out.extend(bytes(8, name.as_bytes()));
    out.extend(bytes(9, raw));
    bytes(5, &out)
}

/// Numbers between -1 and 1.
pub(crate) fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 89 % 144) as f32 / 72.0 - 1.0).collect()
}

fn port(field: u64, name: &str, dims: &[i64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|d| bytes(1, &int(1, *d))).collect();
    let tensor = [int(1, 1), bytes(2, &dims)].concat();
    bytes(field, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat())
}

/// A network from the picture `x` of this shape to `logits`, of nodes and
/// stored tensors.
pub(crate) fn network(input: &[i64], output: &[i64], parts: &[Vec<u8>]) -> Vec<u8> {
    let graph =
        [bytes(2, b"net"), port(11, "x", input), port(12, "logits", output), parts.concat()];
    [int(1, 8), bytes(8, &int(2, 17)), bytes(7, &graph.concat())].concat()
}

/// Convolution `a`, average pooling, and one linear layer to three classes, with
/// other parts in place of those of the same output or name.
pub(crate) fn classifier(middle: &[Vec<u8>], layer: &[f32]) -> Vec<u8> {
    let last = if middle.is_empty() { "a" } else { "m" };
    let mut parts = vec![
        floats("w", &[4, 3, 3, 3], &numbers(108)),
        floats("l", &[4, 3], layer),
        node("Conv", &["x", "w"], "a", &[]),
    ];
    parts.extend_from_slice(middle);
    parts.extend([
        node("GlobalAveragePool", &[last], "p", &[]),
        node("Flatten", &["p"], "f", &[]),
        node("MatMul", &["f", "l"], "logits", &[]),
    ]);
    network(&[1, 3, 32, 32], &[1, 3], &parts)
}
