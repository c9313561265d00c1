//! The decrypting end of the pipeline: an age file that was opened with a key, by range or as a stream.
//!
//! An age file is a text header that wraps the file's key for each recipient, 16 random bytes, and chunks of 64 KiB,
//! each with a tag of 16 bytes and its number in its nonce; the last one is marked, so that a file that was cut is
//! known. Source: <https://age-encryption.org/v1>.

mod view;

use std::{
    fmt,
    io::{self, BufRead, Cursor, Read, Seek, SeekFrom},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use age::{DecryptError, Decryptor, stream::StreamReader};
use crossbeam_channel::{Receiver, Sender, bounded};

use self::view::{Between, View, Window, lock};
use super::{
    encode::spawn,
    ordered::{Ordered, Place, Sum, SumInProgress, read_exactly, undecodable},
};
use crate::{
    context::Context,
    encryption::{FileKey, Identity, Wrapping},
    error::{Error, ErrorKind, Result},
    store::ObjectReader,
};

/// What an age file begins with, whatever its version.
pub(super) const MAGIC: &[u8] = b"age-encryption.org/";

/// What age's text form begins with.
pub(super) const ARMORED_MAGIC: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// Headers larger than this are not read: there is room for more recipients than are allowed.
const MAX_HEADER_BYTES: u64 = 64 << 10;

/// Plain bytes of one chunk.
const CHUNK_BYTES: u64 = 64 << 10;

/// Bytes by which a stored chunk is longer.
const TAG_BYTES: u64 = 16;

/// Bytes of a stored chunk.
const SEALED_CHUNK_BYTES: u64 = CHUNK_BYTES + TAG_BYTES;

/// Chunks that are decrypted in one go.
const CHUNKS_AT_ONCE: u64 = 16;

/// Decryption is several times faster than decompression; more threads than this would only wait.
const MAX_WORKERS: usize = 4;

/// An age file and its key. Its end is authenticated, so its length is known to be the one that was written.
pub(super) struct Sealed {
    object: Arc<dyn ObjectReader>,
    parts: Arc<Parts>,
}

/// What of an age file is kept in memory.
struct Parts {
    key: FileKey,
    /// Its beginning, the whole header included.
    head: Vec<u8>,
    /// Its last chunk.
    tail: Vec<u8>,
    /// Where the chunks begin.
    start: u64,
    /// Stored bytes of all of it.
    size: u64,
    /// Plain bytes.
    plain: u64,
}

impl Sealed {
    /// Opens an age file: with its own key if this operation wrote it, else with the context's identities.
    /// `recipients` are those its manifest names, as far as that is known.
    ///
    /// # Errors
    /// `Denied` when no identity opens it; `Corrupt` when one should and does not, or when it is no whole age file.
    pub(super) fn open(
        object: Arc<dyn ObjectReader>,
        name: &str,
        recipients: &[String],
        cx: &Context,
    ) -> Result<Self> {
        let size = object.size();
        let mut head = vec![0u8; size.min(MAX_HEADER_BYTES) as usize];
        read_exactly(&*object, 0, &mut head)?;
        let (key, start) = unwrap_key(&head, name, recipients, cx)?;
        let (last, plain) = measure(size - start)?;
        let mut tail = vec![0u8; (size - start - last) as usize];
        read_exactly(&*object, start + last, &mut tail)?;
        let sealed = Self { object, parts: Arc::new(Parts { key, head, tail, start, size, plain }) };
        let end = sealed.reader()?.lock().seek(SeekFrom::End(0));
        end.map_err(undecodable).map_err(|error| match error.is_corruption() {
            true => Error::corrupt("it is cut short, or its last encrypted chunk is damaged"),
            false => error,
        })?;
        Ok(sealed)
    }

    /// What is in it, to be read by range.
    pub(super) fn reader(&self) -> Result<SealedReader> {
        let view = View::new(&self.parts, Between::Object(Arc::clone(&self.object)));
        Ok(SealedReader { plain: self.parts.plain, stream: Mutex::new(view.decrypt()?) })
    }

    /// What is in it, from its first byte to its last, decrypted by several threads.
    pub(super) fn stream(self, cx: &Context) -> Result<Ordered> {
        let workers = cx.jobs().min(MAX_WORKERS);
        let (order_in, order) = bounded(workers + 1);
        let (spent, blank) = bounded(2 * workers + 2);
        let (work, queue) = bounded::<Work>(workers);
        let (read, unread) = bounded(2 * workers + 2);
        let mut threads = Vec::new();
        for _ in 0..workers {
            let parts = Arc::clone(&self.parts);
            let worker = Worker { parts, queue: queue.clone(), blank: blank.clone(), read: read.clone() };
            threads.push(spawn("decrypt", move || worker.run())?);
        }
        let fetcher = spawn("fetch", move || self.fetch(&order_in, &work, &unread))?;
        Ok(Ordered::new(order, fetcher, threads, spent))
    }

    fn fetch(self, order: &Sender<Place>, work: &Sender<Work>, unread: &Receiver<Vec<u8>>) -> Result<Sum> {
        let (start, size) = (self.parts.start, self.parts.size);
        let mut sum = SumInProgress::default();
        let mut stored = vec![0u8; start as usize];
        read_exactly(&*self.object, 0, &mut stored)?;
        sum.add(&stored);
        while sum.bytes < size {
            let offset = sum.bytes;
            let count = (size - offset).min(CHUNKS_AT_ONCE * SEALED_CHUNK_BYTES);
            let mut stored = unread.try_recv().unwrap_or_default();
            stored.resize(count as usize, 0);
            read_exactly(&*self.object, offset, &mut stored)?;
            sum.add(&stored);
            let (done, place) = bounded(1);
            let chunks = count.div_ceil(SEALED_CHUNK_BYTES);
            let plain_offset = (offset - start) / SEALED_CHUNK_BYTES * CHUNK_BYTES;
            let plain_count = (count - chunks * TAG_BYTES) as usize;
            let segment = Work { offset, stored, plain_offset, plain_count, done };
            if order.send(place).is_err() || work.send(segment).is_err() {
                return Err(Error::cancelled());
            }
        }
        Ok(sum.done())
    }
}

/// The file's key, and where its chunks begin.
fn unwrap_key(head: &[u8], name: &str, recipients: &[String], cx: &Context) -> Result<(FileKey, u64)> {
    let mut input = Cursor::new(head);
    let decryptor = Decryptor::new_buffered(&mut input).map_err(damaged_header)?;
    if decryptor.is_scrypt() {
        return Err(Error::new(ErrorKind::Unsupported, format!("\"{name}\" is encrypted with a passphrase"))
            .with_hint("`age -d FILE` gives what is in it; backups are encrypted for keys."));
    }
    drop(decryptor);
    let start = input.position();
    if let Some(key) = cx.file_key(name) {
        decrypt(Cursor::new(head), &key).map_err(damaged_header)?;
        return Ok((key, start));
    }
    let identities = cx.identities()?;
    for identity in identities.iter() {
        let wrapping = Wrapping::new(identity);
        match decrypt(Cursor::new(head), &wrapping) {
            Ok(_) => {}
            Err(DecryptError::NoMatchingKeys) => continue,
            Err(error) => return Err(damaged_header(error)),
        }
        if let Some(key) = wrapping.key() {
            return Ok((key, start));
        }
    }
    Err(no_key(name, recipients, &identities))
}

fn decrypt<R: BufRead>(input: R, identity: &dyn age::Identity) -> Result<StreamReader<R>, DecryptError> {
    Decryptor::new_buffered(input)?.decrypt(std::iter::once(identity))
}

/// Why no identity opened it: there is none, none of them is meant to, or one is and its part of the header is damaged.
fn no_key(name: &str, recipients: &[String], identities: &[Identity]) -> Error {
    let own = identities.iter().map(|identity| identity.recipient().to_string());
    if let Some(meant) = { own }.find(|own| recipients.contains(own)) {
        return Error::corrupt(format!("its age header is damaged: the key of {meant} should open it"));
    }
    let whom = match recipients {
        [] => String::new(),
        few if few.len() <= 3 => format!(" for {}", few.join(", ")),
        many => format!(" for {} and {} others", many[..2].join(", "), many.len() - 2),
    };
    let given = match identities.len() {
        0 => "no identity was given".to_owned(),
        1 => "the identity that was given does not open it".to_owned(),
        several => format!("none of the {several} identities that were given opens it"),
    };
    Error::new(ErrorKind::Denied, format!("\"{name}\" is encrypted{whom}, and {given}"))
        .with_hint("Name the file of its key with --identity FILE or BACKUP_IDENTITY.")
}

fn damaged_header(error: DecryptError) -> Error {
    match error {
        DecryptError::UnknownFormat => {
            Error::corrupt("its age header is damaged, or of a later version than v1")
        }
        DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::corrupt("its age header is cut short")
        }
        other => Error::corrupt(format!("its age header is damaged: {other}")),
    }
}

