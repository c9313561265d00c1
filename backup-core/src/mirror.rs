//! Further stores that hold copies, and reading from whichever copy is good.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    artifact::{Artifact, StoredArtifact},
    context::Context,
    error::{Error, ErrorKind, Result},
    id::{BackupId, Key, SourceName},
    manifest::Manifest,
    selector::Selector,
    store::{Capabilities, Lease, Listing, ObjectReader, ObjectWriter, PutMode, Store},
    vault::Vault,
};

/// A store fed by copying, under the name people know it by.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Its name in messages and results.
    pub name: String,
    /// The store.
    pub store: Arc<dyn Store>,
}

impl Mirror {
    /// A store as a mirror.
    pub fn new(name: impl Into<String>, store: Arc<dyn Store>) -> Self {
        Self { name: name.into(), store }
    }

    /// A mirror that could not be opened: whatever is asked of it fails with the reason, so that it is told wherever it
    /// would have been used, and stops nothing else.
    pub fn unopened(name: impl Into<String>, error: &Error) -> Self {
        let name = name.into();
        let store = Unopened { name: name.clone(), reason: told(error) };
        Self { name, store: Arc::new(store) }
    }

    /// The vault of a source there.
    pub fn vault(&self, source: &SourceName) -> Vault {
        Vault::new(Arc::clone(&self.store), source.clone())
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mirror \"{}\"", self.name)
    }
}

/// See [`Mirror::unopened`].
#[derive(Debug)]
struct Unopened {
    name: String,
    reason: String,
}

impl Unopened {
    fn fail<T>(&self) -> Result<T> {
        Err(Error::new(ErrorKind::Unavailable, format!("{self} could not be opened"))
            .with_source(self.reason.clone()))
    }
}

impl Store for Unopened {
    fn capabilities(&self) -> Capabilities {
        Capabilities::full()
    }

    fn put(&self, _key: &Key, _mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        self.fail()
    }

    fn open(&self, _key: &Key) -> Result<Arc<dyn ObjectReader>> {
        self.fail()
    }

    fn list(&self, _folder: &str) -> Result<Listing> {
        self.fail()
    }

    fn delete(&self, _key: &Key) -> Result<()> {
        self.fail()
    }

    fn lease(&self, _folder: &str) -> Result<Box<dyn Lease>> {
        self.fail()
    }

    fn sweep(&self, _folder: &str) -> Result<usize> {
        self.fail()
    }

    fn free_space(&self) -> Result<Option<u64>> {
        self.fail()
    }
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store \"{}\"", self.name)
    }
}

/// Mirrors in the order in which they are read, the nearest first; among equals as they were given.
pub(crate) fn nearest_first(mirrors: &[Mirror]) -> Vec<&Mirror> {
    let mut sorted: Vec<&Mirror> = mirrors.iter().collect();
    sorted.sort_by_key(|mirror| mirror.store.capabilities().nearness);
    sorted
}

/// One copy of an artifact.
#[derive(Clone, Debug)]
pub struct ArtifactCopy {
    /// The vault it lies in.
    pub vault: Vault,
    /// The copy.
    pub artifact: StoredArtifact,
}

/// The copies of one artifact over several stores, nearest first: local folders before synced ones before networks,
/// and the primary store first among equals. All have the same manifest, and there is at least one.
#[derive(Debug)]
pub struct Copies {
    nearest: ArtifactCopy,
    others: Vec<ArtifactCopy>,
    lacking: Vec<(String, Error)>,
}

impl Copies {
    /// The only copy there is.
    pub fn of(vault: Vault, artifact: StoredArtifact) -> Self {
        Self { nearest: ArtifactCopy { vault, artifact }, others: Vec::new(), lacking: Vec::new() }
    }

    /// The copies of the artifact that `selector` names in all stores together: `latest` is the newest good one that
    /// any of them has, and the beginning of an id may belong to one of them only.
    ///
    /// A store that does not answer, or has the artifact no more, is passed over with a warning.
    ///
    /// # Errors
    /// As [`Selector::resolve`], when no store has it; where one could not be asked, that is the error.
    pub fn find(
        selector: &Selector,
        primary: &Arc<dyn Store>,
        mirrors: &[Mirror],
        cx: &Context,
    ) -> Result<Self> {
        if mirrors.is_empty() {
            let (vault, artifact) = selector.resolve(primary, cx)?;
            return Ok(Self::of(vault, artifact));
        }
        let stores: Vec<&Arc<dyn Store>> =
            std::iter::once(primary).chain(mirrors.iter().map(|mirror| &mirror.store)).collect();
        let id = choose(selector, &stores, cx)?;
        Self::gather(&id, &stores, cx)
    }

