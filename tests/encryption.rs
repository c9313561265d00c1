//! Encrypted backups: whoever holds a key reads them, with this program or with stock tools, and nobody else does.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    iter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use age::secrecy::SecretString;
use postgres_shop::PgShop;
use serde_json::Value;
use support::{Outcome, Shop, are_the_same, customers, customers_by_stock_shell, names_in, stock_shell};

/// Larger than two frames of 8 MiB, so that there are several.
const MANY_CUSTOMERS: u32 = 400_000;

/// A key pair that the stock tool made, in a file beside the shop.
struct Key {
    file: PathBuf,
    recipient: String,
}

impl Key {
    fn make(folder: &Path, name: &str) -> Self {
        let file = folder.join(name);
        let made = age_tool("age-keygen").arg("-o").arg(&file).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let text = fs::read_to_string(&file).unwrap();
        let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
        Self { file, recipient }
    }

    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    /// The line of the file that nobody else may see.
    fn secret(&self) -> String {
        let text = fs::read_to_string(&self.file).unwrap();
        text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap().to_owned()
    }
}

fn age_tool(name: &str) -> Command {
    let is_there = Command::new(name).arg("--version").output().is_ok();
    assert!(is_there, "{name} is missing: apt-get install -y --no-install-recommends age");
    Command::new(name)
}

/// A shop and the key of its owner.
fn shop_and_key() -> (Shop, Key) {
    let shop = Shop::open();
    let key = Key::make(&shop.path("."), "owner.txt");
    (shop, key)
}

fn large_shop_and_key() -> (Shop, Key) {
    let (shop, key) = shop_and_key();
    shop.welcome(MANY_CUSTOMERS);
    assert!(fs::metadata(shop.database()).unwrap().len() > 20 << 20, "it is to have several frames");
    (shop, key)
}

