//! Arbitrary bytes as a payload of any encoding: never more plain bytes than the manifest allows, no matter what.
//!
//! The first byte chooses the encoding, the limit and how the seek table is made; the rest is the stored object.
#![no_main]

use std::{num::NonZeroUsize, sync::Arc};

use backup_core::{
    context::Context,
    manifest::Payload,
    pipeline::{
        Decoder,
        seek_table::{self, FrameEntry},
    },
};
use backup_fuzz::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, stored)) = bytes.split_first() else { return };
    let encoding = match choice & 3 {
        0 => vec![],
        1 => vec!["gzip".to_owned()],
        _ => vec!["zstd".to_owned()],
    };
    let mut object = stored.to_vec();
    if choice & 3 == 3 {
        object.extend(seek_table::write(&frames(stored)));
    }
    let limit = 1u64 << (choice >> 3);
    let payload = Payload {
        name: "x".into(),
        bytes: object.len() as u64,
        blake3: String::new(),
        encoding,
        plain_bytes: limit.min(1 << 20),
        plain_blake3: if choice & 4 == 0 { "claimed".into() } else { String::new() },
    };
    decode(object, &payload);
});

/// Two frames that share the stored bytes and claim what the first four of them say.
fn frames(stored: &[u8]) -> Vec<FrameEntry> {
    let claim = stored.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) % (65 << 20);
    let first = (stored.len() / 2) as u32;
    let second = stored.len() as u32 - first;
    vec![
        FrameEntry { stored: first, plain: claim, checksum: 0 },
        FrameEntry { stored: second, plain: claim / 2, checksum: 0 },
    ]
}

fn decode(object: Vec<u8>, payload: &Payload) {
    let stored = object.len() as u64;
    let hash = blake3::hash(&object).to_hex().to_string();
    let cx = Context::default().with_jobs(NonZeroUsize::MIN.saturating_add(1));
    let Ok(mut decoder) = Decoder::open(Arc::new(Bytes::whole(&object)), payload, &cx) else { return };
    let mut given = 0u64;
    loop {
        match decoder.next_block() {
            Ok(Some(block)) => given += block.len() as u64,
            Ok(None) => break,
            Err(_) => return,
        }
        if payload.plain_blake3.is_empty() && given > 8 << 20 {
            // Without a claim there is no limit; the reader leaves early instead.
            return;
        }
        assert!(payload.plain_blake3.is_empty() || given <= payload.plain_bytes);
    }
    let Ok(decoded) = decoder.finish() else { return };
    assert_eq!((decoded.bytes, decoded.blake3), (stored, hash));
    assert_eq!(decoded.plain_bytes, given);
}
