//! Risky work under the guard of a proven backup: what it breaks is brought back, and how it ended is told.

mod support;

use std::{
    fs::{self, File},
    future::{self, Future},
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    pin::pin,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    task::{Context as TaskContext, Waker},
    thread,
    time::{Duration, Instant},
};

use backup::{
    Backups, Context, ErrorKind, Guard, GuardError, GuardOptions, GuardOutcome, Job, RunOptions, Source,
    census::Census, crash, event::Event,
};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use support::{Disk, Outcome, Shop, are_the_same, customers, names_in};

/// How long something may take that is to happen by itself within seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Half of a migration: rows are gone, a table is new, and then it fails.
const HALF_A_MIGRATION: &str =
    "sqlite3 shop.db 'CREATE TABLE orders(id); DELETE FROM customers WHERE id > 100' && exit 7";

impl Shop {
    /// Guards a shell script.
    fn guard(&self, options: &[&str], script: &str) -> Outcome {
        self.backup(&[&["guard", "shop.db"], options, &["--", "sh", "-c", script]].concat())
    }

    /// Guards a shell script and returns its report.
    #[track_caller]
    fn guard_and_report(&self, options: &[&str], script: &str, code: i32) -> (Outcome, Value) {
        let outcome = self.guard(&[options, &["--report", "report.json"]].concat(), script).exits(code);
        let report = serde_json::from_slice(&fs::read(self.path("report.json")).unwrap()).unwrap();
        (outcome, report)
    }

    /// Starts to guard a shell script, in a group of its own, and waits until it has made the file `begun`.
    fn begin_guard(&self, script: &str) -> Child {
        let mut command = self.command(&["guard", "shop.db", "--", "sh", "-c", script]);
        let err = File::create(self.path("guard.stderr")).unwrap();
        let guard = command.process_group(0).stdout(Stdio::null()).stderr(err).spawn().unwrap();
        eventually("the guarded script begins", || self.path("begun").exists());
        guard
    }

