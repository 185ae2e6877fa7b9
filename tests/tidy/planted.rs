//! Whether the scanner finds what it should, and nothing else.

use super::rules::{Finding, findings_in, missing_modules, unused_rights};
use super::source::{Source, mark_test_files};
use super::table::{EMPTY_NAMES, LONGEST_FILE, LONGEST_LINE, LONGEST_TEST_FILE, ROWS, Row};

/// A scanner that finds nothing proves nothing.
#[test]
fn the_scanner_finds_what_is_planted() {
    let planted = [
        ("election/leader", "use crate::clock;", "uses clock"),
        ("election/leader", "use super::super::node::Node;", "uses node"),
        ("election/leader", "use crate::{\n  election::Term,\n  store::{self}};", "uses store"),
        ("election/leader", "fn f() { crate::driver::run() }", "uses driver"),
        ("election/leader", "fn f() -> crate::NodeId {}", "uses lib"),
        ("election/leader", "use crate as all;", "uses lib"),
        ("election", "use super::*;", "uses lib"),
        ("election", "fn f() { log::info!(\"\") }", "uses log"),
        ("election", "#[derive(bincode::Encode)] struct A;", "uses bincode"),
        ("store", "use crate::transport::wire;", "uses transport"),
        ("store", "mod inner { use super::super::config::Config; }", "uses config"),
        ("driver", "use crate::node::Node;", "uses node"),
        ("transport/dial", "use rustls::ClientConfig;", "uses rustls"),
        ("transport/dial", "extern crate webpki;", "uses webpki"),
        ("transport", "pub(in crate::driver) fn f() {}", "uses driver"),
        ("config", "type A = ::bincode::Error;", "uses bincode"),
        ("config", "use crate::transport::wire;", "uses transport"),
        ("transport", "use crate::config::Config;", "uses config"),
        ("brand_new", "use crate::election;", "has no row"),
        ("driver", "let now = std::time::Instant::now();", "reads a clock"),
        ("driver", "let now = SystemTime :: now();", "reads a clock"),
        ("driver", "use rustix::time::clock_gettime;", "reads a clock"),
        ("driver", "let age = since.elapsed();", "reads a clock"),
        ("driver", "let a = b\n    .unwrap();", "unwraps"),
        ("driver", "#[cfg(test)] mod t { fn f() {} } fn g() { a.unwrap() }", "unwraps"),
        ("driver", "let a = '\"'; b.unwrap(); let c = '\"';", "unwraps"),
        ("driver", "fn f() { log::warn!(\"node {me}: stopped\"); }", "calls the logger"),
        ("transport/util", "", "is named after nothing"),
        ("helpers/peer", "", "is named after nothing"),
        ("driver", "mod misc { }", "is named after nothing"),
    ];
    for (module, text, expected) in planted {
        let found = findings_in(&planted_source(module, text));
        let all: Vec<_> = found.iter().map(|finding| &finding.what).collect();
        assert!(
            all.iter().any(|what| what.ends_with(expected)),
            "{module}: {text}\nexpected: {expected}\nfound: {all:?}"
        );
    }
}

#[test]
fn an_import_that_points_up_or_to_the_same_layer_is_found_whatever_its_row_allows() {
    let planted = [
        ("election", "use crate::clock;", "points up to clock"),
        ("clock", "use crate::error::NotLeader;", "points up to error"),
        ("error", "fn f() -> crate::Node {}", "points up to lib"),
        ("store", "use super::node::Node;", "points up to node"),
        ("driver", "use crate::remote;", "points up to remote"),
        ("brand_new", "use crate::election;", "has no layer"),
    ];
    for (module, text, expected) in planted {
        let found = whats(&findings_in(&planted_source(module, text)));
        assert!(found.iter().any(|what| what.ends_with(expected)), "{module}: {text}\nfound: {found:?}");
    }
    let down = planted_source("driver", "use crate::store::Store; use super::election::Term;");
    assert_eq!(whats(&findings_in(&down)), Vec::<String>::new());
}

/// One arrow of a circle, at least, does not point down.
#[test]
fn a_circle_is_found_between_two_layers_and_inside_one() {
    for circle in [vec!["config", "transport"], vec!["clock", "driver"], vec!["store", "inbox", "node"]] {
        let next = circle.iter().cycle().skip(1);
        let imports = circle.iter().zip(next);
        let planted = imports.map(|(module, next)| planted_source(module, &format!("use crate::{next}::A;")));
        let found: Vec<String> = planted.flat_map(|source| whats(&findings_in(&source))).collect();
        assert!(found.iter().any(|what| what.contains(" points up to ")), "{circle:?}: {found:?}");
    }
}

#[test]
fn a_right_that_nobody_uses_is_found() {
    static ROWS: [Row; 2] = [
        Row { module: "store", uses: &["clock", "election"], packages: &["log", "rustix"] },
        Row { module: "store::slot", uses: &["election"], packages: &[] },
    ];
    let sources = |slot| {
        let mut test = planted_source("store/tests", "use rustix::fs;");
        test.test = true;
        let text = "use crate::clock; fn f() { log::info!(\"\") } #[cfg(test)] mod tests { use crate::election; }";
        [planted_source("store", text), planted_source("store/slot", slot), test]
    };
    let found = unused_rights(&ROWS, &sources("use super::super::election::Term;"));
    assert_eq!(whats(&found), ["store does not use election", "store does not use rustix"], "tests need no right");
    let found = unused_rights(&ROWS, &sources("// use crate::election;"));
    assert!(whats(&found).contains(&"store::slot does not use election".to_owned()), "{found:?}");
}

