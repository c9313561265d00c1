//! A folder with a `backup.toml`: what is in it is what happens, and what is wrong with it is told with its place.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use backup::{Backups, Config, RunOptions, config::KeepFor};
use jiff::SignedDuration;
use postgres_shop::PgShop;
use serde_json::Value;
use support::{Disk, Outcome, Shop, customers, names_in};

/// The example of the manual, whole.
const EXAMPLE: &str = r#"
[stores.local]
url = "/var/backups/db"
[stores.dropbox]
url = "dropbox:/home/me/Dropbox/stocks_db_backups"
[stores.offsite]
url = "s3://acme-backups/db"
storage_class = "STANDARD_IA"
retention = { monthly = 84 }
[notify.ops]
email = { to = ["ops@example.org"], smtp = "smtp://mail.example.org" }
on = ["failure", "suspect", "objective", "recovered"]
[notify.chat]
webhook = "${CHAT_WEBHOOK}"
[jobs.stocks]
source = "postgres://backup@db1/stocks_research"
store = "local"
mirrors = ["dropbox", "offsite"]
schedule = "0 2 * * *"
timezone = "Europe/Berlin"
drill = "@weekly"
retention = { daily = 30, weekly = 12, monthly = 12, yearly = 7, tags = { pre-migration = "90d", pre-rollout = "forever" } }
objectives = { rpo = "24h", rto = "30m", proof = "31d" }
guardrails = { min_rows = 100, ratchet = 0.9, size_change = 0.2 }
encrypt = { recipients = ["age1…"] }
timeout = "2h"
smoke = ["select count(*) from stocks_research.securities"]
notify = ["ops", "chat"]
"#;

/// A shop with a `backup.toml` in its folder.
struct Configured(Shop);

impl Configured {
    fn with(config: &str) -> Self {
        let configured = Self(Shop::open());
        configured.write("backup.toml", config);
        configured
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.0.bare_command();
        command.args(arguments);
        command
    }

    fn backup(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).output().unwrap(), arguments)
    }

    /// The state that `check` gives each thing, by whose it is and what of it.
    fn checked(&self, arguments: &[&str], code: i32) -> Vec<(String, String, String, String)> {
        let document = self.backup(&[&["check", "--json"], arguments].concat()).exits(code).json();
        let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let items = document["items"].as_array().unwrap().iter();
        items
            .map(|item| (text(item, "about"), text(item, "what"), text(item, "state"), text(item, "found")))
            .collect()
    }

    /// Checks that exactly this fails.
    #[track_caller]
    fn fails_only_in(&self, about: &str, what: &str, found: &str) {
        let failed = self.checked(&[], 3).into_iter().filter(|(_, _, state, _)| state == "fail");
        let failed: Vec<_> = failed.collect();
        let [(whose, of, _, text)] = failed.as_slice() else { panic!("{failed:#?}") };
        assert_eq!((whose.as_str(), of.as_str()), (about, what), "{text}");
        assert!(text.contains(found), "{text}");
        self.backup(&["check"]).exits(3).says("FAIL");
    }
}

const ONE_JOB: &str = r#"
[stores.local]
url = "backups"
[jobs.till]
source = "sqlite:shop.db"
"#;

/// Two databases, each into a store of its own.
const TWO_JOBS: &str = r#"
[stores.near]
url = "near"
[stores.far]
url = "far"
[jobs.till]
source = "shop.db"
store = "near"
tags = ["nightly"]
smoke = ["select count(*) from customers"]
objectives = { rpo = "24h", rto = "10m", proof = "7d" }
[jobs.office]
source = "office.db"
store = "far"
verify = "checksum"
"#;

fn two_shops() -> Configured {
    let shops = Configured::with(TWO_JOBS);
    let office = rusqlite::Connection::open(shops.0.path("office.db")).unwrap();
    office.execute_batch("CREATE TABLE letters(text); INSERT INTO letters VALUES ('Dear customer')").unwrap();
    shops
}

fn parse(text: &str) -> backup::Result<Config> {
    Config::parse(text, "backup.toml", &|name| {
        (name == "CHAT_WEBHOOK").then(|| "https://chat/hush".to_owned())
    })
}

