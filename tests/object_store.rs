//! The command with a bucket as its only store: nothing of a backup stays on this machine.

#[path = "../backup-storage/tests/support/mod.rs"]
mod bucket;
mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use backup::store::Store;
use bucket::{KEY_ID, S3Server, SECRET};
use support::{Shop, are_the_same, customers};

/// The command as somebody runs it who has set up the AWS tools, and has no other store.
fn backup(shop: &Shop, server: &S3Server, arguments: &[&str]) -> Command {
    let mut command = backup_to(shop, &server.url("backups/db"), arguments);
    command.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
    command
}

fn backup_to(shop: &Shop, store: &str, arguments: &[&str]) -> Command {
    let local = shop.command(&[]);
    let mut command = Command::new(local.get_program());
    for (name, value) in local.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(shop.path("")).stdin(Stdio::null());
    command.args(["--store", store]).args(arguments);
    command
}

#[track_caller]
fn stdout_of(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_database_goes_into_a_bucket_and_comes_back() {
    let server = S3Server::start();
    let folder = server.bucket("backups");
    let shop = Shop::open();
    // Enough for an upload in parts.
    shop.welcome(400_000);
    let before = customers(&shop.database());

    let id = stdout_of(backup(&shop, &server, &["run", "shop.db"]));
    let id = id.trim();
    let stored = bucket::files_below(&folder);
    assert!(stored.iter().any(|name| name.ends_with(&format!("db/shop/full/{id}.json"))), "{stored:?}");
    assert!(!stored.iter().any(|name| name.contains(".leases/") || name.contains(".claims/")), "{stored:?}");
    let large = std::fs::metadata(folder.join(format!("db/shop/full/{id}.db.zst"))).unwrap().len();
    assert!(large > 8 << 20, "{large} bytes go in one request");

    stdout_of(backup(&shop, &server, &["verify", id, "--level", "structure"]));
    shop.execute("DELETE FROM customers");
    stdout_of(backup(&shop, &server, &["restore", id, "--to", "sqlite:copy.db"]));
    are_the_same(&customers(&shop.path("copy.db")), &before, "the copy");
    assert!(stdout_of(backup(&shop, &server, &["list", "shop"])).contains(id));
    assert!(!shop.store().exists(), "nothing was stored on this machine");
}

#[test]
fn a_run_that_another_host_is_busy_with_exits_with_5() {
    let server = S3Server::start();
    server.bucket("backups");
    let shop = Shop::open();
    let _lease = server.store("backups/db").lease("shop").unwrap();
    let output = backup(&shop, &server, &["run", "shop.db"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_keys_are_told_and_not_shown() {
    let server = S3Server::start();
    server.bucket("backups");
    let shop = Shop::open();
    let mut command = backup(&shop, &server, &["run", "shop.db"]);
    let output = command.env("AWS_SECRET_ACCESS_KEY", "not-the-secret").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("keys are not known or wrong") && told.contains("hint:"), "{told}");
    assert!(!told.contains("not-the-secret"), "{told}");
}

/// There is no server of these vendors here. What is sent to one can be looked at all the same: the name of the object,
/// the condition under which it is created, and a signature by the keys that were given.
#[test]
fn requests_to_google_and_azure_are_what_their_manuals_say() {
    let shop = Shop::open();
    let google = Recorder::start();
    std::fs::write(
        shop.path("account.json"),
        r#"{"private_key": "x", "private_key_id": "x", "client_email": "x", "disable_oauth": true}"#,
    )
    .unwrap();
    let store = format!("gs://acme/db?endpoint={}", google.endpoint);
    let mut command = backup_to(&shop, &store, &["run", "shop.db"]);
    let output = command.env("GOOGLE_SERVICE_ACCOUNT", "account.json").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("storage.objects.create") && told.contains("bucket \"acme\" below \"db\""),
        "{told}"
    );
    let put = google.first("PUT");
    assert!(put.starts_with("PUT /acme/db%2F%2Eleases%2Fshop%2Ejson HTTP/1.1\n"), "{put}");
    assert!(put.contains("x-goog-if-generation-match: 0\n"), "{put}");

    let azure = Recorder::start();
    let store = format!("az://acme/db?account=shops&endpoint={}/shops", azure.endpoint);
    let mut command = backup_to(&shop, &store, &["run", "shop.db"]);
    let output = command.env("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0LWtleQ==").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("container \"acme\" below \"db\"") && !told.contains("c2VjcmV0"), "{told}");
    let put = azure.first("PUT");
    assert!(put.starts_with("PUT /shops/acme/db/.leases/shop.json HTTP/1.1\n"), "{put}");
    assert!(put.contains("if-none-match: *\n"), "{put}");
    assert!(put.contains("authorization: SharedKey shops:"), "{put}");
}

/// A server that knows no object and lets nobody write.
struct Recorder {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &seen)));
        Self { endpoint, requests }
    }

    /// The head of the first request of this method, names of headers in lower case.
    fn first(&self, method: &str) -> String {
        let requests = self.requests.lock().unwrap();
        let found = requests.iter().find(|request| request.starts_with(method));
        found.unwrap_or_else(|| panic!("no {method} among {requests:?}")).clone()
    }
}

fn answer(mut stream: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    let mut length = 0;
    for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        match line.split_once(": ") {
            Some((name, value)) => {
                let name = name.to_lowercase();
                length = if name == "content-length" { value.parse().unwrap() } else { length };
                head.push_str(&format!("{name}: {value}\n"));
            }
            None => head.push_str(&format!("{line}\n")),
        }
    }
    reader.take(length).read_to_end(&mut Vec::new()).unwrap();
    let (status, code) = if head.starts_with("PUT") {
        ("403 Forbidden", "AccessDenied")
    } else {
        ("404 Not Found", "NoSuchKey")
    };
    let body = format!("<Error><Code>{code}</Code><Message>No.</Message></Error>");
    seen.lock().unwrap().push(head);
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
}
