//! The two fields of a server's certificate that the TLS library does not tell.
//!
//! rustls neither reads certificates of X.509 version 1, which PostgreSQL's manual has people make with older
//! versions of OpenSSL, nor names in a certificate's subject; libpq takes both. Source of the layout: RFC 5280,
//! section 4.1.

/// The tags of DER that occur on the way.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// 2.5.4.3, the attribute "common name".
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// What is needed of a certificate, not verified in any way.
pub(super) struct Fields<'a> {
    /// The `SubjectPublicKeyInfo` as it stands.
    pub(super) public_key: &'a [u8],
    /// The contents of the subject's name.
    subject: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `None` for bytes that are no certificate.
    pub(super) fn read(certificate: &'a [u8]) -> Option<Self> {
        let (certificate, _) = expect(certificate, SEQUENCE)?;
        let (mut rest, _) = expect(certificate.content, SEQUENCE)?;
        if let Some((_, after)) = expect(rest.content, VERSION) {
            rest.content = after;
        }
        let (_serial, rest) = take(rest.content)?;
        let (_signature, rest) = expect(rest, SEQUENCE)?;
        let (_issuer, rest) = expect(rest, SEQUENCE)?;
        let (_validity, rest) = expect(rest, SEQUENCE)?;
        let (subject, rest) = expect(rest, SEQUENCE)?;
        let (public_key, _) = expect(rest, SEQUENCE)?;
        Some(Self { public_key: public_key.whole, subject: subject.content })
    }

    /// The last common name in the subject, as libpq takes it.
    pub(super) fn common_name(&self) -> Option<&'a str> {
        let mut names = None;
        let mut rest = self.subject;
        while let Some((set, after)) = expect(rest, SET) {
            rest = after;
            let (attribute, _) = expect(set.content, SEQUENCE)?;
            let (kind, value) = expect(attribute.content, OBJECT_IDENTIFIER)?;
            if kind.content == COMMON_NAME {
                names = std::str::from_utf8(take(value)?.0.content).ok();
            }
        }
        names
    }
}

/// Whether a name in a certificate is this host's: equal but for case, or a `*` in place of its first label.
/// Source: manual, "Client Verification of Server Certificates".
pub(super) fn names_host(name: &str, host: &str) -> bool {
    match name.strip_prefix('*') {
        Some(parent) if parent.starts_with('.') && parent.len() > 1 => {
            host.find('.').is_some_and(|dot| dot > 0 && host.split_at(dot).1.eq_ignore_ascii_case(parent))
        }
        _ => !name.contains('\0') && name.eq_ignore_ascii_case(host),
    }
}

/// One DER value.
struct Value<'a> {
    tag: u8,
    whole: &'a [u8],
    content: &'a [u8],
}

fn expect(input: &[u8], tag: u8) -> Option<(Value<'_>, &[u8])> {
    take(input).filter(|(value, _)| value.tag == tag)
}

/// Splits off one value with its length in one byte, or in up to four.
fn take(input: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (tag, rest) = input.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    let whole = input.get(..input.len() - after.len())?;
    Some((Value { tag: *tag, whole, content }, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stands_for_one_label() {
        for (name, host, same) in [
            ("db1.example.org", "DB1.example.org", true),
            ("*.example.org", "db1.example.org", true),
            ("*.example.org", "a.db1.example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.example.org", "example.org", false),
            ("*", "db1", false),
            ("*.", "db1.", false),
            ("db1", "db2", false),
            ("db1\0", "db1\0", false),
        ] {
            assert_eq!(names_host(name, host), same, "{name} for {host}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Fields::read(&bytes).map(|fields| fields.common_name().map(str::len));
        }
    }
}
