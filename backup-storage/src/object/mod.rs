//! A bucket of S3, Google Cloud Storage or Azure Blob Storage.

mod bucket;
mod claim;
mod client;
mod errors;
mod lease;
mod list;
mod options;
mod parts;
mod probe;
mod process;
mod profile;
mod reader;
mod runtime;
mod transport;
mod url;
mod writer;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use backup_core::{
    Error, ErrorKind, Result,
    id::Key,
    store::{Capabilities, Lease, Listing, ObjectMeta, ObjectReader, ObjectWriter, PutMode, Store},
};

use self::{
    bucket::{Answer, Bucket},
    claim::{CLAIMS, Head},
    errors::{Action, Failed},
    lease::RemoteLease,
    reader::RemoteObject,
    transport::{Locked, Seen},
    writer::RemoteWriter,
};
pub use self::{
    options::{AccessKeys, ObjectOptions, ServerSideEncryption},
    probe::Probe,
};

/// A folder in a bucket of S3 (and what speaks its protocol), Google Cloud Storage or Azure Blob Storage.
///
/// # Contract
/// - *Create never replaces* holds where the vendor's servers keep conditions on writes, which all three do. A server
///   of the S3 protocol that ignores them is found out by [`ObjectStore::probe`], and by the first lease of a process;
///   then [`Capabilities::create_only`] is `false`, creating only looks first, and leases are told apart by waiting.
/// - Objects larger than one part (8 MiB) are claimed by a hidden object while they are uploaded.
/// - Names that begin with a dot are working objects (`.claims`, `.leases`, `.probes`) and never listed.
/// - An object that the store keeps until a date cannot be deleted: `Locked`. So it is told apart from one that a
///   versioned bucket only covers with a delete marker.
///
/// # Threads and processes
/// Requests run on two threads of their own, made at the first use, one pair per process. They do not survive a fork:
/// a child of a process that used an object store is refused with `Failed`.
///
/// # Time
/// Each request has its own clock; one that fails for reasons that may pass is repeated for ten minutes (half a minute
/// for a store that has never answered), with growing pauses.
#[derive(Clone)]
pub struct ObjectStore(Arc<Bucket>);

impl ObjectStore {
    /// The store of this URL: `s3://bucket/folder`, `gs://bucket/folder` or `az://container/folder`, with query
    /// parameters such as `?endpoint=http://127.0.0.1:9000`. Keys are read where the vendor's own tools read them.
    ///
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// `Invalid` when the URL or the vendor's configuration cannot be right; `NotFound` for an AWS profile that does
    /// not exist; `Unsupported` for options that this vendor does not have.
    pub fn open(url: &str, options: &ObjectOptions) -> Result<Self> {
        Bucket::open(url, options.clone()).map(Self)
    }

    /// Finds out what the store can promise and what the credentials may do, with one small hidden object.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Unavailable` … when the store cannot be written to at all.
    pub fn probe(&self) -> Result<Probe> {
        self.0.probe()
    }

    fn objects_below(&self, folder: &str) -> Result<Vec<object_store::ObjectMeta>> {
        let (bucket, path) = (Arc::clone(&self.0), self.0.path(folder));
        let listed = runtime::block_on(async move {
            bucket.call(list::limit(&bucket), || list::below(&bucket, &path)).await
        })?;
        listed.map(|answer| answer.value).map_err(|failed| self.list_error(folder, &failed))
    }

    fn list_error(&self, folder: &str, failed: &Failed) -> Error {
        let object = if folder.is_empty() { self.to_string() } else { format!("\"{folder}\" in {self}") };
        self.0.error(Action::List, &object, failed)
    }

    fn head(&self, key: &Key, action: Action) -> Result<Head> {
        let (bucket, path) = (Arc::clone(&self.0), self.0.path(key.as_str()));
        let found = runtime::block_on(async move { claim::head(&bucket, &path).await })?;
        let failed = match found {
            Ok(found) => return Ok(found),
            Err(failed) => failed,
        };
        // An answer to HEAD has no body, so no reason. It is asked for while even the bucket may be the one missing.
        let needs_reason = match failed.seen.status {
            Some(404) => !self.0.agreed.load(Ordering::Relaxed),
            Some(400 | 403 | 301 | 307) => true,
            _ => false,
        };
        let failed = if needs_reason { self.reason(key).unwrap_or(failed) } else { failed };
        Err(self.0.key_error(action, key, &failed))
    }

    fn reason(&self, key: &Key) -> Option<Failed> {
        let (bucket, path) = (Arc::clone(&self.0), self.0.path(key.as_str()));
        let attempt = move || {
            let (bucket, path) = (Arc::clone(&bucket), path.clone());
            async move {
                let options = object_store::GetOptions { range: Some((0..1).into()), ..Default::default() };
                bucket.reading.objects.get_opts(&path, options).await.map(drop)
            }
        };
        self.0.ask(attempt).ok()?.err()
    }

