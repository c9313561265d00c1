//! Backups into a bucket through a network and a server that fail in every way the proxy knows.
//!
//! Whatever happens, one of two things comes out: a backup that proves itself over a second, direct connection, or an
//! error and no backup; and the older ones are as they were.

#[path = "../backup-storage/tests/support/mod.rs"]
mod bucket;
#[path = "support/fault_proxy.rs"]
mod fault_proxy;
#[path = "support/sink.rs"]
mod sink;
mod support;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime},
};

use backup::{
    BackupId, Backups, Context, ErrorKind, JobMirror, Level, Mirror, RestoreOptions, RunOptions, Taken,
    context::Clock,
    event::Event,
    id::Key,
    store::{PutMode, Store},
};
use backup_storage::{LocalStore, MemoryStore, ObjectOptions};
use bucket::{KEY_ID, S3Server, SECRET, files_below};
use fault_proxy::{Counts, Fault, FaultProxy, Rule};
use jiff::Timestamp;
use support::{Outcome, Shop};

/// Photographs of 100 kB that no compressor can shorten: 40 MB, which go up in five parts.
const PHOTOS: u32 = 400;
const PARTS: u64 = 5;
const PLACE: &str = "backups/db";

/// A shop far from its bucket, with the proxy on the way.
struct World {
    server: S3Server,
    folder: PathBuf,
    proxy: FaultProxy,
    shop: Shop,
}

impl World {
    fn open() -> Self {
        Self::with(bucket::Fault::None)
    }

    fn with(fault: bucket::Fault) -> Self {
        let server = S3Server::start_with(fault);
        let folder = server.bucket("backups").join("db");
        fs::create_dir_all(&folder).unwrap();
        let proxy = FaultProxy::start(server.address());
        let shop = Shop::open();
        shop.execute(&format!(
            "CREATE TABLE photos(id INTEGER PRIMARY KEY, image BLOB); \
             INSERT INTO photos(image) WITH RECURSIVE n(i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PHOTOS}) SELECT randomblob(100000) FROM n"
        ));
        Self { server, folder, proxy, shop }
    }

    /// The backups as a new process has them, without the proxy.
    fn direct(&self) -> Backups {
        self.backups(Arc::new(self.server.store_with(PLACE, &patient(3))), Context::default())
    }

    /// The same through the proxy; transient failures are repeated for so many seconds.
    fn through(&self, seconds: u64) -> Backups {
        self.backups(self.far_store(seconds), Context::default())
    }

    fn far_store(&self, seconds: u64) -> Arc<dyn Store> {
        let url = format!("s3://{PLACE}?endpoint={}", self.proxy.url());
        Arc::new(backup_storage::ObjectStore::open(&url, &patient(seconds)).unwrap())
    }

    fn backups(&self, store: Arc<dyn Store>, context: Context) -> Backups {
        let source = format!("sqlite:{}", self.shop.database().display());
        let context = context.with_scratch(self.shop.path("scratch"));
        fs::create_dir_all(self.shop.path("scratch")).unwrap();
        Backups::builder().opened_store(store).source("shop", source).context(context).build().unwrap()
    }

    fn run(&self, seconds: u64) -> backup::Result<Taken> {
        self.through(seconds).job("shop").unwrap().blocking().run(RunOptions::default())
    }

    /// The command with the bucket as its store, as somebody runs it who has set up the AWS tools.
    fn command(&self, through_proxy: bool, arguments: &[&str]) -> Command {
        let far = format!("s3://{PLACE}?endpoint={}", self.proxy.url());
        let url = if through_proxy { far } else { self.server.url(PLACE) };
        let mut command = self.shop.command_on(&url, arguments);
        command.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command
    }

