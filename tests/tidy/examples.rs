//! Each example is listed in the index, and README's program is an example.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// The examples in the folder, by the names that cargo gives them.
fn examples() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let paths = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let examples = paths.filter(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "rs"));
    examples.map(|path| path.file_stem().and_then(|name| name.to_str()).expect("UTF-8").to_owned()).collect()
}

/// The examples in the rows of the index: the first cell links to the file, the last is the command.
fn listed(index: &str) -> BTreeSet<String> {
    let mut listed = BTreeSet::new();
    for row in index.lines().filter(|line| line.starts_with("| [")) {
        let name = row.trim_start_matches("| [").split(']').next().expect("a first part");
        let links = [format!("]({name}.rs) |"), format!("]({name}/main.rs) |")];
        let runs = [format!("`cargo run --example {name}`"), format!("`cargo run --example {name} ")];
        if links.iter().any(|link| row.contains(link)) && runs.iter().any(|run| row.contains(run)) {
            listed.insert(name.to_owned());
        }
    }
    listed
}

/// The first program in a page: what is between its fences.
fn first_program(page: &str) -> String {
    let lines = page.lines().skip_while(|line| !line.starts_with("```rust")).skip(1);
    lines.take_while(|line| !line.starts_with("```")).map(|line| format!("{line}\n")).collect()
}

/// A program but for its layout, in which rustfmt and a page differ, and without the words on top.
fn text_of(program: &str) -> String {
    let lines = program.lines().filter(|line| !line.starts_with("//!"));
    lines.flat_map(str::split_whitespace).collect()
}

#[test]
fn every_example_is_in_the_index_with_its_command() {
    let index = read("examples/README.md");
    assert_eq!(listed(&index), examples(), "left: examples/README.md, right: the folder");
}

#[test]
fn the_program_of_the_readme_is_the_example() {
    let program = first_program(&read("README.md"));
    assert!(program.contains("fn main()"), "no program in README.md: {program:?}");
    let example = read("examples/readme.rs");
    assert_eq!(text_of(&program), text_of(&example), "\n{program}\nis not examples/readme.rs:\n{example}");
}

#[test]
fn a_program_and_rows_are_read_from_a_page() {
    let page = "a\n```sh\nls\n```\n```rust,no_run\nfn main() {} // b\n```\n```rust\nfn c() {}\n```\n";
    assert_eq!(first_program(page), "fn main() {} // b\n");
    assert_eq!(text_of("//! d\nfn main() {}\n    // b\n"), text_of(&first_program(page)));
    assert_ne!(text_of("fn main() { e() } // b"), text_of(&first_program(page)));
    let rows = ["| [a](a.rs) | | `cargo run --example a -- 1` |", "| [b](b.rs) | | `cargo run --example c` |"];
    let more = ["| [d](e.rs) | | `cargo run --example d` |", "| [f](f/main.rs) | | `cargo run --example f` |"];
    assert_eq!(listed(&[rows, more].concat().join("\n")), BTreeSet::from(["a".to_owned(), "f".to_owned()]));
}
