//! The first `backup.toml` of a database: every key explained in a line, what is optional commented out.

use toml::Value;

use super::secret::escape;

/// What the text is made of.
pub(crate) struct Facts<'f> {
    /// The job's name.
    pub(crate) job: &'f str,
    /// The source, without a password.
    pub(crate) source: &'f str,
    /// Where backups go.
    pub(crate) store: &'f str,
    /// A line about what was seen.
    pub(crate) seen: &'f str,
    /// Where the password is to be found, for a source that needs one.
    pub(crate) password: Option<&'f str>,
    /// The table worth asking for after a restore.
    pub(crate) largest: Option<&'f str>,
    /// Whether it can be dumped in parts.
    pub(crate) is_postgres: bool,
}

/// The text of the configuration; its pattern is in `starter.txt`.
pub(crate) fn text(facts: &Facts<'_>) -> String {
    let job = facts.job;
    let password = facts.password.map_or(String::new(), |variable| {
        format!(
            "# The password is not here: psql's ways work (~/.pgpass, PGPASSWORD, a service file), or one of these lines.\n\
             # password = \"${{{variable}}}\"               # a variable of the environment, or of .env beside this file\n\
             # password = \"file:/run/secrets/{job}\"      # the content of a file\n"
        )
    });
    let smoke = match facts.largest {
        Some(table) => format!("smoke = [{}]", quoted(&format!("select count(*) from {table}"))),
        None => "# smoke = [\"select count(*) from orders\"]".to_owned(),
    };
    format!(
        include_str!("starter.txt"),
        store = quoted(facts.store),
        seen = facts.seen,
        name = key(facts.job),
        source = quoted(facts.source),
        password = password,
        smoke = smoke,
        parts = if facts.is_postgres { PARTS } else { "" },
    )
}

/// What only PostgreSQL dumps know.
const PARTS: &str = "\
# What is dumped: patterns as in psql; each takes a list.
# exclude_table_data = [\"audit_log\"]        # also tables, exclude_tables, schemas
# format = \"custom\"                        # or plain, directory
# jobs = 4                                 # sessions that dump at once, for directory
# lock_wait = \"1m\"                         # how long a lock on a table is waited for
# cross_check = false                      # also count every table on the server, in the same snapshot
";

/// A text as TOML writes it, whatever is in it.
fn quoted(text: &str) -> String {
    Value::from(escape(text)).to_string()
}

/// A name as a key: a dot would begin a table of its own.
fn key(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_bare { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    proptest! {
        #[test]
        fn whatever_the_database_is_called_the_text_parses(
            path in "[^\0]{1,30}", table in "[^\0]{1,20}", job in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
        ) {
            let source = format!("sqlite:/srv/{path}");
            let (seen, largest) = ("A database.", Some(table.as_str()));
            let facts = Facts { job: &job, source: &source, store: &path, seen, password: None, largest, is_postgres: true };
            let parsed = Config::parse(&text(&facts), "starter", &|_| None);
            prop_assume!(!path.trim().is_empty());
            let config = parsed.unwrap();
            let read = &config.job(&job).unwrap();
            prop_assert_eq!(read.source.reveal(std::path::Path::new("")).unwrap(), source);
            prop_assert_eq!(&config.stores["local"].url, &path);
            prop_assert_eq!(&read.smoke, &[format!("select count(*) from {table}")]);
        }
    }

    /// What the comments show is real: with the marks taken away, everything is a configuration still.
    #[test]
    fn the_examples_in_the_comments_parse() {
        let facts = Facts {
            job: "shop",
            source: "postgres://app@db1/shop",
            store: "/var/backups",
            seen: "A database.",
            password: Some("SHOP_PASSWORD"),
            largest: None,
            is_postgres: true,
        };
        let is_example = |line: &str| {
            let line = line.strip_prefix("# ").unwrap_or_default();
            line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        };
        let mut seen_password = false;
        let lines = text(&facts).lines().map(str::to_owned).collect::<Vec<_>>();
        let lines = lines.iter().filter(|line| {
            // Two ways to give the same key.
            let is_second = line.contains("password = ") && seen_password;
            seen_password |= line.contains("password = ");
            !is_second
        });
        let opened: Vec<&str> = lines.map(|line| if is_example(line) { &line[2..] } else { line }).collect();
        let config =
            Config::parse(&opened.join("\n"), "starter", &|_| Some("https://chat".to_owned())).unwrap();
        let job = config.job("shop").unwrap();
        assert_eq!((job.mirrors.len(), job.notify.len(), job.smoke.len()), (1, 1, 1));
        assert!(
            job.encrypt.is_some()
                && job.timeout.is_some()
                && job.password.is_some()
                && job.lock_wait.is_some()
        );
    }
}