    #[track_caller]
    fn command_ends(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(false, arguments).output().unwrap(), arguments)
    }

    fn listed(&self) -> Vec<BackupId> {
        let manifests = self.direct().job("shop").unwrap().blocking().list().unwrap();
        manifests.into_iter().map(|manifest| manifest.id).collect()
    }

    /// Every stored byte of the backups that there are.
    fn objects(&self) -> BTreeMap<String, blake3::Hash> {
        let names = files_below(&self.folder).into_iter().filter(|name| name.starts_with("shop/full/"));
        names.map(|name| (name.clone(), blake3::hash(&fs::read(self.folder.join(name)).unwrap()))).collect()
    }

    /// Checks a new backup: proven to `structure` and restored, both over the direct connection.
    #[track_caller]
    fn is_proven(&self, id: &BackupId, what: &str) {
        let job = self.direct().job("shop").unwrap().blocking();
        let verified = job.verify(id, Level::Structure).unwrap();
        assert!(verified.is_ok(), "{what}: {:?}", verified.proof);
        let copy = self.shop.path("copy.db");
        let _ = fs::remove_file(&copy);
        job.restore(id, RestoreOptions::into(format!("sqlite:{}", copy.display()).as_str())).unwrap();
        assert!(photos(&copy) == photos(&self.shop.database()), "{what}: the restored database differs");
    }

    /// Lets one backup happen in this weather, and checks that it ends well: proven, or as if it had not been tried.
    #[track_caller]
    fn weather(&self, what: &str, patience: u64, rules: Vec<Rule>) -> backup::Result<Taken> {
        let (ids, objects, faults) = (self.listed(), self.objects(), self.faults());
        self.proxy.script(rules);
        let outcome = self.run(patience);
        self.proxy.script(Vec::new());
        assert_ne!(self.faults(), faults, "{what}: it did not happen");
        let now = self.listed();
        match &outcome {
            Ok(taken) => {
                assert_eq!(now, [ids.as_slice(), &[taken.id().clone()]].concat(), "{what}");
                self.is_proven(taken.id(), what);
            }
            Err(error) => {
                assert_eq!(now, ids, "{what}: {error:?}");
                assert!(error.hint().is_some(), "{what}: {error:?}");
                assert!(format!("{error:?}").contains(PLACE), "{what} does not name the store: {error:?}");
            }
        }
        let stored = self.objects();
        let is_kept = |(name, hash): (&String, &blake3::Hash)| stored.get(name) == Some(hash);
        assert!(objects.iter().all(is_kept), "{what}: an older backup was changed");
        outcome
    }

    #[track_caller]
    fn proven(&self, what: &str, rules: Vec<Rule>) {
        self.weather(what, 60, rules).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    }

    /// Checks that a backup fails in this weather, and that the next one does not.
    #[track_caller]
    fn fails(&self, what: &str, kind: ErrorKind, rules: Vec<Rule>) {
        let error = self.weather(what, 1, rules).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error:?}");
    }

    /// What has happened, apart from requests.
    fn faults(&self) -> Counts {
        Counts { requests: 0, ..self.proxy.faults() }
    }
}

/// The options of a test: what waits in minutes waits in seconds.
fn patient(seconds: u64) -> ObjectOptions {
    let mut options = bucket::options();
    options.patience = Duration::from_secs(seconds);
    options.first_patience = options.patience;
    options.idle_timeout = Duration::from_secs(3);
    options.slowest_upload = u64::MAX;
    options
}

/// How many photographs a database has, and one hash over all.
fn photos(database: &Path) -> (u32, blake3::Hash) {
    let connection = rusqlite::Connection::open(database).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok", "{}", database.display());
    let mut query = connection.prepare("SELECT id, image FROM photos ORDER BY id").unwrap();
    let mut rows = query.query([]).unwrap();
    let (mut count, mut hash) = (0, blake3::Hasher::new());
    while let Some(row) = rows.next().unwrap() {
        count += 1;
        hash.update(&row.get::<_, i64>(0).unwrap().to_le_bytes());
        hash.update(&row.get::<_, Vec<u8>>(1).unwrap());
    }
    (count, hash.finalize())
}

