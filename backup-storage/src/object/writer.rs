//! Writing an object: small ones in one request, larger ones in parts, while the rest is still being produced.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, atomic::Ordering},
};

use backup_core::{
    Error, ErrorKind, Result,
    id::Key,
    store::{ObjectWriter, PutMode},
};
use bytes::Bytes;
use object_store::{
    Attribute, Attributes, MultipartId, PutMultipartOptions, PutOptions, PutPayload, multipart::PartId,
    path::Path,
};
use tokio::task::JoinHandle;

use super::{
    bucket::Bucket,
    claim::{self, Claim, Mark},
    errors::{Action, Failed},
    parts::PartPlan,
    runtime,
    url::Vendor,
};

/// An object being written.
///
/// Each part is one unit of repetition: it stays in memory until the store has it. Dropped unfinished, the upload is
/// aborted and the claim given back; killed, it leaves an upload that no listing shows (a lifecycle rule of the
/// bucket removes it) and a claim that `sweep` removes.
pub(super) struct RemoteWriter {
    bucket: Arc<Bucket>,
    key: Key,
    path: Path,
    mode: PutMode,
    mark: Mark,
    plan: PartPlan,
    /// The part being filled, which has this number.
    buffer: Vec<u8>,
    index: u32,
    upload: Option<Upload>,
    /// A part was lost: finishing would make an object with a hole.
    broken: bool,
}

struct Upload {
    id: MultipartId,
    claim: Option<Claim>,
    on_their_way: VecDeque<JoinHandle<Result<PartId, Failed>>>,
    stored: Vec<PartId>,
}

impl RemoteWriter {
    pub(super) fn new(bucket: &Arc<Bucket>, key: &Key, mode: PutMode) -> Self {
        let options = &bucket.options;
        let equal = options.equal_parts.unwrap_or_else(|| bucket.location.is_r2());
        Self {
            bucket: Arc::clone(bucket),
            key: key.clone(),
            path: bucket.path(key.as_str()),
            mode,
            mark: Mark::new(),
            plan: PartPlan::new(options.part_bytes, options.max_parts, equal),
            buffer: Vec::new(),
            index: 0,
            upload: None,
            broken: false,
        }
    }

    fn part_bytes(&self) -> Result<usize> {
        let bytes = self.plan.bytes(self.index).ok_or_else(|| {
            let message =
                format!("could not write \"{}\" to {}: it needs too many parts", self.key, self.bucket);
            Error::new(ErrorKind::Unsupported, message)
                .with_hint("Use larger parts: ?part_size=BYTES in the URL of the store.")
        })?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    fn error(&self, failed: &Failed) -> Error {
        self.bucket.error(Action::Write, &format!("\"{}\" in {}", self.key, self.bucket), failed)
    }

    fn taken(&self) -> Error {
        Error::new(ErrorKind::AlreadyExists, format!("\"{}\" exists already in {}", self.key, self.bucket))
    }

    fn require_whole(&self) -> Result<()> {
        if self.broken {
            let message = format!("writing \"{}\" to {} has failed before", self.key, self.bucket);
            return Err(Error::failed(message));
        }
        Ok(())
    }

    /// Sends the full buffer on its way; waits while too many are.
    fn send_part(&mut self) -> Result<()> {
        if self.upload.is_none() {
            self.upload = Some(self.begin()?);
        }
        let bytes = std::mem::take(&mut self.buffer);
        let allowed = PartPlan::in_flight(bytes.len() as u64);
        self.wait_until_fewer_than(allowed)?;
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let part = Part {
            bucket: Arc::clone(&self.bucket),
            path: self.path.clone(),
            id: upload.id.clone(),
            index: self.index as usize,
            bytes: Bytes::from(bytes),
        };
        upload.on_their_way.push_back(runtime::handle()?.spawn(part.send()));
        self.index += 1;
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut room = self.part_bytes()?.saturating_sub(self.buffer.len());
        if room == 0 && !bytes.is_empty() {
            self.send_part()?;
            room = self.part_bytes()?;
            self.buffer.reserve_exact(room);
        }
        let count = bytes.len().min(room);
        self.buffer.extend_from_slice(bytes.get(..count).unwrap_or(bytes));
        Ok(count)
    }

    fn wait_until_fewer_than(&mut self, allowed: usize) -> Result<()> {
        while let Some(upload) = &mut self.upload {
            if upload.on_their_way.len() < allowed {
                break;
            }
            let Some(oldest) = upload.on_their_way.pop_front() else { break };
            match runtime::block_on(oldest)? {
                Ok(Ok(part)) => upload.stored.push(part),
                Ok(Err(failed)) => return Err(self.error(&failed)),
                Err(_) => return Err(Error::failed(format!("writing \"{}\" was stopped", self.key))),
            }
        }
        Ok(())
    }

    fn begin(&self) -> Result<Upload> {
        let (bucket, path, name) =
            (Arc::clone(&self.bucket), self.path.clone(), self.key.as_str().to_owned());
        let (mark, mode) = (self.mark.clone(), self.mode);
        let begun = runtime::block_on(async move { begin(&bucket, &path, &name, mode, &mark).await })?;
        match begun {
            Ok(Some((id, claim))) => {
                Ok(Upload { id, claim, on_their_way: VecDeque::new(), stored: Vec::new() })
            }
            Ok(None) => Err(self.taken()),
            Err(failed) => Err(self.error(&failed)),
        }
    }

    fn put_whole(&mut self) -> Result<()> {
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let (bucket, path, mark, mode) =
            (Arc::clone(&self.bucket), self.path.clone(), self.mark.clone(), self.mode);
        let put = runtime::block_on(async move { put_whole(&bucket, &path, bytes, mode, &mark).await })?;
        match put {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.taken()),
            Err(failed) => Err(self.error(&failed)),
        }
    }

