//! What no pg_dump at hand writes: old formats, other widths, damage.

use proptest::prelude::*;

use super::*;
use crate::tap::Tap;

/// An archive by hand: one table with two rows, and one large object.
struct Sample {
    minor: u8,
    int_size: usize,
    data: Vec<u8>,
}

impl Default for Sample {
    fn default() -> Self {
        Self { minor: 16, int_size: 4, data: b"1\n2\n\\.\n\n\n".to_vec() }
    }
}

impl Sample {
    fn number(&self, value: i64) -> Vec<u8> {
        let absolute = value.unsigned_abs().to_le_bytes();
        [&[u8::from(value < 0)], &absolute[..self.int_size]].concat()
    }

    fn string(&self, text: &str) -> Vec<u8> {
        [self.number(text.len() as i64), text.as_bytes().to_vec()].concat()
    }

    fn strings(&self, texts: &[&str]) -> Vec<u8> {
        texts.iter().flat_map(|text| self.string(text)).collect()
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = [&b"PGDMP\x01"[..], &[self.minor, 0, self.int_size as u8, 8, 1]].concat();
        bytes.extend(if self.minor >= 15 { vec![0] } else { self.number(0) });
        bytes.extend([60, 30, 8, 21, 10, 126, 0].iter().flat_map(|field| self.number(*field)));
        bytes.extend(self.strings(&["shop", "9.6.24", "9.6.24"]));
        bytes
    }

