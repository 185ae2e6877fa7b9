//! A copy of the election and of its pure tests, in which rules can be broken at run time.
//!
//! The copy is a package in the target folder. It has the sources of the election and of the engine and no others, so
//! it builds in seconds.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use super::list::{MUTANTS, UNSTICKY_PATCHES};

/// A rule, broken.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) name: &'static str,
    /// What is broken, for the table.
    pub(super) breaks: &'static str,
    pub(super) found: Found,
    pub(super) patches: &'static [Patch],
}

/// Who must find it, and within how many seeds from the start of each range.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// The simulation finds it as it is. It is also tried with stickiness made harmless.
    Safety(u64),
    /// The simulation finds that a leader is disturbed or that none is elected.
    Liveness(u64),
    /// A sentence of the paper tests finds it, and why the simulation does not.
    Paper(&'static str),
}

/// `original` is there exactly once in the function `within`, which is there exactly once in `file`.
#[derive(Debug)]
pub(super) struct Patch {
    pub(super) file: &'static str,
    pub(super) within: &'static str,
    pub(super) original: &'static str,
    /// The expression that takes its place.
    pub(super) broken: &'static str,
}

pub(super) const fn patch(
    file: &'static str,
    within: &'static str,
    original: &'static str,
    broken: &'static str,
) -> Patch {
    Patch { file, within, original, broken }
}

/// What tells the copy which rules to break.
const SWITCH: &str = "MUTANTS";

/// The module that the copy has and the original has not.
const MUTANT_RS: &str = r#"//! Which rules are broken in this process.

use std::sync::LazyLock;

static CHOSEN: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = std::env::var("MUTANTS").unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
});

pub fn is(name: &str) -> bool {
    CHOSEN.iter().any(|chosen| chosen == name)
}
"#;

const LIB_RS: &str = "#![allow(warnings)]
pub mod election;
pub mod engine;
mod error;
pub mod mutant;
pub use election::NodeId;
pub use error::TransferError;
";

/// The copy, built.
pub(super) struct Copy {
    folder: PathBuf,
    binary: PathBuf,
}

/// What one process of the copy has said.
pub(super) struct Run {
    pub(super) seed: Option<u64>,
    /// What was violated, with its story's end.
    pub(super) violation: Option<String>,
    /// How to see it again.
    pub(super) command: Option<String>,
    /// From `seed N` on, what it told.
    pub(super) story: String,
    /// Everything.
    pub(super) out: String,
}

/// What one search of the model has come to.
pub(super) struct Search {
    /// The name of what was violated.
    pub(super) property: Option<String>,
    /// How to see it again, unless the election itself panicked.
    pub(super) command: Option<String>,
    pub(super) story: String,
    /// Everything.
    pub(super) out: String,
}

/// Tests of one process run side by side, and write to one folder.
static BUILDING: Mutex<()> = Mutex::new(());

impl Copy {
    pub(super) fn build(name: &str) -> Self {
        let _alone = BUILDING.lock().expect("no panic");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut sources = Sources::of(root);
        sources.patch_all();
        for (path, text) in sources.0 {
            write(&folder.join(path), &text);
        }
        write(&folder.join("src/lib.rs"), LIB_RS);
        write(&folder.join("src/mutant.rs"), MUTANT_RS);
        write(&folder.join("Cargo.toml"), &manifest(root));
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("a lock file");
        let mut build = cargo(&folder);
        build.args("test --release --offline --test election --no-run --message-format=json".split(' '));
        let out = build.output().expect("cargo runs");
        let binary = executable(&out);
        Copy { folder, binary }
    }

    /// Runs so many seeds, or until one shows a violation.
    pub(super) fn simulate(&self, mutants: &[&str], from: u64, seeds: u64) -> Run {
        let mut command = self.command(mutants);
        command.env("FROM", from.to_string()).env("SEEDS", seeds.to_string()).env("THREADS", "1");
        command.args(["simulation", "--nocapture"]);
        Run::of(command.output().expect("the copy runs"))
    }

