//! Reads the file of a network, once it is known that there is room for it. Used
//! wherever a network is opened.

use std::path::Path;

use super::Error;

/// Bytes that a protobuf message, and so an ONNX file, stays below.
const LARGEST_NETWORK: u64 = 1 << 31;
/// Copies of the network that exist while it is loaded: the file, the extended
/// network, and ONNX Runtime's.
const COPIES: u64 = 3;

/// The bytes of a network, once it is known that there is room for it.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let meta = std::fs::metadata(path)
        .map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    if !meta.is_file() {
        // A device or a pipe may never end.
        let source = std::io::Error::other("it is not a file");
        return Err(Error::Read { path: path.to_path_buf(), source });
    }
    if let Some(reason) = too_large(meta.len(), available_memory()) {
        return Err(Error::TooLarge { path: path.to_path_buf(), reason });
    }
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })
}

/// Why a network of so many bytes cannot be loaded, if it cannot.
fn too_large(bytes: u64, available: Option<u64>) -> Option<String> {
    if bytes >= LARGEST_NETWORK {
        let is = gigabytes(bytes);
        return Some(format!(
            "it has {is}, and an ONNX file has less than 2 GB; export it with its weights in a file of their own"
        ));
    }
    let available = available.filter(|&a| bytes.saturating_mul(COPIES) > a)?;
    let (is, free) = (gigabytes(bytes), gigabytes(available));
    Some(format!(
        "loading its {is} takes about {COPIES} times that, and {free} of memory are free; end other programs or use a smaller model"
    ))
}

/// Refuses weights in the files `names` beside the network `path` that memory
/// has no room for. Files that are not there are for ONNX Runtime to miss.
pub(super) fn check_room_beside(
    path: &Path,
    names: impl IntoIterator<Item = String>,
) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let sizes = names.into_iter().filter_map(|n| std::fs::metadata(folder.join(n)).ok());
    let bytes = sizes.fold(0u64, |sum, meta| sum.saturating_add(meta.len()));
    match available_memory() {
        Some(free) if bytes > free => Err(Error::TooLarge {
            path: path.to_path_buf(),
            reason: format!(
                "the weights beside it have {}, and {} of memory are free; end other programs or use a smaller model",
                gigabytes(bytes),
                gigabytes(free)
            ),
        }),
        _ => Ok(()),
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// Memory that can be had without swapping, in bytes, where the system says.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_without_room_is_refused_before_it_is_read() {
        assert_eq!(too_large(100, None), None);
        assert_eq!(too_large(1_000_000_000, Some(4_000_000_000)), None);
        let said = too_large(1_000_000_000, Some(2_000_000_000)).unwrap();
        assert!(said.contains("1.0 GB") && said.contains("2.0 GB of memory"), "{said}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.onnx");
        // A file with a hole: it has a size but takes no room.
        std::fs::File::create(&path).unwrap().set_len(3 << 30).unwrap();
        let said = read_file(&path).unwrap_err().to_string();
        assert!(said.contains("3.2 GB") && said.contains("less than 2 GB"), "{said}");
        assert!(available_memory().is_none_or(|bytes| bytes > 1 << 20));
    }
}
