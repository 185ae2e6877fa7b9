//! Where a file breaks which rule.

use std::fmt;

use super::imports::{imports, used};
use super::source::{Source, packages};
use super::tokens::{Token, tokens, without_tests};
use super::{EMPTY_NAMES, LONGEST_FILE, LONGEST_LINE};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Imports,
    Clock,
    Unwrap,
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
    }
    found
}

fn find_size(source: &Source, found: &mut Vec<Finding>) {
    let length = source.text.lines().count();
    if length > LONGEST_FILE {
        let why = format!("{length} lines, at most {LONGEST_FILE} fit a sitting");
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

fn occurrences<'t>(tokens: &'t [Token], pattern: &'t [&'t str]) -> impl Iterator<Item = usize> + 't {
    let windows = tokens.windows(pattern.len());
    let same = move |window: &&[Token]| window.iter().zip(pattern).all(|(token, text)| token.text == **text);
    windows.filter(same).map(|window| window[0].line)
}

fn find_imports(source: &Source, tokens: &[Token], found: &mut Vec<Finding>) {
    let Some(row) = source.row() else {
        let why = "no row in the table of this test: say what it may import".to_owned();
        found.push(source.finding(Rule::Imports, 1, "has no row", why));
        return;
    };
    let packages = packages();
    for import in imports(tokens) {
        let Some(used) = used(&source.module(), &import, &packages) else {
            continue;
        };
        if row.uses.contains(&used.as_str()) || row.packages.contains(&used.as_str()) {
            continue;
        }
        let (path, module) = (import.path.join("::"), row.module);
        let why = format!(
            "`{path}`: the row of `{module}` allows the modules {:?} and the packages {:?}",
            row.uses, row.packages
        );
        found.push(source.finding(Rule::Imports, import.line, &format!("uses {used}"), why));
    }
}
