//! The payload pipeline: what goes out comes back, in bounded memory, or not at all.

use std::{
    io::{Read, Write},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use backup_core::{
    Error, Result,
    context::{CancelToken, Context},
    engine::{PayloadSink, SinkWriter},
    error::ErrorKind,
    id::Key,
    manifest::Payload,
    pipeline::{Compression, DEFAULT_COMPRESSION, Decoder, Encoder, FRAME_BYTES, seek_table},
    store::{ObjectWriter, PutMode, Store, StoreExt},
    testing::{FlippingStore, FullStore},
};
use backup_storage::MemoryStore;
use proptest::prelude::*;

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

fn store_payload(
    store: &Arc<dyn Store>,
    plain: &[u8],
    compression: Compression,
    cx: &Context,
) -> Result<Payload> {
    let open = Box::new(|| store.put(&key(), PutMode::Create));
    let mut encoder = Encoder::new(open, Box::new(|_, _| Ok(())), compression, cx)?;
    std::io::copy(&mut &plain[..], &mut SinkWriter(&mut encoder))
        .map_err(|e| Error::from_io("could not encode", e))?;
    encoder.finish("payload")?.publish()
}

fn load_payload(store: &Arc<dyn Store>, payload: &Payload) -> Result<Vec<u8>> {
    let mut decoder = Decoder::open(store.open(&key())?, payload, &Context::default())?;
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).map_err(|e| Error::from_io("could not decode", e))?;
    let decoded = decoder.finish()?;
    assert_eq!((decoded.bytes, &decoded.blake3), (payload.bytes, &payload.blake3));
    assert_eq!((decoded.plain_bytes, &decoded.plain_blake3), (payload.plain_bytes, &payload.plain_blake3));
    Ok(plain)
}

fn compressions() -> [Compression; 5] {
    ["zstd", "zstd:3", "gzip:1", "gzip:6", "none"].map(|text| text.parse().unwrap())
}

#[test]
fn payloads_of_every_size_come_back_in_every_compression() {
    for count in [0, 1, 1000, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES + 17] {
        let plain = bytes(count);
        for compression in compressions() {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let payload = store_payload(&store, &plain, compression, &Context::default()).unwrap();
            assert!(load_payload(&store, &payload).unwrap() == plain, "{count} bytes, {compression}");
        }
    }
}

#[test]
fn stock_decoders_read_the_frames_as_one_stream() {
    let plain = bytes(2 * FRAME_BYTES + 5);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    store_payload(&store, &plain, "zstd".parse().unwrap(), &Context::default()).unwrap();
    let stored = store.get(&key(), u64::MAX).unwrap();
    assert!(zstd::stream::decode_all(stored.as_slice()).unwrap() == plain);

    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    store_payload(&store, &plain, "gzip".parse().unwrap(), &Context::default()).unwrap();
    let stored = store.get(&key(), u64::MAX).unwrap();
    let mut read = Vec::new();
    flate2::read::MultiGzDecoder::new(stored.as_slice()).read_to_end(&mut read).unwrap();
    assert!(read == plain);
}

#[test]
fn a_damaged_frame_is_named() {
    let plain = bytes(4 * FRAME_BYTES);
    let sound: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let payload = store_payload(&sound, &plain, "zstd".parse().unwrap(), &Context::default()).unwrap();
    let table = seek_table::read(&*sound.open(&key()).unwrap()).unwrap().unwrap();
    assert_eq!(table.len(), 4);
    let third = u64::from(table[0].stored + table[1].stored) + 5000;
    let flipping: Arc<dyn Store> = Arc::new(FlippingStore::new(sound, "payload", third));
    let error = load_payload(&flipping, &payload).unwrap_err();
    assert!(error.is_corruption(), "{error:?}");
    assert!(format!("{error:?}").contains("frame 3 of 4 (plain bytes 16777216 to 25165824)"), "{error:?}");
}

#[test]
fn a_store_that_fills_up_ends_the_payload_and_nothing_is_visible() {
    for room in [0, 1000, 20 << 20] {
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let full: Arc<dyn Store> = Arc::new(FullStore::new(Arc::clone(&inner), room));
        let error =
            store_payload(&full, &bytes(8 * FRAME_BYTES), "none".parse().unwrap(), &Context::default())
                .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
        assert!(!inner.exists(&key()).unwrap());
    }
}