/// Long campaigns are asked for.
fn is_full() -> bool {
    env::var_os("BACKUP_FULL").is_some()
}

fn part(number: u64) -> String {
    format!("partNumber={number}&")
}

/// This fault at each part of an upload, once.
fn at_each_part(fault: &Fault) -> Vec<Rule> {
    (1..=PARTS).map(|number| Rule::new(fault.clone()).method("PUT").path(&part(number))).collect()
}

/// The request that puts the parts together.
fn at_completion(fault: Fault) -> Rule {
    Rule::new(fault).method("POST").path("uploadId=")
}

const CUT_SHORT: Fault = Fault::CutRequest { after: 100 };
const CUT_LATE: Fault = Fault::CutRequest { after: 3 << 20 };
const LOST: Fault = Fault::CutResponse { after: 0 };

#[test]
fn a_connection_that_breaks_at_every_part_costs_a_repetition() {
    let world = World::open();
    for (what, fault) in [("cut early", CUT_SHORT), ("cut late", CUT_LATE), ("answers lost", LOST)] {
        let before = world.faults();
        world.proven(what, at_each_part(&fault));
        let now = world.faults();
        let happened = now.cut_requests + now.cut_responses - before.cut_requests - before.cut_responses;
        assert_eq!(happened, PARTS, "{what}");
    }
}

#[test]
fn the_end_of_an_upload_may_fail_in_any_way() {
    let world = World::open();
    let (in_body, slow) = (Fault::ErrorInBody { code: "InternalError" }, Fault::slow_down());
    let conflict = Fault::Answer { status: 409, code: "ConditionalRequestConflict", retry_after: None };
    world.proven(
        "the completion fails five times, and its last answer is lost",
        vec![
            at_completion(CUT_SHORT),
            at_completion(in_body),
            at_completion(slow).times(2),
            at_completion(conflict),
            at_completion(LOST),
        ],
    );
    let faults = world.faults();
    assert_eq!(
        (faults.cut_requests, faults.errors_in_body, faults.answered, faults.cut_responses),
        (1, 1, 3, 1)
    );

    world.proven("the completion is sent twice", vec![at_completion(Fault::Duplicate)]);
    let twice = |method: &str, path: &str| Rule::new(Fault::Duplicate).method(method).path(path);
    world.proven(
        "everything else is sent twice",
        vec![
            twice("PUT", ".leases/"),
            twice("PUT", ".claims/"),
            twice("POST", "uploads"),
            twice("PUT", "partNumber").always(),
            twice("PUT", ".json").always(),
            twice("DELETE", "").always(),
        ],
    );
    assert!(world.faults().duplicated > 10, "{:?}", world.faults());
}

#[test]
fn answers_that_are_lost_after_the_server_acted_are_found_out() {
    let world = World::open();
    let lost = |method: &str, path: &str| Rule::new(LOST).method(method).path(path);
    world.proven(
        "every kind of answer is lost once",
        vec![
            lost("PUT", ".leases/"),
            lost("PUT", ".claims/"),
            lost("POST", "uploads"),
            lost("PUT", "partNumber"),
            lost("POST", "uploadId="),
            lost("PUT", "/full/"),
            lost("PUT", "/proofs/"),
            lost("DELETE", ".claims/"),
            lost("DELETE", ".leases/"),
        ],
    );
    assert_eq!(world.faults().cut_responses, 9);
    let left = files_below(&world.folder);
    assert!(!left.iter().any(|name| name.starts_with('.')), "left behind: {left:?}");
}

#[test]
fn a_server_that_refuses_for_a_while_is_asked_again() {
    let world = World::open();
    for number in 1..=3 {
        let (from, times) = (1 + number * 5, 3);
        let rules = vec![
            Rule::new(Fault::slow_down()).from(from).times(times),
            Rule::new(Fault::internal_error()).from(from).times(times),
            Rule::new(Fault::too_many_requests(1)).from(from + 1).times(2),
        ];
        let before = world.faults().answered;
        world.proven(&format!("8 refusals from request {from} on"), rules);
        assert_eq!(world.faults().answered - before, 2 * times + 2);
    }
}

