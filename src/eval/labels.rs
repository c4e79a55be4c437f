//! Which class of a head the name of a folder means.

use crate::names::{nearest, plain};

/// Why a name is no class of a head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There is none of that name.
    #[error(
        "head {head:?} has no class {label:?}{}; rename it, or choose another head or model",
        hint(nearest.as_deref(), classes)
    )]
    Unknown {
        /// The name.
        label: String,
        /// The head.
        head: String,
        /// The class that looks most like it, if one does.
        nearest: Option<String>,
        /// All classes, when they are few.
        classes: Vec<String>,
    },
    /// There are several.
    #[error(
        "head {head:?} has more than one class {label:?}; give each its own name in the model's labels"
    )]
    Shared {
        /// The name.
        label: String,
        /// The head.
        head: String,
    },
}

fn hint(nearest: Option<&str>, classes: &[String]) -> String {
    match (nearest, classes) {
        (Some(name), _) => format!(" (did you mean {name:?}?)"),
        (None, []) => String::new(),
        (None, classes) => format!(" (its classes are {})", classes.join(", ")),
    }
}

/// What pictures that are not of a head's only class may be called.
const OTHERS: [&str; 2] = ["other", "background"];

/// The class of `head` called `label`, in any case where that is not
/// ambiguous. A head of one class has a second one for everything else:
/// `other`, `background`, or the class with `not` or `non` before it.
///
/// # Errors
/// [`LabelError`] names the nearest class.
pub fn class_of<L: AsRef<str>>(labels: &[L], label: &str, head: &str) -> Result<usize, LabelError> {
    let label = label.trim();
    let all = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..labels.len()).filter(|&i| same(labels[i].as_ref())).collect()
    };
    let exact = all(&|l| l == label);
    let found = if exact.is_empty() { all(&|l| plain(l) == plain(label)) } else { exact };
    match found[..] {
        [class] => return Ok(class),
        [] => {}
        _ => return Err(LabelError::Shared { label: label.to_owned(), head: head.to_owned() }),
    }
    if let [only] = labels {
        let (only, asked) = (plain(only.as_ref()), plain(label));
        let negated = ["not", "non", "no"]
            .iter()
            .filter_map(|not| asked.strip_prefix(not))
            .any(|rest| rest.trim_start_matches([' ', '_', '-']) == only);
        if negated || OTHERS.contains(&asked.as_str()) {
            return Ok(1);
        }
    }
    let known = labels.iter().map(|l| (plain(l.as_ref()), l.as_ref()));
    let nearest = nearest(known, &plain(label)).map(str::to_owned);
    let few = labels.len() <= 8;
    let classes = labels.iter().filter(|_| few).map(|l| l.as_ref().to_owned()).collect();
    Err(LabelError::Unknown { label: label.to_owned(), head: head.to_owned(), nearest, classes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_class_or_the_nearest_is_named() {
        let labels = ["Show", "show", "commercial", "crane", "crane"];
        assert_eq!(class_of(&labels, "show", "h"), Ok(1));
        assert_eq!(class_of(&labels, " Commercial", "h"), Ok(2));
        for (label, says) in [
            ("SHOW", "more than one class"),
            ("crane", "more than one class"),
            ("comercial", "did you mean \"commercial\"?"),
            ("xyz", "its classes are Show, show, commercial"),
        ] {
            let said = class_of(&labels, label, "h").unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn a_head_of_one_class_has_everything_else_as_its_second() {
        for (label, class) in [("action", 0), ("non_action", 1), ("Not action", 1), ("other", 1)] {
            assert_eq!(class_of(&["action"], label, "h"), Ok(class), "{label}");
        }
        assert!(class_of(&["action"], "reaction", "h").is_err());
    }
}
