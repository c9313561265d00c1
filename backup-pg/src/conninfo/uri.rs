//! Connection URIs: `postgresql://user@host:port/database?parameter=value`.

use std::collections::BTreeMap;

use backup_core::{Error, Result};

use super::keyvalue::store;

/// The two schemes libpq takes, in lower case only.
const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Whether a text is a connection URI, well-formed or not.
pub(crate) fn is_uri(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.starts_with(scheme))
}

/// Reads a connection URI. A component that is empty counts as not written; parameters after `?` beat the
/// components before it.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    let mut values = BTreeMap::new();
    let (credentials, rest) = split_credentials(rest);
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (hosts, ports, rest) = split_hosts(rest)?;
    if hosts.contains('@') || ports.contains(|c: char| !c.is_ascii_digit() && !",% ".contains(c)) {
        // What stands there is most likely the rest of a password, so it is not repeated.
        return Err(Error::invalid("the URI has no host and port where they should be")
            .with_hint("In a user name or password write @ as %40, : as %3A, / as %2F and ? as %3F."));
    }
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let dbname = path.strip_prefix('/').unwrap_or(path);
    let components =
        [("user", user), ("password", password), ("host", &hosts), ("port", &ports), ("dbname", dbname)];
    for (name, value) in components.iter().filter(|(_, value)| !value.is_empty()) {
        store(&mut values, name, decode(value, name)?)?;
    }
    for parameter in query.iter().flat_map(|query| query.split('&')) {
        store_parameter(&mut values, parameter)?;
    }
    Ok(values)
}

/// Splits off `user:password@`: libpq looks for an `@` before the first `/`, wherever that is.
fn split_credentials(text: &str) -> (&str, &str) {
    match text.find(['@', '/']) {
        Some(at) if text[at..].starts_with('@') => (&text[..at], &text[at + 1..]),
        _ => ("", text),
    }
}

/// Splits off the hosts and their ports, each a comma-separated list of equal length, not yet decoded.
fn split_hosts(text: &str) -> Result<(String, String, &str)> {
    let (mut hosts, mut ports, mut rest) = (String::new(), String::new(), text);
    loop {
        let (host, after) = split_host(rest)?;
        hosts.push_str(host);
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            let end = after.find(['/', '?', ',']).unwrap_or(after.len());
            ports.push_str(&after[..end]);
            rest = &after[end..];
        }
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
        hosts.push(',');
        ports.push(',');
    }
    Ok((hosts, ports, rest))
}

/// One host: a name, an address, an IPv6 address in brackets, or nothing.
fn split_host(text: &str) -> Result<(&str, &str)> {
    let Some(inner) = text.strip_prefix('[') else {
        let end = text.find([':', '/', '?', ',']).unwrap_or(text.len());
        return Ok((&text[..end], &text[end..]));
    };
    let (host, rest) = inner
        .split_once(']')
        .ok_or_else(|| Error::invalid("an IPv6 address in the URI has no closing \"]\""))?;
    if host.is_empty() {
        return Err(Error::invalid("the IPv6 address in the URI is empty"));
    }
    if !rest.is_empty() && !rest.starts_with([':', '/', '?', ',']) {
        return Err(Error::invalid(format!("\"[{host}]\" in the URI is not followed by a port or database")));
    }
    Ok((host, rest))
}

fn store_parameter(values: &mut BTreeMap<String, String>, parameter: &str) -> Result<()> {
    // libpq allows a trailing `&` and an empty query.
    if parameter.is_empty() {
        return Ok(());
    }
    let (name, value) = parameter.split_once('=').ok_or_else(|| {
        Error::invalid("a parameter in the URI has no \"=\" after its name")
            .with_hint("Write ?name=value, and %26 for an & inside a value.")
    })?;
    let name = decode(name, "a parameter's name")?;
    if value.contains('=') {
        return Err(Error::invalid(format!("the value of \"{name}\" in the URI contains an \"=\""))
            .with_hint("Write %3D for an = inside a value."));
    }
    let value = decode(value, &name)?;
    // What JDBC's URIs have for it.
    if name == "ssl" && value == "true" {
        return store(values, "sslmode", "require".to_owned());
    }
    store(values, &name, value)
}

/// Decodes `%XX`. The text is not repeated in messages, as it may be a password.
fn decode(text: &str, what: &str) -> Result<String> {
    let malformed = |why: &str| {
        Error::invalid(format!("the URI has {why} in \"{what}\""))
            .with_hint("Write %25 for a % sign; other signs are written as % and two hexadecimal digits.")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(malformed("a malformed percent sign"));
        };
        match u8::try_from(high * 16 + low) {
            Ok(0) | Err(_) => return Err(malformed("a zero byte")),
            Ok(byte) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed("bytes that are not UTF-8"))
}

