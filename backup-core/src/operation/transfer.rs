//! Carries one stored object from store to store: hashed while it is read, and again where it arrived.

use std::{io::Write, sync::Arc, thread};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    artifact::Artifact,
    context::Context,
    crash,
    error::{Error, ErrorKind, Result},
    event::{Event, Step},
    id::Key,
    manifest::{Manifest, Payload},
    store::{ObjectReader, PutMode, Store},
    verify::Finding,
};

/// Bytes of one read, and how many reads may wait to be written: the whole memory of a copy is about 10 MiB.
const BLOCK_BYTES: usize = 1 << 20;
const BLOCKS: usize = 8;

/// Under this key of a manifest's `facts` stand the facts of its companions, each as those of a payload.
const COMPANIONS: &str = "companions";

/// An object that a manifest names, and what it says of the stored bytes.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) name: String,
    /// Length and BLAKE3; a companion that some other program added may have none.
    facts: Option<(u64, String)>,
}

impl Expected {
    /// Every object of an artifact, the payload first.
    pub(super) fn of(manifest: &Manifest) -> Vec<Self> {
        let known = manifest.facts.get(COMPANIONS).cloned().unwrap_or_default();
        let known: Vec<Payload> = serde_json::from_value(known).unwrap_or_default();
        let companion = |name: &String| Self {
            name: name.clone(),
            facts: known
                .iter()
                .find(|facts| facts.name == *name)
                .map(|facts| (facts.bytes, facts.blake3.clone())),
        };
        let payload = &manifest.payload;
        let facts = Some((payload.bytes, payload.blake3.clone()));
        let payload = Self { name: payload.name.clone(), facts };
        std::iter::once(payload).chain(manifest.companions.iter().map(companion)).collect()
    }

    /// Bytes there must be, where that is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.facts.as_ref().map(|(bytes, _)| *bytes)
    }

    /// Reads an object to its end and says what is wrong with it, if anything is.
    pub(super) fn examine(&self, object: &dyn ObjectReader, cx: &Context) -> Result<Option<String>> {
        if let Some(wrong) = self.wrong_size(object.size()) {
            return Ok(Some(wrong));
        }
        let mut sum = Sum::default();
        let mut buffer = vec![0u8; BLOCK_BYTES];
        while let count @ 1.. = object.read_at(sum.bytes, &mut buffer)? {
            cx.cancel().check()?;
            sum.add(buffer.get(..count).unwrap_or_default());
        }
        Ok(self.wrong_sum(&sum))
    }

    fn wrong_size(&self, size: u64) -> Option<String> {
        let expected = self.bytes().filter(|expected| *expected != size)?;
        Some(format!("has {size} bytes, expected {expected}"))
    }

    fn wrong_sum(&self, sum: &Sum) -> Option<String> {
        let (bytes, hash) = self.facts.as_ref()?;
        let found = sum.hash.finalize().to_hex();
        let is_right = sum.bytes == *bytes && found.as_str() == hash;
        (!is_right)
            .then(|| format!("has {} bytes with hash {found}, expected {bytes} with {hash}", sum.bytes))
    }
}

/// What is wrong with the objects beside an artifact's payload; the payload itself is not looked at.
pub(super) fn examine_companions(artifact: &dyn Artifact, cx: &Context) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for expected in Expected::of(artifact.manifest()).iter().skip(1) {
        let wrong = match artifact.open_companion(&expected.name) {
            Ok(object) => expected.examine(&*object, cx)?,
            Err(error) if error.is_not_found() => Some("the companion is missing".to_owned()),
            Err(error) => return Err(error),
        };
        findings.extend(wrong.map(|what| Finding::stored("checksum", expected.name.clone(), what)));
    }
    Ok(findings)
}

/// Bytes passing by, counted and hashed.
#[derive(Default)]
struct Sum {
    bytes: u64,
    hash: blake3::Hasher,
}

impl Sum {
    fn add(&mut self, part: &[u8]) {
        self.bytes += part.len() as u64;
        self.hash.update(part);
    }
}

/// Where tests kill a transfer: when all is written, and when it has its name.
pub(super) struct Points {
    pub(super) written: &'static str,
    pub(super) finished: &'static str,
}

