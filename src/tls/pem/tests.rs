use super::super::test_ca::{TestCa, assert_hides, assert_says};
use super::*;

fn read(bytes: &[u8], file: CertFile) -> Result<Sections, String> {
    sections(bytes, Path::new("/etc/x.pem"), file)
}

fn refusal(bytes: &[u8]) -> String {
    match read(bytes, CertFile::Key) {
        Ok(sections) => panic!("should be refused: {:?}", sections.labels),
        Err(found) => found,
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn der(pem: &str) -> Vec<u8> {
    match rustls_pemfile::read_one_from_slice(pem.as_bytes()) {
        Ok(Some((Item::Pkcs8Key(key), _))) => key.secret_pkcs8_der().to_vec(),
        Ok(Some((Item::X509Certificate(certificate), _))) => certificate.to_vec(),
        other => panic!("expected a key or a certificate: {other:?}"),
    }
}

/// Nothing of the key is in any of the errors.
#[test]
fn a_mangled_key_is_named_for_what_it_is_and_never_quoted() {
    let key = TestCa::new("ca").key_pem();
    let one_line = key.trim_end();
    let mangled = [
        (one_line.replace('\n', "\\n"), "the two characters `\\n` where its lines should end"),
        (one_line.replace('\n', "\\r\\n"), "the two characters `\\n`"),
        (format!("KEY=\"{}\"", one_line.replace('\n', "\\n")), "the two characters `\\n`"),
        (one_line.replace('\n', " "), "lines are joined to one"),
        (one_line.replace('\n', ""), "lines are joined to one"),
        (format!("  {}", key.replace('\n', "\n  ")), "only 0 of them begin a line"),
        (format!("\"{key}\""), "without quotes or spaces"),
        (key.replace("-----END", "----END"), "section 1 (PRIVATE KEY) has no end"),
        (key.replace("PRIVATE KEY-----\nM", "PRIVATE KEY-----\n*M"), "section 1 (PRIVATE KEY) is not base64"),
        (key.replace("KEY-----\nM", "KEY----\nM"), "only 0 of them begin a line"),
        (key.replacen("-----\n", "-----", 1), "only 0 of them begin a line"),
        (key.replace("BEGIN PRIVATE KEY", "BEGIN MY OWN KEY"), "section 1 (another section)"),
        (key.replace("-----BEGIN PRIVATE KEY-----\n", ""), "without any PEM section"),
        (key.lines().nth(1).map(str::to_owned).unwrap_or_default(), "bytes without any PEM section"),
        (format!("{key}{}", one_line.replace('\n', " ")), "lines are joined to one"),
        ("LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1J".to_owned(), "base64 of a PEM file: decode it with `base64 -d"),
        (String::new(), "found 0 bytes"),
    ];
    for (text, expected) in mangled {
        let found = refusal(text.as_bytes());
        assert_says(&found, &[expected]);
        assert_hides(&found, &key);
    }
    for bytes in [utf16(&key), [&[0xff, 0xfe][..], &utf16(&key)].concat()] {
        let found = refusal(&bytes);
        assert_says(&found, &["UTF-16", "`iconv -f UTF-16 -t UTF-8 /etc/x.pem > NEW`"]);
        assert_hides(&found, &key);
    }
}

/// A byte order mark, Windows' and an old Mac's line ends are no reason to refuse a file.
#[test]
fn every_key_that_can_be_read_is_read() {
    let key = TestCa::new("ca").key_pem();
    let whole = der(&key);
    let mark = "\u{feff}";
    for text in [
        key.clone(),
        format!("{mark}{key}"),
        key.replace('\n', "\r\n"),
        key.replace('\n', "\r"),
        format!("a: b\n{key}"),
    ] {
        let sections = read(text.as_bytes(), CertFile::Key).map_err(|found| panic!("{found}"));
        let items = sections.map(|sections| sections.items).unwrap_or_default();
        let [Item::Pkcs8Key(key)] = items.as_slice() else { panic!("expected one key: {}", items.len()) };
        assert!(key.secret_pkcs8_der() == whole);
    }
}

#[test]
fn no_certificate_of_a_bundle_is_lost_in_silence() {
    let (one, two) = (TestCa::new("one").pem(), TestCa::new("two").pem());
    let mark = "\u{feff}";
    let bundle = format!("{mark}{one}{mark}{two}");
    let read_all = read(bundle.as_bytes(), CertFile::Ca).map(|sections| sections.items.len());
    assert_eq!(read_all, Ok(2));
    let lossy = [
        (format!("{}{two}", one.trim_end()), "found 2 times \"-----BEGIN \", and only 1"),
        (format!(" {one}{two}"), "only 1 of them begin a line"),
        (
            one.replace("CERTIFICATE", "TRUSTED CERTIFICATE") + &two,
            "2 sections with certificates, of which 1 can be used",
        ),
        (one.replace("CERTIFICATE", "X509 CERTIFICATE") + &two, "2 sections with certificates, of which 1 can be used"),
    ];
    for (text, expected) in lossy {
        let found = read(text.as_bytes(), CertFile::Ca).map(|sections| sections.labels);
        let found = found.expect_err(expected);
        assert_says(&found, &[expected]);
        assert_hides(&found, &one);
    }
}

#[test]
fn other_forms_are_named_with_the_command_that_converts_them() {
    let ca = TestCa::new("ca");
    let (key, certificate) = (ca.key_pem(), ca.pem());
    let found = refusal(&der(&key));
    assert_says(&found, &["a private key in DER", "`openssl pkey -inform DER -in /etc/x.pem -out NEW`"]);
    let found = refusal(&der(&certificate));
    assert_says(&found, &["a certificate in DER", "`openssl x509 -inform DER -in /etc/x.pem -out NEW`"]);
    // The beginnings of PKCS #12 (version 3) and of PKCS #7 (signedData).
    let p12 = [0x30, 0x07, 0x02, 0x01, 0x03, 0x30, 0x02, 0x06, 0x00];
    assert_says(&refusal(&p12), &["PKCS #12", "`openssl pkcs12 -nocerts -nodes -in /etc/x.pem -out NEW`"]);
    let p7 = [&[0x30, 0x0d, 0x06, 0x09][..], &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2], &[0xa0, 0]].concat();
    assert_says(&refusal(&p7), &["PKCS #7", "-print_certs"]);
}
