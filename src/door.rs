//! The asynchronous door: blocking work on a thread of its own, a future that waits for it.

use std::{
    future::Future,
    pin::Pin,
    task::{self, Poll},
    thread,
};

use backup_core::{Error, Result, context::CancelToken};
use futures_channel::oneshot;

/// Runs blocking work on its own thread. Dropping the future cancels the work, which then cleans up by itself.
pub(crate) fn on_thread<T: Send + 'static>(
    cancel: CancelToken,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    let (done, outcome) = oneshot::channel();
    let spawned = thread::Builder::new().name("backup-job".to_owned()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(work());
    });
    Waiting { outcome, cancel, failed: spawned.err() }
}

struct Waiting<T> {
    outcome: oneshot::Receiver<Result<T>>,
    cancel: CancelToken,
    failed: Option<std::io::Error>,
}

impl<T> Future for Waiting<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(Error::from_io("could not start a thread", error)));
        }
        Pin::new(&mut self.outcome)
            .poll(cx)
            .map(|outcome| outcome.unwrap_or_else(|_| Err(Error::failed("the job's thread panicked"))))
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
