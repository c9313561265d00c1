//! What every operation is handed: who listens, when to stop, what time it is, where scratch files may go.

use std::{
    fmt,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use jiff::Timestamp;

use crate::{
    encryption::{FileKey, FileKeys, Identity},
    error::{Error, Result},
    event::{Event, Observer, Silent, Step},
};

/// Frames in flight cost memory (16 MiB per worker), so more cores than this wait for an explicit `with_jobs`.
const MAX_DEFAULT_JOBS: usize = 6;

/// Asks a running operation to stop; clones share one flag.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    raised: AtomicBool,
    parent: Option<CancelToken>,
}

impl CancelToken {
    /// A token that this one cancels, and that can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Flag { raised: AtomicBool::new(false), parent: Some(self.clone()) }))
    }

    /// Asks to stop. Operations look between blocks of at most 8 MiB, clean up, and return `Cancelled`.
    pub fn cancel(&self) {
        self.0.raised.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.raised.load(Ordering::Relaxed) || self.0.parent.as_ref().is_some_and(Self::is_cancelled)
    }

    /// Nothing while nobody asked.
    ///
    /// # Errors
    /// `Cancelled` once somebody did.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

/// Where an operation gets the time from.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Gives the secret keys when they are needed.
type IdentitySource = Box<dyn Fn() -> Result<Vec<Identity>> + Send + Sync>;

/// Secret keys, or where they come from.
#[derive(Default)]
struct Identities {
    source: Option<IdentitySource>,
    loaded: OnceLock<Result<Arc<[Identity]>>>,
}

/// The surroundings of an operation. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    observer: Arc<dyn Observer>,
    cancel: CancelToken,
    clock: Arc<dyn Clock>,
    scratch: Option<PathBuf>,
    jobs: NonZeroUsize,
    identities: Arc<Identities>,
    file_keys: FileKeys,
}

impl Default for Context {
    /// Nobody listens, nobody cancels, the system's time, scratch beside the store, one job per core up to six, no
    /// identity.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            observer: Arc::new(Silent),
            cancel: CancelToken::default(),
            clock: Arc::new(SystemClock),
            scratch: None,
            jobs: NonZeroUsize::new(cores.min(MAX_DEFAULT_JOBS)).unwrap_or(NonZeroUsize::MIN),
            identities: Arc::default(),
            file_keys: FileKeys::default(),
        }
    }
}

impl Context {
    /// With somebody who hears the events.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// With a token that can stop the operation.
    #[must_use]
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With a folder for working copies; by default they lie in the store's own folder.
    #[must_use]
    pub fn with_scratch(mut self, folder: PathBuf) -> Self {
        self.scratch = Some(folder);
        self
    }

    /// With so many worker threads; each holds about 16 MiB.
    #[must_use]
    pub fn with_jobs(mut self, jobs: NonZeroUsize) -> Self {
        self.jobs = jobs;
        self
    }

    /// With the secret keys that encrypted backups are read with; any one of a backup's recipients opens it.
    #[must_use]
    pub fn with_identities(mut self, identities: Vec<Identity>) -> Self {
        self.identities =
            Arc::new(Identities { source: None, loaded: OnceLock::from(Ok(identities.into())) });
        self
    }

    /// With secret keys that are fetched when something encrypted is first met, and then kept: so that nobody is asked
    /// for a passphrase that is not needed.
    #[must_use]
    pub fn with_identities_from(
        mut self,
        source: impl Fn() -> Result<Vec<Identity>> + Send + Sync + 'static,
    ) -> Self {
        self.identities = Arc::new(Identities { source: Some(Box::new(source)), loaded: OnceLock::new() });
        self
    }

    /// With the keys of files that this very operation writes.
    #[must_use]
    pub(crate) fn with_file_keys(mut self, keys: FileKeys) -> Self {
        self.file_keys = keys;
        self
    }

    /// The secret keys.
    ///
    /// # Errors
    /// What fetching them returned, each time the same.
    pub fn identities(&self) -> Result<Arc<[Identity]>> {
        let fetch = || match &self.identities.source {
            Some(source) => source().map(Arc::from),
            None => Ok(Arc::from([])),
        };
        match self.identities.loaded.get_or_init(fetch) {
            Ok(identities) => Ok(Arc::clone(identities)),
            Err(error) => Err(error.duplicate()),
        }
    }

    /// The key of the object with this name, if this operation wrote it.
    pub(crate) fn file_key(&self, name: &str) -> Option<FileKey> {
        self.file_keys.get(name)
    }

    /// Who hears the events.
    pub fn observer(&self) -> &Arc<dyn Observer> {
        &self.observer
    }

    /// The token.
    pub fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The folder for working copies, if one was chosen.
    pub fn scratch(&self) -> Option<&PathBuf> {
        self.scratch.as_ref()
    }

    /// Worker threads.
    pub fn jobs(&self) -> usize {
        self.jobs.get()
    }

    /// Tells the observer.
    pub fn emit(&self, event: Event) {
        self.observer.event(&event);
    }

    /// Tells the observer of something that stopped nothing.
    pub fn warn(&self, message: impl Into<String>) {
        self.emit(Event::Warning(message.into()));
    }

    /// Tells the observer of something that stopped nothing and must be heard.
    pub fn alarm(&self, message: impl Into<String>) {
        self.emit(Event::Alarm(message.into()));
    }

    /// Runs one step between its `Began` and `Ended` events.
    ///
    /// # Errors
    /// `Cancelled` before it begins; what `work` returns.
    pub fn step<T>(&self, step: Step, total: Option<u64>, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.cancel.check()?;
        self.emit(Event::Began { step, total });
        let outcome = work();
        self.emit(Event::Ended { step });
        outcome
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("cancel", &self.cancel)
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}
