//! What a node may be called.

use super::*;

/// leadelect rule 13: an id is 1 to 32 bytes.
#[test]
fn an_id_is_neither_empty_nor_longer_than_its_bound() {
    let longest = "n".repeat(NodeId::MAX_LEN);
    assert_eq!(NodeId::MAX_LEN, 32);
    assert_eq!(longest.parse::<NodeId>().unwrap().as_str(), longest);
    assert_eq!("n".parse::<NodeId>().unwrap().as_str(), "n");
    assert!("n".repeat(33).parse::<NodeId>().is_err());
    assert!("".parse::<NodeId>().is_err());
}

/// leadelect, ids travel in logs and in files: visible ASCII, and nothing that a terminal would act on.
#[test]
fn an_id_is_visible_ascii() {
    for bad in ["two words", "tab\t", "\u{1b}[2J", "größe", "\u{7f}"] {
        assert!(bad.parse::<NodeId>().is_err(), "{bad:?}");
    }
    for good in ["!", "~", "db-east", "::1"] {
        assert_eq!(good.parse::<NodeId>().unwrap().to_string(), good);
    }
}

/// leadelect, an error says what was expected and what came. A long id makes it no longer than a line.
#[test]
fn a_bad_id_is_shown_but_not_all_of_it() {
    let error = "n".repeat(1000).parse::<NodeId>().unwrap_err().to_string();
    let shown = "n".repeat(64);
    let expected = "expected a node id of 1 to 32 visible ASCII characters, found";
    assert_eq!(error, format!("{expected} {shown:?}"));
}

/// leadelect, a log says of a moment that never comes that it never comes.
#[test]
fn a_moment_is_shown_as_the_time_since_the_start_of_its_clock() {
    assert_eq!(format!("{:?}", Instant::NEVER), "never");
    assert_eq!(format!("{START:?}"), "1000s");
}
