//! What is read of encrypted files: an age file of arbitrary bytes, one that was whole and then damaged, and a file of
//! keys. Damage never decodes to other bytes than were written, and nothing panics.
//!
//! The first byte chooses; for a damaged file, the next four say where and how, and the rest is what was encrypted.
#![no_main]

use std::{io::Read, num::NonZeroUsize, sync::Arc};

use backup_core::{
    Error,
    context::Context,
    encryption::{Identity, identities_of},
    manifest::Payload,
    pipeline::{Coding, Compression, Decoder, encode_bytes, examine},
};
use backup_fuzz::Bytes;
use libfuzzer_sys::fuzz_target;

/// A key that protects nothing but these tests.
const KEY: &str = "AGE-SECRET-KEY-15TZRJRZ5S4HL74GTYPA93JN7HT7ST0NXQHUWJH7GYLW8NYYHRQNSAZJJJS";

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    match choice % 4 {
        0 => drop(identities_of(rest, &|| Err(Error::cancelled()))),
        1 => arbitrary(rest),
        _ => damaged(choice, rest),
    }
});

fn context() -> Context {
    let identity: Identity = KEY.parse().expect("a key");
    Context::default().with_jobs(NonZeroUsize::MIN.saturating_add(1)).with_identities(vec![identity])
}

fn arbitrary(bytes: &[u8]) {
    let object = [b"age-encryption.org/v1\n", bytes].concat();
    assert!(examine(Arc::new(Bytes::in_parts(&object, 7)), "x", &context()).is_err());
}

fn damaged(choice: u8, bytes: &[u8]) {
    let Some((&[high, low, bit, how], plain)) = bytes.split_first_chunk() else { return };
    let cx = context();
    let compression = if choice & 4 == 0 { Compression::None } else { Compression::Zstd(None) };
    let recipient = KEY.parse::<Identity>().expect("a key").recipient();
    let coding = Coding::new(compression, &[recipient]).expect("one recipient");
    // Some chunks of 64 KiB, most of them of nothing.
    let plain = [plain, &vec![0u8; usize::from(choice >> 3) * 9000]].concat();
    let (whole, payload) = encode_bytes(&plain, &coding, "x").expect("in memory");
    let position = (usize::from(high) << 8 | usize::from(low)) * whole.len() >> 16;
    let mut stored = whole.clone();
    match how % 3 {
        0 => stored[position] ^= 1 << (bit % 8),
        1 => stored.truncate(position),
        _ => stored.extend(std::iter::repeat_n(bit, usize::from(low) + 1)),
    }
    assert_eq!(decode(&whole, &payload, &cx).as_deref(), Some(&plain[..]));
    assert_eq!(decode(&stored, &payload, &cx), None);
}

fn decode(stored: &[u8], payload: &Payload, cx: &Context) -> Option<Vec<u8>> {
    let mut decoder = Decoder::open(Arc::new(Bytes::whole(stored)), payload, cx).ok()?;
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).ok()?;
    decoder.finish().ok().map(|_| plain)
}
