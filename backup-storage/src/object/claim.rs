//! The right to create one large object.
//!
//! Only S3 can complete an upload on the condition that nothing stands under its key, and not every S3 server can. So
//! a writer first creates a hidden object, `.claims/<key>`, conditionally: of two writers one gets it. Only then it
//! looks whether the key is free, uploads, completes, and removes the claim last. Whoever gets the claim afterwards
//! finds the object; whoever comes while it stands is refused. Reads after writes are consistent on all three
//! vendors' stores, so exactly one writer completes.
//!
//! A killed writer's claim keeps its key for a day, by the store's clock, or until somebody takes the lease above it and
//! sweeps: nobody else may write there then, so that claims which are not this process's own are dead. Credentials that
//! may not delete leave their claims behind, which keeps one thing only from being created for that day: the same object.

use std::{sync::Arc, time::Duration};

use object_store::{Attribute, GetOptions, PutMode, PutOptions, PutPayload, UpdateVersion, path::Path};

use super::{bucket::Bucket, errors::Failed, transport::Seen};

/// The folder of claims.
pub(super) const CLAIMS: &str = ".claims";
/// The metadata that tells a writer its own object from another's, when an answer was lost. (Azure allows no dashes.)
const WRITER: &str = "backupwriter";

/// The mark of one writer.
#[derive(Clone, Debug)]
pub(super) struct Mark(String);

impl Mark {
    pub(super) fn new() -> Self {
        Self(format!("{:032x}", fastrand::u128(..)))
    }

    /// The mark as metadata.
    pub(super) fn attribute(&self) -> (Attribute, String) {
        (Attribute::Metadata(WRITER.into()), self.0.clone())
    }

    /// Whether the object at `path` is this writer's.
    pub(super) async fn is_on(&self, bucket: &Bucket, path: &Path) -> bool {
        let found = head(bucket, path).await;
        found.is_ok_and(|found| found.mark.as_deref() == Some(&self.0))
    }

    /// The same after the store has failed for as long as patience lasted: it gets a last moment only.
    pub(super) async fn is_on_after_all(&self, bucket: &Bucket, path: &Path) -> bool {
        let found = head_within(bucket, path, Some(bucket.tidying())).await;
        found.is_ok_and(|found| found.mark.as_deref() == Some(&self.0))
    }
}

/// What a HEAD request tells.
pub(super) struct Head {
    pub(super) bytes: u64,
    pub(super) version: UpdateVersion,
    pub(super) modified: i64,
    pub(super) mark: Option<String>,
    pub(super) seen: Seen,
}

impl Head {
    /// How long ago the object was written, by the store's clock; `None` when the store tells no time.
    pub(super) fn age(&self) -> Option<Duration> {
        let now = self.seen.date?.as_second();
        Some(Duration::from_secs(u64::try_from(now - self.modified).unwrap_or(0)))
    }
}

pub(super) async fn head(bucket: &Bucket, path: &Path) -> Result<Head, Failed> {
    head_within(bucket, path, None).await
}

async fn head_within(bucket: &Bucket, path: &Path, patience: Option<Duration>) -> Result<Head, Failed> {
    let attempt = || {
        let options = GetOptions { head: true, ..GetOptions::default() };
        bucket.reading.objects.get_opts(path, options)
    };
    let answer = bucket.call_within(bucket.options.idle_timeout, patience, false, attempt).await?;
    let mark = answer.value.attributes.get(&Attribute::Metadata(WRITER.into())).map(|mark| mark.to_string());
    let meta = answer.value.meta;
    Ok(Head {
        bytes: meta.size,
        version: UpdateVersion { e_tag: meta.e_tag, version: meta.version },
        modified: meta.last_modified.timestamp(),
        mark,
        seen: answer.seen,
    })
}

/// A claim held.
#[derive(Debug)]
pub(super) struct Claim {
    path: Path,
    mark: Mark,
}

