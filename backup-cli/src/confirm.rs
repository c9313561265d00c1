//! Leave to replace something, by typing its name.

use std::{
    io::{IsTerminal, stdin},
    path::Path,
};

use backup::{Error, Result};

/// Asks for the name of what will be replaced.
///
/// # Errors
/// `Invalid` where nobody can be asked; `Cancelled` when the name was not typed.
pub(crate) fn replacement(target: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !stdin().is_terminal() {
        return Err(Error::invalid(format!("replacing \"{target}\" needs a confirmation"))
            .with_hint("Add --yes; --dry-run shows what would happen."));
    }
    let name = Path::new(target).file_name().map_or(target.into(), |name| name.to_string_lossy());
    let typed: String = dialoguer::Input::new()
        .with_prompt(format!("This changes \"{target}\". Type {name} to go on"))
        .allow_empty(true)
        .interact_text()
        .map_err(|e| Error::failed("could not ask for a confirmation").with_source(e))?;
    if typed == name {
        Ok(())
    } else {
        Err(Error::cancelled().with_hint("The name was not typed; nothing was changed."))
    }
}
