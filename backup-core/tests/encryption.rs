//! Encrypted payloads: what goes out comes back to whoever holds a key, whole or not at all.

use std::{io::Read, num::NonZeroUsize, sync::Arc};

use backup_core::{
    Error, ErrorKind, Result,
    context::Context,
    encryption::Identity,
    engine::SinkWriter,
    id::Key,
    manifest::Payload,
    pipeline::{Coding, Compression, Decoder, Encoder, FRAME_BYTES, encode_bytes, examine},
    store::{PutMode, Store, StoreExt},
};
use backup_storage::MemoryStore;
use proptest::prelude::*;

const CHUNK_BYTES: usize = 64 << 10;

fn key() -> Key {
    Key::new("a/payload").unwrap()
}

/// Half noise, half pattern, so that nothing compresses to nothing.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9u32;
    (0..count)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at % 8 < 4 { (state >> 24) as u8 } else { (at / 64) as u8 }
        })
        .collect()
}

fn with_jobs(jobs: usize) -> Context {
    Context::default().with_jobs(NonZeroUsize::new(jobs).unwrap())
}

fn compression(text: &str) -> Compression {
    text.parse().unwrap()
}

/// A payload in a store of its own, and the key that opens it.
struct Stored {
    store: Arc<dyn Store>,
    payload: Payload,
    identity: Identity,
}

impl Stored {
    fn new(plain: &[u8], compression: Compression, jobs: usize) -> Self {
        let identity = Identity::generate();
        let others = [Identity::generate().recipient(), identity.recipient()];
        let coding = Coding::new(compression, &others).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let open = Box::new(|| store.put(&key(), PutMode::Create));
        let mut encoder = Encoder::new(open, Box::new(|_, _| Ok(())), coding, &with_jobs(jobs)).unwrap();
        std::io::copy(&mut &plain[..], &mut SinkWriter(&mut encoder)).unwrap();
        let payload = encoder.finish("payload").unwrap().publish().unwrap();
        Self { store, payload, identity }
    }

    fn bytes(&self) -> Vec<u8> {
        self.store.get(&key(), u64::MAX).unwrap()
    }

    /// The same with other stored bytes.
    fn with_bytes(&self, bytes: &[u8]) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        store.put_bytes(&key(), bytes, PutMode::Create).unwrap();
        Self { store, payload: self.payload.clone(), identity: self.identity.clone() }
    }

    fn load(&self, cx: &Context) -> Result<Vec<u8>> {
        let mut decoder = Decoder::open(self.store.open(&key())?, &self.payload, cx)?;
        let mut plain = Vec::new();
        decoder.read_to_end(&mut plain).map_err(|e| Error::from_io("could not decode", e))?;
        let (decoded, payload) = (decoder.finish()?, &self.payload);
        assert_eq!((decoded.bytes, &decoded.blake3), (payload.bytes, &payload.blake3));
        assert_eq!(
            (decoded.plain_bytes, &decoded.plain_blake3),
            (payload.plain_bytes, &payload.plain_blake3)
        );
        Ok(plain)
    }

    fn load_with_key(&self, jobs: usize) -> Result<Vec<u8>> {
        self.load(&with_jobs(jobs).with_identities(vec![Identity::generate(), self.identity.clone()]))
    }
}

#[test]
fn payloads_at_every_border_come_back_in_every_compression() {
    let borders = [0, CHUNK_BYTES, 16 * CHUNK_BYTES, FRAME_BYTES];
    for count in borders.into_iter().flat_map(|border| [border.saturating_sub(1), border, border + 1]) {
        let plain = bytes(count);
        for text in ["zstd", "gzip:1", "none"] {
            let stored = Stored::new(&plain, compression(text), 2);
            let layers =
                if text == "none" { vec!["age"] } else { vec![text.split(':').next().unwrap(), "age"] };
            assert_eq!(stored.payload.encoding, layers);
            assert!(stored.load_with_key(2).unwrap() == plain, "{count} bytes, {text}");
        }
    }
}

