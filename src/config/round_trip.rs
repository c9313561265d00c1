//! What is written reads back as the same, and nothing that is read does harm.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf};

use backup_core::{
    capture::DumpFormat, content::Content, guardrail::Guardrails, id::SourceName, operation::Objectives,
    pipeline::Compression, verify::Level,
};
use jiff::SignedDuration;
use proptest::{collection::btree_map, option, prelude::*, sample};

use super::{
    Config, EmailConfig, EncryptConfig, JobConfig, Keep, KeepFor, NotifyConfig, Occasion, Secret,
    StoreConfig, secret::escape,
};

fn lookup(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "hush".to_owned())
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9_][a-zA-Z0-9_.-]{0,8}"
}

/// Anything but nothing.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{1,12}", r"[${}A-Z]{1,8}", "\\PC{1,6}"]
        .prop_filter("not blank", |text| !text.trim().is_empty())
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..3)
}

fn secret() -> impl Strategy<Value = Secret> {
    let written = prop_oneof![
        text().prop_map(|text| escape(&text)),
        Just("file:/run/key".to_owned()),
        Just("a${TOKEN}".to_owned())
    ];
    written.prop_map(|written| Secret::text_or_file(&written, &lookup).unwrap())
}

fn source() -> impl Strategy<Value = Secret> {
    let written = prop_oneof![
        "[a-z]{1,8}\\.db",
        "sqlite:/[a-z]{1,8}",
        Just("postgres://app:${TOKEN}@db1/shop".to_owned()),
        Just("host=db1 dbname=shop".to_owned()),
        Just("postgres:".to_owned()),
    ];
    written.prop_map(|written| Secret::text(&written, &lookup).unwrap())
}

fn duration() -> impl Strategy<Value = SignedDuration> {
    (1i64..400_000_000).prop_map(SignedDuration::from_secs)
}

fn retention() -> impl Strategy<Value = Keep> {
    let counts = prop::array::uniform6(option::of(any::<u32>()));
    let kept = prop_oneof![duration().prop_map(KeepFor::For), Just(KeepFor::Forever)];
    let rest = (option::of(duration()), btree_map(text(), kept, 0..3), option::of(1u64..));
    (counts, rest).prop_map(|([last, hourly, daily, weekly, monthly, yearly], (within, tags, max_bytes))| {
        Keep { last, hourly, daily, weekly, monthly, yearly, within, tags, max_bytes, ..Keep::default() }
    })
}

fn store() -> impl Strategy<Value = StoreConfig> {
    let options = prop::array::uniform5(option::of(text()));
    (text(), options, option::of(retention())).prop_map(|(url, options, retention)| {
        let [storage_class, sse, endpoint, region, layout] = options;
        StoreConfig { url, storage_class, retention, sse, endpoint, region, layout }
    })
}

fn notify() -> impl Strategy<Value = NotifyConfig> {
    let email = (prop::collection::vec("[a-z]{1,5}@[a-z]{1,5}", 1..3), secret())
        .prop_map(|(to, smtp)| EmailConfig { to, smtp });
    let on = sample::subsequence(Occasion::ALL.to_vec(), 0..=5);
    (option::of(email), secret(), any::<bool>(), on).prop_map(|(email, webhook, has_both, on)| {
        let webhook = (email.is_none() || has_both).then_some(webhook);
        NotifyConfig { email, webhook, on }
    })
}

fn guardrails() -> impl Strategy<Value = Guardrails> {
    let rows = option::of(0..=i64::MAX as u64);
    (rows, 0.0..=1.0f64, 0.0..1000.0f64, 0.0..1000.0f64).prop_map(
        |(min_rows, ratchet, size_change, min_free)| {
            let mut rules = Guardrails::default();
            (rules.min_rows, rules.ratchet, rules.size_change, rules.min_free) =
                (min_rows, ratchet, size_change, min_free);
            rules
        },
    )
}

fn encrypt() -> impl Strategy<Value = EncryptConfig> {
    let recipients = prop::collection::vec("age1[a-z0-9]{0,10}", 0..3);
    (recipients, option::of("/[a-z]{1,8}".prop_map(PathBuf::from)))
        .prop_map(|(recipients, identity)| EncryptConfig { recipients, identity })
}

/// When and how long, and what is asked.
type Times = (Option<String>, Option<String>, Option<String>, [Option<SignedDuration>; 5]);

fn times() -> impl Strategy<Value = Times> {
    let schedule = || option::of(sample::select(vec!["0 2 * * *", "@daily", "*/5 1-3 * JAN MON#1"]));
    let zone = option::of(sample::select(vec!["UTC", "Europe/Berlin"]));
    let owned = |text: Option<&str>| text.map(str::to_owned);
    (schedule(), schedule(), zone, prop::array::uniform5(option::of(duration()))).prop_map(
        move |(schedule, drill, zone, durations)| (owned(schedule), owned(drill), owned(zone), durations),
    )
}

