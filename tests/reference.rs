//! The reference in `docs/reference` is what the code says of itself: made again here, and compared.
//!
//! `UPDATE_REFERENCE=1` writes it instead.

#[path = "support/help.rs"]
mod help;
#[path = "support/page.rs"]
mod page;
#[path = "support/program.rs"]
mod program;
#[path = "support/structs.rs"]
mod structs;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use backup::{Config, Guardrails, RunOptions};
use help::{Help, Item};
use page::{MADE, cell, is_up_to_date};
use program::program;
use structs::fields;

/// Variables of the environment and of `.env` that the command or the library takes for itself, and what they say.
const VARIABLES: [(&str, &str); 13] = [
    ("BACKUP_CONFIG", "the configuration, as `--config`; also from `.env`"),
    ("BACKUP_STORE", "the store, as `--store`, where there is no configuration; also from `.env`"),
    ("BACKUP_DIR", "the same, where `BACKUP_STORE` is not set; also from `.env`"),
    ("BACKUP_MIRRORS", "the mirrors, as `--mirror`, separated by commas; also from `.env`"),
    (
        "DATABASE_URL",
        "the database, where none is named and there is no configuration; of a restore, how to connect to \
         the database it names; also from `.env`",
    ),
    ("BACKUP_SCRATCH", "the folder for working copies, as `--scratch`"),
    (
        "BACKUP_IDENTITY",
        "a file with the secret keys of encrypted backups, as `--identity`; or the key itself",
    ),
    ("BACKUP_PASSPHRASE", "the passphrase of such a file"),
    ("BACKUP_PASSPHRASE_FILE", "a file whose first line is that passphrase"),
    ("BACKUP_PG_BIN", "folders with the client programs of PostgreSQL, separated as in `PATH`"),
    ("PGBIN", "the same, looked into after `BACKUP_PG_BIN`"),
    ("BACKUP_GUARD_ID", "set by `backup guard` for its command: the id of the guard"),
    ("BACKUP_CRASH_AT", "for tests of this program: a point at which it kills itself"),
];

/// A table of the configuration: how it is called, the struct that it is read into, and the least text around it.
struct Section {
    title: &'static str,
    file: &'static str,
    of: &'static str,
    text: &'static str,
}

const JOB: &str = "[stores.local]\nurl = \"b\"\n[jobs.it]\nsource = \"a.db\"\n";

const SECTIONS: [Section; 8] = [
    Section {
        title: "`[stores.NAME]`",
        file: "src/config/mod.rs",
        of: "StoreConfig",
        text: "[stores.it]\nurl = \"b\"\n",
    },
    Section { title: "`[jobs.NAME]`", file: "src/config/mod.rs", of: "JobConfig", text: JOB },
    Section {
        title: "`retention`, of a job or a store",
        file: "backup-core/src/retention/keep.rs",
        of: "Keep",
        text: "[jobs.it.retention]\n",
    },
    Section {
        title: "`objectives`, of a job",
        file: "backup-core/src/operation/status.rs",
        of: "Objectives",
        text: "[jobs.it.objectives]\n",
    },
    Section {
        title: "`guardrails`, of a job",
        file: "backup-core/src/guardrail.rs",
        of: "Guardrails",
        text: "[jobs.it.guardrails]\n",
    },
    Section {
        title: "`encrypt`, of a job",
        file: "src/config/mod.rs",
        of: "EncryptConfig",
        text: "[jobs.it.encrypt]\nrecipients = []\n",
    },
    Section {
        title: "`[notify.NAME]`",
        file: "src/config/mod.rs",
        of: "NotifyConfig",
        text: "[notify.it]\nwebhook = \"https://x\"\n",
    },
    Section {
        title: "`email`, of a notification",
        file: "src/config/mod.rs",
        of: "EmailConfig",
        text: "[notify.it.email]\nto = []\nsmtp = \"smtp://x\"\n",
    },
];

