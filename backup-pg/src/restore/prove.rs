//! Whether a restored database has the rows that the backup says, read back from the server.

use std::{
    collections::HashMap,
    io::{self, BufRead, Read},
    process::Stdio,
    sync::{Mutex, PoisonError},
};

use backup_core::{Error, Result, context::Context, manifest::TableFacts, verify::Finding};

use super::{messages, names::literal, parallel::in_sessions, temporary::Place};
use crate::{
    archive::{Archive, qualified},
    child::Running,
    contents::joined,
    copy::target_and_columns,
    platform,
    rows::{RowFacts, RowFold},
    session::{Session, explain},
    tap::{Cut, Tap},
    tools::Tools,
};

/// Settings under which equal rows are equal text, as `setup_connection` of `pg_dump.c` and our dumps have them.
const CANONICAL: [(&str, &str); 8] = [
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("row_security", "off"),
    ("synchronize_seqscans", "off"),
    // A piece is read in less time than compiling its query takes.
    ("jit", "off"),
];

/// Pages of a large table that one session reads at a time.
const PIECE_PAGES: i64 = 4096;

/// Pages of a table that is worth a process of its own.
const LARGE_PAGES: i64 = 1024;

/// How much is taken from that process at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Since this version a range of row addresses is read without the pages outside of it.
const RANGE_SCANS: i32 = 140_000;

/// What a table must hold.
#[derive(Clone, Debug)]
struct Wanted {
    facts: TableFacts,
    /// Its name on the server, which differs where the archive's text is in another encoding.
    name: String,
    /// The columns, as in `a, b`; empty when all columns go in their order.
    columns: String,
    pages: i64,
    /// Belongs to an extension, which may have put rows of its own into it.
    is_extensions: bool,
    /// Columns may have come back in another order.
    is_reordered: bool,
    /// Rows were loaded through the root of its partitions, which may have put them elsewhere.
    is_tree: bool,
}

/// A part of a table to read.
struct Piece<'a> {
    table: usize,
    wanted: &'a Wanted,
    /// The first page, and the one after the last; `None` is the whole table, or its end.
    pages: Option<(i64, Option<i64>)>,
}

/// Compares tables with what they must hold.
pub(super) fn rows(
    place: &Place,
    tools: &Tools,
    expected: &[TableFacts],
    archive: Option<&Archive>,
    encoding: Option<&str>,
    jobs: usize,
    cx: &Context,
) -> Result<Vec<Finding>> {
    let mut control = session(place)?;
    let mut findings = Vec::new();
    let wanted = look_up(&mut control, expected, archive, encoding, &mut findings)?;
    let compared: Vec<&Wanted> = wanted.iter().filter(|wanted| !wanted.is_extensions).collect();
    let splits = jobs > 1 && place.server.version >= RANGE_SCANS;
    let mut pieces: Vec<Piece<'_>> =
        compared.iter().enumerate().flat_map(|(table, wanted)| pieces(table, wanted, splits)).collect();
    // The longest first, so that no session is left alone with one at the end.
    pieces.sort_by_key(|piece| {
        std::cmp::Reverse(if piece.pages.is_some() { PIECE_PAGES } else { piece.wanted.pages })
    });
    if pieces.is_empty() {
        return Ok(findings);
    }
    let taps = Mutex::new((0..jobs).map_while(|_| Tap::on(&control, cx)).collect::<Vec<_>>());
    drop(control);
    let open = || match taps.lock().unwrap_or_else(PoisonError::into_inner).pop() {
        Some(tap) => Ok(Reader { session: session(&place.through(&tap))?, tap: Some(tap) }),
        None => Ok(Reader { session: session(place)?, tap: None }),
    };
    let read = |reader: &mut Reader, piece: &Piece<'_>| match &reader.tap {
        None if piece.wanted.pages >= LARGE_PAGES => read_by_psql(place, tools, piece, encoding, cx),
        _ => reader.read(piece, encoding, cx),
    };
    let parts = in_sessions(jobs, &pieces, &open, &read, cx)?;
    let mut sums = vec![RowFacts::default(); compared.len()];
    for (piece, part) in pieces.iter().zip(parts) {
        if let Some(sum) = sums.get_mut(piece.table) {
            *sum += part;
        }
    }
    findings.extend(compared.iter().zip(sums).filter_map(|(wanted, found)| difference(wanted, found)));
    Ok(findings)
}

