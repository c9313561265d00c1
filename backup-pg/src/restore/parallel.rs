//! Work on many tables by several sessions at once.

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use backup_core::{Error, Result, context::Context};

/// Does `work` on every item by up to `jobs` sessions; the results are in the items' order.
///
/// # Errors
/// The first that any session met; the others stop after the item they are at.
pub(super) fn in_sessions<S, I: Sync, T: Send>(
    jobs: usize,
    items: &[I],
    open: &(dyn Fn() -> Result<S> + Sync),
    work: &(dyn Fn(&mut S, &I) -> Result<T> + Sync),
    cx: &Context,
) -> Result<Vec<T>> {
    let queue = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let failed = Mutex::new(None);
    let one = || -> Result<()> {
        let mut session = open()?;
        loop {
            cx.cancel().check()?;
            if locked(&failed).is_some() {
                return Ok(());
            }
            let Some((place, item)) = locked(&queue).next() else { return Ok(()) };
            let outcome = work(&mut session, item)?;
            locked(&done).push((place, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                if let Err(error) = one() {
                    locked(&failed).get_or_insert(error);
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if done.len() != items.len() {
        return Err(Error::failed("a session that worked on tables stopped"));
    }
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
