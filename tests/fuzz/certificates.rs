//! The files that a config names: the CA, the own certificate, and its key.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use leadelect::Config;
use tempfile::TempDir;

const CA: &str = include_str!("fixture/ca.pem");
const CERT: &str = include_str!("fixture/cert.pem");
/// A key that protects nothing.
const KEY: &str = include_str!("fixture/key.pem");

/// The name that the certificate is valid for.
const NAME: &str = "node.example";

thread_local! {
    static FILES: RefCell<Option<Files>> = const { RefCell::new(None) };
}

struct Files {
    _folder: TempDir,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new() -> Files {
        let folder = super::folder();
        let path = |name| folder.path().join(name);
        let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
        Files { _folder: folder, ca, cert, key }
    }
}

/// One of the three files has these bytes, and the others are in order. The first byte says which one it is, and
/// whether the bytes are the PEM file or the DER inside: few mutations survive base64.
pub fn certificates(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let (which, as_der) = (mode % 3, mode / 3 % 2 == 1);
    let mut contents = [CA, CERT, KEY].map(|text| text.as_bytes().to_vec());
    let label = if which == 2 { "PRIVATE KEY" } else { "CERTIFICATE" };
    contents[usize::from(which)] = if as_der { pem(label, bytes).into_bytes() } else { bytes.to_vec() };
    FILES.with_borrow_mut(|files| {
        let files = files.get_or_insert_with(Files::new);
        for (path, content) in [&files.ca, &files.cert, &files.key].into_iter().zip(contents) {
            fs::write(path, content).expect("written");
        }
        if let Err(error) = load(&files.ca, &files.cert, &files.key) {
            super::check_error(&error);
            check_secret(&error);
        }
    });
}

fn load(ca: &Path, cert: &Path, key: &Path) -> Result<(), String> {
    let config = Config::builder().certs(ca, cert, key).node(("1", NAME, 1)).build().expect("a config");
    let node = config.for_node("1").map_err(|error| error.to_string())?;
    node.warnings().iter().for_each(|warning| super::check_error(warning));
    // What is shown of a config has nothing of a key either.
    check_secret(&format!("{node:?}"));
    Ok(())
}

/// This many characters of a key in a row are no coincidence.
const TELLING: usize = 10;

/// No part of the key is in `text`, neither as the file has it nor as the numbers that it stands for.
fn check_secret(text: &str) {
    for line in KEY.lines().filter(|line| !line.starts_with("-----")) {
        for part in line.as_bytes().windows(TELLING) {
            let part = std::str::from_utf8(part).expect("base64");
            assert!(!text.contains(part), "a part of the key: {text}");
        }
    }
    // The secret number, behind a header of 36 bytes.
    static SECRET: LazyLock<Vec<u8>> = LazyLock::new(|| der(KEY)[36..68].to_vec());
    for part in SECRET.windows(4) {
        assert!(!text.contains(format!("{part:?}").trim_matches(['[', ']'])), "a part of the key, as numbers: {text}");
    }
}

const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn der(pem: &str) -> Vec<u8> {
    let body = pem.lines().filter(|line| !line.starts_with("-----")).flat_map(str::bytes);
    let values: Vec<u32> = body.filter_map(|sign| (0..64).find(|at| SIGNS[*at as usize] == sign)).collect();
    let bytes = values.chunks(4).flat_map(|four| {
        let bits = (0..4).fold(0, |bits, at| bits << 6 | four.get(at).copied().unwrap_or(0));
        bits.to_be_bytes()[1..four.len()].to_vec()
    });
    bytes.collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut body = String::new();
    for three in der.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(three.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let sign = SIGNS[(bits >> (18 - 6 * at) & 63) as usize];
            body.push(if at <= three.len() { char::from(sign) } else { '=' });
        }
    }
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}
