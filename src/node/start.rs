//! How a node starts, and why it does not.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

use super::Node;
use crate::clock;
use crate::config::NodeConfig;
use crate::death_witness::WitnessChild;
use crate::driver::{Driver, Storage};
use crate::election::{Election, Instant, Recovery, Setup, Term};
use crate::engine::{Engine, Mail};
use crate::inbox::{Inbox, Post};
use crate::leadership::{Leadership, NodeHandle, Nudge};
use crate::log_queue::LogQueue;
use crate::recording::Recorder;
use crate::status::Board;
use crate::store::{StateProblem, StoreError, VoteFile};
use crate::sync::lock;
use crate::transport::{self, Complaints, Local, Protocols, Transport};

impl Node {
    /// Starts the node: locks and reads its state, listens on its address, and joins the election.
    ///
    /// Returns at once. It waits only for the node's own disk, for a look-up of its own address, and, while the node
    /// runs already, for its [death witness](NodeConfig::death_witness) if it has one.
    ///
    /// # Errors
    ///
    /// When its state is locked, damaged or of another node, when it cannot listen, or when the system has no threads
    /// or no random numbers to give.
    pub fn start(config: NodeConfig) -> Result<Node, StartError> {
        let log = LogQueue::start(config.id()).map_err(StartError::Threads)?;
        let started = Node::start_with(&config, &log);
        if started.is_err() {
            log.end();
        }
        started
    }

    fn start_with(config: &NodeConfig, log: &LogQueue) -> Result<Node, StartError> {
        let id = config.id();
        for warning in config.warnings() {
            log::warn!(logger: log, "node {id}: {warning}");
        }
        if let Some(warning) = stateless(config) {
            log::warn!(logger: log, "node {id}: {warning}");
        }
        let (storage, recovery) = open_storage(config, log)?;
        let listener = listen(config)?;
        let (seed, instance) = (random()?, random()?);
        let recorder = match &config.recording_dir {
            Some(folder) => Recorder::start(folder, id, instance, log).map_err(StartError::Threads)?,
            None => Recorder::default(),
        };

        let (inbox, posts) = Inbox::new();
        let nudged = inbox.clone();
        let grace = config.timing().election_timeout();
        let leadership = Arc::new(Leadership::new(grace, move |nudge| {
            nudged.post(match nudge {
                Nudge::Program => Post::Program,
                Nudge::LeaseFree(term) => Post::Mail(Mail::LeaseFree { term }),
            });
        }));
        if let Storage::File(file) = &storage {
            leadership.hold(file.lock());
        }
        let peers = config.members.peers().map(|(peer, member)| (peer, member.to_string()));
        let board = Arc::new(Board::new(id, peers).with_logger(log.state().clone()));
        let local = Local {
            speaks: Protocols::of_this_build(),
            cluster: config.cluster.clone(),
            members: config.members.clone(),
            timing: config.timing(),
            rpc_timeout: config.rpc_timeout,
            identity: config.identity.clone(),
            instance,
            obituary: storage.obituary().filter(|_| config.says_obituary),
            silent_from: Instant::NEVER,
            last_problem: Mutex::default(),
            complaints: Complaints::default(),
            board: board.clone(),
            leadership: leadership.clone(),
            started_at: clock::now(),
            inbox: inbox.clone(),
            log: log.clone(),
        };
        let transport = Transport::start(local, listener).map_err(StartError::Threads)?;
        let setup = Setup { me: id, voters: config.members.voters(), timing: config.timing() };
        let election = Election::new(setup, recovery, clock::now(), seed);
        let driver = Driver {
            engine: Engine::new(election, config.rpc_timeout),
            storage,
            inbox: posts,
            leadership: leadership.clone(),
            board: board.clone(),
            transport,
            log: log.clone(),
            recorder,
        };
        let (ends, stopped) = crossbeam_channel::bounded::<()>(0);
        let body = move || {
            let _ends = ends;
            driver.run();
        };
        let thread = transport::spawn(&format!("le{id}-election"), body).map_err(StartError::Threads)?;
        let node = Node {
            handle: NodeHandle { id, inbox, leadership, timing: config.timing(), log: log.clone() },
            members: config.members.clone(),
            board,
            thread: Mutex::new(Some(thread)),
            stopped,
            stops: false.into(),
            death_witness: Mutex::default(),
        };
        // The node does not wait for it. If it fails, dropping the node stops it.
        let death_witness = start_death_witness(config, &node.board)?;
        *lock(&node.death_witness) = death_witness;
        Ok(node)
    }
}

/// The warning for a node that keeps no state.
fn stateless(config: &NodeConfig) -> Option<String> {
    let wait = config.timing().election_timeout() * 2;
    let warning = format!(
        "runs without `state_dir`: it gives no vote for {wait:?} after each start, and its tokens grow over a restart \
         only if the wall clock is right"
    );
    config.state_dir.is_none().then_some(warning)
}

