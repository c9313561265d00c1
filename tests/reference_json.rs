//! The documents that commands print with `--json`: seen, explained by the code's own comments, and compared with
//! `docs/reference/json.md`.
//!
//! `UPDATE_REFERENCE=1` writes it instead.

#[path = "support/page.rs"]
mod page;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/program.rs"]
mod program;
#[path = "support/structs.rs"]
mod structs;

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use page::{MADE, cell, is_up_to_date};
use postgres::Server;
use program::program;
use serde_json::Value;
use structs::fields;

/// The structs that documents hold: as a reader calls them, and where the code has them.
const OBJECTS: [(&str, &str, &str); 15] = [
    ("manifest", "backup-core/src/manifest.rs", "Manifest"),
    ("source of a manifest", "backup-core/src/manifest.rs", "SourceFacts"),
    ("payload", "backup-core/src/manifest.rs", "Payload"),
    ("table", "backup-core/src/manifest.rs", "TableFacts"),
    ("suspicion", "backup-core/src/manifest.rs", "Suspicion"),
    ("proof", "backup-core/src/proof.rs", "Proof"),
    ("answer", "backup-core/src/proof.rs", "SmokeAnswer"),
    ("finding", "backup-core/src/verify.rs", "Finding"),
    ("status of a source", "backup-core/src/operation/status.rs", "VaultStatus"),
    ("missed objective", "backup-core/src/operation/status.rs", "Missed"),
    ("copy", "backup-core/src/operation/mirror.rs", "Copied"),
    ("mirroring", "backup-core/src/operation/mirror.rs", "Mirrored"),
    ("examined thing", "src/check/mod.rs", "Item"),
    ("difference", "backup-core/src/census.rs", "Difference"),
    ("change of a table", "backup-core/src/census.rs", "TableChange"),
];

/// Keys whose values are such structs, of a document or of a struct.
const HOLDS: [(&str, &str); 19] = [
    ("manifest", "manifest"),
    ("backups[]", "manifest"),
    ("Manifest.source", "source of a manifest"),
    ("Manifest.payload", "payload"),
    ("Manifest.tables[]", "table"),
    ("Manifest.suspect[]", "suspicion"),
    ("proof", "proof"),
    ("proofs[]", "proof"),
    ("VaultStatus.last_proof", "proof"),
    ("Proof.smoke[]", "answer"),
    ("findings[]", "finding"),
    ("damaged[]", "finding"),
    ("sources[]", "status of a source"),
    ("VaultStatus.missed[]", "missed objective"),
    ("run.mirrors[]", "copy"),
    ("mirror.mirrors[]", "mirroring"),
    ("items[]", "examined thing"),
    ("difference", "difference"),
    ("Difference.tables[]", "change of a table"),
];

