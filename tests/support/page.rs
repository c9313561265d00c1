//! A page of the reference.

use std::{fs, path::Path};

/// The first line of every page.
pub(crate) const MADE: &str =
    "<!-- Made from the code by tests/reference*.rs; UPDATE_REFERENCE=1 writes it anew. -->";

/// A text in a cell of a table: outside of code, placeholders are no tags; references of the code's documentation
/// are only words.
pub(crate) fn cell(text: &str) -> String {
    let mut text = text.replace('|', "\\|");
    while let Some(start) = text.find("[`")
        && let Some(length) = text[start + 2..].find("`]")
    {
        text.remove(start + 2 + length + 1);
        text.remove(start);
    }
    let parts = text.trim().split('`').enumerate();
    let parts: Vec<String> = parts
        .map(|(at, part)| if at % 2 == 0 { part.replace('<', "&lt;") } else { part.to_owned() })
        .collect();
    parts.join("`")
}

/// Compares a page with what stands in `docs/reference`, or writes it there.
#[track_caller]
pub(crate) fn is_up_to_date(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let differs = old.lines().zip(page.lines()).position(|(old, new)| old != new);
    let at = differs.unwrap_or_else(|| old.lines().count().min(page.lines().count()));
    assert!(
        old == page,
        "docs/reference/{name}:{} is not what the code says: see CONTRIBUTING.md on writing it anew\n\
         there:    {:?}\nexpected: {:?}",
        at + 1,
        old.lines().nth(at),
        page.lines().nth(at)
    );
}
