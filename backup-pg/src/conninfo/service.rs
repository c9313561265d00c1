//! The connection service file: named sections of parameters.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use backup_core::{Error, ErrorKind, Result};

use super::{Environment, keyword};

/// Where distributions have libpq look for the system-wide file; the first folder is Debian's, the second Red Hat's,
/// the others PostgreSQL's own. `PGSYSCONFDIR` beats them, as `pg_config --sysconfdir` cannot be asked here.
const SYSTEM_FOLDERS: [&str; 4] =
    ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc", "/usr/local/etc/postgresql"];

/// The parameters of a service: from the user's file, else from the system's.
///
/// # Errors
/// `NotFound` when no file has the service, or when the one `PGSERVICEFILE` names is not there; `Invalid` for a line
/// that is no parameter.
pub(crate) fn look_up(service: &str, environment: &Environment) -> Result<BTreeMap<String, String>> {
    let mut searched = Vec::new();
    for (path, required) in files(environment) {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if !required && is_absent(&error) => continue,
            Err(error) => return Err(Error::io("read service file", &path, error)),
        };
        if let Some(values) = section(&text, service, &path)? {
            return Ok(values);
        }
        searched.push(path.display().to_string());
    }
    let message = format!("there is no connection service \"{service}\"");
    let hint = match searched.as_slice() {
        [] => "No service file was found; name one in PGSERVICEFILE or write ~/.pg_service.conf.".to_owned(),
        files => format!("Add a section [{service}] to {}.", files.join(" or ")),
    };
    Err(Error::new(ErrorKind::NotFound, message).with_hint(hint))
}

/// The files to look into, in order, and whether each must be there.
fn files(environment: &Environment) -> Vec<(PathBuf, bool)> {
    let user = match environment.variable("PGSERVICEFILE") {
        Some(path) => Some((PathBuf::from(path), true)),
        None => environment.default_service_file().map(|path| (path, false)),
    };
    let folders: Vec<PathBuf> = match environment.variable("PGSYSCONFDIR") {
        Some(folder) => vec![PathBuf::from(folder)],
        None if cfg!(unix) => SYSTEM_FOLDERS.iter().map(PathBuf::from).collect(),
        None => Vec::new(),
    };
    user.into_iter().chain(folders.into_iter().map(|f| (f.join("pg_service.conf"), false))).collect()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The parameters below `[service]`, up to the next section; the first value of a keyword counts.
fn section(text: &str, service: &str, path: &Path) -> Result<Option<BTreeMap<String, String>>> {
    let mut found: Option<BTreeMap<String, String>> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if header.strip_prefix(service).is_some_and(|rest| rest.starts_with(']')) {
                found = Some(BTreeMap::new());
            }
        } else if let Some(values) = &mut found {
            let (name, value) = parameter(line).map_err(|error| at(error, path, number))?;
            values.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    Ok(found)
}

fn parameter(line: &str) -> Result<(&str, &str)> {
    if line.starts_with("ldap") {
        return Err(Error::new(ErrorKind::Unsupported, "the service is kept in an LDAP directory")
            .with_hint("Write its host, port and database into the section instead."));
    }
    let (name, value) =
        line.split_once('=').ok_or_else(|| Error::invalid("a line of the service file has no \"=\""))?;
    if name == "service" {
        return Err(Error::invalid("a service cannot name another service"));
    }
    if !keyword::is_known(name) {
        return Err(keyword::unknown(name, "the service file"));
    }
    Ok((name, value))
}

fn at(error: Error, path: &Path, line: usize) -> Error {
    error.context(format!("could not use service file \"{}\", line {line}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, service: &str) -> Result<Option<Vec<(String, String)>>> {
        Ok(section(text, service, Path::new("f"))?.map(|values| values.into_iter().collect()))
    }

    #[test]
    fn a_section_ends_where_the_next_begins_and_the_first_value_counts() {
        let text =
            "# all\n[other]\nhost=no\n\n[live]\n  host=db1  \nport=5433\nhost=db2\n#x\n[more]\ndbname=x\n";
        let expected = [("host", "db1"), ("port", "5433")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(read(text, "live").unwrap().unwrap(), expected);
        assert_eq!(read(text, "liv").unwrap(), None);
        assert_eq!(read("bad line\n[a]\nhost=x", "a").unwrap().unwrap().len(), 1);
    }

    #[test]
    fn a_broken_section_is_refused_with_its_line() {
        for text in ["[a]\nhost", "[a]\n\nservice=b", "[a]\nhots=x", "[a]\nhost =x", "[a]\nldap://h"] {
            let error = read(text, "a").unwrap_err();
            assert!(error.to_string().contains("line "), "{error:?}");
        }
    }
}