/// Each request fails with a chance of three in ten, in one of six ways, all through a run, its proof and its end.
#[test]
fn a_storm_over_the_whole_run_is_sat_out() {
    let world = World::open();
    let seeds = if is_full() { 1..=20 } else { 1..=2 };
    for seed in seeds {
        let faults = [
            Fault::slow_down(),
            Fault::internal_error(),
            Fault::too_many_requests(0),
            CUT_SHORT,
            LOST,
            Fault::TruncateBody { after: 10 },
        ];
        // 0.3 in all: what the first does not meet, the second may.
        let each = 1.0 - 0.7_f64.powf(1.0 / faults.len() as f64);
        let rules = faults.into_iter().zip(seed * 100..);
        let rules = rules.map(|(fault, seed)| Rule::new(fault).with_probability(each, seed)).collect();
        let before = world.proxy.faults().requests;
        world.proven(&format!("storm {seed}"), rules);
        assert!(world.proxy.faults().requests - before > 20, "the storm met a whole run");
    }
    let faults = world.faults();
    assert!(faults.answered > 5 && faults.cut_requests + faults.cut_responses > 3, "{faults:?}");
}

#[test]
fn a_server_that_falls_silent_is_asked_again() {
    let world = World::open();
    let silent = |method: &str, path: &str| {
        Rule::new(Fault::Stall(Duration::from_secs(3600))).method(method).path(path)
    };
    world.proven(
        "silence at a part, at the completion, at the manifest and while it is read again",
        vec![
            silent("PUT", &part(2)),
            silent("POST", "uploadId="),
            silent("PUT", ".json"),
            silent("GET", ".db.zst"),
        ],
    );
    assert_eq!(world.faults().stalled, 4);
}

#[test]
fn what_fails_for_good_is_a_clear_error_and_no_backup() {
    let world = World::open();
    world.run(3).unwrap();
    let refuses =
        |method: &str, path: &str| vec![Rule::new(Fault::slow_down()).method(method).path(path).always()];
    let parts: Vec<u64> = if is_full() { (1..=PARTS).collect() } else { vec![1, PARTS] };
    for number in parts {
        world.fails(&format!("part {number}"), ErrorKind::Unavailable, refuses("PUT", &part(number)));
        let cut = vec![Rule::new(CUT_LATE).path(&part(number)).always()];
        world.fails(&format!("part {number} cut"), ErrorKind::Unavailable, cut);
    }
    world.fails("the lease", ErrorKind::Unavailable, refuses("PUT", ".leases/"));
    world.fails("the claim", ErrorKind::Unavailable, refuses("PUT", ".claims/"));
    world.fails("the upload's beginning", ErrorKind::Unavailable, refuses("POST", "uploads"));
    world.fails("the completion", ErrorKind::Unavailable, refuses("POST", "uploadId="));
    let in_body = vec![at_completion(Fault::ErrorInBody { code: "InternalError" }).always()];
    world.fails("the completion, in a 200", ErrorKind::Unavailable, in_body);
    world.fails("reading again", ErrorKind::Unavailable, refuses("GET", ".db.zst"));
    world.fails("the manifest", ErrorKind::Unavailable, refuses("PUT", ".json"));
    let denied = Fault::Answer { status: 403, code: "AccessDenied", retry_after: None };
    world.fails("denied", ErrorKind::Denied, vec![Rule::new(denied).path("partNumber")]);
    let full = Fault::Answer { status: 507, code: "InsufficientStorage", retry_after: None };
    world.fails("full", ErrorKind::NoSpace, vec![Rule::new(full).path("partNumber")]);

    let taken = world.run(3).unwrap();
    world.is_proven(taken.id(), "after the storms");
    let left = files_below(&world.folder);
    assert!(!left.iter().any(|name| name.starts_with('.')), "left behind: {left:?}");
}