impl Node {
    /// Every error with which [`Node::start`] would fail now, and what it would warn of. For `leadelect check`.
    ///
    /// Leaves nothing behind. A node that starts at this very moment may find its port or its state in use.
    #[doc(hidden)]
    #[must_use]
    pub fn rehearse(config: &NodeConfig) -> (Vec<StartError>, Vec<String>) {
        let mut warnings = config.warnings().to_vec();
        warnings.extend(stateless(config));
        let state = config.state_dir.as_ref().map(|folder| VoteFile::rehearse(folder, config.id(), &config.cluster));
        let state = state.transpose().map_err(StartError::state).map(|found| warnings.extend(found.flatten()));
        let recording = config.recording_dir.as_ref().map(|folder| Recorder::rehearse(folder, config.id()));
        let unrecorded = recording.and_then(Result::err).map(|error| format!("nothing would be recorded: {error}"));
        warnings.extend(unrecorded);
        let errors = [state.err(), listen(config).err(), random().err()];
        (errors.into_iter().flatten().collect(), warnings)
    }
}

impl Node {
    /// How long each of that many writes takes that is like the one before a vote, in the state folder of the node.
    /// None if it has no such folder. For `leadelect check`.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used.
    #[doc(hidden)]
    pub fn rehearse_writes(config: &NodeConfig, writes: u32) -> Result<Vec<Duration>, StartError> {
        let Some(folder) = &config.state_dir else { return Ok(Vec::new()) };
        VoteFile::rehearse_writes(folder, config.id(), writes).map_err(StartError::state)
    }
}

/// The process that waits for the death of this one, if there is to be one.
fn start_death_witness(config: &NodeConfig, board: &Arc<Board>) -> Result<Option<WitnessChild>, StartError> {
    let Some(program) = &config.death_witness else {
        return Ok(None);
    };
    let limit = config.kill_when_stuck;
    let problem = match (&config.state_dir, config.says_obituary, limit) {
        (None, ..) => Some("there is no `state_dir`, and so no lock by which a death is known".to_owned()),
        (_, false, _) => Some("nobody is told of a death, because the config is `without_obituary`".to_owned()),
        (.., Some(limit)) if limit < SHORTEST_STUCK => {
            Some(format!("kill_when_stuck is {limit:?}: expected at least {SHORTEST_STUCK:?}"))
        }
        (Some(_), true, _) => None,
    };
    if let Some(problem) = problem {
        return Err(StartError::DeathWitness(io::Error::new(io::ErrorKind::InvalidInput, problem)));
    }
    WitnessChild::start(config, program, limit, board).map(Some).map_err(StartError::DeathWitness)
}

/// The election thread takes a turn at least every second.
const SHORTEST_STUCK: Duration = Duration::from_secs(3);

/// Where the node keeps its state, and what it knows of its past.
fn open_storage(config: &NodeConfig, log: &LogQueue) -> Result<(Storage, Recovery), StartError> {
    let id = config.id();
    let Some(folder) = &config.state_dir else {
        let first_term = Term(clock::wall_seconds());
        return Ok((Storage::Nowhere, Recovery::Stateless { first_term }));
    };
    let (file, recovery) = VoteFile::open(folder, id, &config.cluster).map_err(StartError::state)?;
    if let Some(warning) = file.warning() {
        log::warn!(logger: log, "node {id}: {warning}");
    }
    match file.obituary() {
        Ok(term) => log::debug!(logger: log, "node {id}: no earlier process of it can act in a term up to {term}"),
        Err(why) => log::log!(logger: log, why.level(), "node {id}: the others are not told of earlier deaths: {why}"),
    }
    Ok((Storage::File(Box::new(file)), recovery))
}

fn listen(config: &NodeConfig) -> Result<TcpListener, StartError> {
    let (host, port) = config.listen();
    TcpListener::bind((host.as_str(), port)).map_err(|error| StartError::Listen { at: format!("{host}:{port}"), error })
}

fn random() -> Result<u64, StartError> {
    SysRng.try_next_u64().map_err(|error| StartError::Random(io::Error::other(error.to_string())))
}

/// Why a node does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// Its state cannot be used.
    State {
        /// What is wrong with it.
        problem: StateProblem,
        /// The same with the file and what to do.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot listen on its address.
    Listen {
        /// The address, as `host:port`.
        at: String,
        /// Why not.
        error: io::Error,
    },
    /// The system gives no threads or sockets.
    Threads(io::Error),
    /// The system gives no random numbers.
    Random(io::Error),
    /// The witness of its death cannot be started.
    DeathWitness(io::Error),
}

impl StartError {
    fn state(error: StoreError) -> StartError {
        StartError::State { problem: error.problem, error: Box::new(error) }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::State { error, .. } => error.fmt(f),
            StartError::Listen { at, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {at}: another process does; stop it, or give this node another port")
            }
            StartError::Listen { at, error } if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {at}: {error}; give this node a port of at least 1024, or its process the right to \
                 use this one"
            ),
            StartError::Listen { at, error } => write!(
                f,
                "cannot listen on {at}: {error}; expected an address of this host (set `listen` if peers use another)"
            ),
            StartError::Threads(error) => write!(f, "cannot start the node's threads: {error}"),
            StartError::Random(error) => write!(f, "the system gives no random numbers: {error}"),
            StartError::DeathWitness(error) => write!(f, "cannot start the death witness: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::State { error, .. } => error.source(),
            StartError::Listen { error, .. }
            | StartError::Threads(error)
            | StartError::Random(error)
            | StartError::DeathWitness(error) => Some(error),
        }
    }
}
