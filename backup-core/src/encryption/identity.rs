use std::{fmt, io::Read, iter, path::Path, str::FromStr};

use age::{Decryptor, armor::ArmoredReader, scrypt, secrecy::SecretString};
use zeroize::Zeroizing;

use super::{Recipient, Secret};
use crate::{
    error::{Error, ErrorKind, Result},
    file,
};

/// Identity files larger than this are none: it is room for hundreds of keys with their comments.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What a secret key begins with, in either case.
const SECRET_KEY_PREFIX: &str = "AGE-SECRET-KEY-";

/// scrypt's work factor, as a power of two, beyond which a passphrase is not tried: the limit of the `age` tool, some
/// 20 seconds and 4 GiB. What `age -p` writes has 18.
const MAX_WORK_FACTOR: u8 = 22;

const PROTECTED: &[u8] = b"age-encryption.org/";
const PROTECTED_ARMORED: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// A secret key that reads what was encrypted for its [`Recipient`]. It is overwritten in memory when it is dropped,
/// and never printed.
#[derive(Clone)]
pub struct Identity(pub(super) age::x25519::Identity);

impl Identity {
    /// A new secret key.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// The public key that belongs to it.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }
}

impl FromStr for Identity {
    type Err = Error;

    /// Reads `AGE-SECRET-KEY-1…`.
    ///
    /// # Errors
    /// `Invalid`; the message does not repeat the text.
    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| {
            Error::invalid("it is not an age identity").with_hint(
                "An identity begins with AGE-SECRET-KEY-1, and `age-keygen` makes it. SSH keys and those of plugins \
                 are not known here.",
            )
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Whether a text is, or tries to be, a secret key.
pub(super) fn is_secret_key(text: &str) -> bool {
    text.get(..SECRET_KEY_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(SECRET_KEY_PREFIX))
}

/// The identities in a file, as `age-keygen` and `age -p` write it; see [`identities_of`].
///
/// # Errors
/// Those of [`identities_of`], and `NotFound` or `Denied` when the file cannot be read.
pub fn read_identities(path: &Path, ask: &dyn Fn() -> Result<Secret>) -> Result<Vec<Identity>> {
    let bytes = Zeroizing::new(file::read(path, MAX_FILE_BYTES)?);
    identities_of(&bytes, ask)
        .map_err(|error| error.context(format!("the identity file \"{}\" cannot be used", path.display())))
}

/// The identities in the bytes of an identity file: one `AGE-SECRET-KEY-1…` per line, empty lines and those that begin
/// with `#` aside. A file that is itself encrypted with a passphrase, armored or not, is opened with what `ask` gives.
///
/// # Errors
/// `Invalid` when it holds anything else, or no identity; `Denied` when the passphrase does not open it; what `ask`
/// returns. No message repeats anything of the file.
pub fn identities_of(bytes: &[u8], ask: &dyn Fn() -> Result<Secret>) -> Result<Vec<Identity>> {
    if bytes.starts_with(PROTECTED) || bytes.starts_with(PROTECTED_ARMORED) {
        return identities_in(&unprotect(bytes, ask)?);
    }
    identities_in(bytes)
}

fn identities_in(bytes: &[u8]) -> Result<Vec<Identity>> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid("it is no identity file"))?;
    let mut identities = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let identity = line
            .parse()
            .map_err(|error: Error| error.context(format!("line {} is no identity", number + 1)))?;
        identities.push(identity);
    }
    if identities.is_empty() {
        return Err(Error::invalid("it holds no identity"));
    }
    Ok(identities)
}

