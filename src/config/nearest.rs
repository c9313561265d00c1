//! What somebody may have meant who misspelt a name.

/// The known name nearest to `word`: at most one edit in three letters away, and at least one is always allowed.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    let allowed = (word.chars().count() / 3).max(1);
    let distances = known.into_iter().map(|name| (strsim::osa_distance(&word, &plain(name)), name));
    distances
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `, did you mean "…"?` where there is something near.
pub(crate) fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(word, known).map_or(String::new(), |name| format!(", did you mean \"{name}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_lead_to_the_right_ones() {
        let known = ["retention", "store", "mirrors", "min_rows", "to"];
        for (word, name) in [
            ("retension", Some("retention")),
            ("sotre", Some("store")),
            ("Mirrors", Some("mirrors")),
            ("min-rows", Some("min_rows")),
            ("color", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), name, "{word}");
        }
    }
}