/// What is captured, and how.
fn what() -> impl Strategy<Value = JobConfig> {
    let lists = prop::array::uniform6(texts());
    let content = option::of(sample::select(Content::ALL.to_vec()));
    let format = option::of(sample::select(vec![DumpFormat::Custom, DumpFormat::Directory]));
    let compression = option::of(sample::select(vec!["zstd", "zstd:7", "gzip:9", "none", "pg:lz4"]));
    let level = option::of(sample::select(vec![Level::None, Level::Structure, Level::Restore]));
    let rest = (content, format, compression, level, option::of(1usize..256), any::<[bool; 3]>());
    (source(), option::of(secret()), lists, rest).prop_map(|(source, password, lists, rest)| {
        let mut job = JobConfig::new(source, "");
        job.password = password;
        [job.tables, job.exclude_tables, job.exclude_table_data, job.schemas, job.tags, job.smoke] = lists;
        let compression: Option<&str>;
        let jobs: Option<usize>;
        let truths: [bool; 3];
        (job.content, job.format, compression, job.verify, jobs, truths) = rest;
        [job.cross_check, job.no_owner, job.no_roles] = truths;
        job.compression = compression.map(|text| text.parse::<Compression>().unwrap());
        job.jobs = jobs.and_then(NonZeroUsize::new);
        job
    })
}

fn job(stores: Vec<String>, notify: Vec<String>) -> impl Strategy<Value = JobConfig> {
    let most = notify.len();
    let told = sample::subsequence(notify, 0..=most);
    let others = stores.len() - 1;
    let places = Just(stores).prop_shuffle().prop_flat_map(move |stores| {
        let (primary, mirrors) = (stores[0].clone(), stores[1..].to_vec());
        (Just(primary), sample::subsequence(mirrors, 0..=others))
    });
    let rules = (option::of(retention()), guardrails(), option::of(encrypt()));
    (what(), places, told, times(), rules).prop_map(|(mut job, places, told, times, rules)| {
        (job.store, job.mirrors) = places;
        job.notify = told;
        let rpo_rto_proof: [Option<SignedDuration>; 5];
        (job.schedule, job.drill, job.timezone, rpo_rto_proof) = times;
        let [rpo, rto, proof, timeout, lock_wait] = rpo_rto_proof;
        job.objectives = Objectives::new(rpo, rto, proof);
        (job.timeout, job.lock_wait) = (timeout, lock_wait);
        (job.retention, job.guardrails, job.encrypt) = rules;
        job
    })
}

fn config() -> impl Strategy<Value = Config> {
    (btree_map(name(), store(), 1..4), btree_map(name(), notify(), 0..3)).prop_flat_map(|(stores, notify)| {
        let names = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>();
        let job = job(names(stores.keys().collect()), names(notify.keys().collect()));
        let jobs = btree_map(name().prop_map(|name| SourceName::new(name).unwrap()), job, 0..3);
        (Just(stores), Just(notify), jobs).prop_map(|(stores, notify, jobs): (_, _, BTreeMap<_, _>)| Config {
            stores,
            notify,
            jobs,
        })
    })
}

proptest! {
    #[test]
    fn a_configuration_that_is_written_reads_back_as_the_same(config in config()) {
        let text = config.to_toml();
        let read = Config::parse(&text, "backup.toml", &lookup);
        prop_assert!(read.is_ok(), "{:?}\n{text}", read);
        prop_assert_eq!(read.unwrap(), config, "{}", text);
    }

    #[test]
    fn no_text_does_harm(text in "\\PC{0,200}") {
        let _ = Config::parse(&text, "backup.toml", &lookup);
    }

    /// Sound files, broken somewhere: a mistake is told with a place that exists.
    #[test]
    fn a_broken_file_is_told_where(config in config(), at in any::<sample::Index>(), with in "\\PC{0,3}") {
        let mut text = config.to_toml();
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let from = places.get(at.index(places.len().max(1))).copied().unwrap_or(0);
        let to = text[from..].chars().next().map_or(from, |c| from + c.len_utf8());
        text.replace_range(from..to, &with);
        if let Err(error) = Config::parse(&text, "f", &lookup) {
            let told = error.to_string();
            let mut place = told.split(':');
            let line: usize = place.nth(1).and_then(|line| line.parse().ok()).expect("a line");
            prop_assert!(line <= text.lines().count() + 1, "{}", told);
        }
    }
}