/// What the keys of documents mean that no struct explains.
const MEANINGS: [(&str, &str); 61] = [
    ("adopted", "the ids of what was adopted"),
    ("age_seconds", "seconds since the state it holds"),
    ("backup", "the id of the backup it is guarded by"),
    ("backups", "the manifests, oldest first"),
    ("bytes", "stored bytes"),
    ("causes", "what led to it, the nearest first"),
    ("code", "the exit code"),
    ("copies", "where it lies, nearest first"),
    ("damaged", "manifests that cannot be used"),
    ("decisions", "each backup, and whether it stays"),
    ("difference", "what the command changed; null when it was not counted"),
    ("dry_run", "whether it was only said"),
    ("error", "what went wrong; `error` stands in any document of a command that failed"),
    ("failed", "vaults that could not be pruned"),
    ("failure", "how the command failed, for people"),
    ("file", "the file that was written"),
    ("findings", "what is not as it must be"),
    ("freed_bytes", "stored bytes of what was removed"),
    ("good", "whether it counts as good: false is exit code 3"),
    ("healed", "what was mended, with `--heal`"),
    ("hint", "what to do, a sentence"),
    ("id", "the backup"),
    ("items", "everything that was examined, in order"),
    ("job", "the name of the job"),
    ("keep", "whether it stays"),
    ("kept", "what stood in the target's place, and where it is now"),
    ("kind", "the kind of the error, which decides the exit code"),
    ("level", "how deep it was verified"),
    ("location", "where it was read or written"),
    ("manifest", "everything known of it"),
    ("message", "what went wrong, for people"),
    ("mirrors", "what became of the copies, by mirror"),
    ("next", "what to type next"),
    ("ok", "whether all is well: false is exit code 3, of `mirror` 1"),
    ("outcome", "`not-started`, `succeeded`, `failed`, `restored` or `restore-failed`"),
    ("path", "the file that was written"),
    ("plan", "what would be done"),
    ("proof", "the proof that was stored"),
    ("proofs", "its verifications, oldest first"),
    ("pruned", "the ids of what retention removed after the run"),
    ("reasons", "why it stays or goes"),
    ("refused", "what the store would not remove, and why"),
    ("removed", "the ids of what was removed"),
    ("replaces", "whether something stands there"),
    ("restore", "the line that restores"),
    ("restore_error", "why the restore failed"),
    ("restored", "what a restore did"),
    ("rows", "how many rows were written"),
    ("seconds", "how long it took"),
    ("sources", "how each source stands"),
    ("steps", "the steps, in order, for people"),
    ("taken", "whether the backup was taken now"),
    ("source", "the source"),
    ("store", "the store"),
    ("table", "the table"),
    ("target", "where to"),
    ("undo", "the line that undoes it; null where nothing stood there"),
    ("verified", "each backup that was looked at"),
    ("warnings", "what else is worth a word, for people"),
    ("well", "whether all is well: false is exit code 3"),
    ("writes", "bytes that it writes"),
];

