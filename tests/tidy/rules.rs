//! Where a file breaks which rule.

use std::collections::BTreeSet;
use std::fmt;

use super::imports::{Import, imports, used};
use super::source::{Source, packages};
use super::table::{APART, EMPTY_NAMES, LAYERS, LONGEST_FILE, LONGEST_LINE, LONGEST_TEST_FILE, ROWS, Row, TABLES};
use super::tokens::{Token, tokens, without_tests};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Imports,
    Layers,
    Rights,
    Clock,
    Unwrap,
    Logger,
    Size,
    Name,
}

/// A place where a rule is broken.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) rule: Rule,
    /// The same until it is put right: without line numbers.
    pub(super) what: String,
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.why)
    }
}

pub(super) fn findings_in(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    find_size(source, &mut found);
    find_names(source, &mut found);
    if !source.test {
        let (tokens, _) = without_tests(tokens(&source.text));
        find_imports(source, &tokens, &mut found);
        find_clocks(source, &tokens, &mut found);
        find_unwraps(source, &tokens, &mut found);
        find_loggers(source, &tokens, &mut found);
    }
    found
}

fn find_size(source: &Source, found: &mut Vec<Finding>) {
    let length = source.text.lines().count();
    let longest = if source.is_in_src() { LONGEST_FILE } else { LONGEST_TEST_FILE };
    if length > longest && !TABLES.contains(&source.path.as_str()) {
        let why = format!("{length} lines, at most {longest} fit a sitting");
        found.push(source.finding(Rule::Size, length, "is too long", why));
    }
    for (number, line) in (1..).zip(source.text.lines()) {
        let length = line.chars().count();
        // The row of a table cannot be broken.
        let table = line.trim_start().starts_with("//") && line.trim_end().ends_with('|');
        if length > LONGEST_LINE && !table {
            let why = format!("{length} characters, at most {LONGEST_LINE} fit a line");
            found.push(source.finding(Rule::Size, number, "has a long line", why));
        }
    }
}

fn find_names(source: &Source, found: &mut Vec<Finding>) {
    let mut names: Vec<(String, usize)> = Vec::new();
    names.extend(source.module().into_iter().map(|name| (name, 1)));
    for pair in tokens(&source.text).windows(2) {
        if let [module, name] = pair
            && module.text == "mod"
        {
            names.push((name.text.clone(), name.line));
        }
    }
    for (name, line) in names {
        if EMPTY_NAMES.contains(&name.as_str()) {
            let why = format!("module `{name}`: say what is in it");
            found.push(source.finding(Rule::Name, line, "is named after nothing", why));
        }
    }
}

fn find_clocks(source: &Source, tokens: &[Token], found: &mut Vec<Finding>) {
    if source.path == "src/clock.rs" {
        return;
    }
    let readings: [&[&str]; 4] =
        [&["Instant", "::", "now"], &["SystemTime", "::", "now"], &["clock_gettime"], &[".", "elapsed", "("]];
    for reading in readings {
        for line in occurrences(tokens, reading) {
            let why = format!("`{}` reads a clock: only src/clock.rs may", reading.concat());
            found.push(source.finding(Rule::Clock, line, "reads a clock", why));
        }
    }
}

fn find_unwraps(source: &Source, tokens: &[Token], found: &mut Vec<Finding>) {
    for line in occurrences(tokens, &[".", "unwrap", "("]) {
        let why = "`unwrap` gives no reason: use `expect` with one, or return an error".to_owned();
        found.push(source.finding(Rule::Unwrap, line, "unwraps", why));
    }
}

/// The program's logger may wait, and then so does the thread that writes a line to it.
fn find_loggers(source: &Source, tokens: &[Token], found: &mut Vec<Finding>) {
    if source.top() == APART || source.path == "src/log_queue.rs" {
        return;
    }
    for window in tokens.windows(7) {
        let texts: Vec<&str> = window.iter().map(|token| token.text.as_str()).collect();
        if texts[..3] == ["log", "::", texts[2]] && texts[3..5] == ["!", "("] && texts[5..] != ["logger", ":"] {
            let why = format!("`log::{}!` calls the program's logger: write `logger: ..` of the log queue", texts[2]);
            found.push(source.finding(Rule::Logger, window[0].line, "calls the logger", why));
        }
    }
}