/// Brings one object under the same key from one store into another, and reads it there again. Returns its bytes.
///
/// The far object begins to exist only when every byte was read as expected. After an error a created object does
/// not exist; a replaced one is the old one, or, where only reading it again showed damage, the new one.
///
/// # Errors
/// `Corrupt` when the near bytes are not the expected ones, or the far ones do not read back so.
pub(super) fn bring(
    near: &dyn Store,
    far: &dyn Store,
    key: &Key,
    expected: &Expected,
    mode: PutMode,
    points: &Points,
    cx: &Context,
) -> Result<u64> {
    let object = near.open(key)?;
    let damaged = |what: String| Error::corrupt(format!("\"{key}\" in {near} is damaged: it {what}"));
    if let Some(wrong) = expected.wrong_size(object.size()) {
        return Err(damaged(wrong));
    }
    require_room(far, object.size())?;
    let mut writer = far.put(key, mode)?;
    let sum = cx.step(Step::Copy, Some(object.size()), || {
        let failed = |e| Error::from_io(format!("could not copy \"{key}\" to {far}"), e);
        stream(&object, &mut |block| writer.write_all(block).map_err(failed), cx)
    })?;
    if let Some(wrong) = expected.wrong_sum(&sum) {
        return Err(damaged(wrong));
    }
    crash::point(points.written);
    writer.finish()?;
    crash::point(points.finished);
    // Also where the manifest knows nothing of it, the far bytes must be the near ones.
    let sent = Expected {
        name: expected.name.clone(),
        facts: Some((sum.bytes, sum.hash.finalize().to_hex().to_string())),
    };
    let Some(wrong) = sent.examine(&*far.open(key)?, cx)? else { return Ok(sum.bytes) };
    if mode == PutMode::Create {
        // What stays all the same is invisible, found by the next copy, and sent anew.
        let _ = far.delete(key);
    }
    Err(Error::corrupt(format!("\"{key}\" does not read back from {far} as it was sent: it {wrong}"))
        .with_hint("Examine that store's disk and memory."))
}

fn require_room(far: &dyn Store, needed: u64) -> Result<()> {
    match far.free_space()? {
        Some(free) if free < needed => Err(Error::new(
            ErrorKind::NoSpace,
            format!("{far} has {free} bytes free and the copy wants {needed}"),
        )
        .with_hint("Free some room there; what is copied already is not sent again.")),
        _ => Ok(()),
    }
}

/// Reads an object on a thread of its own while `take` writes what was read before.
fn stream(
    object: &Arc<dyn ObjectReader>,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
    cx: &Context,
) -> Result<Sum> {
    let (read, unwritten) = bounded(BLOCKS);
    let (spent, blank) = bounded(BLOCKS + 2);
    thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(&**object, &read, &blank, cx));
        let written = write_all(unwritten, &spent, take);
        let sum = reader.join().unwrap_or_else(|_| Err(Error::failed("the reading thread panicked")));
        // A writer that fails ends the reader early, and a reader that fails ends the writer: each names its own.
        written.and(sum)
    })
}

fn read_all(
    object: &dyn ObjectReader,
    read: &Sender<(Vec<u8>, usize)>,
    blank: &Receiver<Vec<u8>>,
    cx: &Context,
) -> Result<Sum> {
    let mut sum = Sum::default();
    loop {
        cx.cancel().check()?;
        let mut block = blank.try_recv().unwrap_or_else(|_| vec![0u8; BLOCK_BYTES]);
        let count = object.read_at(sum.bytes, &mut block)?;
        if count == 0 {
            return Ok(sum);
        }
        sum.add(block.get(..count).unwrap_or_default());
        if read.send((block, count)).is_err() {
            return Ok(sum);
        }
        cx.emit(Event::Progress { step: Step::Copy, done: sum.bytes });
    }
}

fn write_all(
    unwritten: Receiver<(Vec<u8>, usize)>,
    spent: &Sender<Vec<u8>>,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    for (block, count) in unwritten {
        take(block.get(..count).unwrap_or_default())?;
        // A reader that ended needs no blank blocks.
        let _ = spent.try_send(block);
    }
    Ok(())
}