fn session(place: &Place) -> Result<Session> {
    let mut session = place.session("backup check", &CANONICAL)?;
    session.client().batch_execute("SET search_path = ''").map_err(|e| explain(e, "set up a session"))?;
    Ok(session)
}

fn pieces(table: usize, wanted: &Wanted, splits: bool) -> Vec<Piece<'_>> {
    if !splits || wanted.is_tree || wanted.pages <= PIECE_PAGES * 3 / 2 {
        return vec![Piece { table, wanted, pages: None }];
    }
    let starts = (0..wanted.pages).step_by(PIECE_PAGES as usize);
    let range = |start: i64| {
        let end = start + PIECE_PAGES;
        (start, (end < wanted.pages).then_some(end))
    };
    starts.map(|start| Piece { table, wanted, pages: Some(range(start)) }).collect()
}

/// A session that reads tables.
struct Reader {
    /// Closed first: a session that ends waits for what was sent to it.
    tap: Option<Tap>,
    session: Session,
}

impl Reader {
    fn read(&mut self, piece: &Piece<'_>, encoding: Option<&str>, cx: &Context) -> Result<RowFacts> {
        let what = format!("read the restored table {}", piece.wanted.name);
        let copied = self.session.client().copy_out(copy_statement(piece, encoding).as_str());
        let mut copied = copied.map_err(|e| explain(e, &what))?;
        let failed = |e| Error::from_io(format!("could not {what}"), e);
        let mut fold = RowFold::new();
        let mut feed = |rows: &[u8]| {
            cx.cancel().check()?;
            fold.feed(rows);
            Ok(())
        };
        loop {
            let bytes = copied.fill_buf().map_err(failed)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(tap) = self.tap.as_ref().filter(|tap| tap.is_stand_in(bytes)) {
                let all = tap.take(&mut feed)?;
                // Why they ended too soon comes here.
                io::copy(&mut copied, &mut io::sink()).map_err(failed)?;
                all.map_err(|Cut| Error::failed(format!("could not {what} to its end")))?;
                break;
            }
            feed(bytes)?;
            let count = bytes.len();
            copied.consume(count);
        }
        drop(copied);
        fold.finish()
    }
}

/// Reads a large piece by psql, which takes half of what the driver takes for each row, and in a process of its own:
/// where there is no tap.
fn read_by_psql(
    place: &Place,
    tools: &Tools,
    piece: &Piece<'_>,
    encoding: Option<&str>,
    cx: &Context,
) -> Result<RowFacts> {
    let mut command = tools.command("psql");
    place.server.lead(&mut command, &place.name, "backup check", &CANONICAL);
    command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--command=SET search_path = ''"]);
    command.arg(format!("--command={}", copy_statement(piece, encoding)));
    // The statement is UTF-8, whatever the surroundings are.
    command.env("PGCLIENTENCODING", "UTF8").stdout(Stdio::piped());
    let mut psql = Running::start(command, None, cx)?;
    let Some(mut output) = psql.stdout() else { return Err(Error::failed("psql has no output")) };
    let _ = platform::widen(&output, 1 << 20);
    let mut fold = RowFold::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let outcome = loop {
        match output.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(count) => fold.feed(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(Error::from_io("could not read from psql", error)),
        }
    };
    drop(output);
    let ended = psql.finish()?;
    outcome?;
    if ended.status.success() {
        return fold.finish();
    }
    let what = format!("could not read the restored table {}", piece.wanted.name);
    Err(messages::explain("psql", &ended.stderr, &what).context(what))
}

/// Text is compared byte by byte, so it must come in the dump's encoding, whatever the session's is.
fn copy_statement(piece: &Piece<'_>, encoding: Option<&str>) -> String {
    let Wanted { name, columns, is_tree, .. } = piece.wanted;
    let options = encoding.map(|name| format!(" WITH (ENCODING {})", literal(name))).unwrap_or_default();
    if *is_tree {
        return format!("COPY (SELECT {columns} FROM {name}) TO STDOUT{options}");
    }
    let Some((start, end)) = piece.pages else {
        let list = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
        return format!("COPY {name}{list} TO STDOUT{options}");
    };
    let end = end.map(|end| format!(" AND ctid < '({end},0)'::tid")).unwrap_or_default();
    format!(
        "COPY (SELECT {columns} FROM ONLY {name} WHERE ctid >= '({start},0)'::tid{end}) TO STDOUT{options}"
    )
}