/// What a pipe of stock programs writes, as a file; `$0` and `$1` are its arguments.
#[track_caller]
fn piped(script: &str, arguments: [&Path; 2], into: &Path) {
    age_tool("age");
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("set -o pipefail; {script}")]).args(arguments);
    let output = shell.stdout(fs::File::create(into).unwrap()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Checks that a decoded copy is the shop's database, byte for byte and to the stock shell.
#[track_caller]
fn is_the_database(copy: &Path, shop: &Shop) {
    assert!(fs::read(copy).unwrap() == fs::read(shop.database()).unwrap(), "the copy has other bytes");
    assert_eq!(stock_shell(copy, "PRAGMA integrity_check"), "ok\n");
    are_the_same(&customers_by_stock_shell(copy), &customers(&shop.database()), "decoded");
}

fn proofs(shop: &Shop, id: &str) -> Vec<Value> {
    let shown = shop.backup(&["show", id, "--json"]).exits(0).json();
    shown["proofs"].as_array().unwrap().clone()
}

#[test]
fn age_zstd_and_sqlite3_read_what_was_stored() {
    let (shop, key) = large_shop_and_key();
    let payload = shop.payload(&shop.back_up_with(&["--recipient", &key.recipient]));
    assert!(payload.to_str().unwrap().ends_with(".db.zst.age"), "{}", payload.display());
    piped("age -d -i \"$1\" \"$0\" | zstd -dc", [&payload, &key.file], &shop.path("copy.db"));
    is_the_database(&shop.path("copy.db"), &shop);
    assert!(payload.with_file_name("latest.db.zst.age").exists());
}

#[test]
fn age_reads_every_compression() {
    let (shop, key) = shop_and_key();
    for (compression, script) in
        [("gzip:6", "age -d -i \"$1\" \"$0\" | gzip -dc"), ("none", "age -d -i \"$1\" \"$0\"")]
    {
        let id = shop.back_up_with(&["--compression", compression, "--recipient", &key.recipient]);
        piped(script, [&shop.payload(&id), &key.file], &shop.path("copy.db"));
        is_the_database(&shop.path("copy.db"), &shop);
        shop.backup(&["verify", &id, "--identity", key.path()]).exits(0);
        let target = format!("{compression}.db");
        shop.backup(&["restore", &id, "--to", &target, "--identity", key.path()]).exits(0);
        are_the_same(&customers(&shop.path(&target)), &customers(&shop.database()), compression);
    }
}

#[test]
fn a_key_brings_back_what_was_encrypted_for_it() {
    let (shop, key) = large_shop_and_key();
    let id = shop.back_up_with(&["--recipient", &key.recipient]);
    shop.backup(&["verify", &id, "--identity", key.path()]).exits(0).says("structure ok");
    shop.backup(&["drill", &id, "--identity", key.path()]).exits(0);
    let restore = ["restore", &id, "--to", "copy.db"];
    let mut command = shop.command(&restore);
    let restored = command.env("BACKUP_IDENTITY", key.path()).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    is_the_database(&shop.path("copy.db"), &shop);

    let mut command = shop.command(&["restore", &id, "--to", "by-key.db"]);
    let restored = command.env("BACKUP_IDENTITY", key.secret()).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    are_the_same(&customers(&shop.path("by-key.db")), &customers(&shop.database()), "by the key itself");
}

#[test]
fn one_table_of_an_encrypted_backup_can_be_reviewed() {
    let (shop, key) = large_shop_and_key();
    shop.execute("CREATE TABLE rates(day TEXT, rate REAL); INSERT INTO rates VALUES ('2026-01-01', 1.25)");
    let id = shop.back_up_with(&["--recipient", &key.recipient]);
    let extract = ["extract", &id, "--table", "rates", "--format", "csv"];
    let extracted = shop.backup(&[&extract[..], &["--identity", key.path()]].concat()).exits(0);
    assert!(extracted.stdout.contains("2026-01-01,1.25"), "{extracted:?}");
    let denied = shop.backup(&extract).exits(1);
    assert_eq!(denied.stdout, "");
}

#[test]
fn what_was_encrypted_by_hand_is_read() {
    let (shop, key) = shop_and_key();
    let by_hand = shop.path("by-hand.db.zst.age");
    let recipient = PathBuf::from(&key.recipient);
    piped("zstd -qc \"$0\" | age -r \"$1\"", [&shop.database(), &recipient], &by_hand);
    let (file, identity) = (by_hand.to_str().unwrap(), ["--identity", key.path()]);

    shop.backup(&[&["verify", file][..], &identity].concat()).exits(0);
    shop.backup(&[&["restore", file, "--to", "copy.db"][..], &identity].concat()).exits(0);
    is_the_database(&shop.path("copy.db"), &shop);
    let adopted = shop.backup(&[&["adopt", file, "--name", "shop"][..], &identity].concat()).exits(0);
    let id = adopted.stdout.trim();
    assert_eq!(fs::read(shop.payload(id)).unwrap(), fs::read(&by_hand).unwrap());
    assert!(shop.payload(id).to_str().unwrap().ends_with(".db.zst.age"));
    shop.backup(&[&["verify", id][..], &identity].concat()).exits(0);

    shop.backup(&["verify", file]).exits(1).says("no identity was given").says("--identity FILE");
    let half = fs::read(&by_hand).unwrap();
    fs::write(&by_hand, &half[..half.len() - 1]).unwrap();
    let cut = shop.backup(&[&["verify", file][..], &identity].concat());
    assert_eq!(cut.code, Some(3), "{cut:?}");

    let text = shop.path("text.db.age");
    piped("age -a -r \"$1\" \"$0\"", [&shop.database(), &recipient], &text);
    shop.backup(&[&["verify", text.to_str().unwrap()][..], &identity].concat()).exits(2).says("age -d");
}

#[test]
fn each_of_several_recipients_reads_it_alone() {
    let (shop, owner) = shop_and_key();
    let partner = Key::make(&shop.path("."), "partner.txt");
    let both = ["--recipient", &owner.recipient, "--recipient", &partner.recipient];
    let id = shop.back_up_with(&[&both[..], &["--recipient", &owner.recipient]].concat());
    for key in [&owner, &partner] {
        shop.backup(&["verify", &id, "--identity", key.path()]).exits(0).says("structure ok");
        piped("age -d -i \"$1\" \"$0\" | zstd -dc", [&shop.payload(&id), &key.file], &shop.path("copy.db"));
        is_the_database(&shop.path("copy.db"), &shop);
    }
    let shown = shop.backup(&["show", &id]).exits(0).says(&owner.recipient).says(&partner.recipient);
    assert_eq!(shown.stdout.matches("recipient").count(), 2, "{shown:?}");
}

/// The old key stays in the file that the new one is added to.
#[test]
fn a_new_key_leaves_old_backups_readable() {
    let (shop, old) = shop_and_key();
    let before = shop.back_up_with(&["--recipient", &old.recipient]);
    let new = Key::make(&shop.path("."), "new.txt");
    let after = shop.back_up_with(&["--recipient", &new.recipient]);
    let both = shop.path("both.txt");
    fs::write(&both, [fs::read(&new.file).unwrap(), fs::read(&old.file).unwrap()].concat()).unwrap();
    shop.backup(&["verify", "--all", "--identity", both.to_str().unwrap()]).exits(0);
    let two = ["--identity", old.path(), "--identity", new.path()];
    let all = shop.backup(&[&["verify", "--all"][..], &two].concat()).exits(0);
    for id in [&before, &after] {
        assert!(all.stdout.contains(&format!("{id} structure ok")), "{all:?}");
    }
    shop.backup(&["verify", &after, "--identity", old.path()]).exits(1).says(&new.recipient);
}

/// As `age -p` does, which would ask a person.
fn protected(key: &Key, passphrase: &str) -> PathBuf {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    recipient.set_work_factor(10);
    let encryptor = age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient)).unwrap();
    let path = key.file.with_extension("protected");
    let mut writer = encryptor.wrap_output(fs::File::create(&path).unwrap()).unwrap();
    writer.write_all(&fs::read(&key.file).unwrap()).unwrap();
    writer.finish().unwrap();
    path
}

