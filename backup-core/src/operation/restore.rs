//! Brings a backup back: plan, load beside, prove, swap.

use std::time::Instant;

use crate::{
    artifact::Artifact,
    context::Context,
    crash,
    engine::{BackupEngine, RestorePlan, RestoreRequest, Staged, Swapped, Target},
    error::{Error, ErrorKind, Result},
    event::{Event, Step},
    mirror::Copies,
    pipeline::require_key,
};

/// How a backup is brought back.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// What, onto what.
    pub request: RestoreRequest,
}

impl RestoreOptions {
    /// Into this target, e.g. `sqlite:/srv/app.db`; without it a backup goes back where it came from.
    pub fn into(target: impl Into<Target>) -> Self {
        Self { request: RestoreRequest { target: Some(target.into()), ..RestoreRequest::default() } }
    }

    /// With leave to take the place of what stands there, which is kept beside.
    #[must_use]
    pub fn with_replace(mut self, replace: bool) -> Self {
        self.request.replace = replace;
        self
    }

    /// As asked for in every detail.
    pub fn of(request: RestoreRequest) -> Self {
        Self { request }
    }

    /// Only these tables.
    #[must_use]
    pub fn with_tables(mut self, tables: Vec<String>) -> Self {
        self.request.tables = tables;
        self
    }
}

/// A restore that was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Restored {
    /// What was done, as planned.
    pub plan: RestorePlan,
    /// Where it is now and what was kept.
    pub swapped: Swapped,
    /// Seconds it took.
    pub seconds: f64,
    /// Where the payload was read from.
    pub location: String,
}

/// What [`restore`] would do; touches nothing.
///
/// # Errors
/// `Unsupported` when the engine cannot do what is asked; `AlreadyExists` when the target holds data and may not be
/// replaced; `Busy` when somebody uses it; `Denied` without a key for what is encrypted.
pub fn load_plan(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    options: &RestoreOptions,
    cx: &Context,
) -> Result<RestorePlan> {
    if !options.request.tables.is_empty() && !engine.capabilities().selective_restore {
        return Err(Error::new(ErrorKind::Unsupported, format!("{engine} cannot restore single tables")));
    }
    if options.request.until.is_some() && !engine.capabilities().point_in_time {
        return Err(Error::new(ErrorKind::Unsupported, format!("{engine} cannot stop at an instant")));
    }
    let plan = engine.plan_restore(artifact.manifest(), &options.request, cx)?;
    if plan.skipped.is_none() {
        require_key(artifact, cx)?;
        tell_limits(artifact, &plan, cx);
    }
    Ok(plan)
}

/// `latest` of a job that is limited to some tables brings back no others, and takes the place of all.
fn tell_limits(artifact: &dyn Artifact, plan: &RestorePlan, cx: &Context) {
    let limits = artifact.manifest().limited_to().filter(|_| plan.replaces && plan.request.tables.is_empty());
    if let Some(limits) = limits {
        cx.warn(format!(
            "this backup is partial ({limits}); what is not in it will not be in {}",
            plan.target
        ));
    }
}

/// Brings an artifact back as planned.
///
/// The target is touched only by the last step, after everything loaded was compared with the manifest and found
/// sound; a failure, a cancellation or a kill before that leaves it as it was.
///
/// # Errors
/// `Corrupt` when the stored bytes or what they hold are damaged; `Busy` when somebody uses the target; `NoSpace`
/// when there is no room beside it.
pub fn restore(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    options: &RestoreOptions,
    cx: &Context,
) -> Result<Restored> {
    bring_back(artifact, engine, options, cx, |plan| {
        Ok((stage(artifact, engine, plan, cx)?, artifact.location()))
    })
}

/// [`restore`] from the nearest copy of an artifact that is good: a copy that is damaged, or whose store does not give
/// it, is told as a warning, and the next one is loaded. The target is touched only after one was proven.
///
/// # Errors
/// As [`restore`]; when no copy is good, `Corrupt` (or what its store failed of) with the reason of each copy.
pub fn restore_from(
    copies: &Copies,
    engine: &dyn BackupEngine,
    options: &RestoreOptions,
    cx: &Context,
) -> Result<Restored> {
    bring_back(&copies.nearest().artifact, engine, options, cx, |plan| {
        copies.attempt(cx, |artifact| Ok((stage(artifact, engine, plan, cx)?, artifact.location())))
    })
}

fn bring_back(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    options: &RestoreOptions,
    cx: &Context,
    load: impl FnOnce(&RestorePlan) -> Result<(Box<dyn Staged>, String)>,
) -> Result<Restored> {
    let clock = Instant::now();
    let plan = load_plan(artifact, engine, options, cx)?;
    if let Some(why) = &plan.skipped {
        let swapped = Swapped { target: plan.target.to_string(), ..Swapped::default() };
        cx.warn(format!("nothing was restored: {why}"));
        let (seconds, location) = (clock.elapsed().as_secs_f64(), artifact.location());
        return Ok(Restored { plan, swapped, seconds, location });
    }
    crash::point("restore.planned");
    let (staged, location) = load(&plan)?;
    crash::point("restore.proven");
    cx.cancel().check()?;
    let swapped = cx.step(Step::Swap, None, || staged.swap(cx))?;
    crash::point("restore.swapped");
    let id = artifact.manifest().id.clone();
    cx.emit(Event::Restored { id, target: plan.target.to_string() });
    Ok(Restored { plan, swapped, seconds: clock.elapsed().as_secs_f64(), location })
}

/// Loads one copy beside the target and proves it.
fn stage(
    artifact: &dyn Artifact,
    engine: &dyn BackupEngine,
    plan: &RestorePlan,
    cx: &Context,
) -> Result<Box<dyn Staged>> {
    let mut staged = cx.step(Step::Load, Some(plan.writes), || engine.load(artifact, plan, cx))?;
    crash::point("restore.loaded");
    let findings = cx.step(Step::Check, None, || staged.prove(cx))?;
    findings.iter().for_each(|finding| cx.emit(Event::Found(finding.clone())));
    if let Some(first) = findings.iter().find(|finding| finding.is_damage()) {
        let id = &artifact.manifest().id;
        return Err(Error::corrupt(format!("what \"{id}\" restores to is not sound: {first}")).with_hint(
            "The target was not touched. Restore an older backup; `backup cat` gives the bytes as they are.",
        ));
    }
    Ok(staged)
}
