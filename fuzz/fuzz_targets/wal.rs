//! A write-ahead log: what counts lies inside the log, belongs to the database, and is found again at its own frame.
#![no_main]

use backup_sqlite::wal;
use libfuzzer_sys::fuzz_target;

const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const CHECKSUM_AT: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&with_checksums(bytes));
});

fn check(log: &[u8]) {
    let Some(index) = wal::index(log, None).expect("memory can be read") else { return };
    assert!(index.frames > 0 && index.page_count > 0);
    let frame = FRAME_HEADER_BYTES as u64 + u64::from(index.page_size);
    let end = LOG_HEADER_BYTES as u64 + u64::from(index.frames) * frame;
    assert!(end <= log.len() as u64);
    for (page, offset) in &index.pages {
        assert!(*page >= 1 && *page <= index.page_count);
        assert!(offset + u64::from(index.page_size) <= end);
    }
    assert_eq!(wal::index(log, Some(index.frames)).expect("memory can be read"), Some(index.clone()));
    assert_eq!(wal::index(log, Some(index.frames + 1)).expect("memory can be read"), None);
    let cut = usize::try_from(end).expect("in memory");
    assert_eq!(wal::index(&log[..cut], None).expect("memory can be read"), Some(index));
}

/// The same log with the magic number, salts and checksums that a fuzzer does not guess.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut log = bytes.to_vec();
    if log.len() < LOG_HEADER_BYTES {
        return log;
    }
    let big_endian = log[3] & 1 == 1;
    log[..4].copy_from_slice(&(0x377f_0682u32 + u32::from(big_endian)).to_be_bytes());
    let page_size = 512usize << (log[11] % 3);
    log[8..12].copy_from_slice(&(page_size as u32).to_be_bytes());
    let (header, frames) = log.split_at_mut(LOG_HEADER_BYTES);
    let mut sum = [0u32; 2];
    add(&mut sum, &header[..24], big_endian);
    put(&mut header[24..32], sum);
    for frame in frames.chunks_exact_mut(FRAME_HEADER_BYTES + page_size) {
        frame[8..16].copy_from_slice(&header[16..24]);
        add(&mut sum, &frame[..8], big_endian);
        add(&mut sum, &frame[FRAME_HEADER_BYTES..], big_endian);
        put(&mut frame[CHECKSUM_AT..FRAME_HEADER_BYTES], sum);
    }
    log
}

fn add(sum: &mut [u32; 2], bytes: &[u8], big_endian: bool) {
    let read = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    for pair in bytes.chunks_exact(8) {
        sum[0] = sum[0].wrapping_add(read(pair[..4].try_into().expect("four"))).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(read(pair[4..].try_into().expect("four"))).wrapping_add(sum[0]);
    }
}

fn put(place: &mut [u8], sum: [u32; 2]) {
    place[..4].copy_from_slice(&sum[0].to_be_bytes());
    place[4..].copy_from_slice(&sum[1].to_be_bytes());
}
