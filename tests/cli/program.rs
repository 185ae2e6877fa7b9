//! The program itself, run to its end, without a cluster.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use super::cluster::{Cluster, Plan};
use super::process::{AMPLE, try_for};
use super::skip;

/// The exit code of the program, and everything that it has printed.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_leadelect"));
    program.env("RUST_BACKTRACE", "0");
    program
}

/// Runs `leadelect` with these arguments.
pub(crate) fn leadelect(arguments: &[&str]) -> Said {
    let Output { status, stdout, stderr } = program().args(arguments).output().unwrap();
    let said = Said {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    };
    assert!(!said.err.contains("panicked"), "{said:?}");
    said
}

/// Runs `leadelect` with these arguments and a config file.
pub(crate) fn with_config(config: &Path, arguments: &[&str]) -> Said {
    let mut all = arguments.to_vec();
    all.extend(["--config", config.to_str().unwrap()]);
    leadelect(&all)
}

/// The same, with the config of the cluster's own nodes.
pub(crate) fn ask(cluster: &mut Cluster, arguments: &[&str]) -> Said {
    let plan = cluster.plan.clone();
    ask_as(cluster, &plan, arguments)
}

pub(crate) fn ask_as(cluster: &mut Cluster, plan: &Plan, arguments: &[&str]) -> Said {
    let config = cluster.write(plan);
    with_config(&config, arguments)
}

impl Said {
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) {
        for part in parts {
            let mut lines = self.out.lines().chain(self.err.lines());
            assert!(lines.any(|line| line.contains(part)), "{part:?}: {self:?}");
        }
    }

    /// An error on stderr, and nothing on stdout.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        let first = self.err.lines().next().unwrap_or_default();
        assert!(first.starts_with("leadelect: "), "{self:?}");
        self.says(parts);
    }
}

#[test]
fn arguments_that_are_not_understood_are_named_with_what_was_expected() {
    leadelect(&["stats"]).fails(2, &["'stats'", "'status'"]);
    leadelect(&["status", "--jsn"]).fails(2, &["'--jsn'", "'--json'"]);
    leadelect(&["transfer"]).fails(2, &["<ID>"]);
    leadelect(&["resign", "--for", "30"]).fails(2, &["found \"30\"", "`1.5s`"]);
    leadelect(&["completions", "dos"]).fails(2, &["'dos'", "bash"]);
}

#[test]
fn a_config_that_cannot_be_used_is_named() {
    for command in [&["status"][..], &["resign"], &["transfer", "1"]] {
        let config = ["--config", "/no/such/file.yaml"];
        let said = leadelect(&[command, &config].concat());
        said.fails(2, &["leadelect: /no/such/file.yaml: cannot be read"]);
    }
}

#[test]
fn the_exit_code_is_the_same_if_stderr_cannot_be_written() {
    for arguments in [&["stats"][..], &["status", "--config", "/no/such/file.yaml"], &[]] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut program = program();
        let status = program.args(arguments).stderr(full.unwrap()).status();
        assert_eq!(status.unwrap().code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_names_every_subcommand_and_every_subcommand_has_examples_and_exit_codes() {
    let help = leadelect(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""), "{help:?}");
    for command in ["status", "resign", "transfer", "check"] {
        help.says(&[command]);
        let own = leadelect(&[command, "--help"]);
        assert_eq!((own.code, own.err.as_str()), (0, ""), "{own:?}");
        own.says(&["Usage: leadelect", "Example", "Exit code", "--config"]);
    }
    help.says(&["completions", "--version"]);
    assert_eq!(leadelect(&[]).code, 2);
}

/// The text after the options is prose, which the program wraps, or a list, which fits 80 columns. Prose with line ends
/// of its own would be wrapped twice.
#[test]
fn no_part_of_a_help_is_wrapped_twice() {
    for command in ["status", "resign", "transfer", "check", "run", "completions"] {
        // So wide that nothing is wrapped.
        let Output { stdout, .. } = program().args([command, "--help"]).env("COLUMNS", "1000").output().unwrap();
        let help = String::from_utf8(stdout).unwrap();
        let lines: Vec<&str> = help.lines().collect();
        let options_end = lines.iter().rposition(|line| line.contains("Print help")).unwrap();
        let mut rest = lines[options_end + 1..].iter().peekable();
        while let Some(line) = rest.next() {
            if line.chars().count() > 80 {
                assert!(!line.starts_with(' '), "{command}: does not fit 80 columns: {line:?}");
                let next = rest.peek().map_or("", |next| **next);
                assert!(next.is_empty() || next.starts_with(' '), "{command}: {line:?} goes on with {next:?}");
            }
        }
    }
}

#[test]
fn arguments_and_variables_of_any_bytes_cause_no_panic() {
    let odd = OsStr::from_bytes(b"/no/such/\xff");
    for arguments in [
        [OsStr::new("status"), "--config".as_ref(), odd],
        ["check".as_ref(), "--id".as_ref(), odd],
        ["transfer".as_ref(), "--".as_ref(), odd],
        ["resign".as_ref(), "--for".as_ref(), odd],
        ["completions".as_ref(), "--".as_ref(), odd],
        ["run".as_ref(), "--id".as_ref(), odd],
        [odd, odd, odd],
    ] {
        for (name, value) in [("COLUMNS", "0"), ("COLUMNS", "1"), ("RUST_LOG", "a=b=c,[x"), ("TERM", "")] {
            let Output { status, stderr, .. } = program().args(arguments).env(name, value).output().unwrap();
            let err = String::from_utf8_lossy(&stderr);
            assert!(matches!(status.code(), Some(1 | 2)) && !err.contains("panicked"), "{arguments:?}: {err}");
        }
        for name in ["COLUMNS", "RUST_LOG", "TERM", "NO_COLOR", "LEADELECT_TOKEN", "HOME"] {
            let Output { status, stderr, .. } = program().args(arguments).env(name, odd).output().unwrap();
            let err = String::from_utf8_lossy(&stderr);
            assert!(matches!(status.code(), Some(1 | 2)) && !err.contains("panicked"), "{arguments:?}: {err}");
        }
    }
}

#[test]
fn there_are_completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = leadelect(&["completions", shell]);
        assert_eq!(script.code, 0, "{shell}");
        script.says(&["transfer", "watch", "offline"]);
    }
}

/// The shell itself accepts the script.
#[test]
fn bash_completes_a_subcommand() {
    let script = leadelect(&["completions", "bash"]).out;
    let ask = "COMP_WORDS=(leadelect tr) COMP_CWORD=1; _leadelect leadelect tr leadelect; echo \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash").args(["-c", &format!("{script}\n{ask}")]).output();
    let Ok(bash) = bash else {
        return skip::because("needs bash");
    };
    let completed = String::from_utf8_lossy(&bash.stdout);
    assert_eq!(completed.trim(), "transfer", "{bash:?}");
}

/// Waits until the program says what `claim` wants.
#[track_caller]
pub(crate) fn in_the_end(cluster: &mut Cluster, arguments: &[&str], claim: impl Fn(&Said) -> bool) -> Said {
    let mut last = None;
    let found = try_for(AMPLE, || {
        let said = ask(cluster, arguments);
        let found = claim(&said);
        last = Some(said);
        found.then_some(())
    });
    let last = last.unwrap();
    assert!(found.is_some(), "{last:?}\n{}", cluster.dump());
    last
}