#[test]
fn the_example_of_the_manual_means_what_it_says() {
    let config = parse(EXAMPLE).unwrap();
    let hours = SignedDuration::from_hours;
    let job = config.job("stocks").unwrap();
    assert_eq!(job.mirrors, ["dropbox", "offsite"]);
    assert_eq!((job.objectives.rpo, job.objectives.proof), (Some(hours(24)), Some(hours(31 * 24))));
    let retention = job.retention.as_ref().unwrap();
    assert_eq!((retention.daily, retention.yearly, retention.hourly), (Some(30), Some(7), None));
    assert_eq!(retention.tags["pre-migration"], KeepFor::For(hours(90 * 24)));
    assert_eq!(retention.tags["pre-rollout"], KeepFor::Forever);
    assert_eq!((job.guardrails.min_rows, job.guardrails.min_free), (Some(100), 1.2));
    assert_eq!((job.timeout, job.timezone.as_deref()), (Some(hours(2)), Some("Europe/Berlin")));
    assert_eq!(config.stores["offsite"].retention.as_ref().unwrap().monthly, Some(84));
    let webhook = config.notify["chat"].webhook.as_ref().unwrap();
    assert_eq!(webhook.reveal(Path::new("")).unwrap(), "https://chat/hush");
    assert_eq!(parse(&config.to_toml()).unwrap(), config);
    assert!(!format!("{config:?}").contains("hush"));
}

/// Beginning of every broken file below; what is broken begins in line 5.
const SOUND: &str = "[stores.local]\nurl = \"/b\"\n[stores.offsite]\nurl = \"s3://bucket/db\"\n";

#[test]
fn every_mistake_is_told_with_its_place_and_what_may_have_been_meant() {
    let job = |keys: &str| format!("[jobs.app]\nsource = \"app.db\"\nstore = \"local\"\n{keys}\n");
    let mut told = String::new();
    for broken in [
        job("retension = { daily = 30 }"),
        job("colour = \"red\""),
        job("retention = { dayly = 30 }"),
        job("retention = { daily = \"30\" }"),
        job("retention = { daily = -1 }"),
        job("retention = { daily = 1.5 }"),
        job("retention = 30"),
        job("retention = { within = \"7 moons\" }"),
        job("retention = { max_bytes = \"50XB\" }"),
        job("retention = { tags = { hot = \"for ever\" } }"),
        job("objectives = { rpo = \"1y\" }"),
        job("objectives = { rpo = 24 }"),
        job("objectives = { rto = \"0m\" }"),
        job("guardrails = { ratchet = 1.5 }"),
        job("guardrails = { ratchet = nan }"),
        job("guardrails = { min_row = 5 }"),
        job("mirrors = [\"ofsite\"]"),
        job("mirrors = [\"offsite\", \"offsite\"]"),
        job("mirrors = \"local\""),
        job("mirrors = [1]"),
        job("notify = [\"ops\"]"),
        job("schedule = \"0 2 * *\""),
        job("schedule = \"@dayly\""),
        job("schedule = \"0 2 * * *; rm\""),
        job("timezone = \"Europe/Berln\""),
        job("encrypt = { recipients = [\"ssh-ed25519 AAAA\"] }"),
        job("encrypt = { recipients = [\"AGE-SECRET-KEY-1HUSH\"] }"),
        job("encrypt = { identity = \"key.txt\" }"),
        job("content = \"fulll\""),
        job("format = \"tar\""),
        job("compression = \"zstd:99\""),
        job("verify = \"deep\""),
        job("cross_check = \"yes\""),
        job("jobs = 0"),
        job("timeout = \"\""),
        job("tags = [\"${MISSING}\"]"),
        job("tags = [\"${\"]"),
        job("store = \"offsite\""),
        "[jobs.app]\nstore = \"local\"\n".to_owned(),
        "[jobs.app]\nsource = \"app.db\"\n".to_owned(),
        "[jobs.app]\nsource = \"app.db\"\nstore = \"locl\"\n".to_owned(),
        "[jobs.app]\nsource = \"mysql://u:hush@h/x\"\nstore = \"local\"\n".to_owned(),
        "[jobs.app]\nsource = \"postgres://app:hush@db1:x/shop\"\nstore = \"local\"\n".to_owned(),
        "[jobs.app]\nsource = 5\nstore = \"local\"\n".to_owned(),
        "[jobs.\"a b\"]\nsource = \"app.db\"\nstore = \"local\"\n".to_owned(),
        "[stores.local]\nurl = \"/c\"\n".to_owned(),
        "[stores.empty]\n".to_owned(),
        "[store.other]\nurl = \"/c\"\n".to_owned(),
        "stores = 5\n".to_owned(),
        "[notify]\nops = \"me\"\n".to_owned(),
        "[notify.ops]\n".to_owned(),
        "[notify.ops]\nemail = { to = [\"ops\"], smtp = \"smtp://u:hush@mail\" }\n".to_owned(),
        "[notify.ops]\nemail = { to = [\"o@x\"] }\n".to_owned(),
        "[notify.ops]\nwebhook = \"https://chat/hush\"\non = [\"failures\"]\n".to_owned(),
        "[notify.ops]\nwebhook = \"https://chat/hush\nsmtp = 5\n".to_owned(),
        "[jobs.app\nsource = \"app.db\"\n".to_owned(),
        "[jobs.app]\nsource = app.db\npassword = \"hush\" x\n".to_owned(),
    ] {
        let error = parse(&format!("{SOUND}{broken}")).expect_err(&broken);
        assert_eq!(error.kind(), backup::ErrorKind::Invalid);
        told += &format!("{error}\n");
        told += &error.hint().map_or(String::new(), |hint| format!("  hint: {hint}\n"));
    }
    assert!(!told.to_lowercase().contains("hush"), "{told}");
    let expected = include_str!("support/config_mistakes.txt");
    if std::env::var_os("BACKUP_BLESS").is_some() {
        fs::write("tests/support/config_mistakes.txt", &told).unwrap();
    }
    let differing = told.lines().zip(expected.lines()).find(|(told, expected)| told != expected);
    assert!(told == expected, "first line that differs, told and expected: {differing:#?}\n{told}");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let broken = Configured::with(
        "[stores.local]\nurl = \"b\"\nregoin = \"x\"\n[jobs.till]\nsource = \"shop.db\"\nstor = \"local\"\ntimeout = \"soon\"\n",
    );
    let told = broken.backup(&["run"]).exits(2);
    for text in [
        "backup.toml:3:1: unknown key \"regoin\" in [stores.local], did you mean \"region\"?",
        "backup.toml:6:1: unknown key \"stor\" in [jobs.till], did you mean \"store\"?",
        "backup.toml:7:11: \"soon\" is not a duration",
    ] {
        assert!(told.stderr.contains(text), "{told:#?}");
    }
    let document = broken.backup(&["status", "--json"]).exits(2).json();
    assert_eq!(document["error"]["kind"], "invalid");
    broken.backup(&["check"]).exits(2);
    assert!(!broken.0.path("b").exists());
}

