//! Who is in the cluster, where, and how fast it fails over: one description, the same on every node.
//!
//! It comes from a YAML file or from a [builder](Config::builder). Both end in one validation, so that neither can
//! say what the other cannot. The smallest file:
//!
//! ```yaml
#![doc = include_str!("../cfg.yaml")]
//! ```
//!
//! What may be added, with the defaults:
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `cluster` | `leadelect` | a name of 1 to 64 visible ASCII characters; nodes of another cluster are refused |
//! | `state_dir` | none | a folder for what must survive a restart; each node has its own file inside |
//! | `recording_dir` | none | a folder for the flight recorder, see the manual on [operations](crate::manual::operations); each node has its own files inside |
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
mod text;
mod written;
mod yaml;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[doc(hidden)]
pub use crate::tls::may_be_key;
pub use builder::{ConfigBuilder, NodeSpec};
pub use yaml::time_from_str;

use crate::election::{NodeId, NodeIdError, Timing};
pub use crate::members::Member;
use crate::members::Members;
use crate::tls::{CertError, CertFile, CertFiles, Credentials, Identity};

/// An error shows this many characters of what was found: a slip in quotes can swallow the rest of a file.
const MAX_SHOWN: usize = 80;

/// The bits of a folder's mode that let others than its owner replace what is in it.
const OTHERS_WRITE: u32 = 0o022;

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
    recording_dir: Option<PathBuf>,
    timing: Timing,
    pub(crate) rpc_timeout: Duration,
    pub(crate) members: BTreeMap<NodeId, Member>,
}

impl Config {
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

    /// What a client shows and trusts. Nothing if the config says `insecure: true`.
    pub(crate) fn client_credentials(&self) -> Result<Option<Credentials>, ConfigError> {
        let Some(files) = &self.certs else {
            return Ok(None);
        };
        let credentials = Credentials::load_client(files).map_err(|error| self.cert_fault(error))?;
        Ok(Some(credentials))
    }

    /// The config of one node, which is what a node is started with. Loads the certificates.
    ///
    /// # Errors
    ///
    /// When there is no node `id`, or when the node's peers would refuse its certificate.
    pub fn for_node(self, id: impl TryInto<NodeId, Error: Into<NodeIdError>>) -> Result<NodeConfig, ConfigError> {
        let unknown = |id: &str| {
            let (id, known) = (quoted(id), listed(self.members.keys(), "or"));
            let problem = format!("found no node {id}: expected one of {known}");
            ConfigError {
                origin: self.origin.clone(),
                ..ConfigError::new(ConfigErrorKind::UnknownNode, "nodes", problem)
            }
        };
        let id: NodeId = id.try_into().map_err(|error| unknown(error.into().found()))?;
        let own = self.members.get(&id).ok_or_else(|| unknown(id.as_str()))?;
        let load = |files: &CertFiles| Identity::load(files.clone(), own.name()).map(Arc::new);
        let identity = self.certs.as_ref().map(load).transpose().map_err(|error| self.cert_fault(error))?;
        let warnings = self.warnings(id, identity.as_deref());
        Ok(NodeConfig {
            cluster: self.cluster,
            state_dir: self.state_dir,
            recording_dir: self.recording_dir,
            timing: self.timing,
            rpc_timeout: self.rpc_timeout,
            members: Members::new(id, self.members),
            identity,
            death_witness: None,
            kill_when_stuck: None,
            says_obituary: true,
            warnings,
        })
    }

    fn cert_fault(&self, error: CertError) -> ConfigError {
        let place = match error.file {
            CertFile::Ca => "certs.ca",
            CertFile::Cert => "certs.server.cert",
            CertFile::Key => "certs.server.key",
        };
        let fault = ConfigError::new(ConfigErrorKind::Certificate, place, error.to_string());
        let fault = ConfigError { origin: self.origin.clone(), ..fault };
        match error.unreadable {
            Some(error) => fault.because(error),
            None => fault,
        }
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
        warnings.extend(self.state_dir.as_deref().and_then(open_folder));
        let Some(identity) = identity else {
            warnings.push("`insecure: true`: nothing is encrypted, and anybody who reaches a port can vote".into());
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
        warnings.extend(credentials.warnings());
        warnings
    }
}

/// A config for one node, ready for `Node::start`. Its certificates are loaded and are such that peers accept them.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub(crate) cluster: String,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) recording_dir: Option<PathBuf>,
    timing: Timing,
    pub(crate) rpc_timeout: Duration,
    pub(crate) members: Members,
    /// What this node shows and trusts. Nothing if the config says `insecure: true`.
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) death_witness: Option<WitnessProgram>,
    pub(crate) kill_when_stuck: Option<Duration>,
    pub(crate) says_obituary: bool,
    warnings: Vec<String>,
}

