//! Keyword/value connection strings: `host=db1 dbname='my db'`.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

use backup_core::{Error, Result};

use super::keyword;

/// Reads a keyword/value string; the last value of a keyword counts.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    let mut rest = text.chars().peekable();
    let mut after_secret = false;
    loop {
        skip_blanks(&mut rest);
        if rest.peek().is_none() {
            return Ok(values);
        }
        let name = read_name(&mut rest);
        skip_blanks(&mut rest);
        // A word that is no parameter may be part of a password that was not quoted, so it is not repeated.
        if rest.next() != Some('=') || (after_secret && !keyword::is_known(&name)) {
            return Err(Error::invalid("a word in the connection string is not a parameter with its \"=\"")
                .with_hint("Quote a value that has blanks in it: password='two words'."));
        }
        skip_blanks(&mut rest);
        let value = read_value(&mut rest)?;
        after_secret = keyword::is_secret(&name);
        store(&mut values, &name, value)?;
    }
}

/// Takes one parameter that somebody wrote, in this form or in a URI.
pub(crate) fn store(values: &mut BTreeMap<String, String>, name: &str, value: String) -> Result<()> {
    // Kept by libpq for connection strings older than sslmode.
    if name == "requiressl" {
        let sslmode = if value.starts_with('1') { "require" } else { "prefer" };
        values.insert("sslmode".to_owned(), sslmode.to_owned());
        return Ok(());
    }
    if !keyword::is_known(name) {
        return Err(keyword::unknown(name, "a PostgreSQL connection"));
    }
    values.insert(name.to_owned(), value);
    Ok(())
}

/// Writes parameters so that libpq and [`parse`] read them back; every value is quoted that needs it.
pub(crate) fn write<'a>(values: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let words: Vec<String> = values.map(|(name, value)| format!("{name}={}", quote(value))).collect();
    words.join(" ")
}

fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+~".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What C's `isspace` takes for a blank.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

fn skip_blanks(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| is_blank(*c)).is_some() {}
}

fn read_name(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut name = String::new();
    while let Some(c) = rest.next_if(|c| !is_blank(*c) && *c != '=') {
        name.push(c);
    }
    name
}

fn read_value(rest: &mut Peekable<Chars<'_>>) -> Result<String> {
    let quoted = rest.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match rest.next() {
            Some('\'') if quoted => return Ok(value),
            Some(c) if !quoted && is_blank(c) => return Ok(value),
            // A backslash at the very end stands for nothing.
            Some('\\') => value.extend(rest.next()),
            Some(c) => value.push(c),
            None if quoted => {
                return Err(Error::invalid("a quoted value in the connection string has no closing quote"));
            }
            None => return Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn blanks_quotes_and_backslashes_are_read_as_libpq_reads_them() {
        for (text, expected) in [
            ("host=a port=1", &[("host", "a"), ("port", "1")] as &[_]),
            (" host = a\tport\n=\n1 ", &[("host", "a"), ("port", "1")]),
            ("dbname='my db'", &[("dbname", "my db")]),
            (r"dbname='it\'s' user=a\ b", &[("dbname", "it's"), ("user", "a b")]),
            (r"dbname=a\\b user=''", &[("dbname", r"a\b"), ("user", "")]),
            ("dbname= user=x", &[("dbname", "user=x")]),
            ("host=a host=b", &[("host", "b")]),
            ("dbname=it's", &[("dbname", "it's")]),
            ("requiressl=1", &[("sslmode", "require")]),
            ("", &[]),
        ] {
            assert_eq!(read(text), pairs(expected), "{text:?}");
        }
    }

    #[test]
    fn a_malformed_string_is_refused_without_repeating_a_secret() {
        for text in
            ["host", "host=a password=se cret", "password=se cret=x", "dbname='x", "passwort=secret", "=x"]
        {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind(), backup_core::ErrorKind::Invalid, "{text:?}");
            assert!(!format!("{error:?}").contains("cret"), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(host in ".*", dbname in "[ -~]*", user in "\\PC*") {
            let values = BTreeMap::from([
                ("host".to_owned(), host), ("dbname".to_owned(), dbname), ("user".to_owned(), user),
            ]);
            prop_assert_eq!(parse(&write(values.iter())).unwrap(), values);
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".*") {
            let _ = parse(&text);
        }
    }
}
