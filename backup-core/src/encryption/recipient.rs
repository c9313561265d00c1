use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// More recipients than this are refused: their part of an encrypted file is to stay small beside its contents.
pub const MAX_RECIPIENTS: usize = 256;

/// A public key that backups can be encrypted for; as text `age1…`, as `age-keygen` prints it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recipient(pub(super) age::x25519::Recipient);

impl FromStr for Recipient {
    type Err = Error;

    /// # Errors
    /// `Invalid`; a secret key that was given by mistake is not repeated in the message.
    fn from_str(text: &str) -> Result<Self> {
        if super::identity::is_secret_key(text) {
            return Err(Error::invalid("a secret key was given where a recipient is expected")
                .with_hint("Give the public key that begins with age1; `age-keygen -y FILE` prints it."));
        }
        text.parse().map(Self).map_err(|_| {
            let shown: String = text.chars().take(100).collect();
            Error::invalid(format!("\"{}\" is not an age recipient", shown.escape_debug())).with_hint(
                "A recipient is a public key of age's own kind: it begins with age1, and `age-keygen` prints it. \
                 SSH keys and those of plugins are not known here.",
            )
        })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

impl TryFrom<String> for Recipient {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Recipient> for String {
    fn from(recipient: Recipient) -> Self {
        recipient.to_string()
    }
}
