//! The reader of archives, judged by the tools that write and read them: pg_dump, pg_restore and the servers.

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use backup_core::{Error, ErrorKind, Result};
use backup_pg::{
    archive::{
        Archive, ArchiveReader, Entry, Format, InnerCompression, Offset, RowSink, fill_offsets, list,
        read_toc,
    },
    rows::{RowFacts, RowFold},
};
use proptest::prelude::*;
use support::{MAJORS, Server, create_latin1, create_shape_of_everything};

/// Names and values that are hard to cut into rows.
const ODD: &str = r#"
    CREATE TABLE plain (id int, t text);
    INSERT INTO plain SELECT g, 'row ' || g || E'\t\n\\ é ' || md5(g::text) FROM generate_series(1, 300) g;
    CREATE TABLE empty (id int);
    CREATE TABLE no_columns ();
    INSERT INTO no_columns DEFAULT VALUES;
    INSERT INTO no_columns DEFAULT VALUES;
    CREATE SCHEMA "Odd ""S";
    CREATE TABLE "Odd ""S"."t
2 é"(a text, b int GENERATED ALWAYS AS (length(a)) STORED);
    INSERT INTO "Odd ""S"."t
2 é" VALUES ('x'), (E'\\.'), (NULL), (''), (E'\n'), (E'\\');
    CREATE TABLE part (k int) PARTITION BY RANGE (k);
    CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
    CREATE TABLE "user" PARTITION OF part FOR VALUES FROM (10) TO (20);
    INSERT INTO part SELECT generate_series(0, 19);
    CREATE TABLE dot (t text);
    INSERT INTO dot VALUES ('\.'), ('.'), ('\\.');
    COMMENT ON TABLE plain IS 'hi
there';
"#;

const LARGE: &str = r"
    CREATE TABLE big (t text);
    INSERT INTO big SELECT repeat(md5('x') || E'\n', 150000);
    INSERT INTO big VALUES ('small');
    SELECT lo_from_bytea(0, convert_to(repeat('abc', 100000), 'UTF8'));
    SELECT lo_from_bytea(0, '');
    SELECT lo_from_bytea(4000000000, 'x');
";

fn odd(major: u32) -> Server {
    let server = Server::start(major);
    server.create_database("odd", "");
    server.psql("odd", ODD);
    server.psql("odd", LARGE);
    server
}

/// A database whose archive is small enough to be damaged in every place.
fn small(major: u32) -> Server {
    let server = Server::start(major);
    server.create_database("small", "");
    server.psql(
        "small",
        "CREATE TABLE a (i int, t text); INSERT INTO a VALUES (1, 'one'), (2, 'two'), (3, NULL);
         CREATE TABLE b (i int); SELECT lo_from_bytea(4711, 'large');",
    );
    server
}

