//! Progress bars on a terminal, events for programs, and what is worth a line anywhere.

use std::{
    fmt,
    io::{IsTerminal, stderr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use backup::event::{Event, Observer, Step};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// Shows events as they come.
pub(crate) struct Progress {
    output: Output,
    draws: bool,
    current: Mutex<Option<(Step, Instant, ProgressBar)>>,
    /// When a program was last told how far a step is.
    told: Mutex<Option<Instant>>,
}

/// A program is told how far a step is at most so often.
const PACE: Duration = Duration::from_millis(50);

impl Progress {
    pub(crate) fn new(output: &Output) -> Self {
        let draws = stderr().is_terminal() && !output.quiet && !output.as_json && !output.tells_events;
        Self { output: output.clone(), draws, current: Mutex::new(None), told: Mutex::new(None) }
    }

    fn began(&self, step: Step, total: Option<u64>) -> ProgressBar {
        if !self.draws {
            return ProgressBar::hidden();
        }
        let (bar, template) = match total.filter(|total| *total > 0) {
            Some(total) => (
                ProgressBar::new(total),
                "{msg:<10} {wide_bar} {decimal_bytes:>10} of {decimal_total_bytes} {decimal_bytes_per_sec:>13} {eta:>4}",
            ),
            None => (ProgressBar::new_spinner(), "{msg:<10} {spinner} {elapsed}"),
        };
        let bar = self.output.bars().add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(step.to_string());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

impl Progress {
    /// Tells a program; what tells no more than the event before it is left out.
    fn pass_on(&self, event: &Event) {
        if let Event::Progress { .. } = event {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_some_and(|at| at.elapsed() < PACE) {
                return;
            }
            *told = Some(Instant::now());
        }
        self.output.event(event);
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event) {
        if self.output.tells_events {
            return self.pass_on(event);
        }
        // A panic while drawing must not stop a backup.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Began { step, total } => {
                *current = Some((*step, Instant::now(), self.began(*step, *total)))
            }
            Event::Progress { step, done } => {
                if let Some((_, _, bar)) =
                    current.as_ref().filter(|(now, _, bar)| now == step && bar.length().is_some())
                {
                    bar.set_position(*done);
                }
            }
            Event::Ended { step } => {
                if let Some((_, since, bar)) = current.take() {
                    bar.finish_and_clear();
                    if self.output.verbose {
                        self.output.tell(&format!("{step}: {:.2} s", since.elapsed().as_secs_f64()));
                    }
                }
            }
            Event::Waiting(whom) => self.output.tell(&format!("waiting: {whom}")),
            Event::Warning(warning) => self.output.warn(warning),
            Event::Alarm(alarm) => self.output.alarm(&format!("warning: {alarm}")),
            Event::Found(finding) => self.output.finding(finding),
            _ => {}
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("draws", &self.draws).finish_non_exhaustive()
    }
}
