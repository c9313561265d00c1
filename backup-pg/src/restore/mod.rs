//! Restores that load beside, prove and swap.

use backup_core::{Error, Result, artifact::Artifact, context::Context, engine::{RestorePlan, RestoreRequest, Staged, Target}, manifest::Manifest};
use crate::conninfo::Conninfo;

pub(crate) fn plan(_conninfo: &Conninfo, _manifest: &Manifest, _request: &RestoreRequest, _cx: &Context) -> Result<RestorePlan> { Err(Error::failed("not yet")) }
pub(crate) fn load(_artifact: &dyn Artifact, _plan: &RestorePlan, _cx: &Context) -> Result<Box<dyn Staged>> { Err(Error::failed("not yet")) }
pub(crate) fn drill_target(_conninfo: &Conninfo, _on: Option<&Target>) -> Result<Target> { Err(Error::failed("not yet")) }
pub(crate) fn sweep(_conninfo: &Conninfo, _cx: &Context) -> Result<()> { Ok(()) }