impl Claim {
    /// Gets the claim of the object called `name`, or `None` when another writer has it.
    pub(super) async fn take(bucket: &Bucket, name: &str, mark: &Mark) -> Result<Option<Self>, Failed> {
        // Before it is in the store, lest a sweep of this process find it there unknown.
        bucket.claims().insert(mark.0.clone());
        let taken = Self::take_noted(bucket, name, mark).await;
        if !matches!(taken, Ok(Some(_))) {
            bucket.claims().remove(&mark.0);
        }
        taken
    }

    async fn take_noted(bucket: &Bucket, name: &str, mark: &Mark) -> Result<Option<Self>, Failed> {
        let path = bucket.path(&format!("{CLAIMS}/{name}"));
        let claim = Self { path, mark: mark.clone() };
        if claim.write(bucket, PutMode::Create).await? {
            return Ok(Some(claim));
        }
        let found = match head(bucket, &claim.path).await {
            Ok(found) => found,
            // Released in between: its writer has the object now, or has given up.
            Err(failed) if failed.is_not_found() => return Ok(None),
            Err(failed) => return Err(failed),
        };
        let is_stale = found.age().is_some_and(|age| age > bucket.options.claim_lifetime);
        let taken = is_stale && claim.write(bucket, PutMode::Update(found.version)).await?;
        Ok(taken.then_some(claim))
    }

    async fn write(&self, bucket: &Bucket, mode: PutMode) -> Result<bool, Failed> {
        let (attribute, value) = self.mark.attribute();
        let mut options = PutOptions { mode, ..PutOptions::default() };
        options.attributes.insert(attribute, value.into());
        let attempt = || {
            bucket.writing.objects.put_opts(
                &self.path,
                PutPayload::from_static(b"claimed\n"),
                options.clone(),
            )
        };
        match bucket.call(bucket.options.idle_timeout, attempt).await {
            Ok(_) => Ok(true),
            Err(failed) if failed.is_already_there() => Ok(self.mark.is_on(bucket, &self.path).await),
            Err(failed) => Err(failed),
        }
    }

    /// Whether it still is ours: somebody may have found it stale.
    pub(super) async fn is_held(&self, bucket: &Bucket) -> Result<bool, Failed> {
        match head(bucket, &self.path).await {
            // Credentials that may write only cannot look.
            Err(failed) if failed.seen.status == Some(403) => Ok(true),
            Err(failed) if failed.is_not_found() => Ok(false),
            Err(failed) => Err(failed),
            Ok(found) => Ok(found.mark.as_deref() == Some(&self.mark.0)),
        }
    }

    /// Gives it back, as well as that is possible.
    pub(super) async fn release(self, bucket: &Arc<Bucket>) {
        let attempt = || delete(bucket, &self.path);
        let limit = bucket.tidying();
        let _ = bucket.call_within(limit, Some(limit), false, attempt).await;
        bucket.claims().remove(&self.mark.0);
    }
}

/// Deletes one object.
pub(super) async fn delete(bucket: &Bucket, path: &Path) -> object_store::Result<()> {
    use object_store::ObjectStoreExt;
    bucket.writing.objects.delete(path).await
}

/// Removes the claim at `path`, of the object called `name`, if it cannot be anybody's any more; a failure leaves it to
/// the next sweep.
pub(super) async fn sweep(bucket: &Bucket, path: &Path, name: &str) -> bool {
    let Ok(found) = head(bucket, path).await else { return false };
    let is_own = found.mark.as_ref().is_some_and(|mark| bucket.claims().contains(mark));
    let is_stale = found.age().is_some_and(|age| age > bucket.options.claim_lifetime);
    let is_dead = is_stale || (!is_own && bucket.holds_above(name));
    let limit = bucket.tidying();
    is_dead && bucket.call_within(limit, Some(limit), false, || delete(bucket, path)).await.is_ok()
}
