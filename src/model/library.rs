//! Finds ONNX Runtime's shared library and loads it once per process.
//!
//! The library is never looked up by the `ort` crate itself: its default way
//! panics when there is none.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Error;

/// Where the shared library may lie; [`Places::from_env`] for the usual ones.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Library files or folders named by hand, the first wins. One that does
    /// not exist is an error: nobody should silently get another library.
    pub named: Vec<PathBuf>,
    /// Folder of the running program.
    pub exe_dir: Option<PathBuf>,
    /// Working folder.
    pub cwd: Option<PathBuf>,
    /// Folders of the system.
    pub system: Vec<PathBuf>,
}

impl Places {
    /// `explicit`, then the environment variables `HEATCAST_ONNXRUNTIME` and
    /// `ORT_DYLIB_PATH`, then the folders of program, working folder, system.
    pub fn from_env(explicit: Option<&Path>) -> Self {
        let from_env = ["HEATCAST_ONNXRUNTIME", "ORT_DYLIB_PATH"]
            .into_iter()
            .filter_map(std::env::var_os)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from);
        let exe = std::env::current_exe().ok();
        Self {
            named: explicit.map(Path::to_path_buf).into_iter().chain(from_env).collect(),
            exe_dir: exe.and_then(|p| p.parent().map(Path::to_path_buf)),
            cwd: std::env::current_dir().ok(),
            system: [
                "/usr/local/lib",
                "/usr/lib",
                "/usr/lib64",
                "/usr/lib/x86_64-linux-gnu",
                "/usr/lib/aarch64-linux-gnu",
                "/opt/onnxruntime/lib",
            ]
            .map(PathBuf::from)
            .to_vec(),
        }
    }

    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        if let Some(exe) = &self.exe_dir {
            folders.extend([exe.clone(), exe.join("lib")]);
        }
        for start in [&self.exe_dir, &self.cwd].into_iter().flatten() {
            folders.extend(start.ancestors().map(|a| a.join(".heatcast/onnxruntime/lib")));
        }
        folders.extend(self.system.iter().cloned());
        let mut seen = std::collections::HashSet::new();
        folders.retain(|f| seen.insert(f.clone()));
        folders
    }
}

/// The path of `libonnxruntime.so*` at the first of `places` that has one.
///
/// # Errors
/// [`Error::Runtime`] when a library named by hand does not exist,
/// [`Error::NoRuntime`] when there is none anywhere.
pub fn find_library(places: &Places) -> Result<PathBuf, Error> {
    if let Some(named) = places.named.first() {
        let found = if named.is_dir() {
            library_in(named).or_else(|| library_in(&named.join("lib")))
        } else {
            named.is_file().then(|| named.clone())
        };
        let reason = if named.is_dir() {
            "the folder has no libonnxruntime.so"
        } else {
            "there is no such file"
        };
        return found
            .ok_or_else(|| Error::Runtime { path: named.clone(), reason: reason.to_owned() });
    }
    let folders = places.folders();
    folders.iter().find_map(|f| library_in(f)).ok_or(Error::NoRuntime { places: folders })
}

/// `libonnxruntime.so` or its newest version in `folder`.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join(format!("libonnxruntime.{}", std::env::consts::DLL_EXTENSION));
    if plain.is_file() {
        return Some(plain);
    }
    let version = |p: &PathBuf| -> Vec<u32> {
        version_of(p).unwrap_or_default().split('.').filter_map(|n| n.parse().ok()).collect()
    };
    std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| version_of(p).is_some() && p.is_file())
        .max_by_key(version)
}

/// "1.32.0" of `libonnxruntime.so.1.32.0`.
fn version_of(path: &Path) -> Option<String> {
    path.file_name()?.to_str()?.strip_prefix("libonnxruntime.so.").map(str::to_owned)
}

/// ONNX Runtime, loaded.
#[derive(Clone)]
pub(super) struct Runtime {
    /// The library that was loaded.
    pub(super) path: PathBuf,
    /// Its version as far as it is known: from the file's name, else from what
    /// the library says about how it was built.
    pub(super) version: String,
    /// What sessions are made from.
    pub(super) environment: ort::environment::Environment,
}

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// Loads the library on the first call; later calls get the same one, because
/// a process can hold only one.
pub(super) fn load(explicit: Option<&Path>) -> Result<Runtime, Error> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = loaded.as_ref() {
        if explicit.is_some_and(|p| std::fs::canonicalize(p).ok().as_ref() != Some(&runtime.path)) {
            tracing::warn!(
                loaded = %runtime.path.display(),
                "another ONNX Runtime was asked for, but a process can hold only one"
            );
        }
        return Ok(runtime.clone());
    }
    let found = find_library(&Places::from_env(explicit))?;
    // A relative path would be tried against the program's folder first.
    let path = std::fs::canonicalize(&found).unwrap_or(found);
    let failed = |reason: String| Error::Runtime { path: path.clone(), reason };
    let environment = ort::init_from(&path)
        .map_err(|e| failed(e.to_string()))?
        .with_name("heatcast")
        .with_telemetry(false)
        .build()
        .map_err(|e| failed(e.to_string()))?;
    let version = version_of(&path).unwrap_or_else(|| ort::info().to_owned());
    tracing::debug!(path = %path.display(), version, "ONNX Runtime loaded");
    Ok(loaded.insert(Runtime { path, version, environment }).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_the_first_folder_wins() {
        let dir = tempfile::tempdir().unwrap();
        let lib = dir.path().join(".heatcast/onnxruntime/lib");
        std::fs::create_dir_all(&lib).unwrap();
        for name in [
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.32.0",
            "libonnxruntime_providers_shared.so",
        ] {
            std::fs::write(lib.join(name), "").unwrap();
        }
        let places = Places { cwd: Some(dir.path().join("a/b")), ..Places::default() };
        assert_eq!(find_library(&places).unwrap(), lib.join("libonnxruntime.so.1.32.0"));
    }

    #[test]
    fn a_missing_library_says_what_to_do() {
        let text = find_library(&Places::default()).unwrap_err().to_string();
        assert!(text.contains("make setup") && text.contains("HEATCAST_ONNXRUNTIME"), "{text}");
        let named = Places { named: vec!["/no/such/lib.so".into()], ..Places::default() };
        let text = find_library(&named).unwrap_err().to_string();
        assert!(text.contains("/no/such/lib.so") && text.contains("no such file"), "{text}");
    }
}
