//! What a job's calls tell while they work, as a stream or an iterator beside the observer.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    task::{self, Poll, Waker},
};

use backup_core::{
    context::Context,
    event::{Event, Observer},
    id::SourceName,
};
use futures_core::Stream;
use jiff::Timestamp;
use serde::Serialize;

/// So many steps and signs of progress wait for a slow reader; then the oldest give way.
const PASSING: usize = 1024;

/// An event, when it happened, and whose it is. In JSON one flat object: `at`, `source`, and the keys of the event.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Told {
    /// When, by the clock of the context.
    pub at: Timestamp,
    /// The source whose job told it; `None` for calls that are no job's, such as a search in all stores.
    pub source: Option<SourceName>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The events of a job, or of all jobs, from the moment it was asked for: a [`Stream`] that is at its end when nobody
/// is left who could tell anything.
///
/// Reading it late or never holds up no work and fills no memory: of each step only the newest progress waits, at most
/// 1,024 events that pass (steps, progress, waiting) do, and the oldest of them give way. Warnings, alarms, findings,
/// and what was taken, verified, copied, restored or removed always stay until they are read.
pub struct Events(Arc<Line>);

/// The same for threads that may wait: an [`Iterator`].
#[derive(Debug)]
pub struct BlockingEvents(Events);

impl Events {
    /// The same events for a thread that may wait for them.
    pub fn blocking(self) -> BlockingEvents {
        BlockingEvents(self)
    }
}

impl Stream for Events {
    type Item = Told;

