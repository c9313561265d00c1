//! Who can read an encrypted backup, and with what: age's recipients and identities.
//!
//! A [`Recipient`] is a public key that backups are encrypted for; the host that makes them needs nothing else. An
//! [`Identity`] is the secret key that reads them. A passphrase protects the file that identities are kept in, never
//! a backup itself. Source of the formats: <https://age-encryption.org/v1>.

mod file_key;
mod identity;
mod recipient;
mod secret;

pub(crate) use file_key::{FileKey, FileKeys, Wrapping};
pub use identity::{Identity, identities_of, read_identities};
pub use recipient::{MAX_RECIPIENTS, Recipient};
pub use secret::Secret;
