//! One file per command: its call and how its result is shown.

mod adopt;
mod cat;
mod completions;
mod drill;
mod estimate;
mod extract;
mod list;
mod restore;
mod run;
mod show;
mod status;
mod verify;

use std::{path::Path, process::ExitCode, sync::Arc};

use backup::{
    Backups, CancelToken, Context, Manifest, Result, Source,
    artifact::{Artifact, FileArtifact, StoredArtifact},
    engine::BackupEngine,
    store::Store,
    vault::Vault,
};

use crate::{
    args::{Args, Command},
    demo, environment,
    output::Output,
    progress::Progress,
};

/// What every command needs.
pub(crate) struct Session<'a> {
    pub(crate) output: &'a Output,
    pub(crate) store: Result<Arc<dyn Store>>,
    pub(crate) context: Context,
}

pub(crate) fn execute(args: &Args, output: &Output, cancel: &CancelToken) -> Result<ExitCode> {
    let mut context =
        Context::default().with_observer(Arc::new(Progress::new(output))).with_cancel(cancel.clone());
    if let Some(scratch) = &args.global.scratch {
        context = context.with_scratch(scratch.clone());
    }
    let session = Session { output, store: backup::open_store(&environment::store(&args.global)), context };
    match &args.command {
        Command::Run(args) => run::execute(&session, args),
        Command::Adopt(args) => adopt::execute(&session, args),
        Command::Estimate(args) => estimate::execute(&session, args),
        Command::List(args) => list::execute(&session, args),
        Command::Show(args) => show::execute(&session, args),
        Command::Cat(args) => cat::execute(&session, args),
        Command::Extract(args) => extract::execute(&session, args),
        Command::Status(args) => status::execute(&session, args),
        Command::Verify(args) => verify::execute(&session, args),
        Command::Drill(args) => drill::execute(&session, args),
        Command::Restore(args) => restore::execute(&session, args),
        Command::Demo(args) => demo::execute(&session, args),
        Command::Completions(args) => completions::execute(args),
    }
}

/// What an `ID` names: a backup of the store, or a file.
pub(crate) enum Named {
    Stored(Vault, StoredArtifact),
    File(FileArtifact),
}

impl Named {
    pub(crate) fn artifact(&self) -> &dyn Artifact {
        match self {
            Self::Stored(_, artifact) => artifact,
            Self::File(artifact) => artifact,
        }
    }
}

impl Session<'_> {
    pub(crate) fn store(&self) -> Result<Arc<dyn Store>> {
        self.store.as_ref().map(Arc::clone).map_err(backup::Error::duplicate)
    }

    pub(crate) fn backups(&self) -> Result<Backups> {
        Backups::builder().opened_store(self.store()?).context(self.context.clone()).build()
    }

    pub(crate) fn named(&self, id: &str) -> Result<Named> {
        let path = Path::new(id);
        if path.is_file() {
            return Ok(Named::File(backup::open_file(path, &self.context)?));
        }
        let (vault, artifact) = self.backups()?.find(id)?;
        Ok(Named::Stored(vault, artifact))
    }

    /// The engine of an artifact; a `DATABASE_URL` for the same database lends its connection.
    pub(crate) fn engine_for(&self, manifest: &Manifest) -> Result<Arc<dyn BackupEngine>> {
        let known = environment::source(None).ok().and_then(|text| text.parse::<Source>().ok());
        backup::engine_for(manifest, known.as_ref())
    }

    /// Where working copies for a named backup may lie: its own store, or the folder of its file.
    pub(crate) fn scratch_store(&self, named: &Named) -> Result<Arc<dyn Store>> {
        match named {
            Named::Stored(vault, _) => Ok(Arc::clone(vault.store())),
            Named::File(artifact) => {
                let location = artifact.location();
                let folder = backup::file::folder_of(Path::new(&location)).display().to_string();
                backup::open_store(&folder)
            }
        }
    }
}
