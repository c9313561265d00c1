//! One backup: its manifest and the ways to its bytes.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    dates,
    error::{Error, Result},
    file::FileObject,
    id::Key,
    manifest::{MAX_MANIFEST_BYTES, Manifest, Payload, SourceFacts},
    pipeline,
    store::{ObjectReader, Store},
};

/// One immutable backup: a manifest and the stored objects it names.
///
/// It is visible only once its manifest is; a crash before that leaves nothing anybody can open.
pub trait Artifact: fmt::Debug + Send + Sync {
    /// Everything known of it.
    fn manifest(&self) -> &Manifest;

    /// The stored payload, to be read whole or by range.
    ///
    /// # Errors
    /// `NotFound` when the object is gone.
    fn open_payload(&self) -> Result<Arc<dyn ObjectReader>>;

    /// An object beside the payload, by the name the manifest gives it.
    ///
    /// # Errors
    /// `NotFound` when it is not there; what the store reports.
    fn open_companion(&self, name: &str) -> Result<Arc<dyn ObjectReader>>;

    /// Where the payload lies, for messages.
    fn location(&self) -> String;

    /// A folder on its own disk where working copies may lie, if there is one.
    fn working_folder(&self) -> Option<PathBuf> {
        None
    }

    /// Whether the manifest says how many bytes there must be and what they hash to.
    fn has_facts(&self) -> bool {
        true
    }
}

/// An artifact of a vault.
#[derive(Clone)]
pub struct StoredArtifact {
    store: Arc<dyn Store>,
    folder: String,
    manifest: Manifest,
}

impl StoredArtifact {
    pub(crate) fn new(store: Arc<dyn Store>, folder: String, manifest: Manifest) -> Self {
        Self { store, folder, manifest }
    }

    /// The key of the payload.
    ///
    /// # Errors
    /// `Corrupt` when the manifest's name for it leaves its folder.
    pub fn payload_key(&self) -> Result<Key> {
        Key::new(format!("{}/{}", self.folder, self.manifest.payload.name))
    }
}

impl Artifact for StoredArtifact {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn open_payload(&self) -> Result<Arc<dyn ObjectReader>> {
        self.store.open(&self.payload_key()?)
    }

    fn open_companion(&self, name: &str) -> Result<Arc<dyn ObjectReader>> {
        if !self.manifest.companions.iter().any(|companion| companion == name) {
            return Err(Error::invalid(format!("\"{name}\" is no companion of \"{}\"", self.manifest.id)));
        }
        self.store.open(&Key::new(format!("{}/{name}", self.folder))?)
    }

    fn location(&self) -> String {
        format!("{}/{} in {}", self.folder, self.manifest.payload.name, self.store)
    }

    fn working_folder(&self) -> Option<PathBuf> {
        self.store.local_folder().map(Path::to_owned)
    }
}

impl fmt::Debug for StoredArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.manifest.id, self.location())
    }
}

/// A payload lying somewhere as a plain file: out of a vault that was copied by hand, or made by another program.
#[derive(Clone, Debug)]
pub struct FileArtifact {
    path: PathBuf,
    manifest: Manifest,
    has_facts: bool,
    extension: &'static str,
}

/// What a file without manifest was recognised as.
#[derive(Clone, Debug)]
pub struct Recognised {
    /// The engine that reads it.
    pub engine: &'static str,
    /// What the name of such a payload ends with before its layers, e.g. `.dump`.
    pub extension: &'static str,
    /// What the engine has to know of it, as the manifest's `facts`.
    pub facts: BTreeMap<String, Value>,
}

impl FileArtifact {
    /// Opens a payload file, with the manifest beside it (`<stem>.json`) where there is one; else `recognise` says by
    /// its first decoded bytes (up to 8 KiB) what it is.
    ///
    /// # Errors
    /// `NotFound` when there is no such file; `Corrupt` when its manifest is not what it was.
    pub fn open(
        path: &Path,
        recognise: impl FnOnce(&[u8]) -> Result<Recognised>,
        cx: &crate::context::Context,
    ) -> Result<Self> {
        // `latest.db.zst` is a second name; the manifest stands beside the first.
        let path = &std::fs::canonicalize(path).map_err(|e| Error::io("open", path, e))?;
        let object = FileObject::open(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(manifest) = manifest_beside(path, &name)? {
            return Ok(Self { path: path.to_owned(), manifest, has_facts: true, extension: "" });
        }
        let taken_at = dates::in_name(&name).or_else(|| dates::modified(path)).unwrap_or_else(|| cx.now());
        let stem = dates::before(&name);
        let source = crate::id::SourceName::from_text(stem);
        let id = crate::id::BackupId::new(&source, crate::content::Content::Full, taken_at, 1);
        let object: Arc<dyn ObjectReader> = Arc::new(object);
        let (layers, plain_bytes) = pipeline::examine(Arc::clone(&object), &name, cx)?;
        let payload = Payload {
            name,
            bytes: object.size(),
            blake3: String::new(),
            encoding: layers.names(),
            plain_bytes,
            plain_blake3: String::new(),
        };
        let head = pipeline::first_bytes(object, &payload, HEAD_BYTES, cx)?;
        let recognised = recognise(&head)?;
        let facts = SourceFacts::new(source.as_str(), recognised.engine, path.display().to_string());
        let mut manifest = Manifest::new(id, facts, taken_at, payload);
        manifest.facts = recognised.facts;
        Ok(Self { path: path.to_owned(), manifest, has_facts: false, extension: recognised.extension })
    }

    /// What the name of such a payload ends with before its layers; empty where its own manifest names it.
    pub fn extension(&self) -> &'static str {
        self.extension
    }
}

/// Decoded bytes by which a file is recognised.
const HEAD_BYTES: usize = 8 << 10;

/// Names may have dots, so every part of the file's name that ends before one may be that of its manifest.
fn manifest_beside(path: &Path, name: &str) -> Result<Option<Manifest>> {
    let stems = name.match_indices('.').map(|(at, _)| &name[..at]);
    let mut candidates = stems.map(|stem| path.with_file_name(format!("{stem}.json")));
    let Some(beside) = candidates.find(|candidate| candidate.is_file()) else { return Ok(None) };
    let bytes = crate::file::read(&beside, MAX_MANIFEST_BYTES)?;
    let manifest = Manifest::from_json(&bytes)
        .map_err(|e| e.context(format!("the manifest \"{}\" cannot be used", beside.display())))?;
    Ok((manifest.payload.name == name).then_some(manifest))
}

impl Artifact for FileArtifact {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn open_payload(&self) -> Result<Arc<dyn ObjectReader>> {
        Ok(Arc::new(FileObject::open(&self.path)?))
    }

    fn open_companion(&self, name: &str) -> Result<Arc<dyn ObjectReader>> {
        Ok(Arc::new(FileObject::open(&self.path.with_file_name(name))?))
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn working_folder(&self) -> Option<PathBuf> {
        self.path.parent().map(Path::to_owned)
    }

    fn has_facts(&self) -> bool {
        self.has_facts
    }
}