    /// Starts a guard of work that we do ourselves, and waits until it may start.
    fn begin_attached(&self, options: &[&str]) -> (Child, Value) {
        let mut command = self.command(&[&["guard", "shop.db", "--attached"], options].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guard = command.spawn().unwrap();
        let mut told = BufReader::new(guard.stderr.take().unwrap()).lines().map(|line| {
            let event: Value = serde_json::from_str(&line.unwrap()).expect("every line is an event");
            event
        });
        let begun = told.find(|event| event["event"] == "guarding").expect("the work may start");
        // What follows must not fill the pipe.
        thread::spawn(move || told.for_each(drop));
        (guard, begun)
    }

    /// What the live database holds.
    fn census(&self) -> Census {
        let source: Source = self.database().to_str().unwrap().parse().unwrap();
        source.engine().unwrap().census(&Context::default()).unwrap()
    }

    fn job(&self, context: Context) -> Job {
        let backups = Backups::builder()
            .store(self.store().display().to_string())
            .source("shop", format!("sqlite:{}", self.database().display()))
            .context(context)
            .build()
            .unwrap();
        backups.job("shop").unwrap()
    }

    fn break_half(&self) {
        self.execute("CREATE TABLE orders(id); DELETE FROM customers WHERE id > 100");
    }
}

#[track_caller]
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "it did not come to be that {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The line that a guard told, pasted into a shell somewhere else.
#[track_caller]
fn paste(told: &str) -> Outcome {
    let line = told.lines().find_map(|line| Some(line.split_once(": /")?.1)).expect("a line to paste");
    let line = format!("/{line}");
    let output =
        Command::new("sh").arg("-c").arg(&line).current_dir("/").stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    Outcome { command: line, code: output.status.code(), signal: None, stdout, stderr }
}

#[test]
fn a_script_that_fails_half_way_is_undone() {
    let modes: [fn(&Shop); 2] = [|shop| shop.welcome(5), |shop| shop.welcome_in_log_only(50)];
    for prepare in modes {
        let shop = Shop::open();
        prepare(&shop);
        let (old, census) = (customers(&shop.database()), shop.census());
        let (outcome, report) = shop.guard_and_report(&["--restore-on-failure"], HALF_A_MIGRATION, 7);
        outcome.says("the command failed: it exited with 7").says("undo: ");
        are_the_same(&customers(&shop.database()), &old, "restored after the failure");
        assert!(census.compare(&shop.census()).is_empty());
        assert_eq!(report["outcome"], "restored");
        let kept = report["restored"]["kept"][0].as_str().unwrap();
        assert_eq!(customers(Path::new(kept)).len(), 100, "what the script left is kept");
        let backup = shop.backup(&["show", "latest", "--json"]).exits(0).json();
        assert_eq!(backup["manifest"]["tags"][0], "guard");
        assert_eq!(backup["manifest"]["id"], report["backup"]);
    }
}

#[test]
fn the_printed_line_brings_the_database_back() {
    let modes: [fn(&Shop); 2] = [|shop| shop.welcome(5), |shop| shop.welcome_in_log_only(50)];
    for prepare in modes {
        let shop = Shop::open();
        prepare(&shop);
        let (old, census) = (customers(&shop.database()), shop.census());
        let outcome = shop.guard(&[], HALF_A_MIGRATION).exits(7).says("to restore: ");
        assert_eq!(customers(&shop.database()).len(), 100, "nothing is restored unasked");
        paste(&outcome.stderr).exits(0);
        are_the_same(&customers(&shop.database()), &old, "restored by the pasted line");
        assert!(census.compare(&shop.census()).is_empty());
    }
}

/// The line is for a shell: a store whose name a shell would take apart must stay one word.
#[test]
fn the_printed_line_survives_odd_names_of_stores() {
    let shop = Shop::open();
    let old = customers(&shop.database());
    for store in ["with blanks and 'quotes'", "$HOME `id` \"x\"; false"] {
        let outcome =
            shop.backup_on(store, &["guard", "shop.db", "--", "sh", "-c", HALF_A_MIGRATION]).exits(7);
        paste(&outcome.stderr).exits(0);
        are_the_same(&customers(&shop.database()), &old, store);
    }
}

#[test]
fn the_commands_own_exit_code_is_ours() {
    let shop = Shop::open();
    shop.backup(&["guard", "shop.db", "--", "true"]).exits(0);
    shop.backup(&["guard", "shop.db", "--", "false"]).exits(1);
    shop.guard(&[], "exit 7").exits(7);
    shop.guard(&[], "exit 255").exits(255);
    shop.guard(&[], "kill -KILL $$").exits(137).says("signal 9 ended it");
    assert!(names_in(&shop.store().join("shop/guard")).is_empty(), "every guard ended");
}

#[test]
fn nothing_is_done_for_a_command_that_cannot_be_run() {
    let shop = Shop::open();
    fs::write(shop.path("notes.txt"), "no program").unwrap();
    shop.backup(&["guard", "shop.db", "--", "no-such-program"]).exits(127).says("was not started");
    shop.backup(&["guard", "shop.db", "--", "./nothing/here"]).exits(127).says("was not started");
    for (name, text, code, why) in [
        ("nameless", "echo migrated\n", 126, "-- sh ./script"),
        ("orphaned", "#!/no/such/shell\necho migrated\n", 127, "an interpreter"),
    ] {
        fs::write(shop.path(name), text).unwrap();
        fs::set_permissions(shop.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        let script = format!("./{name}");
        shop.backup(&["guard", "shop.db", "--", &script]).exits(code).says("was not started").says(why);
    }
    shop.backup(&["guard", "shop.db", "--", "./notes.txt"]).exits(126).says("was not started");
    assert!(!shop.store().exists(), "no backup was made in vain");

    // What only the system knows that it cannot execute is found out late, and nothing was changed.
    fs::write(shop.path("notes.txt"), b"\0no program").unwrap();
    fs::set_permissions(shop.path("notes.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    shop.backup(&["guard", "shop.db", "--", "./notes.txt"]).exits(126).says("was not started");
    assert!(names_in(&shop.store().join("shop/guard")).is_empty());
    shop.backup(&["status"]).exits(0);
}

#[test]
fn work_does_not_start_without_a_good_backup() {
    let shop = Shop::open();
    let never = |outcome: Outcome, code: i32, why: &str| {
        outcome.exits(code).says("was not started").says(why);
        assert!(!shop.path("started").exists());
    };
    let arguments = ["guard", "shop.db", "--", "touch", "started"];
    never(shop.backup(&["guard", "nowhere.db", "--", "touch", "started"]), 4, "there is no database");

    shop.welcome(20_000);
    let small = Disk::mount(&shop.path("small"), "400k");
    never(shop.backup_on("small", &arguments), 1, "free");
    drop(small);
    let sealed = Disk::mount(&shop.path("sealed"), "10m");
    sealed.make_read_only();
    never(shop.backup_on("sealed", &arguments), 1, "mounted read-only");

    shop.back_up();
    shop.execute("DELETE FROM customers WHERE id > 100");
    never(shop.backup(&arguments), 3, "is suspect (ratchet)");
    never(shop.backup(&["guard", "shop.db", "--fresh", "1h", "--", "touch", "started"]), 3, "is suspect");
    never(shop.backup(&["guard", "shop.db", "--verify", "none", "--", "touch", "started"]), 2, "proven");
}

#[test]
fn work_does_not_start_beside_a_run_and_no_run_beside_the_work() {
    let shop = Shop::open();
    shop.back_up();
    let lease = backup::open_store(shop.store().to_str().unwrap()).unwrap().lease("shop").unwrap();
    let holder = format!("process {}", std::process::id());
    shop.guard(&[], "touch started").exits(5).says(&holder).says("was not started");
    drop(lease);
    assert!(!shop.path("started").exists());

    let mut guard = shop.begin_guard("touch begun; while [ ! -e go ]; do sleep 0.02; done");
    let holder = format!("process {}", guard.id());
    shop.backup(&["run", "shop.db"]).exits(5).says(&holder);
    shop.guard(&[], "touch started").exits(5).says(&holder);
    shop.backup(&["status"]).exits(0);
    File::create(shop.path("go")).unwrap();
    assert!(guard.wait().unwrap().success());
    shop.backup(&["run", "shop.db"]).exits(0);
}

#[test]
fn a_guard_inside_of_a_guard_is_refused_and_says_so() {
    let shop = Shop::open();
    let program = shop.command(&[]).get_program().to_owned().into_string().unwrap();
    let inner = format!("{program} --store \"$STORE\" guard shop.db -- touch started");
    let script = format!("STORE={}; {inner}", shop.store().display());
    shop.guard(&[], &script).exits(5).says("inside of the guard \"shop-guard-");
    assert!(!shop.path("started").exists());
}

#[test]
fn a_killed_guard_is_told_until_somebody_heard_it() {
    let shop = Shop::open();
    let old = customers(&shop.database());
    let script = "sqlite3 shop.db 'DELETE FROM customers WHERE id > 100'; touch begun; exec sleep 600";
    let mut guard = shop.begin_guard(script);
    kill_process(Pid::from_child(&guard), Signal::KILL).unwrap();
    let group = Pid::from_child(&guard);
    guard.wait().unwrap();
    // The script lives on: only its guard was killed.
    kill_process_group(group, Signal::KILL).unwrap();

    let backup = shop.listed().pop().expect("the backup is there");
    let status = shop.backup(&["status"]).exits(3).says("was interrupted").says(&backup);
    shop.backup(&["status"]).exits(3).says("was interrupted");
    let before = shop.listed();
    let told =
        shop.backup(&["-q", "run", "shop.db", "--accept"]).exits(0).says("was interrupted").says(&backup);
    assert_eq!(shop.listed().len(), before.len() + 1);
    assert!(!shop.backup(&["run", "shop.db"]).exits(0).stderr.contains("interrupted"), "told once");
    shop.backup(&["status"]).exits(0);
    assert_eq!(customers(&shop.database()).len(), 100);
    for line in [&status.stdout, &told.stderr] {
        let line = line.lines().find(|line| line.contains("to go back: ")).unwrap();
        paste(line.split_once("to go back").unwrap().1).exits(0);
        are_the_same(&customers(&shop.database()), &old, "restored by the line of the dead guard");
        shop.execute("DELETE FROM customers WHERE id > 100");
    }
}

#[test]
fn the_next_guard_tells_of_a_killed_one_too() {
    let shop = Shop::open();
    shop.backup_killed_at("guard.begun", &["guard", "shop.db", "--", "true"]).dies_of(support::SIGKILL);
    let id = shop.listed().pop().unwrap();
    shop.guard(&[], "true").exits(0).says("was interrupted").says(&id);
    assert!(!shop.guard(&[], "true").exits(0).stderr.contains("interrupted"));
}

#[test]
fn a_guard_that_is_killed_while_it_restores_is_told_and_the_line_restores() {
    for point in crash::RESTORE.iter().chain(crash::GUARD) {
        let shop = Shop::open();
        let old = customers(&shop.database());
        let guard = ["guard", "shop.db", "--restore-on-failure", "--", "sh", "-c", HALF_A_MIGRATION];
        shop.backup_killed_at(point, &guard).dies_of(support::SIGKILL);
        let told = shop.backup(&["status"]).exits(3).says("was interrupted");
        let line = told.stdout.lines().find_map(|line| line.split_once("to go back")).unwrap().1;
        paste(line).exits(0);
        are_the_same(&customers(&shop.database()), &old, &format!("killed at {point}"));
        shop.guard(&[], "true").exits(0).says("was interrupted");
        shop.backup(&["status"]).exits(0);
    }
}

#[test]
fn signals_are_passed_on_to_the_command() {
    for (signal, name, code) in
        [(Signal::TERM, "TERM", 9), (Signal::HUP, "HUP", 10), (Signal::INT, "INT", 11)]
    {
        let shop = Shop::open();
        let script = format!("trap 'exit {code}' {name}; touch begun; while :; do sleep 0.02; done");
        let mut guard = shop.begin_guard(&script);
        kill_process(Pid::from_child(&guard), signal).unwrap();
        assert_eq!(guard.wait().unwrap().code(), Some(code), "{name}");
        let told = fs::read_to_string(shop.path("guard.stderr")).unwrap();
        assert!(told.contains(&format!("it exited with {code}")) && told.contains("to restore: "), "{told}");
    }
}

/// `nohup` lets a migration live on when its terminal goes: it must, under a guard, too.
#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let shop = Shop::open();
    let script = "touch begun; while [ ! -e go ]; do sleep 0.02; done";
    let guarded = shop.command(&["guard", "shop.db", "--", "sh", "-c", script]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(guarded.get_program()).args(guarded.get_args());
    shell.current_dir(shop.path("")).process_group(0).stderr(Stdio::null());
    let mut guard = shell.spawn().unwrap();
    eventually("the script begins", || shop.path("begun").exists());
    kill_process_group(Pid::from_child(&guard), Signal::HUP).unwrap();
    File::create(shop.path("go")).unwrap();
    assert_eq!(guard.wait().unwrap().code(), Some(0));
}

/// The terminal tells the command and its guard; the guard must not tell the command again.
#[test]
fn ctrl_c_on_a_terminal_reaches_the_command_once_and_the_restore_goes_on() {
    let shop = Shop::open();
    let old = customers(&shop.database());
    let script = "n=0; trap 'n=$((n+1)); touch got$n' INT; trap 'exit $((40+n))' TERM; \
        sqlite3 shop.db 'DELETE FROM customers'; touch begun; while :; do sleep 0.02; done";
    let on_a_terminal = "import os, pty, sys\n\
        pid, terminal = pty.fork()\n\
        if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])\n\
        open('pid', 'w').write(str(pid) + '\\n')\n\
        sys.stdin.readline(); os.write(terminal, b'\\x03')\n\
        while True:\n\
        \ttry:\n\
        \t\tif not os.read(terminal, 1024): break\n\
        \texcept OSError: break\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    let guarded =
        shop.command(&["guard", "shop.db", "--restore-on-failure", "--yes", "--", "sh", "-c", script]);
    let mut terminal = Command::new("python3");
    terminal.args(["-c", on_a_terminal]).arg(guarded.get_program()).args(guarded.get_args());
    terminal.current_dir(shop.path("")).stdin(Stdio::piped());
    let mut terminal = terminal.spawn().expect("python3 runs (apt-get install python3)");
    eventually("the script begins", || shop.path("begun").exists());
    terminal.stdin.take().unwrap().write_all(b"\n").unwrap();
    eventually("the script hears the Ctrl-C", || shop.path("got1").exists());
    let pid = fs::read_to_string(shop.path("pid")).unwrap();
    let guard = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(guard, Signal::TERM).unwrap();
    assert_eq!(terminal.wait().unwrap().code(), Some(41), "once, not twice");
    are_the_same(&customers(&shop.database()), &old, "restored although Ctrl-C was pressed");
}

#[test]
fn what_the_work_changed_is_told_by_table() {
    let shop = Shop::open();
    shop.execute(
        "CREATE TABLE \"old things\"(a); INSERT INTO \"old things\" VALUES(1), (2); CREATE TABLE same(a)",
    );
    let script = "sqlite3 shop.db 'DELETE FROM customers WHERE id > 580; DROP TABLE \"old things\"; \
        CREATE TABLE orders(id); INSERT INTO orders VALUES(1), (2), (3)'";
    let (outcome, report) = shop.guard_and_report(&[], script, 0);
    outcome.says("table \"old things\" is gone, with its 2 rows").says("customers: 600 rows, then 580 (-20)");
    assert_eq!(report["outcome"], "succeeded");
    assert_eq!(report["difference"]["schema_changed"], true);
    let changed = |name: &str| {
        let tables = report["difference"]["tables"].as_array().unwrap();
        tables.iter().find(|table| table["name"] == name).map(|table| (&table["before"], &table["after"]))
    };
    assert_eq!(changed("customers"), Some((&600.into(), &580.into())));
    assert_eq!(changed("orders"), Some((&Value::Null, &3.into())));
    assert_eq!(changed("\"old things\""), Some((&2.into(), &Value::Null)));
    assert_eq!(changed("same"), None);
    assert_eq!(report["warnings"].as_array().unwrap().len(), 1);

    let (_, report) = shop.guard_and_report(&[], "sqlite3 shop.db 'UPDATE customers SET note = NULL'", 0);
    assert_eq!(report["difference"]["schema_changed"], false);
    assert!(report["difference"]["tables"].as_array().unwrap().is_empty());
}

#[test]
fn a_loss_beyond_what_is_allowed_is_a_warning_and_no_failure() {
    let delete = "sqlite3 shop.db 'DELETE FROM customers WHERE id > 200'";
    for (options, warnings) in
        [(vec![], 1), (vec!["--max-loss", "0.7"], 0), (vec!["--max-loss", "1"], 0), (vec!["--no-census"], 0)]
    {
        let shop = Shop::open();
        let (outcome, report) = shop.guard_and_report(&options, delete, 0);
        assert_eq!(report["warnings"].as_array().unwrap().len(), warnings, "{options:?}");
        assert_eq!(outcome.stderr.contains("lost 67 % of its rows"), warnings > 0, "{options:?}");
        assert_eq!(report["difference"].is_null(), options == ["--no-census"]);
    }
}

#[test]
fn work_that_takes_the_database_away_is_told_and_undone() {
    let shop = Shop::open();
    let old = customers(&shop.database());
    let (_, report) = shop.guard_and_report(&[], "rm shop.db", 0);
    assert!(report["warnings"][0].as_str().unwrap().contains("could not be counted"), "{report}");
    paste(&format!("to restore: {}", report["restore"].as_str().unwrap())).exits(0);
    are_the_same(&customers(&shop.database()), &old, "restored by the line");
    shop.guard(&["--restore-on-failure"], "rm shop.db; exit 1").exits(1);
    are_the_same(&customers(&shop.database()), &old, "restored by the guard");
}

#[test]
fn a_fresh_proven_backup_is_enough_and_no_other() {
    let shop = Shop::open();
    let taken = |options: &[&str]| {
        let (_, report) = shop.guard_and_report(options, "true", 0);
        let latest = shop.listed().pop().unwrap();
        assert_eq!(report["backup"], latest.as_str());
        report["taken"].as_bool().unwrap()
    };
    shop.back_up_with(&["--verify", "none"]);
    assert!(taken(&["--fresh", "1h"]), "an unproven backup is not enough");
    assert!(!taken(&["--fresh", "1h"]));
    assert!(taken(&["--fresh", "1ms"]), "an old one is not");
    assert!(taken(&["--fresh", "1h", "--verify", "restore"]), "nor one that was looked at less deep");
    assert!(!taken(&["--fresh", "1h", "--verify", "restore"]));
    assert!(taken(&[]), "without --fresh one is taken");

    let newest = shop.listed().pop().unwrap();
    let payload = shop.payload(&newest);
    fs::set_permissions(&payload, fs::Permissions::from_mode(0o600)).unwrap();
    File::options().write(true).open(&payload).unwrap().set_len(100).unwrap();
    assert!(taken(&["--fresh", "1h"]), "one whose payload is cut short is not there");

    shop.welcome(7);
    let fresh = ["--fresh", "1h", "--restore-on-failure"];
    let (outcome, _) = shop.guard_and_report(&fresh, "true", 0);
    let outcome = outcome.says("a restore would lose what was written since 20");
    outcome.says("somebody wrote since").says("customers: 600 rows, then 607 (+7)");
}

#[test]
fn stdout_is_the_commands_and_json_the_last_line_of_stderr() {
    let shop = Shop::open();
    let last = |outcome: &Outcome| -> Value {
        serde_json::from_str(outcome.stderr.lines().last().unwrap())
            .unwrap_or_else(|e| panic!("{e}: {outcome:?}"))
    };
    let outcome = shop.guard(&["--json"], "echo \"$BACKUP_GUARD_ID\"; cat; exit 3").exits(3);
    let report = last(&outcome);
    assert_eq!(outcome.stdout, format!("{}\n", report["id"].as_str().unwrap()));
    assert_eq!((&report["outcome"], &report["code"]), (&"failed".into(), &3.into()));

    let refused = shop.backup(&["guard", "nowhere.db", "--json", "--", "echo", "x"]).exits(4);
    assert_eq!(refused.stdout, "");
    assert_eq!(last(&refused)["error"]["kind"], "not-found");
    assert_eq!(last(&refused)["outcome"], "not-started");

    let mut command = shop.command(&["guard", "shop.db", "-q", "--", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from our stdin").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"from our stdin");
}

#[test]
fn a_restore_that_fails_is_told_with_the_line_and_a_mirror_helps() {
    let lose = "chmod -R u+w backups; rm -f backups/shop/full/*.db.zst; \
        sqlite3 shop.db 'DELETE FROM customers'; exit 4";
    let shop = Shop::open();
    let old = customers(&shop.database());
    let (outcome, report) = shop.guard_and_report(&["--restore-on-failure"], lose, 4);
    outcome.says("THE RESTORE FAILED").says("to restore: ");
    assert_eq!(report["outcome"], "restore-failed");
    assert_eq!(customers(&shop.database()).len(), 0, "the database is as the command left it");

    let shop = Shop::open();
    let arguments =
        ["--mirror", "mirror", "guard", "shop.db", "--restore-on-failure", "--", "sh", "-c", lose];
    shop.backup(&arguments).exits(4).says("restored from");
    assert_eq!(customers(&shop.database()).len(), old.len());
}

/// What a guard told while it worked.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn context(&self) -> Context {
        let told = Arc::clone(&self.0);
        let listen = move |event: &Event| {
            if let Event::Warning(warning) | Event::Alarm(warning) = event {
                told.lock().unwrap().push(warning.clone());
            }
        };
        Context::default().with_observer(Arc::new(listen))
    }

    fn says(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(text))
    }
}

#[test]
fn an_asynchronous_migration_is_guarded() {
    let shop = Shop::open();
    let old = customers(&shop.database());
    let job = shop.job(Context::default());
    let options = || GuardOptions::default().with_restore_on_failure(true);

    let guarded = pollster::block_on(job.guard_with(options(), async || {
        Connection::open(shop.database())?.execute_batch("CREATE TABLE orders(id)")?;
        Ok::<_, rusqlite::Error>(42)
    }))
    .unwrap();
    assert_eq!(guarded.value, 42);
    assert!(guarded.report.difference.unwrap().schema_changed);

    let failed = pollster::block_on(job.guard_with(options(), || async {
        shop.execute("DELETE FROM customers");
        Err::<(), _>("no such column")
    }));
    let GuardError::Failed { error, report } = failed.unwrap_err() else { panic!("the work failed") };
    assert_eq!((error, report.outcome), ("no such column", GuardOutcome::Restored));
    assert_eq!(report.failure.as_deref(), Some("no such column"));
    are_the_same(&customers(&shop.database()), &old, "restored for the asynchronous migration");

    let failed = pollster::block_on(job.guard(|| future::ready(Err::<(), _>("nothing done")))).unwrap_err();
    assert!(failed.to_string().contains("nothing done; to restore: backup --store /"), "{failed}");
}

#[test]
fn an_asynchronous_migration_that_is_given_up_counts_as_failed() {
    let (shop, told) = (Shop::open(), Told::default());
    let job = shop.job(told.context());
    {
        let mut guarded = pin!(job.guard(|| async {
            shop.break_half();
            future::pending::<Result<(), &str>>().await
        }));
        let mut cx = TaskContext::from_waker(Waker::noop());
        eventually_broken(&shop, || assert!(guarded.as_mut().poll(&mut cx).is_pending()));
    }
    assert!(told.says("to go back: backup --store /"));
    assert_eq!(customers(&shop.database()).len(), 100, "nothing is restored unasked");
    job.blocking().run(RunOptions::default().with_accept(true)).expect("the lease was given back");
}

fn eventually_broken(shop: &Shop, mut poll: impl FnMut()) {
    let begun = Instant::now();
    while customers(&shop.database()).len() > 100 {
        assert!(begun.elapsed() < PATIENCE, "the work does not begin");
        poll();
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_blocking_migration_is_guarded_and_a_panic_is_told() {
    let (shop, told) = (Shop::open(), Told::default());
    let old = customers(&shop.database());
    let job = shop.job(told.context()).blocking();
    let options = GuardOptions::default().with_restore_on_failure(true);
    let failed = job.guard_with(&options, |guard| {
        assert!(guard.is_taken() && guard.restore_line().contains(guard.backup().id.as_str()));
        shop.break_half();
        Err::<(), _>("half way")
    });
    assert!(failed.unwrap_err().to_string().contains("the database was restored from"));
    are_the_same(&customers(&shop.database()), &old, "restored for the blocking migration");

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        job.guard(|| -> Result<(), &str> { panic!("a bug in the migration") })
    }));
    assert!(panicked.is_err() && told.says("to go back: "));
}

#[test]
fn a_guard_in_two_steps_succeeds_fails_or_is_dropped() {
    let (shop, told) = (Shop::open(), Told::default());
    let old = customers(&shop.database());
    let job = shop.job(told.context()).blocking();
    let begin = |restore| -> Guard {
        job.begin_guard(&GuardOptions::default().with_restore_on_failure(restore)).unwrap()
    };
    assert_eq!(begin(true).succeed().outcome, GuardOutcome::Succeeded);

    let guard = begin(true);
    assert_eq!(job.run(RunOptions::default()).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(job.begin_guard(&GuardOptions::default()).unwrap_err().kind(), ErrorKind::Busy);
    shop.break_half();
    assert_eq!(guard.fail("half way").outcome, GuardOutcome::Restored);
    are_the_same(&customers(&shop.database()), &old, "restored by the second step");

    let guard = begin(true);
    let id = guard.id().to_owned();
    shop.break_half();
    assert!(shop.store().join("shop/guard").join(format!("{id}.json")).exists());
    drop(guard);
    assert!(told.says("left without saying how it ended"));
    assert_eq!(customers(&shop.database()).len(), 100, "dropping restores nothing");
    assert!(names_in(&shop.store().join("shop/guard")).is_empty());
}

/// POSIX locks go when a process closes any descriptor of a file: counting must close none.
#[test]
fn a_program_that_guards_its_own_open_database_keeps_its_locks() {
    for mode in ["DELETE", "WAL"] {
        let shop = Shop::open();
        let job = shop.job(Context::default()).blocking();
        let ours = Connection::open(shop.database()).unwrap();
        ours.execute_batch(&format!("PRAGMA journal_mode={mode}; BEGIN IMMEDIATE; DELETE FROM customers"))
            .unwrap();
        let guard = job.begin_guard(&GuardOptions::default()).unwrap();
        let neighbour = || {
            let sql = "BEGIN IMMEDIATE; INSERT INTO customers(name, note) VALUES('theirs', ''); COMMIT";
            Command::new("sqlite3").arg(shop.database()).arg(sql).output().unwrap().status.success()
        };
        assert!(!neighbour(), "{mode}: our write lock is gone after the first count");
        assert!(guard.succeed().difference.unwrap().is_empty(), "nothing is committed yet");
        assert!(!neighbour(), "{mode}: our write lock is gone after the second count");
        ours.execute_batch("COMMIT").unwrap();
        assert!(neighbour());
        assert_eq!(customers(&shop.database()).len(), 1, "{mode}");
    }
}

/// Its connection would go on in a file that is no longer there.
#[test]
fn a_database_that_somebody_has_open_is_not_restored_under_them() {
    let shop = Shop::open();
    shop.welcome_in_log_only(1);
    let mut neighbour = support::Shell::open(&shop.database());
    neighbour.run("BEGIN; SELECT count(*) FROM customers;");
    let (outcome, report) = shop.guard_and_report(&["--restore-on-failure"], HALF_A_MIGRATION, 7);
    outcome.says("as things stand, a restore would be refused").says("THE RESTORE FAILED");
    assert_eq!(report["outcome"], "restore-failed");
    neighbour.kill();
    paste(&format!("to restore: {}", report["restore"].as_str().unwrap())).exits(0);
    assert_eq!(customers(&shop.database()).len(), 601);
}

#[test]
fn a_cancelled_guard_starts_nothing_and_leaves_nothing() {
    let shop = Shop::open();
    let context = Context::default();
    context.cancel().cancel();
    let refused = shop.job(context).blocking().guard(|| -> Result<(), &str> { panic!("it started") });
    let Err(GuardError::NotStarted(error)) = refused else { panic!("it was cancelled") };
    assert!(error.is_cancelled(), "{error:?}");
    assert!(shop.listed().is_empty());
    shop.has_no_litter();
}

#[test]
fn an_encrypted_database_is_guarded_without_a_count() {
    let shop = Shop::open();
    let noise: Vec<u8> =
        (0u32..2048).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..8].to_vec()).collect();
    fs::write(shop.path("sealed.db"), &noise).unwrap();
    let guarded =
        ["guard", "sealed.db", "--restore-on-failure", "--", "sh", "-c", "echo > sealed.db; exit 1"];
    shop.backup(&guarded).exits(1).says("will not be counted").says("restored from");
    assert_eq!(fs::read(shop.path("sealed.db")).unwrap(), noise);
}

/// The work of another program: it hears when it may start, and says how it ended.
#[test]
fn work_that_another_program_does_is_guarded() {
    let shop = Shop::open();
    let old = customers(&shop.database());
    let ends = [
        (&["--restore-on-failure"][..], "failed: half-way: no such column", 1, "restored"),
        (&["--work", "the import"], "failed: half-way: no such column", 1, "failed"),
        (&[], "succeeded", 0, "succeeded"),
    ];
    for (options, line, code, outcome) in ends {
        let (mut guard, begun) = shop.begin_attached(options);
        shop.backup(&["run", "shop.db"]).exits(5);
        shop.break_half();
        writeln!(guard.stdin.as_mut().unwrap(), "{line}").unwrap();
        let done = guard.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(code));
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(report["outcome"], outcome);
        assert_eq!((&report["id"], &report["backup"]), (&begun["id"], &begun["backup"]));
        assert_eq!(report["restore"], begun["restore"]);
        if code == 1 {
            assert_eq!(report["failure"], "half-way: no such column");
        }
        if outcome != "restored" {
            shop.backup(&["restore", begun["backup"].as_str().unwrap(), "--replace", "--yes"]).exits(0);
        }
        are_the_same(&customers(&shop.database()), &old, outcome);
    }
    assert!(names_in(&shop.store().join("shop/guard")).is_empty(), "every guard ended");
}

