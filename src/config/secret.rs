//! Texts that are not for every eye, and the two ways to keep them out of the file.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use backup_core::{Error, Result, file};

/// Secrets are short; a larger file was named by mistake.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// A text that may be secret: a connection string, a password, an address with a token in it.
///
/// Written plainly, with `${VARIABLE}` in it, or, where the key allows it, as `file:PATH`, whose content it is then.
/// `Debug` shows nothing of it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    written: String,
    held: Held,
}

impl Default for Secret {
    /// The empty text.
    fn default() -> Self {
        Self { written: String::new(), held: Held::Text(String::new()) }
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Held {
    Text(String),
    File(PathBuf),
}

impl Secret {
    /// A text as the configuration has it, its variables replaced.
    ///
    /// # Errors
    /// `Invalid` when a variable is not set or not written as one.
    pub(crate) fn text(written: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        Ok(Self { written: written.to_owned(), held: Held::Text(expand(written, lookup)?) })
    }

    /// The same, or the file that `file:PATH` names.
    pub(crate) fn text_or_file(written: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut secret = Self::text(written, lookup)?;
        if let Held::Text(text) = &secret.held
            && let Some(path) = text.strip_prefix("file:")
        {
            secret.held = Held::File(PathBuf::from(path));
        }
        Ok(secret)
    }

    /// The text itself; a file's without the line ends it closes with, a relative file being looked for in `folder`.
    ///
    /// # Errors
    /// What reading the file reports; `Invalid` when it is empty or no text.
    pub fn reveal(&self, folder: &Path) -> Result<String> {
        let path = match &self.held {
            Held::Text(text) => return Ok(text.clone()),
            Held::File(path) => folder.join(path),
        };
        let bytes = file::read(&path, MAX_SECRET_BYTES)
            .map_err(|e| e.with_hint("The configuration names it with \"file:\"."))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::invalid(format!("the secret in \"{}\" is no text", path.display())))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(Error::invalid(format!("the secret in \"{}\" is empty", path.display())));
        }
        Ok(text.to_owned())
    }

    /// As it stands in the configuration.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// Whether the configuration itself holds the whole text.
    pub(crate) fn is_literal(&self) -> bool {
        matches!(&self.held, Held::Text(text) if *text == self.written)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Replaces `${NAME}`; `$${` stands for a plain `${`.
pub(crate) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$${") {
            out.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let (name, after) = variable_in(after)?;
            out.push_str(&lookup(name).ok_or_else(|| unset(name))?);
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A text that [`expand`] gives back.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn variable_in(text: &str) -> Result<(&str, &str)> {
    let name = text.split_once('}');
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    name.filter(|(name, _)| is_name(name)).ok_or_else(|| {
        Error::invalid("\"${\" begins the name of a variable, which goes to \"}\"")
            .with_hint("Write ${NAME} with letters, digits and \"_\", or $${ for a plain ${.")
    })
}

fn unset(name: &str) -> Error {
    Error::invalid(format!("the variable \"{name}\" is not set"))
        .with_hint(format!("Set {name} in the environment, or in the file .env beside the configuration."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "hush".to_owned())
    }

    #[test]
    fn variables_are_replaced_and_dollars_are_left() {
        for (text, expanded) in [
            ("https://x/${TOKEN}", "https://x/hush"),
            ("${TOKEN}${TOKEN}", "hushhush"),
            ("select $1, $$x$$", "select $1, $$x$$"),
            ("$${TOKEN}", "${TOKEN}"),
            ("a$", "a$"),
        ] {
            assert_eq!(expand(text, &lookup).unwrap(), expanded, "{text}");
        }
        for bad in ["${", "${}", "${1}", "${A B}", "${MISSING}", "${TOKEN:-x}"] {
            assert!(expand(bad, &lookup).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let secret = Secret::text("postgres://app:${TOKEN}@db1/x", &lookup).unwrap();
        assert_eq!(secret.reveal(Path::new(".")).unwrap(), "postgres://app:hush@db1/x");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert!(!secret.is_literal());
    }

    #[test]
    fn a_secret_may_lie_in_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "hush\n").unwrap();
        let secret = Secret::text_or_file("file:key", &lookup).unwrap();
        assert_eq!(secret.reveal(folder.path()).unwrap(), "hush");
        std::fs::write(folder.path().join("key"), "\n").unwrap();
        assert!(secret.reveal(folder.path()).unwrap_err().to_string().contains("is empty"));
        assert!(
            Secret::text_or_file("file:gone", &lookup)
                .unwrap()
                .reveal(folder.path())
                .unwrap_err()
                .is_not_found()
        );
    }

    proptest! {
        #[test]
        fn what_is_escaped_expands_to_itself(text in r"[${}A-Z]{0,12}|.{0,20}") {
            prop_assert_eq!(expand(&escape(&text), &lookup).unwrap(), text);
        }
    }
}
