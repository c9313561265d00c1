//! One pass over a payload's bytes in bounded memory, on all cores: out to a store, and back.
//!
//! Plain bytes are cut into frames of 8 MiB. Workers compress frames independently; one writer puts them in order,
//! hashes what it stores, and adds the seek table. Back it goes the same way: frames are fetched in order, decoded in
//! parallel, and handed out in order. Memory is frames in flight, whatever the payload's size.
//!
//! Where there are recipients, the writer also encrypts: frames and seek table together become one age file. Reading
//! it, the age file's own chunks are decrypted in parallel below the frames.

mod compression;
mod decode;
mod encode;
mod layers;
mod ordered;
mod prepared_file;
mod reread;
mod seal;
mod sealed;
pub mod seek_table;

pub use compression::{Compression, DEFAULT_COMPRESSION, Encoding, InsideCompression};
pub use decode::{Decoded, Decoder};
pub use encode::{Encoded, Encoder, encode_bytes};
pub use layers::{Coding, Layers, examine};
pub(crate) use reread::{RECIPIENTS, decode_into, first_bytes};
pub use reread::{checksum, decode_to_file, require_key};

/// Plain bytes per frame: large enough that compression loses under 1 %, small enough that a dozen fit in memory.
pub const FRAME_BYTES: usize = 8 << 20;
