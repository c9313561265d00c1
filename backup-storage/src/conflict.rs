//! Files that a sync client made of two versions of one.

use backup_core::{id::BackupId, verify::Finding};

/// What Dropbox (English) and Syncthing write into the names of such files, in lower case. Sources: Dropbox Help on
/// conflicted copies, case, white space, selective sync and Unicode encoding conflicts; the Syncthing documentation,
/// "Understanding Synchronization".
const MARKS: [&str; 7] = [
    "conflicted copy",
    "case conflict",
    "selective sync conflict",
    "white space conflict",
    "whitespace conflict",
    "unicode encoding conflict",
    SYNCTHING,
];

/// The one mark without a space.
const SYNCTHING: &str = ".sync-conflict-";

/// Whether a sync client gave a file or folder this name. Other languages than English are known by what stands
/// before: the id of a backup, then what no name of ours has, a space and a parenthesis.
pub(crate) fn is_conflict(name: &str) -> bool {
    // Nearly all names are ours, and there are many.
    if !name.contains(' ') && !name.contains(SYNCTHING) {
        return false;
    }
    let lower = name.to_lowercase();
    MARKS.iter().any(|mark| lower.contains(mark))
        || name.split_once(" (").is_some_and(|(head, _)| is_ours(head))
}

fn is_ours(head: &str) -> bool {
    let stems = head.match_indices('.').map(|(at, _)| head.get(..at).unwrap_or_default());
    stems.chain([head]).any(|stem| stem.parse::<BackupId>().is_ok())
}

/// What is told of such a file or folder.
pub(crate) fn finding(folder: &str, name: &str) -> Finding {
    let object = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let what = "a sync client made it of two versions; compare it with its original, then remove it";
    Finding::stored("conflict", object, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn conflicts_are_known_by_their_names() {
        for name in [
            "shop-full-20260122T151800Z (Ann's conflicted copy 2026-01-22).json",
            "shop-full-20260122T151800Z.db (conflicted copy 2026-01-22 151900).zst",
            "Shop (Case Conflict)",
            "shop-schema (Selective Sync Conflict).sql",
            "full (White Space Conflict)",
            "shop-full-20260122T151800Z.sync-conflict-20260122-151900-ABCDEFG.json",
            "shop-full-20260122T151800Z (In Konflikt stehende Kopie von Ann 2026-01-22).json",
        ] {
            assert!(is_conflict(name), "{name}");
        }
        for name in ["shop-full-20260122T151800Z.json", "notes (old).txt", "shop", "latest.db.zst"] {
            assert!(!is_conflict(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_of_ours_is_a_conflict(name in "[A-Za-z0-9_][A-Za-z0-9_-]{0,30}", seconds in 0i64..4_000_000_000) {
            let source = backup_core::id::SourceName::new(name).unwrap();
            let instant = jiff::Timestamp::from_second(seconds).unwrap();
            let id = BackupId::new(&source, backup_core::content::Content::Full, instant, 1);
            let (payload, manifest) = (format!("{id}.db.zst"), format!("{id}.json"));
            prop_assert!(!is_conflict(&payload) && !is_conflict(&manifest));
        }
    }
}