impl NodeConfig {
    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.members.me()
    }

    /// How fast leadership fails over.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Where the node keeps its state, if it does.
    #[must_use]
    pub fn state_dir(&self) -> Option<&Path> {
        self.state_dir.as_deref()
    }

    /// Starts a child process with the node, which tells the other nodes when this process has died. A crash then costs
    /// milliseconds. See [`death_witness`](crate::death_witness). Without it unless set.
    #[must_use]
    pub fn death_witness(mut self, program: WitnessProgram) -> NodeConfig {
        self.death_witness = Some(program);
        self
    }

    /// The [death witness](NodeConfig::death_witness) kills this process if the election thread of the node has not
    /// taken a turn for this long: a hang becomes a crash, and work that cannot stop ends. Also a process that is
    /// stopped by a signal, or by a debugger, is killed. At least three seconds. Not done unless set.
    #[must_use]
    pub fn kill_when_stuck(mut self, limit: Duration) -> NodeConfig {
        self.kill_when_stuck = Some(limit);
        self
    }

    /// Never tells the other nodes that an earlier process of this node has died. For a program whose child processes
    /// act as leader and may outlive it, if they do not hold [`Node::state_lock`](crate::Node::state_lock). A crash
    /// then costs an election timeout. The same must be set wherever the node is started, and it must have no death
    /// witness.
    #[must_use]
    pub fn without_obituary(mut self) -> NodeConfig {
        self.says_obituary = false;
        self
    }

    /// The host and port to listen on.
    pub(crate) fn listen(&self) -> (String, u16) {
        let own = self.members.own();
        (own.listen.map_or_else(|| own.addr.clone(), |ip| ip.to_string()), own.port)
    }

    /// What is allowed and may not be meant, a sentence each. The node says them once in its log when it starts.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The program that becomes a witness. It is started with nothing but its name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WitnessProgram {
    /// The program `leadelect`, found as a shell finds it.
    Leadelect,
    /// A program at this path which calls [`become_one_if_asked`](crate::death_witness::become_one_if_asked) before it
    /// does anything else.
    At(PathBuf),
    /// This very program. It calls [`become_one_if_asked`](crate::death_witness::become_one_if_asked) before it does
    /// anything else.
    This,
}

impl WitnessProgram {
    pub(crate) fn path(&self) -> &Path {
        match self {
            WitnessProgram::Leadelect => Path::new("leadelect"),
            WitnessProgram::At(path) => path,
            // This link leads to the very same file, even after an upgrade has replaced it.
            WitnessProgram::This => Path::new("/proc/self/exe"),
        }
    }
}

/// What is wrong with a config: the file, the place in it, what was found and what was expected.
#[derive(Debug, Clone)]
pub struct ConfigError {
    kind: ConfigErrorKind,
    origin: String,
    place: String,
    problem: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What a [`ConfigError`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// The file cannot be read. The error's source is an [`std::io::Error`].
    Unreadable,
    /// The text is no YAML, or not of the form of a config.
    Syntax,
    /// A value is not as it should be.
    Invalid,
    /// There is no node of this id.
    UnknownNode,
    /// A certificate or its key cannot be read, or peers would refuse it. If a file cannot be read, the error's source
    /// is an [`std::io::Error`].
    Certificate,
}

impl ConfigError {
    fn new(kind: ConfigErrorKind, place: &str, problem: impl Into<String>) -> Self {
        ConfigError { kind, origin: String::new(), place: place.to_owned(), problem: problem.into(), source: None }
    }

    fn invalid(place: &str, problem: impl Into<String>) -> Self {
        ConfigError::new(ConfigErrorKind::Invalid, place, problem)
    }

    fn because(self, source: impl Error + Send + Sync + 'static) -> Self {
        ConfigError { source: Some(Arc::new(source)), ..self }
    }

    /// What the error is about, for programs that react to it. The text is for people.
    #[must_use]
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.origin, &self.place] {
            if !part.is_empty() {
                write!(f, "{}: ", text::printable(part))?;
            }
        }
        f.write_str(&text::printable(&self.problem))
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_deref()?)
    }
}

fn found(place: &str, found: &str, expected: &str) -> ConfigError {
    ConfigError::invalid(place, format!("found {}: {expected}", quoted(found)))
}

/// What was found, for an error, unless it may be a key.
fn quoted(found: &str) -> String {
    if may_be_key(found) {
        let length = found.chars().count();
        return format!("a text of {length} characters that may be a key and is not shown");
    }
    let shown: String = found.chars().take(MAX_SHOWN).collect();
    format!("{shown:?}")
}

/// A warning if others than its owner may write to the folder of the vote file.
fn open_folder(folder: &Path) -> Option<String> {
    let mode = fs::metadata(folder).ok()?.mode() & 0o7777;
    let path = folder.display();
    (mode & OTHERS_WRITE != 0).then(|| {
        format!(
            "state_dir: {path} has mode {mode:03o}, so that others than its owner may replace what this node has \
             voted: `chmod go-w {path}`"
        )
    })
}

fn listed<'a>(ids: impl Iterator<Item = &'a NodeId>, last: &str) -> String {
    let mut ids: Vec<String> = ids.map(ToString::to_string).collect();
    match (ids.pop(), ids.as_slice()) {
        (None, _) => String::new(),
        (Some(only), []) => only,
        (Some(end), rest) => format!("{} {last} {end}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests;
