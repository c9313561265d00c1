//! Restores: loaded beside, proven, swapped; and what is left when something goes wrong on the way.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use backup_core::{
    ErrorKind, Result,
    artifact::Artifact,
    capture::{CaptureOptions, DumpFormat},
    content::Content,
    context::{CancelToken, Context},
    engine::{BackupEngine, CaptureRequest, PayloadSink, RestorePart, RestorePlan, RestoreRequest, Target},
    event::Event,
    file::FileObject,
    id::{BackupId, SourceName},
    manifest::{Manifest, Payload},
    operation::{DrillOptions, RestoreOptions, Restored, RunOptions, drill, restore, run},
    store::ObjectReader,
    vault::Vault,
};
use backup_pg::PgEngine;
use backup_storage::MemoryStore;
use serde_json::json;
use support::{MAJORS, Server, create_latin1, create_shape_of_everything, schema_dump};

/// What makes this binary restore and die at a crash point.
const VICTIM: &str = "BACKUP_TEST_VICTIM";

const MANIFEST: &str = "manifest.json";

const SHOP: &str = "
    CREATE TABLE goods (id integer PRIMARY KEY, name text NOT NULL);
    INSERT INTO goods SELECT n, md5(n::text) FROM generate_series(1, 2000) n;
    CREATE TABLE orders (id serial PRIMARY KEY, good integer REFERENCES goods, note text);
    INSERT INTO orders (good, note) SELECT n, E'tab\\there \\\\ ' || n FROM generate_series(1, 500) n;
    CREATE INDEX by_note ON orders (note);
    CREATE VIEW dear AS SELECT * FROM goods WHERE id > 100;";

/// A backup as a file with its manifest beside it.
#[derive(Debug)]
struct Backup {
    folder: PathBuf,
    payload: PathBuf,
    manifest: Manifest,
    has_facts: bool,
    _removed: Option<tempfile::TempDir>,
}

#[derive(Default)]
struct Bytes {
    plain: Vec<u8>,
    space: Vec<u8>,
}