#[test]
fn a_layer_of_a_module_that_is_not_there_is_found() {
    let sources = [planted_source("store/slot", ""), planted_source("lib", "")];
    assert_eq!(whats(&missing_modules(&[&["store", "engine"], &["lib"]], &sources)), ["engine is missing"]);
}

/// The root names a module without a word before it.
#[test]
fn what_the_root_uses_is_seen() {
    let root = planted_source("lib", "mod store; pub use node::Node; pub use std::fmt;");
    let found = unused_rights(&ROWS, &[root]);
    let unused = |module: &str| whats(&found).contains(&format!("lib does not use {module}"));
    assert!(!unused("node") && unused("config"), "{found:?}");
}

#[test]
fn the_scanner_names_file_line_import_and_row() {
    let source = planted_source("store", "\n\nuse crate::node::Node;");
    let found = findings_in(&source);
    let message = found.first().map(ToString::to_string);
    let message = message.expect("a finding");
    let parts = ["src/store.rs:3: `crate::node::Node`", "the row of `store` allows", "\"clock\"", "\"crc32fast\""];
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn the_scanner_finds_long_files_and_lines() {
    let line = "x".repeat(LONGEST_LINE);
    let file = "\n".repeat(LONGEST_FILE);
    assert!(findings_in(&planted_source("driver", &format!("// {}", &line[3..]))).is_empty());
    assert!(findings_in(&planted_source("driver", &file)).is_empty());
    for text in [format!("// {line}"), format!("{file}\n")] {
        let found = findings_in(&planted_source("driver", &text));
        assert_eq!(found.len(), 1, "{text}");
    }
}

#[test]
fn the_scanner_finds_long_files_and_empty_names_among_the_tests() {
    let planted = |name: &str, text: String| Source { path: format!("tests/{name}.rs"), text, test: true };
    let longest = "\n".repeat(LONGEST_TEST_FILE);
    assert!(findings_in(&planted("node/watch", longest.clone())).is_empty());
    assert_eq!(findings_in(&planted("node/watch", longest + "\n")).len(), 1);
    for name in EMPTY_NAMES {
        assert_eq!(findings_in(&planted(&format!("node/{name}"), String::new())).len(), 1, "{name}");
    }
}

/// A rule that finds what is not there is switched off soon.
#[test]
fn the_scanner_does_not_find_what_is_allowed() {
    let allowed = [
        ("election/leader", "use super::{Term, message::Reply}; use std::fmt; use self::a::B;"),
        ("election", "use serde::Serialize; use crate::election::id::NodeId;"),
        ("election", "// use crate::node;\n/* log::info!() /* .unwrap() */ Instant::now() */"),
        ("election", "let a = \"crate::node \\\" .unwrap()\"; let b = r#\"log::x\"y\"#;"),
        ("election", "//! [`crate::node`] and `SystemTime::now`"),
        ("election", "#[cfg(test)]\nmod tests { use crate::node; fn f() { a.unwrap(); } }"),
        ("election", "#[cfg(test)] #[allow(dead_code)] use log::info;"),
        ("election", "fn f<'a>(a: &'a str) -> impl Sized + use<'a> { a.log::<u8>() }"),
        ("driver", "fn f() { log::warn!(logger: self.log, \"stopped\"); log::log!(logger: log, level, \"\"); }"),
        ("election", "fn log() {} struct Log { log: u8 } fn f() { self::log() }"),
        ("store", "mod inner { use super::slot; use super::super::election::Term; }"),
        ("tls/stream", "use rustls::ServerConfig; use super::deadline::Deadline;"),
        ("driver", "a.unwrap_or_default(); a.unwrap_or(b); use crate::election::Instant;"),
        ("driver", "pub(crate) struct A; pub(super) struct B;"),
        ("clock", "let now = Instant::now(); start.elapsed();"),
        ("config", &format!("//! | a | {} |", "x".repeat(LONGEST_LINE))),
    ];
    for (module, text) in allowed {
        let found = findings_in(&planted_source(module, text));
        assert!(found.is_empty(), "{module}: {text}\nfound: {}", whats(&found).join("\n"));
    }
}

#[test]
fn files_of_test_modules_are_test_code() {
    let mut files = [
        planted_source("config", "#[cfg(test)]\n#[cfg(test)]\nmod tests;\nmod builder;"),
        planted_source("config/tests", ""),
        planted_source("config/tests/deeper", ""),
        planted_source("config/builder", ""),
    ];
    mark_test_files(&mut files);
    assert_eq!(files.map(|file| file.test), [false, true, true, false]);
}

fn whats(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| finding.what.clone()).collect()
}

fn planted_source(module: &str, text: &str) -> Source {
    Source { path: format!("src/{module}.rs"), text: text.to_owned(), test: false }
}
