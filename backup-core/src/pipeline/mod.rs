//! One pass over a payload's bytes in bounded memory, on all cores: out to a store, and back.
//!
//! Plain bytes are cut into frames of 8 MiB. Workers compress frames independently; one writer puts them in order,
//! hashes what it stores, and adds the seek table. Back it goes the same way: frames are fetched in order, decoded in
//! parallel, and handed out in order. Memory is frames in flight, whatever the payload's size.

mod compression;
mod decode;
mod encode;
mod prepared_file;
mod reread;
pub mod seek_table;

pub use compression::{
    Compression, DEFAULT_COMPRESSION, Encoding, InsideCompression, expected_plain_bytes, sniff,
};
pub use decode::{Decoded, Decoder};
pub use encode::{Encoded, Encoder, encode_bytes};
pub use reread::{checksum, decode_to_file};
pub(crate) use reread::{decode_into, first_bytes};

/// Plain bytes per frame: large enough that compression loses under 1 %, small enough that a dozen fit in memory.
pub const FRAME_BYTES: usize = 8 << 20;
