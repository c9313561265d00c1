//! One file per command: its call and how its result is shown.

mod adopt;
mod cat;
mod check;
mod completions;
mod drill;
mod estimate;
mod extract;
mod guard;
mod init;
mod list;
mod mirror;
mod prune;
mod restore;
mod run;
mod show;
mod status;
mod verify;

use std::{cell::OnceCell, path::Path, sync::Arc};

use backup::{
    Backups, CancelToken, Context, Copies, Error, ErrorKind, Manifest, Mirror, Result, Source,
    artifact::{Artifact, FileArtifact},
    engine::BackupEngine,
    mirror::ArtifactCopy,
    store::Store,
};

use crate::{
    args::{Args, Command, Global},
    caller::Caller,
    demo, environment,
    exit::ExitCode,
    identity,
    output::Output,
    program::Program,
    progress::Progress,
};

/// Who runs the command, and what stops it.
pub(crate) struct Surroundings<'a> {
    /// What people call.
    pub(crate) program: &'a Program,
    /// The program that had us started to have it run.
    pub(crate) caller: Option<&'a Caller>,
    /// Stops it.
    pub(crate) cancel: &'a CancelToken,
}

/// What every command needs. The configuration is read when a command first asks for what it says.
pub(crate) struct Session<'a> {
    pub(crate) output: &'a Output,
    pub(crate) global: &'a Global,
    pub(crate) context: Context,
    pub(crate) surroundings: &'a Surroundings<'a>,
    backups: OnceCell<Result<Backups>>,
}

pub(crate) fn execute(args: &Args, output: &Output, surroundings: &Surroundings<'_>) -> Result<ExitCode> {
    let mut context = Context::default()
        .with_observer(Arc::new(Progress::new(output)))
        .with_cancel(surroundings.cancel.clone());
    if let Some(scratch) = &args.global.scratch {
        context = context.with_scratch(scratch.clone());
    }
    let keys = identity::Keys::of(&args.global)?;
    context = context.with_identities_from(move || keys.read());
    let session = Session { output, global: &args.global, context, surroundings, backups: OnceCell::new() };
    match &args.command {
        Command::Init(args) => init::execute(&session, args),
        Command::Check(args) => check::execute(&session, args),
        Command::Run(args) => run::execute(&session, args),
        Command::Guard(args) => guard::execute(&session, args),
        Command::Adopt(args) => adopt::execute(&session, args),
        Command::Estimate(args) => estimate::execute(&session, args),
        Command::List(args) => list::execute(&session, args),
        Command::Show(args) => show::execute(&session, args),
        Command::Cat(args) => cat::execute(&session, args),
        Command::Extract(args) => extract::execute(&session, args),
        Command::Status(args) => status::execute(&session, args),
        Command::Verify(args) => verify::execute(&session, args),
        Command::Drill(args) => drill::execute(&session, args),
        Command::Prune(args) => prune::execute(&session, args),
        Command::Restore(args) => restore::execute(&session, args),
        Command::Mirror(args) => mirror::execute(&session, args),
        Command::Demo(args) => demo::execute(&session, args),
        Command::Completions(args) => completions::execute(args),
    }
}

/// What an `ID` names: a backup of the store and its mirrors, or a file.
pub(crate) enum Named {
    Stored(Copies),
    File(FileArtifact),
}

impl Named {
    pub(crate) fn artifact(&self) -> &dyn Artifact {
        match self {
            Self::Stored(copies) => &copies.nearest().artifact,
            Self::File(artifact) => artifact,
        }
    }

    /// Does `work` with the nearest copy that is good; a file is the only one.
    pub(crate) fn attempt<T>(
        &self,
        cx: &Context,
        mut work: impl FnMut(&dyn Artifact) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Stored(copies) => copies.attempt(cx, work),
            Self::File(artifact) => work(artifact),
        }
    }
}