/// Takes everything, a little late.
struct SlowWriter;

impl Write for SlowWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::thread::sleep(Duration::from_micros(300));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for SlowWriter {
    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// A worker that holds the next frame of the order and waits for a buffer, while all buffers hold later frames, would
/// wait for ever. Blank frames and a store that lags make every worker wait for buffers all the time.
#[test]
fn workers_that_outrun_the_store_never_wait_for_each_other() {
    let cx = Context::default().with_jobs(NonZeroUsize::new(3).unwrap());
    for _ in 0..4 {
        let open = Box::new(|| Ok(Box::new(SlowWriter) as Box<dyn ObjectWriter>));
        let mut encoder = Encoder::new(open, Box::new(|_, _| Ok(())), DEFAULT_COMPRESSION, &cx).unwrap();
        let frames = 500;
        for _ in 0..frames {
            encoder.space().unwrap();
            encoder.advance(FRAME_BYTES).unwrap();
        }
        let payload = encoder.finish("payload").unwrap().publish().unwrap();
        assert_eq!(payload.plain_bytes, frames * FRAME_BYTES as u64);
    }
}

#[test]
fn a_cancelled_or_dropped_payload_was_never_there() {
    let cancel = CancelToken::default();
    let cx = Context::default().with_cancel(cancel.clone());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let open = Box::new(|| store.put(&key(), PutMode::Create));
    let mut encoder = Encoder::new(open, Box::new(|_, _| Ok(())), DEFAULT_COMPRESSION, &cx).unwrap();
    let mut write = |count: usize| std::io::copy(&mut &bytes(count)[..], &mut SinkWriter(&mut encoder));
    write(3 * FRAME_BYTES).unwrap();
    cancel.cancel();
    assert!(Error::from_io("x", write(3 * FRAME_BYTES).unwrap_err()).is_cancelled());
    drop(encoder);
    assert!(!store.exists(&key()).unwrap());
}

#[test]
fn a_restarted_payload_holds_only_what_came_after() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let open = Box::new(|| store.put(&key(), PutMode::Create));
    let mut encoder =
        Encoder::new(open, Box::new(|_, _| Ok(())), DEFAULT_COMPRESSION, &Context::default()).unwrap();
    std::io::copy(&mut &bytes(2 * FRAME_BYTES + 9)[..], &mut SinkWriter(&mut encoder)).unwrap();
    encoder.restart().unwrap();
    std::io::copy(&mut &b"afterwards"[..], &mut SinkWriter(&mut encoder)).unwrap();
    let payload = encoder.finish("payload").unwrap().publish().unwrap();
    assert_eq!(load_payload(&store, &payload).unwrap(), b"afterwards");
}

#[test]
fn a_payload_that_decodes_to_more_than_it_claims_is_stopped() {
    for compression in compressions() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut payload =
            store_payload(&store, &vec![0u8; 4 * FRAME_BYTES], compression, &Context::default()).unwrap();
        payload.plain_bytes = 1000;
        let mut plain = Vec::new();
        let opened = Decoder::open(store.open(&key()).unwrap(), &payload, &Context::default());
        let read = opened.and_then(|mut decoder| {
            decoder.read_to_end(&mut plain).map_err(|e| Error::from_io("could not decode", e))
        });
        let error = read.unwrap_err();
        assert!(
            error.is_corruption() && plain.len() <= 1000,
            "{compression}: {} bytes, {error:?}",
            plain.len()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_under_any_encoding_never_panic(stored in prop::collection::vec(any::<u8>(), 0..300), encoding in 0usize..3) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        store.put_bytes(&key(), &stored, PutMode::Create).unwrap();
        let layers = [vec![], vec!["zstd".to_owned()], vec!["gzip".to_owned()]];
        let payload = Payload {
            name: "payload".into(), bytes: stored.len() as u64, blake3: String::new(),
            encoding: layers[encoding].clone(), plain_bytes: 0, plain_blake3: String::new(),
        };
        if let Ok(mut decoder) = Decoder::open(store.open(&key()).unwrap(), &payload, &Context::default()) {
            let _ = decoder.read_to_end(&mut Vec::new());
        }
    }
}