/// Where the last chunk begins, counted from the first, and how many plain bytes so many stored ones hold.
fn measure(stored: u64) -> Result<(u64, u64)> {
    let chunks = stored.div_ceil(SEALED_CHUNK_BYTES);
    let last = chunks.saturating_sub(1) * SEALED_CHUNK_BYTES;
    // Only a file of nothing has a chunk of nothing.
    let least = if chunks > 1 { TAG_BYTES + 1 } else { TAG_BYTES };
    if stored < last + least {
        return Err(Error::corrupt("it is cut short"));
    }
    Ok((last, stored - chunks * TAG_BYTES))
}

/// What is in an age file, by range; what is asked for is decrypted in chunks of 64 KiB.
pub(super) struct SealedReader {
    plain: u64,
    stream: Mutex<StreamReader<View>>,
}

impl SealedReader {
    fn lock(&self) -> MutexGuard<'_, StreamReader<View>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObjectReader for SealedReader {
    fn size(&self) -> u64 {
        self.plain
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if offset >= self.plain {
            return Ok(0);
        }
        let mut stream = self.lock();
        stream.seek(SeekFrom::Start(offset)).and_then(|_| stream.read(buffer)).map_err(undecodable)
    }
}

impl fmt::Debug for SealedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedReader").field("size", &self.plain).finish_non_exhaustive()
    }
}

