//! Waiting for one's turn to write to a vault.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    context::Context,
    error::{ErrorKind, Result},
    event::Event,
    store::Lease,
    vault::Vault,
};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a cancellation may go unnoticed.
const NAP: Duration = Duration::from_millis(50);

/// The vault's lease, asked for again for so long while somebody else holds it. Each holder is told once.
///
/// # Errors
/// `Busy` when it still is held at the end; `Cancelled`; whatever else the store says, at once.
pub(super) fn lease_within(vault: &Vault, patience: Duration, cx: &Context) -> Result<Box<dyn Lease>> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut told = None;
    loop {
        let busy = match vault.lease() {
            Err(error) if error.kind() == ErrorKind::Busy => error,
            other => return other,
        };
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(busy);
        }
        let whom = busy.to_string();
        if told.as_ref() != Some(&whom) {
            cx.emit(Event::Waiting(whom.clone()));
            told = Some(whom);
        }
        rest(pause.min(left), cx)?;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn rest(time: Duration, cx: &Context) -> Result<()> {
    let until = Instant::now() + time;
    loop {
        cx.cancel().check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(NAP));
    }
}
