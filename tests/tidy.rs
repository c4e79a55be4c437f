//! The house rules that a machine can check: who may know what, that files
//! explain themselves, that links and documented flags are true.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` with this extension, relative to the project.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The part of a source file that is not inline tests and not comments.
fn code(path: &Path) -> String {
    let text = read(path);
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Source files that are compiled only for tests.
const TEST_ONLY: [&str; 3] =
    ["src/model/golden.rs", "src/model/nets.rs", "src/model/properties.rs"];

fn sources() -> Vec<PathBuf> {
    let test_only = |path: &PathBuf| {
        path.ends_with("tests.rs")
            || path.iter().any(|part| part == "tests")
            || TEST_ONLY.iter().any(|t| path == Path::new(t))
    };
    files("src", "rs").into_iter().filter(|p| !test_only(p)).collect()
}

#[test]
fn each_native_library_is_known_to_one_module() {
    // Not the bare names: records say which versions were in use.
    for (words, home) in [
        (&["gstreamer::", "gstreamer_", "use gstreamer", "gst::", "glib::"][..], "src/media"),
        (&["ort::", "use ort", "prost"][..], "src/model"),
        (&["axum", "hyper", "tokio", "prometheus_client"][..], "src/web"),
    ] {
        for path in sources().iter().filter(|p| !p.starts_with(home)) {
            let code = code(path);
            for word in words {
                // `sort::` is not `ort::`.
                let known = code.match_indices(word).any(|(at, _)| {
                    !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                });
                assert!(!known, "{} knows {word}", path.display());
            }
        }
    }
}

#[test]
fn pure_modules_know_no_files_threads_clocks_or_native_parts() {
    let pure = [
        "annotation.rs",
        "clock.rs",
        "config",
        "eval",
        "explain",
        "finish",
        "frame.rs",
        "learn",
        "mpegts",
        "names.rs",
        "npy.rs",
        "overlay",
        "preprocess.rs",
        "sampling.rs",
        "shot.rs",
        "still.rs",
        "sync",
        "sync.rs",
        "timeline",
    ];
    let banned = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "Instant",
        "SystemTime",
        "crate::media",
        "crate::model",
        "crate::pipeline",
        "crate::cmd",
        "crate::web",
    ];
    for path in sources() {
        if pure.iter().any(|p| path.starts_with(Path::new("src").join(p))) {
            for word in banned {
                assert!(!code(&path).contains(word), "{} knows {word}", path.display());
            }
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    for (module, banned) in [
        ("src/media", &["crate::model", "crate::pipeline", "crate::cmd", "crate::overlay"][..]),
        ("src/model", &["crate::media", "crate::pipeline", "crate::cmd", "crate::overlay"][..]),
        ("src/web", &["crate::media", "crate::model", "crate::pipeline", "crate::cmd"][..]),
        ("src/pipeline", &["crate::cmd"][..]),
    ] {
        for path in sources().iter().filter(|p| p.starts_with(module)) {
            for word in banned {
                assert!(!code(path).contains(word), "{} knows {word}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_readable() {
    for path in
        files("src", "rs").iter().chain(&files("tests", "rs")).chain(&files("benches", "rs"))
    {
        let text = read(path);
        assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
        if path != Path::new("src/model/onnx.rs") {
            let lines = text.lines().count();
            assert!(lines <= 600, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn nothing_outside_tests_can_panic_on_purpose() {
    for path in sources().iter().filter(|p| *p != Path::new("src/model/onnx.rs")) {
        for word in
            [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!("]
        {
            assert!(!code(path).contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn links_between_documents_resolve() {
    for path in files("", "md") {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap().trim();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let resolved = root().join(path.parent().unwrap()).join(target);
            assert!(resolved.exists(), "{}: no {target}", path.display());
        }
    }
}

#[test]
fn every_model_has_a_card() {
    for path in files("models", "toml") {
        if path.file_name().is_some_and(|n| n == "model.toml") {
            let card = path.with_file_name("README.md");
            assert!(root().join(&card).exists(), "no {}", card.display());
        }
    }
}

#[test]
fn every_documented_flag_exists_and_every_flag_is_documented() {
    let documented = read(Path::new("docs/reference/cli.md"));
    let flag = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect()
    };
    let help = |verb: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_heatcast"))
            .args(verb)
            .arg("--help")
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let verbs: [&[&str]; 12] = [
        &[],
        &["annotate"],
        &["doctor"],
        &["eval"],
        &["explain"],
        &["model"],
        &["model", "check"],
        &["model", "inspect"],
        &["model", "learn"],
        &["scan"],
        &["score"],
        &["serve"],
    ];
    let known = verbs.map(help).concat();
    for name in documented.split("`--").skip(1).map(flag) {
        assert!(known.contains(&format!("--{name}")), "documented but unknown: --{name}");
    }
    for name in known.split(" --").skip(1).map(flag).filter(|n| !n.is_empty()) {
        let meant = name == "help" || documented.contains(&format!("`--{name}"));
        assert!(meant, "not documented: --{name}");
    }
}

#[test]
fn the_oldest_rust_is_the_same_wherever_it_is_named() {
    let manifest = read(Path::new("Cargo.toml"));
    let oldest = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let oldest = oldest.trim_matches('"');
    for (file, words) in [
        ("README.md", format!("(https://rustup.rs) {oldest} or newer")),
        ("scripts/setup.sh", format!("RUST_MINIMUM={oldest}\n")),
        ("Dockerfile", format!("FROM rust:{oldest}-")),
    ] {
        assert!(read(Path::new(file)).contains(&words), "{file} lacks {words:?}");
    }
}

#[test]
fn set_up_and_image_install_every_package_that_doctor_may_name() {
    let table = read(Path::new("src/media/elements.rs"));
    let is_package = |word: &&str| word.starts_with("gstreamer1.0-") && !word.ends_with('*');
    let packages: Vec<_> = table.split('"').filter(is_package).collect();
    assert!(packages.len() > 3, "{packages:?}");
    for file in ["scripts/setup.sh", "Dockerfile"] {
        let text = read(Path::new(file));
        let words: Vec<_> = text.split_whitespace().collect();
        for package in &packages {
            assert!(words.contains(package), "{file} does not install {package}");
        }
    }
}

/// Whether the image is built without this file of the project.
fn image_lacks(path: &Path) -> bool {
    let ignored = read(Path::new(".dockerignore"));
    let rules = ignored.lines().filter(|rule| !rule.is_empty() && !rule.starts_with('#'));
    // The last rule that speaks of a file holds.
    rules.fold(false, |is_left_out, rule| {
        match (rule.strip_prefix('!'), rule.strip_prefix("**/")) {
            (Some(kept), _) => is_left_out && !path.starts_with(kept),
            (None, Some(anywhere)) => {
                let part = anywhere.trim_start_matches('*');
                is_left_out || path.iter().any(|name| name.to_string_lossy().ends_with(part))
            }
            (None, None) => is_left_out || path.starts_with(rule),
        }
    })
}

#[test]
fn the_image_is_built_with_every_file_that_it_is_made_of() {
    let dockerfile = read(Path::new("Dockerfile"));
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let own = copies.filter(|line| !line.starts_with("--from="));
    let mut needed: Vec<PathBuf> = own
        .flat_map(|line| line.split_whitespace().rev().skip(1))
        .map(PathBuf::from)
        .filter(|path| path != Path::new("."))
        .collect();
    assert!(needed.len() > 5, "{needed:?}");
    for source in sources() {
        let code = code(&source);
        for macro_name in ["include_str!(\"", "include_bytes!(\""] {
            for file in code.split(macro_name).skip(1).filter_map(|rest| rest.split('"').next()) {
                let mut path = source.parent().unwrap().to_owned();
                for part in Path::new(file).iter() {
                    if part == ".." {
                        path.pop();
                    } else {
                        path.push(part);
                    }
                }
                needed.push(path);
            }
        }
    }
    needed.extend(["Cargo.toml", "Cargo.lock"].map(PathBuf::from));
    for path in needed {
        assert!(root().join(&path).exists(), "there is no {}", path.display());
        assert!(!image_lacks(&path), ".dockerignore leaves out {}", path.display());
    }
}

#[test]
fn the_containers_are_started_with_flags_and_ports_that_there_are() {
    let compose = read(Path::new("docker-compose.yml"));
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_heatcast"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags = compose.lines().filter_map(|line| line.trim().strip_prefix("- --"));
    let flags: Vec<_> = flags.map(|flag| flag.split_once('=').unwrap_or((flag, ""))).collect();
    for (flag, _) in &flags {
        let is_known = help.split_whitespace().any(|word| word == format!("--{flag}"));
        assert!(is_known, "docker-compose.yml: serve has no --{flag}");
    }
    // What the annotator listens on is what is published, scraped and asked.
    for (flag, port) in [("rtsp", "8554"), ("web", "8080")] {
        let mut addresses = flags.iter().filter(|(name, _)| *name == flag).map(|(_, at)| *at);
        assert!(addresses.all(|at| at.ends_with(&format!(":{port}"))), "--{flag}");
        assert!(compose.contains(&format!("\"127.0.0.1:{port}:{port}\"")), "port {port}");
    }
    for (file, words) in [
        ("packaging/prometheus.yml", "targets: [\"heatcast:8080\"]"),
        ("packaging/healthcheck", "HEATCAST_WEB_PORT:-8080"),
        ("docker-compose.yml", "@camera:8554/camera"),
    ] {
        assert!(read(Path::new(file)).contains(words), "{file} lacks {words:?}");
    }
}

/// Text files that are part of the project; none without git or its folder.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn tracked_texts() -> Vec<(PathBuf, String)> {
    let listed = std::process::Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files", "-z", "--cached"])
        .output();
    let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else {
        eprintln!("skipped: git does not list the files of this folder");
        return Vec::new();
    };
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let texts = names.split('\0').filter(|name| !name.is_empty()).filter_map(|name| {
        // Binary files are not UTF-8; deleted ones may still be listed.
        Some((PathBuf::from(name), fs::read_to_string(root().join(name)).ok()?))
    });
    texts.collect()
}

#[test]
fn no_file_speaks_of_the_machine_it_was_written_on() {
    // Written so that this file does not name them either.
    let words = ["root", "home", "work"].map(|folder| format!("/{folder}/"));
    for (path, text) in tracked_texts() {
        for word in &words {
            if let Some(n) = text.lines().position(|line| line.contains(word.as_str())) {
                panic!("{}:{} names {word}", path.display(), n + 1);
            }
        }
    }
}

#[test]
fn no_file_names_the_host_of_a_registry() {
    let words =
        [["pypi", "org"], ["crates", "io"], ["npmjs", "com"], ["npmjs", "org"], ["debian", "org"]]
            .map(|host| host.join("."));
    // A licence is quoted as it is.
    let is_licence = |path: &Path| path.to_string_lossy().contains("LICENSE");
    for (path, text) in tracked_texts().iter().filter(|(path, _)| !is_licence(path)) {
        for (n, line) in text.lines().enumerate() {
            // How cargo writes down its standard registry.
            let standard = path == Path::new("Cargo.lock") && line.starts_with("source = ");
            let named = words.iter().find(|word| line.contains(word.as_str()));
            assert!(standard || named.is_none(), "{}:{} names {named:?}", path.display(), n + 1);
        }
    }
}
