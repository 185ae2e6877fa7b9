//! The sections of a PEM file, and what is wrong with a file that is none.
//!
//! The problem is told in words of our own. The words of a parser may quote the file, and the file may be a key. A
//! section that the parser would skip in silence is a problem too: a bundle must not lose a CA because a byte stands
//! before its first line.

use std::path::Path;

use der::asn1::{AnyRef, ObjectIdentifier};
use rustls_pemfile::{Error, Item};

use super::files::CertFile;
use super::secret::shown;
use super::x509::children;

const BOM: &[u8] = b"\xef\xbb\xbf";
const BEGIN: &str = "-----BEGIN ";

/// The sections that are shown by name if a file holds the wrong ones. No other text of a file is ever shown.
const LABELS: [&str; 14] = [
    "CERTIFICATE",
    "CERTIFICATE REQUEST",
    "DH PARAMETERS",
    "EC PARAMETERS",
    "EC PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "PKCS7",
    "PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PRIVATE KEY",
    "TRUSTED CERTIFICATE",
    "X509 CERTIFICATE",
    "X509 CRL",
];

/// The sections of a file, and their names.
pub(super) struct Sections {
    pub(super) items: Vec<Item>,
    pub(super) labels: Vec<&'static str>,
}

/// Reads a file that holds PEM. If it does not: what was found and how to convert it, a sentence without its subject.
pub(super) fn sections(bytes: &[u8], path: &Path, file: CertFile) -> Result<Sections, String> {
    if let Some(other) = other_than_text(bytes, path, file) {
        return Err(other);
    }
    // Editors put one at the front, and a bundle of such files has one before each section.
    let bytes = without_bom(bytes);
    let text = String::from_utf8_lossy(&bytes);
    let begins = text.lines().flat_map(|line| line.split('\r')).filter_map(label);
    let labels: Vec<&'static str> = begins.collect();
    let marks = text.matches(BEGIN).count();
    if labels.len() != marks {
        return Err(layout(&text, path, marks, labels.len()));
    }
    if file == CertFile::Key && is_encrypted(&text) {
        let path = shown(path);
        return Err(format!(
            "found an encrypted private key, and nobody to ask for its passphrase: decrypt it with \
             `openssl pkey -in {path} -out {path}.plain` and use that file"
        ));
    }
    if labels.is_empty() {
        return Err(no_section(&text, bytes.len(), path));
    }
    let items = items(&bytes).map_err(|(number, error)| {
        let label = labels.get(number).copied().unwrap_or("unknown");
        let what = match error {
            Error::MissingSectionEnd { .. } => "has no end",
            Error::IllegalSectionStart { .. } => "has a damaged first line",
            Error::Base64Decode(_) => "is not base64",
        };
        format!("found damaged PEM: section {} ({label}) {what}", number + 1)
    })?;
    let certificates = |label: &&&str| label.ends_with("CERTIFICATE");
    let read = items.iter().filter(|item| matches!(item, Item::X509Certificate(_))).count();
    let written = labels.iter().filter(certificates).count();
    if read != written {
        return Err(format!(
            "found {written} sections with certificates, of which {read} can be used: only OpenSSL reads a \
             TRUSTED CERTIFICATE or an X509 CERTIFICATE, convert each with `openssl x509 -in FILE -out NEW`"
        ));
    }
    Ok(Sections { items, labels })
}

/// The sections, or the number of the first damaged one and the fault.
fn items(mut rest: &[u8]) -> Result<Vec<Item>, (usize, Error)> {
    let mut items = Vec::new();
    while let Some((item, left)) = rustls_pemfile::read_one_from_slice(rest).map_err(|error| (items.len(), error))? {
        items.push(item);
        rest = left;
    }
    Ok(items)
}

fn without_bom(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, others)) = rest.split_first() {
        match rest.strip_prefix(BOM) {
            Some(after) => rest = after,
            None => {
                kept.push(*first);
                rest = others;
            }
        }
    }
    kept
}

/// The section that this line begins: one of [`LABELS`], or "another section".
fn label(line: &str) -> Option<&'static str> {
    let name = line.strip_prefix(BEGIN)?.trim_end().strip_suffix("-----")?;
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
    if !name.chars().all(plain) {
        return None;
    }
    Some(LABELS.into_iter().find(|known| *known == name).unwrap_or("another section"))
}

/// What a file is whose sections do not stand on lines of their own.
fn layout(text: &str, path: &Path, marks: usize, whole: usize) -> String {
    let path = shown(path);
    if text.contains("-----\\n") || text.contains("-----\\r\\n") {
        return format!(
            "found PEM with the two characters `\\n` where its lines should end, as in JSON or in a file of \
             environment variables: write real lines with `printf '%b' \"$(cat {path})\" > NEW`"
        );
    }
    let one_line = |line: &str| line.split_once(BEGIN).is_some_and(|(_, rest)| rest.contains("-----END "));
    if text.lines().any(one_line) {
        return "found PEM whose lines are joined to one, with spaces or nothing between them: copy the file again, \
                with its lines"
            .into();
    }
    format!(
        "found {marks} times {BEGIN:?}, and only {whole} of them begin a line of their own: put each at the start of a \
         line, without quotes or spaces before it"
    )
}

fn no_section(text: &str, length: usize, path: &Path) -> String {
    // Base64 of "-----BEGIN".
    if text.trim_start_matches(['"', '\'']).trim_start().starts_with("LS0tLS1CRUdJT") {
        let path = shown(path);
        return format!("found base64 of a PEM file: decode it with `base64 -d {path} > NEW`");
    }
    format!("found {length} bytes without any PEM section")
}

/// Whether the key in a PEM file has a passphrase, in the form of PKCS #8 or in an older one.
fn is_encrypted(pem: &str) -> bool {
    pem.lines().any(|line| {
        line.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || (line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    })
}

/// What a file is that is no text with one byte per character.
fn other_than_text(bytes: &[u8], path: &Path, file: CertFile) -> Option<String> {
    let path = shown(path);
    if is_utf16(bytes) {
        return Some(format!("found UTF-16 text: convert it with `iconv -f UTF-16 -t UTF-8 {path} > NEW`"));
    }
    let Ok([outer]) = <[AnyRef<'_>; 1]>::try_from(children(bytes).ok()?) else {
        return None;
    };
    let parts = children(outer.value()).ok()?;
    let first = parts.first()?;
    let (what, command) = if let Ok(3) = first.decode_as::<u8>() {
        let option = if file == CertFile::Key { "-nocerts -nodes" } else { "-nokeys" };
        ("PKCS #12 (.p12, .pfx)", format!("openssl pkcs12 {option} -in {path} -out NEW"))
    } else if first.decode_as::<u8>().is_ok() {
        ("a private key in DER", format!("openssl pkey -inform DER -in {path} -out NEW"))
    } else if first.decode_as::<ObjectIdentifier>().is_ok() {
        ("PKCS #7 in DER (.p7b)", format!("openssl pkcs7 -inform DER -print_certs -in {path} -out NEW"))
    } else if parts.len() == 2 {
        ("an encrypted private key in DER", format!("openssl pkey -inform DER -in {path} -out NEW"))
    } else {
        ("a certificate in DER", format!("openssl x509 -inform DER -in {path} -out NEW"))
    };
    Some(format!("found {what}: convert it with `{command}`"))
}

/// Whether a file is text as Windows may write it. Text in UTF-8 has no zero bytes.
fn is_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'-', 0, ..] | [b'-', 0, b'-', ..])
}

#[cfg(test)]
mod tests;