/// Some chunks to be decrypted.
struct Work {
    /// Where they are stored.
    offset: u64,
    stored: Vec<u8>,
    plain_offset: u64,
    plain_count: usize,
    done: Sender<Result<Vec<u8>>>,
}

/// Decrypts chunks; buffers come back to it from both sides.
struct Worker {
    parts: Arc<Parts>,
    queue: Receiver<Work>,
    blank: Receiver<Vec<u8>>,
    read: Sender<Vec<u8>>,
}

impl Worker {
    fn run(self) {
        let window = Arc::new(Mutex::new(Window::default()));
        let mut stream = View::new(&self.parts, Between::Window(Arc::clone(&window))).decrypt();
        for mut work in &self.queue {
            let stored = std::mem::take(&mut work.stored);
            *lock(&window) = Window { offset: work.offset, bytes: stored };
            let outcome = match &mut stream {
                Ok(stream) => {
                    let mut plain = self.blank.try_recv().unwrap_or_default();
                    unseal(stream, &work, &mut plain).map(|()| plain)
                }
                Err(error) => Err(error.duplicate()),
            };
            let _ = self.read.try_send(std::mem::take(&mut lock(&window).bytes));
            // A reader that is gone needs no answer.
            let _ = work.done.send(outcome);
        }
    }
}

