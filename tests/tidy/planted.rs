//! Whether the scanner finds what it should, and nothing else.

use super::source::{Source, mark_test_files};
use super::{LONGEST_FILE, LONGEST_LINE, findings_in, lines};

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
fn the_scanner_names_file_line_import_and_row() {
    let source = planted_source("store", "\n\nuse crate::node::Node;");
    let found = findings_in(&source);
    let message = found.first().map(ToString::to_string);
    let expected = "src/store.rs:3: `crate::node::Node`: the row of `store` allows the modules [\"clock\", \"election\"] \
                    and the packages [\"crc32fast\", \"log\", \"rustix\"]";
    assert_eq!(message.as_deref(), Some(expected));
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
        ("election", "fn log() {} struct Log { log: u8 } fn f() { self::log() }"),
        ("store", "mod inner { use super::slot; use super::super::election::Term; }"),
        ("tls", "use rustls::ServerConfig; use super::deadline::Deadline;"),
        ("driver", "a.unwrap_or_default(); a.unwrap_or(b); use crate::election::Instant;"),
        ("driver", "pub(crate) struct A; pub(super) struct B;"),
        ("clock", "let now = Instant::now(); start.elapsed();"),
        ("config", &format!("//! | a | {} |", "x".repeat(LONGEST_LINE))),
    ];
    for (module, text) in allowed {
        let found = findings_in(&planted_source(module, text));
        assert!(found.is_empty(), "{module}: {text}\nfound: {}", lines(&found));
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

fn planted_source(module: &str, text: &str) -> Source {
    Source { path: format!("src/{module}.rs"), text: text.to_owned(), test: false }
}
