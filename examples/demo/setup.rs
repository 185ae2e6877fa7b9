//! What a cluster needs before it can start: a folder with certificates and configs.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// The nodes are called 1, 2 and 3.
pub(crate) const NODES: usize = 3;

const FOLDER_PREFIX: &str = "leadelect-demo-";

/// Makes one CA, and a folder for each node: with a certificate that is valid for this node only, and the config. The
/// config is the same text everywhere, because relative paths count from the folder of the file.
pub(crate) fn prepare(heartbeat: Duration, timeout: Duration) -> Result<TempDir, Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir()?;
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(folder.path().join("ca.pem"), authority.self_signed(&key)?.pem())?;
    let authority = Issuer::new(authority, key);

    let config = config(heartbeat, timeout)?;
    for id in 1..=NODES {
        let file = config_file(folder.path(), id);
        let own = file.with_file_name("");
        fs::create_dir(&own)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([format!("node-{id}")])?.signed_by(&key, &authority)?;
        fs::write(own.join("cert.pem"), certificate.pem())?;
        fs::write(own.join("key.pem"), key.serialize_pem())?;
        fs::write(file, &config)?;
    }
    Ok(folder)
}

/// Where the config of a node is.
pub(crate) fn config_file(folder: &Path, id: usize) -> PathBuf {
    folder.join(format!("node-{id}")).join("cfg.yaml")
}

/// The whole folder of this config, if [`prepare`] has made it.
pub(crate) fn folder_of(config: &Path) -> Option<&Path> {
    let folder = config.parent()?.parent()?;
    folder.file_name()?.to_str()?.starts_with(FOLDER_PREFIX).then_some(folder)
}

fn config(heartbeat: Duration, timeout: Duration) -> Result<String, Box<dyn Error>> {
    let mut yaml = format!(
        "cluster: demo
state_dir: state
certs:
  ca: ../ca.pem
  server:
    cert: cert.pem
    key: key.pem
timing:
  heartbeat_interval: {}us
  election_timeout: {}us
nodes:
",
        heartbeat.as_micros(),
        timeout.as_micros()
    );
    // All stay open until all are chosen, so that no port comes twice.
    let listeners = (0..NODES).map(|_| free_port()).collect::<Result<Vec<_>, _>>()?;
    for (id, listener) in (1..).zip(&listeners) {
        let port = listener.local_addr()?.port();
        writeln!(yaml, "  {id}: {{ addr: 127.0.0.1, port: {port}, tls_name: node-{id} }}")?;
    }
    Ok(yaml)
}

/// A port that the system would not choose itself. It gives its own also to outgoing connections, and then a node that
/// was stopped might not get its port back.
fn free_port() -> Result<TcpListener, Box<dyn Error>> {
    let mut last = None;
    for _ in 0..100 {
        let port = 20_000 + SysRng.try_next_u32()? % 12_000;
        match TcpListener::bind(("127.0.0.1", u16::try_from(port)?)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(format!("found no free port: {last:?}").into())
}
