//! Who is in the cluster, where, and how fast it fails over: one description, the same on every node.
//!
//! It comes from a YAML file or from a [builder](Config::builder). Both end in one validation, so that neither can
//! say what the other cannot. The smallest file:
//!
//! ```yaml
//! certs:
//!   ca: certs/ca-cert.pem
//!   server:
//!     cert: certs/server-cert.pem
//!     key: certs/server-key.pem
//! nodes:
//!   1:
//!     addr: 127.0.0.1
//!     port: 50001
//!   2:
//!     addr: 127.0.0.1
//!     port: 50002
//!   3:
//!     addr: 127.0.0.1
//!     port: 50003
//! ```
//!
//! What may be added, with the defaults:
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `cluster` | `leadelect` | a name of 1 to 64 visible ASCII characters; nodes of another cluster are refused |
//! | `state_dir` | none | a folder for what must survive a restart; each node has its own file inside |
//! | `timing.heartbeat_interval` | `100ms` | how often a leader renews its lease |
//! | `timing.election_timeout` | `500ms` | how long a voter is bound to a leader |
//! | `timing.rpc_timeout` | half of the election timeout | how long one answer may take: from the heartbeat interval to less than the election timeout |
//! | `timing.clock_drift` | `1000ppm` | how far the rate of a clock may be off; also as `0.1%` |
//! | `nodes.N.tls_name` | `addr` | the name in the node's certificate |
//! | `nodes.N.listen` | `addr` | the IP address that the node listens on, where it is not the one that peers dial |
//! | `nodes.N.priority` | `0` | higher is preferred as leader |
//! | `nodes.N.witness` | `false` | votes and never leads |
//! | `insecure` | `false` | no TLS at all, instead of `certs` |
//!
//! Times are written like `100ms`, `1.5s` or `1500us`. Relative paths count from the folder of the file. An unknown
//! key is an error: a misspelt timeout must not silently be the default.

mod builder;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

pub use builder::{ConfigBuilder, NodeSpec};

use crate::election::{NodeId, Timing};
use crate::transport::identity::Identity;
use crate::transport::tls::{self, CertFile, CertFiles, Credentials, TlsError};

/// The largest config: five times 64 nodes with every key set. The parser's time grows with the square of the nesting,
/// and a config of this size that is nothing but braces costs it a second.
const MAX_YAML_BYTES: usize = 64 << 10;

/// An error shows so many characters of what was found: a slip in quotes can swallow the rest of a file.
const MAX_SHOWN: usize = 80;

/// The parser's errors quote without bound.
const MAX_YAML_ERROR: usize = 500;

/// So many days before its certificate ends, a node begins to warn.
const EXPIRY_WARNING_DAYS: i64 = 30;

/// A cluster, as the config of each of its nodes describes it.
///
/// ```
/// let config = leadelect::Config::from_yaml_str(
///     "
/// insecure: true
/// nodes:
///   1: { addr: 127.0.0.1, port: 50001 }
///   2: { addr: 127.0.0.1, port: 50002 }
///   3: { addr: 127.0.0.1, port: 50003, witness: true }
/// ",
/// )?;
/// let node = config.for_node("1")?;
/// assert_eq!(node.id().as_str(), "1");
/// # Ok::<(), leadelect::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    origin: String,
    cluster: String,
    certs: Option<CertFiles>,
    state_dir: Option<PathBuf>,
    timing: Timing,
    rpc_timeout: Duration,
    members: BTreeMap<NodeId, Member>,
}