    fn entry(&self, id: i64, desc: &str, copy: &str) -> Vec<u8> {
        let mut bytes = [self.number(id), self.number(1)].concat();
        bytes.extend(self.strings(&["0", "16384", "t", desc]));
        bytes.extend(self.number(3));
        bytes.extend(self.strings(&["", "", copy, "public", ""]));
        bytes.extend(if self.minor >= 14 { self.string("heap") } else { vec![] });
        bytes.extend(if self.minor >= 16 { self.number(114) } else { vec![] });
        bytes.extend(self.strings(&["postgres", "false", "7", "8"]));
        bytes.extend(self.number(-1));
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    fn chunks(&self, data: &[u8]) -> Vec<u8> {
        [self.number(data.len() as i64), data.to_vec(), self.number(0)].concat()
    }

    fn table(&self, kind: u8) -> Vec<u8> {
        [vec![kind], self.number(1), self.chunks(&self.data)].concat()
    }

    fn large_object(&self, kind: u8) -> Vec<u8> {
        let object = [self.number(-294_967_296), self.chunks(b"large")].concat();
        [vec![kind], self.number(2), object, self.number(0)].concat()
    }

    fn contents(&self) -> Vec<u8> {
        let entries =
            [self.entry(1, "TABLE DATA", "COPY public.t (i) FROM stdin;\n"), self.entry(2, "BLOBS", "")];
        [self.header(), self.number(2), entries.concat()].concat()
    }

    fn archive(&self) -> Vec<u8> {
        [self.contents(), self.table(1), self.large_object(3)].concat()
    }
}

fn read(bytes: &[u8]) -> Result<Archive> {
    let mut reader = ArchiveReader::new();
    reader.feed(bytes)?;
    reader.finish()
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    let error = read(bytes).unwrap_err();
    assert!(error.is_corruption() && error.hint().is_some(), "{error:?}");
    let causes = [vec![error.to_string()], error.causes()].concat().join(": ");
    assert!(causes.contains(why), "{causes}");
}

#[test]
fn every_format_and_width_reads_alike() {
    for minor in 12..=16 {
        for int_size in [4, 8] {
            let archive = read(&Sample { minor, int_size, ..Sample::default() }.archive()).unwrap();
            assert_eq!(archive.header.created_at.to_string(), "2026-11-21T08:30:59");
            assert_eq!(archive.header.server_version, "9.6.24");
            let [table, _] = &archive.entries[..] else { panic!("{archive:?}") };
            assert_eq!(
                (table.oid, table.section, &table.dependencies[..]),
                (16384, Section::Data, &[7, 8][..])
            );
            assert_eq!(table.relkind, (minor == 16).then_some('r'));
            assert_eq!(table.table_am, if minor >= 14 { "heap" } else { "" });
            assert_eq!(archive.tables[0].name, "public.t");
            assert_eq!(archive.tables[0].facts.unwrap().rows, 2);
            assert_eq!(archive.large_objects, LargeObjects { count: 1, bytes: 5 });
        }
    }
    for minor in [11, 17] {
        let error = read(&Sample { minor, ..Sample::default() }.archive()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().is_some());
    }
}

#[test]
fn data_may_come_in_any_order_but_must_belong_to_its_entry() {
    let sample = Sample::default();
    let swapped = [sample.contents(), sample.large_object(3), sample.table(1)].concat();
    assert_eq!(read(&swapped).unwrap().tables, read(&sample.archive()).unwrap().tables);
    refused(&[sample.contents(), sample.table(1)].concat(), r#"the data of "BLOBS public.t" is missing"#);
    refused(&[sample.archive(), sample.table(1)].concat(), "which has it already");
    refused(&[sample.contents(), sample.table(3)].concat(), "of another type");
    refused(&[sample.contents(), sample.large_object(1)].concat(), "of another type");
    refused(&[sample.contents(), sample.table(2)].concat(), "2 is no type of data");
    let unknown = [vec![1], sample.number(99)].concat();
    refused(&[sample.contents(), unknown].concat(), "unknown entry 99");
}

#[test]
fn rows_without_their_end_marker_are_refused_with_their_table() {
    for (data, why) in [(&b"1\n2\n"[..], "the end marker is missing after 2 rows"), (b"1\n2", "no end")] {
        let bytes = Sample { data: data.to_vec(), ..Sample::default() }.archive();
        refused(&bytes, why);
        refused(&bytes, r#"in the data of "TABLE DATA public.t""#);
    }
}

#[test]
fn a_claim_of_size_takes_no_memory() {
    let sample = Sample::default();
    let header = sample.header();
    refused(&[&header[..], &sample.number(i32::MAX.into())].concat(), "has 0 of 2147483647 entries");
    let entry = [sample.number(1), sample.number(1), sample.number(200 << 20)].concat();
    refused(&[header.clone(), sample.number(1), entry].concat(), "cut short");
    let entry = [sample.number(1), sample.number(1), sample.number(1 << 30)].concat();
    refused(&[header, sample.number(1), entry].concat(), "a string of 1073741824 bytes");
}

/// What a splice hands on of an archive that comes in pieces of so many bytes.
fn put_back(archive: &[u8], tap: &Tap, size: usize) -> Result<Vec<u8>> {
    struct Pieces<'a>(&'a [u8], usize);
    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }
    let mut found = Vec::new();
    spliced(&mut Pieces(archive, size), tap, &mut |bytes| {
        found.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(found)
}

#[test]
fn rows_of_a_tap_stand_where_their_stand_in_stood() {
    for int_size in [4, 8] {
        let tap = Tap::of(&[&[b"1\n2", b"\n"]]);
        let sample = Sample { int_size, ..Sample::default() };
        // pg_dump divides what it writes where it likes.
        let stand_in = [tap.stand_in(), vec![b'.'; 70_000], b"\n".to_vec()].concat();
        let chunks = [&stand_in[..100], &stand_in[100..], b"....\n\\", b".\n\n\n"];
        let block: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| [sample.number(chunk.len() as i64), chunk.to_vec()].concat())
            .collect();
        let table = [vec![1], sample.number(1), block, sample.number(0)].concat();
        let archive = [sample.contents(), table, sample.large_object(3)].concat();
        let found = read(&put_back(&archive, &tap, 4096).unwrap()).unwrap();
        assert_eq!(found.tables, read(&sample.archive()).unwrap().tables);
        assert_eq!(found.large_objects.bytes, 5);
    }
}

#[test]
fn an_archive_whose_rows_ended_before_their_end_is_cut_short() {
    let tap = Tap::of(&[]);
    let sample = Sample { data: [tap.stand_in(), b"\\.\n\n\n".to_vec()].concat(), ..Sample::default() };
    let found = put_back(&sample.archive(), &tap, 4096).unwrap();
    refused(&found, "has no end");
}

proptest! {
    #[test]
    fn an_archive_without_stand_ins_is_handed_on_as_it_is(
        kept in any::<prop::sample::Index>(), size in 1usize..200, rows in 0usize..100,
    ) {
        let data = [b"row\n".repeat(rows), b"\\.\n\n\n".to_vec()].concat();
        let archive = Sample { data, ..Sample::default() }.archive();
        for archive in [&archive[..], &archive[..kept.index(archive.len())]] {
            let found = put_back(archive, &Tap::of(&[]), size).unwrap();
            prop_assert!(archive.starts_with(&found), "something else was handed on");
            // Of a cut archive, less than a number or a sign may be missing at its end.
            prop_assert!(archive.len() - found.len() < 200);
        }
        prop_assert_eq!(put_back(&archive, &Tap::of(&[]), size).unwrap(), archive);
    }

    #[test]
    fn arbitrary_changes_never_panic(
        minor in 11u8..=17,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        size in 1usize..100,
    ) {
        let mut bytes = Sample { minor, ..Sample::default() }.archive();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        let mut reader = ArchiveReader::new();
        let in_pieces = bytes.chunks(size).try_for_each(|piece| reader.feed(piece)).and_then(|()| reader.finish());
        match read(&bytes) {
            Ok(archive) => prop_assert_eq!(in_pieces.unwrap(), archive),
            Err(error) => prop_assert_eq!(in_pieces.unwrap_err().kind(), error.kind()),
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_archive(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(read_toc(&bytes[..]).is_err());
    }
}
