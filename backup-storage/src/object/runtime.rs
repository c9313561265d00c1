//! The one runtime behind all object stores of a process.

use std::{
    future::Future,
    process,
    sync::{OnceLock, mpsc},
};

use backup_core::{Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// Requests wait for networks, hashing them is little work: two threads serve any number of stores.
const THREADS: usize = 2;

struct Owned {
    process: u32,
    runtime: Runtime,
}

static RUNTIME: OnceLock<Result<Owned, String>> = OnceLock::new();

/// The runtime, made at the first use.
///
/// # Errors
/// `Failed` in a forked child of a process that used it: its threads were not copied.
pub(super) fn handle() -> Result<Handle> {
    let owned = RUNTIME.get_or_init(|| {
        let built = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("backup-objects")
            .enable_all()
            .build();
        built.map(|runtime| Owned { process: process::id(), runtime }).map_err(|e| e.to_string())
    });
    match owned {
        Ok(owned) if owned.process == process::id() => Ok(owned.runtime.handle().clone()),
        Ok(_) => {
            Err(Error::failed("an object store cannot be used in a forked process whose parent has used one")
                .with_hint(
                    "Start the process anew instead (in Python: multiprocessing with the \"spawn\" method).",
                ))
        }
        Err(cause) => {
            Err(Error::failed("could not start the threads of the object stores").with_source(cause.clone()))
        }
    }
}

/// Runs a future there and waits for it; unlike `Runtime::block_on` also from a thread of somebody else's runtime.
pub(super) fn block_on<F>(future: F) -> Result<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    handle()?.spawn(async move {
        // The receiver waits below for as long as this runs.
        let _ = sender.send(future.await);
    });
    receiver.recv().map_err(|_| Error::failed("a request to an object store panicked"))
}
