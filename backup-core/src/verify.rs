//! Checks of an artifact, and what they find.

use std::{
    cell::{OnceCell, RefCell},
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{
    artifact::Artifact,
    context::Context,
    engine::Staged,
    error::{Error, Result},
    pipeline::{decode_into, decode_to_file},
    scratch::Scratch,
};

/// How deep a verification looks; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// Nothing is looked at.
    None,
    /// The stored bytes are read again; length and hash must agree with the manifest.
    Checksum,
    /// The payload is also decoded to its last byte and checked by its engine.
    Structure,
    /// It is also restored into a scratch place, compared and thrown away: a drill.
    Restore,
}

impl Level {
    /// The level's name in flags, proofs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Checksum => "checksum",
            Self::Structure => "structure",
            Self::Restore => "restore",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::None, Self::Checksum, Self::Structure, Self::Restore]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| {
                Error::invalid(format!("\"{}\" is not a verification level", text.escape_debug()))
                    .with_hint("Levels are none, checksum, structure and restore.")
            })
    }
}

/// One thing a verifier saw that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check that saw it, e.g. `checksum`, `integrity_check`, `rows`.
    pub check: String,
    /// The object it is about: a stored object's name, a table, a page.
    pub object: String,
    /// What is wrong, as a short sentence without full stop.
    pub what: String,
    /// Where the fault lies.
    pub origin: Origin,
}

/// Where a fault lies, which decides what a fresh backup is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The stored bytes are not those that were written.
    Stored,
    /// The bytes are as captured, and what they hold is damaged: so was the source.
    Content,
    /// The copy is faithful and sound; the data break a rule of their own schema, as in the source.
    Data,
}

impl Finding {
    /// A fault of the stored bytes.
    pub fn stored(check: &str, object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { check: check.to_owned(), object: object.into(), what: what.into(), origin: Origin::Stored }
    }

    /// A rule of the schema that the data break, in the source as in the copy.
    pub fn data(check: &str, object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { check: check.to_owned(), object: object.into(), what: what.into(), origin: Origin::Data }
    }

    /// Whether it condemns the copy; faults of the data alone do not.
    pub fn is_damage(&self) -> bool {
        self.origin != Origin::Data
    }

    /// A fault of what the bytes hold.
    pub fn content(check: &str, object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { check: check.to_owned(), object: object.into(), what: what.into(), origin: Origin::Content }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.check, self.object, self.what)
    }
}

/// One check of an artifact. Bad data is a finding; only being unable to look is an `Err`.
///
/// Engines bring theirs; a rule of the caller's own is one too ([`crate::operation::DrillOptions::with_verifier`]).
/// What a finding does is its origin's: [`Finding::content`] makes a fresh backup suspect and fails a verification,
/// [`Finding::data`] is only told.
pub trait Verifier: fmt::Debug + Send + Sync {
    /// The check's name, as findings carry it.
    fn name(&self) -> &str;

    /// Looks at the stored bytes, at level `structure`: at a decoded copy ([`Subject::whole_copy`]) or at the bytes as
    /// they pass by ([`Subject::read`]).
    ///
    /// # Errors
    /// Only when it could not look. That ends a run, and no backup is made.
    fn verify(&self, subject: &Subject<'_>, cx: &Context) -> Result<Vec<Finding>>;

    /// Looks at the whole database, restored into a scratch place, at level `restore`. By default it looks at the
    /// stored bytes again. Engines have [`Staged::prove`] for this; it is asked of a caller's own verifiers.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    fn verify_restored(
        &self,
        _restored: &mut dyn Staged,
        subject: &Subject<'_>,
        cx: &Context,
    ) -> Result<Vec<Finding>> {
        self.verify(subject, cx)
    }
}

/// What a verifier is shown: an artifact, and its decoded copy, made once for all verifiers on first request.
pub struct Subject<'a> {
    artifact: &'a dyn Artifact,
    scratch: Option<&'a Scratch>,
    copy: OnceCell<DecodedCopy>,
    /// What reading the payload showed of its stored bytes; `None` until somebody read it.
    decoded: RefCell<Option<Vec<Finding>>>,
}

/// A payload decoded into a file.
#[derive(Clone, Debug)]
pub struct DecodedCopy {
    /// The file.
    pub path: PathBuf,
    /// What decoding it showed of the stored bytes; not empty means the copy is not to be trusted.
    pub findings: Vec<Finding>,
}

impl<'a> Subject<'a> {
    /// An artifact that decodes into `scratch` when a verifier asks.
    pub fn new(artifact: &'a dyn Artifact, scratch: &'a Scratch) -> Self {
        Self { artifact, scratch: Some(scratch), copy: OnceCell::new(), decoded: RefCell::default() }
    }

    /// An artifact for verifiers that are content to see its bytes pass by ([`Subject::read`]).
    pub fn streamed(artifact: &'a dyn Artifact) -> Self {
        Self { artifact, scratch: None, copy: OnceCell::new(), decoded: RefCell::default() }
    }

    /// An artifact whose decoded copy already stands somewhere: the restored file beside its target.
    pub fn restored(artifact: &'a dyn Artifact, path: PathBuf) -> Self {
        let copy = OnceCell::from(DecodedCopy { path, findings: Vec::new() });
        Self { artifact, scratch: None, copy, decoded: RefCell::default() }
    }

    /// The artifact.
    pub fn artifact(&self) -> &dyn Artifact {
        self.artifact
    }

    /// The decoded copy; verifiers may open it, and change nothing.
    ///
    /// # Errors
    /// What decoding reports when the bytes could not be looked at; damage is in [`DecodedCopy::findings`].
    pub fn copy(&self, cx: &Context) -> Result<&DecodedCopy> {
        if let Some(copy) = self.copy.get() {
            return Ok(copy);
        }
        let scratch = self.scratch.ok_or_else(|| Error::failed("no room for a working copy was given"))?;
        let path = scratch.path().join("copy");
        let findings = decode_to_file(self.artifact, &path, cx)?;
        *self.decoded.borrow_mut() = Some(findings.clone());
        Ok(self.copy.get_or_init(|| DecodedCopy { path, findings }))
    }

    /// Gives out the decoded payload, in order and in pieces, comparing everything with the manifest on the way.
    /// Whether it was whole; what was not is in [`Subject::decoded`].
    ///
    /// Each call decodes anew. What `take` refuses ends it.
    ///
    /// # Errors
    /// What `take` returned; what the store reports.
    pub fn read(&self, cx: &Context, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        let findings = decode_into(self.artifact, cx, take)?;
        let is_whole = findings.is_empty();
        *self.decoded.borrow_mut() = Some(findings);
        Ok(is_whole)
    }

    /// What decoding showed of the stored bytes; `None` when nobody decoded them yet.
    pub fn decoded(&self) -> Option<Vec<Finding>> {
        self.decoded.borrow().clone()
    }

    /// The decoded copy's path, if the copy is whole.
    ///
    /// # Errors
    /// As [`Subject::copy`].
    pub fn whole_copy(&self, cx: &Context) -> Result<Option<&Path>> {
        let copy = self.copy(cx)?;
        Ok(copy.findings.is_empty().then_some(copy.path.as_path()))
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("artifact", &self.artifact).finish_non_exhaustive()
    }
}
