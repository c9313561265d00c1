//! The exclusive right to write below a folder, kept as an object that its holder renews.
//!
//! `.leases/<folder>.json` is created conditionally, renewed every 20 s and, when its last renewal is more than 90 s
//! ago by the store's own clock (`Last-Modified` against `Date`), replaced by whoever wants it, on the condition that
//! it has not changed since it was looked at. A holder that could not renew in time, counted from the beginning of its
//! last renewal by a steady clock, has lost its lease, and its store refuses further changes below that folder. (A
//! machine that was suspended learns of it at its next renewal.) On Linux a lease also tells which process holds it: once
//! that one has ended, others on the same machine need not wait.
//!
//! A store that ignores conditions is found out by the first lease of a process: created a second time, the new lease
//! must be refused. If it is not, leases are written, given a few seconds, and read back: the last writer has it. Two
//! hosts that start within those seconds are told apart, unless one of them stalls between writing and reading.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use backup_core::{Error, ErrorKind, Result, file, store::Lease};
use jiff::Timestamp;
use object_store::{GetOptions, PutMode, PutOptions, PutPayload, UpdateVersion, path::Path};
use serde::{Deserialize, Serialize};

use super::{
    bucket::{Answer, Bucket},
    claim,
    errors::{Action, Failed},
    process::Process,
    runtime,
};

/// The folder of leases.
const LEASES: &str = ".leases";
/// Ours are smaller.
const MAX_BYTES: u64 = 64 << 10;

/// Who holds a lease.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Holder {
    /// A random mark of this one holding.
    holder: String,
    host: String,
    pid: u32,
    /// The same in a form that can be judged by others on that machine.
    #[serde(default)]
    process: Option<Process>,
    since: Timestamp,
    /// How often it was renewed; also makes each renewal another object.
    renewals: u64,
    /// Given back by somebody who may not delete.
    #[serde(default)]
    released: bool,
}

impl Holder {
    fn new() -> Self {
        Self {
            holder: format!("{:032x}", fastrand::u128(..)),
            host: file::host_name().unwrap_or_default(),
            pid: std::process::id(),
            process: Process::this(),
            since: Timestamp::now(),
            renewals: 0,
            released: false,
        }
    }
}

impl Holder {
    fn is_over(&self) -> bool {
        self.released || self.process.as_ref().is_some_and(Process::has_ended)
    }
}

/// A lease as it lies in the store.
struct Found {
    holder: Option<Holder>,
    version: UpdateVersion,
    /// How long ago it was renewed; `None` when the store tells no time.
    age: Option<Duration>,
}

/// One lease object.
#[derive(Clone)]
struct Place {
    bucket: Arc<Bucket>,
    folder: String,
    path: Path,
}

/// A lease held; given back on drop.
pub(super) struct RemoteLease {
    stop: Option<mpsc::Sender<()>>,
    renewer: Option<JoinHandle<()>>,
    folder: String,
}

impl Lease for RemoteLease {}

impl fmt::Debug for RemoteLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteLease({})", self.folder)
    }
}

impl RemoteLease {
    pub(super) fn take(bucket: &Arc<Bucket>, folder: &str) -> Result<Self> {
        let name = if folder.is_empty() { "all" } else { folder };
        let path = bucket.path(&format!("{LEASES}/{name}.json"));
        let place = Place { bucket: Arc::clone(bucket), folder: folder.to_owned(), path };
        let begun = Instant::now();
        let asked = place.clone();
        let (holder, version) = runtime::block_on(async move { asked.take().await })??;
        place.bucket.hold(folder, begun + bucket.options.lease_lifetime);
        let (stop, stopped) = mpsc::channel();
        let renewal = Renewal { place, holder, version };
        let renewer = thread::Builder::new()
            .name("backup-lease".to_owned())
            .spawn(move || renewal.until(&stopped))
            .map_err(|e| Error::failed("could not start the thread that renews a lease").with_source(e))?;
        Ok(Self { stop: Some(stop), renewer: Some(renewer), folder: folder.to_owned() })
    }
}

impl Drop for RemoteLease {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(renewer) = self.renewer.take() {
            // It ends by itself; a panic there means that the lease expires instead.
            let _ = renewer.join();
        }
    }
}