/// Documents by the name of what prints them, each a value or several that complete each other.
type Documents = Vec<(&'static str, Vec<Value>)>;

#[test]
fn the_reference_of_documents_is_what_commands_print() {
    let mut page = format!(
        "# Documents of `--json`\n\n{MADE}\n\nWith `--json` each command prints one document on stdout, failures included; \
         `backup guard`, whose stdout belongs to its command, prints it as the last line of stderr. Keys may be added; \
         those that are there stay. Times are RFC 3339, in UTC. What a key is \
         was seen in runs of the tests.\n\nOf several jobs `backup run` prints `{{\"runs\": […]}}`, \
         each as below or with `job` and `error`.\n"
    );
    for (name, values) in documents() {
        let _ = write!(page, "\n## {name}\n\n| key | is | meaning |\n| --- | --- | --- |\n");
        let command =
            name.trim_matches('`').trim_start_matches("backup ").split(' ').next().unwrap_or_default();
        let mut rows = BTreeMap::new();
        for value in &values {
            explore(command, "", value, &mut rows);
        }
        for (path, mut is) in rows {
            if is == ["null"] {
                is.insert(0, "text".to_owned());
            }
            let key = path.rsplit('.').next().unwrap_or_default();
            let _ = writeln!(page, "| `{path}` | {} | {} |", is.join(" or "), cell(&meaning(command, key)));
        }
    }
    page += "\n# Objects in them\n";
    for (name, file, of) in OBJECTS {
        let title = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        let _ = write!(page, "\n## {title}\n\n| key | is | meaning |\n| --- | --- | --- |\n");
        for field in fields(file, of) {
            assert!(!field.meaning.is_empty(), "{of}::{} is not documented", field.name);
            let is = json_type(of, &field.name, &field.of);
            let _ = writeln!(page, "| `{}` | {is} | {} |", field.name, cell(&field.meaning));
        }
    }
    page += "\nMore of manifests and proofs: [Format of a store](../format.md).\n";
    is_up_to_date("json.md", &page);
}

/// Everything that commands print of a small shop and its copies, whole and damaged.
fn documents() -> Documents {
    let server = Server::start(15);
    server.create_database("shop", "");
    server.psql("shop", "CREATE TABLE orders AS SELECT 1 AS id");
    let postgres = server.uri("shop");
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], code: i32| -> Value {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .arg("--json")
            .env_clear()
            .env("HOME", folder.path())
            .env("BACKUP_PG_BIN", server.bin());
        command.env("PATH", std::env::var_os("PATH").unwrap()).current_dir(folder.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e} in {output:?}"))
    };
    let guard = |arguments: &[&str], code: i32| -> Value {
        let line = [&["guard", "app", "--json", "--report", "report.json"], arguments].concat();
        let mut command = Command::new(program());
        command
            .args(line)
            .env_clear()
            .env("HOME", folder.path())
            .env("PATH", std::env::var_os("PATH").unwrap());
        let output = command.current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&fs::read(folder.path().join("report.json")).unwrap()).unwrap()
    };
    let database = rusqlite::Connection::open(folder.path().join("app.db")).unwrap();
    let table = "CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER); INSERT INTO orders VALUES (1, 1), (2, 1)";
    database.execute_batch(table).unwrap();
    drop(database);
    let init = run(&["init", "app.db", "--output", "other.toml"], 0);
    let config = "[stores.local]\nurl = \"backups\"\n[stores.usb]\nurl = \"usb\"\n\
                  [jobs.app]\nsource = \"app.db\"\nstore = \"local\"\nmirrors = [\"usb\"]\nretention = { last = 1 }\n\
                  smoke = [\"SELECT count(*) FROM orders\"]\n";
    fs::write(folder.path().join("backup.toml"), config).unwrap();
    let check = run(&["check"], 0);
    let first = run(&["run", "app"], 0);
    let second = run(&["--store", "elsewhere", "run", &postgres, "--min-rows", "9"], 3);
    fs::copy(folder.path().join("app.db"), folder.path().join("app-2026-01-22.db")).unwrap();
    let adopt = run(&["adopt", "app-2026-01-22.db", "--name", "app"], 0);
    let estimate = run(&["estimate", "app"], 0);
    let extract = run(&["extract", "app/latest", "--table", "orders", "--output", "orders.sql"], 0);
    let drill = run(&["drill", "app"], 0);
    let shown = run(&["show", "app/latest"], 0);
    let plan = run(&["restore", "app/latest", "--replace", "--dry-run"], 0);
    let fresh = run(&["restore", "app/latest", "--to", "copy.db"], 0);
    let replaced = run(&["restore", "app/latest", "--replace", "--yes"], 0);
    let mirror = run(&["mirror"], 0);
    let prune = run(&["prune", "--dry-run"], 0);
    let guarded = [
        guard(&["--no-census", "--", "true"], 0),
        guard(&["--", "sqlite3", "app.db", "INSERT INTO orders VALUES (3, 1)"], 0),
        guard(&["--restore-on-failure", "--", "sh", "-c", "sqlite3 app.db 'DELETE FROM orders'; exit 7"], 7),
    ];
    let list = run(&["list"], 0);
    let error = run(&["show", "nothing"], 4);
    let id = run(&["list", "app"], 0)["backups"].as_array().unwrap().last().unwrap()["id"].clone();
    let payload = folder.path().join("backups/app/full").join(format!("{}.db.zst", id.as_str().unwrap()));
    fs::remove_file(payload).unwrap();
    let verify = run(&["verify", "--all"], 3);
    let status = run(&["status", "--rto", "1ns"], 3);
    vec![
        ("`backup init`", vec![init]),
        ("`backup check`", vec![check]),
        ("`backup run`", vec![first, second]),
        ("`backup guard`", guarded.to_vec()),
        ("`backup adopt`", vec![adopt]),
        ("`backup estimate`", vec![estimate]),
        ("`backup list`", vec![list]),
        ("`backup show`", vec![shown]),
        ("`backup extract` with `--output`", vec![extract]),
        ("`backup status`", vec![status]),
        ("`backup verify`", vec![verify]),
        ("`backup drill`", vec![drill]),
        ("`backup restore` with `--dry-run`", vec![plan]),
        ("`backup restore`", vec![fresh, replaced]),
        ("`backup mirror`", vec![mirror]),
        ("`backup prune`", vec![prune]),
        ("What fails", vec![error]),
    ]
}