/// Writes what tells databases apart (service, user, hosts, ports, database) as a short URI that reads back to the
/// same.
pub(crate) fn write(values: &BTreeMap<String, String>) -> String {
    let get = |name: &str| values.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let mut query: Vec<String> = Vec::new();
    let mut add = |name: &str, value: &str| query.push(format!("{name}={}", encode(value)));
    let authority = authority(get("host"), get("port"));
    if authority.is_none() {
        get("host").into_iter().for_each(|host| add("host", host));
        get("port").into_iter().for_each(|port| add("port", port));
    }
    for name in ["hostaddr", "service"] {
        get(name).into_iter().for_each(|value| add(name, value));
    }
    let user = get("user").map(|user| format!("{}@", encode_all(user))).unwrap_or_default();
    let dbname = get("dbname").map(|name| format!("/{}", encode_all(name))).unwrap_or_default();
    let authority = authority.unwrap_or_default();
    if user.is_empty() && authority.is_empty() && dbname.is_empty() && query.is_empty() {
        return "postgres:".to_owned();
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    // Without any `/`, libpq would look for user@ in what follows.
    let dbname = if dbname.is_empty() && !query.is_empty() { "/".to_owned() } else { dbname };
    format!("postgres://{user}{authority}{dbname}{query}")
}

/// Hosts with their ports; `None` when they read better, or only work, as parameters.
fn authority(host: Option<&str>, port: Option<&str>) -> Option<String> {
    let hosts: Vec<&str> = host.unwrap_or_default().split(',').collect();
    let ports: Vec<&str> = port.unwrap_or_default().split(',').collect();
    if hosts.iter().any(|host| host.starts_with(['/', '@'])) {
        return None;
    }
    let port_of = |index: usize| if ports.len() == 1 { ports.first() } else { ports.get(index) };
    if ports.len() > 1 && ports.len() != hosts.len() {
        return None;
    }
    let write = |(index, host): (usize, &&str)| {
        let host = if host.contains(':') { format!("[{}]", encode(host)) } else { encode_all(host) };
        match port_of(index).filter(|port| !port.is_empty()) {
            Some(port) => format!("{host}:{}", encode(port)),
            None => host,
        }
    };
    Some(hosts.iter().enumerate().map(write).collect::<Vec<_>>().join(","))
}

/// Encodes what has a meaning in a URI, except `/`, `:` and `,`, which mean nothing after the `?`.
fn encode(text: &str) -> String {
    encode_except(text, b"-._~/:,")
}

/// Encodes everything that could have a meaning in a URI.
fn encode_all(text: &str) -> String {
    encode_except(text, b"-._~")
}

fn encode_except(text: &str, plain: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
        expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// The examples are those of PostgreSQL's own test of its parser (`interfaces/libpq/t/001_uri.pl`).
    #[test]
    fn uris_mean_what_they_mean_to_libpq() {
        for (text, expected) in [
            (
                "postgresql://uri-user:secret@host:12345/db",
                &[
                    ("user", "uri-user"),
                    ("password", "secret"),
                    ("host", "host"),
                    ("port", "12345"),
                    ("dbname", "db"),
                ] as &[_],
            ),
            (
                "postgresql://host:12345/db?user=uri-user",
                &[("user", "uri-user"), ("host", "host"), ("port", "12345"), ("dbname", "db")],
            ),
            ("postgresql://uri-user@", &[("user", "uri-user")]),
            ("postgresql:///db", &[("dbname", "db")]),
            ("postgresql://host?", &[("host", "host")]),
            (
                "postgresql://host/db?u%73er=someotheruser&port=12345",
                &[("user", "someotheruser"), ("host", "host"), ("port", "12345"), ("dbname", "db")],
            ),
            ("postgresql://[::1]:12345", &[("host", "::1"), ("port", "12345")]),
            ("postgresql://@host/?", &[("host", "host")]),
            ("postgresql://:@host", &[("host", "host")]),
            ("postgresql://?host=/path/to/socket/dir", &[("host", "/path/to/socket/dir")]),
            ("postgres://%2Fvar%2Frun:5/db", &[("host", "/var/run"), ("port", "5"), ("dbname", "db")]),
            ("postgres://a:1,b,c:3/db", &[("host", "a,b,c"), ("port", "1,,3"), ("dbname", "db")]),
            ("postgres:///?ssl=true", &[("sslmode", "require")]),
            ("postgres:///a/b", &[("dbname", "a/b")]),
            ("postgres://u:p%40w@h", &[("user", "u"), ("password", "p@w"), ("host", "h")]),
            ("postgres://", &[]),
        ] {
            assert_eq!(parse(text).unwrap(), values(expected), "{text}");
        }
    }

    #[test]
    fn what_libpq_refuses_is_refused() {
        for text in [
            "postgresql://host/db?u%7aer=someotheruser&port=12345",
            "postgresql://host?uzer=",
            "postgresql://[::1",
            "postgresql://[]",
            "postgresql://[::1]z",
            "postgres://%",
            "postgres://%1",
            "postgres://%1z",
            "postgres://%00",
            "postgres://host?user",
            "postgres://host?user=a=b",
        ] {
            assert_eq!(parse(text).unwrap_err().kind(), backup_core::ErrorKind::Invalid, "{text}");
        }
    }

    #[test]
    fn a_bad_password_is_not_repeated() {
        for text in ["u:secret%zz@h", "u:secret/x@h:1/db", "u:x@secret@h/db", "u:x@h:secret/db"] {
            let error = parse(&format!("postgres://{text}")).unwrap_err();
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_leads_to_the_same_database(
            user in "\\PC{0,8}", host in "[a-z0-9.:/,%@_-]{0,12}", port in "[0-9]{0,4}", dbname in "[ -~é]{0,9}"
        ) {
            let all = [("user", user), ("host", host), ("port", port), ("dbname", dbname)];
            let written: BTreeMap<_, _> =
                all.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v)).collect();
            let shown = write(&written);
            if shown == "postgres:" {
                prop_assert!(written.is_empty());
                return Ok(());
            }
            let mut read = parse(&shown).unwrap();
            // Several hosts bring as many ports, empty or not; one port for all is written beside each of them.
            if read.get("port").is_some_and(|ports| ports.chars().all(|c| c == ',')) {
                read.remove("port");
            }
            if let Some(port) = read.get_mut("port")
                && let Some(one) = written.get("port")
                && port.split(',').all(|p| p == one) {
                port.clone_from(one);
            }
            prop_assert_eq!(read, written);
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".*") {
            let _ = parse(&format!("postgres://{text}"));
        }
    }
}