    /// The copies of one artifact.
    ///
    /// # Errors
    /// The first store's, when none has a usable manifest of it.
    fn gather(id: &BackupId, stores: &[&Arc<dyn Store>], cx: &Context) -> Result<Self> {
        let mut copies: Vec<ArtifactCopy> = Vec::new();
        let mut lacking = Vec::new();
        for (place, store) in stores.iter().enumerate() {
            let vault = Vault::new(Arc::clone(store), id.source());
            match vault.artifact(id).and_then(|artifact| require_same(copies.first(), artifact)) {
                Ok(artifact) => copies.push(ArtifactCopy { vault, artifact }),
                Err(error) if error.is_cancelled() => return Err(error),
                Err(error) => {
                    // That a mirror has no copy yet is for `mirror` to tell.
                    if place == 0 || !error.is_not_found() {
                        cx.warn(format!("\"{id}\" cannot be read from {store}: {}", told(&error)));
                    }
                    lacking.push((store.to_string(), error));
                }
            }
        }
        copies.sort_by_key(|copy| copy.vault.store().capabilities().nearness);
        let mut copies = copies.into_iter();
        match (copies.next(), lacking.is_empty()) {
            (Some(nearest), _) => Ok(Self { nearest, others: copies.collect(), lacking }),
            (None, false) => Err(lacking.remove(0).1),
            (None, true) => Err(Error::failed(format!("\"{id}\" was looked for in no store"))),
        }
    }

    /// The copy that is read first.
    pub fn nearest(&self) -> &ArtifactCopy {
        &self.nearest
    }

    /// The copy in this store, or else the nearest: what is verified is the store's own, however far it lies.
    pub fn of_store(&self, store: &Arc<dyn Store>) -> &ArtifactCopy {
        self.iter().find(|copy| Arc::ptr_eq(copy.vault.store(), store)).unwrap_or(&self.nearest)
    }

    /// The manifest they share.
    pub fn manifest(&self) -> &Manifest {
        self.nearest.artifact.manifest()
    }

    /// All of them, nearest first.
    pub fn iter(&self) -> impl Iterator<Item = &ArtifactCopy> {
        std::iter::once(&self.nearest).chain(&self.others)
    }

    /// The stores that have no usable copy, and why.
    pub fn lacking(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.lacking.iter().map(|(store, error)| (store.as_str(), error))
    }

    /// Does `work` with the nearest copy, and again with the next one when the copy is at fault: its bytes are damaged
    /// or missing, or its store does not give them. Each fall-back is told as a warning.
    ///
    /// # Errors
    /// Whatever `work` fails of where the copy is not at fault; else, when no copy is good, an error that lists the
    /// reason of each.
    pub fn attempt<T>(&self, cx: &Context, mut work: impl FnMut(&dyn Artifact) -> Result<T>) -> Result<T> {
        let mut failed: Vec<(String, Error)> = Vec::new();
        for copy in self.iter() {
            let store = copy.vault.store();
            if let Some((before, error)) = failed.last() {
                let id = &self.manifest().id;
                cx.warn(format!(
                    "the copy of \"{id}\" in {before} is of no use ({}); reading the one in {store}",
                    told(error)
                ));
            }
            let watched = Watched::new(&copy.artifact);
            match work(&watched) {
                Err(error) if watched.is_at_fault(&error) => failed.push((store.to_string(), error)),
                outcome => return outcome,
            }
        }
        Err(self.none_is_good(failed))
    }

    fn none_is_good(&self, mut failed: Vec<(String, Error)>) -> Error {
        if failed.len() == 1 && self.lacking.is_empty() {
            return failed.remove(0).1;
        }
        let kind = failed.iter().find(|(_, error)| error.is_corruption()).or(failed.first());
        let kind = kind.map_or(ErrorKind::Corrupt, |(_, error)| error.kind());
        let all = failed.iter().map(|(store, error)| (store.as_str(), error)).chain(self.lacking());
        let reasons: Vec<String> = all.map(|(store, error)| format!("in {store}: {}", told(error))).collect();
        Error::new(kind, format!("no copy of \"{}\" is good", self.manifest().id))
            .with_source(reasons.join("; "))
            .with_hint(
                "`backup list` prints the other backups, and `backup verify --all` tells which are whole.",
            )
    }
}