impl Config {
    /// Reads a YAML file. Its relative paths count from the file's folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or anything in it is not as it should be.
    pub fn from_yaml_file(path: impl AsRef<Path>) -> Result<Config, ConfigError> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let fault = |problem: String| ConfigError::new("", problem).of(&origin);
        let bytes = tls::read_bounded(path).map_err(fault)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            fault(format!("found bytes that are not UTF-8 at offset {at}, expected text"))
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        from_yaml(&text, folder).map_err(|error| error.of(&origin)).map(|config| Config { origin, ..config })
    }

    /// Reads YAML text. Its relative paths count from the current folder.
    ///
    /// # Errors
    ///
    /// When anything in it is not as it should be.
    pub fn from_yaml_str(text: &str) -> Result<Config, ConfigError> {
        from_yaml(text, Path::new(""))
    }

    /// Describes a cluster without a file.
    #[must_use]
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// The nodes of the cluster, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// How fast the cluster fails over.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    pub(crate) fn rpc_timeout(&self) -> Duration {
        self.rpc_timeout
    }

    pub(crate) fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// What a client shows and trusts, whoever it is; nothing if the config says `insecure: true`.
    pub(crate) fn client_credentials(&self) -> Result<Option<Credentials>, ConfigError> {
        let Some(files) = &self.certs else {
            return Ok(None);
        };
        let credentials = Credentials::load_client(files).map_err(|error| self.cert_fault(&error))?;
        Ok(Some(credentials))
    }

    /// The config of one node, which is what a node is started with. Loads the certificates.
    ///
    /// # Errors
    ///
    /// When there is no node `id`, or the node's certificate is one that its peers would refuse.
    pub fn for_node(self, id: &str) -> Result<NodeConfig, ConfigError> {
        let known = listed(self.members.keys(), "or");
        let unknown = format!("found no node {id:?}: expected one of {known}");
        let id: Option<NodeId> = id.parse().ok().filter(|id| self.members.contains_key(id));
        let id = id.ok_or_else(|| ConfigError::new("nodes", unknown).of(&self.origin))?;
        let identity = match &self.certs {
            Some(files) => Some(Arc::new(self.load_identity(files, id)?)),
            None => None,
        };
        let warnings = self.warnings(id, identity.as_deref());
        Ok(NodeConfig { id, config: self, identity, warnings })
    }

    fn load_identity(&self, files: &CertFiles, id: NodeId) -> Result<Identity, ConfigError> {
        Identity::load(files.clone(), self.members[&id].name()).map_err(|error| self.cert_fault(&error))
    }

    fn cert_fault(&self, error: &TlsError) -> ConfigError {
        let place = match error.file {
            CertFile::Ca => "certs.ca",
            CertFile::Cert => "certs.server.cert",
            CertFile::Key => "certs.server.key",
        };
        ConfigError::new(place, error.to_string()).of(&self.origin)
    }

    /// What is allowed and may not be meant.
    fn warnings(&self, id: NodeId, identity: Option<&Identity>) -> Vec<String> {
        let mut warnings = Vec::new();
        let voters = self.members.len();
        if voters % 2 == 0 {
            let (survived, fewer) = ((voters - 1) / 2, voters - 1);
            warnings.push(format!(
                "{voters} voters survive the loss of {survived}, just as {fewer} would: \
                 an odd number costs one node less"
            ));
        }
        let Some(identity) = identity else {
            warnings.push("`insecure: true`: nothing is encrypted, and whoever reaches a port can vote".into());
            return warnings;
        };
        let credentials = identity.current();
        let certificate = credentials.certificate();
        let same: Vec<_> = self.nodes().filter(|(_, member)| certificate.is_valid_for(member.name())).collect();
        if same.len() > 1 {
            warnings.push(format!(
                "with a shared certificate members are not told apart: that of node {id} is valid for the nodes {}",
                listed(same.iter().map(|(id, _)| id), "and")
            ));
        }
        match credentials.ca_days_left() {
            Some(days) if days < 0 => warnings.push(format!(
                "the CA certificate has ended {} days ago: nodes still accept what it has signed, but nothing new \
                 should be signed with it; make a new CA (see gen_cert.sh)",
                days.unsigned_abs()
            )),
            Some(days) if days < EXPIRY_WARNING_DAYS => warnings
                .push(format!("the CA certificate ends in {days} days: make a new CA in time (see gen_cert.sh)")),
            _ => {}
        }
        match credentials.days_left() {
            Some(days) if days < EXPIRY_WARNING_DAYS => warnings
                .push(format!("the certificate of node {id} ends in {days} days: replace the file, it is read again")),
            _ => {}
        }
        warnings
    }
}

/// One node, as its peers know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The IP address or DNS name that peers dial. Names are resolved at every dial.
    pub addr: String,
    /// The TCP port that peers dial, and that the node listens on.
    pub port: u16,
    /// The IP address that the node listens on, where it is not `addr`: behind NAT, or `0.0.0.0` in a container.
    pub listen: Option<IpAddr>,
    /// The name that the node's certificate must be valid for, where it is not `addr`.
    pub tls_name: Option<String>,
    /// Who is preferred as leader: the highest of those that are equally up to date. 0 unless set.
    pub priority: i32,
    /// Whether the node votes and never leads.
    pub witness: bool,
}

impl Member {
    /// The name that the node's certificate must be valid for.
    pub(crate) fn name(&self) -> &str {
        self.tls_name.as_deref().unwrap_or(&self.addr)
    }
}

