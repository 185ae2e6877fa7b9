//! A cluster described in code, and the one validation that every description goes through.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Config, ConfigError, Member, found, text};
use crate::election::{NodeId, NodeIdError, Timing, TimingSpec};
use crate::tls::{self, CertFiles, may_be_key, path_may_be_key};

pub(super) const EXPECTED_PORT: &str = "expected a port from 1 to 65535";

pub(super) const EXPECTED_ID: &str = "expected a node id of 1 to 32 visible ASCII characters";

/// The most nodes in a cluster. A leader asks each of them in every interval and keeps a thread for each. More nodes
/// would add nothing to the availability of five that an operator could measure.
const MAX_NODES: usize = 64;

/// The longest name of a cluster: it travels in frames, whose size is bounded.
const MAX_CLUSTER_LEN: usize = 64;

/// A node for [`ConfigBuilder::node`].
///
/// ```
/// use leadelect::config::NodeSpec;
///
/// let plain: NodeSpec = ("1", "10.0.0.1", 50001).into();
/// let witness = NodeSpec::new("3", "10.0.0.3", 50001).tls_name("db-3.example").witness();
/// # let _ = (plain, witness);
/// ```
#[derive(Debug, Clone)]
pub struct NodeSpec {
    id: Result<NodeId, NodeIdError>,
    pub(super) member: Member,
}

impl NodeSpec {
    /// A node that peers dial at `addr` (an IP address or DNS name) and `port`.
    #[must_use]
    pub fn new(id: impl TryInto<NodeId, Error: Into<NodeIdError>>, addr: impl Into<String>, port: u16) -> NodeSpec {
        NodeSpec { id: id.try_into().map_err(Into::into), member: Member::new(addr, port) }
    }

    /// Sets [`Member::listen`].
    #[must_use]
    pub fn listen(mut self, ip: IpAddr) -> NodeSpec {
        self.member.listen = Some(ip);
        self
    }

    /// Sets [`Member::tls_name`].
    #[must_use]
    pub fn tls_name(mut self, name: impl Into<String>) -> NodeSpec {
        self.member.tls_name = Some(name.into());
        self
    }

    /// Sets [`Member::priority`].
    #[must_use]
    pub fn priority(mut self, priority: i32) -> NodeSpec {
        self.member.priority = priority;
        self
    }

    /// Sets [`Member::witness`].
    #[must_use]
    pub fn witness(mut self) -> NodeSpec {
        self.member.witness = true;
        self
    }
}

impl<I: TryInto<NodeId, Error: Into<NodeIdError>>, A: Into<String>> From<(I, A, u16)> for NodeSpec {
    fn from((id, addr, port): (I, A, u16)) -> NodeSpec {
        NodeSpec::new(id, addr, port)
    }
}

/// Describes a cluster without a file. Nothing is checked before [`ConfigBuilder::build`].
///
/// ```
/// use std::time::Duration;
///
/// let config = leadelect::Config::builder()
///     .cluster("orders")
///     .certs("ca.pem", "node.pem", "node.key")
///     .node(("1", "10.0.0.1", 50001))
///     .node(("2", "10.0.0.2", 50001))
///     .node(("3", "10.0.0.3", 50001))
///     .election_timeout(Duration::from_millis(800))
///     .build()?;
/// assert_eq!(config.nodes().count(), 3);
/// # Ok::<(), leadelect::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ConfigBuilder {
    pub(super) cluster: Option<String>,
    pub(super) certs: Option<CertFiles>,
    /// Relative paths count from here. Empty for the current folder.
    pub(super) folder: PathBuf,
    pub(super) insecure: bool,
    pub(super) nodes: Vec<NodeSpec>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) recording_dir: Option<PathBuf>,
    pub(super) timing: TimingSpec,
    pub(super) rpc_timeout: Option<Duration>,
}

