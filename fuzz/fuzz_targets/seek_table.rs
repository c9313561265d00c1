//! The seek table at the end of a payload: what is read accounts for every stored byte, and is written as it was read.
#![no_main]

use backup_core::{pipeline::seek_table, store::ObjectReader};
use backup_fuzz::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let object = Bytes::whole(bytes);
    let Ok(Some(entries)) = seek_table::read(&object) else { return };
    assert_eq!(seek_table::read(&Bytes::in_parts(bytes, 3)).expect("the same bytes"), Some(entries.clone()));
    let stored: u64 = entries.iter().map(|entry| u64::from(entry.stored)).sum();
    assert!(stored < object.size());
    let mut rewritten = bytes[..usize::try_from(stored).expect("in memory")].to_vec();
    rewritten.extend(seek_table::write(&entries));
    assert_eq!(seek_table::read(&Bytes::whole(&rewritten)).expect("what was written"), Some(entries));
});