impl Place {
    async fn take(&self) -> Result<(Holder, UpdateVersion)> {
        let holder = Holder::new();
        // Looked at first: a store that ignores conditions would replace a lease that somebody holds.
        let found = self.find().await.map_err(|failed| self.error(&failed))?;
        let condition = match found {
            None => PutMode::Create,
            Some(found) if self.is_free(&found) => PutMode::Update(found.version),
            Some(found) => return Err(self.busy(Some(&found))),
        };
        if self.bucket.unconditional.load(Ordering::Relaxed) {
            return self.settle(holder).await;
        }
        let version = match self.write(&holder, condition).await {
            Ok(version) => version,
            Err(failed) if failed.seen.status == Some(501) => {
                self.bucket.unconditional.store(true, Ordering::Relaxed);
                return self.settle(holder).await;
            }
            Err(failed) if failed.is_already_there() => match self.find().await {
                // An earlier attempt of ours, whose answer was lost.
                Ok(Some(found)) if is_same(found.holder.as_ref(), &holder) => found.version,
                Ok(found) => return Err(self.busy(found.as_ref())),
                Err(failed) => return Err(self.error(&failed)),
            },
            Err(failed) => return Err(self.error(&failed)),
        };
        if self.bucket.probed.swap(true, Ordering::Relaxed) || self.keeps_conditions(&holder).await {
            return Ok((holder, version));
        }
        self.bucket.unconditional.store(true, Ordering::Relaxed);
        self.settle(holder).await
    }

    /// Whether what exists is not created again.
    async fn keeps_conditions(&self, holder: &Holder) -> bool {
        match self.write(holder, PutMode::Create).await {
            Ok(_) => false,
            Err(failed) => failed.seen.status != Some(501),
        }
    }

    /// Without conditions: writes, waits for others to do so, and looks who was last.
    async fn settle(&self, holder: Holder) -> Result<(Holder, UpdateVersion)> {
        self.write(&holder, PutMode::Overwrite).await.map_err(|failed| self.error(&failed))?;
        tokio::time::sleep(self.bucket.options.lease_settling).await;
        match self.find().await.map_err(|failed| self.error(&failed))? {
            Some(found) if is_same(found.holder.as_ref(), &holder) => Ok((holder, found.version)),
            found => Err(self.busy(found.as_ref())),
        }
    }

    fn is_free(&self, found: &Found) -> bool {
        found.holder.as_ref().is_some_and(Holder::is_over)
            || found.age.is_some_and(|age| age > self.bucket.options.lease_lifetime)
    }

    async fn find(&self) -> Result<Option<Found>, Failed> {
        let attempt = || async {
            let answer = self.bucket.reading.objects.get_opts(&self.path, GetOptions::default()).await?;
            let meta = answer.meta.clone();
            let bytes = if meta.size <= MAX_BYTES { answer.bytes().await? } else { Default::default() };
            Ok((meta, bytes))
        };
        let Answer { value: (meta, bytes), seen } =
            match self.bucket.call(self.bucket.options.idle_timeout, attempt).await {
                Err(failed) if failed.is_not_found() => return Ok(None),
                other => other?,
            };
        let written = meta.last_modified.timestamp();
        let age = seen.date.map(|now| now.as_second() - written);
        Ok(Some(Found {
            holder: serde_json::from_slice(&bytes).ok(),
            version: UpdateVersion { e_tag: meta.e_tag, version: meta.version },
            age: age.map(|age| Duration::from_secs(u64::try_from(age).unwrap_or(0))),
        }))
    }

    async fn write(&self, holder: &Holder, mode: PutMode) -> Result<UpdateVersion, Failed> {
        let text = serde_json::to_vec_pretty(holder).unwrap_or_default();
        let options = PutOptions { mode, ..PutOptions::default() };
        let attempt = || {
            let payload = PutPayload::from(text.clone());
            self.bucket.writing.objects.put_opts(&self.path, payload, options.clone())
        };
        // The holder has to learn in time that it could not be renewed.
        let patience = Some(self.bucket.options.lease_renewal);
        let limit = self.bucket.options.idle_timeout.min(self.bucket.options.lease_renewal);
        let answer = self.bucket.call_within(limit, patience, false, attempt).await?;
        Ok(UpdateVersion { e_tag: answer.value.e_tag, version: answer.value.version })
    }