    fn complete(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.send_part()?;
        }
        self.wait_until_fewer_than(1)?;
        let Some(upload) = self.upload.take() else { return Ok(()) };
        let (bucket, path, mark, mode) =
            (Arc::clone(&self.bucket), self.path.clone(), self.mark.clone(), self.mode);
        let completed = runtime::block_on(async move {
            let outcome = complete(&bucket, &path, &upload, mode, &mark).await;
            if !matches!(outcome, Ok(true)) {
                abort(&bucket, &path, &upload.id).await;
            }
            if let Some(claim) = upload.claim {
                claim.release(&bucket).await;
            }
            outcome
        })?;
        match completed {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.taken()),
            Err(failed) => Err(self.error(&failed)),
        }
    }
}

impl Write for RemoteWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.require_whole()?;
        let taken = self.take(bytes);
        self.broken = taken.is_err();
        Ok(taken?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for RemoteWriter {
    fn finish(mut self: Box<Self>) -> Result<()> {
        self.require_whole()?;
        self.bucket.require_lease(&self.key)?;
        if self.upload.is_some() { self.complete() } else { self.put_whole() }
    }
}

impl Drop for RemoteWriter {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        let (bucket, path) = (Arc::clone(&self.bucket), self.path.clone());
        let _ = runtime::block_on(async move {
            for part in upload.on_their_way {
                part.abort();
                // A part that arrives after the abort would be kept.
                let _ = part.await;
            }
            abort(&bucket, &path, &upload.id).await;
            if let Some(claim) = upload.claim {
                claim.release(&bucket).await;
            }
        });
    }
}

/// One part, until the store has it.
struct Part {
    bucket: Arc<Bucket>,
    path: Path,
    id: MultipartId,
    index: usize,
    bytes: Bytes,
}

impl Part {
    async fn send(self) -> Result<PartId, Failed> {
        let limit = self.bucket.options.limit_for(self.bytes.len());
        let attempt = || {
            let payload = PutPayload::from(self.bytes.clone());
            self.bucket.writing.uploads.put_part(&self.path, &self.id, self.index, payload)
        };
        Ok(self.bucket.call(limit, attempt).await?.value)
    }
}

fn attributes(bucket: &Bucket, mark: &Mark) -> Attributes {
    let mut attributes = Attributes::new();
    let (name, value) = mark.attribute();
    attributes.insert(name, value.into());
    if let Some(class) = &bucket.options.storage_class {
        attributes.insert(Attribute::StorageClass, class.clone().into());
    }
    attributes
}

/// Whether the key is free, as far as can be seen: credentials that may only write cannot look.
async fn is_free(bucket: &Bucket, path: &Path) -> Result<bool, Failed> {
    match claim::head(bucket, path).await {
        Ok(_) => Ok(false),
        Err(failed) if failed.is_not_found() || failed.seen.status == Some(403) => Ok(true),
        Err(failed) => Err(failed),
    }
}