    /// Runs a command line as somebody would who has read it.
    pub(super) fn obey(&self, mutants: &[&str], line: &str) -> Run {
        let mut shell = clean(Command::new("sh"), &self.folder);
        shell.args(["-c", line]).env(SWITCH, mutants.join(" "));
        Run::of(shell.output().expect("sh runs"))
    }

    /// Searches the model within these bounds.
    pub(super) fn search(&self, mutants: &[&str], bounds: &str) -> Search {
        let mut command = self.command(mutants);
        command.env("MODEL", bounds);
        command.args(["model_has_no_course", "--nocapture"]);
        Search::of(command.output().expect("the copy runs"))
    }

    /// Tells the course again that a command line of [`Search`] names.
    pub(super) fn tell(&self, mutants: &[&str], line: &str) -> Search {
        let mut shell = clean(Command::new("sh"), &self.folder);
        shell.args(["-c", line]).env(SWITCH, mutants.join(" "));
        Search::of(shell.output().expect("sh runs"))
    }

    /// The paper tests that a mutant fails.
    pub(super) fn failing_papers(&self, mutant: &str) -> Vec<String> {
        let mut command = self.command(&[mutant]);
        let out = command.arg("paper::").output().expect("the copy runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let failed = |line: &str| line.strip_suffix(" ... FAILED")?.strip_prefix("test ").map(str::to_owned);
        let failed: Vec<String> = text.lines().filter_map(failed).collect();
        assert!(text.contains("test result:"), "{mutant}: {text}");
        assert_eq!(out.status.success(), failed.is_empty(), "{mutant}: {text}");
        failed
    }

    fn command(&self, mutants: &[&str]) -> Command {
        let mut command = clean(Command::new(&self.binary), &self.folder);
        command.env(SWITCH, mutants.join(" "));
        command
    }
}

impl Search {
    fn of(out: Output) -> Self {
        let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        let all_seen = stdout.contains(" 0 violations");
        assert!(all_seen || !out.status.success(), "{stdout}\n{stderr}");
        // Of a violation the panic's own first line is followed by what is wrong; the command comes last.
        let command = stderr.lines().find(|line| line.starts_with("COURSE="));
        let wrong = stderr.lines().skip_while(|line| !line.contains("panicked at"));
        let property = wrong.skip(1).find_map(|line| Some(line.split_once(':')?.0.to_owned()));
        let story = stdout.lines().filter(|line| line.starts_with("    ") && !line.contains("model::"));
        Search {
            property: property.filter(|_| !all_seen),
            command: command.map(str::to_owned),
            story: story.collect::<Vec<_>>().join("\n"),
            out: format!("{stdout}\n{stderr}"),
        }
    }
}

impl Run {
    fn of(out: Output) -> Self {
        let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        let story = stdout.find("\nseed ").map_or("", |start| &stdout[start + 1..]);
        let story = story.split("\ntest ").next().unwrap_or_default().to_owned();
        let seed = story.lines().next().and_then(|line| line.strip_prefix("seed ")?.parse().ok());
        // The panic's own first line names a thread, with a number that changes.
        let said = seed.and_then(|seed| stderr.rsplit_once(&format!("\nseed {seed}\n")));
        let mut lines = said.map_or("", |(_, said)| said).lines();
        let told: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("SEED=")).collect();
        let command = said.and_then(|(_, said)| said.lines().find(|line| line.starts_with("SEED=")));
        let run = Run {
            seed,
            violation: seed.map(|_| told.join("\n")),
            command: command.map(str::to_owned),
            story,
            out: format!("{stdout}\n{stderr}"),
        };
        // Nothing found is said in so many words; anything else is a failure of this very test.
        let whole = run.command.is_some() || stdout.contains(" 0 violations");
        assert!(whole && out.status.success() == run.seed.is_none(), "{}", run.out);
        run
    }

