//! What `--faithfulness` asks for and prints, in `explain` and `eval` alike.

use std::path::PathBuf;

use super::result;
use crate::eval::faithfulness::{Estimate, Faithfulness};

/// Whether the maps are measured.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Faithful {
    /// Also measure how faithful the maps are to the classifier, against a map of chance
    #[arg(long)]
    pub(super) faithfulness: bool,
    /// Where objects are: a CSV table with path, label, x, y, w and h in pixels
    #[arg(long, value_name = "CSV", requires = "faithfulness")]
    pub(super) boxes: Option<PathBuf>,
}

/// Prints the figures as a table.
pub(super) fn print(found: &Faithfulness) {
    let pictures = if found.n == 1 { "picture" } else { "pictures" };
    result(format_args!(
        "\nfaithfulness: {} {pictures} in {} groups, {} with boxes; in brackets 95 % intervals",
        found.n, found.groups, found.with_boxes
    ));
    let Some(first) = found.methods.first() else { return };
    let width = found.methods.iter().map(|m| m.method.chars().count()).max().unwrap_or(0);
    let line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: String = cells.map(|cell| format!("  {cell:<22}")).collect();
        result(format_args!("{name:width$}{}", cells.trim_end()));
    };
    line("map", &mut first.figures.named().map(|(name, _)| name.to_owned()));
    for method in &found.methods {
        line(&method.method, &mut method.figures.named().map(|(_, e)| cell(e)));
    }
    result(format_args!("lead over the map of chance, picture by picture (above 0 is better):"));
    for method in &found.methods {
        if let Some(lead) = &method.lead {
            line(&method.method, &mut lead.named().map(|(_, e)| cell(e)));
        }
    }
}

fn cell(estimate: &Estimate) -> String {
    let Estimate { mean, ci95: [low, high] } = estimate;
    format!("{mean:.3} ({low:.3}, {high:.3})")
}
