//! The model card of a taught model: what is known, and what its owner should
//! add.

use std::path::Path;

use super::teach::{Examples, Taught, Teach};
use crate::eval::Scores;
use crate::model::Model;

/// The card, in Markdown.
pub(super) fn card(job: &Teach, model: &Model, taught: &Taught) -> String {
    let from = match &job.examples {
        Examples::Pictures { dataset, .. } => name_of(dataset),
        Examples::Recording { input, .. } => name_of(input),
    };
    let classes: String =
        taught.classes.iter().map(|(label, n)| format!("| {label} | {n} |\n")).collect();
    let score = |s: &Scores| {
        let [low, high] = s.balanced_accuracy_95;
        format!("{:.3} (95 %: {low:.3} to {high:.3}; {} pictures)", s.balanced_accuracy, s.n)
    };
    let before = match &taught.before {
        Some(before) => {
            format!("\n- before, by the head of {}: {}", model.spec.name, score(before))
        }
        None => String::new(),
    };
    let notes: String = taught.notes.iter().map(|n| format!("- {n}\n")).collect();
    format!(
        "# Model card: {name}\n\n\
         Head `{head}`, learnt by `heatcast model learn` on top of the network of `{base}` {version},\n\
         whose weights are under: {licence}. The other heads are as they were.\n\n\
         ## Data\n\n\
         From `{from}`:\n\n| Class | Examples |\n|---|---|\n{classes}\n\
         (Say here whose pictures they are, and how they were labelled.)\n\n\
         ## How good it is\n\n\
         Balanced accuracy on a part of the sources that nothing was learnt from:\n{before}\n\
         - now: {after}\n\n\
         ## Training\n\n\
         A linear layer on the average of the feature map: logistic regression, classes\n\
         counting the same, L2 penalty {penalty} (chosen by cross-validation over sources),\n\
         pulled towards {mix} times the old weights; temperature {temperature:.3}, fitted on\n\
         answers about pictures not learnt from.\n\n\
         ## Limits\n\n\
         {notes}- It knows what its examples show, and nothing of other channels or seasons.\n\
         - It may have learnt a logo or a ticker: look at its heat before trusting it.\n",
        name = name_of(&job.output),
        head = job.head,
        base = model.spec.name,
        version = model.spec.version,
        licence = if model.spec.licence.is_empty() { "not stated" } else { &model.spec.licence },
        after = score(&taught.after),
        penalty = taught.penalty,
        mix = taught.mix,
        temperature = taught.temperature,
    )
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}
