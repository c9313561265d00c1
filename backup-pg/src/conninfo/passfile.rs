//! The password file, `~/.pgpass`: lines of `host:port:database:user:password`.

use std::{fs, path::Path};

use super::Password;

/// Reads a password file. A file that is not there holds nothing.
///
/// One that others can read, or that is no plain file, is passed over with a warning, as libpq does.
pub(crate) fn read(path: &Path, warnings: &mut Vec<String>) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_file() {
        warnings.push(format!("password file \"{}\" is not a plain file and was not used", path.display()));
        return None;
    }
    if others_have_access(&meta) {
        warnings.push(format!(
            "password file \"{}\" can be read by others and was not used; set its mode to 0600",
            path.display()
        ));
        return None;
    }
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(unix)]
fn others_have_access(meta: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077 != 0
}

/// Windows trusts the folder to be the user's own.
#[cfg(windows)]
fn others_have_access(_meta: &fs::Metadata) -> bool {
    false
}

/// The password of the first line that fits.
pub(crate) fn find(text: &str, host: &str, port: u16, database: &str, user: &str) -> Option<Password> {
    let port = port.to_string();
    let wanted = [host, &port, database, user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let rest = wanted.iter().try_fold(line, |rest, wanted| match_field(rest, wanted))?;
        Some(Password::new(unescape(rest)))
    })
}

/// What follows a field that is `*` or spells the wanted text, where `\` takes the next character literally.
fn match_field<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut wanted = wanted.chars();
    let mut rest = line.chars();
    loop {
        let written = match rest.next()? {
            ':' if wanted.as_str().is_empty() => return Some(rest.as_str()),
            '\\' => rest.next()?,
            plain => plain,
        };
        if wanted.next() != Some(written) {
            return None;
        }
    }
}

/// The password ends at the next `:` that has no `\` before it.
fn unescape(text: &str) -> String {
    let mut password = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next().filter(|c| *c != ':') {
        match (c, rest.as_str().is_empty()) {
            ('\\', false) => password.extend(rest.next()),
            (plain, _) => password.push(plain),
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find_in(text: &str) -> Option<String> {
        find(text, "db1", 5432, "stocks", "owner").map(|password| password.reveal().to_owned())
    }

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        for (text, expected) in [
            ("db1:5432:stocks:owner:one", Some("one")),
            ("db1:5432:stocks:other:no\n*:*:*:owner:two\n*:*:*:*:three", Some("two")),
            ("#db1:5432:stocks:owner:no", None),
            ("db1:5433:stocks:owner:no", None),
            ("db:5432:stocks:owner:no\ndb11:5432:stocks:owner:no", None),
            ("db1:5432:stocks:owner:a\\:b\\\\c\\", Some("a:b\\c\\")),
            ("db1:5432:stocks:owner:a:b", Some("a")),
            ("d\\b1:5432:stocks:owner:x", Some("x")),
            ("db1:5432:stocks:owner:crlf\r\n", Some("crlf")),
            ("db1:5432:stocks:owner: blank ", Some(" blank ")),
            ("db1:5432:stocks:owner:", Some("")),
            ("db1:5432:stocks:owner", None),
            ("", None),
        ] {
            assert_eq!(find_in(text).as_deref(), expected, "{text:?}");
        }
    }

    fn escape(text: &str) -> String {
        text.replace('\\', "\\\\").replace(':', "\\:")
    }

    proptest! {
        #[test]
        fn escaped_fields_are_found(
            host in "[^#\\n\\r*][^\\n\\r]{0,9}", database in "[^\\n\\r]{0,9}", password in "[^\\n\\r]{0,9}"
        ) {
            let line = format!("{}:*:{}:*:{}", escape(&host), escape(&database), escape(&password));
            let found = find(&line, &host, 1, &database, "anyone");
            prop_assert_eq!(found.as_ref().map(Password::reveal), Some(password.as_str()));
        }
    }
}
