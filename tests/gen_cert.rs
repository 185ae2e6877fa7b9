//! `gen_cert.sh` makes certificates that nodes accept, renews them without a bad moment, and says what is wrong.
//!
//! Every test runs a copy of the script in a folder of its own, so the repository's `certs/` is never touched.
//! Where openssl or shellcheck is not installed, the tests that need it are skipped.
#![cfg(unix)]

#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use webpki::{EndEntityCert, KeyUsage};

const CLASSIC: [&str; 4] = ["ca-cert.pem", "ca-key.pem", "server-cert.pem", "server-key.pem"];

#[test]
fn the_classic_run_makes_a_ca_and_a_certificate_for_this_host() {
    let Some(place) = Place::new() else { return };

    place.succeeds(&[]);

    assert_eq!(place.file_names(), CLASSIC);
    assert_eq!(
        place.alternative_names("server-cert.pem"),
        "IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, DNS:localhost"
    );
    place.openssl_verifies("server-cert.pem");
    place.rustls_accepts("server", "127.0.0.1");
    place.rustls_accepts("server", "::1");
    place.rustls_accepts("server", "localhost");
}

#[test]
fn a_certificate_per_host_is_valid_for_that_host_only() {
    let Some(place) = Place::new() else { return };
    let hosts = [
        ("node1.example.org", "node1.example.org"),
        ("10.0.0.3", "10.0.0.3"),
        ("fe80::1", "fe80__1"),
        ("my_node", "my_node"),
    ];

    place.succeeds(&hosts.map(|(host, _)| host));

    for (host, file) in hosts {
        place.openssl_verifies(&format!("{file}-cert.pem"));
        place.rustls_accepts(file, host);
        for (other, _) in hosts.iter().filter(|(other, _)| *other != host) {
            assert!(
                !place.is_valid_for(&format!("{file}-cert.pem"), other),
                "the certificate of {host} is valid for {other}"
            );
        }
    }
    assert_eq!(place.alternative_names("10.0.0.3-cert.pem"), "IP Address:10.0.0.3");
    assert_eq!(place.alternative_names("my_node-cert.pem"), "DNS:my_node");
    assert_eq!(place.file_names().len(), 2 + 2 * hosts.len());
}

#[test]
fn keys_are_readable_by_the_owner_only() {
    let Some(place) = Place::new() else { return };

    place.succeeds(&[]);

    for key in ["ca-key.pem", "server-key.pem"] {
        assert_eq!(place.mode(key), 0o600, "{key}");
    }
    for cert in ["ca-cert.pem", "server-cert.pem"] {
        assert_eq!(place.mode(cert), 0o644, "{cert}");
    }
}

#[test]
fn a_second_run_keeps_the_ca_and_the_keys_and_renews_the_certificates() {
    let Some(place) = Place::new() else { return };
    place.succeeds(&[]);
    place.succeeds(&["node1"]);
    let before = place.contents();

    place.succeeds(&[]);
    place.succeeds(&["node1"]);

    let after = place.contents();
    for name in ["ca-cert.pem", "ca-key.pem", "server-key.pem", "node1-key.pem"] {
        assert_eq!(before[name], after[name], "{name} has changed");
    }
    for (base, host) in [("server", "localhost"), ("node1", "node1")] {
        let name = format!("{base}-cert.pem");
        assert_ne!(before[&name], after[&name], "{name} is still the old one");
        place.rustls_accepts(base, host);
    }
}

#[test]
fn a_key_that_is_missing_broken_or_was_readable_by_others_is_made_anew() {
    let Some(place) = Place::new() else { return };
    place.succeeds(&[]);
    let spoilers: [fn(&Path); 3] = [
        |key| fs::remove_file(key).expect("remove the key"),
        |key| fs::write(key, "no key").expect("break the key"),
        |key| fs::set_permissions(key, Permissions::from_mode(0o644)).expect("open the key"),
    ];
    for spoil in spoilers {
        let before = place.contents();
        spoil(&place.certs().join("server-key.pem"));

        place.succeeds(&[]);

        assert_ne!(before["server-key.pem"], place.contents()["server-key.pem"]);
        assert_eq!(place.mode("server-key.pem"), 0o600);
        place.rustls_accepts("server", "localhost");
    }
}