fn difference(wanted: &Wanted, found: RowFacts) -> Option<Finding> {
    let TableFacts { name, rows, digest } = &wanted.facts;
    if found.rows != *rows {
        let what = format!("has {} rows, the backup says {rows}", found.rows);
        return Some(Finding::content("rows", name, what));
    }
    let is_equal = digest.as_ref().is_none_or(|digest| *digest == found.hex());
    (!is_equal && !wanted.is_reordered)
        .then(|| Finding::content("rows", name, "has other rows than the backup says"))
}

/// What the server has under the names of the backup.
struct Present {
    name: String,
    columns: String,
    pages: i64,
    is_extensions: bool,
    is_child: bool,
    is_partitioned: bool,
}

fn look_up(
    session: &mut Session,
    expected: &[TableFacts],
    archive: Option<&Archive>,
    encoding: Option<&str>,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Wanted>> {
    let present = present_tables(session, encoding)?;
    let entries = archive.iter().flat_map(|archive| &archive.entries).filter(|entry| entry.is_copy());
    let copied: HashMap<String, &str> = entries.map(|entry| (entry.name(), entry.copy.as_str())).collect();
    let mut wanted: Vec<Wanted> = Vec::new();
    for facts in expected {
        let copy = copied.get(&facts.name).and_then(|copy| target_and_columns(copy));
        let name = copy.map_or(facts.name.as_str(), |(target, _)| target);
        if let Some(root) = wanted.iter_mut().find(|wanted| wanted.is_tree && wanted.facts.name == name) {
            root.facts = joined(&root.facts, facts);
            continue;
        }
        let Some(table) = present.get(name) else {
            findings.push(Finding::content("rows", name, "is missing"));
            continue;
        };
        let stated =
            copy.map(|(_, columns)| columns).filter(|list| !list.is_empty() && !list.contains('\u{fffd}'));
        wanted.push(Wanted {
            facts: TableFacts { name: name.to_owned(), ..facts.clone() },
            name: table.name.clone(),
            is_reordered: stated.is_none() && table.is_child,
            columns: stated.map_or_else(|| table.columns.clone(), str::to_owned),
            pages: table.pages,
            is_extensions: table.is_extensions,
            is_tree: table.is_partitioned,
        });
    }
    Ok(wanted)
}

/// All tables, by the name that an archive of this encoding gives them.
fn present_tables(session: &mut Session, encoding: Option<&str>) -> Result<HashMap<String, Present>> {
    let sql = "SELECT n.nspname::text, c.relname::text,
                 pg_relation_size(c.oid) / current_setting('block_size')::bigint,
                 EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'),
                 NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid),
                 coalesce((SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                   WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''), ''),
                 convert_to(n.nspname::text, $1), convert_to(c.relname::text, $1), c.relkind = 'p'
               FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'";
    let rows = session.client().query(sql, &[&encoding.unwrap_or("UTF8")]);
    let rows = rows.map_err(|e| explain(e, "list the restored tables"))?;
    let table = |row: &postgres::Row| -> Result<(String, Present), postgres::Error> {
        let lossy =
            |at: usize| row.try_get::<_, &[u8]>(at).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let present = Present {
            name: qualified(row.try_get(0)?, row.try_get(1)?),
            pages: row.try_get(2)?,
            is_extensions: row.try_get(3)?,
            is_child: row.try_get(4)?,
            columns: row.try_get(5)?,
            is_partitioned: row.try_get(8)?,
        };
        Ok((qualified(&lossy(6)?, &lossy(7)?), present))
    };
    let tables = rows.iter().map(table).collect::<Result<_, _>>();
    tables.map_err(|e| explain(e, "read the names of the restored tables"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_table_cover_it_once_and_its_end_is_open() {
        let facts = TableFacts { name: "t".into(), rows: 0, digest: None };
        for pages in [0, 1, PIECE_PAGES, 2 * PIECE_PAGES, 10 * PIECE_PAGES + 1] {
            let wanted = Wanted {
                facts: facts.clone(),
                name: "t".into(),
                columns: String::new(),
                pages,
                is_extensions: false,
                is_reordered: false,
                is_tree: false,
            };
            let pieces = pieces(0, &wanted, true);
            let ranges: Vec<_> = pieces.iter().filter_map(|piece| piece.pages).collect();
            assert!(ranges.is_empty() == (pages <= PIECE_PAGES * 3 / 2) && !pieces.is_empty());
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].1, Some(pair[1].0));
            }
            assert!(
                ranges.first().is_none_or(|first| first.0 == 0)
                    && ranges.last().is_none_or(|last| last.1.is_none())
            );
        }
    }
}