/// Where the node is dialled: `host:port`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (addr, port) = (&self.addr, self.port);
        match addr.parse() {
            Ok(IpAddr::V6(_)) => write!(f, "[{addr}]:{port}"),
            _ => write!(f, "{addr}:{port}"),
        }
    }
}

/// A config for one node, ready for `Node::start`. Its certificates are loaded and are such that peers accept them.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    id: NodeId,
    config: Config,
    identity: Option<Arc<Identity>>,
    warnings: Vec<String>,
}

impl NodeConfig {
    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    pub(crate) fn cluster(&self) -> &str {
        self.config.cluster()
    }

    /// How fast leadership fails over.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.config.timing()
    }

    pub(crate) fn rpc_timeout(&self) -> Duration {
        self.config.rpc_timeout()
    }

    pub(crate) fn state_dir(&self) -> Option<&Path> {
        self.config.state_dir.as_deref()
    }

    /// Every node of the cluster, this one included.
    pub(crate) fn voters(&self) -> &BTreeMap<NodeId, Member> {
        &self.config.members
    }

    /// The host and port to listen on.
    pub(crate) fn listen(&self) -> (String, u16) {
        let own = &self.config.members[&self.id];
        (own.listen.map_or_else(|| own.addr.clone(), |ip| ip.to_string()), own.port)
    }

    /// What this node shows and trusts; nothing means that the config says `insecure: true`.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// What is allowed and may not be meant, a sentence each. The node says them once in its log when it starts.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// What is wrong with a config: the file, the place in it, what was found and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    origin: String,
    place: String,
    problem: String,
}

impl ConfigError {
    fn new(place: &str, problem: impl Into<String>) -> Self {
        ConfigError { origin: String::new(), place: place.to_owned(), problem: problem.into() }
    }

    fn of(self, origin: &str) -> Self {
        ConfigError { origin: origin.to_owned(), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.origin, &self.place] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}

fn found(place: &str, found: &str, expected: &str) -> ConfigError {
    let shown: String = found.chars().take(MAX_SHOWN).collect();
    ConfigError::new(place, format!("found {shown:?}: {expected}"))
}

fn listed<'a>(ids: impl Iterator<Item = &'a NodeId>, last: &str) -> String {
    let mut ids: Vec<String> = ids.map(ToString::to_string).collect();
    match (ids.pop(), ids.as_slice()) {
        (None, _) => String::new(),
        (Some(only), []) => only,
        (Some(end), rest) => format!("{} {last} {end}", rest.join(", ")),
    }
}

// What the YAML file looks like. Every value is read as the text that stands there, so that an id or a port may be
// written as a number or in quotes, and an error can quote it.

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `nodes`, and `certs` or `insecure: true`")]
struct FileYaml {
    cluster: Option<String>,
    certs: Option<CertsYaml>,
    insecure: Option<String>,
    state_dir: Option<PathBuf>,
    timing: Option<TimingYaml>,
    nodes: NodesYaml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `ca` and `server`")]
struct CertsYaml {
    ca: PathBuf,
    server: ServerYaml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `cert` and `key`")]
struct ServerYaml {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a map of times such as `election_timeout: 500ms`")]
struct TimingYaml {
    heartbeat_interval: Option<String>,
    election_timeout: Option<String>,
    rpc_timeout: Option<String>,
    clock_drift: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with `addr` and `port`")]
struct NodeYaml {
    addr: String,
    port: String,
    listen: Option<String>,
    tls_name: Option<String>,
    priority: Option<String>,
    witness: Option<String>,
}

/// A map would lose the first of two nodes with the same id.
struct NodesYaml(Vec<(String, NodeYaml)>);

impl<'de> Deserialize<'de> for NodesYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Nodes;
        impl<'de> Visitor<'de> for Nodes {
            type Value = NodesYaml;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from each node's id to its `addr` and `port`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodesYaml, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = map.next_entry()? {
                    nodes.push(node);
                }
                Ok(NodesYaml(nodes))
            }
        }
        deserializer.deserialize_map(Nodes)
    }
}

const EXPECTED_PORT: &str = "expected a port from 1 to 65535";
const EXPECTED_TIME: &str = "expected a time such as `100ms`, `1.5s` or `1500us`";

