//! Processes that the kernel runs before all ordinary ones.

use std::process::Command;

/// The words before a command that give it a real-time policy, and to all that it starts.
pub(crate) const FIFO: [&str; 3] = ["chrt", "-f", "10"];

/// The reason if this host lets the test start no such process.
pub(crate) fn refused() -> Option<String> {
    let [program, arguments @ ..] = FIFO;
    match Command::new(program).args(arguments).arg("true").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("no SCHED_FIFO here: {}", String::from_utf8_lossy(&output.stderr).trim_end())),
        Err(error) => Some(format!("needs the command chrt: {error}")),
    }
}

/// The same command with [`FIFO`].
pub(crate) fn with_fifo(command: Command) -> Command {
    let [program, arguments @ ..] = FIFO;
    let mut wrapped = Command::new(program);
    wrapped.args(arguments).arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
}