/// The store has the manifest and nobody hears of it: the backup is whole, and the error says how to find out.
#[test]
fn a_store_that_falls_silent_at_the_commit_leaves_a_whole_backup_or_none() {
    let world = World::open();
    world.proxy.script(vec![
        Rule::new(LOST).method("PUT").path("Z.json"),
        Rule::new(Fault::slow_down()).path("Z.json").always(),
    ]);
    let outcome = world.run(2);
    world.proxy.script(Vec::new());
    let listed = world.listed();
    match outcome {
        Ok(taken) => assert_eq!(listed, [taken.id().clone()]),
        Err(error) => assert!(error.hint().is_some_and(|hint| hint.contains("backup list")), "{error:?}"),
    }
    listed.iter().for_each(|id| world.is_proven(id, "committed unheard"));
    assert_eq!(world.faults().cut_responses, 1);
}

#[test]
fn a_restore_through_a_storm_is_equal_or_leaves_the_target_alone() {
    let world = World::open();
    let taken = world.run(3).unwrap();
    let target = world.shop.path("target.db");
    let into = || RestoreOptions::into(format!("sqlite:{}", target.display()).as_str());
    let payload = |fault: Fault| Rule::new(fault).method("GET").path(".db.zst");
    let silent = Fault::Stall(Duration::from_secs(3600));
    let weathers = [
        ("bodies cut off", vec![payload(Fault::TruncateBody { after: 1000 }).times(4)]),
        ("connections cut", vec![payload(Fault::CutResponse { after: 200 }).times(4)]),
        ("refusals", vec![payload(Fault::slow_down()).from(2).times(5)]),
        ("silence", vec![payload(silent).from(2)]),
        ("a storm", vec![Rule::new(Fault::internal_error()).with_probability(0.3, 7)]),
    ];
    for (what, rules) in weathers {
        let before = world.faults();
        world.proxy.script(rules);
        let job = world.through(60).job("shop").unwrap().blocking();
        job.restore(taken.id(), into()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(job.verify(taken.id(), Level::Structure).unwrap().is_ok(), "{what}");
        assert_ne!(world.faults(), before, "{what}: it did not happen");
        assert!(photos(&target) == photos(&world.shop.database()), "{what}");
        fs::remove_file(&target).unwrap();
    }

    world.proxy.script(vec![payload(Fault::TruncateBody { after: 5000 }).always()]);
    let job = world.through(2).job("shop").unwrap().blocking();
    let error = job.restore(taken.id(), into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(!target.exists(), "nothing was there, and nothing is");

    fs::copy(world.shop.database(), &target).unwrap();
    rusqlite::Connection::open(&target).unwrap().execute("DELETE FROM photos WHERE id > 3", []).unwrap();
    let old = fs::read(&target).unwrap();
    let error = job.restore(taken.id(), into().with_replace(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(fs::read(&target).unwrap() == old, "the target was touched");
    let error = job.verify(taken.id(), Level::Structure).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "not to be able to look is no damage: {error:?}");
    let names = support::names_in(world.shop.path("").as_path());
    assert!(!names.iter().any(|name| name.contains(".restoring-")), "{names:?}");
}

#[test]
fn a_mirror_behind_a_storm_catches_up() {
    let world = World::open();
    let local: Arc<dyn Store> = Arc::new(LocalStore::new(world.shop.store()).unwrap());
    let job = |seconds| {
        let mirror = JobMirror::new(Mirror::new("offsite", world.far_store(seconds)), None);
        let job = world.backups(Arc::clone(&local), Context::default()).job("shop").unwrap();
        job.with_mirrors([mirror]).blocking()
    };
    let storm = || vec![Rule::new(Fault::slow_down()).path(&part(3)).always()];
    world.proxy.script(storm());
    let first = job(2).run(RunOptions::default()).unwrap();
    assert!(first.is_good() && first.copies.len() == 1, "{first:?}");
    let told = first.copies[0].error.as_ref().expect("the mirror's failure is told");
    assert!(!first.copies[0].ok && told.contains("overloaded"), "{told}");
    assert_eq!(world.listed(), []);

    let second = job(2).run(RunOptions::default()).unwrap();
    assert_eq!(world.listed(), [], "still stormy");
    let faults = world.faults().answered;
    assert!(faults > 2);

    world.proxy.script(vec![Rule::new(Fault::slow_down()).with_probability(0.3, 3)]);
    let caught_up = job(60).mirror();
    let mirrored = caught_up[0].1.as_ref().unwrap();
    assert!(mirrored.is_ok() && mirrored.copied.len() == 2, "{mirrored:?}");
    assert!(world.faults().answered > faults);
    world.proxy.script(Vec::new());
    assert_eq!(world.listed(), [first.id().clone(), second.id().clone()]);
    world.is_proven(first.id(), "the older copy");
    world.is_proven(second.id(), "the newer copy");
}

/// A process whose stderr is read line by line.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines }
    }

    #[track_caller]
    fn says(&mut self, wanted: &str) {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended without saying {wanted:?}");
        }
    }

    /// The id it printed.
    #[track_caller]
    fn ends_well(mut self) -> String {
        let mut told = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut told).unwrap();
        let output = self.child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{told}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Both wait for a third; when that ends they go for the bucket at the same moment.
#[test]
fn two_hosts_at_the_same_second_make_a_backup_each() {
    let world = World::open();
    let lease = world.server.store(PLACE).lease("shop").unwrap();
    let busy = world.command_ends(&["run", "shop.db"]).exits(5);
    busy.says(&format!("process {}", std::process::id())).says("--wait");

    let run = || Running::start(world.command(false, &["run", "shop.db", "--wait", "120"]));
    let (mut one, mut other) = (run(), run());
    one.says("waiting: another run holds \"shop\"");
    other.says(&format!("process {}", std::process::id()));
    drop(lease);
    let mut ids: Vec<BackupId> = [one.ends_well(), other.ends_well()].map(|id| id.parse().unwrap()).into();
    ids.sort();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(world.listed(), ids);
    ids.iter().for_each(|id| world.is_proven(id, "one of two"));
}

#[test]
fn who_waits_can_be_stopped_and_does_not_wait_forever() {
    let world = World::open();
    let store = MemoryStore::new();
    let lease = store.lease("shop").unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let observer = move |event: &Event| {
        if let Event::Waiting(whom) = event {
            hears.lock().unwrap().push(whom.clone());
        }
    };
    let context = Context::default().with_observer(Arc::new(observer));
    let cancel = context.cancel().clone();
    let job = world.backups(Arc::new(store.clone()), context).job("shop").unwrap().blocking();

    let briefly = RunOptions::default().with_wait(Duration::from_millis(400));
    assert_eq!(job.run(briefly).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(heard.lock().unwrap().len(), 1, "told once, asked more often");

    let long = RunOptions::default().with_wait(Duration::from_secs(3600));
    let waiting = thread::spawn({
        let (job, long) = (job.clone(), long.clone());
        move || job.run(long)
    });
    until(|| heard.lock().unwrap().len() == 2);
    drop(lease);
    assert!(waiting.join().unwrap().unwrap().is_good());

    let _lease = store.lease("shop").unwrap();
    let waiting = thread::spawn(move || job.run(long));
    until(|| heard.lock().unwrap().len() == 3);
    cancel.cancel();
    assert!(waiting.join().unwrap().unwrap_err().is_cancelled());
}

fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never happened");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A clock that stands still: all of its backups begin in the same second.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2026-03-29T12:00:00Z".parse().unwrap()
    }
}

