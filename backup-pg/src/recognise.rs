//! What pg_dump made, told by its first bytes.

use std::collections::BTreeMap;

use backup_core::{artifact::Recognised, capture::DumpFormat};
use serde_json::json;

use crate::{ENGINE, archive::MAGIC};

/// Where a tar says that it is one (POSIX.1-1988).
const TAR_MAGIC: std::ops::Range<usize> = 257..262;

/// A dump of pg_dump's, by up to 8 KiB of its beginning; `None` when it is something else.
pub fn recognise(head: &[u8]) -> Option<Recognised> {
    let (format, extension) = if head.starts_with(MAGIC) {
        (DumpFormat::Custom, ".dump")
    } else if head.starts_with(b"toc.dat\0") && head.get(TAR_MAGIC) == Some(b"ustar") {
        (DumpFormat::Directory, ".tar")
    } else if is_plain(head) {
        (DumpFormat::Plain, ".sql")
    } else {
        return None;
    };
    let facts = BTreeMap::from([("format".to_owned(), json!(format.name()))]);
    Some(Recognised { engine: ENGINE, extension, facts })
}

/// The comment that plain dumps begin with; pg_dump --verbose and psql's `\restrict` may stand before or after it.
fn is_plain(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.lines().take(20).any(|line| line.starts_with("-- PostgreSQL database") && line.contains("dump"))
}