#[test]
fn a_passphrase_protects_the_file_of_the_key() {
    let (shop, key) = shop_and_key();
    let id = shop.back_up_with(&["--recipient", &key.recipient]);
    let file = protected(&key, "correct horse");
    fs::write(shop.path("passphrase"), "correct horse\n").unwrap();
    let verify = ["verify", &id, "--identity", file.to_str().unwrap()];
    let with = |variable: &str, value: &str| {
        let output = shop.command(&verify).env(variable, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(with("BACKUP_PASSPHRASE_FILE", "passphrase").0, Some(0));
    assert_eq!(with("BACKUP_PASSPHRASE", "correct horse").0, Some(0));
    let (code, stderr) = with("BACKUP_PASSPHRASE", "battery staple");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("the passphrase does not open it") && !stderr.contains("battery"), "{stderr}");
    shop.backup(&verify).exits(1).says("BACKUP_PASSPHRASE_FILE");
    // Taking a backup reads nobody's key, and so asks for none.
    let mut run = shop.command(&["run", "shop.db", "--recipient", &key.recipient]);
    assert!(run.env("BACKUP_IDENTITY", &file).output().unwrap().status.success());
}

#[test]
fn without_its_key_nothing_is_touched() {
    let (shop, key) = shop_and_key();
    let stranger = Key::make(&shop.path("."), "stranger.txt");
    let id = shop.back_up_with(&["--recipient", &key.recipient]);
    fs::create_dir(shop.path("live")).unwrap();
    fs::copy(shop.database(), shop.path("live/live.db")).unwrap();
    let before = fs::read(shop.path("live/live.db")).unwrap();
    for identity in [&[][..], &["--identity", stranger.path()]] {
        for target in [&["live/new.db"][..], &["live/live.db", "--replace", "--yes"]] {
            let restore = [&["restore", &id, "--to"], target, identity].concat();
            shop.backup(&restore).exits(1).says(&key.recipient).says("--identity FILE");
            assert_eq!(names_in(&shop.path("live")), ["live.db"]);
            assert!(fs::read(shop.path("live/live.db")).unwrap() == before);
        }
        for command in [&["cat"][..], &["verify"], &["drill"], &["extract", "--table", "customers"]] {
            let arguments = [command, &[id.as_str()], identity].concat();
            let denied = shop.backup(&arguments).exits(1).says(&key.recipient);
            assert_eq!(denied.stdout, "", "{denied:?}");
        }
        let json = shop.backup(&[&["restore", &id, "--to", "x.db", "--json"], identity].concat()).exits(1);
        assert_eq!(json.json()["error"]["kind"], "denied");
    }
    shop.has_no_litter();
}

#[test]
fn a_host_without_the_key_checks_the_stored_bytes() {
    let (shop, key) = shop_and_key();
    let plain = shop.back_up();
    let id = shop.back_up_with(&["--recipient", &key.recipient]);
    shop.backup(&["verify", &id, "--level", "checksum"]).exits(0).says("checksum ok");
    let all = shop.backup(&["verify", "--all"]).exits(0).says("only to the level checksum");
    assert!(all.stdout.contains(&format!("{plain} structure ok")), "{all:?}");
    assert!(all.stdout.contains(&format!("{id} checksum ok")), "{all:?}");
    let last = proofs(&shop, &id).pop().unwrap();
    assert_eq!((last["level"].as_str(), last.get("key")), (Some("checksum"), None));
}

/// The run reads back what it wrote with the key it wrote it with, and forgets that key.
#[test]
fn a_run_proves_what_it_cannot_read_later() {
    let (shop, key) = shop_and_key();
    let id = shop.back_up_with(&["--recipient", &key.recipient]);
    let proof = &proofs(&shop, &id)[0];
    assert_eq!(
        (&proof["level"], &proof["ok"], &proof["key"]),
        (&"structure".into(), &true.into(), &"run".into())
    );
    shop.backup(&["verify", &id]).exits(1);

    let drilled = shop.back_up_with(&["--recipient", &key.recipient, "--verify", "restore"]);
    let proof = &proofs(&shop, &drilled)[0];
    assert_eq!(
        (&proof["level"], &proof["ok"], &proof["key"]),
        (&"restore".into(), &true.into(), &"run".into())
    );
    assert!(proof["restore_seconds"].is_number(), "{proof}");

    shop.backup(&["drill", &id, "--identity", key.path()]).exits(0);
    assert_eq!(proofs(&shop, &id).pop().unwrap()["key"], "identity");
}

#[test]
fn a_wrong_recipient_is_refused_before_anything_is_made() {
    let (shop, key) = shop_and_key();
    for text in ["age1", "owner", "ssh-ed25519 AAAA", &key.recipient[..60]] {
        shop.backup(&["run", "shop.db", "--recipient", text]).exits(2).says("is not an age recipient");
    }
    assert!(!shop.store().exists(), "the store was made");
    let secret = key.secret();
    let by_mistake =
        shop.backup(&["run", "shop.db", "--recipient", &secret]).exits(2).says("a secret key was given");
    assert!(!by_mistake.stderr.contains(&secret[20..40]), "{by_mistake:?}");
    let by_mistake = shop.backup(&["verify", "--identity", &secret]).exits(2).says("a secret key was given");
    assert!(!by_mistake.stderr.contains(&secret[20..40]), "{by_mistake:?}");
}

/// So many positions of a file, spread evenly, and everything at its very ends.
fn positions(length: usize, spread: usize, ends: usize) -> BTreeSet<usize> {
    let evenly = (0..spread).map(|n| n * (length - 1) / (spread - 1));
    evenly.chain(0..ends).chain(length - ends..length).collect()
}

struct Damaged<'a> {
    shop: &'a Shop,
    key: &'a Key,
    id: &'a str,
}

