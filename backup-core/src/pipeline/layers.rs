//! The layers on a payload: which there are, what they are called, and which a new payload gets.

use std::{fmt, sync::Arc};

use super::{
    Compression, Encoding,
    sealed::{ARMORED_MAGIC, MAGIC, Sealed},
    seek_table,
};
use crate::{
    context::Context,
    encryption::{FileKeys, MAX_RECIPIENTS, Recipient},
    error::{Error, ErrorKind, Result},
    store::ObjectReader,
};

/// The name of the encryption's layer in manifests.
const AGE: &str = "age";

/// The layers on a payload, as the manifest's `encoding` names them: compression inside, encryption outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layers {
    /// The compression, if there is one of ours.
    pub compression: Option<Encoding>,
    /// Whether all of it is one age file.
    pub is_encrypted: bool,
}

impl Layers {
    /// The layers a manifest names, innermost first.
    ///
    /// # Errors
    /// `Unsupported` when one is unknown, or their order is.
    pub fn from_names(names: &[String]) -> Result<Self> {
        let (inner, is_encrypted) = match names.split_last() {
            Some((last, inner)) if last == AGE => (inner, true),
            _ => (names, false),
        };
        Ok(Self { compression: Encoding::from_layers(inner)?, is_encrypted })
    }

    /// Their names, innermost first.
    pub fn names(self) -> Vec<String> {
        let compression = self.compression.map(Encoding::layer);
        compression.into_iter().chain(self.is_encrypted.then_some(AGE)).map(str::to_owned).collect()
    }

    /// Their file extensions with their dots, outermost last.
    pub fn extensions(self) -> String {
        let compression = self.compression.map_or("", Encoding::extension);
        format!("{compression}{}", if self.is_encrypted { ".age" } else { "" })
    }
}

/// The layers of an object without manifest, told by its first bytes, and what it decodes to as far as that can be
/// told without decoding it, else its own size. `name` is what messages call it.
///
/// # Errors
/// `Denied` when it is encrypted and no identity opens it; `Corrupt` when it is damaged; `Unsupported` when it is age's
/// text form.
pub fn examine(object: Arc<dyn ObjectReader>, name: &str, cx: &Context) -> Result<(Layers, u64)> {
    let head = head(&*object)?;
    if head.starts_with(ARMORED_MAGIC) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("\"{name}\" is encrypted in age's text form"),
        )
        .with_hint("`age -d -i KEY FILE` gives what is in it."));
    }
    let is_encrypted = head.starts_with(MAGIC);
    let inner: Arc<dyn ObjectReader> = match is_encrypted {
        true => Arc::new(Sealed::open(object, name, &[], cx)?.reader()?),
        false => object,
    };
    let compression = Encoding::of(&self::head(&*inner)?);
    let frames = match compression {
        Some(Encoding::Zstd) => seek_table::read(&*inner).unwrap_or(None),
        _ => None,
    };
    let plain = frames.map_or(inner.size(), |frames| frames.iter().map(|f| u64::from(f.plain)).sum());
    Ok((Layers { compression, is_encrypted }, plain))
}

/// The first bytes of an object, enough to know every layer by.
fn head(object: &dyn ObjectReader) -> Result<Vec<u8>> {
    let mut head = vec![0u8; ARMORED_MAGIC.len()];
    let mut done = 0;
    while done < head.len() {
        match object.read_at(done as u64, &mut head[done..])? {
            0 => break,
            more => done += more,
        }
    }
    head.truncate(done);
    Ok(head)
}

/// How new payloads are written: compressed, then encrypted if there are recipients.
///
/// It remembers the keys of the files written with it, so that they can be read back while it lives; clones share
/// that memory, which is never stored.
#[derive(Clone)]
pub struct Coding {
    compression: Compression,
    recipients: Vec<Recipient>,
    keys: FileKeys,
}

impl Coding {
    /// With this compression, for these recipients; none is no encryption, the same one twice is one.
    ///
    /// # Errors
    /// `Invalid` when there are more than [`MAX_RECIPIENTS`].
    pub fn new(compression: Compression, recipients: &[Recipient]) -> Result<Self> {
        let mut distinct: Vec<Recipient> = Vec::new();
        for recipient in recipients {
            if !distinct.contains(recipient) {
                distinct.push(recipient.clone());
            }
        }
        if distinct.len() > MAX_RECIPIENTS {
            return Err(Error::invalid(format!(
                "{} recipients are too many: at most {MAX_RECIPIENTS} can read one backup",
                distinct.len()
            )));
        }
        Ok(Self { compression, recipients: distinct, keys: FileKeys::default() })
    }

    /// The compression.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Who can read what is written, each once; nobody in particular when it is not encrypted.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// The layers that come of it.
    pub fn layers(&self) -> Layers {
        Layers { compression: self.compression.encoding(), is_encrypted: !self.recipients.is_empty() }
    }

    pub(crate) fn keys(&self) -> &FileKeys {
        &self.keys
    }
}

impl From<Compression> for Coding {
    fn from(compression: Compression) -> Self {
        Self { compression, recipients: Vec::new(), keys: FileKeys::default() }
    }
}

impl fmt::Debug for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coding")
            .field("compression", &self.compression)
            .field("recipients", &self.recipients)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::Identity;

    #[test]
    fn layers_read_back_as_they_are_named() {
        for compression in [None, Some(Encoding::Zstd), Some(Encoding::Gzip)] {
            for is_encrypted in [false, true] {
                let layers = Layers { compression, is_encrypted };
                assert_eq!(Layers::from_names(&layers.names()).unwrap(), layers);
            }
        }
        let named =
            |names: &[&str]| Layers::from_names(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["zstd", "age"]).unwrap().extensions(), ".zst.age");
        for unknown in [&["age", "zstd"][..], &["age", "age"], &["zstd", "gzip"], &["rot13"]] {
            assert_eq!(named(unknown).unwrap_err().kind(), ErrorKind::Unsupported, "{unknown:?}");
        }
    }

    #[test]
    fn a_recipient_that_is_named_twice_is_one() {
        let key = Identity::generate().recipient();
        let coding = Coding::new(Compression::None, &[key.clone(), key.clone()]).unwrap();
        assert_eq!(coding.recipients(), [key]);
        let many: Vec<Recipient> = (0..=MAX_RECIPIENTS).map(|_| Identity::generate().recipient()).collect();
        assert_eq!(Coding::new(Compression::None, &many).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
