//! `heatcast doctor`: what is installed, what is missing, how to get it.

use anyhow::anyhow;

use super::{Failure, result};
use crate::media;
use crate::model::{Classifier, Model, Options, Places};

/// Arguments of `heatcast doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// ONNX Runtime's shared library, instead of the one found
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<std::path::PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut troubles = 0;
    media::init().map_err(Failure::run)?;
    result(format_args!("{}", media::version()));
    let mut packages: Vec<&str> = Vec::new();
    for requirement in media::requirements().iter().filter(|r| !r.is_installed()) {
        let weight = if requirement.essential { "MISSING" } else { "missing" };
        troubles += usize::from(requirement.essential);
        result(format_args!(
            "  {weight} {}: {} (package {})",
            requirement.element, requirement.purpose, requirement.package
        ));
        if !packages.contains(&requirement.package) {
            packages.push(requirement.package);
        }
    }
    if packages.is_empty() {
        result(format_args!("  all {} elements are installed", media::requirements().len()));
    } else {
        result(format_args!("  run: sudo apt-get install {}", packages.join(" ")));
    }
    troubles += models(args);
    if troubles > 0 {
        let s = if troubles == 1 { "" } else { "s" };
        return Err(Failure::run(anyhow!("{troubles} problem{s}, see above")));
    }
    result(format_args!("everything needed is here"));
    Ok(())
}

/// Loads every model; returns how many troubles there are.
fn models(args: &Args) -> usize {
    let places = Places::from_env();
    let names = places.names();
    if names.is_empty() {
        result(format_args!(
            "no model found; run from the project's folder or set HEATCAST_MODELS"
        ));
        return 1;
    }
    let mut troubles = 0;
    let mut runtime_shown = false;
    for name in names {
        let options = Options { library: args.onnxruntime.clone(), ..Options::default() };
        let loaded = Model::find(&name, &places).and_then(|m| Classifier::load(&m, &options));
        match loaded {
            Ok(classifier) => {
                if !std::mem::replace(&mut runtime_shown, true) {
                    result(format_args!(
                        "ONNX Runtime {} ({}), provider {}",
                        classifier.runtime_version(),
                        classifier.runtime_path().display(),
                        classifier.provider()
                    ));
                }
                let heads: Vec<&str> = classifier.heads().iter().map(|h| &*h.name).collect();
                result(format_args!("model {name}: heads {}", heads.join(", ")));
            }
            Err(error) => {
                troubles += 1;
                result(format_args!("model {name}: {error}"));
            }
        }
    }
    troubles
}