#[test]
fn a_certificate_lasts_for_the_days_asked_for() {
    let Some(place) = Place::new() else { return };
    for days in [1, 30, 3650] {
        place.succeeds(&["--days", &days.to_string()]);

        let cert = "server-cert.pem";
        assert!(place.lasts(cert, days * 86_400 - 3_600), "{days} days");
        assert!(!place.lasts(cert, days * 86_400 + 3_600), "{days} days");
    }
}

#[test]
fn a_certificate_never_outlives_its_ca() {
    let Some(place) = Place::new() else { return };
    place.succeeds(&[]);
    place.make_ca_of_days(100);
    let before = place.contents();

    let refusal = place.fails(1, &["--days", "100"]);

    for part in ["100 days", "99 whole days", "--days 99"] {
        assert!(refusal.contains(part), "no {part:?} in: {refusal}");
    }
    assert_eq!(before, place.contents());
    place.succeeds(&["--days", "99"]);
    place.openssl_verifies("server-cert.pem");
}

#[test]
fn a_ca_that_cannot_sign_is_refused_with_advice_and_nothing_changes() {
    type Spoiler = fn(&Place);
    let spoilers: [(&str, Spoiler); 6] = [
        ("has expired", |place| place.make_expired_ca()),
        ("is not the key of", |place| {
            place.copy("server-key.pem", "ca-key.pem");
        }),
        ("ca-key.pem is not", |place| place.remove("ca-key.pem")),
        ("ca-cert.pem is not", |place| place.remove("ca-cert.pem")),
        ("holds no certificate", |place| {
            place.copy("server-key.pem", "ca-cert.pem");
        }),
        ("not a CA's", |place| {
            place.copy("server-cert.pem", "ca-cert.pem");
            place.copy("server-key.pem", "ca-key.pem");
        }),
    ];
    for (complaint, spoil) in spoilers {
        let Some(place) = Place::new() else { return };
        place.succeeds(&[]);
        spoil(&place);
        let before = place.contents();

        let refusal = place.fails(1, &[]);

        assert!(refusal.contains(complaint), "no {complaint:?} in: {refusal}");
        assert!(refusal.contains("for a new CA, move"), "{refusal}");
        assert_eq!(before, place.contents(), "{complaint}");
    }
}

#[test]
fn a_ca_whose_key_no_node_can_check_is_refused() {
    let Some(place) = Place::new() else { return };
    place.succeeds(&[]);
    for (key, named) in [
        (&["EC", "-pkeyopt", "ec_paramgen_curve:P-521"][..], "ECDSA P-521"),
        (&["RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "RSA with 1024 bits"),
        (&["RSA-PSS"], "RSA-PSS"),
        (&["ED448"], "of another kind"),
    ] {
        place.make_key("ca-key.pem", key);
        place.make_ca_of_days(100);
        let before = place.contents();

        let refusal = place.fails(1, &[]);

        assert!(refusal.contains(&format!("ca-cert.pem has a key {named}")), "{refusal}");
        assert!(refusal.contains("nodes can use ECDSA P-256"), "{refusal}");
        assert_eq!(before, place.contents(), "{named}");
    }
    for key in
        [&["RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..], &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"], &["ED25519"]]
    {
        place.make_key("ca-key.pem", key);
        place.make_ca_of_days(400);
        place.succeeds(&[]);
        place.rustls_accepts("server", "localhost");
    }
}

#[test]
fn a_key_that_no_node_can_use_is_made_anew() {
    let Some(place) = Place::new() else { return };
    place.succeeds(&[]);
    place.make_key("server-key.pem", &["EC", "-pkeyopt", "ec_paramgen_curve:P-521"]);

    let output = place.run(&[]);

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("holds a key ECDSA P-521"), "{said}");
    place.rustls_accepts("server", "localhost");
}

#[test]
fn a_run_beside_another_one_is_refused() {
    let Some(place) = Place::new() else { return };
    fs::create_dir_all(place.certs().join(".gen_cert")).expect("make the work folder");

    let refusal = place.fails(1, &[]);

    assert!(refusal.contains("another run"), "{refusal}");
    assert_eq!(place.file_names(), [".gen_cert"]);
}

#[test]
fn wrong_usage_exits_with_2_and_names_the_argument() {
    let place = Place::without_openssl();
    let too_long = "a.".repeat(120) + "a";
    let long_label = "a".repeat(64);
    #[rustfmt::skip]
    let hosts = [
        "node1:50001", "[::1]", "fe80::1%eth0", "*.example.org", "300.0.0.1", "10.0.0", "010.0.0.1", "1::2::3", ":1",
        "1:2:3:4:5:6:7:8:9", "12345::", "a..b", "a.", ".a", "a-", "a b", "a/b", "../a", "a,DNS:b", "ca", "CA", "server",
        "Server", "", "naïve", &too_long, &long_label,
    ];
    for host in hosts {
        let message = place.fails(2, &["node1", host]);
        assert!(message.contains(&format!("bad host '{host}'")), "{host:?}: {message}");
    }
    for days in ["0", "-1", "x", "1.5", "", "3651", "99999999999999999999"] {
        let message = place.fails(2, &["--days", days]);
        assert!(message.contains(&format!("bad --days '{days}'")), "{message}");
        assert!(message.contains("1 to 3650"), "{message}");
    }
    for (arguments, named) in [
        (["node1", "--dasy"], "unknown option '--dasy'"),
        (["node1", "--days"], "--days: expected a whole number"),
        (["node1", "NODE1"], "bad host 'NODE1'"),
        (["fe80::1", "fe80__1"], "bad host 'fe80__1'"),
        (["--", "--help"], "bad host '--help'"),
    ] {
        let message = place.fails(2, &arguments);
        assert!(message.contains(named), "{arguments:?}: {message}");
    }
    assert!(!place.certs().exists());
}

#[test]
fn help_goes_to_stdout_and_needs_no_openssl() {
    let place = Place::without_openssl();

    let output = place.run(&["--help"]);

    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout);
    for word in ["usage:", "--days N", "':' becomes '_'", "ca-key.pem"] {
        assert!(help.contains(word), "no {word:?} in: {help}");
    }
}

