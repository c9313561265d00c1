//! Names of what a restore makes on a server, and text as SQL and shells read it.

use backup_core::id::compact_instant;
use jiff::Timestamp;

/// The longest name PostgreSQL keeps, in bytes (`NAMEDATALEN - 1`).
const MAX_NAME: usize = 63;

/// What a database is called while it is loaded.
pub(super) const RESTORING: &str = "restoring";

/// What a database is called that another has taken the place of.
pub(super) const BEFORE: &str = "before";

/// `<base>__<kind>_<instant>`, with a number from the second on; the base gives way where the name would be too long.
pub(super) fn derived(base: &str, kind: &str, instant: Timestamp, number: u32) -> String {
    let mut suffix = format!("__{kind}_{}", compact_instant(instant));
    if number > 1 {
        suffix.push_str(&format!("_{number}"));
    }
    let room = MAX_NAME.saturating_sub(suffix.len());
    format!("{}{suffix}", cut(base, room))
}

/// `<base>__drill_<instant>_<process>`.
pub(super) fn drill(base: &str, instant: Timestamp, process: u32) -> String {
    let instant = compact_instant(instant);
    let suffix = format!("__drill_{}_{process}", instant.trim_end_matches('Z'));
    format!("{}{suffix}", cut(base, MAX_NAME.saturating_sub(suffix.len())))
}

/// Whether [`derived`] made this name of a database being restored.
pub(super) fn is_restoring(name: &str) -> bool {
    let marker = format!("__{RESTORING}_");
    let Some((_, tail)) = name.rsplit_once(marker.as_str()) else { return false };
    let (instant, number) = tail.split_once('_').unwrap_or((tail, "2"));
    let shape: String = instant.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "00000000T000000Z" && number.parse::<u32>().is_ok()
}

fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// A string constant; sessions have `standard_conforming_strings` on.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Text as one word of a POSIX shell, for a line that people paste.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%=:,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn derived_names_fit_and_are_known_again(base in "\\PC{0,80}", number in 1u32..2000) {
            let instant = Timestamp::from_second(1_700_000_000).unwrap();
            let name = derived(&base, RESTORING, instant, number);
            prop_assert!(name.len() <= MAX_NAME);
            prop_assert!(is_restoring(&name));
            prop_assert!(!is_restoring(&derived(&base, BEFORE, instant, number)));
            prop_assert!(drill(&base, instant, number).len() <= MAX_NAME);
        }

        #[test]
        fn a_shell_reads_a_word_back(text in "[^\\x00]{0,40}") {
            let script = format!("printf %s {}", shell_word(&text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }

    #[test]
    fn other_databases_are_not_taken_for_half_restored_ones() {
        for name in [
            "shop",
            "shop__restoring_",
            "shop__restoring_soon",
            "a__restoring_20261121T083000Z_x",
            "__restoring_2026",
        ] {
            assert!(!is_restoring(name), "{name}");
        }
    }
}
