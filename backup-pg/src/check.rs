//! Whether a stored dump is whole and holds what its manifest says, read as it is decoded.

use backup_core::{
    Result,
    context::Context,
    event::{Event, Step},
    verify::{Finding, Subject, Verifier},
};

use crate::contents::{Contents, ContentsReader, format_in};

/// The end of the dump, and each table's rows and digest.
#[derive(Debug)]
pub(crate) struct WholeDump;

impl Verifier for WholeDump {
    fn name(&self) -> &str {
        "dump"
    }

    fn verify(&self, subject: &Subject<'_>, cx: &Context) -> Result<Vec<Finding>> {
        let manifest = subject.artifact().manifest();
        let damaged = |what: String| Finding::content("dump", subject.artifact().location(), what);
        match read(subject, cx) {
            Ok(Some(contents)) => Ok(contents
                .differences(&manifest.tables)
                .into_iter()
                .map(|(table, what)| Finding::content("rows", table, what))
                .collect()),
            // What the stored bytes show is told by whoever asked.
            Ok(None) => Ok(Vec::new()),
            Err(error) if error.is_corruption() => Ok(vec![damaged(error.to_string())]),
            Err(error) => Err(error),
        }
    }
}

/// What a dump holds; `None` when its stored bytes are not those of its manifest.
///
/// # Errors
/// `Corrupt` when the bytes are as they were stored and no whole dump.
pub(crate) fn read(subject: &Subject<'_>, cx: &Context) -> Result<Option<Contents>> {
    let manifest = subject.artifact().manifest();
    let mut reader = ContentsReader::new(format_in(manifest)?, manifest.content);
    let (mut done, mut damage) = (0, None);
    let is_whole = subject.read(cx, &mut |bytes| {
        done += bytes.len() as u64;
        cx.emit(Event::Progress { step: Step::Decode, done });
        // A damaged dump is decoded to its end all the same: damage of the stored bytes explains it better.
        if damage.is_none() {
            damage = reader.feed(bytes).err();
        }
        Ok(())
    })?;
    match (is_whole, damage) {
        (false, _) => Ok(None),
        (true, Some(error)) => Err(error),
        (true, None) => reader.finish().map(Some),
    }
}
