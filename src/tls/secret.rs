//! What may be a key is shown nowhere.
//!
//! A key gets into a text by mistake: pasted into the config in the place of its path, or given to the program as an
//! argument. An error that quotes the text would write the key into a log. So every text that an error quotes is looked
//! at first, and if it may hold a key, nothing of it is shown. Files of keys and certificates are never quoted at all.

use std::borrow::Cow;
use std::path::Path;

/// Base64 of a key has lines of 64 characters, and no word, name or number of a config has half as many.
const LONGEST_WORD: usize = 31;

/// A path of nothing but letters, digits and slashes is a path up to this length. The shortest key has 64 characters.
const LONGEST_PLAIN_PATH: usize = 63;

/// Whether a text may hold a key or a part of one. The command line asks this of its arguments, too.
#[must_use]
pub fn may_be_key(text: &str) -> bool {
    text.contains("-----BEGIN") || text.split(|c| !is_base64(c)).any(|run| run.len() > LONGEST_WORD)
}

/// The same for the path of a file, as it stands in the config.
pub(crate) fn path_may_be_key(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let base64 = text.chars().filter(|c| is_base64(*c)).count();
    let only = text.chars().all(|c| is_base64(c) || c == '\\' || c.is_whitespace());
    text.contains("-----BEGIN") || (only && !text.starts_with('/') && base64 > LONGEST_PLAIN_PATH)
}

/// The path for people, unless it may be a key.
pub(crate) fn shown(path: &Path) -> Cow<'_, str> {
    if path_may_be_key(path) {
        return "a path that may be a key and is not shown".into();
    }
    path.to_string_lossy()
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/=".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_words_and_paths() {
        let line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgXq3Yt0Vm1mB0Jq2T";
        for key in [line, &line[..40], "-----BEGIN", &format!("found \"{line}\" at line 3")] {
            assert!(may_be_key(key), "{key}");
        }
        for word in
            ["", "db-1.a-rather-long-name.of-a-host.example", "500ms", "fe80:0000:0000:0000:0000:0000:0000:0001"]
        {
            assert!(!may_be_key(word), "{word}");
        }
        for key in [line, &line.replace('q', "/"), &format!("{line}\\n{line}"), "-----BEGIN PRIVATE KEY-----"] {
            assert!(path_may_be_key(Path::new(key)), "{key}");
        }
        let folder = "/var/lib/secrets/leadelect/production/europe/west/nodes/certificates/node1";
        for path in ["certs/server-key.pem", folder, "secrets/leadelect/nodes/production/key"] {
            assert!(!path_may_be_key(Path::new(path)), "{path}");
        }
    }
}