impl ConfigBuilder {
    /// The cluster's name, `leadelect` unless set: 1 to 64 visible ASCII characters.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = Some(name.into());
        self
    }

    /// The PEM files of the CA, of the node's certificate and of its key.
    #[must_use]
    pub fn certs(mut self, ca: impl Into<PathBuf>, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certs = Some(CertFiles { ca: ca.into(), cert: cert.into(), key: key.into() });
        self
    }

    /// No TLS, instead of [`ConfigBuilder::certs`]: nothing is encrypted, and anybody who reaches a port can vote.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Adds a node.
    #[must_use]
    pub fn node(mut self, node: impl Into<NodeSpec>) -> Self {
        self.nodes.push(node.into());
        self
    }

    /// A folder for what must survive a restart. Several nodes may share it.
    ///
    /// A running node holds a lock on its file there. A child process that was forked *without* `exec` keeps that lock
    /// after its parent has ended, and the node cannot start again before that child has ended, too. `exec` closes the
    /// file, so children of [`std::process::Command`] keep nothing.
    #[must_use]
    pub fn state_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(folder.into());
        self
    }

    /// A folder in which the node records what reaches it and what it does, for the search of an error. Off unless set.
    /// Several nodes may share it. A node keeps at most 8 MiB there.
    #[must_use]
    pub fn recording_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.recording_dir = Some(folder.into());
        self
    }

    /// How often a leader renews its lease, see [`Timing`].
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.timing.heartbeat_interval = interval;
        self
    }

    /// How long a voter is bound to a leader, see [`Timing`].
    #[must_use]
    pub fn election_timeout(mut self, timeout: Duration) -> Self {
        self.timing.election_timeout = timeout;
        self
    }

    /// How long one answer may take: from the heartbeat interval to less than the election timeout. Half of the
    /// election timeout unless set: a peer that hung for one request can still answer the next in time.
    #[must_use]
    pub fn rpc_timeout(mut self, timeout: Duration) -> Self {
        self.rpc_timeout = Some(timeout);
        self
    }

    /// How far the rate of a clock may be off, in parts per million, see [`Timing`].
    #[must_use]
    pub fn clock_drift_ppm(mut self, ppm: u32) -> Self {
        self.timing.clock_drift_ppm = ppm;
        self
    }

    /// Checks everything that can be checked without opening a file.
    ///
    /// # Errors
    ///
    /// Names the first place that is not as it should be, in the words of the YAML file.
    pub fn build(self) -> Result<Config, ConfigError> {
        let cluster = self.cluster.unwrap_or_else(|| "leadelect".into());
        let visible = cluster.bytes().all(|byte| byte.is_ascii_graphic());
        if cluster.is_empty() || cluster.len() > MAX_CLUSTER_LEN || !visible {
            let expected = format!("expected 1 to {MAX_CLUSTER_LEN} visible ASCII characters");
            return Err(found("cluster", &cluster, &expected));
        }
        let problem = match (&self.certs, self.insecure) {
            (Some(_), true) => Some("found certificates and `insecure: true`: expected one of them"),
            (None, false) => {
                Some("found none: expected certificates, or `insecure: true` to go without any protection")
            }
            (Some(_), false) | (None, true) => None,
        };
        if let Some(problem) = problem {
            return Err(ConfigError::invalid("certs", problem));
        }
        let certs = self.certs.map(|certs| check_certs(certs, &self.folder)).transpose()?;
        let folder = |place: &str, path: Option<PathBuf>| {
            let expected = format!("expected a folder, or no `{place}` at all");
            path.map(|path| check_path(place, path, &self.folder, &expected)).transpose()
        };
        let state_dir = folder("state_dir", self.state_dir)?;
        let recording_dir = folder("recording_dir", self.recording_dir)?;
        let timing = Timing::new(self.timing)
            .map_err(|error| ConfigError::invalid("timing", error.to_string()).because(error))?;
        let TimingSpec { heartbeat_interval, election_timeout, .. } = self.timing;
        let rpc_timeout = self.rpc_timeout.unwrap_or(election_timeout / 2);
        if rpc_timeout < heartbeat_interval || rpc_timeout >= election_timeout {
            let problem = format!(
                "found {rpc_timeout:?}: expected at least the heartbeat interval {heartbeat_interval:?}, before which \
                 no other request would be sent, and less than the election timeout {election_timeout:?}, after which \
                 no answer counts"
            );
            return Err(ConfigError::invalid("timing.rpc_timeout", problem));
        }
        let members = check_nodes(self.nodes)?;
        let origin = String::new();
        Ok(Config { origin, cluster, certs, state_dir, recording_dir, timing, rpc_timeout, members })
    }
}

fn check_certs(CertFiles { ca, cert, key }: CertFiles, folder: &Path) -> Result<CertFiles, ConfigError> {
    let check = |place, path| check_path(place, path, folder, "expected the path of a file, not what is in it");
    let (ca, cert) = (check("certs.ca", ca)?, check("certs.server.cert", cert)?);
    Ok(CertFiles { ca, cert, key: check("certs.server.key", key)? })
}

