//! The files under `src`, and the packages that they may know.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::rules::{Finding, Rule};
use super::table::Row;
use super::tokens::{tokens, without_tests};

/// A file under `src`.
#[derive(Debug)]
pub(super) struct Source {
    /// From the root of the package, with slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// Declared by `#[cfg(test)] mod ..;`, or not in `src`.
    pub(super) test: bool,
}

impl Source {
    /// `src/transport/wire.rs` is `transport`, `wire`; `src/lib.rs` is the root, and nothing.
    pub(super) fn module(&self) -> Vec<String> {
        let name = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        match name {
            "lib" | "main" => Vec::new(),
            _ => name.split('/').map(str::to_owned).collect(),
        }
    }

    /// The module at the top that it belongs to.
    pub(super) fn top(&self) -> String {
        self.module().into_iter().next().unwrap_or_else(|| "lib".to_owned())
    }

    pub(super) fn is_in_src(&self) -> bool {
        self.path.starts_with("src/")
    }

    pub(super) fn row(&self, rows: &'static [Row]) -> Option<&'static Row> {
        let module = match self.module() {
            module if module.is_empty() => "lib".to_owned(),
            module => module.join("::"),
        };
        let inside = |row: &&Row| {
            let rest = module.strip_prefix(row.module);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        rows.iter().filter(inside).max_by_key(|row| row.module.len())
    }

    pub(super) fn finding(&self, rule: Rule, line: usize, broken: &str, why: String) -> Finding {
        Finding { rule, what: format!("{} {broken}", self.path), path: self.path.clone(), line, why }
    }
}

pub(super) fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    read_folder(&root().join("src"), "src", &mut sources);
    mark_test_files(&mut sources);
    sources
}

/// The programs that test.
pub(super) fn test_sources() -> Vec<Source> {
    let mut sources = Vec::new();
    read_folder(&root().join("tests"), "tests", &mut sources);
    for source in &mut sources {
        source.test = true;
    }
    sources
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn read_folder(folder: &Path, name: &str, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).expect("a folder of the package");
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    entries.sort();
    for entry in entries {
        let last = entry.file_name().and_then(|last| last.to_str()).expect("UTF-8");
        let path = format!("{name}/{last}");
        if entry.is_dir() {
            read_folder(&entry, &path, sources);
        } else if last.ends_with(".rs") {
            let text = fs::read_to_string(&entry).expect("UTF-8");
            let test = false;
            sources.push(Source { path, text, test });
        }
    }
}

pub(super) fn mark_test_files(sources: &mut [Source]) {
    let mut test_modules = Vec::new();
    for source in sources.iter() {
        let (_, declared) = without_tests(tokens(&source.text));
        for name in declared {
            let mut module = source.module();
            module.push(name);
            test_modules.push(module);
        }
    }
    for source in sources {
        let module = source.module();
        source.test = test_modules.iter().any(|test| module.starts_with(test));
    }
}

/// The packages of Cargo.toml, as they are called in the source.
pub(super) fn packages() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let mut packages = BTreeSet::from(["webpki".to_owned()]); // the library of rustls-webpki
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (in_dependencies, line.split_once('=')) {
            packages.insert(name.trim().replace('-', "_"));
        }
    }
    packages.remove("leadelect"); // its own tests
    assert!(packages.contains("rustls"), "Cargo.toml is not as this test reads it");
    packages
}
