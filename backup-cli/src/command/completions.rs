use backup::Result;
use clap::CommandFactory;

use crate::{
    args::{Args, CompletionsArgs},
    exit::ExitCode,
};

pub(crate) fn execute(args: &CompletionsArgs) -> Result<ExitCode> {
    clap_complete::generate(args.shell, &mut Args::command(), "backup", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