#[test]
fn jobs_run_by_name_each_into_its_own_store() {
    let shops = two_shops();
    let till = shops.backup(&["run", "till"]).exits(0).stdout.trim().to_owned();
    let office = shops.backup(&["run", "office", "--tag", "hot"]).exits(0).stdout.trim().to_owned();
    assert_eq!(
        (names_in(&shops.0.path("near")), names_in(&shops.0.path("far"))),
        (vec!["till".to_owned()], vec!["office".to_owned()])
    );
    let manifest = |id: &str| shops.backup(&["show", id, "--json"]).exits(0).json()["manifest"].clone();
    assert_eq!(manifest(&till)["tags"], serde_json::json!(["nightly"]));
    assert_eq!(manifest(&office)["tags"], serde_json::json!(["hot"]));
    assert_eq!(manifest(&office)["options"]["verify"], "checksum");
    assert_eq!(manifest("office/latest")["id"], office.as_str());

    let list = shops.backup(&["list", "till", "--json"]).exits(0).json();
    assert_eq!(list["backups"].as_array().unwrap().len(), 1);
    shops.backup(&["list"]).exits(0).says(&till).says(&office);
    shops.backup(&["verify", &office]).exits(0);
    shops.backup(&["verify", "--all"]).exits(0).says(&till).says(&office);
    shops.backup(&["estimate", "till"]).exits(0).says("by the last of 1 backups");
    shops.backup(&["restore", "till/latest", "--to", "sqlite:copy.db"]).exits(0);
    assert_eq!(customers(&shops.0.path("copy.db")), customers(&shops.0.database()));
}

#[test]
fn what_is_typed_goes_before_what_the_job_says() {
    let shops = two_shops();
    let run =
        shops.backup(&["run", "office", "--verify", "structure", "--compression", "none", "--json"]).exits(0);
    assert_eq!(run.json()["manifest"]["options"]["verify"], "structure");
    assert_eq!(run.json()["manifest"]["options"]["compression"], "none");
    shops.backup(&["--store", "far", "list"]).exits(0).says("office-full");
    shops.backup(&["--store", "elsewhere", "run", "office"]).exits(0);
    assert_eq!(names_in(&shops.0.path("elsewhere")), ["office"]);
    shops.backup(&["run", "office", "--name", "other"]).exits(2).says("has the name of the job");
}

