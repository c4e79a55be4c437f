//! How names that people type are compared with those that there are. Used
//! wherever a class is meant by its label; must not know of what.

/// Likeness from which a name is worth suggesting, 0..1.
const ALIKE: f64 = 0.75;

/// A name as it is compared: without space around it, in lower case.
pub fn plain(name: &str) -> String {
    name.trim().to_lowercase()
}

/// What goes by the name that looks most like `asked`, if one looks like it at
/// all: each candidate is a [`plain`] name and what it stands for.
pub fn nearest<T>(
    candidates: impl IntoIterator<Item = (impl AsRef<str>, T)>,
    asked: &str,
) -> Option<T> {
    candidates
        .into_iter()
        .map(|(name, meant)| (strsim::jaro_winkler(name.as_ref(), asked), meant))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, meant)| meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_is_meant_and_nothing_for_a_stranger() {
        let pets = ["cat", "cats", "dog"].map(|name| (name, name.len()));
        assert_eq!(nearest(pets, "catss"), Some(4));
        assert_eq!(nearest(pets, &plain(" DOG ")), Some(3));
        assert_eq!(nearest(pets, "xylophone"), None);
    }
}
