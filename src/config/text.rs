//! What is wrong with the text of a file, before the parser sees it.
//!
//! The parser leaves out a tag, so that `!ENV HOST` would be a host named `HOST`. Its time grows with the square of the
//! open brackets. And it reads UTF-8 only. All three are found here, without parsing.

use std::path::Path;

/// The most opening brackets in a config: seven for each of 64 nodes. With more of them the parser may take seconds.
const MAX_BRACKETS: usize = 448;

/// The text of a file. A byte order mark in front of UTF-8 is left out.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if let Some(encoding) = other_encoding(&bytes) {
        return Err(format!("found {encoding} text, expected UTF-8: save the file as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("found bytes that are not UTF-8 at offset {at}, expected UTF-8: save the file as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The encodings of two and four bytes for each letter: by their mark, or by the zeros beside the first letter.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, 1..=255, ..] | [1..=255, 0, 0, 0, ..] => {
            Some("UTF-32")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=255, ..] | [1..=255, 0, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// Fails if `text` has a tag, a directive, or more brackets than any config.
pub(super) fn check(text: &str) -> Result<(), String> {
    let brackets = text.bytes().filter(|byte| b"{[".contains(byte)).count();
    if brackets > MAX_BRACKETS {
        return Err(format!("found {brackets} opening brackets: expected at most {MAX_BRACKETS}"));
    }
    let mut quote = None;
    for (number, line) in (1..).zip(text.lines()) {
        let directive = line.strip_prefix('%').filter(|_| quote.is_none());
        let found = match directive {
            Some(_) => Some(("directive", line.split_whitespace().next().unwrap_or(line))),
            None => tag(line, &mut quote).map(|tag| ("tag", tag)),
        };
        if let Some((what, found)) = found {
            let found: String = found.chars().take(super::MAX_SHOWN).collect();
            return Err(format!(
                "found the {what} {found:?} at line {number}: expected none; write the value itself, in quotes if it \
                 begins so"
            ));
        }
    }
    Ok(())
}

/// The first tag in a line. `quote` is the sign that ends the quoted text in which the line begins, and then that in
/// which it ends. A tag is only where a key or a value begins: elsewhere `!` is a sign like any other.
fn tag<'a>(line: &'a str, quote: &mut Option<char>) -> Option<&'a str> {
    let (mut begins, mut before) = (true, ' ');
    let mut chars = line.char_indices().peekable();
    while let Some((at, sign)) = chars.next() {
        let next = chars.peek().map_or(' ', |(_, next)| *next);
        match (*quote, sign) {
            // The sign after it is meant as it stands. `''` ends one text and begins another, which is the same here.
            (Some('"'), '\\') => drop(chars.next()),
            (Some(end), _) if sign == end => (*quote, begins) = (None, end == next),
            (Some(_), _) => {}
            (None, '#') if before.is_whitespace() => return None,
            (None, '"' | '\'') if begins => *quote = Some(sign),
            (None, '!') if begins => {
                let rest = &line[at..];
                return rest.split(|end: char| end.is_whitespace() || ",[]{}".contains(end)).next();
            }
            (None, '&' | '*') if begins => while chars.next_if(|(_, sign)| !sign.is_whitespace()).is_some() {},
            (None, '{' | '[' | ',') => begins = true,
            (None, ':') if next.is_whitespace() || "\"'".contains(before) => begins = true,
            (None, '-' | '?') if next.is_whitespace() => {}
            (None, _) => begins &= sign.is_whitespace(),
        }
        before = sign;
    }
    None
}

/// The text without what moves the cursor or turns the order of letters: an error may quote any file.
pub(super) fn printable(text: &str) -> String {
    let turns = |sign| matches!(sign, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|sign| if sign.is_control() || turns(sign) { '?' } else { sign }).collect()
}