impl Damaged<'_> {
    /// Checks that damage is found by hash and by content, and that nothing is restored from it.
    #[track_caller]
    fn is_known(&self, what: &str) {
        let look =
            |arguments: &[&str]| self.shop.backup(&[arguments, &["--identity", self.key.path()]].concat());
        let condemned = |outcome: Outcome| assert_eq!(outcome.code, Some(3), "{what}: {outcome:#?}");
        condemned(look(&["verify", self.id, "--level", "checksum"]));
        condemned(look(&["verify", self.id]));
        let names = names_in(&self.shop.path("live"));
        let restored = look(&["restore", self.id, "--to", "live/live.db", "--replace", "--yes"]);
        assert_eq!(restored.code, Some(3), "{what}: {restored:#?}");
        assert_eq!(names_in(&self.shop.path("live")), names, "{what}");
        assert_eq!(fs::read(self.shop.path("live/live.db")).unwrap(), b"", "{what}: the target was touched");
    }
}

#[test]
fn whatever_happens_to_an_encrypted_file_is_found_and_not_restored() {
    let (shop, key) = shop_and_key();
    shop.welcome(4000);
    let id = shop.back_up_with(&["--recipient", &key.recipient]);
    fs::create_dir(shop.path("live")).unwrap();
    fs::write(shop.path("live/live.db"), b"").unwrap();
    let (payload, damaged) = (shop.payload(&id), Damaged { shop: &shop, key: &key, id: &id });
    let whole = fs::read(&payload).unwrap();
    let header = whole.windows(5).position(|bytes| bytes == b"\n--- ").unwrap() + 48 + 16;
    let in_header = (0..header).step_by(13);
    for position in positions(whole.len(), 12, 2).into_iter().chain(in_header) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        fs::write(&payload, &bytes).unwrap();
        damaged.is_known(&format!("byte {position} of {} flipped", whole.len()));
    }
    for length in [0, 10, header - 16, header, header + 16, header + (64 << 10) + 16, whole.len() - 1] {
        fs::write(&payload, &whole[..length]).unwrap();
        damaged.is_known(&format!("cut to {length} of {} bytes", whole.len()));
    }
    fs::write(&payload, [&whole[..], b"more"].concat()).unwrap();
    damaged.is_known("lengthened");
    fs::write(&payload, &whole).unwrap();
    shop.backup(&["restore", &id, "--to", "whole.db", "--identity", key.path()]).exits(0);
    are_the_same(&customers(&shop.path("whole.db")), &customers(&shop.database()), "without damage");
}

