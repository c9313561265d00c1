//! A database header and b-tree pages: children are as many as the header says, whatever the cells say, and the walk
//! over all pages ends.
#![no_main]

use std::io::Cursor;

use backup_sqlite::{
    agreement::agree,
    ownership::is_plainly_complete,
    page::{DatabaseHeader, PageHeader},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = DatabaseHeader::parse(bytes) {
        assert!((512..=65_536).contains(&header.page_size) && header.page_size.is_power_of_two());
    }
    for number in [1, 2] {
        let Some(header) = PageHeader::parse(bytes, number) else { continue };
        let expected = if header.is_interior() { usize::from(header.cells) + 1 } else { 0 };
        assert_eq!(header.children(bytes).count(), expected);
    }
    let _ = is_plainly_complete(Cursor::new(bytes), &[2, 3]);
    let _ = agree(Cursor::new(bytes), [2, 3]);
});
