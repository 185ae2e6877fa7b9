//! `leadelect completions`: prints a script that lets a shell complete the arguments.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure, print};

/// Print a script for a shell, which then completes arguments
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  leadelect completions bash > /etc/bash_completion.d/leadelect
  leadelect completions zsh  > ~/.zfunc/_leadelect
  leadelect completions fish > ~/.config/fish/completions/leadelect.fish")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "leadelect", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