#[test]
fn the_reference_of_the_command_is_what_its_help_says() {
    let program = program();
    let root = Help::of(&program, &[]);
    let mut page = format!(
        "# The command\n\n{MADE}\n\n{}\n\n    {}\n\nIn a configuration and on the command line a word means the same: \
         see [configuration](configuration.md).\n\n",
        sentence(&root.about),
        root.usage
    );
    page += "## Options of every command\n\n";
    page += &table("option", &root.options, &[]);
    for name in root.commands.iter().filter(|name| *name != "help") {
        let help = Help::of(&program, &[name]);
        assert!(help.commands.is_empty(), "{name} has commands of its own: read them too");
        let _ = write!(page, "\n## `backup {name}`\n\n{}\n\n    {}\n", sentence(&help.about), help.usage);
        let items = [help.arguments, help.options].concat();
        let own = table("argument or option", &items, &root.options);
        if !own.is_empty() {
            let _ = write!(page, "\n{own}");
        }
        if !help.rest.is_empty() {
            let _ = write!(page, "\n```text\n{}\n```\n", help.rest.trim_end());
        }
    }
    page += "\n## Exit codes\n\n| code | means |\n| --- | --- |\n";
    for (code, meaning) in exit_codes(&root.rest) {
        let _ = writeln!(page, "| {code} | {meaning} |");
    }
    page += "\n`backup guard` exits with the code of its command.\n\n## Environment\n\n| variable | says |\n| --- | --- |\n";
    for (name, meaning) in VARIABLES {
        let _ = writeln!(page, "| `{name}` | {meaning} |");
    }
    page += "\nBesides, PostgreSQL is found and entered by the variables of libpq (`PGHOST`, `PGPASSWORD`, `PGPASSFILE` …), buckets \
             by those of the vendors ([stores](../stores.md)); `XDG_CONFIG_HOME` and `XDG_CACHE_HOME` say where \
             configurations and caches lie, as anywhere.\n";
    is_up_to_date("command.md", &page);
}

#[test]
fn no_variable_is_read_that_the_reference_does_not_name() {
    let mut read = BTreeSet::new();
    for member in
        ["", "backup-core", "backup-pg", "backup-sqlite", "backup-storage", "backup-cli", "backup-py"]
    {
        for path in sources(&root().join(member).join("src")) {
            let text = fs::read_to_string(path).unwrap();
            let literals = text.split('"').filter(|literal| {
                let is_name = literal.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                is_name
                    && (literal.starts_with("BACKUP_") || *literal == "DATABASE_URL" || *literal == "PGBIN")
            });
            read.extend(literals.map(str::to_owned));
        }
    }
    let named: BTreeSet<_> = VARIABLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(read, named, "read by the code, and named by VARIABLES");
}

#[test]
fn the_reference_of_the_configuration_is_what_the_reader_takes() {
    let (root, run) = (Help::of(&program(), &[]), Help::of(&program(), &["run"]));
    let mut page = format!(
        "# Keys of `backup.toml`\n\n{MADE}\n\nWhat the words mean, where the file lies, secrets and units: \
         [Configuration](../configuration.md). \
         A key without a default is not set.\n"
    );
    for section in &SECTIONS {
        let _ = write!(
            page,
            "\n## {}\n\n| key | takes | default | meaning |\n| --- | --- | --- | --- |\n",
            section.title
        );
        let documented = fields(section.file, section.of);
        for key in section.keys() {
            let field = documented.iter().find(|field| field.name == key);
            let meaning = &field.unwrap_or_else(|| panic!("{} has no field {key}", section.of)).meaning;
            assert!(!meaning.is_empty(), "{}::{key} is not documented", section.of);
            let flag = flag_of(&key, &run, &root.options).filter(|_| section.of == "JobConfig");
            let flag =
                flag.map_or(String::new(), |item| format!(" `backup run {}`: {}.", item.name, item.meaning));
            let _ = writeln!(
                page,
                "| `{key}` | {} | {} | {} |",
                section.takes(&key),
                section.default_of(&key),
                cell(&format!("{meaning}{flag}"))
            );
        }
    }
    is_up_to_date("configuration.md", &page);
}

#[test]
fn the_guide_to_the_configuration_names_every_key() {
    let guide = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    for section in &SECTIONS {
        for key in section.keys() {
            let is_named = guide.contains(&format!("`{key}`")) || guide.contains(&format!("{key} = "));
            assert!(is_named, "docs/configuration.md does not name {key} of {}", section.title);
        }
    }
}

impl Section {
    /// The text around it; tables in a job stand below one.
    fn whole(&self, text: &str) -> String {
        if self.text.starts_with("[jobs.it.") { format!("{JOB}{text}") } else { text.to_owned() }
    }

    fn refusal(&self, text: &str) -> Option<backup::Error> {
        Config::parse(&self.whole(text), "f", &|_| None).err()
    }