    async fn renew(&self, holder: &Holder, version: UpdateVersion) -> Result<UpdateVersion, Failed> {
        let unconditional = self.bucket.unconditional.load(Ordering::Relaxed);
        let mode = if unconditional { PutMode::Overwrite } else { PutMode::Update(version) };
        match self.write(holder, mode).await {
            Err(failed) if failed.is_already_there() || failed.is_not_found() => match self.find().await? {
                Some(found) if is_same(found.holder.as_ref(), holder) => Ok(found.version),
                _ => Err(failed),
            },
            other => other,
        }
    }

    /// Deletes the lease, or marks it as released where deleting is not allowed.
    async fn release(&self, mut holder: Holder, version: UpdateVersion) {
        let limit = self.bucket.options.lease_renewal;
        match self.find().await {
            Ok(Some(found)) if is_same(found.holder.as_ref(), &holder) => {}
            _ => return,
        }
        let attempt = || claim::delete(&self.bucket, &self.path);
        if self.bucket.call_within(limit, Some(limit), false, attempt).await.is_err() {
            holder.released = true;
            // What cannot be released expires.
            let _ = self.renew(&holder, version).await;
        }
    }

    fn busy(&self, found: Option<&Found>) -> Error {
        let holder = found.and_then(|found| found.holder.as_ref());
        let who = holder.map_or("another run, which has just taken it".to_owned(), |holder| {
            format!("process {} on {} since {}", holder.pid, holder.host, holder.since)
        });
        let lifetime = self.bucket.options.lease_lifetime;
        let left = lifetime.saturating_sub(found.and_then(|found| found.age).unwrap_or_default()).as_secs();
        Error::new(
            ErrorKind::Busy,
            format!("another run holds \"{}\" in {}: {who}", self.folder, self.bucket),
        )
        .with_hint(format!(
            "Let it end (`backup run --wait SECONDS` waits); if it was killed, its lease is over in {left} s."
        ))
    }

    fn error(&self, failed: &Failed) -> Error {
        self.bucket.error(
            Action::Write,
            &format!("the lease of \"{}\" in {}", self.folder, self.bucket),
            failed,
        )
    }
}

fn is_same(found: Option<&Holder>, holder: &Holder) -> bool {
    found.is_some_and(|found| found.holder == holder.holder)
}

/// What keeps a lease alive, on a thread of its own.
struct Renewal {
    place: Place,
    holder: Holder,
    version: UpdateVersion,
}

impl Renewal {
    fn until(mut self, stopped: &mpsc::Receiver<()>) {
        let bucket = Arc::clone(&self.place.bucket);
        let (renewal, lifetime) = (bucket.options.lease_renewal, bucket.options.lease_lifetime);
        while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(renewal) {
            let begun = Instant::now();
            match self.renew() {
                Ok(version) => {
                    self.version = version;
                    bucket.hold(&self.place.folder, begun + lifetime);
                }
                // Tried again; until then it ends by itself.
                Err(Some(failed)) if failed.is_transient() => {}
                // Somebody else has it, or it cannot be kept.
                Err(_) => {
                    bucket.hold(&self.place.folder, begun);
                    let _ = stopped.recv();
                    break;
                }
            }
        }
        let Self { place, holder, version } = self;
        bucket.give_back(&place.folder);
        let released = async move { place.release(holder, version).await };
        // What cannot be given back in time ends by itself.
        let _ = runtime::block_on(async move { tokio::time::timeout(renewal, released).await });
    }

    fn renew(&mut self) -> Result<UpdateVersion, Option<Box<Failed>>> {
        self.holder.renewals += 1;
        let (place, holder, version) = (self.place.clone(), self.holder.clone(), self.version.clone());
        match runtime::block_on(async move { place.renew(&holder, version).await }) {
            Ok(outcome) => outcome.map_err(|failed| Some(Box::new(failed))),
            Err(_) => Err(None),
        }
    }
}