/// An error and its causes in one line.
pub(crate) fn told(error: &Error) -> String {
    std::iter::once(error.to_string()).chain(error.causes()).collect::<Vec<_>>().join(": ")
}

/// The artifact that a selector names in all stores together.
fn choose(selector: &Selector, stores: &[&Arc<dyn Store>], cx: &Context) -> Result<BackupId> {
    let mut wanted = selector.clone();
    let (mut found, mut errors): (Vec<Manifest>, Vec<Error>) = (Vec::new(), Vec::new());
    for store in stores {
        match wanted.resolve(store, cx) {
            Ok((vault, artifact)) => {
                // A mirror may hold other sources as well; the nearest store says which is meant.
                if let Selector::Latest { source, .. } = &mut wanted {
                    *source = Some(vault.source().clone());
                }
                found.push(artifact.manifest().clone());
            }
            Err(error) if error.is_cancelled() || error.kind() == ErrorKind::Invalid => return Err(error),
            Err(error) => {
                if !error.is_not_found() {
                    cx.warn(format!("{store} could not be asked: {}", told(&error)));
                }
                errors.push(error);
            }
        }
    }
    let newest = found.iter().max_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    let Some(newest) = newest else { return Err(most_telling(errors, stores)) };
    match (selector, found.iter().find(|manifest| manifest.id != newest.id)) {
        (Selector::Prefix(text), Some(other)) => {
            Err(Error::invalid(format!("\"{text}\" is the beginning of several backups"))
                .with_hint(format!("Type more of it; two of them are {} and {}.", newest.id, other.id)))
        }
        _ => Ok(newest.id.clone()),
    }
}

/// A store that could not be asked may have what the others have not.
fn most_telling(mut errors: Vec<Error>, stores: &[&Arc<dyn Store>]) -> Error {
    if let Some(at) = errors.iter().position(|error| !error.is_not_found()) {
        return errors.swap_remove(at);
    }
    let others: Vec<String> = stores.iter().skip(1).map(|store| store.to_string()).collect();
    match errors.into_iter().next() {
        Some(error) => {
            let message = format!("{error}, nor in {}", others.join(", "));
            error.context(message)
        }
        None => Error::failed("no store was given"),
    }
}

/// Two stores that hold different things under one id hold no copies of each other; the primary's is the true one.
fn require_same(first: Option<&ArtifactCopy>, artifact: StoredArtifact) -> Result<StoredArtifact> {
    match first {
        Some(first) if first.artifact.manifest() != artifact.manifest() => {
            Err(Error::corrupt(format!("it holds another backup under this id than {}", first.vault.store())))
        }
        _ => Ok(artifact),
    }
}

/// An artifact that remembers whether its store failed to give its bytes, so that a failure of its reader's can be
/// told from one of its own.
#[derive(Debug)]
struct Watched<'a> {
    artifact: &'a StoredArtifact,
    failed: Arc<AtomicBool>,
}

impl<'a> Watched<'a> {
    fn new(artifact: &'a StoredArtifact) -> Self {
        Self { artifact, failed: Arc::default() }
    }

    fn is_at_fault(&self, error: &Error) -> bool {
        !error.is_cancelled() && (error.is_corruption() || self.failed.load(Ordering::Relaxed))
    }

    fn watch(&self, opened: Result<Arc<dyn ObjectReader>>) -> Result<Arc<dyn ObjectReader>> {
        match opened {
            Ok(object) => Ok(Arc::new(WatchedReader { object, failed: Arc::clone(&self.failed) })),
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

impl Artifact for Watched<'_> {
    fn manifest(&self) -> &Manifest {
        self.artifact.manifest()
    }

    fn open_payload(&self) -> Result<Arc<dyn ObjectReader>> {
        self.watch(self.artifact.open_payload())
    }

    fn open_companion(&self, name: &str) -> Result<Arc<dyn ObjectReader>> {
        self.watch(self.artifact.open_companion(name))
    }

    fn location(&self) -> String {
        self.artifact.location()
    }

    fn working_folder(&self) -> Option<PathBuf> {
        self.artifact.working_folder()
    }
}

#[derive(Debug)]
struct WatchedReader {
    object: Arc<dyn ObjectReader>,
    failed: Arc<AtomicBool>,
}

impl ObjectReader for WatchedReader {
    fn size(&self) -> u64 {
        self.object.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.object.read_at(offset, buffer).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }
}