    fn poll_next(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Told>> {
        let mut queue = self.0.lock();
        match queue.take() {
            Some(told) => Poll::Ready(Some(told)),
            None if queue.is_closed => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Iterator for BlockingEvents {
    type Item = Told;

    /// Waits for the next event; `None` when nobody is left who could tell one.
    fn next(&mut self) -> Option<Told> {
        let mut queue = self.0.0.lock();
        loop {
            match queue.take() {
                None if !queue.is_closed => {
                    queue = self.0.0.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                told => return told,
            }
        }
    }
}

impl BlockingEvents {
    /// The next event if one waits already.
    pub fn try_next(&mut self) -> Option<Told> {
        self.0.0.lock().take()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &self.0.lock().waiting.len()).finish_non_exhaustive()
    }
}

/// What waits for one reader.
#[derive(Default)]
struct Line {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Told>,
    /// How many of them may give way.
    passing: usize,
    waker: Option<Waker>,
    is_closed: bool,
}

impl Line {
    /// A panic elsewhere must not stop a backup.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let waker = {
            let mut queue = self.lock();
            change(&mut queue);
            queue.waker.take()
        };
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Queue {
    fn take(&mut self) -> Option<Told> {
        let told = self.waiting.pop_front()?;
        self.passing -= usize::from(is_passing(&told.event));
        Some(told)
    }

    fn add(&mut self, told: Told) {
        if self.is_more_progress(&told) {
            return;
        }
        if is_passing(&told.event) {
            if self.passing >= PASSING {
                let oldest = self.waiting.iter().position(|waiting| is_passing(&waiting.event));
                oldest.and_then(|place| self.waiting.remove(place));
            } else {
                self.passing += 1;
            }
        }
        self.waiting.push_back(told);
    }

    /// Progress takes the place of the same step's before it, where nothing else of that source came between.
    fn is_more_progress(&mut self, told: &Told) -> bool {
        let Event::Progress { step, .. } = &told.event else { return false };
        let Some(last) = self.waiting.iter_mut().rev().find(|waiting| waiting.source == told.source) else {
            return false;
        };
        let is_same = matches!(&last.event, Event::Progress { step: before, .. } if before == step);
        if is_same {
            *last = told.clone();
        }
        is_same
    }
}

/// Whether an event may be missed by a reader who is slow.
fn is_passing(event: &Event) -> bool {
    matches!(event, Event::Began { .. } | Event::Progress { .. } | Event::Ended { .. } | Event::Waiting(_))
}

/// The readers of one teller. Dropped, their streams end once they are read.
#[derive(Default)]
pub(crate) struct Readers(Mutex<Vec<Weak<Line>>>);

impl Readers {
    pub(crate) fn subscribe(&self) -> Events {
        let line = Arc::<Line>::default();
        self.lines().push(Arc::downgrade(&line));
        Events(line)
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Weak<Line>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, told: impl Fn() -> Told) {
        // Whoever is woken may ask for events again, so the list must be free by then.
        let lines: Vec<Arc<Line>> = {
            let mut lines = self.lines();
            lines.retain(|line| line.strong_count() > 0);
            lines.iter().filter_map(Weak::upgrade).collect()
        };
        lines.iter().for_each(|line| line.change(|queue| queue.add(told())));
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.lines()
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|line| line.change(|queue| queue.is_closed = true));
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readers").field(&self.lines().len()).finish()
    }
}

/// Tells readers beside the observer there was.
pub(crate) struct Teller {
    source: Option<SourceName>,
    /// The surroundings as they were given: whose observer hears everything too, and whose clock tells when.
    given: Context,
    readers: Arc<Readers>,
    /// Those who hear every job.
    readers_of_all: Option<Arc<Readers>>,
}

impl Teller {
    /// The same surroundings with readers beside their observer.
    pub(crate) fn within(
        given: &Context,
        source: Option<SourceName>,
        readers: &Arc<Readers>,
        readers_of_all: Option<&Arc<Readers>>,
    ) -> Context {
        let teller = Self {
            source,
            given: given.clone(),
            readers: Arc::clone(readers),
            readers_of_all: readers_of_all.map(Arc::clone),
        };
        given.clone().with_observer(Arc::new(teller))
    }
}

impl Observer for Teller {
    fn event(&self, event: &Event) {
        self.given.observer().event(event);
        let told = || Told { at: self.given.now(), source: self.source.clone(), event: event.clone() };
        self.readers.tell(told);
        self.readers_of_all.iter().for_each(|readers| readers.tell(told));
    }
}

#[cfg(test)]
mod tests {
    use backup_core::event::Step;
    use serde_json::json;

    use super::*;

    fn teller() -> (Context, Arc<Readers>) {
        let readers = Arc::<Readers>::default();
        let source = SourceName::new("shop").unwrap();
        (Teller::within(&Context::default(), Some(source), &readers, None), readers)
    }

    #[test]
    fn of_a_step_only_the_newest_progress_waits_and_no_warning_is_lost() {
        let (cx, readers) = teller();
        let events = readers.subscribe();
        drop(readers);
        for round in 0..5_000 {
            cx.emit(Event::Began { step: Step::Capture, total: None });
            (0..3).for_each(|done| cx.emit(Event::Progress { step: Step::Capture, done }));
            cx.warn(format!("warning {round}"));
        }
        drop(cx);
        let read: Vec<Event> = events.blocking().map(|told| told.event).collect();
        let is_warning = |event: &&Event| matches!(event, Event::Warning(_));
        assert_eq!(read.iter().filter(is_warning).count(), 5_000);
        assert_eq!(read.len(), 5_000 + PASSING);
        let last = read.iter().rev().find(|event| matches!(event, Event::Progress { .. }));
        assert!(matches!(last, Some(Event::Progress { done: 2, .. })), "{last:?}");
    }

    #[test]
    fn a_reader_who_waits_is_woken_by_the_next_event_and_by_the_end() {
        let (cx, readers) = teller();
        let (stream, blocking) = (readers.subscribe(), readers.subscribe().blocking());
        drop(readers);
        let waits = std::thread::spawn(move || blocking.count());
        let polls = std::thread::spawn(move || {
            let mut stream = std::pin::pin!(stream);
            pollster::block_on(async {
                let mut count = 0;
                while std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await.is_some() {
                    count += 1;
                }
                count
            })
        });
        cx.warn("one");
        cx.alarm("two");
        drop(cx);
        assert_eq!((waits.join().unwrap(), polls.join().unwrap()), (2, 2));
    }

    #[test]
    fn what_is_told_is_one_flat_object() {
        let (cx, readers) = teller();
        let mut events = readers.subscribe().blocking();
        cx.warn("small");
        let told = events.try_next().unwrap();
        let expected = json!({ "at": told.at, "source": "shop", "event": "warning", "text": "small" });
        assert_eq!(serde_json::to_value(&told).unwrap(), expected);
        assert!(events.try_next().is_none());
    }
}
