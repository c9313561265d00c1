//! A bucket and a folder in it: names, and requests with patience.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use backup_core::{Error, ErrorKind, Result, id::Key};
use object_store::path::Path;

use super::{
    client::{self, Client},
    errors::Failed,
    options::ObjectOptions,
    runtime,
    transport::{self, Call, Seen},
    url::Location,
};

/// The longest wait between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// The longest wait that a store can ask for.
const MAX_ASKED_FOR: Duration = Duration::from_secs(60);

/// How long cleaning up is tried.
const TIDY: Duration = Duration::from_secs(10);

/// What all clones, writers, readers and leases of a store share.
pub(super) struct Bucket {
    pub(super) location: Location,
    pub(super) options: ObjectOptions,
    pub(super) reading: Client,
    pub(super) writing: Client,
    /// The store has answered, if only with an error: it exists and can be reached.
    answered: AtomicBool,
    /// The store has said yes to something: the bucket exists.
    pub(super) agreed: AtomicBool,
    /// The store was seen to ignore conditions on writes.
    pub(super) unconditional: AtomicBool,
    /// That it keeps them was seen too.
    pub(super) probed: AtomicBool,
    /// Folders whose lease this process holds, and until when it may count on it.
    held: Mutex<BTreeMap<String, Instant>>,
    /// The marks of the claims that are held here.
    claims: Mutex<BTreeSet<String>>,
}

/// An answer, and how it came.
pub(super) struct Answer<T> {
    pub(super) value: T,
    pub(super) seen: Seen,
}

impl Bucket {
    pub(super) fn open(url: &str, mut options: ObjectOptions) -> Result<Arc<Self>> {
        let location = Location::parse(url, &mut options)?;
        let (reading, writing) = client::connect(&location, &options)?;
        Ok(Arc::new(Self {
            location,
            options,
            reading,
            writing,
            answered: AtomicBool::new(false),
            agreed: AtomicBool::new(false),
            unconditional: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            held: Mutex::default(),
            claims: Mutex::default(),
        }))
    }

    /// Where an object lies in the bucket. `name` is checked by its maker: a key, or a hidden name of ours.
    pub(super) fn path(&self, name: &str) -> Path {
        let joined = [self.location.prefix.as_str(), name].join("/");
        Path::from_iter(joined.split('/').filter(|segment| !segment.is_empty()))
    }

    /// The name below the store's folder of what a listing calls `path`.
    pub(super) fn name_of<'a>(&self, path: &'a Path) -> Option<&'a str> {
        let text = path.as_ref();
        match self.location.prefix.as_str() {
            "" => Some(text),
            prefix => text.strip_prefix(prefix)?.strip_prefix('/'),
        }
    }

    /// Makes a request, again and again while its failure may pass; each attempt ends after `limit`.
    pub(super) async fn call<T, F, A>(&self, limit: Duration, attempt: F) -> Result<Answer<T>, Failed>
    where
        F: FnMut() -> A,
        A: Future<Output = object_store::Result<T>>,
    {
        self.call_within(limit, None, false, attempt).await
    }

    /// The same with another patience than the options', and perhaps with completion as a creation.
    pub(super) async fn call_within<T, F, A>(
        &self,
        limit: Duration,
        patience: Option<Duration>,
        create_only: bool,
        mut attempt: F,
    ) -> Result<Answer<T>, Failed>
    where
        F: FnMut() -> A,
        A: Future<Output = object_store::Result<T>>,
    {
        let begun = Instant::now();
        let mut attempts = 0;
        let mut wait = self.options.first_wait;
        loop {
            attempts += 1;
            let call = Arc::new(Call::new(create_only));
            let outcome = transport::watched(&call, tokio::time::timeout(limit, attempt())).await;
            let seen = call.seen();
            self.remember(&seen);
            let error = match outcome {
                Ok(Ok(value)) => return Ok(Answer { value, seen }),
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            let failed = Failed { error, seen, attempts, elapsed: begun.elapsed(), limit };
            let asked_for = failed.seen.retry_after.unwrap_or_default().min(MAX_ASKED_FOR);
            let pause = wait.mul_f64(0.5 + fastrand::f64() / 2.0).max(asked_for);
            if !failed.is_transient() || begun.elapsed() + pause > patience.unwrap_or_else(|| self.patience())
            {
                return Err(failed);
            }
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(MAX_WAIT);
        }
    }

    /// [`Bucket::call`] from a thread that may wait.
    pub(super) fn ask<T, F, A>(self: &Arc<Self>, mut attempt: F) -> Result<Result<Answer<T>, Failed>>
    where
        F: FnMut() -> A + Send + 'static,
        A: Future<Output = object_store::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let bucket = Arc::clone(self);
        let limit = self.options.idle_timeout;
        runtime::block_on(async move { bucket.call(limit, &mut attempt).await })
    }

    /// How long the traces of something that failed are tried to be removed.
    pub(super) fn tidying(&self) -> Duration {
        TIDY.min(self.options.patience)
    }

    fn patience(&self) -> Duration {
        if self.answered.load(Ordering::Relaxed) {
            self.options.patience
        } else {
            self.options.patience.min(self.options.first_patience)
        }
    }

    fn remember(&self, seen: &Seen) {
        if seen.status.is_some() && !seen.is_for_credentials {
            self.answered.store(true, Ordering::Relaxed);
        }
        if seen.is_success() {
            self.agreed.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that this process holds the lease of a folder until then.
    pub(super) fn hold(&self, folder: &str, until: Instant) {
        self.leases().insert(folder.to_owned(), until);
    }

    /// Notes that it gave the lease back.
    pub(super) fn give_back(&self, folder: &str) {
        self.leases().remove(folder);
    }

    /// Refuses changes below a folder whose lease this process has lost.
    pub(super) fn require_lease(&self, key: &Key) -> Result<()> {
        let leases = self.leases();
        let mut above =
            leases.iter().filter(|(folder, _)| folder.is_empty() || is_below(key.as_str(), folder));
        match above.find(|(_, until)| **until < Instant::now()) {
            None => Ok(()),
            Some((folder, _)) => Err(Error::new(
                ErrorKind::Busy,
                format!("the lease of \"{folder}\" in {self} was lost, so \"{key}\" is not changed"),
            )
            .with_hint("The store could not be reached for too long; start the command again.")),
        }
    }

    /// Whether this process holds the lease above `name`.
    pub(super) fn holds_above(&self, name: &str) -> bool {
        let leases = self.leases();
        let mut above = leases.iter().filter(|(folder, _)| folder.is_empty() || is_below(name, folder));
        above.any(|(_, until)| *until > Instant::now())
    }

    /// The marks of the claims that are held here.
    pub(super) fn claims(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `name` lies below `folder` (which is not empty).
fn is_below(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store \"{}\"", self.location)
    }
}