/// What pg_dump writes into a pipe.
#[track_caller]
fn dump(server: &Server, database: &str, arguments: &[&str]) -> Vec<u8> {
    let output = server.tool("pg_dump", database).arg("-Fc").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn read(bytes: &[u8]) -> Result<Archive> {
    read_in_pieces(bytes, bytes.len().max(1))
}

fn read_in_pieces(bytes: &[u8], size: usize) -> Result<Archive> {
    let mut reader = ArchiveReader::new();
    bytes.chunks(size).try_for_each(|piece| reader.feed(piece))?;
    reader.finish()
}

fn facts(archive: &Archive) -> BTreeMap<String, RowFacts> {
    archive.tables.iter().map(|table| (table.name.clone(), table.facts.expect("rows of COPY"))).collect()
}

/// The facts of the same tables, from the rows that the server sends.
fn facts_of_server(server: &Server, database: &str, archive: &Archive) -> BTreeMap<String, RowFacts> {
    let tables = archive.entries.iter().filter(|entry| entry.is_copy());
    tables
        .map(|entry| {
            let copy = copy_of(entry);
            let mut psql = server.tool("psql", database);
            let mut child = psql.args(["-XAtq", "-c", &copy]).stdout(Stdio::piped()).spawn().unwrap();
            let (mut fold, mut piece) = (RowFold::new(), vec![0; 10_000]);
            let mut rows = child.stdout.take().unwrap();
            loop {
                match rows.read(&mut piece).unwrap() {
                    0 => break,
                    count => fold.feed(&piece[..count]),
                }
            }
            assert!(child.wait().unwrap().success(), "{copy}");
            (entry.name(), fold.finish().unwrap())
        })
        .collect()
}

/// The statement that sends an entry's rows; pg_dump loads some partitions through their root.
fn copy_of(entry: &Entry) -> String {
    let copy = entry.copy.strip_suffix(" FROM stdin;\n").expect("a COPY statement");
    let own = format!("COPY {} ", entry.name());
    let columns =
        copy.strip_prefix(&own).or_else(|| copy.find(" (").map(|at| &copy[at..])).unwrap_or_default();
    // What pg_dump sets where a database or role may have set something else.
    format!(
        "SET search_path = ''; SET DateStyle = ISO; SET IntervalStyle = postgres; {own}{columns} TO STDOUT"
    )
}

#[track_caller]
fn agrees_with_server(server: &Server, database: &str, bytes: &[u8]) -> Archive {
    let archive = read(bytes).unwrap();
    let found = facts(&archive);
    let expected = facts_of_server(server, database, &archive);
    let differing: Vec<_> = expected.iter().filter(|(name, facts)| found.get(*name) != Some(facts)).collect();
    assert!(differing.is_empty() && found.len() == expected.len(), "{differing:?}");
    for entry in archive.entries.iter().filter(|entry| entry.is_copy()) {
        // A table with children by inheritance has rows of its own.
        let count = server.psql(database, &format!("SELECT count(*) FROM ONLY {}", entry.name()));
        assert_eq!(found[&entry.name()].rows.to_string(), count, "{}", entry.name());
    }
    let large =
        "SELECT count(*) || ' ' || coalesce(sum(length(lo_get(oid))), 0) FROM pg_largeobject_metadata";
    let found = format!("{} {}", archive.large_objects.count, archive.large_objects.bytes);
    assert_eq!(found, server.psql(database, large));
    archive
}

#[test]
fn counts_and_digests_are_the_servers() {
    for major in MAJORS {
        let server = odd(major);
        for (level, compression) in [("0", InnerCompression::None), ("3", InnerCompression::Gzip(3))] {
            let bytes = dump(&server, "odd", &["-Z", level]);
            let archive = agrees_with_server(&server, "odd", &bytes);
            let expected = if major > 15 && level == "3" { InnerCompression::Gzip(-1) } else { compression };
            assert_eq!(archive.header.compression, expected);
            assert_eq!((archive.header.int_size, archive.header.offset_size), (4, 8));
            assert_eq!(
                archive.header.version.minor,
                [14, 15, 16][MAJORS.iter().position(|m| *m == major).unwrap()]
            );
            assert_eq!(archive.header.database, "odd");
            assert!(archive.header.server_version.starts_with(&format!("{major}.")));
            let names: Vec<_> = facts(&archive).into_keys().collect();
            let odd = "\"Odd \"\"S\".\"t\n2 é\"";
            let user = "public.\"user\"";
            let plain =
                ["big", "dot", "empty", "no_columns", "part1", "plain"].map(|name| format!("public.{name}"));
            let expected: Vec<_> = [odd, user].into_iter().map(str::to_owned).chain(plain).collect();
            assert_eq!(names, expected);
        }
    }
}

#[test]
fn a_database_with_everything_reads_with_the_servers_digests() {
    for major in MAJORS {
        let server = Server::start(major);
        create_shape_of_everything(&server, "everything");
        agrees_with_server(&server, "everything", &dump(&server, "everything", &["-Z0"]));
        agrees_with_server(&server, "everything", &dump(&server, "everything", &["-Z6", "-C"]));
        let through_root = dump(&server, "everything", &["-Z0", "--load-via-partition-root"]);
        assert_eq!(
            facts(&read(&through_root).unwrap()),
            facts(&read(&dump(&server, "everything", &["-Z0"])).unwrap())
        );
    }
}

#[test]
fn names_that_are_not_utf8_do_not_stop_the_reader() {
    let server = Server::start(15);
    create_latin1(&server, "latin");
    let utf8 = read(&dump(&server, "latin", &["--encoding=UTF8"])).unwrap();
    let latin1 = read(&dump(&server, "latin", &["--encoding=LATIN1"])).unwrap();
    assert!(utf8.entries.iter().any(|entry| !entry.tag.is_ascii()));
    let rows =
        |archive: &Archive| archive.tables.iter().map(|table| table.facts.unwrap().rows).collect::<Vec<_>>();
    assert_eq!(rows(&utf8), rows(&latin1));
}

/// The lines of `pg_restore --list` that are entries.
fn listed(server: &Server, archive: &Path) -> Vec<String> {
    let output =
        server.tool("pg_restore", "").env_remove("PGDATABASE").arg("-l").arg(archive).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect()
}

#[track_caller]
fn lists_agree(found: &[String], expected: &[String]) {
    let surplus: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    assert!(surplus.is_empty() && missing.is_empty(), "surplus {surplus:#?}, missing {missing:#?}");
    assert!(found == expected, "the order differs");
}

#[test]
fn the_list_is_what_pg_restore_prints() {
    for major in MAJORS {
        let server = Server::start(major);
        create_shape_of_everything(&server, "everything");
        server.psql("everything", &ODD.replace("no_columns", "shop.nothing"));
        let folder = tempfile::tempdir().unwrap();
        for arguments in [&["-C"][..], &["-s"], &["-a"], &["-Z0", "--inserts"]] {
            let path = folder.path().join("dump");
            let bytes = dump(&server, "everything", arguments);
            fs::write(&path, &bytes).unwrap();
            let archive = read(&bytes).unwrap();
            lists_agree(&list(&archive), &listed(&server, &path));
            let toc = read_toc(&bytes[..]).unwrap();
            assert_eq!((toc.header, toc.entries.len()), (archive.header, archive.entries.len()));
            fs::remove_file(&path).unwrap();
        }
        let path = folder.path().join("directory");
        server.run("pg_dump", "everything", &["-Fd", "-f", path.to_str().unwrap()]);
        let toc = read_toc(File::open(path.join("toc.dat")).unwrap()).unwrap();
        assert_ne!(toc.header.format, Format::Custom);
        lists_agree(&list(&toc), &listed(&server, &path));
        for entry in toc.entries.iter().filter(|entry| entry.is_copy()) {
            assert!(
                path.join(format!("{}.gz", entry.data_file)).exists() || path.join(&entry.data_file).exists()
            );
        }
    }
}

#[test]
fn a_table_of_contents_alone_is_no_archive_and_must_be_whole() {
    let server = small(16);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory");
    server.run("pg_dump", "small", &["-Fd", "-f", path.to_str().unwrap()]);
    let bytes = fs::read(path.join("toc.dat")).unwrap();
    let error = read(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for length in 0..bytes.len() {
        assert!(read_toc(&bytes[..length]).unwrap_err().is_corruption(), "{length} bytes");
    }
    let followed = [&bytes[..], b"x"].concat();
    assert!(read_toc(&followed[..]).unwrap_err().to_string().contains("bytes follow"));
}

#[test]
fn a_truncated_archive_is_refused() {
    for major in MAJORS {
        let server = small(major);
        for arguments in [&["-Z0"][..], &["-Z6"], &["-Z0", "--schema-only"], &["-Z0", "--inserts"]] {
            let bytes = dump(&server, "small", arguments);
            read(&bytes).unwrap();
            for length in 0..bytes.len() {
                let error = read(&bytes[..length]).expect_err("a part is no whole");
                assert!(error.is_corruption() && error.hint().is_some(), "{error:?}");
                assert!(error.to_string().contains("cut short"), "{length} of {}: {error:?}", bytes.len());
            }
        }
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let server = small(15);
    let bytes = dump(&server, "small", &["-Z0"]);
    for tail in [&b"x"[..], &[0], &[1, 0, 1, 0, 0, 0], b"\n"] {
        let error = read(&[&bytes[..], tail].concat()).unwrap_err();
        assert!(error.is_corruption(), "{error:?}");
    }
    // An entry that has its data must not get it again.
    let archive = read(&bytes).unwrap();
    let last = archive.entries.iter().filter_map(|entry| entry.data_at).max().unwrap() as usize;
    assert!(read(&[&bytes[..], &bytes[last..]].concat()).unwrap_err().is_corruption());
}

#[test]
fn a_flipped_bit_in_rows_changes_the_digest_and_none_makes_the_reader_panic() {
    for major in MAJORS {
        let server = small(major);
        for level in ["-Z0", "-Z6"] {
            let bytes = dump(&server, "small", &[level]);
            let whole = read(&bytes).unwrap();
            let data = whole.entries.iter().filter_map(|entry| entry.data_at).min().unwrap() as usize;
            for at in 0..bytes.len() {
                for bit in [at % 8, (at + 3) % 8] {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= 1 << bit;
                    let Ok(archive) = read(&flipped) else { continue };
                    let is_missed = archive.tables == whole.tables;
                    // Large objects have no digest here, and the last bits of a zlib stream may say nothing.
                    let may_be_missed = at < data || level == "-Z6" || is_in_large_object(&bytes, at);
                    assert!(
                        may_be_missed || !is_missed,
                        "{major}: bit {bit} of byte {at} of {}",
                        bytes.len()
                    );
                }
            }
        }
    }
}

/// The one large object holds its text, and has an identifier that is nowhere else.
fn is_in_large_object(bytes: &[u8], at: usize) -> bool {
    let identifier = [0, 0x67, 0x12, 0, 0];
    let Some(begin) = bytes.windows(5).rposition(|window| window == identifier) else { return false };
    (begin..begin + 5 + 5 + 30).contains(&at)
}

#[test]
fn pieces_do_not_matter() {
    let server = Server::start(16);
    server.create_database("odd", "");
    server.psql("odd", ODD);
    server.psql("odd", "SELECT lo_from_bytea(0, 'abc'); SELECT lo_from_bytea(0, '');");
    let plain = dump(&server, "odd", &["-Z0"]);
    let dumps = [
        dump(&server, "odd", &["-Z6"]),
        compressed_by(InnerCompression::Lz4, &plain),
        compressed_by(InnerCompression::Zstd, &plain),
        plain,
    ];
    for bytes in &dumps {
        let whole = read(bytes).unwrap();
        for size in [1, 2, 3, 7, 64, 1000, 65_537] {
            assert_eq!(read_in_pieces(bytes, size).unwrap(), whole);
        }
    }
    proptest!(ProptestConfig::with_cases(60), |(sizes in prop::collection::vec(1usize..3000, 1..50))| {
        for bytes in &dumps {
            let (mut reader, mut rest) = (ArchiveReader::new(), &bytes[..]);
            for size in sizes.iter().cycle() {
                let (piece, later) = rest.split_at(rest.len().min(*size));
                reader.feed(piece).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(reader.finish().unwrap(), read(bytes).unwrap());
        }
    });
}

/// An uncompressed archive of format 1.15 or 1.16 with its data compressed otherwise, laid out as pg_dump does it: each
/// table and large object one stream in chunks, none when it is empty.
fn compressed_by(compression: InnerCompression, plain: &[u8]) -> Vec<u8> {
    let archive = read(plain).unwrap();
    let begin = archive.entries.iter().filter_map(|entry| entry.data_at).min().unwrap() as usize;
    let mut bytes = plain[..begin].to_vec();
    // Magic, three bytes of version, two widths and the format's letter stand before the kind of compression.
    bytes[11] = match compression {
        InnerCompression::Lz4 => 2,
        InnerCompression::Zstd => 3,
        _ => unreachable!("pg_dump's builds do these themselves"),
    };
    let number = |at: usize| i32::from_le_bytes(plain[at + 1..at + 5].try_into().unwrap());
    let mut at = begin;
    while at < plain.len() {
        let is_table = plain[at] == 1;
        bytes.extend(&plain[at..at + 6]);
        at += 6;
        loop {
            if !is_table {
                bytes.extend(&plain[at..at + 5]);
                at += 5;
                if number(at - 5) == 0 {
                    break;
                }
            }
            let mut text = Vec::new();
            while number(at) != 0 {
                let length = number(at) as usize;
                text.extend(&plain[at + 5..at + 5 + length]);
                at += 5 + length;
            }
            at += 5;
            for chunk in encode(compression, &text).chunks(4096) {
                bytes.push(0);
                bytes.extend((chunk.len() as u32).to_le_bytes());
                bytes.extend(chunk);
            }
            bytes.extend([0; 5]);
            if is_table {
                break;
            }
        }
    }
    bytes
}

fn encode(compression: InnerCompression, text: &[u8]) -> Vec<u8> {
    if text.is_empty() {
        return Vec::new();
    }
    if compression == InnerCompression::Zstd {
        return zstd::encode_all(text, 3).unwrap();
    }
    // pg_dump's frames: blocks of 64 KiB that refer to those before them, no checksums.
    let info = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Linked)
        .block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn data_in_lz4_and_zstd_is_read_as_the_plain_data_is() {
    for major in [16, 18] {
        let server = odd(major);
        let plain = dump(&server, "odd", &["-Z0"]);
        let expected = read(&plain).unwrap();
        for compression in [InnerCompression::Lz4, InnerCompression::Zstd] {
            let bytes = compressed_by(compression, &plain);
            assert!(bytes.len() < plain.len() / 2);
            let archive = read(&bytes).unwrap();
            assert_eq!(archive.header.compression, compression);
            assert_eq!((&archive.tables, archive.large_objects), (&expected.tables, expected.large_objects));
        }
        let small = small(major);
        let plain = dump(&small, "small", &["-Z0"]);
        for compression in [InnerCompression::Lz4, InnerCompression::Zstd] {
            let bytes = compressed_by(compression, &plain);
            for length in 0..bytes.len() {
                assert!(read(&bytes[..length]).unwrap_err().is_corruption(), "{length} bytes");
            }
        }
    }
}

#[test]
fn an_archive_from_a_pipe_gets_its_positions_and_restores_in_parallel() {
    for major in MAJORS {
        let server = odd(major);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump");
        let bytes = dump(&server, "odd", &["-Z0"]);
        let archive = read(&bytes).unwrap();
        assert!(archive.entries.iter().all(|entry| !matches!(entry.offset, Offset::Set(_))));
        fs::write(&path, &bytes).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        fill_offsets(&file, &archive).unwrap();
        fill_offsets(&file, &archive).unwrap();

        let patched = read(&fs::read(&path).unwrap()).unwrap();
        for entry in &patched.entries {
            let expected = entry.data_at.map_or(Offset::NoData, Offset::Set);
            assert_eq!(entry.offset, expected, "{}", entry.name());
        }
        // pg_dump into a file writes the same itself.
        let judge = folder.path().join("judge");
        server.run("pg_dump", "odd", &["-Fc", "-Z0", "-f", judge.to_str().unwrap()]);
        let judge = read(&fs::read(&judge).unwrap()).unwrap();
        assert_eq!(judge.entries, patched.entries);

        let path = path.to_str().unwrap();
        server.run("pg_restore", "odd", &["-f", "/dev/null", path]);
        server.create_database("restored", "");
        server.run("pg_restore", "postgres", &["-j2", "--exit-on-error", "-d", "restored", path]);
        assert_eq!(facts_of_server(&server, "restored", &archive), facts(&archive));
    }
}

#[test]
fn positions_are_not_written_into_another_file() {
    let server = small(15);
    let bytes = dump(&server, "small", &["-Z0"]);
    let archive = read(&bytes).unwrap();
    let contents_only = read_toc(&bytes[..]).unwrap();
    let error = fill_offsets(&tempfile::tempfile().unwrap(), &contents_only).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[b'x'; 100_000]).unwrap();
    let error = fill_offsets(&file, &archive).unwrap_err();
    assert!(
        error.causes().iter().chain([&error.to_string()]).any(|text| text.contains("not the archive")),
        "{error:?}"
    );
}

#[derive(Default)]
struct Chosen {
    rows: Arc<Mutex<Vec<String>>>,
}

impl RowSink for Chosen {
    fn wants(&mut self, entry: &Entry) -> bool {
        entry.tag == "dot" || entry.tag == "no_columns" || entry.tag == "big"
    }

    fn row(&mut self, entry: &Entry, row: &[u8]) -> Result<()> {
        if row == b"stop" {
            return Err(Error::cancelled());
        }
        self.rows.lock().unwrap().push(format!("{} {}", entry.tag, String::from_utf8_lossy(row)));
        Ok(())
    }
}

#[test]
fn a_sink_gets_the_rows_it_wants() {
    let server = odd(16);
    for arguments in ["-Z0", "-Z1"] {
        let bytes = dump(&server, "odd", &[arguments]);
        for size in [97, 100_000] {
            let sink = Chosen::default();
            let rows = Arc::clone(&sink.rows);
            let mut reader = ArchiveReader::with_rows(Box::new(sink));
            bytes.chunks(size).for_each(|piece| reader.feed(piece).unwrap());
            assert_eq!(reader.finish().unwrap(), read(&bytes).unwrap());
            let mut rows = rows.lock().unwrap().clone();
            rows.sort();
            let big: Vec<_> = rows.extract_if(.., |row| row.starts_with("big")).collect();
            assert_eq!(rows, [r"dot .", r"dot \\.", r"dot \\\\.", "no_columns ", "no_columns "]);
            assert_eq!(big.iter().map(String::len).collect::<Vec<_>>(), [4 + 150_000 * 34, 4 + 5]);
        }
    }
}

#[test]
fn an_error_of_the_sink_ends_the_reading() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE TABLE dot (t text); INSERT INTO dot VALUES ('go'), ('stop'), ('never')");
    let sink = Chosen::default();
    let rows = Arc::clone(&sink.rows);
    let mut reader = ArchiveReader::with_rows(Box::new(sink));
    assert!(reader.feed(&dump(&server, "postgres", &["-Z0"])).unwrap_err().is_cancelled());
    assert_eq!(*rows.lock().unwrap(), ["dot go"]);
    assert!(reader.finish().unwrap_err().is_corruption());
}

#[test]
fn inserts_have_no_facts() {
    let server = small(18);
    let archive = read(&dump(&server, "small", &["--inserts"])).unwrap();
    let tables: Vec<_> = archive.tables.iter().map(|table| (table.name.as_str(), table.facts)).collect();
    assert_eq!(tables, [("public.a", None), ("public.b", None)]);
    assert!(archive.tables[0].bytes > 0);
}

#[test]
fn a_newer_format_is_unsupported() {
    let server = small(18);
    let mut bytes = dump(&server, "small", &[]);
    bytes[6] = 17;
    let error = read(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("1.17") && error.hint().is_some(), "{error:?}");
    assert!(read(b"\x1f\x8b not an archive").unwrap_err().is_corruption());
}

#[test]
fn tar_archives_hold_a_table_of_contents_too() {
    let server = small(15);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.tar");
    server.run("pg_dump", "small", &["-Ft", "-f", path.to_str().unwrap()]);
    let status = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    let toc = read_toc(File::open(folder.path().join("toc.dat")).unwrap()).unwrap();
    assert_eq!(toc.header.format, Format::Tar);
    assert_eq!(list(&toc), listed(&server, &path));
}