#[test]
fn a_database_that_no_job_protects_needs_a_store() {
    let shops = two_shops();
    fs::copy(shops.0.database(), shops.0.path("stock.db")).unwrap();
    shops
        .backup(&["run", "stock.db"])
        .exits(2)
        .says("which store is meant? There are far, near")
        .says("--store");
    shops.backup(&["--store", "near", "run", "stock.db"]).exits(0);
    assert_eq!(names_in(&shops.0.path("near")), ["stock"]);
    let mut command = shops.command(&["run", "stock.db"]);
    Outcome::of(command.env("BACKUP_DIR", "other").output().unwrap(), &["run"]).exits(0);
    assert_eq!(names_in(&shops.0.path("other")), ["stock"]);
    // What lies in a job's store is listed with the rest.
    shops.backup(&["list"]).exits(0).says("stock-full");
    let status = shops.backup(&["status", "--json"]).exits(3).json();
    assert_eq!(status["sources"].as_array().unwrap().len(), 3);

    let shop = Configured::with(ONE_JOB);
    fs::copy(shop.0.database(), shop.0.path("stock.db")).unwrap();
    shop.backup(&["run", "stock.db"]).exits(0);
    assert_eq!(names_in(&shop.0.path("backups")), ["stock"]);
}

#[test]
fn every_job_runs_when_none_is_named() {
    let shops = two_shops();
    let told = shops.backup(&["run"]).exits(0).says("every job of").says("office, till");
    assert_eq!(told.stdout.lines().count(), 2);
    let document = shops.backup(&["run", "--json"]).exits(0).json();
    assert_eq!(document["runs"].as_array().unwrap().len(), 2);
    assert_eq!(document["runs"][0]["good"], true);
}

#[test]
fn a_job_that_fails_stops_none_of_the_others() {
    let shops = two_shops();
    fs::remove_file(shops.0.path("office.db")).unwrap();
    let told = shops.backup(&["run"]).exits(4).says("office failed").says("there is no database");
    assert!(told.stdout.starts_with("till-full-"), "{told:#?}");
    let document = shops.backup(&["run", "--json"]).exits(4).json();
    assert_eq!(document["error"]["kind"], "not-found");
    assert_eq!(document["runs"][0]["job"], "office");
    assert_eq!(document["runs"][1]["good"], true);
}

#[test]
fn a_job_without_a_backup_is_red() {
    let shops = two_shops();
    let all = shops.backup(&["status", "--json"]).exits(3).json();
    assert_eq!(all["sources"].as_array().unwrap().len(), 2);
    assert_eq!(all["sources"][0]["missed"][0]["objective"], "backup");
    shops.backup(&["list", "till"]).exits(0).says("no backups yet");
    shops.backup(&["run"]).exits(0);
    shops.backup(&["status", "office"]).exits(0);
    // Its objectives ask for a measured restore.
    let till = shops.backup(&["status", "till", "--json"]).exits(3).json();
    assert_eq!(till["sources"][0]["missed"][0]["objective"], "rto");
    let drill = shops.backup(&["drill", "till", "--json"]).exits(0).json();
    assert_eq!(drill["proof"]["smoke"][0]["answer"], "600");
    shops.backup(&["status"]).exits(0);
}

#[test]
fn a_store_that_cannot_be_reached_does_not_hide_the_others() {
    let shops = two_shops();
    shops.backup(&["run"]).exits(0);
    shops.backup(&["drill", "till"]).exits(0);
    fs::remove_dir_all(shops.0.path("far")).unwrap();
    fs::write(shops.0.path("far"), "no folder").unwrap();
    let told = shops.backup(&["status", "--json"]).exits(2).json();
    assert_eq!((&told["well"], &told["unknown"][0]["source"]), (&Value::Bool(false), &Value::from("office")));
    assert_eq!(told["sources"][0]["source"], "till");
    // Nor does it keep them from being brought back.
    shops.backup(&["restore", "till/latest", "--to", "sqlite:one.db"]).exits(0);
    let told = shops.backup(&["restore", "till-full", "--to", "sqlite:two.db"]).exits(0);
    assert!(told.stderr.contains("not every store could be looked into"), "{told:#?}");
    assert_eq!(customers(&shops.0.path("two.db")), customers(&shops.0.database()));
}

#[test]
fn a_job_that_is_not_there_is_no_file() {
    let shops = two_shops();
    shops
        .backup(&["run", "tll"])
        .exits(4)
        .says("there is no job \"tll\", did you mean \"till\"?")
        .says("Jobs are office, till");
    shops.backup(&["check", "tll"]).exits(4);
    let document = shops.backup(&["run", "till", "tll", "--json"]).exits(4).json();
    assert_eq!(document["error"]["kind"], "not-found");
    assert!(!shops.0.path("near").exists(), "nothing runs before all names are known");
}

#[test]
fn a_job_goes_before_a_file_of_its_name() {
    let shop = Configured::with(ONE_JOB);
    fs::copy(shop.0.database(), shop.0.path("till")).unwrap();
    let told = shop.backup(&["run", "till"]).exits(0).says("taken for the job, not for the file");
    let shown = shop.backup(&["show", told.stdout.trim(), "--json"]).exits(0).json();
    assert!(shown["manifest"]["source"]["database"].as_str().unwrap().ends_with("shop.db"));
    // The database of a job is that job, however it is named.
    let told = shop.backup(&["run", "./shop.db"]).exits(0).says("source of the job \"till\"");
    assert!(told.stdout.starts_with("till-full-"), "{told:#?}");
}

