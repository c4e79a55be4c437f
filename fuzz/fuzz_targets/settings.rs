//! Any text as a settings file, as a `--set`, as a profile of the segmenter, and as
//! a model's description.
#![no_main]

use std::path::Path;

use heatcast::config::Config;
use heatcast::model::ModelSpec;
use heatcast::timeline::segmenter::Profile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Config::load(Some(text), &[]);
    let _ = Config::load(None, &[text.to_owned()]);
    let _ = Profile::parse(text);
    // A file of labels beside it cannot be there.
    let _ = ModelSpec::parse(text, Path::new("nowhere/model.toml"));
});