#[test]
fn rolling_contents_are_encrypted_too_and_leave_no_plain_one() {
    let (shop, key) = shop_and_key();
    let run = ["run", "shop.db", "--content", "schema"];
    shop.backup(&run).exits(0);
    let folder = shop.store().join("shop/schema");
    assert_eq!(names_in(&folder), ["shop-schema.json", "shop-schema.sql"]);
    shop.backup(&[&run[..], &["--recipient", &key.recipient]].concat()).exits(0);
    assert_eq!(names_in(&folder), ["shop-schema.json", "shop-schema.sql.age"]);
    piped(
        "age -d -i \"$1\" \"$0\"",
        [&folder.join("shop-schema.sql.age"), &key.file],
        &shop.path("schema.sql"),
    );
    assert!(fs::read_to_string(shop.path("schema.sql")).unwrap().contains("CREATE TABLE customers"));
    let cat = shop.backup(&["cat", "shop/latest:schema", "--identity", key.path()]).exits(0);
    assert_eq!(cat.stdout, fs::read_to_string(shop.path("schema.sql")).unwrap());
    // Replaced under the same name, it stays.
    shop.backup(&[&run[..], &["--recipient", &key.recipient]].concat()).exits(0);
    assert_eq!(names_in(&folder), ["shop-schema.json", "shop-schema.sql.age"]);
}

#[test]
fn no_secret_is_stored_or_told() {
    let (shop, key) = shop_and_key();
    let recipient = ["--recipient", key.recipient.as_str()];
    let mut told = Vec::new();
    let mut tell = |outcome: Outcome| {
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        told.push(format!("{outcome:?}"));
    };
    tell(shop.backup(&[&["run", "shop.db", "-v"][..], &recipient].concat()));
    tell(shop.backup(&[&["run", "shop.db", "--json", "--verify", "restore"][..], &recipient].concat()));
    for arguments in
        [&["verify", "-v"][..], &["verify", "--all", "--json"], &["drill", "--json"], &["show", "latest"]]
    {
        tell(shop.backup(&[arguments, &["--identity", key.path()]].concat()));
    }
    let secret = key.secret();
    assert!(!told.concat().to_uppercase().contains(&secret[16..40]), "{told:#?}");
    let mut grep = Command::new("grep");
    grep.args(["-rl", "-e", &secret[16..40], "-e", "customer "]);
    let found = grep.arg(shop.store()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "a secret or a customer lies in the store");
    let manifest = fs::read_to_string(shop.manifest(&shop.listed()[0])).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["options"]["recipients"], serde_json::json!([key.recipient]));
    assert_eq!(manifest["payload"]["encoding"], serde_json::json!(["zstd", "age"]));
}

#[test]
fn a_postgres_dump_is_encrypted_with_its_roles_and_comes_back() {
    let shop = PgShop::open(15);
    let key = Key::make(&shop.path("."), "owner.txt");
    let id = shop.back_up_with(&["--recipient", &key.recipient]);
    let payload = shop.payload(&id);
    let names = names_in(payload.parent().unwrap());
    assert!(names.contains(&format!("{id}.dump.zst.age")), "{names:?}");
    let roles = payload.with_file_name(format!("{id}.globals.sql.zst.age"));
    piped("age -d -i \"$1\" \"$0\" | zstd -dc", [&roles, &key.file], &shop.path("roles.sql"));
    assert!(fs::read_to_string(shop.path("roles.sql")).unwrap().contains("CREATE ROLE"));

    let copy = shop.server.uri("copy");
    let restore = ["restore", &id, "--to", &copy];
    shop.backup(&restore).exits(1).says(&key.recipient);
    let databases = shop.server.psql("postgres", "SELECT datname FROM pg_database");
    assert!(!databases.contains("copy") && !databases.contains("restoring"), "{databases}");
    shop.backup(&[&restore[..], &["--identity", key.path()]].concat()).exits(0);
    assert_eq!(shop.digests("copy"), shop.digests("shop"));

    shop.backup(&["drill", &id, "--identity", key.path()]).exits(0);
    let extract = ["extract", &id, "--table", "public.customers", "--identity", key.path()];
    shop.backup(&extract).exits(0).says("customer 600");
    let inside = shop.back_up_with(&["--recipient", &key.recipient, "--compression", "pg:gzip:1"]);
    assert!(shop.payload(&inside).to_str().unwrap().ends_with(".dump.age"));
    shop.backup(&["verify", &inside, "--identity", key.path()]).exits(0).says("structure ok");
}