/// The rows of a table for a value, and what each is; what a struct explains is not explored but compared with it.
fn explore(command: &str, path: &str, value: &Value, rows: &mut BTreeMap<String, Vec<String>>) {
    let key = path.rsplit('.').next().unwrap_or_default();
    let known = held(command, key).filter(|_| value.is_object());
    let is = match (value, known) {
        (_, Some(object)) => {
            is_as_its_struct_says(object, value);
            linked(object)
        }
        (Value::Object(map), None) => {
            for (key, value) in map {
                explore(
                    command,
                    &if path.is_empty() { key.clone() } else { format!("{path}.{key}") },
                    value,
                    rows,
                );
            }
            if path.is_empty() || path.ends_with("[]") {
                return;
            }
            "an object".to_owned()
        }
        (Value::Array(values), None) => {
            let inner = format!("{path}[]");
            values.iter().for_each(|value| explore(command, &inner, value, rows));
            let is = rows.remove(&inner).map(|is| is.join(" or "));
            match is.or_else(|| held(command, &format!("{key}[]")).map(linked)) {
                Some(is) => format!("a list, each {is}"),
                None => "a list".to_owned(),
            }
        }
        (Value::String(_), None) => "text".to_owned(),
        (Value::Number(_), None) => "number".to_owned(),
        (Value::Bool(_), None) => "true or false".to_owned(),
        (Value::Null, None) => "null".to_owned(),
    };
    let row = rows.entry(path.to_owned()).or_default();
    // An empty list tells less than one that is not.
    if is != "a list" {
        row.retain(|known| known != "a list");
    }
    let is_told =
        row.contains(&is) || (is == "a list" && row.iter().any(|known| known.starts_with("a list")));
    if !is_told {
        row.push(is);
        // What it is first, then that it may be nothing.
        row.sort_by_key(|is| is == "null");
    }
}

/// A link to the table of an object.
fn linked(object: &str) -> String {
    let article = if object.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} [{object}](#{})", object.replace(' ', "-"))
}

fn held(within: &str, key: &str) -> Option<&'static str> {
    let own = format!("{within}.{key}");
    HOLDS.iter().find(|(name, _)| *name == own || *name == key).map(|(_, object)| *object)
}

fn struct_of(object: &str) -> (&'static str, &'static str) {
    OBJECTS
        .iter()
        .find(|(name, ..)| *name == object)
        .map(|(_, file, of)| (*file, *of))
        .expect("an object that is known")
}

#[track_caller]
fn is_as_its_struct_says(object: &str, value: &Value) {
    let (file, of) = struct_of(object);
    let fields = fields(file, of);
    for (key, value) in value.as_object().expect("an object") {
        let field = fields.iter().find(|field| field.name == *key);
        // A manifest's seal is made where it is written.
        assert!(field.is_some() || key == "seal", "{of} has no field for the key {key}");
        let inner = if value.is_array() { format!("{key}[]") } else { key.clone() };
        let values = value.as_array().map_or_else(|| vec![value], |values| values.iter().collect());
        if let Some(object) = held(of, &inner) {
            values
                .into_iter()
                .filter(|value| value.is_object())
                .for_each(|v| is_as_its_struct_says(object, v));
        }
    }
}

/// A type of the code as a reader of JSON knows it.
fn json_type(of: &str, name: &str, written: &str) -> String {
    if let Some(inner) = written.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')) {
        return format!("{} or null", json_type(of, name, inner));
    }
    if let Some(inner) = written.strip_prefix("Vec<").and_then(|rest| rest.strip_suffix('>')) {
        return format!("a list, each {}", json_type(of, &format!("{name}[]"), inner));
    }
    if let Some(object) = held(of, name) {
        return linked(object);
    }
    match written {
        "bool" => "true or false",
        "Timestamp" => "a time",
        "u32" | "u64" | "usize" | "i64" | "f64" => "number",
        _ if written.contains("Map<") => "an object",
        "WalRange" | "Mended" | "Failed" => "an object",
        _ => "text",
    }
    .to_owned()
}

fn meaning(command: &str, key: &str) -> String {
    let key = key.trim_end_matches("[]");
    if command == "estimate" {
        let estimate = fields("backup-core/src/operation/estimate.rs", "Estimate");
        return estimate.into_iter().find(|field| field.name == key).expect("a field").meaning;
    }
    let known = MEANINGS.iter().find(|(name, _)| *name == key);
    known.unwrap_or_else(|| panic!("nobody says what {key:?} of {command} means")).1.to_owned()
}