#[test]
fn the_configuration_is_found_where_it_lies() {
    let shop = Configured::with(ONE_JOB);
    let other = ONE_JOB.replace("jobs.till", "jobs.other").replace("shop.db", "../shop.db");
    fs::create_dir_all(shop.0.path("config/backup")).unwrap();
    fs::create_dir_all(shop.0.path("etc")).unwrap();
    shop.write("config/backup/backup.toml", &other.replace("../shop.db", "../../shop.db"));
    shop.write("etc/other.toml", &other);
    let path = |name: &str| format!("configuration: {}", shop.0.path(name).display());
    shop.backup(&["run", "-v"]).exits(0).says(&path("backup.toml"));
    let told =
        shop.backup(&["--config", "etc/other.toml", "run", "-v"]).exits(0).says(&path("etc/other.toml"));
    assert!(told.stdout.starts_with("other-full"));
    assert_eq!(
        names_in(&shop.0.path("etc")),
        ["backups", "other.toml"],
        "relative paths start from its folder"
    );
    let mut named = shop.command(&["list", "-v"]);
    named.env("BACKUP_CONFIG", "etc/other.toml");
    Outcome::of(named.output().unwrap(), &["list"]).exits(0).says(&path("etc/other.toml")).says("other-full");
    fs::remove_file(shop.0.path("backup.toml")).unwrap();
    shop.backup(&["list", "-v"]).exits(0).says(&path("config/backup/backup.toml"));
    shop.backup(&["--config", "gone.toml", "list"])
        .exits(2)
        .says("gone.toml\" cannot be read")
        .says("backup init");
}

#[test]
fn variables_come_from_the_environment_or_from_the_file_beside() {
    let shop = Configured::with("[stores.local]\nurl = \"${PLACE}\"\n[jobs.till]\nsource = \"${TILL}\"\n");
    let told = shop.backup(&["run"]).exits(2);
    assert!(told.stderr.contains("backup.toml:2:7: the variable \"PLACE\" is not set"), "{told:#?}");
    assert!(told.stderr.contains("backup.toml:4:10: the variable \"TILL\" is not set"), "{told:#?}");
    shop.write(".env", "PLACE=from_file\nTILL=shop.db\n");
    shop.backup(&["run"]).exits(0);
    assert!(shop.0.path("from_file/till").is_dir());
    let mut command = shop.command(&["run"]);
    Outcome::of(command.env("PLACE", "from_environment").output().unwrap(), &["run"]).exits(0);
    assert!(shop.0.path("from_environment/till").is_dir());
}