    /// S3 keeps locked versions and puts a delete marker over them: that would look like success.
    fn require_unlocked(&self, key: &Key, seen: &Seen) -> Result<()> {
        let why = match &seen.locked {
            Some(Locked::Until(until, mode)) if seen.date.is_none_or(|now| *until > now) => {
                format!("is locked until {until} ({})", mode.to_lowercase())
            }
            Some(Locked::LegalHold) => "is under a legal hold".to_owned(),
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Locked, format!("\"{key}\" in {self} {why}"))
            .with_hint("It can be deleted after that; pruning tries again by itself."))
    }
}

impl Store for ObjectStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::full();
        capabilities.create_only = !self.0.unconditional.load(Ordering::Relaxed);
        capabilities
    }

    fn put(&self, key: &Key, mode: PutMode) -> Result<Box<dyn ObjectWriter>> {
        self.0.require_lease(key)?;
        Ok(Box::new(RemoteWriter::new(&self.0, key, mode)))
    }

    fn open(&self, key: &Key) -> Result<Arc<dyn ObjectReader>> {
        let found = self.head(key, Action::Read)?;
        Ok(Arc::new(RemoteObject::new(&self.0, key, found.bytes, found.version.e_tag)))
    }

    fn list(&self, folder: &str) -> Result<Listing> {
        let (bucket, path) = (Arc::clone(&self.0), self.0.path(folder));
        let listed = runtime::block_on(async move {
            bucket.call(list::limit(&bucket), || list::level(&bucket, &path)).await
        })?;
        let found = listed.map_err(|failed| self.list_error(folder, &failed))?.value;
        let mut listing = Listing {
            objects: found.objects.iter().filter_map(|object| list::shown(&self.0, object)).collect(),
            folders: found
                .common_prefixes
                .iter()
                .filter_map(|path| path.filename())
                .map(str::to_owned)
                .collect(),
        };
        listing.folders.retain(|name| !name.starts_with('.'));
        listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
        listing.folders.sort();
        listing.folders.dedup();
        Ok(listing)
    }

    fn list_below(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        let found = self.objects_below(folder)?;
        let mut objects: Vec<ObjectMeta> =
            found.iter().filter_map(|object| list::shown(&self.0, object)).collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    fn get(&self, key: &Key, limit: u64) -> Result<Vec<u8>> {
        let (bucket, path) = (Arc::clone(&self.0), self.0.path(key.as_str()));
        let attempt = move || {
            let (bucket, path) = (Arc::clone(&bucket), path.clone());
            async move {
                let found = bucket.reading.objects.get_opts(&path, Default::default()).await?;
                let size = found.meta.size;
                if size > limit {
                    return Ok((size, None));
                }
                Ok((size, Some(found.bytes().await?)))
            }
        };
        match self.0.ask(attempt)? {
            Ok(Answer { value: (_, Some(bytes)), .. }) => Ok(bytes.into()),
            Ok(Answer { value: (size, None), .. }) => Err(Error::corrupt(format!(
                "object \"{key}\" in {self} has {size} bytes where at most {limit} make sense"
            ))),
            Err(failed) => Err(self.0.key_error(Action::Read, key, &failed)),
        }
    }

    fn identity(&self) -> String {
        self.0.location.identity()
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.0.require_lease(key)?;
        let found = self.head(key, Action::Delete)?;
        self.require_unlocked(key, &found.seen)?;
        let (bucket, path) = (Arc::clone(&self.0), self.0.path(key.as_str()));
        let deleted = runtime::block_on(async move {
            bucket.call(bucket.options.idle_timeout, || claim::delete(&bucket, &path)).await
        })?;
        match deleted {
            // It was there a moment ago: gone by an attempt whose answer was lost, or that was sent twice.
            Err(failed) if failed.is_not_found() => Ok(()),
            Err(failed) => Err(self.0.key_error(Action::Delete, key, &failed)),
            Ok(_) => Ok(()),
        }
    }

    fn lease(&self, folder: &str) -> Result<Box<dyn Lease>> {
        RemoteLease::take(&self.0, folder).map(|lease| Box::new(lease) as Box<dyn Lease>)
    }

    /// Claims of writers that were killed. Their uploads are invisible to this client; a lifecycle rule of the bucket
    /// (`AbortIncompleteMultipartUpload`) removes them.
    fn sweep(&self, folder: &str) -> Result<usize> {
        let hidden = if folder.is_empty() { CLAIMS.to_owned() } else { format!("{CLAIMS}/{folder}") };
        let mut swept = 0;
        for object in self.objects_below(&hidden)? {
            let (bucket, path) = (Arc::clone(&self.0), object.location.clone());
            let Some(name) = bucket.name_of(&path).and_then(|name| name.strip_prefix(CLAIMS)) else {
                continue;
            };
            let name = name.trim_start_matches('/').to_owned();
            swept +=
                usize::from(runtime::block_on(async move { claim::sweep(&bucket, &path, &name).await })?);
        }
        Ok(swept)
    }

    fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

impl fmt::Display for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectStore({})", self.0.location)
    }
}
