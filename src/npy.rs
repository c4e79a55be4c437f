//! NumPy's array files (`.npy`), as far as pictures and maps need them: 32-bit
//! floats in C order. Bytes in, bytes out; used by the commands and by tests.

use crate::annotation::ActivationMap;

/// An array of 32-bit floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// The numbers, the last axis running fastest.
    pub values: Vec<f32>,
}

/// Why bytes are not such an array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another kind of file, or one that was cut off.
    #[error("it is not a complete NumPy file; write it with numpy.save")]
    NotNpy,
    /// Numbers of another type or order.
    #[error(
        "its numbers are {0}, not 32-bit floats in C order; write it with numpy.save(file, numpy.ascontiguousarray(array, numpy.float32))"
    )]
    Kind(String),
}

const MAGIC: &[u8] = b"\x93NUMPY";

impl Array {
    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`Error`] when they are something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Error::NotNpy)?;
        let (&[major, _minor], rest) = rest.split_first_chunk().ok_or(Error::NotNpy)?;
        let (length, rest) = if major == 1 {
            let (length, rest) = rest.split_first_chunk().ok_or(Error::NotNpy)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        } else {
            let (length, rest) = rest.split_first_chunk().ok_or(Error::NotNpy)?;
            (usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Error::NotNpy)?, rest)
        };
        let (header, data) = rest.split_at_checked(length).ok_or(Error::NotNpy)?;
        let header = std::str::from_utf8(header).map_err(|_| Error::NotNpy)?;
        let field = |name: &str| header.split_once(name).map(|(_, rest)| rest.trim_start());
        let kind = field("'descr':").ok_or(Error::NotNpy)?;
        let kind = kind.split(['\'', '"']).nth(1).unwrap_or_default();
        let c_order = field("'fortran_order':").is_some_and(|v| v.starts_with("False"));
        if !matches!(kind, "<f4" | "=f4" | "|f4") || !c_order {
            let order = if c_order { "" } else { " in Fortran order" };
            return Err(Error::Kind(format!("{kind:?}{order}")));
        }
        let shape = field("'shape':").and_then(|v| v.strip_prefix('(')?.split_once(')'));
        let extents = shape.ok_or(Error::NotNpy)?.0.split(',').map(str::trim);
        let shape = extents
            .filter(|e| !e.is_empty())
            .map(str::parse)
            .collect::<Result<Vec<usize>, _>>()
            .map_err(|_| Error::NotNpy)?;
        let count = shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        let (numbers, tail) = data.as_chunks::<4>();
        if count != Some(numbers.len()) || !tail.is_empty() {
            return Err(Error::NotNpy);
        }
        Ok(Self { shape, values: numbers.iter().map(|b| f32::from_le_bytes(*b)).collect() })
    }

    /// Maps of one size: `[maps, rows, columns]`; none without a map.
    pub fn of_maps<'a>(maps: impl IntoIterator<Item = &'a ActivationMap>) -> Option<Self> {
        let maps: Vec<_> = maps.into_iter().collect();
        let first = maps.first()?;
        let shape = vec![maps.len(), first.rows, first.cols];
        Some(Self { shape, values: maps.iter().flat_map(|m| m.values.iter().copied()).collect() })
    }

    /// The bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let extents: String = self.shape.iter().map(|d| format!("{d}, ")).collect();
        let mut header = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}",
            extents.trim_end()
        );
        // The numbers start at a multiple of 64.
        let padded = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64);
        header.extend(std::iter::repeat_n(' ', padded - MAGIC.len() - 4 - header.len() - 1));
        header.push('\n');
        let mut out = Vec::with_capacity(padded + 4 * self.values.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[1, 0]);
        out.extend_from_slice(&u16::try_from(header.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(header.as_bytes());
        out.extend(self.values.iter().flat_map(|v| v.to_le_bytes()));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for shape in [vec![], vec![6], vec![2, 3], vec![1, 1, 2, 3]] {
            let count = shape.iter().product();
            let array = Array { shape, values: (0..count).map(|i| i as f32 - 1.5).collect() };
            let bytes = array.to_bytes();
            assert_eq!((bytes.len() - 4 * count) % 64, 0);
            assert_eq!(Array::parse(&bytes), Ok(array));
        }
    }

    #[test]
    fn other_files_are_refused() {
        let good = Array { shape: vec![2, 2], values: vec![1.0; 4] }.to_bytes();
        for end in 0..good.len() {
            assert_eq!(Array::parse(&good[..end]), Err(Error::NotNpy), "{end}");
        }
        let text = String::from_utf8_lossy(&good[10..128]).into_owned();
        let with = |from: &str, to: &str| {
            let mut bytes = good.clone();
            bytes.splice(10..128, text.replacen(from, to, 1).bytes());
            Array::parse(&bytes)
        };
        assert_eq!(with("<f4", "<f8"), Err(Error::Kind("\"<f8\"".into())));
        assert!(matches!(with("False", "True "), Err(Error::Kind(_))));
        assert_eq!(with("(2, 2,)", "(2, 9,)"), Err(Error::NotNpy));
        assert_eq!(with("(2, 2,)", "(-2,2,)"), Err(Error::NotNpy));
    }
}
