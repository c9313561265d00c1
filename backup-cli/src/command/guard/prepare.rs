//! What is done before guarded work starts.

use std::{
    env,
    io::{IsTerminal, stdin},
    path::{Path, PathBuf},
};

use backup::{ConfigFile, Error, ErrorKind, Guard, GuardOptions, Result, RunOptions};

use super::super::Session;
use crate::{args::GuardArgs, confirm, environment};

/// A proven backup, a count, the journal: from here on the work may start. `work` is what the journal calls it.
pub(super) fn begin(session: &Session<'_>, args: &GuardArgs, work: &str) -> Result<Guard> {
    let protected = session.protected(args.source.as_slice())?;
    let [one] = protected.as_slice() else {
        return Err(Error::invalid("which job shall be guarded? There are several").with_hint("Name one."));
    };
    let job = session.job(one, args.name.as_deref())?;
    let vault = job.vault().source().to_string();
    if args.restore_on_failure && !args.attached && stdin().is_terminal() {
        confirm::replacement(&vault, args.yes)?;
    }
    let words = command_words(session, session.backups()?.file());
    let options = options(args).with_command(words).with_work(work);
    job.blocking().begin_guard(&options).map_err(|error| inside_of_another(error, &vault))
}

fn options(args: &GuardArgs) -> GuardOptions {
    let run = RunOptions::default().with_verify(args.verify).with_same_source(args.name.is_some());
    let mut options = GuardOptions::default()
        .with_run(run)
        .with_restore_on_failure(args.restore_on_failure)
        .with_census(!args.no_census)
        .with_max_loss((args.max_loss < 1.0).then_some(args.max_loss));
    options.fresh = args.fresh;
    options
}

/// A guard holds its source for as long as its command runs, against guards inside of it, too.
fn inside_of_another(error: Error, vault: &str) -> Error {
    match env::var("BACKUP_GUARD_ID") {
        Ok(id) if error.kind() == ErrorKind::Busy && id.starts_with(&format!("{vault}-guard-")) => error
            .with_hint(format!(
                "This runs inside of the guard \"{id}\": run the command without a guard of its own."
            )),
        _ => error,
    }
}

/// What stands before `restore` in the line that people paste: this program, and its configuration or its store and
/// mirrors.
fn command_words(session: &Session<'_>, file: Option<&ConfigFile>) -> Vec<String> {
    let global = session.global;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut words = vec![session.surroundings.program.word()];
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    if let Some(file) = file {
        add("--config", absolute(&file.path).display().to_string());
    }
    if file.is_none() || global.store.is_some() {
        add("--store", pasteable(&environment::store(global)));
    }
    if file.is_none() || !global.mirror.is_empty() {
        environment::mirrors(global).iter().for_each(|mirror| add("--mirror", pasteable(mirror)));
    }
    global.identity.iter().for_each(|path| add("--identity", absolute(path).display().to_string()));
    words
}

/// A store's name that means the same in any folder, without what a URL may carry of keys.
fn pasteable(store: &str) -> String {
    if let Some((scheme, rest)) = store.split_once("://") {
        let rest = rest.split_once('@').map_or(rest, |(_, place)| place);
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_secret = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
            ["key", "secret", "password", "token"].iter().any(|word| name.contains(word))
        };
        let query: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !is_secret(pair)).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        return format!("{scheme}://{place}{query}");
    }
    let (scheme, path) = ["file:", "dropbox:"]
        .into_iter()
        .find_map(|scheme| Some((scheme, store.strip_prefix(scheme)?)))
        .unwrap_or(("", store));
    if path.starts_with('~') {
        return store.to_owned();
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    format!("{scheme}{}", absolute.display())
}