    /// The keys that the reader asks for: it names them where it does not know one.
    fn keys(&self) -> Vec<String> {
        let error = self.refusal(&format!("{}zzzzzzzzzzzz = 1\n", self.text)).expect("an unknown key");
        let hint = error.hint().unwrap_or_default();
        let names = hint.split_once(" are ").unwrap_or_else(|| panic!("{}: {error:?}", self.title)).1;
        names.trim_end_matches('.').split(", ").map(str::to_owned).collect()
    }

    fn without(&self, key: &str) -> String {
        let lines = self.text.lines().filter(|line| !line.starts_with(&format!("{key} = ")));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// What a key takes: the reader says so where it finds something else.
    fn takes(&self, key: &str) -> String {
        let error =
            self.refusal(&format!("{}{key} = 1979-05-27\n", self.without(key))).expect("a wrong type");
        let (told, mark) = (error.to_string(), format!("\"{key}\" takes "));
        let rest = told.split_once(&mark).unwrap_or_else(|| panic!("{}: {told}", self.title)).1;
        let takes = rest.split(", this is").next().unwrap_or_default();
        if takes != "a text" {
            return takes.to_owned();
        }
        // Of texts that mean a length of time or a size the reader says that, too.
        let error = self.refusal(&format!("{}{key} = \"?\"\n", self.without(key)));
        let told = error.map_or(String::new(), |error| error.to_string());
        for kind in ["a duration", "a size", "a schedule", "a time zone"] {
            if told.contains(&format!("is not {kind}")) {
                return kind.to_owned();
            }
        }
        takes.to_owned()
    }

    fn default_of(&self, key: &str) -> String {
        if self.of == "NotifyConfig" {
            // One of the two is required.
            return if key == "on" { "" } else { "one of both" }.to_owned();
        }
        if self.text.contains(&format!("{key} = ")) && self.refusal(&self.without(key)).is_some() {
            return "required".to_owned();
        }
        let (rules, run) = (Guardrails::default(), RunOptions::default());
        match (self.of, key) {
            ("Guardrails", "ratchet") => rules.ratchet.to_string(),
            ("Guardrails", "size_change") => rules.size_change.to_string(),
            ("Guardrails", "min_free") => rules.min_free.to_string(),
            ("JobConfig", "content") => format!("`{}`", run.content.name()),
            ("JobConfig", "verify") => format!("`{}`", run.verify.name()),
            _ if self.takes(key) == "true or false" => "`false`".to_owned(),
            _ => String::new(),
        }
    }
}

/// The option of `backup run` that says the same: `lock_wait` and `--lock-wait`, `tables` and `--table`.
fn flag_of(key: &str, run: &Help, elsewhere: &[Item]) -> Option<Item> {
    let flag = format!("--{}", key.replace('_', "-"));
    let one = flag.strip_suffix('s').unwrap_or(&flag);
    let is_it = |item: &&Item| item.name.split(' ').any(|word| word == flag || word == one);
    run.options.iter().filter(|item| !elsewhere.contains(item)).find(is_it).cloned()
}

/// A table of items, but for those that are told elsewhere; nothing when none is left.
fn table(of: &str, items: &[Item], elsewhere: &[Item]) -> String {
    let own: Vec<_> =
        items.iter().filter(|item| !elsewhere.iter().any(|known| known.name == item.name)).collect();
    if own.is_empty() {
        return String::new();
    }
    let mut table = format!("| {of} | meaning |\n| --- | --- |\n");
    for item in own {
        assert!(!item.meaning.is_empty(), "{} is not documented", item.name);
        let _ = writeln!(table, "| `{}` | {} |", item.name.replace('|', "\\|"), cell(&item.meaning));
    }
    table
}

fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// `Exit codes: 0 done, 1 failed, …` as pairs.
fn exit_codes(text: &str) -> Vec<(u8, String)> {
    let told = text.split("Exit codes: ").nth(1).expect("exit codes are told").trim();
    let mut codes: Vec<(u8, String)> = Vec::new();
    for word in told.split_whitespace() {
        match (word.parse(), codes.last_mut()) {
            (Ok(code), _) => codes.push((code, String::new())),
            (Err(_), Some((_, meaning))) => *meaning += &format!(" {word}"),
            (Err(_), None) => panic!("{told:?} begins with no code"),
        }
    }
    codes
        .into_iter()
        .map(|(code, text)| (code, text.trim().trim_end_matches([',', '.']).to_owned()))
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