fn unseal(stream: &mut StreamReader<View>, work: &Work, plain: &mut Vec<u8>) -> Result<()> {
    plain.resize(work.plain_count, 0);
    stream.seek(SeekFrom::Start(work.plain_offset)).map_err(undecodable)?;
    for (number, chunk) in plain.chunks_mut(CHUNK_BYTES as usize).enumerate() {
        let begin = work.offset + number as u64 * SEALED_CHUNK_BYTES;
        let end = begin + chunk.len() as u64 + TAG_BYTES;
        stream.read_exact(chunk).map_err(|_| {
            Error::corrupt(format!("the encrypted chunk in bytes {begin} to {end} is damaged"))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{view::piece, *};
    use crate::pipeline::{Coding, Compression, encode_bytes};

    #[derive(Debug)]
    struct Bytes(Vec<u8>);

    impl ObjectReader for Bytes {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
            Ok(piece(&self.0, 0, offset).read(buffer).unwrap())
        }
    }

    /// Some bytes, and a reader of what was encrypted of them.
    fn sealed(count: usize) -> (Vec<u8>, SealedReader) {
        let plain: Vec<u8> = (0..count).map(|at| (at / 7 % 251) as u8).collect();
        let identity = Identity::generate();
        let coding = Coding::new(Compression::None, &[identity.recipient()]).unwrap();
        let (stored, _) = encode_bytes(&plain, &coding, "x").unwrap();
        let cx = Context::default().with_identities(vec![identity]);
        (plain, Sealed::open(Arc::new(Bytes(stored)), "x", &[], &cx).unwrap().reader().unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_ranges_in_any_order_read_as_what_was_written(
            chunks in 0u64..4,
            beside in 0u64..3,
            ranges in prop::collection::vec((any::<prop::sample::Index>(), 1usize..100_000), 1..12),
        ) {
            let (plain, reader) = sealed((chunks * CHUNK_BYTES + beside).saturating_sub(1) as usize);
            prop_assert_eq!(reader.size(), plain.len() as u64);
            for (at, count) in ranges {
                let offset = at.index(plain.len() + 2);
                let expected = piece(&plain, 0, offset as u64);
                let expected = &expected[..expected.len().min(count)];
                let mut found = vec![0u8; expected.len()];
                read_exactly(&reader, offset as u64, &mut found).unwrap();
                prop_assert!(found == expected, "{} bytes at {}", count, offset);
            }
        }
    }

    #[test]
    fn a_file_that_this_operation_wrote_opens_with_its_own_key() {
        let coding = Coding::new(Compression::None, &[Identity::generate().recipient()]).unwrap();
        let (stored, _) = encode_bytes(b"just written", &coding, "x").unwrap();
        let cx = Context::default().with_file_keys(coding.keys().clone());
        let mut plain = [0u8; 12];
        let sealed = Sealed::open(Arc::new(Bytes(stored.clone())), "x", &[], &cx).unwrap();
        read_exactly(&sealed.reader().unwrap(), 0, &mut plain).unwrap();
        assert_eq!(&plain, b"just written");

        let error = Sealed::open(Arc::new(Bytes(stored.clone())), "y", &[], &cx).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Denied);
        let mut flipped = stored;
        flipped[60] ^= 1;
        let error = Sealed::open(Arc::new(Bytes(flipped)), "x", &[], &cx).err().unwrap();
        assert!(error.is_corruption(), "{error:?}");
    }

    #[test]
    fn a_recipients_key_that_does_not_open_it_condemns_the_header() {
        let identity = Identity::generate();
        let coding = Coding::new(Compression::None, &[identity.recipient()]).unwrap();
        let (mut stored, _) = encode_bytes(b"x", &coding, "x").unwrap();
        let body = stored.iter().skip(30).position(|byte| *byte == b'\n').unwrap() + 40;
        stored[body] = if stored[body] == b'A' { b'B' } else { b'A' };
        let cx = Context::default().with_identities(vec![identity.clone()]);
        let open = |recipients: &[String]| {
            Sealed::open(Arc::new(Bytes(stored.clone())), "x", recipients, &cx).err().unwrap()
        };
        assert_eq!(open(&[]).kind(), ErrorKind::Denied);
        assert!(open(&[identity.recipient().to_string()]).is_corruption());
    }
}