/// Somebody deletes the lease of a run, so that another one with the same clock goes for the same id.
#[test]
fn two_hosts_under_a_lost_lease_overwrite_nothing() {
    let world = World::open();
    let noon = || Context::default().with_clock(Arc::new(Noon));
    // The first has all parts in the store and is about to put them together, or has just done so.
    for (what, fault) in [
        ("the first is slow to ask", at_completion(Fault::Delay(Duration::from_secs(4)))),
        (
            "the first is slow to commit",
            Rule::new(Fault::Delay(Duration::from_secs(4))).method("PUT").path("Z-2.json"),
        ),
    ] {
        let before = world.faults().delayed;
        let known = world.listed();
        world.proxy.script(vec![fault]);
        let first = world.backups(world.far_store(20), noon()).job("shop").unwrap().blocking();
        let first = thread::spawn(move || first.run(RunOptions::default()));
        until(|| world.faults().delayed > before);
        fs::remove_file(world.folder.join(".leases/shop.json")).unwrap();
        let store: Arc<dyn Store> = Arc::new(world.server.store_with(PLACE, &patient(3)));
        let second = world.backups(store, noon()).job("shop").unwrap().blocking().run(RunOptions::default());
        let outcomes = [first.join().unwrap(), second];
        world.proxy.script(Vec::new());

        let taken: Vec<&Taken> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert!(!taken.is_empty(), "{what}: {outcomes:?}");
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Busy), "{what}: {error:?}");
        }
        let listed = world.listed();
        assert_eq!(listed.len(), known.len() + taken.len(), "{what}: {listed:?}");
        listed.iter().for_each(|id| world.is_proven(id, what));
    }
}