/// Stores a small object; `false` when something stands under its key.
async fn put_whole(
    bucket: &Arc<Bucket>,
    path: &Path,
    bytes: Bytes,
    mode: PutMode,
    mark: &Mark,
) -> Result<bool, Failed> {
    let mut conditional = mode == PutMode::Create;
    if conditional && bucket.unconditional.load(Ordering::Relaxed) {
        if !is_free(bucket, path).await? {
            return Ok(false);
        }
        conditional = false;
    }
    let mode = if conditional { object_store::PutMode::Create } else { object_store::PutMode::Overwrite };
    let options = PutOptions { mode, attributes: attributes(bucket, mark), ..PutOptions::default() };
    let limit = bucket.options.limit_for(bytes.len());
    let attempt = || bucket.writing.objects.put_opts(path, PutPayload::from(bytes.clone()), options.clone());
    match bucket.call(limit, attempt).await {
        Ok(_) => Ok(true),
        // Perhaps by an attempt of ours whose answer was lost, or that something on the way sent twice.
        Err(failed) if failed.is_already_there() => Ok(mark.is_on(bucket, path).await),
        Err(failed) if failed.seen.status == Some(501) && conditional => {
            bucket.unconditional.store(true, Ordering::Relaxed);
            Box::pin(put_whole(bucket, path, bytes, PutMode::Create, mark)).await
        }
        // The store may have done it all the same.
        Err(failed) if failed.is_transient() && mark.is_on_after_all(bucket, path).await => Ok(true),
        Err(failed) => Err(failed),
    }
}

/// Begins an upload, with a claim when it creates; `None` when something stands under the key or is about to.
async fn begin(
    bucket: &Arc<Bucket>,
    path: &Path,
    name: &str,
    mode: PutMode,
    mark: &Mark,
) -> Result<Option<(MultipartId, Option<Claim>)>, Failed> {
    let mut claim = None;
    if mode == PutMode::Create {
        claim = Claim::take(bucket, name, mark).await?;
        if claim.is_none() {
            return Ok(None);
        }
    }
    let begun = begin_claimed(bucket, path, mode, mark).await;
    match (begun, claim) {
        (Ok(Some(id)), claim) => Ok(Some((id, claim))),
        (other, claim) => {
            if let Some(claim) = claim {
                claim.release(bucket).await;
            }
            other.map(|_| None)
        }
    }
}

async fn begin_claimed(
    bucket: &Bucket,
    path: &Path,
    mode: PutMode,
    mark: &Mark,
) -> Result<Option<MultipartId>, Failed> {
    if mode == PutMode::Create && !is_free(bucket, path).await? {
        return Ok(None);
    }
    let mut options = PutMultipartOptions::default();
    // Azure takes no attributes here.
    if bucket.location.vendor != Vendor::Azure {
        options.attributes = attributes(bucket, mark);
    }
    let attempt = || bucket.writing.uploads.create_multipart_opts(path, options.clone());
    Ok(Some(bucket.call(bucket.options.idle_timeout, attempt).await?.value))
}

/// Makes the object appear; `false` when something else has appeared under its key.
async fn complete(
    bucket: &Arc<Bucket>,
    path: &Path,
    upload: &Upload,
    mode: PutMode,
    mark: &Mark,
) -> Result<bool, Failed> {
    if let Some(claim) = &upload.claim
        && !claim.is_held(bucket).await?
    {
        return Ok(false);
    }
    let condition = mode == PutMode::Create
        && bucket.location.vendor == Vendor::S3
        && !bucket.unconditional.load(Ordering::Relaxed);
    let mut outcome = try_to_complete(bucket, path, upload, condition).await;
    // A server that knows conditions on uploads of one piece only; the claim has to do.
    if condition && outcome.as_ref().is_err_and(|failed| failed.seen.status == Some(501)) {
        outcome = try_to_complete(bucket, path, upload, false).await;
    }
    match outcome {
        Ok(()) => Ok(true),
        // An answer may have been lost, or somebody on the way sent the request twice: then the object is there, and
        // ours, whatever this server says to an upload that is over.
        Err(failed) => {
            let is_ours = match bucket.location.vendor {
                Vendor::Azure => failed.attempts > 1 && !is_free(bucket, path).await.unwrap_or(true),
                _ => mark.is_on_after_all(bucket, path).await,
            };
            match is_ours {
                true => Ok(true),
                false if failed.is_already_there() => Ok(false),
                false => Err(failed),
            }
        }
    }
}

async fn try_to_complete(
    bucket: &Bucket,
    path: &Path,
    upload: &Upload,
    condition: bool,
) -> Result<(), Failed> {
    // Putting thousands of parts together takes S3 minutes; it says so by sending blanks.
    let limit = bucket.options.idle_timeout * 10;
    let attempt = || bucket.writing.uploads.complete_multipart(path, &upload.id, upload.stored.clone());
    bucket.call_within(limit, None, condition, attempt).await.map(drop)
}

async fn abort(bucket: &Bucket, path: &Path, id: &MultipartId) {
    let attempt = || bucket.writing.uploads.abort_multipart(path, id);
    // What stays behind is invisible, and a lifecycle rule removes it.
    let limit = bucket.tidying();
    let _ = bucket.call_within(limit, Some(limit), false, attempt).await;
}