#[test]
fn a_fresh_folder_goes_from_init_to_a_green_status() {
    let shop = Configured(Shop::open());
    let told = shop.backup(&["init", "shop.db"]).exits(0).says("backup check").says("backup run shop");
    assert!(told.stdout.contains("backup.toml"));
    let mode = fs::metadata(shop.0.path("backup.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let items = shop.checked(&[], 0);
    // That nothing starts it is for people to see to.
    let not_ok: Vec<_> =
        items.iter().filter(|(_, what, state, _)| state != "ok" && what != "schedule").collect();
    assert!(not_ok.is_empty() && items.len() > 5, "{items:#?}");
    assert!(!shop.0.path("backups").exists(), "it leaves nothing behind");
    shop.backup(&["run"]).exits(0);
    shop.backup(&["status"]).exits(0).says("well");
    let drill = shop.backup(&["drill", "--json"]).exits(0).json();
    assert_eq!(drill["proof"]["smoke"][0]["sql"], "select count(*) from customers");

    let before = fs::read(shop.0.path("backup.toml")).unwrap();
    shop.write("backup.toml", "# mine\n");
    shop.backup(&["init", "shop.db"]).exits(1).says("is there already").says("--force");
    assert_eq!(fs::read(shop.0.path("backup.toml")).unwrap(), b"# mine\n");
    shop.backup(&["init", "shop.db", "--force"]).exits(0);
    assert_eq!(fs::read(shop.0.path("backup.toml")).unwrap(), before);
    shop.backup(&["init", "gone.db", "--output", "other.toml"]).exits(4);
    assert!(!shop.0.path("other.toml").exists());
}

#[test]
fn check_leaves_nothing_behind() {
    let shops = two_shops();
    fs::create_dir(shops.0.path("far")).unwrap();
    let before = names_in(&shops.0.path(""));
    shops.backup(&["check"]).exits(0);
    assert_eq!(names_in(&shops.0.path("")), before);
    assert!(names_in(&shops.0.path("far")).is_empty());
    shops.backup(&["run"]).exits(0);
    let stored = names_in(&shops.0.path("near"));
    shops.backup(&["check", "till"]).exits(0);
    assert_eq!(names_in(&shops.0.path("near")), stored);
}

#[test]
fn check_finds_a_database_that_is_not_there() {
    let shops = two_shops();
    fs::remove_file(shops.0.path("office.db")).unwrap();
    shops.fails_only_in("job office", "source", "there is no database");
    // One job's trouble is not another's.
    shops.backup(&["check", "till"]).exits(0);
}

#[test]
fn check_finds_a_store_that_cannot_be_written() {
    let shops = two_shops();
    let disk = Disk::mount(&shops.0.path("far"), "4m");
    disk.make_read_only();
    shops.fails_only_in("store far", "writing", "far");
}

#[test]
fn check_finds_a_store_without_room() {
    let shops = two_shops();
    shops.0.welcome(40_000);
    let _disk = Disk::mount(&shops.0.path("near"), "1m");
    shops.fails_only_in("job till", "room", "free and a backup wants");
}

#[test]
fn check_finds_recipients_and_identities_that_are_none() {
    let shop = Configured::with(&format!("{ONE_JOB}encrypt = {{ recipients = [\"age1tooshort\"] }}\n"));
    shop.fails_only_in("job till", "recipients", "1 of 1 are no age recipients");
    let sound = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
    shop.write(
        "backup.toml",
        &format!("{ONE_JOB}encrypt = {{ recipients = [\"{sound}\"], identity = \"key.txt\" }}\n"),
    );
    shop.fails_only_in("job till", "identity", "key.txt");
    shop.write("key.txt", "AGE-SECRET-KEY-1\n");
    let key = shop.0.path("key.txt");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    shop.backup(&["check"]).exits(0).says("key.txt\" can be read by other users");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let told = shop.backup(&["check"]).exits(0);
    assert!(!told.stdout.contains("other users"), "{told:#?}");
    // What cannot be encrypted is not taken in the clear.
    let run = shop.backup(&["run"]);
    assert!(
        run.code != Some(0)
            || names_in(&shop.0.path("backups/till/full")).iter().any(|name| name.ends_with(".age"))
    );
}

#[test]
fn check_warns_of_a_secret_that_others_can_read() {
    let config = format!("{ONE_JOB}[notify.chat]\nwebhook = \"https://chat.example.org/hush\"\n");
    let shop = Configured::with(&config);
    let file = shop.0.path("backup.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let told = shop.backup(&["check"]).exits(0).says("notify.chat.webhook").says("chmod 600");
    assert!(!format!("{told:?}").contains("hush"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!shop.backup(&["check"]).exits(0).stdout.contains("chmod"));
}

#[test]
fn nothing_secret_is_printed_anywhere() {
    let secret = r#"
[notify.ops]
email = { to = ["ops@example.org"], smtp = "smtp://ops:hush1@mail.example.org" }
webhook = "https://chat.example.org/hush2"
[jobs.far]
source = "postgres://app:hush3@127.0.0.1:1/shop?connect_timeout=1"
[jobs.farther]
source = "host=127.0.0.1 port=1 user=app dbname=shop connect_timeout=1 password=hush4"
[jobs.farthest]
source = "postgres://app@127.0.0.1:1/shop?connect_timeout=1"
password = "file:password"
"#;
    let shop = Configured::with(&format!("{ONE_JOB}{secret}"));
    shop.write("password", "hush5\n");
    let far = ["far", "farther", "farthest"];
    let commands: [&[&str]; 9] = [
        &["check"],
        &["run", "-v"],
        &["status"],
        &["list"],
        &["estimate", "far"],
        &["drill", "far"],
        &["run", far[1]],
        &["run", far[2]],
        &["init", "postgres://app:hush6@127.0.0.1:1/shop?connect_timeout=1", "--output", "new.toml"],
    ];
    for arguments in commands {
        for arguments in [arguments.to_vec(), [arguments, &["--json"]].concat()] {
            let told = shop.backup(&arguments);
            assert!(!format!("{}{}", told.stdout, told.stderr).contains("hush"), "{told:#?}");
        }
    }
    let backups = Backups::open_blocking(shop.0.path("backup.toml")).unwrap();
    assert!(!format!("{backups:?}").contains("hush"), "{backups:?}");
    assert!(!format!("{:?}", backups.source("far").unwrap()).contains("hush"));
    shop.write("backup.toml", &format!("{ONE_JOB}{secret}passwort = \"hush7\"\n"));
    let told = shop.backup(&["run"]).exits(2).says("did you mean \"password\"?");
    assert!(!told.stderr.contains("hush"), "{told:#?}");
}

#[test]
fn a_program_uses_the_same_file() {
    let shops = two_shops();
    let backups = Backups::open_blocking(shops.0.path("backup.toml")).unwrap();
    let till = backups.job("till").unwrap();
    let taken = pollster::block_on(till.run(RunOptions::default().with_tag("pre-migration"))).unwrap();
    assert_eq!(taken.manifest.tags, ["nightly", "pre-migration"]);
    assert_eq!(backups.settings("till").unwrap().drill.smoke.len(), 1);
    assert!(
        till.blocking()
            .status(&backup::Objectives::default())
            .unwrap()
            .missed
            .iter()
            .any(|m| m.objective == "rto")
    );
    assert!(backups.check(None).unwrap().is_well());
    assert_eq!(backups.find("till/latest").unwrap().nearest().vault.source().as_str(), "till");
    assert_eq!(backups.job("till2").unwrap_err().kind(), backup::ErrorKind::NotFound);
    assert_eq!(backups.store().unwrap_err().kind(), backup::ErrorKind::Invalid, "there are two");
}

/// The command with nothing but a configuration, on a shop's own server.
fn backup_of(shop: &PgShop, arguments: &[&str]) -> Outcome {
    Outcome::of(shop.bare_command().args(arguments).output().unwrap(), arguments)
}

#[test]
fn a_postgres_shop_goes_from_init_to_a_proven_backup() {
    let shop = PgShop::open(16);
    let with_password = shop.uri().replacen('@', ":hush@", 1);
    assert!(with_password.contains(":hush@"), "{with_password}");
    let told = backup_of(&shop, &["init", &with_password]).exits(0).says("The password was not written");
    let file = fs::read_to_string(shop.path("backup.toml")).unwrap();
    assert!(!format!("{file}{}{}", told.stdout, told.stderr).contains("hush"), "{file}");
    assert!(file.contains("select count(*) from public."), "{file}");
    backup_of(&shop, &["check"]).exits(0).says("pg_dump 16.").says("every table can be read");
    backup_of(&shop, &["run"]).exits(0);
    backup_of(&shop, &["drill", "shop"]).exits(0).says("select count(*) from public.");
    backup_of(&shop, &["status", "shop"]).exits(0);

    // A role that may not read everything would fail in the middle of a dump.
    shop.execute("CREATE ROLE reader LOGIN; GRANT SELECT ON orders TO reader");
    let reader = shop.uri().replacen("postgres@", "reader@", 1);
    let config = format!("[stores.local]\nurl = \"backups\"\n[jobs.shop]\nsource = \"{reader}\"\n");
    fs::write(shop.path("backup.toml"), config).unwrap();
    backup_of(&shop, &["check"]).exits(3).says("public.customers").says("pg_read_all_data");
    shop.execute("GRANT pg_read_all_data TO reader");
    backup_of(&shop, &["check"]).exits(0);
    shop.has_no_sessions();
}

/// A machine without PostgreSQL's client programs: their usual folders are hidden from the command.
#[test]
fn check_finds_client_programs_that_are_not_there() {
    const HIDE: &str = "for folder in /usr/lib/postgresql /usr/pgsql-*; do \
        [ ! -d \"$folder\" ] || mount -t tmpfs none \"$folder\" || exit 99; done; export PATH=/nowhere; exec \"$@\"";
    let shop = PgShop::open(18);
    backup_of(&shop, &["init", &shop.uri()]).exits(0);
    let command = shop.bare_command();
    let mut hidden = shop.bare_command_in("unshare");
    hidden.args(["--mount", "sh", "-c", HIDE, "hidden"]).arg(command.get_program()).args(["check", "--json"]);
    hidden.env_remove("BACKUP_PG_BIN");
    let document = Outcome::of(hidden.output().unwrap(), &["check"]).exits(3).json();
    let failed: Vec<&Value> =
        document["items"].as_array().unwrap().iter().filter(|item| item["state"] == "fail").collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert!(failed[0]["found"].as_str().unwrap().contains("client programs"), "{failed:#?}");
    assert!(failed[0]["advice"].as_str().unwrap().contains("postgresql-client-18"), "{failed:#?}");
}

#[test]
fn a_dropbox_folder_of_one_source_is_examined_inside_of_what_it_takes() {
    let config = ONE_JOB.replace("url = \"backups\"", "url = \"dropbox:synced\"\nlayout = \"till\"");
    let shop = Configured::with(&config);
    let items = shop.checked(&[], 0);
    let writing = items.iter().find(|(about, what, _, _)| about == "store local" && what == "writing");
    assert_eq!(writing.map(|(_, _, state, _)| state.as_str()), Some("ok"), "{items:#?}");
    shop.backup(&["run"]).exits(0);
    let left = names_in(&shop.0.path("synced"));
    assert!(left.iter().all(|name| !name.contains("backup-check")), "{left:?}");
}

#[test]
fn what_another_script_keeps_in_the_same_folder_is_neither_listed_nor_judged() {
    let shop = Configured::with(ONE_JOB);
    for folder in ["daily", "weekly/full", "archive/data"] {
        let folder = shop.0.path("backups").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("app-2026-01-22.sql.gz"), "theirs").unwrap();
    }
    let id = shop.backup(&["run"]).exits(0).stdout.trim().to_owned();
    shop.backup(&["list", "daily"]).exits(4);
    let status = shop.backup(&["status", "--json"]).exits(0).json();
    assert_eq!(status["sources"].as_array().unwrap().len(), 1, "{status}");
    // Without the configuration, too, where only the store tells what there is.
    let store = shop.0.path("backups");
    let latest = shop.0.backup_on(store.to_str().unwrap(), &["show", "latest", "--json"]).exits(0).json();
    assert_eq!(latest["manifest"]["id"], id);

    // A vault whose manifests are gone is ours all the same.
    let lost = store.join("blog/full");
    fs::create_dir_all(&lost).unwrap();
    fs::write(lost.join("blog-full-20260101T000000Z.db.zst"), "rest").unwrap();
    let status = shop.backup(&["status", "--json"]).exits(3).json();
    assert_eq!(status["sources"][0]["source"], "blog", "{status}");
}

#[test]
fn ages_are_typed_as_they_are_written() {
    let shop = Configured::with(&format!("{ONE_JOB}objectives = {{ rpo = \"32d\", rto = \"90m\" }}\n"));
    shop.backup(&["check"]).exits(0).says("rpo 32d, rto 90m");
    shop.backup(&["run"]).exits(0);
    shop.backup(&["drill", "till"]).exits(0);
    shop.backup(&["status", "--rpo", "1d", "--proof", "8d", "--rto", "1d 12h"]).exits(0);
    shop.backup(&["guard", "--fresh", "1d", "--", "true"]).exits(0).says("fresh enough");
    for (arguments, advice) in [
        (["status", "--rpo", "1y"], "Write days, as in \"365d\"."),
        (["status", "--proof", "soon"], "Durations are written as in"),
        (["prune", "--rpo", "0d"], "Durations are written as in"),
    ] {
        shop.backup(&arguments).exits(2).says(advice);
    }
    shop.backup(&["adopt", "shop.db", "--name", "old", "--at", "2026-01-01T00:00:00Z"]).exits(0);
    let late = shop.backup(&["status", "old", "--rpo", "8d"]).exits(3);
    assert!(late.stdout.contains("d old, 8d is allowed"), "{late:#?}");
}

#[test]
fn a_suspect_backup_and_a_failed_mirror_are_heard_where_only_errors_are_wanted() {
    let config = format!("{ONE_JOB}store = \"local\"\nmirrors = [\"far\"]\n[stores.far]\nurl = \"far\"\n");
    let shop = Configured::with(&config);
    let quiet = shop.backup(&["-q", "run"]).exits(0);
    assert_eq!(quiet.stderr, "");
    fs::write(shop.0.path("far/in-the-way"), "").unwrap();
    fs::rename(shop.0.path("far"), shop.0.path("away")).unwrap();
    fs::write(shop.0.path("far"), "no folder").unwrap();
    shop.0.execute("DELETE FROM customers WHERE id > 10");
    let heard = shop.backup(&["-q", "run"]).exits(3);
    assert!(heard.stderr.contains("has no copy of it"), "{heard:#?}");
    assert!(heard.stderr.contains("SUSPECT (ratchet)"), "{heard:#?}");
    assert!(shop.backup(&["-q", "mirror"]).exits(1).stderr.contains("was copied to"));
}

#[test]
fn a_dump_that_cannot_be_adopted_is_told_once() {
    let shop = Shop::open();
    fs::write(shop.path("notes.txt"), "milk, bread").unwrap();
    let refused = shop.backup(&["adopt", "notes.txt"]).exits(2);
    assert_eq!(
        (refused.stdout.as_str(), refused.stderr.matches("notes.txt").count()),
        ("", 1),
        "{refused:#?}"
    );
    let both = shop.backup(&["adopt", "notes.txt", "shop.db", "--json"]).exits(2).json();
    assert_eq!(both["adopted"].as_array().unwrap().len(), 1, "{both}");
    assert_eq!(both["error"]["kind"], "unsupported");
    shop.execute("DELETE FROM customers WHERE id > 1");
    shop.backup(&["run", "shop.db", "--name", "one"]).exits(0).says(", 1 row in 1 table;");
}