    /// The name of what was violated.
    pub(super) fn property(&self) -> Option<String> {
        let violation = self.violation.as_ref()?;
        let name = violation.split(':').next().unwrap_or_default();
        let panicked = violation.starts_with("the election panicked");
        Some(if panicked { "assertion" } else { name }.to_owned())
    }

    pub(super) fn summary(&self) -> &str {
        let line = |line: &&str| line.contains(" violations");
        self.out.lines().find(line).unwrap_or("a violation")
    }
}

/// Paths inside the package, and texts.
struct Sources(Vec<(String, String)>);

impl Sources {
    fn of(root: &Path) -> Self {
        let mut sources = Sources(Vec::new());
        sources.take(root, "src/election.rs");
        sources.take(root, "src/election");
        sources.take(root, "src/engine.rs");
        sources.take(root, "src/engine");
        sources.take(root, "src/error.rs");
        sources.take(root, "tests/election");
        let main = sources.text("tests/election/main.rs");
        let line = "mod mutants;\n";
        assert_eq!(main.matches(line).count(), 1);
        *main = main.replace(line, "").replace("#![allow(", "#![allow(warnings)]\n#![allow(");
        sources
    }

    fn take(&mut self, root: &Path, path: &str) {
        let full = root.join(path);
        if !full.is_dir() {
            let text = fs::read_to_string(&full).expect("a text");
            self.0.push((path.to_owned(), text));
            return;
        }
        let entries = fs::read_dir(&full).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with("mutants"))
            .collect();
        names.sort();
        names.iter().for_each(|name| self.take(root, &format!("{path}/{name}")));
    }

    fn text(&mut self, path: &str) -> &mut String {
        let found = self.0.iter_mut().find(|(own, _)| own == path);
        &mut found.unwrap_or_else(|| panic!("{path} is missing")).1
    }

    /// Puts a switch around every text that a mutant replaces.
    fn patch_all(&mut self) {
        let mut cuts: Vec<Cut> = Vec::new();
        let listed = MUTANTS.iter().map(|mutant| (mutant.name, mutant.patches));
        for (name, patches) in listed.chain([(super::UNSTICKY, UNSTICKY_PATCHES)]) {
            for patch in patches {
                let (file, range) = (patch.file, place(name, patch, self.text(patch.file)));
                let same = |cut: &&mut Cut| cut.file == file && cut.range == range;
                let arms = match cuts.iter_mut().find(same) {
                    Some(cut) => &mut cut.arms,
                    None => {
                        let arms = Vec::new();
                        cuts.push(Cut { file, range, arms });
                        &mut cuts.last_mut().expect("just pushed").arms
                    }
                };
                arms.push((name, patch.broken));
            }
        }
        // From the end, so that what is still to be cut stays where it is.
        cuts.sort_by_key(|cut| (cut.file, std::cmp::Reverse(cut.range.start)));
        for pair in cuts.windows(2) {
            let (late, early) = (&pair[0], &pair[1]);
            let apart = late.file != early.file || early.range.end <= late.range.start;
            assert!(apart, "{early:?} and {late:?} overlap: replace the same text in both");
        }
        for Cut { file, range, arms } in cuts {
            let text = self.text(file);
            let module = if file.starts_with("src") { "crate" } else { "leadelect" };
            let arm =
                |(name, broken): &(&str, &str)| format!("if {module}::mutant::is(\"{name}\") {{ {broken} }} else ");
            let arms: String = arms.iter().map(arm).collect();
            let switch = format!("({arms}{{ {} }})", &text[range.clone()]);
            text.replace_range(range, &switch);
        }
    }
}

/// One text that mutants replace, each by its own.
#[derive(Debug)]
struct Cut {
    file: &'static str,
    range: Range<usize>,
    /// The mutant, and what it says instead.
    arms: Vec<(&'static str, &'static str)>,
}