impl Session<'_> {
    /// The jobs of the configuration; without one, the store that is meant and no jobs.
    pub(crate) fn backups(&self) -> Result<&Backups> {
        self.backups.get_or_init(|| self.open()).as_ref().map_err(Error::duplicate)
    }

    fn open(&self) -> Result<Backups> {
        let Some(file) = environment::config(self.global)? else {
            let store = backup::open_store(&environment::store(self.global))?;
            let backups = Backups::builder().opened_store(store).context(self.context.clone()).build()?;
            let mirrors = self.typed_mirrors(&backups, &*backups.store()?)?;
            return Ok(backups.with_mirrors(mirrors));
        };
        if self.output.verbose {
            self.output.tell(&format!("configuration: {}", file.path.display()));
        }
        file.warnings().iter().for_each(|warning| self.output.warn(warning));
        let mut backups = Backups::from_file(file, self.context.clone())?;
        if let Some(store) = &self.global.store {
            let other = self.typed_store(&backups, store)?;
            backups = backups.with_store(other);
        }
        if self.global.mirror.is_empty() {
            return Ok(backups);
        }
        let mut mirrors = Vec::new();
        for store in backups.stores()? {
            mirrors = self.typed_mirrors(&backups, &*store)?;
        }
        Ok(backups.with_mirrors(mirrors))
    }

    /// The mirrors of the command line, else of the environment, opened. One that cannot be opened must neither stop a
    /// backup nor a restore: it fails where it is used.
    ///
    /// # Errors
    /// `Invalid` when one is the store itself.
    pub(crate) fn typed_mirrors(&self, backups: &Backups, of: &dyn Store) -> Result<Vec<Mirror>> {
        let open = |text: &String| match self.typed_store(backups, text) {
            Ok(opened) => as_mirror(text, opened, of),
            Err(error) => Ok(Mirror::unopened(shown(text), &error)),
        };
        environment::mirrors(self.global).iter().map(open).collect()
    }

    /// A store of the configuration by its name, or any other by its place.
    pub(crate) fn typed_store(&self, backups: &Backups, text: &str) -> Result<Arc<dyn Store>> {
        let is_name = backups.file().is_some_and(|file| file.config.stores.contains_key(text));
        if is_name { backups.store_named(text) } else { backup::open_store(text) }
    }

    /// The copy in the store that its source is backed up into, or else the nearest.
    pub(crate) fn own_copy<'c>(&self, copies: &'c Copies) -> Result<&'c ArtifactCopy> {
        let source = copies.nearest().vault.source();
        Ok(copies.of_store(&self.backups()?.store_of(source)?))
    }

    /// The stores that are looked into, for people.
    pub(crate) fn places(&self) -> Result<String> {
        let stores = self.backups()?.stores()?;
        Ok(stores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    /// What an `ID` names, among the backups of one job or database where `of` names it.
    pub(crate) fn named(&self, id: &str, of: Option<&str>) -> Result<Named> {
        let path = Path::new(id);
        if path.is_file() {
            return Ok(Named::File(backup::open_file(path, &self.context)?));
        }
        let Some(of) = of else { return self.backups()?.find(id).map(Named::Stored) };
        let name = self.vault_name(of)?;
        let is_latest = id == "latest" || id.starts_with("latest:");
        let found = self.backups()?.find(&if is_latest { format!("{name}/{id}") } else { id.to_owned() })?;
        if found.nearest().vault.source().as_str() == name {
            return Ok(Named::Stored(found));
        }
        Err(Error::new(ErrorKind::NotFound, format!("\"{id}\" is no backup of \"{name}\""))
            .with_hint("`backup list` prints every source's."))
    }

    /// The engine of an artifact; its job, or else a `DATABASE_URL` for the same database, lends its connection.
    pub(crate) fn engine_for(&self, manifest: &Manifest) -> Result<Arc<dyn BackupEngine>> {
        // A file can be looked at whatever is wrong with the configuration.
        if let Ok(backups) = self.backups()
            && backups.source(&manifest.source.name).is_ok()
        {
            return backups.engine_for(manifest);
        }
        let known = environment::source(None).ok().and_then(|text| text.parse::<Source>().ok());
        backup::engine_for(manifest, known.as_ref())
    }

    /// Where working copies for a named backup may lie: its own store, or the folder of its file.
    pub(crate) fn scratch_store(&self, named: &Named) -> Result<Arc<dyn Store>> {
        match named {
            Named::Stored(copies) => Ok(Arc::clone(copies.nearest().vault.store())),
            Named::File(artifact) => {
                let location = artifact.location();
                let folder = backup::file::folder_of(Path::new(&location)).display().to_string();
                backup::open_store(&folder)
            }
        }
    }
}

/// A store as the mirror of another.
///
/// # Errors
/// `Invalid` when it is that store itself.
pub(crate) fn as_mirror(text: &str, store: Arc<dyn Store>, of: &dyn Store) -> Result<Mirror> {
    if store.to_string() == of.to_string() {
        return Err(Error::invalid(format!("the mirror is {of} itself"))
            .with_hint("A copy in the same place protects from nothing: name another store."));
    }
    Ok(Mirror::new(shown(text), store))
}

/// A store's name as messages show it: without what a URL may carry of keys.
fn shown(text: &str) -> String {
    let text = text.split('?').next().unwrap_or(text);
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => text.to_owned(),
    }
}
