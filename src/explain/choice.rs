//! Which class is explained, from the words a person used for it. Called when
//! settings are read; must not know where they come from.

use crate::names::{nearest, plain};

/// The class to explain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClassChoice {
    /// Whichever class is shown at the moment.
    #[default]
    Top,
    /// Always this one, by its place among the labels.
    Index(usize),
}

/// Nothing among the labels goes by that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no class `{asked}` among {count}{}: give a label, an index from 0, or `top`",
    .nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
)]
pub struct UnknownClass {
    /// What was asked for.
    pub asked: String,
    /// How many classes there are.
    pub count: usize,
    /// The label that looks most like it, if one does.
    pub nearest: Option<String>,
}

/// No class has that index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no class {index}; the classes are 0 to {}", .count.saturating_sub(1))]
pub struct NoSuchIndex {
    /// What was asked for.
    pub index: usize,
    /// How many classes there are.
    pub count: usize,
}

/// The class number `index` of `count`.
///
/// # Errors
///
/// [`NoSuchIndex`] when there are not so many.
pub fn choose_index(index: usize, count: usize) -> Result<ClassChoice, NoSuchIndex> {
    if index < count { Ok(ClassChoice::Index(index)) } else { Err(NoSuchIndex { index, count }) }
}

/// Finds the class that `text` means: `top`, a label in any case, one of a
/// label's comma-separated names (as ImageNet has them), or an index from zero.
///
/// Labels go before indices, so that a label `7` can be asked for; a name that
/// several labels share means the first.
///
/// # Errors
///
/// [`UnknownClass`] when there is no such class.
pub fn choose<L: AsRef<str>>(labels: &[L], text: &str) -> Result<ClassChoice, UnknownClass> {
    let asked = plain(text);
    if asked == "top" {
        return Ok(ClassChoice::Top);
    }
    let labels: Vec<_> = labels.iter().map(|l| l.as_ref().to_lowercase()).collect();
    let whole = || labels.iter().position(|l| l.trim() == asked);
    let part = || labels.iter().position(|l| names(l).any(|n| n == asked));
    let index = || asked.parse().ok().filter(|i| *i < labels.len());
    if !asked.is_empty()
        && let Some(index) = whole().or_else(part).or_else(index)
    {
        return Ok(ClassChoice::Index(index));
    }
    let known = labels.iter().flat_map(|l| names(l).chain([l.as_str()]));
    let nearest = nearest(known.map(|name| (name, name)), &asked).map(str::to_owned);
    Err(UnknownClass { asked: text.trim().to_owned(), count: labels.len(), nearest })
}

/// Finds the classes that `text` means: one as [`choose`] has it, or else
/// several separated by commas, each once.
///
/// # Errors
///
/// [`UnknownClass`] for the first that there is not.
pub fn choose_several<L: AsRef<str>>(
    labels: &[L],
    text: &str,
) -> Result<Vec<ClassChoice>, UnknownClass> {
    let whole = choose(labels, text);
    let parts: Vec<&str> = text.split(',').filter(|part| !part.trim().is_empty()).collect();
    if whole.is_ok() || parts.len() < 2 {
        return whole.map(|class| vec![class]);
    }
    let mut found = Vec::new();
    for part in parts {
        let class = choose(labels, part)?;
        if !found.contains(&class) {
            found.push(class);
        }
    }
    Ok(found)
}

fn names(label: &str) -> impl Iterator<Item = &str> {
    label.split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [&str; 4] = ["tench, Tinca tinca", "goldfish", "Tiger Cat", "1"];

    #[test]
    fn a_class_goes_by_its_label_its_names_or_its_index() {
        for (text, wanted) in [
            ("top", ClassChoice::Top),
            (" TOP ", ClassChoice::Top),
            ("tiger cat", ClassChoice::Index(2)),
            ("tinca TINCA", ClassChoice::Index(0)),
            ("tench, tinca tinca", ClassChoice::Index(0)),
            ("0", ClassChoice::Index(0)),
            ("1", ClassChoice::Index(3)),
        ] {
            assert_eq!(choose(&LABELS, text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn several_classes_are_separated_by_commas_that_labels_may_have_too() {
        use ClassChoice::{Index, Top};
        for (text, wanted) in [
            ("goldfish, tiger cat", vec![Index(1), Index(2)]),
            ("top,0,tench", vec![Top, Index(0)]),
            ("tench, tinca tinca", vec![Index(0)]),
            ("tench, Tinca tinca, goldfish,", vec![Index(0), Index(1)]),
        ] {
            assert_eq!(choose_several(&LABELS, text), Ok(wanted), "{text}");
        }
        let error = choose_several(&LABELS, "tench,goldfsh").unwrap_err();
        assert_eq!((error.asked.as_str(), error.nearest.as_deref()), ("goldfsh", Some("goldfish")));
        assert_eq!(choose_several(&LABELS, ",").unwrap_err().asked, ",");
    }

    #[test]
    fn a_slip_of_the_pen_gets_a_suggestion() {
        let error = choose(&LABELS, "Goldfsh").unwrap_err();
        assert_eq!(error.nearest.as_deref(), Some("goldfish"));
        assert_eq!(
            error.to_string(),
            "no class `Goldfsh` among 4 (did you mean `goldfish`?): give a label, an index from 0, or `top`"
        );
        for text in ["4", "-1", "", "xylophone"] {
            assert_eq!(choose(&LABELS, text).unwrap_err().nearest, None, "{text}");
        }
    }
}
