//! Counts what is in an ONNX file before it is taken apart: a few bytes can
//! stand for a message of hundreds, so a small file could otherwise fill the
//! memory. Knows the wire format of protocol buffers and which fields of ONNX
//! hold messages.

/// More fields than this are no network: the largest have some 100,000.
const MOST_FIELDS: usize = 2_000_000;
/// Messages nested deeper than this are not looked into; decoding refuses them.
const DEPTH: usize = 100;

/// The messages that can hold many others.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    Other,
}

impl Message {
    /// The message in field `number`, when there is one worth counting.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Model, 8 | 14)
            | (Self::Graph, 5 | 11..=16)
            | (Self::Function, 9 | 12 | 14)
            | (Self::Node, 9)
            | (Self::Attribute, 5 | 10 | 14 | 15 | 22 | 23) => Self::Other,
            _ => return None,
        })
    }
}

/// True when the file holds no more than a network can. Damage is left for the
/// decoder to find.
pub(super) fn is_bounded(bytes: &[u8]) -> bool {
    let mut left = MOST_FIELDS;
    count(bytes, Message::Model, DEPTH, &mut left);
    left > 0
}

/// Takes one from `left` for every field; stops at zero and at damage.
fn count(mut bytes: &[u8], message: Message, depth: usize, left: &mut usize) -> Option<()> {
    while !bytes.is_empty() {
        *left = left.checked_sub(1)?;
        let key = varint(&mut bytes)?;
        let content = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                continue;
            }
            1 => take(&mut bytes, 8)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                take(&mut bytes, length)?
            }
            5 => take(&mut bytes, 4)?,
            _ => return None,
        };
        if let (2, Some(inner), Some(depth)) =
            (key & 7, message.field(key >> 3), depth.checked_sub(1))
        {
            // Damage inside is not damage outside.
            let _ = count(content, inner, depth, left);
        }
    }
    Some(())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_bounded_and_heaps_of_empty_messages_are_not() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let network = std::fs::read(root.join("models/imagenet/model.onnx")).unwrap();
        assert!(is_bounded(&network) && is_bounded(b"") && is_bounded(b"no network"));
        // A graph (7) of empty nodes (1), and one node of empty attributes (5).
        let wrap = |field: u8, inner: Vec<u8>| {
            let mut out = vec![field << 3 | 2];
            let mut length = inner.len();
            while length > 127 {
                out.push((length & 127) as u8 | 128);
                length >>= 7;
            }
            out.push(length as u8);
            out.extend(inner);
            out
        };
        let nodes = wrap(7, [1 << 3 | 2, 0].repeat(MOST_FIELDS));
        let attributes = wrap(7, wrap(1, [5 << 3 | 2, 0].repeat(MOST_FIELDS)));
        assert!(!is_bounded(&nodes) && !is_bounded(&attributes));
        let few = wrap(7, [1 << 3 | 2, 0].repeat(1000));
        assert!(is_bounded(&few));
    }
}
