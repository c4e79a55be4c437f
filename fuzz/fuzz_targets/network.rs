//! Any bytes as an ONNX file: an error or a classifier, never a panic, a hang or
//! memory without bound. See `fuzz/README.md`.
#![no_main]

use heatcast::explain::Methods;
use heatcast::model::{Classifier, Explain, Heads, Model, Options, Wanted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for the network");
    let path = folder.path().join("network.onnx");
    std::fs::write(&path, bytes).expect("a file for the network");
    let Ok(mut model) = Model::open(&path, None) else { return };
    // Small pictures where the network leaves the size open.
    model.spec.input.width = model.spec.input.width.min(64);
    model.spec.input.height = model.spec.input.height.min(64);
    let explain =
        Explain { heads: Heads::All, methods: Methods::All, ..Explain::default() };
    let options = Options { explain, ..Options::default() };
    if let Ok(mut classifier) = Classifier::load(&model, &options) {
        let picture = vec![0.5; classifier.input_len()];
        let _ = classifier.run(&picture, &[Wanted { head: 0, class: 0 }]);
    }
});