fn unprotect(bytes: &[u8], ask: &dyn Fn() -> Result<Secret>) -> Result<Zeroizing<Vec<u8>>> {
    let damaged = |why: String| Error::invalid(format!("it is damaged: {why}"));
    let decryptor = Decryptor::new(ArmoredReader::new(bytes)).map_err(|e| damaged(e.to_string()))?;
    if !decryptor.is_scrypt() {
        return Err(Error::invalid("it is encrypted with another key, not with a passphrase"));
    }
    let mut key = scrypt::Identity::new(SecretString::from(ask()?.expose().to_owned()));
    key.set_max_work_factor(MAX_WORK_FACTOR);
    let opened = decryptor.decrypt(iter::once(&key as &dyn age::Identity)).map_err(|error| match error {
        age::DecryptError::DecryptionFailed
        | age::DecryptError::KeyDecryptionFailed
        | age::DecryptError::NoMatchingKeys => {
            Error::new(ErrorKind::Denied, "the passphrase does not open it")
        }
        age::DecryptError::ExcessiveWork { .. } => {
            Error::invalid("its passphrase was made harder to try than this machine should be asked for")
        }
        other => damaged(other.to_string()),
    })?;
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
    opened.take(MAX_FILE_BYTES).read_to_end(&mut plain).map_err(|e| damaged(e.to_string()))?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use age::secrecy::ExposeSecret;
    use proptest::prelude::*;

    use super::*;

    fn nobody() -> Result<Secret> {
        panic!("nobody was to be asked")
    }

    fn text_of(identity: &Identity) -> String {
        identity.0.to_string().expose_secret().to_owned()
    }

    /// As `age -p` writes it, with as little work as the format allows.
    fn protected(plain: &str, passphrase: &str, is_armored: bool) -> Vec<u8> {
        let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
        recipient.set_work_factor(2);
        let encryptor =
            age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient)).unwrap();
        let format = if is_armored { age::armor::Format::AsciiArmor } else { age::armor::Format::Binary };
        let armor = age::armor::ArmoredWriter::wrap_output(Vec::new(), format).unwrap();
        let mut writer = encryptor.wrap_output(armor).unwrap();
        writer.write_all(plain.as_bytes()).unwrap();
        writer.finish().unwrap().finish().unwrap()
    }

    #[test]
    fn a_file_of_several_keys_with_comments_gives_all_of_them() {
        let (old, new) = (Identity::generate(), Identity::generate());
        let text = format!("# old\r\n{}\r\n\n# created: 2026\n{}\n", text_of(&old), text_of(&new));
        let read = identities_of(text.as_bytes(), &nobody).unwrap();
        let recipients: Vec<Recipient> = read.iter().map(Identity::recipient).collect();
        assert_eq!(recipients, [old.recipient(), new.recipient()]);
    }

    #[test]
    fn a_protected_file_opens_with_its_passphrase_and_no_other() {
        let key = Identity::generate();
        for is_armored in [false, true] {
            let bytes = protected(&text_of(&key), "correct horse", is_armored);
            let read = identities_of(&bytes, &|| Ok(Secret::new("correct horse".to_owned()))).unwrap();
            assert_eq!(read[0].recipient(), key.recipient());
            let wrong = identities_of(&bytes, &|| Ok(Secret::new("battery staple".to_owned()))).unwrap_err();
            assert_eq!(wrong.kind(), ErrorKind::Denied, "{wrong:?}");
            assert!(!format!("{wrong:?}").contains("battery"));
        }
    }

    #[test]
    fn what_holds_no_identity_is_refused_without_being_repeated() {
        let key = text_of(&Identity::generate());
        let broken = format!("{}X", &key[..key.len() - 1]);
        for (text, expected) in [
            ("", "no identity"),
            ("# only a comment\n", "no identity"),
            (broken.as_str(), "line 1"),
            ("age1notasecret", "line 1"),
            ("# a key\nssh-ed25519 AAAA", "line 2"),
        ] {
            let error = format!("{:?}", identities_of(text.as_bytes(), &nobody).unwrap_err());
            assert!(error.contains(expected), "{text:?}: {error}");
            assert!(!error.contains(&key[20..40]) && !error.contains("AAAA"), "{error}");
        }
    }

    #[test]
    fn a_secret_key_is_no_recipient_and_is_not_repeated() {
        let key = text_of(&Identity::generate());
        for text in [key.clone(), key.to_lowercase()] {
            let error = format!("{:?}", text.parse::<Recipient>().unwrap_err());
            assert!(error.contains("secret key") && !error.contains(&text[20..40]), "{error}");
        }
        let identity: Identity = key.parse().unwrap();
        assert!(!format!("{identity:?}").contains(&key[20..40]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0usize..3) {
            let start = [&b""[..], PROTECTED, PROTECTED_ARMORED][kind];
            let whole = [start, &bytes].concat();
            prop_assert!(identities_of(&whole, &|| Err(Error::cancelled())).is_err());
        }
    }
}
