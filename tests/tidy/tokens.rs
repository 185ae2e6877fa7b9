//! Rust as words and signs.

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

impl Token {
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
    }
}

/// Words, `::`, and single signs. Comments, literals and lifetimes are left out.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let skipped = skipped(rest, word);
        if skipped > 0 {
            line += rest[..skipped].matches('\n').count();
            rest = &rest[skipped..];
            continue;
        }
        line += usize::from(first == '\n');
        let length = match first {
            ':' if rest.starts_with("::") => 2,
            _ => word.max(first.len_utf8()),
        };
        if !first.is_whitespace() {
            let text = rest[..length].to_owned();
            tokens.push(Token { text, line });
        }
        rest = &rest[length..];
    }
    tokens
}

/// How long the comment, literal or lifetime is that `rest` begins with, if it does; `word` is the length of its first
/// word.
fn skipped(rest: &str, word: usize) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let prefix = &rest[..word];
    let quoted = &rest[word..];
    let raw = matches!(prefix, "r" | "br" | "cr");
    let hashes = quoted.len() - quoted.trim_start_matches('#').len();
    if raw && quoted[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let begin = word + hashes + 1;
        let length = rest[begin..].find(&end);
        return length.map_or(rest.len(), |length| begin + length + end.len());
    }
    if matches!(prefix, "" | "b" | "c") && quoted.starts_with('"') {
        return word + literal(quoted, '"');
    }
    if matches!(prefix, "" | "b") && quoted.starts_with('\'') {
        let mut inner = quoted[1..].chars();
        let (first, second) = (inner.next(), inner.next());
        if first == Some('\\') || second == Some('\'') {
            return word + literal(quoted, '\'');
        }
        return word + 1; // a lifetime: its name is a word as any other
    }
    0
}

/// How long the literal is that begins and ends with `quote`.
fn literal(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// How long a comment is in which comments may nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Leaves out what is there only for tests, and names the modules among it that have a file of their own.
pub(super) fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    let mut kept = Vec::new();
    let mut files = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !is_test_attribute(&tokens[at..]) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        while tokens.get(at).is_some_and(|token| token.text == "#") {
            at = after_brackets(&tokens, at + 1);
        }
        let begin = at;
        while let Some(token) = tokens.get(at) {
            match token.text.as_str() {
                ";" => break,
                "{" => {
                    at = after_brackets(&tokens, at) - 1;
                    break;
                }
                "(" | "[" => at = after_brackets(&tokens, at),
                _ => at += 1,
            }
        }
        let end = tokens.get(at).map_or("", |token| token.text.as_str());
        let item: Vec<&str> = tokens[begin..at.min(tokens.len())].iter().map(|token| token.text.as_str()).collect();
        if let ([.., "mod", name], ";") = (item.as_slice(), end) {
            files.push((*name).to_owned());
        }
        at += 1;
    }
    (kept, files)
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    let begins = |pattern: &[&str]| {
        tokens.len() >= pattern.len() && pattern.iter().zip(tokens).all(|(text, token)| token.text == *text)
    };
    begins(&["#", "[", "cfg", "(", "test", ")", "]"])
        || begins(&["#", "[", "cfg", "(", "all", "(", "test"])
        || begins(&["#", "[", "test", "]"])
}

/// Where it goes on behind the bracket that opens at `at`.
fn after_brackets(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    at
}