/// What to say of a path in which a shell would have replaced a part. No shell reads a config. And on a command line it
/// leaves a `~` after a `=` as it is.
pub(super) fn unexpanded(path: &Path) -> Option<&'static str> {
    let mut parts = path.iter().map(|part| part.as_encoded_bytes());
    let home = parts.next().is_some_and(|first| first.starts_with(b"~"));
    let variable = path.iter().any(|part| part.as_encoded_bytes().starts_with(b"$"));
    match (home, variable) {
        (true, _) => Some("no shell replaces the `~`: write the whole path, or `./~` for a folder of that name"),
        (_, true) => Some("no shell replaces the `$`: write the whole path"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_is_read_with_its_mark_or_without_and_other_encodings_are_named() {
        let text = "nodes: {}";
        assert_eq!(decode(text.into()), Ok(text.into()));
        assert_eq!(decode(format!("\u{feff}{text}").into()), Ok(text.into()));
        let utf_16 = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for (mark, utf_16) in [([0xff, 0xfe], utf_16(u16::to_le_bytes)), ([0xfe, 0xff], utf_16(u16::to_be_bytes))] {
            for bytes in [[&mark[..], &utf_16].concat(), utf_16] {
                assert_eq!(decode(bytes), Err("found UTF-16 text, expected UTF-8: save the file as UTF-8".into()));
            }
        }
        for utf_32 in [&b"n\0\0\0o\0\0\0"[..], b"\0\0\0n\0\0\0o", b"\xff\xfe\0\0n\0\0\0", b"\0\0\xfe\xff\0\0\0n"] {
            assert!(decode(utf_32.into()).is_err_and(|error| error.starts_with("found UTF-32")), "{utf_32:?}");
        }
        let latin_1 = decode(b"cluster: caf\xe9".into());
        assert!(latin_1.is_err_and(|error| error.starts_with("found bytes that are not UTF-8 at offset 12")));
    }

    #[test]
    fn a_tag_is_found_wherever_a_key_or_a_value_begins_and_nowhere_else() {
        for (text, tag) in [
            ("!ENV a", "!ENV"),
            ("a: !ENV X", "!ENV"),
            ("a: !!binary X", "!!binary"),
            ("a: !<tag:x> X", "!<tag:x>"),
            ("a: {b: [c, !d e]}", "!d"),
            ("a: {!d}", "!d"),
            ("{\"a\":!b c}", "!b"),
            ("- - !a b", "!a"),
            ("a: &b !c d", "!c"),
            ("!a b: c", "!a"),
            ("? !a b", "!a"),
            ("a: 'it''s' # !no\nb: !yes c", "!yes"),
            ("a: \"\\\"!no\" \nb: !yes c", "!yes"),
            ("a: 'two\n lines' \nb: !yes c", "!yes"),
        ] {
            let found = check(text).expect_err(text);
            assert!(found.starts_with(&format!("found the tag {tag:?} at line {}", text.lines().count())), "{found}");
        }
        for text in [
            "a: b!c",
            "a: b !c",
            "a: '!b'",
            "a: \"!b\"",
            "# a: !b",
            "a: b # !c",
            "a: \"b # ' c\" # !d",
            "a: 'b\n  !c'",
            "a: it's !b",
            "a: -!b",
            "a: 5% !b",
            "a: 'b\n% c'",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        let found = check("# a\n%TAG ! tag:a,\n---\n").expect_err("a directive");
        assert!(found.starts_with("found the directive \"%TAG\" at line 2"), "{found}");
    }

    #[test]
    fn a_path_with_something_for_a_shell_is_told() {
        for (path, sign) in [("~/a", "`~`"), ("~", "`~`"), ("~user/a", "`~`"), ("$HOME/a", "`$`"), ("/a/${B}/c", "`$`")]
        {
            assert!(unexpanded(Path::new(path)).is_some_and(|problem| problem.contains(sign)), "{path}");
        }
        for path in ["./~/a", "/a/~/b", "a~", "/a$b", ""] {
            assert_eq!(unexpanded(Path::new(path)), None, "{path}");
        }
    }
}