fn from_yaml(text: &str, folder: &Path) -> Result<Config, ConfigError> {
    let fault = |problem: String| ConfigError::new("", problem);
    if text.len() > MAX_YAML_BYTES {
        let found = text.len();
        return Err(fault(format!("found {found} bytes: expected a config of at most {MAX_YAML_BYTES}")));
    }
    let only_comments = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(only_comments) {
        return Err(fault("found nothing: expected `nodes`, and `certs` or `insecure: true`".into()));
    }
    let yaml: FileYaml =
        serde_yaml::from_str(text).map_err(|error| fault(error.to_string().chars().take(MAX_YAML_ERROR).collect()))?;
    let timing = yaml.timing.unwrap_or_default();
    let mut builder = Config::builder();
    if let Some(name) = yaml.cluster {
        builder.cluster = name;
    }
    builder.insecure = yaml.insecure.map_or(Ok(false), |text| parse("insecure", &text, EXPECTED_BOOL))?;
    builder.certs = yaml.certs.map(|certs| CertFiles {
        ca: folder.join(certs.ca),
        cert: folder.join(certs.server.cert),
        key: folder.join(certs.server.key),
    });
    // An empty path would become the folder of the file: the builder refuses it.
    builder.state_dir = yaml.state_dir.map(|path| match path.as_os_str() {
        empty if empty.is_empty() => path,
        _ => folder.join(path),
    });
    if let Some(text) = timing.heartbeat_interval {
        builder.heartbeat_interval = parse_time("timing.heartbeat_interval", &text)?;
    }
    if let Some(text) = timing.election_timeout {
        builder.election_timeout = parse_time("timing.election_timeout", &text)?;
    }
    if let Some(text) = timing.rpc_timeout {
        builder.rpc_timeout = Some(parse_time("timing.rpc_timeout", &text)?);
    }
    if let Some(text) = timing.clock_drift {
        builder.clock_drift_ppm = parse_drift("timing.clock_drift", &text)?;
    }
    for (id, node) in yaml.nodes.0 {
        builder.nodes.push(parse_node(id, node)?);
    }
    builder.build()
}

const EXPECTED_BOOL: &str = "expected `true` or `false`";

fn parse_node(id: String, yaml: NodeYaml) -> Result<NodeSpec, ConfigError> {
    let place = |key: &str| format!("nodes.{id}.{key}");
    let port = parse(&place("port"), &yaml.port, EXPECTED_PORT)?;
    let mut node = NodeSpec::new(id.clone(), yaml.addr, port);
    node.member.tls_name = yaml.tls_name;
    if let Some(text) = yaml.listen {
        node.member.listen = Some(parse(&place("listen"), &text, "expected an IP address of this host, without port")?);
    }
    if let Some(text) = yaml.priority {
        node.member.priority = parse(&place("priority"), &text, "expected a whole number, such as -1 or 10")?;
    }
    if let Some(text) = yaml.witness {
        node.member.witness = parse(&place("witness"), &text, EXPECTED_BOOL)?;
    }
    Ok(node)
}

fn parse<T: FromStr>(place: &str, text: &str, expected: &str) -> Result<T, ConfigError> {
    text.parse().map_err(|_| found(place, text, expected))
}

/// A time as the config has it, for the command line.
///
/// # Errors
///
/// When it is not such a time.
#[doc(hidden)]
pub fn time_from_str(text: &str) -> Result<Duration, ConfigError> {
    parse_time("", text)
}

fn parse_time(place: &str, text: &str) -> Result<Duration, ConfigError> {
    let nanos = match split_unit(text) {
        (number, "s") => scaled(number, 1_000_000_000),
        (number, "ms") => scaled(number, 1_000_000),
        (number, "us") => scaled(number, 1_000),
        _ => None,
    };
    nanos.map(Duration::from_nanos).ok_or_else(|| found(place, text, EXPECTED_TIME))
}

fn parse_drift(place: &str, text: &str) -> Result<u32, ConfigError> {
    let ppm = match split_unit(text) {
        (number, "ppm") => scaled(number, 1),
        (number, "%") => scaled(number, 10_000),
        _ => None,
    };
    let ppm = ppm.and_then(|ppm| u32::try_from(ppm).ok());
    ppm.ok_or_else(|| found(place, text, "expected a rate such as `1000ppm` or `0.1%`"))
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// A decimal number times `scale`, if that is a whole number: `1.5` times 1000 is 1500. Without floating point, so
/// that what is written is what is meant.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut total = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let mut digit_scale = scale;
    for digit in fraction.chars() {
        let digit = u64::from(digit.to_digit(10)?);
        if digit_scale < 10 && digit != 0 {
            return None;
        }
        digit_scale /= 10;
        total = total.checked_add(digit * digit_scale)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests;
