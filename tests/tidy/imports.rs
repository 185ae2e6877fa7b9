//! What a file names of other modules and packages.

use std::collections::BTreeSet;

use super::table::{APART, LAYERS};
use super::tokens::Token;

/// The package, or the other module at the top of this crate, that an import in `file` is from; `lib` for what is taken
/// from the root itself.
pub(super) fn used(file: &[String], import: &Import, packages: &BTreeSet<String>) -> Option<String> {
    let mut here: Vec<String> = file.to_vec();
    here.extend(import.inside.iter().cloned());
    let (first, mut rest) = import.path.split_first()?;
    match first.as_str() {
        "crate" => here.clear(),
        "self" => {}
        "super" => {
            here.pop();
            while rest.first().is_some_and(|next| next == "super") {
                here.pop();
                rest = &rest[1..];
            }
        }
        // The root names the modules at the top without a word before.
        module if here.is_empty() && is_top(module) => return Some(module.to_owned()),
        package => return packages.contains(package).then(|| package.to_owned()),
    }
    here.extend(rest.iter().cloned());
    let own = file.first().map_or("lib", String::as_str);
    let is_module = |name: &&String| is_top(name) || *name == own;
    let top = here.first().filter(is_module).map_or("lib", String::as_str);
    (top != own).then(|| top.to_owned())
}

fn is_top(name: &str) -> bool {
    name != "lib" && name != APART && LAYERS.iter().any(|layer| layer.contains(&name))
}

/// A path that a file names, in a `use` or in place.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
    /// The modules written in braces around it.
    inside: Vec<String>,
}

pub(super) fn imports(tokens: &[Token]) -> Vec<Import> {
    let mut found = Vec::new();
    let mut inside: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let text = |ahead: usize| tokens.get(at + ahead).map_or("", |token| token.text.as_str());
        let mut paths = Vec::new();
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inside.retain(|(_, opened)| *opened < depth + 1);
            }
            "mod" if text(2) == "{" => inside.push((text(1).to_owned(), depth + 1)),
            "use" if text(1) != "<" => at = use_tree(tokens, at + 1, &[], &mut paths),
            "crate" if at > 0 && tokens[at - 1].text == "extern" => {
                paths.push((vec![text(1).to_owned()], token.line));
            }
            _ if token.is_word() && text(1) == "::" && !continues_a_path(tokens, at) => {
                let mut path = vec![token.text.clone()];
                while tokens.get(at + 1).is_some_and(|next| next.text == "::")
                    && tokens.get(at + 2).is_some_and(Token::is_word)
                {
                    path.push(tokens[at + 2].text.clone());
                    at += 2;
                }
                paths.push((path, token.line));
            }
            _ => {}
        }
        found.extend(paths.into_iter().map(|(path, line)| Import {
            path,
            line,
            inside: inside.iter().map(|(name, _)| name.clone()).collect(),
        }));
        at += 1;
    }
    found
}

/// Whether the word at `at` comes behind `a::` or `a.`, and not behind a `::` that begins a path.
fn continues_a_path(tokens: &[Token], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|index| tokens.get(index));
    match before(1).map(|token| token.text.as_str()) {
        Some(".") => true,
        Some("::") => before(2).is_some_and(|token| token.is_word() || token.text == ">"),
        _ => false,
    }
}

/// Takes apart the tree of a `use` from `at` on. Returns where it ends.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<(Vec<String>, usize)>) -> usize {
    let mut path = prefix.to_vec();
    let mut line = 0;
    while let Some(token) = tokens.get(at) {
        line = token.line.max(line);
        match token.text.as_str() {
            "::" => {}
            "as" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = use_tree(tokens, at, &path, paths);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    paths.push((path, line));
    at
}
