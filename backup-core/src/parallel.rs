//! Many small reads at once.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Items a thread must have to do for it to be worth its start.
const ITEMS_PER_THREAD: usize = 4;

/// What `work` makes of each item, in the order of the items, by at most so many threads, the calling one among them.
pub fn map<I: Sync, T: Send>(threads: usize, items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let helpers = threads.min(items.len() / ITEMS_PER_THREAD).saturating_sub(1);
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let run = || {
        let mut own = Vec::new();
        while let Some((number, item)) = take(&next, items) {
            own.push((number, work(item)));
        }
        results.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            // With fewer threads it only takes longer.
            let _ = thread::Builder::new().name("backup-read".to_owned()).spawn_scoped(scope, run);
        }
        run();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, I>(next: &AtomicUsize, items: &'a [I]) -> Option<(usize, &'a I)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    items.get(number).map(|item| (number, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_and_in_order() {
        for (threads, count) in [(1, 10), (8, 1000), (16, 3), (0, 5), (4, 0)] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(map(threads, &items, |item| item * 2), (0..count).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