/// The path, counted from `folder`. A key in the place of its path is an error here, before the path is shown or made.
fn check_path(place: &str, path: PathBuf, folder: &Path, expected: &str) -> Result<PathBuf, ConfigError> {
    if path_may_be_key(&path) || path.as_os_str().is_empty() {
        return Err(found(place, &path.to_string_lossy(), expected));
    }
    if let Some(problem) = text::unexpanded(&path) {
        return Err(found(place, &path.to_string_lossy(), problem));
    }
    Ok(folder.join(path))
}

fn check_nodes(nodes: Vec<NodeSpec>) -> Result<BTreeMap<NodeId, Member>, ConfigError> {
    let fault = |problem: String| Err(ConfigError::invalid("nodes", problem));
    if nodes.is_empty() {
        return fault("found none: expected at least one node with addr and port".into());
    }
    if nodes.len() > MAX_NODES {
        return fault(format!("found {}: expected at most {MAX_NODES}; five survive two failures", nodes.len()));
    }
    let mut members = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for NodeSpec { id, mut member } in nodes {
        let id = id.map_err(|error| match error.found() {
            // Not even as the error's source.
            key if may_be_key(key) => found("nodes", key, EXPECTED_ID),
            _ => ConfigError::invalid("nodes", error.to_string()).because(error),
        })?;
        check_member(id, &mut member)?;
        let host = member.addr.to_ascii_lowercase();
        if let Some(other) = addresses.insert((host, member.port), id).filter(|other| *other != id) {
            let problem =
                format!("found {}:{} for node {other} too: expected an own address", member.addr, member.port);
            return Err(ConfigError::invalid(&format!("nodes.{id}"), problem));
        }
        if members.insert(id, member).is_some() {
            return fault(format!("found id {id} twice: expected a different id for every node"));
        }
    }
    if members.values().all(|member| member.witness) {
        return fault("found only witnesses: expected at least one node that may lead".into());
    }
    Ok(members)
}

fn check_member(id: NodeId, member: &mut Member) -> Result<(), ConfigError> {
    let place = |key: &str| format!("nodes.{id}.{key}");
    if let Some(bare) = member.addr.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        member.addr = bare.to_owned();
    }
    // As errors of the system show it.
    if let Ok(ip) = member.addr.parse::<IpAddr>() {
        member.addr = ip.to_string();
    }
    let unspecified = member.addr.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
    if unspecified {
        let expected = "expected the address that peers dial; for where the node itself listens use `listen`";
        return Err(found(&place("addr"), &member.addr, expected));
    }
    scope_id(&place("addr"), &member.addr)?;
    if !tls::is_host_name(&member.addr) || is_number(&member.addr) {
        let expected = "expected an IP address or a DNS name, without port";
        return Err(found(&place("addr"), &member.addr, expected));
    }
    if member.port == 0 {
        return Err(found(&place("port"), "0", EXPECTED_PORT));
    }
    if !tls::is_host_name(member.name()) || is_number(member.name()) {
        return Err(found(&place("tls_name"), member.name(), "expected an IP address or a DNS name"));
    }
    Ok(())
}

/// Fails for an address that is good only on one link. Which link that is, a scope id says, and it differs from host to
/// host. A config is the same on every node.
pub(super) fn scope_id(place: &str, addr: &str) -> Result<(), ConfigError> {
    let ip = addr.split_once('%').map_or(addr, |(ip, _)| ip).trim_start_matches('[');
    let local = ip.parse().is_ok_and(|ip: Ipv6Addr| ip.is_unicast_link_local());
    if !local && ip.len() == addr.len() {
        return Ok(());
    }
    let expected = "scope ids such as `%eth0` are not supported, and a link-local address needs one: expected a global \
                    address, a unique local one (`fd..`) or a DNS name";
    Err(found(place, addr, expected))
}

/// Whether the system would read `host` as a number: it looks up no name that ends in one, and takes `5` for `0.0.0.5`.
fn is_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or(host);
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let decimal = last.bytes().all(|byte| byte.is_ascii_digit())
        || (host.starts_with(|first: char| first.is_ascii_digit()) && host.parse::<f64>().is_ok());
    host.parse::<IpAddr>().is_err() && (hexadecimal || decimal)
}