impl PayloadSink for Bytes {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.space.resize(1 << 16, 0);
        Ok(&mut self.space)
    }

    fn advance(&mut self, count: usize) -> Result<()> {
        self.plain.extend_from_slice(&self.space[..count]);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.plain.clear();
        Ok(())
    }

    fn companion(&mut self, _suffix: &str, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl Backup {
    fn of(uri: &str) -> Self {
        Self::with(uri, Content::Full, CaptureOptions::default())
    }

    fn with(uri: &str, content: Content, options: CaptureOptions) -> Self {
        let (engine, cx, folder) =
            (PgEngine::new(uri).unwrap(), Context::default(), tempfile::tempdir().unwrap());
        let source = engine.inspect(&cx).unwrap().facts;
        let mut request = CaptureRequest::new(content);
        request.options = options;
        request.scratch = Some(folder.path().to_owned());
        let mut sink = Bytes::default();
        let captured = engine.capture(&request, &mut sink, &cx).unwrap();
        let id = BackupId::new(&SourceName::new("shop").unwrap(), content, captured.snapshot_at, 1);
        let stem = if content.is_rolling() { format!("shop-{content}") } else { id.to_string() };
        let hash = blake3::hash(&sink.plain).to_hex().to_string();
        let payload = Payload {
            name: format!("{stem}{}", engine.extension(&request)),
            bytes: sink.plain.len() as u64,
            blake3: hash.clone(),
            encoding: Vec::new(),
            plain_bytes: sink.plain.len() as u64,
            plain_blake3: hash,
        };
        let mut manifest = Manifest::new(id, source, captured.snapshot_at, payload);
        manifest.source.name = "shop".to_owned();
        (manifest.tables, manifest.tools, manifest.facts) = (captured.tables, captured.tools, captured.facts);
        let payload = folder.path().join(&manifest.payload.name);
        fs::write(&payload, &sink.plain).unwrap();
        fs::write(folder.path().join(MANIFEST), manifest.to_json().unwrap()).unwrap();
        Self { folder: folder.path().to_owned(), payload, manifest, has_facts: true, _removed: Some(folder) }
    }

    /// One that another process has made.
    fn open(folder: &Path) -> Self {
        let manifest = Manifest::from_json(&fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
        let payload = folder.join(&manifest.payload.name);
        Self { folder: folder.to_owned(), payload, manifest, has_facts: true, _removed: None }
    }

    /// The same with another manifest.
    fn stating(mut self, change: impl FnOnce(&mut Manifest)) -> Self {
        change(&mut self.manifest);
        self
    }

    fn plan(&self, request: RestoreRequest) -> Result<RestorePlan> {
        let engine = PgEngine::new("postgres:").unwrap();
        engine.plan_restore(&self.manifest, &request, &Context::default())
    }

    fn restore(&self, request: RestoreRequest) -> Result<Restored> {
        self.restore_telling(request).0
    }

    /// Also says what was warned of and found.
    fn restore_telling(&self, request: RestoreRequest) -> (Result<Restored>, Vec<String>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        let cx = Context::default().with_observer(Arc::new(move |event: &Event| match event {
            Event::Warning(text) => hears.lock().unwrap().push(text.clone()),
            Event::Found(finding) => hears.lock().unwrap().push(finding.to_string()),
            _ => {}
        }));
        let engine = PgEngine::new("postgres:").unwrap();
        let outcome = restore(self, &engine, &RestoreOptions::of(request), &cx);
        let told = told.lock().unwrap().clone();
        (outcome, told)
    }
}

impl Artifact for Backup {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn open_payload(&self) -> Result<Arc<dyn ObjectReader>> {
        Ok(Arc::new(FileObject::open(&self.payload)?))
    }

    fn open_companion(&self, name: &str) -> Result<Arc<dyn ObjectReader>> {
        Ok(Arc::new(FileObject::open(&self.folder.join(name))?))
    }

    fn location(&self) -> String {
        self.payload.display().to_string()
    }

    fn working_folder(&self) -> Option<PathBuf> {
        Some(self.folder.clone())
    }

    fn has_facts(&self) -> bool {
        self.has_facts
    }
}

fn into(uri: String) -> RestoreRequest {
    let mut request = RestoreRequest::default();
    request.target = Some(Target::Postgres(uri));
    request
}

fn replacing(uri: String) -> RestoreRequest {
    let mut request = into(uri);
    request.replace = true;
    request
}

fn shop(server: &Server, name: &str) -> Backup {
    server.create_database(name, "");
    server.psql(name, SHOP);
    Backup::of(&server.uri(name))
}

/// Rows of all tables, as text in no order: partitions by the hash of an enum are filled anew.
fn contents(server: &Server, database: &str) -> Vec<String> {
    let dump = server.run("pg_dump", database, &["--data-only"]);
    let noise = [r"\restrict ", r"\unrestrict ", "--"];
    let lines = dump.lines().filter(|line| !noise.iter().any(|start| line.starts_with(start)));
    let mut lines: Vec<String> = lines.map(|line| line.chars().take(300).collect()).collect();
    lines.sort();
    lines
}

#[track_caller]
fn assert_same(server: &Server, restored: &str, source: &str) {
    let first = |left: &[String], right: &[String]| left.iter().find(|line| !right.contains(line)).cloned();
    let schemas = [restored, source]
        .map(|name| schema_dump(server, name).lines().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(first(&schemas[0], &schemas[1]), first(&schemas[1], &schemas[0]), "definitions differ");
    let rows = [restored, source].map(|name| contents(server, name));
    assert!(
        rows[0] == rows[1],
        "rows differ: {:?} {:?}",
        first(&rows[0], &rows[1]),
        first(&rows[1], &rows[0])
    );
}

/// The programs of all majors, as somebody would name them who has them in a folder of their own.
#[allow(unsafe_code, reason = "the only way to name them to an engine in this process")]
fn name_the_programs(server: &Server) {
    static NAMED: std::sync::Once = std::sync::Once::new();
    NAMED.call_once(|| {
        let root = server.bin().parent().and_then(Path::parent).unwrap().to_owned();
        let folders = MAJORS.map(|major| root.join(major.to_string()).join("bin"));
        // SAFETY: the first thing a test does, and nextest gives each test a process of its own.
        unsafe { std::env::set_var("BACKUP_PG_BIN", std::env::join_paths(folders).unwrap()) };
    });
}

fn start(major: u32) -> Server {
    let server = Server::start(major);
    name_the_programs(&server);
    server
}

fn left_overs(server: &Server) -> Vec<String> {
    server
        .databases()
        .into_iter()
        .filter(|name| name.contains("__restoring_") || name.contains("__drill_"))
        .collect()
}

#[test]
fn everything_comes_back_on_every_major() {
    for major in MAJORS {
        let server = start(major);
        create_shape_of_everything(&server, "shape");
        let backup = Backup::of(&server.uri("shape"));
        let (outcome, told) = backup.restore_telling(into(server.uri("again")));
        let restored = outcome.unwrap();
        assert!(told.iter().all(|line| line.contains("wal_level")), "{told:?}");
        assert_same(&server, "again", "shape");
        let properties = "SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'), datcollate,
             (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a),
             (SELECT array_agg(setrole || ' ' || setconfig::text ORDER BY 1) FROM pg_db_role_setting WHERE setdatabase = d.oid)
             FROM pg_database d WHERE datname = ";
        let of = |name: &str| server.psql("postgres", &format!("{properties}'{name}'"));
        assert_eq!(of("again"), of("shape"));
        assert!(restored.swapped.kept.is_empty() && left_overs(&server).is_empty());
    }
}

/// Whoever builds one of these indexes takes its own lock, and a moment later that of the other.
const WAITING_FOR_EACH_OTHER: &str = "
    CREATE FUNCTION takes(mine int, other int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
      PERFORM pg_advisory_xact_lock(mine); PERFORM pg_sleep(0.5); PERFORM pg_advisory_xact_lock(other); RETURN 1; END $$;
    CREATE TABLE a (n int); INSERT INTO a VALUES (1); CREATE INDEX ON a (public.takes(n, n + 1));
    CREATE TABLE b (n int); INSERT INTO b VALUES (1); CREATE INDEX ON b (public.takes(n + 1, n));";

#[test]
fn sessions_that_wait_for_each_other_make_way_for_one_that_loads_alone() {
    let server = start(15);
    server.create_database("tangled", "");
    server.psql("tangled", WAITING_FOR_EACH_OTHER);
    let backup = Backup::of(&server.uri("tangled"));
    let mut request = into(server.uri("again"));
    request.jobs = std::num::NonZeroUsize::new(2);
    let (outcome, told) = backup.restore_telling(request);
    outcome.unwrap();
    assert!(told.iter().any(|line| line.contains("deadlock detected")), "{told:?}");
    assert_same(&server, "again", "tangled");
    assert!(left_overs(&server).is_empty());
}

#[test]
fn a_restored_database_takes_the_place_of_a_busy_one_and_the_undo_line_brings_it_back() {
    let server = start(15);
    let backup = shop(&server, "shop");
    server.psql("postgres", "CREATE ROLE reader; CREATE ROLE keeper CREATEDB");
    server.psql("shop", "UPDATE goods SET name = 'changed'; ALTER DATABASE shop SET search_path TO \"$user\", public, \"Odd, \"\"one\"\"\";
        ALTER DATABASE shop SET work_mem TO '7MB'; ALTER ROLE reader IN DATABASE shop SET statement_timeout TO '3s';
        REVOKE CONNECT ON DATABASE shop FROM PUBLIC; GRANT CONNECT ON DATABASE shop TO reader WITH GRANT OPTION;
        COMMENT ON DATABASE shop IS 'it''s live'; ALTER DATABASE shop CONNECTION LIMIT 77; ALTER DATABASE shop OWNER TO keeper");
    let properties = "SELECT pg_get_userbyid(datdba), datconnlimit, datallowconn, shobj_description(oid, 'pg_database'),
         (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a),
         (SELECT array_agg(setrole || ' ' || setconfig::text ORDER BY 1) FROM pg_db_role_setting WHERE setdatabase = d.oid)
         FROM pg_database d WHERE datname = 'shop'";
    let before = server.psql("postgres", properties);
    let clients = Clients::start(&server, &server.uri("shop"), "shop", 40);
    let restored = backup.restore(replacing(server.uri("shop"))).unwrap();
    let failed = clients.stop();
    // Each is thrown out once, and may come back in the moment between the two names.
    assert!(failed <= 160, "{failed} statements and connections of 40 clients failed");
    assert_eq!(server.psql("postgres", properties), before);
    assert_eq!(server.psql("shop", "SELECT count(*) FROM goods WHERE name = 'changed'"), "0");
    let kept = restored.swapped.kept[0].split('"').nth(1).unwrap().to_owned();
    assert_eq!(server.psql(&kept, "SELECT count(*) FROM goods WHERE name = 'changed'"), "2000");

    let clients = Clients::start(&server, &server.uri("shop"), "shop", 5);
    let undo = restored.swapped.undo.unwrap();
    let output = server_shell(&server, &undo);
    clients.stop();
    assert!(output.status.success(), "{undo}: {output:?}");
    assert_eq!(server.psql("shop", "SELECT count(*) FROM goods WHERE name = 'changed'"), "2000");
    assert_eq!(server.psql("postgres", properties), before);
    assert!(left_overs(&server).is_empty());
}

/// A line that somebody pastes into a shell.
fn server_shell(server: &Server, line: &str) -> std::process::Output {
    let path = format!("{}:{}", server.bin().display(), std::env::var("PATH").unwrap());
    Command::new("sh").args(["-c", line]).env("PATH", path).output().unwrap()
}

/// Sessions that ask all the time, and come again when they are thrown out.
struct Clients {
    stop: Arc<std::sync::atomic::AtomicBool>,
    threads: Vec<thread::JoinHandle<u32>>,
}

impl Clients {
    fn start(server: &Server, uri: &str, database: &str, count: usize) -> Self {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let threads = (0..count).map(|_| {
            let (stop, uri) = (Arc::clone(&stop), uri.to_owned());
            thread::spawn(move || ask_until(&stop, &uri))
        });
        let threads = threads.collect();
        let begun = Instant::now();
        while server.sessions(database).len() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "the clients do not get in");
            thread::sleep(Duration::from_millis(50));
        }
        Self { stop, threads }
    }

    /// How many statements and connections failed.
    fn stop(self) -> u32 {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    }
}

fn ask_until(stop: &std::sync::atomic::AtomicBool, uri: &str) -> u32 {
    let mut failed = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let Ok(mut client) = postgres::Client::connect(uri, postgres::NoTls) else {
            failed += 1;
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            if client.query_one("SELECT count(*) FROM goods", &[]).is_err() {
                failed += 1;
                break;
            }
        }
    }
    failed
}

#[test]
fn a_damaged_backup_is_refused_before_anything_is_made() {
    let server = start(15);
    let backup = shop(&server, "shop");
    let whole = fs::read(&backup.payload).unwrap();
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        bytes
    };
    let tries = [
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        changed(3),
        changed(whole.len() / 2),
        Vec::new(),
    ];
    for bytes in tries {
        fs::write(&backup.payload, bytes).unwrap();
        let refused = backup.restore(replacing(server.uri("shop"))).unwrap_err();
        assert!(refused.is_corruption() && refused.hint().is_some(), "{refused:?}");
        assert_eq!(server.databases(), ["postgres", "shop"]);
    }
    fs::write(&backup.payload, &whole).unwrap();
    let backup = backup.stating(|manifest| manifest.tables[0].rows += 1);
    assert!(backup.restore(into(server.uri("new"))).unwrap_err().is_corruption());
    // A manifest that knows the bytes but not what they hold is judged by the bytes.
    let backup = backup.stating(|manifest| manifest.tables.clear());
    backup.restore(into(server.uri("new"))).unwrap();
    assert_eq!(contents(&server, "new"), contents(&server, "shop"));
}

#[test]
fn an_occupied_target_is_refused_skipped_or_replaced_as_asked() {
    let server = start(16);
    let backup = shop(&server, "shop");
    let refused = backup.restore(into(server.uri("shop"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert!(
        refused.to_string().contains("2 tables") && refused.hint().unwrap().contains("--replace"),
        "{refused:?}"
    );
    let mut request = into(server.uri("shop"));
    request.into_empty = true;
    let plan = backup.plan(request.clone()).unwrap();
    assert_eq!(plan.skipped.as_deref(), Some("database \"shop\" has 2 tables already"));
    let (outcome, told) = backup.restore_telling(request);
    assert!(outcome.unwrap().swapped.undo.is_none() && told[0].contains("nothing was restored"), "{told:?}");

    server.create_database("blank", "");
    let plan = backup.plan(into(server.uri("blank"))).unwrap();
    assert!(!plan.replaces && plan.steps.iter().any(|step| step.contains("blank__restoring_")));
    let restored = backup.restore(into(server.uri("blank"))).unwrap();
    assert_eq!(contents(&server, "blank"), contents(&server, "shop"));
    assert!(restored.swapped.kept[0].contains("blank__before_"));
    assert_eq!(backup.plan(into(server.uri("template1"))).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn passwords_are_in_no_plan_that_is_shown() {
    let server = start(15);
    let backup = shop(&server, "shop");
    let uri = server.uri("new").replace("postgres@", "postgres:s3cret%27x@");
    let plan = backup.plan(into(uri.clone())).unwrap();
    assert!(!plan.target.to_string().contains("s3cret") && !plan.steps.join(" ").contains("s3cret"));
    let restored = backup.restore(into(uri)).unwrap();
    assert!(!format!("{:?}", restored.swapped).contains("s3cret"));
    assert_eq!(contents(&server, "new"), contents(&server, "shop"));
}

#[test]
fn missing_roles_and_extensions_are_named_before_anything_is_made() {
    let server = start(15);
    server.create_database("shop", "");
    server.psql("shop", "CREATE ROLE app; CREATE ROLE \"Odd reader\"; CREATE TABLE t (id integer); ALTER TABLE t OWNER TO app;
        GRANT SELECT ON t TO \"Odd reader\"");
    let backup = Backup::of(&server.uri("shop"));
    let other = start(16);
    let refused = backup.restore(into(other.uri("shop"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains("\"Odd reader\", \"app\""), "{refused}");
    assert!(refused.hint().unwrap().contains("--no-owner --no-privileges"));
    // Known from the archive alone, too.
    let backup = backup.stating(|manifest| drop(manifest.facts.remove("roles")));
    assert!(backup.restore(into(other.uri("shop"))).unwrap_err().to_string().contains("\"app\""));
    let mut request = into(other.uri("shop"));
    (request.no_owner, request.no_privileges) = (true, true);
    backup.restore(request).unwrap();
    assert_eq!(other.psql("shop", "SELECT relowner::regrole FROM pg_class WHERE relname = 't'"), "postgres");

    let backup = backup.stating(|manifest| {
        drop(manifest.facts.insert(
            "extensions".into(),
            json!([{"name": "postgis", "version": "3.4"}, {"name": "plpgsql", "version": "1.0"}]),
        ))
    });
    let refused = backup.restore(into(server.uri("new"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("\"postgis\""), "{refused}");
    assert_eq!(server.databases(), ["postgres", "shop"]);
}

#[test]
fn a_killed_restore_leaves_the_old_or_the_new_and_the_next_one_sweeps() {
    if let Some(folder) = std::env::var_os(VICTIM) {
        let uri = std::env::var("BACKUP_TEST_TARGET").unwrap();
        drop(Backup::open(Path::new(&folder)).restore(replacing(uri)));
        return;
    }
    let server = start(15);
    let backup = shop(&server, "shop");
    server.psql("shop", "UPDATE goods SET name = 'live'");
    for point in [
        "load.created",
        "load.filled",
        "restore.loaded",
        "restore.proven",
        "swap.locked",
        "swap.old-kept",
        "swap.renamed",
        "restore.swapped",
    ] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["a_killed_restore_leaves_the_old_or_the_new_and_the_next_one_sweeps", "--exact"])
            .env(VICTIM, &backup.folder)
            .env("BACKUP_TEST_TARGET", server.uri("shop"))
            .env("BACKUP_CRASH_AT", point)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success(), "{point} was not passed");
        let live = server.psql("shop", "SELECT count(*) FROM goods WHERE name = 'live'");
        let expected = if point == "restore.swapped" { "0" } else { "2000" };
        assert_eq!(live, expected, "{point}");
        let abandoned = left_overs(&server);
        assert_eq!(abandoned.len(), usize::from(point != "restore.swapped"), "{point}: {abandoned:?}");
        eventually(|| {
            backup.plan(replacing(server.uri("shop"))).unwrap();
            left_overs(&server).is_empty()
        });
    }
    backup.restore(replacing(server.uri("shop"))).unwrap();
}

#[track_caller]
fn eventually(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come to hold");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_living_restore_is_not_swept() {
    let server = start(15);
    let backup = shop(&server, "shop");
    let (engine, cx) = (PgEngine::new(&server.uri("shop")).unwrap(), Context::default());
    let plan = engine.plan_restore(&backup.manifest, &into(server.uri("new")), &cx).unwrap();
    let mut staged = engine.load(&backup, &plan, &cx).unwrap();
    engine.inspect(&cx).unwrap();
    assert_eq!(left_overs(&server).len(), 1);
    assert!(staged.prove(&cx).unwrap().is_empty());
    assert_eq!(
        staged.query("SELECT count(*), NULL, min(id) FROM goods").unwrap().as_deref(),
        Some("2000||1")
    );
    assert!(staged.query("DELETE FROM goods").is_err());
    assert_eq!(staged.query("SELECT 1 WHERE false").unwrap(), None);
    drop(staged);
    assert_eq!(server.databases(), ["postgres", "shop"]);
}

#[test]
fn what_was_restored_wrong_is_found() {
    let server = start(15);
    let backup = shop(&server, "shop");
    let (engine, cx) = (PgEngine::new(&server.uri("shop")).unwrap(), Context::default());
    for (damage, told) in [
        ("DELETE FROM orders WHERE id = 7", "orders: has 499 rows"),
        ("UPDATE goods SET name = 'x' WHERE id = 7", "goods: has other rows"),
        ("DROP INDEX by_note", "by_note: the index is missing"),
        ("ALTER TABLE orders DROP CONSTRAINT orders_good_fkey", "the fk constraint is missing"),
        ("DROP VIEW dear", "dear: the view is missing"),
        ("SELECT setval('orders_id_seq', 3)", "orders_id_seq: has not come to 500"),
        ("ALTER TABLE orders RENAME TO elsewhere", "orders: is missing"),
    ] {
        let plan = engine.plan_restore(&backup.manifest, &into(server.uri("new")), &cx).unwrap();
        let mut staged = engine.load(&backup, &plan, &cx).unwrap();
        server.psql(&left_overs(&server)[0], damage);
        let findings: Vec<String> = staged.prove(&cx).unwrap().iter().map(ToString::to_string).collect();
        assert!(findings.iter().any(|finding| finding.contains(told)), "{damage}: {findings:?}");
    }
}

#[test]
fn plain_and_directory_dumps_come_back_too() {
    let server = start(15);
    create_shape_of_everything(&server, "shape");
    for format in [DumpFormat::Plain, DumpFormat::Directory] {
        let mut options = CaptureOptions::default();
        options.format = Some(format);
        let backup = Backup::with(&server.uri("shape"), Content::Full, options);
        let name = format!("from {format}");
        backup.restore(into(server.uri(&name))).unwrap();
        assert_same(&server, &name, "shape");
    }
}

#[test]
fn databases_of_other_encodings_come_back() {
    let server = start(15);
    create_latin1(&server, "latin");
    let backup = Backup::of(&server.uri("latin"));
    backup.restore(into(server.uri("again"))).unwrap();
    assert_eq!(server.psql("again", "SHOW server_encoding"), "LATIN1");
    assert_same(&server, "again", "latin");
}

#[test]
fn names_that_are_taken_or_too_long_give_way() {
    let server = start(15);
    let long = "x".repeat(60) + "äö";
    let long = &long[..62];
    let backup = shop(&server, long);
    for _ in 0..3 {
        let restored = backup.restore(replacing(server.uri(long))).unwrap();
        assert!(restored.swapped.kept[0].contains("__before_"));
    }
    let odd = "it's \"odd\" $1";
    backup.restore(into(server.uri(odd))).unwrap();
    let undo = backup.restore(replacing(server.uri(odd))).unwrap().swapped.undo.unwrap();
    let output = server_shell(&server, &undo);
    assert!(output.status.success(), "{undo}: {output:?}");
    assert_eq!(contents(&server, odd), contents(&server, long));
}

#[test]
fn definitions_alone_come_back_without_rows() {
    let server = start(15);
    let backup = shop(&server, "shop");
    let mut request = into(server.uri("new"));
    request.part = RestorePart::Schema;
    backup.restore(request).unwrap();
    assert_eq!(schema_dump(&server, "new"), schema_dump(&server, "shop"));
    assert_eq!(server.psql("new", "SELECT count(*) FROM goods"), "0");
    let rolling = Backup::with(&server.uri("shop"), Content::Schema, CaptureOptions::default());
    rolling.restore(into(server.uri("rolled"))).unwrap();
    assert_eq!(schema_dump(&server, "rolled"), schema_dump(&server, "shop"));
}

/// Tables that hang together in every way.
const STOCK: &str = "
    CREATE SCHEMA stock;
    CREATE TYPE stock.mood AS ENUM ('calm', 'wild');
    CREATE FUNCTION stock.mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
    CREATE TABLE stock.papers (id serial PRIMARY KEY, name text, mood stock.mood DEFAULT 'calm');
    CREATE INDEX by_name ON stock.papers (name);
    CREATE STATISTICS stock.together ON id, name FROM stock.papers;
    CREATE TRIGGER marks BEFORE UPDATE ON stock.papers FOR EACH ROW EXECUTE FUNCTION stock.mark();
    COMMENT ON TABLE stock.papers IS 'papers';
    INSERT INTO stock.papers (name) SELECT 'paper ' || n FROM generate_series(1, 300) n;
    CREATE TABLE stock.prices (paper integer REFERENCES stock.papers, day date, cents bigint, PRIMARY KEY (paper, day)) PARTITION BY RANGE (day);
    CREATE TABLE stock.prices_old PARTITION OF stock.prices FOR VALUES FROM ('2020-01-01') TO ('2024-01-01');
    CREATE TABLE stock.prices_new PARTITION OF stock.prices FOR VALUES FROM ('2024-01-01') TO ('2030-01-01');
    INSERT INTO stock.prices SELECT n, '2023-12-01'::date + n, n FROM generate_series(1, 200) n;
    CREATE TABLE stock.notes (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
    INSERT INTO stock.notes (note) SELECT 'note ' || n FROM generate_series(1, 50) n;";

fn of_tables(uri: String, tables: &[&str], replace: bool) -> RestoreRequest {
    let mut request = into(uri);
    request.tables = tables.iter().map(|table| (*table).to_owned()).collect();
    request.replace = replace;
    request
}

fn stock(server: &Server) -> Backup {
    server.create_database("stock", "");
    server.psql("stock", STOCK);
    Backup::of(&server.uri("stock"))
}

#[test]
fn single_tables_come_with_what_belongs_to_them_into_a_new_database() {
    let server = start(15);
    let backup = stock(&server);
    let unknown = backup.restore(of_tables(server.uri("new"), &["paper"], false)).unwrap_err();
    assert!(unknown.is_not_found() && unknown.hint().unwrap().contains("stock.papers"), "{unknown:?}");
    assert_eq!(server.databases(), ["postgres", "stock"]);
    let (outcome, told) =
        backup.restore_telling(of_tables(server.uri("new"), &["stock.prices", "notes"], false));
    outcome.unwrap();
    assert!(told.iter().any(|line| line.contains("foreign key")), "{told:?}");
    let tables = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'stock'::regnamespace AND relkind IN ('r', 'p', 'i', 'I', 'S')";
    assert_eq!(
        server.psql("new", tables),
        "notes notes_id_seq notes_pkey prices prices_new prices_new_pkey prices_old prices_old_pkey prices_pkey"
    );
    assert_eq!(
        server.psql("new", "SELECT (SELECT count(*) FROM stock.prices), (SELECT count(*) FROM stock.notes)"),
        "200|50"
    );
    backup.restore(of_tables(server.uri("both"), &["papers", "prices"], false)).unwrap();
    assert_eq!(
        server.psql("both", "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"),
        "1"
    );
    assert_eq!(server.psql("both", "INSERT INTO stock.papers (name) VALUES ('next') RETURNING id"), "301");
    assert_eq!(server.psql("both", "SELECT obj_description('stock.papers'::regclass), count(*) FROM pg_trigger WHERE tgname = 'marks'"), "papers|1");
}

#[test]
fn single_tables_replace_those_of_a_living_database_in_one_transaction() {
    let server = start(15);
    let backup = stock(&server);
    server.psql("stock", "UPDATE stock.notes SET note = 'spoilt'; TRUNCATE stock.prices; DELETE FROM stock.papers WHERE id > 150");
    let before = schema_dump(&server, "stock");
    let refused = backup.restore(of_tables(server.uri("stock"), &["notes"], false)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    let restored = backup.restore(of_tables(server.uri("stock"), &["notes"], true)).unwrap();
    assert_eq!(server.psql("stock", "SELECT count(*) FROM stock.notes WHERE note LIKE 'note %'"), "50");
    assert_eq!(server.psql("stock", "INSERT INTO stock.notes (note) VALUES ('next') RETURNING id"), "51");
    assert!(restored.swapped.kept[0].contains("before_"), "{:?}", restored.swapped);
    let undo = restored.swapped.undo.unwrap();
    let output = server_shell(&server, &undo);
    assert!(output.status.success(), "{undo}: {output:?}");
    assert_eq!(server.psql("stock", "SELECT count(*) FROM stock.notes WHERE note = 'spoilt'"), "50");
    assert_eq!(schema_dump(&server, "stock"), before);

    // Others refer to it and stay.
    let refused = backup.restore(of_tables(server.uri("stock"), &["papers"], true)).unwrap_err();
    assert!(
        refused.to_string().contains("prices") && refused.hint().unwrap().contains("Nothing was changed"),
        "{refused:?}"
    );
    server.psql("stock", "CREATE VIEW stock.v AS SELECT * FROM stock.notes");
    let refused = backup.restore(of_tables(server.uri("stock"), &["notes"], true)).unwrap_err();
    assert!(refused.to_string().contains("view stock.v"), "{refused:?}");
    server.psql("stock", "DROP VIEW stock.v");
    let refused = backup.restore(of_tables(server.uri("stock"), &["prices_old"], true)).unwrap_err();
    assert!(refused.to_string().contains("is a partition"), "{refused:?}");
    assert_eq!(schema_dump(&server, "stock"), before);

    // Both sides of a key together, and one of two whose other side is there.
    let restored = backup.restore(of_tables(server.uri("stock"), &["papers", "prices"], true)).unwrap();
    let counts = "SELECT (SELECT count(*) FROM stock.papers), (SELECT count(*) FROM stock.prices)";
    assert_eq!(server.psql("stock", counts), "300|200");
    assert_eq!(schema_dump_of(&server, "stock"), schema_of_text(&before));
    assert!(server_shell(&server, &restored.swapped.undo.unwrap()).status.success());
    assert_eq!(server.psql("stock", counts), "150|0");
    server.psql("stock", "DROP TABLE stock.prices");
    let restored = backup.restore(of_tables(server.uri("stock"), &["prices"], false));
    let refused = restored.unwrap_err();
    assert!(
        refused.to_string().contains("violates") || refused.to_string().contains("foreign key"),
        "{refused:?}"
    );
    server.psql("stock", "INSERT INTO stock.papers (id) SELECT generate_series(151, 300)");
    backup.restore(of_tables(server.uri("stock"), &["prices"], false)).unwrap();
    assert_eq!(server.psql("stock", counts), "300|200");
    assert!(left_overs(&server).is_empty());
}

/// The definitions in the schema `stock`, without those that are kept beside.
fn schema_dump_of(server: &Server, database: &str) -> Vec<String> {
    schema_of_text(&server.run("pg_dump", database, &["--schema-only", "--schema=stock"]))
}

fn schema_of_text(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| line.contains("stock.") && !line.starts_with("--"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn rows_alone_come_back_only_into_the_definitions_they_were_dumped_from() {
    let server = start(15);
    let backup = stock(&server);
    let rolling = Backup::with(&server.uri("stock"), Content::Data, CaptureOptions::default());
    let rows = |name: &str, replace: bool| {
        let mut request = into(server.uri(name));
        (request.part, request.replace) = (RestorePart::Data, replace);
        request
    };
    assert!(backup.restore(rows("nowhere", false)).unwrap_err().is_not_found());
    assert_eq!(backup.restore(rows("stock", false)).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let expected = contents(&server, "stock");
    for (name, backup) in [("copy", &backup), ("rolled", &rolling)] {
        server.create_database(name, "");
        server.psql(name, STOCK);
        server.psql(
            name,
            "UPDATE stock.notes SET note = 'other'; COMMENT ON TABLE stock.notes IS 'target''s own'",
        );
        let restored = backup.restore(rows(name, true)).unwrap();
        assert_eq!(contents(&server, name), expected);
        assert_eq!(server.psql(name, "SELECT obj_description('stock.notes'::regclass)"), "target's own");
        assert!(restored.swapped.kept[0].contains("__before_"));
    }
    server.psql("copy", "TRUNCATE stock.papers, stock.prices, stock.notes");
    backup.restore(rows("copy", false)).unwrap();
    assert_eq!(contents(&server, "copy"), expected);
    server.psql("copy", "ALTER TABLE stock.notes ADD COLUMN more text");
    let refused = backup.restore(rows("copy", true)).unwrap_err();
    assert!(refused.to_string().contains("the table stock.notes is defined differently"), "{refused:?}");
    assert!(left_overs(&server).is_empty());
}

#[test]
fn a_drill_leaves_no_database_behind_whatever_happens() {
    let server = start(15);
    server.create_database("shop", "");
    server.psql("shop", SHOP);
    server.psql("shop", "ALTER DATABASE shop SET search_path TO public");
    let vault = Vault::new(Arc::new(MemoryStore::default()), SourceName::new("shop").unwrap());
    let (engine, cx) = (PgEngine::new(&server.uri("shop")).unwrap(), Context::default());
    let taken = run(&vault, &engine, &RunOptions::default(), &cx).unwrap();
    let artifact = vault.artifact(taken.id()).unwrap();
    let options = DrillOptions::default().with_smoke(["SELECT count(*), max(id) FROM goods"]);
    let drilled = drill(&vault, &artifact, &engine, &options, &cx).unwrap();
    assert!(drilled.is_ok() && drilled.proof.restore_seconds.is_some());
    assert_eq!(drilled.proof.smoke[0].answer.as_deref(), Some("2000|2000"));
    assert_eq!(server.databases(), ["postgres", "shop"]);

    let other = start(15);
    let elsewhere = DrillOptions::default().on(Target::Postgres(other.uri("")));
    assert!(drill(&vault, &artifact, &engine, &elsewhere, &cx).unwrap().is_ok());
    assert_eq!(other.databases(), ["postgres"]);

    let failing = DrillOptions::default().with_smoke(["SELECT nonsense"]);
    assert!(!drill(&vault, &artifact, &engine, &failing, &cx).unwrap().is_ok());
    assert_eq!(server.databases(), ["postgres", "shop"]);

    let cancel = CancelToken::default();
    cancel.cancel();
    drill(&vault, &artifact, &engine, &options, &cx.clone().with_cancel(cancel)).unwrap_err();
    assert_eq!(server.databases(), ["postgres", "shop"]);
}

#[test]
fn a_role_without_superpowers_restores_what_it_owns_and_is_told_what_it_cannot() {
    let server = start(15);
    server.psql(
        "postgres",
        "CREATE ROLE app LOGIN CREATEDB; CREATE ROLE guest LOGIN; CREATE DATABASE shop OWNER app",
    );
    let uri = |role: &str, name: &str| server.uri(name).replace("postgres@", &format!("{role}@"));
    server.run("psql", "shop", &["-Xq", "-U", "app", "-c", SHOP]);
    let backup = Backup::of(&uri("app", "shop"));
    let clients = Clients::start(&server, &uri("app", "shop"), "shop", 3);
    backup.restore(replacing(uri("app", "shop"))).unwrap();
    clients.stop();
    assert_eq!(server.psql("shop", "SELECT relowner::regrole FROM pg_class WHERE relname = 'goods'"), "app");

    // The superuser's session stays, and so does the database.
    let clients = Clients::start(&server, &server.uri("shop"), "shop", 1);
    let refused = backup.restore(replacing(uri("app", "shop"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    assert!(refused.hint().unwrap().contains("as it was"), "{refused:?}");
    assert_eq!(clients.stop(), 0);
    for (target, told) in [("new", "may not create databases"), ("shop", "may not create databases")] {
        let refused = backup.restore(replacing(uri("guest", target))).unwrap_err();
        assert!(refused.kind() == ErrorKind::Denied && refused.to_string().contains(told), "{refused:?}");
    }
    server.psql("postgres", "ALTER ROLE guest CREATEDB");
    let refused = backup.restore(replacing(uri("guest", "shop"))).unwrap_err();
    assert!(
        refused.kind() == ErrorKind::Denied && refused.to_string().contains("does not own"),
        "{refused:?}"
    );
    let refused = backup.restore(into(uri("guest", "new"))).unwrap_err();
    assert!(
        refused.kind() == ErrorKind::Denied && refused.hint().unwrap().contains("--no-owner"),
        "{refused:?}"
    );
    assert_eq!(server.databases().iter().filter(|name| !name.contains("__before_")).count(), 2);
}

#[test]
fn a_prepared_transaction_is_told_before_anything_is_made() {
    let server = Server::with(15, &["max_prepared_transactions=2"]);
    let backup = shop(&server, "shop");
    server.psql("shop", "BEGIN; DELETE FROM orders; PREPARE TRANSACTION 'open'");
    let refused = backup.plan(replacing(server.uri("shop"))).unwrap_err();
    assert!(refused.kind() == ErrorKind::Busy && refused.to_string().contains("prepared"), "{refused:?}");
}

#[test]
fn tables_of_a_killed_restore_are_the_old_ones() {
    if let Some(folder) = std::env::var_os(VICTIM) {
        let uri = std::env::var("BACKUP_TEST_TARGET").unwrap();
        drop(Backup::open(Path::new(&folder)).restore(of_tables(uri, &["orders"], true)));
        return;
    }
    let server = start(15);
    let backup = shop(&server, "shop");
    server.psql("shop", "DELETE FROM orders WHERE id > 10");
    let before = schema_dump(&server, "shop");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["tables_of_a_killed_restore_are_the_old_ones", "--exact"])
        .env(VICTIM, &backup.folder)
        .env("BACKUP_TEST_TARGET", server.uri("shop"))
        .env("BACKUP_CRASH_AT", "swap.renamed")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(!status.unwrap().success());
    assert_eq!(server.psql("shop", "SELECT count(*) FROM orders"), "10");
    assert_eq!(schema_dump(&server, "shop"), before);
    backup.restore(of_tables(server.uri("shop"), &["orders"], true)).unwrap();
    assert_eq!(server.psql("shop", "SELECT count(*) FROM orders"), "500");
    assert!(left_overs(&server).is_empty());
}

#[test]
fn rows_too_long_to_be_held_come_back_between_short_ones() {
    let server = start(15);
    server.create_database("films", "");
    server.psql(
        "films",
        "CREATE TABLE reels (id integer, film text);
         INSERT INTO reels SELECT n, repeat(md5(n::text), CASE WHEN n % 4 = 0 THEN 800000 ELSE n END)
           FROM generate_series(1, 13) n;
         CREATE TABLE last (film text);
         INSERT INTO last VALUES (''), (repeat('é', 9000000)), ('')",
    );
    let backup = Backup::of(&server.uri("films"));
    backup.restore(into(server.uri("new"))).unwrap();
    let sums = "SELECT count(*), sum(length(film)), min(md5(film)), max(md5(film)) FROM";
    for table in ["reels", "last"] {
        let sums = format!("{sums} {table}");
        assert_eq!(server.psql("new", &sums), server.psql("films", &sums), "{table}");
    }
}

#[test]
fn large_tables_are_compared_in_pieces_to_their_last_row() {
    let server = start(15);
    server.create_database("wide", "");
    // Few rows on many pages.
    server.psql(
        "wide",
        "CREATE TABLE rows (id integer, \"odd, (name\" text) WITH (fillfactor = 10);
         ALTER TABLE rows ALTER COLUMN \"odd, (name\" SET STORAGE PLAIN;
         INSERT INTO rows SELECT n, repeat(chr(64 + n % 60), 900) FROM generate_series(1, 7000) n;
         CREATE TABLE medium AS SELECT n, repeat('é', 400) AS text FROM generate_series(1, 12000) n",
    );
    assert!(server.psql("wide", "SELECT pg_relation_size('rows') / 8192 > 6144").starts_with('t'));
    let backup = Backup::of(&server.uri("wide"));
    let (engine, cx) = (PgEngine::new(&server.uri("wide")).unwrap(), Context::default());
    let mut request = into(server.uri("new"));
    request.jobs = std::num::NonZeroUsize::new(3);
    let plan = engine.plan_restore(&backup.manifest, &request, &cx).unwrap();
    let mut staged = engine.load(&backup, &plan, &cx).unwrap();
    assert_eq!(staged.prove(&cx).unwrap(), []);
    let restored = left_overs(&server).remove(0);
    for id in [1, 4000, 7000] {
        server.psql(&restored, &format!("UPDATE rows SET id = -id WHERE id = {id}"));
        let findings = staged.prove(&cx).unwrap();
        assert!(findings.len() == 1 && findings[0].what.contains("other rows"), "{id}: {findings:?}");
        server.psql(&restored, &format!("UPDATE rows SET id = -id WHERE id = -{id}"));
        assert_eq!(staged.prove(&cx).unwrap(), []);
    }
    server.psql(&restored, "DELETE FROM medium WHERE n = 12000");
    assert!(staged.prove(&cx).unwrap()[0].what.contains("11999 rows"));
}