/// Where the text is that the patch replaces: exactly once in a function that is there exactly once.
fn place(name: &str, patch: &Patch, text: &str) -> Range<usize> {
    let Patch { file, within, original, .. } = patch;
    let head = format!("fn {within}(");
    let heads: Vec<usize> = text.match_indices(&head).map(|(at, _)| at).collect();
    assert_eq!(heads.len(), 1, "mutant {name}: `{head}` in {file}");
    let start = heads[0];
    let line = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let indent: String = text[line..].chars().take_while(|c| *c == ' ').collect();
    let closes = format!("\n{indent}}}\n");
    let end = text[start..].find(&closes).expect("a function ends");
    let body = &text[start..start + end];
    let found: Vec<usize> = body.match_indices(original).map(|(at, _)| at).collect();
    assert_eq!(found.len(), 1, "mutant {name}: `{original}` in {within} of {file}");
    start + found[0]..start + found[0] + original.len()
}

/// The package's edition and what the election and its tests need; its lock file holds the versions.
fn manifest(root: &Path) -> String {
    let whole = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    let line = |start: &str| {
        let line = whole.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("Cargo.toml: {start}")).to_owned()
    };
    format!(
        "[package]\nname = \"leadelect\"\nversion = \"0.0.0\"\n{}\n\n[dependencies]\n{}\n\n[dev-dependencies]\n{}\n\n\
         [features]\ndefault = [\"checkers\"]\ncheckers = []\n\n[workspace]\n",
        line("edition = "),
        line("serde = "),
        line("roxmltree = ")
    )
}

/// What has not changed is not written, so that it is not built again.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn cargo(folder: &Path) -> Command {
    clean(Command::new(env!("CARGO")), folder)
}

/// Without what the caller has asked of the simulation, and with the copy's own target folder.
fn clean(mut command: Command, folder: &Path) -> Command {
    for name in
        ["SEED", "SEEDS", "FROM", "MINUTES", "THREADS", "MODEL", "COURSE", "RUST_BACKTRACE", "CARGO_BUILD_TARGET_DIR"]
    {
        command.env_remove(name);
    }
    command.current_dir(folder);
    command.env("CARGO_TARGET_DIR", folder.join("target"));
    command
}

/// The one test program that was built, by what cargo says of it.
fn executable(out: &Output) -> PathBuf {
    let said = String::from_utf8_lossy(&out.stdout);
    let path = said.lines().find_map(|line| {
        let path = line.split_once("\"executable\":\"")?.1;
        Some(PathBuf::from(path.split_once('"')?.0))
    });
    path.unwrap_or_else(|| panic!("{}\n{said}", String::from_utf8_lossy(&out.stderr)))
}

/// A debug build goes no further than this: every text that a mutant replaces is still where the list says.
#[test]
fn every_mutant_finds_its_place() {
    let mut sources = Sources::of(Path::new(env!("CARGO_MANIFEST_DIR")));
    sources.patch_all();
    let patched: String = sources.0.into_iter().map(|(_, text)| text).collect();
    for mutant in MUTANTS {
        assert!(!mutant.patches.is_empty(), "{} breaks nothing", mutant.name);
        assert_eq!(MUTANTS.iter().filter(|other| other.name == mutant.name).count(), 1, "{}", mutant.name);
        let switch = format!("mutant::is(\"{}\")", mutant.name);
        assert_eq!(patched.matches(&switch).count(), mutant.patches.len(), "{}", mutant.name);
    }
}

#[test]
#[should_panic(expected = "mutant lost: `sworn` in oath of file.rs")]
fn a_text_that_has_changed_is_told_with_the_name_of_its_mutant() {
    let text = "impl Voter {\n    fn oath(&self) {\n        promised\n    }\n    fn other() { sworn }\n}\n";
    place("lost", &patch("file.rs", "oath", "sworn", "()"), text);
}