#[test]
fn two_hosts_on_a_server_that_ignores_conditions_make_a_backup_each() {
    let world = World::with(bucket::Fault::IgnoresConditions);
    let run = || {
        let store: Arc<dyn Store> = Arc::new(world.server.store_with(PLACE, &patient(3)));
        let context = Context::default().with_clock(Arc::new(Noon));
        let job = world.backups(store, context).job("shop").unwrap().blocking();
        thread::spawn(move || job.run(RunOptions::default().with_wait(Duration::from_secs(120))))
    };
    let racers = [run(), run()];
    let taken = racers.map(|racer| racer.join().unwrap().unwrap());
    assert_ne!(taken[0].id(), taken[1].id());
    let listed = world.listed();
    assert_eq!(listed.len(), 2, "{listed:?}");
    listed.iter().for_each(|id| world.is_proven(id, "one of two"));
}

/// Starts the command, and kills it when this request hangs.
fn killed_at(world: &World, arguments: &[&str], rule: Rule) {
    let before = world.faults().stalled;
    world.proxy.script(vec![rule]);
    let running = Running::start(world.command(true, arguments));
    until(|| world.faults().stalled > before);
    running.kill();
    world.proxy.script(Vec::new());
}

fn hangs(method: &str, path: &str) -> Rule {
    Rule::new(Fault::Stall(Duration::from_secs(3600))).method(method).path(path)
}

#[test]
fn a_killed_upload_leaves_nothing_and_the_next_run_need_not_wait() {
    let world = World::open();
    let mut known = vec![world.run(3).unwrap().id().clone()];
    let moments =
        [("PUT", part(1)), ("PUT", part(4)), ("POST", "uploadId=".into()), ("PUT", "Z.json".into())];
    for (method, path) in &moments {
        killed_at(&world, &["run", "shop.db"], hangs(method, path));
        assert_eq!(world.listed(), known, "killed at {method} {path}");
        assert!(world.folder.join(".leases/shop.json").exists(), "the dead cannot give back");
        let id = world.command_ends(&["run", "shop.db"]).exits(0).stdout.trim().parse::<BackupId>().unwrap();
        known.push(id);
        assert_eq!(world.listed(), known);
        let left = files_below(&world.folder);
        assert!(!left.iter().any(|name| name.starts_with('.')), "after {method} {path}: {left:?}");
    }
    world.is_proven(known.last().unwrap(), "after the kills");
}