#[test]
fn without_a_key_nothing_is_given_out() {
    let stored = Stored::new(&bytes(3000), compression("zstd"), 1);
    for identities in [vec![], vec![Identity::generate()], vec![Identity::generate(), Identity::generate()]] {
        let count = identities.len();
        let error = stored.load(&Context::default().with_identities(identities)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{count}: {error:?}");
        assert!(error.hint().unwrap().contains("--identity"), "{error:?}");
    }
}

#[test]
fn whatever_happens_to_a_stored_byte_is_noticed() {
    for text in ["zstd", "none"] {
        let plain = bytes(3 * CHUNK_BYTES + 77);
        let stored = Stored::new(&plain, compression(text), 1);
        let whole = stored.bytes();
        let ends = (0..700).chain(whole.len() - 100..whole.len());
        for position in ends.chain((0..whole.len()).step_by(9973)) {
            let mut bytes = whole.clone();
            bytes[position] ^= 1 << (position % 8);
            let error = stored.with_bytes(&bytes).load_with_key(2).err();
            // Its own part of the header cannot be told from another's key without knowing the recipients.
            let is_noticed = error.as_ref().is_some_and(|error| {
                error.is_corruption() || (position < 700 && error.kind() != ErrorKind::Failed)
            });
            assert!(is_noticed, "{text}, byte {position} of {}: {error:?}", whole.len());
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_noticed() {
    for text in ["zstd", "gzip:1", "none"] {
        let stored = Stored::new(&bytes(3 * CHUNK_BYTES), compression(text), 1);
        let whole = stored.bytes();
        let start = whole.len() % (CHUNK_BYTES + 16);
        let borders = (0..5).flat_map(|n| {
            let border = start + n * (CHUNK_BYTES + 16);
            [border.saturating_sub(16), border, border + 1, border + 16, border + 17]
        });
        for length in borders.chain((0..whole.len()).step_by(4999)).filter(|length| *length < whole.len()) {
            let error = stored.with_bytes(&whole[..length]).load_with_key(2).unwrap_err();
            assert!(error.is_corruption(), "{text}, {length} of {} bytes: {error:?}", whole.len());
        }
        for more in [1, 16, 17, CHUNK_BYTES + 16] {
            let longer = [whole.clone(), vec![7; more]].concat();
            let error = stored.with_bytes(&longer).load_with_key(2).unwrap_err();
            assert!(error.is_corruption(), "{text}, {more} more: {error:?}");
        }
    }
}

#[test]
fn an_object_without_manifest_tells_its_layers_to_whoever_has_the_key() {
    for (text, expected) in
        [("zstd", vec!["zstd", "age"]), ("gzip:1", vec!["gzip", "age"]), ("none", vec!["age"])]
    {
        let plain = bytes(2 * CHUNK_BYTES);
        let stored = Stored::new(&plain, compression(text), 1);
        let cx = Context::default().with_identities(vec![stored.identity.clone()]);
        let (layers, size) = examine(stored.store.open(&key()).unwrap(), "payload", &cx).unwrap();
        assert_eq!(layers.names(), expected);
        if text != "gzip:1" {
            assert_eq!(size, plain.len() as u64, "{text}");
        }
        let error = examine(stored.store.open(&key()).unwrap(), "payload", &Context::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
}

#[test]
fn two_files_of_the_same_bytes_have_nothing_in_common() {
    let identity = Identity::generate();
    let coding = Coding::new(compression("none"), &[identity.recipient()]).unwrap();
    let (first, _) = encode_bytes(&bytes(1000), &coding, "first").unwrap();
    let (second, _) = encode_bytes(&bytes(1000), &coding, "second").unwrap();
    assert_ne!(first[first.len() - 1000..], second[second.len() - 1000..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_encoded_decodes_to_itself(
        border in prop::sample::select(vec![0usize, CHUNK_BYTES, 3 * CHUNK_BYTES, 17 * CHUNK_BYTES, FRAME_BYTES]),
        beside in -70i64..70,
        text in prop::sample::select(vec!["zstd", "zstd:1", "gzip:1", "none"]),
        jobs in 1usize..5,
        reading in 1usize..5,
    ) {
        let plain = bytes(usize::try_from(border as i64 + beside).unwrap_or(0));
        let stored = Stored::new(&plain, compression(text), jobs);
        prop_assert!(stored.load_with_key(reading).unwrap() == plain);
    }

    #[test]
    fn any_bytes_behind_the_name_of_age_never_panic(stored in prop::collection::vec(any::<u8>(), 0..300), kind in 0usize..3) {
        let start = ["", "age-encryption.org/v1\n", "age-encryption.org/v1\n-> X25519 "][kind];
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        store.put_bytes(&key(), &[start.as_bytes(), &stored].concat(), PutMode::Create).unwrap();
        let payload = Payload {
            name: "payload".into(), bytes: 0, blake3: String::new(),
            encoding: vec!["zstd".to_owned(), "age".to_owned()], plain_bytes: 0, plain_blake3: String::new(),
        };
        let cx = Context::default().with_identities(vec![Identity::generate()]);
        prop_assert!(Decoder::open(store.open(&key()).unwrap(), &payload, &cx).is_err());
    }
}