fn occurrences<'t>(tokens: &'t [Token], pattern: &'t [&'t str]) -> impl Iterator<Item = usize> + 't {
    let windows = tokens.windows(pattern.len());
    let same = move |window: &&[Token]| window.iter().zip(pattern).all(|(token, text)| token.text == **text);
    windows.filter(same).map(|window| window[0].line)
}

fn find_imports(source: &Source, tokens: &[Token], found: &mut Vec<Finding>) {
    if source.top() != APART && layer(&source.top()).is_none() {
        let why = "in no layer of tests/tidy/table.rs: say what is above it and what below".to_owned();
        found.push(source.finding(Rule::Layers, 1, "has no layer", why));
    }
    let Some(row) = source.row(&ROWS) else {
        let why = "no row in tests/tidy/table.rs: say what it may import".to_owned();
        found.push(source.finding(Rule::Imports, 1, "has no row", why));
        return;
    };
    for (import, used) in uses(source, tokens) {
        let path = import.path.join("::");
        if !row.allows(&used) {
            let why = format!(
                "`{path}`: the row of `{}` allows the modules {:?} and the packages {:?}",
                row.module, row.uses, row.packages
            );
            found.push(source.finding(Rule::Imports, import.line, &format!("uses {used}"), why));
        }
        let (own, other) = (layer(&source.top()), layer(&used));
        if own.zip(other).is_some_and(|(own, other)| other >= own) {
            let why = format!("`{path}`: `{used}` is not below `{}`: imports point down", source.top());
            found.push(source.finding(Rule::Layers, import.line, &format!("points up to {used}"), why));
        }
    }
}

impl Row {
    fn allows(&self, used: &str) -> bool {
        self.uses.contains(&used) || self.packages.contains(&used)
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What a file names of other modules at the top, and of packages.
fn uses(source: &Source, tokens: &[Token]) -> Vec<(Import, String)> {
    let (module, packages) = (source.module(), packages());
    let found = imports(tokens).into_iter();
    found.filter_map(|import| used(&module, &import, &packages).map(|used| (import, used))).collect()
}

/// A right that nobody uses invites a use that nobody has thought about.
pub(super) fn unused_rights(rows: &'static [Row], sources: &[Source]) -> Vec<Finding> {
    let mut unused: BTreeSet<(&str, &str)> = BTreeSet::new();
    for row in rows {
        unused.extend(row.uses.iter().chain(row.packages).map(|right| (row.module, *right)));
    }
    for source in sources.iter().filter(|source| !source.test) {
        let (tokens, _) = without_tests(tokens(&source.text));
        let Some(row) = source.row(rows) else { continue };
        for (_, used) in uses(source, &tokens) {
            unused.retain(|(module, right)| *module != row.module || *right != used);
        }
    }
    let why = |module, right| format!("the row of `{module}` allows `{right}`, which nothing in it uses");
    let finding = |(module, right)| in_table(format!("{module} does not use {right}"), why(module, right));
    unused.into_iter().map(finding).collect()
}

/// Layers of modules that are not there.
pub(super) fn missing_modules(layers: &[&[&str]], sources: &[Source]) -> Vec<Finding> {
    let known: BTreeSet<String> = sources.iter().map(Source::top).collect();
    let missing = layers.iter().copied().flatten().filter(|module| !known.contains(**module));
    let finding = |module| in_table(format!("{module} is missing"), format!("there is no module `{module}`"));
    missing.map(finding).collect()
}

fn in_table(what: String, why: String) -> Finding {
    Finding { rule: Rule::Rights, what, path: "tests/tidy/table.rs".to_owned(), line: 1, why }
}