/// What another machine knows of the holder is when it was last heard of.
#[test]
fn a_host_that_died_is_told_of_and_its_lease_ends() {
    let world = World::open();
    killed_at(&world, &["run", "shop.db"], hangs("PUT", &part(2)));
    let lease = world.folder.join(".leases/shop.json");
    let mut holder: serde_json::Value = serde_json::from_slice(&fs::read(&lease).unwrap()).unwrap();
    holder["process"]["place"] = "another machine".into();
    holder["host"] = "db7".into();
    fs::write(&lease, serde_json::to_vec(&holder).unwrap()).unwrap();

    age(&lease, 30);
    let busy = world.command_ends(&["run", "shop.db"]).exits(5);
    assert!(busy.stderr.contains("on db7 since 20"), "{}", busy.stderr);
    let left = busy.stderr.split("its lease is over in ").nth(1).and_then(|rest| rest.split(' ').next());
    let left: u64 = left.unwrap_or_else(|| panic!("{}", busy.stderr)).parse().unwrap();
    assert!((1..=60).contains(&left), "{left} s of 90 are left after 30");
    assert_eq!(world.listed(), []);

    age(&lease, 100);
    let id = world.command_ends(&["run", "shop.db"]).exits(0).stdout.trim().parse().unwrap();
    world.is_proven(&id, "after the lease was over");
}

fn age(path: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

/// The same object is sent again under its name, which the dead one's claim would keep for a day.
#[test]
fn a_mirror_whose_upload_was_killed_catches_up_at_once() {
    let world = World::open();
    let id: BackupId = world.shop.back_up().parse().unwrap();
    let far = format!("s3://{PLACE}?endpoint={}", world.proxy.url());
    let mirror = |to: &str| {
        let mut command = world.shop.command(&["mirror", "--to", to]);
        command.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command
    };
    world.proxy.script(vec![hangs("PUT", &part(3))]);
    let running = Running::start(mirror(&far));
    until(|| world.faults().stalled == 1);
    running.kill();
    world.proxy.script(Vec::new());
    assert_eq!(world.listed(), []);
    assert!(files_below(&world.folder).iter().any(|name| name.starts_with(".claims/")));

    Outcome::of(mirror(&far).output().unwrap(), &["mirror"]).exits(0);
    assert_eq!(world.listed(), std::slice::from_ref(&id));
    world.is_proven(&id, "copied after a kill");
}

/// In a process of its own, so that nothing else is measured.
#[test]
fn a_long_stream_to_a_bucket_takes_little_memory() {
    const URL: &str = "BACKUP_TEST_SINK";
    let megabytes = if is_full() { 5_000 } else { 500 };
    if let Ok(url) = env::var(URL) {
        return stream(&url, megabytes);
    }
    let sink = sink::Sink::start();
    let name = "a_long_stream_to_a_bucket_takes_little_memory";
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture"]).env(URL, format!("s3://sink/db?endpoint={}", sink.url()));
    let output = child.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let peak = told.lines().find_map(|line| line.split("peak: ").nth(1)).unwrap_or_else(|| panic!("{told}"));
    let peak: u64 = peak.trim().parse().unwrap();
    assert_eq!(sink.bytes_of_parts(), megabytes * 1_000_000);
    assert!(peak < 250_000_000, "{} MB", peak / 1_000_000);
}

fn stream(url: &str, megabytes: u64) {
    let options = patient(60);
    let store = backup_storage::ObjectStore::open(url, &options).unwrap();
    let mut block = vec![0; 1_000_000];
    blake3::Hasher::new().finalize_xof().fill(&mut block);
    let mut writer = store.put(&Key::new("shop/full/a.tar").unwrap(), PutMode::Create).unwrap();
    for number in 0..megabytes {
        block[..8].copy_from_slice(&number.to_le_bytes());
        writer.write_all(&block).unwrap();
    }
    writer.finish().unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\npeak: {}", kilobytes * 1024).unwrap();
}