#[test]
fn a_missing_openssl_is_named_with_what_to_do() {
    let place = Place::without_openssl();

    let refusal = place.fails(1, &[]);

    assert!(refusal.contains("needs the openssl command"), "{refusal}");
    assert!(refusal.contains("install it"), "{refusal}");
    assert!(!place.certs().exists());
}

#[test]
fn shellcheck_finds_nothing() {
    if find_tool("shellcheck").is_none() {
        return skip::because("needs shellcheck");
    }
    let output = Command::new("shellcheck").arg(script()).output().expect("start shellcheck");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A folder with a copy of the script. Its name has a space in it, as a user's may.
struct Place {
    folder: TempDir,
    path: Option<PathBuf>,
}

impl Place {
    fn new() -> Option<Self> {
        if find_tool("openssl").is_none() {
            skip::because("needs openssl");
            return None;
        }
        Some(Self::with_path(None))
    }

    /// A place whose `PATH` has every tool that the script uses but openssl.
    fn without_openssl() -> Self {
        let place = Self::with_path(Some("tools"));
        let tools = place.folder.path().join("tools");
        fs::create_dir(&tools).expect("make the folder of tools");
        for tool in ["cat", "chmod", "dirname", "ls", "mkdir", "mv", "rm", "tr"] {
            let found = find_tool(tool).unwrap_or_else(|| panic!("{tool} is in PATH"));
            symlink(found, tools.join(tool)).expect("link the tool");
        }
        place
    }

    fn with_path(path: Option<&str>) -> Self {
        let folder = tempfile::Builder::new().prefix("gen cert ").tempdir().expect("make a folder");
        fs::copy(script(), folder.path().join("gen_cert.sh")).expect("copy the script");
        let path = path.map(|name| folder.path().join(name));
        Self { folder, path }
    }

    fn certs(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// Runs the script from a working directory that is not its own.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("/bin/sh");
        command.arg(self.folder.path().join("gen_cert.sh")).args(arguments).current_dir("/");
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command.output().expect("start the script")
    }

    fn succeeds(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!self.certs().join(".gen_cert").exists());
    }

    /// Runs the script, checks its exit status, and returns what it said on stderr.
    fn fails(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {message}");
        assert!(message.starts_with("gen_cert.sh: "), "{message}");
        assert!(output.stdout.is_empty());
        message
    }

    fn file_names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.certs())
            .expect("list certs/")
            .map(|entry| entry.expect("read certs/").file_name())
            .map(|name| name.into_string().expect("an ASCII name"))
            .collect();
        names.sort();
        names
    }

    fn contents(&self) -> BTreeMap<String, String> {
        self.file_names()
            .into_iter()
            .map(|name| {
                let text = fs::read_to_string(self.certs().join(&name)).expect("read a PEM file");
                (name, text)
            })
            .collect()
    }

    fn mode(&self, name: &str) -> u32 {
        let metadata = fs::metadata(self.certs().join(name)).expect("a file");
        metadata.permissions().mode() & 0o7777
    }

    fn copy(&self, from: &str, to: &str) {
        fs::copy(self.certs().join(from), self.certs().join(to)).expect("copy a PEM file");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.certs().join(name)).expect("remove a PEM file");
    }

    fn make_expired_ca(&self) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2011, 1, 1);
        let cert = params.self_signed(&key).expect("a certificate");
        fs::write(self.certs().join("ca-key.pem"), key.serialize_pem()).expect("write the key");
        fs::write(self.certs().join("ca-cert.pem"), cert.pem()).expect("write the CA");
    }

    /// Replaces the CA's certificate by one that ends after `days`, with the same key.
    fn make_ca_of_days(&self, days: u32) {
        let config = self.folder.path().join("ca.cnf");
        let text = "[req]\nprompt=no\ndistinguished_name=subject\nx509_extensions=ca\n[subject]\nCN=short\n\
                    [ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n";
        fs::write(&config, text).expect("write the config");
        let mut command = self.openssl(&["req", "-x509", "-new", "-key", "ca-key.pem"]);
        command.arg("-config").arg(config);
        command.args(["-days", &days.to_string(), "-out", "ca-cert.pem"]);
        let output = command.output().expect("start openssl");
        assert!(output.status.success(), "{output:?}");
    }

    /// Replaces a key by one that `openssl genpkey -algorithm` makes, with the mode of a key.
    fn make_key(&self, name: &str, algorithm: &[&str]) {
        let mut command = self.openssl(&["genpkey", "-out", name, "-algorithm"]);
        let output = command.args(algorithm).output().expect("start openssl");
        assert!(output.status.success(), "{output:?}");
        fs::set_permissions(self.certs().join(name), Permissions::from_mode(0o600)).expect("set the mode");
    }

    fn openssl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.certs());
        command
    }

    fn openssl_verifies(&self, cert: &str) {
        for purpose in ["sslserver", "sslclient"] {
            let output = self
                .openssl(&["verify", "-x509_strict", "-purpose", purpose])
                .args(["-CAfile", "ca-cert.pem", cert])
                .output()
                .expect("start openssl");
            assert!(output.status.success(), "{purpose}: {output:?}");
        }
    }

    fn lasts(&self, cert: &str, seconds: u32) -> bool {
        self.openssl(&["x509", "-noout", "-in", cert])
            .args(["-checkend", &seconds.to_string()])
            .output()
            .expect("start openssl")
            .status
            .success()
    }

    fn alternative_names(&self, cert: &str) -> String {
        let output =
            self.openssl(&["x509", "-noout", "-ext", "subjectAltName", "-in", cert]).output().expect("start openssl");
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().nth(1).unwrap_or_default();
        names.trim().to_owned()
    }

    /// Checks what a node checks: the key fits, and either side of a connection may be `host`.
    fn rustls_accepts(&self, base: &str, host: &str) {
        let cert = self.cert(&format!("{base}-cert.pem"));
        let key = PrivateKeyDer::from_pem_file(self.certs().join(format!("{base}-key.pem"))).expect("a private key");
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(vec![cert.clone()], key, &provider).expect("a key that fits the certificate");

        let ca = self.cert("ca-cert.pem");
        let anchors = [webpki::anchor_from_trusted_cert(&ca).expect("a CA")];
        let leaf = EndEntityCert::try_from(&cert).expect("a leaf certificate");
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            leaf.verify_for_usage(
                provider.signature_verification_algorithms.all,
                &anchors,
                &[],
                UnixTime::now(),
                usage,
                None,
                None,
            )
            .expect("a certificate for both sides");
        }
        assert!(self.is_valid_for(&format!("{base}-cert.pem"), host), "{base} for {host}");
    }

    fn is_valid_for(&self, cert: &str, host: &str) -> bool {
        let cert = self.cert(cert);
        let leaf = EndEntityCert::try_from(&cert).expect("a leaf certificate");
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(host).expect("a host name"),
        };
        leaf.verify_is_valid_for_subject_name(&name).is_ok()
    }

    fn cert(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.certs().join(name)).expect("a certificate")
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gen_cert.sh")
}

fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