/// Whoever did the work died, or says something that is no ending: as when the guard itself is killed.
#[test]
fn a_caller_that_goes_without_a_word_is_told_at_the_next_start() {
    for last_words in ["", "well, done\n"] {
        let shop = Shop::open();
        let (mut guard, begun) = shop.begin_attached(&["--restore-on-failure", "--work", "the import"]);
        shop.break_half();
        guard.stdin.take().unwrap().write_all(last_words.as_bytes()).unwrap();
        assert_eq!(guard.wait().unwrap().code(), Some(130));
        assert_eq!(customers(&shop.database()).len(), 100, "nothing is restored for somebody who is gone");
        let status = shop.backup(&["status"]).exits(3);
        assert!(status.stdout.contains("guarded work (the import)"), "{}", status.stdout);
        shop.backup(&["run", "shop.db", "--accept"]).exits(0).says("was interrupted");
        shop.backup(&["show", begun["backup"].as_str().unwrap()]).exits(0);
    }
}

/// Ctrl-C in a terminal reaches both; the caller says what it means.
#[test]
fn signals_while_another_program_works_are_its_own() {
    let shop = Shop::open();
    let (mut guard, _) = shop.begin_attached(&[]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(Pid::from_child(&guard), signal).unwrap();
    }
    // The thread that hears signals must get to them before the work is over: from then on they stop what is left.
    thread::sleep(Duration::from_millis(500));
    writeln!(guard.stdin.as_mut().unwrap(), "succeeded").unwrap();
    assert_eq!(guard.wait().unwrap().code(), Some(0));
}

#[test]
fn an_attached_guard_that_cannot_start_says_so_on_stdout() {
    let shop = Shop::open();
    let report = shop.backup(&["guard", "nowhere.db", "--attached"]).exits(4).json();
    assert_eq!(report["outcome"], "not-started");
    assert_eq!(report["error"]["kind"], "not-found");
    shop.backup(&["guard", "shop.db", "--attached", "--", "true"]).exits(2);
    shop.backup(&["guard", "shop.db"]).exits(2);
}
