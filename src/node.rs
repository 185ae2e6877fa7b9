//! What a program holds: one running node.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
use rand::TryRng;
use rand::rngs::SysRng;

use crate::clock;
use crate::config::NodeConfig;
use crate::driver::{self, Driver, Memory};
use crate::election::{Election, NodeId, Recovery, Setup, Term};
use crate::inbox::Mail;
use crate::lease::{Lease, Office};
use crate::status::{Board, Events, Status};
use crate::store::{StoreError, VoteFile};
use crate::transport::{self, Local, Transport};

/// One of the nodes that elect a leader, running on threads of its own.
///
/// ```no_run
/// use std::time::Duration;
/// use leadelect::{Config, Node};
///
/// let config = Config::from_yaml_file("cfg.yaml")?;
/// let node = Node::start(config.for_node("1")?)?;
/// loop {
///     if let Some(lease) = node.lease() {
///         // At most one node of the cluster is here at any time.
///         println!("acting with token {} for {:?}", lease.token(), lease.remaining());
///     }
///     std::thread::sleep(Duration::from_millis(200));
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping a node is [`Node::shutdown`].
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    inbox: Sender<Mail>,
    office: Arc<Office>,
    board: Arc<Board>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// Starts the node: locks and reads its state, listens on its address, and joins the election.
    ///
    /// Returns at once; nothing is waited for but the node's own disk and a look-up of its own address.
    ///
    /// # Errors
    ///
    /// When its state is locked, damaged or of another node, when it cannot listen, or when the system has no
    /// threads or no randomness to give.
    pub fn start(config: NodeConfig) -> Result<Node, StartError> {
        let id = config.id();
        for warning in config.warnings() {
            log::warn!("node {id}: {warning}");
        }
        let (memory, recovery) = recall(&config)?;
        let listener = listen(&config)?;
        let (seed, instance) = (random()?, random()?);

        let (inbox, mail) = crossbeam_channel::unbounded();
        let on_idle = inbox.clone();
        // The node is stopped: nobody waits for the work to end.
        let office = Arc::new(Office::new(move || drop(on_idle.send(Mail::WorkEnded))));
        let peers = config.voters().iter().filter(|(peer, _)| **peer != id);
        let board = Arc::new(Board::new(
            id,
            peers.map(|(peer, member)| (*peer, member.to_string())),
        ));
        let local = Local {
            id,
            cluster: config.cluster().to_owned(),
            members: config.voters().clone(),
            timing: config.timing(),
            rpc_timeout: config.rpc_timeout(),
            identity: config.identity().cloned(),
            instance,
            last_problem: Mutex::default(),
            board: board.clone(),
            office: office.clone(),
            started_at: clock::now(),
            inbox: inbox.clone(),
        };
        let transport = Transport::start(local, listener).map_err(StartError::Threads)?;
        let setup = Setup {
            me: id,
            voters: driver::voters(config.voters()),
            timing: config.timing(),
        };
        let driver = Driver {
            election: Election::new(setup, recovery, clock::now(), seed),
            memory,
            inbox: mail,
            office: office.clone(),
            board: board.clone(),
            transport,
            rpc_timeout: config.rpc_timeout(),
            timing: config.timing(),
        };
        let name = format!("le{id}-election");
        let thread = transport::spawn(&name, move || driver.run()).map_err(StartError::Threads)?;
        Ok(Node {
            id,
            inbox,
            office,
            board,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// This node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The right to act as leader, if this node has it now. Reads the clock; asks no other thread.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.office.lease()
    }

    /// What the node sees now of itself and its peers.
    #[must_use]
    pub fn status(&self) -> Status {
        let (token, remaining) = match self.lease() {
            Some(lease) => (Some(lease.token()), lease.remaining()),
            None => (None, Duration::ZERO),
        };
        self.board.status(token, remaining)
    }

    /// The changes from now on. Ends when the node stops.
    #[must_use]
    pub fn events(&self) -> Events {
        self.board.events()
    }

    /// Hands leadership over: takes the lease away, waits until every [`Lease`] is dropped or its time is up, then
    /// tells the other nodes, of which the best campaigns at once. This node does not campaign for one election
    /// timeout, unless nobody else wins.
    ///
    /// Returns when the node no longer leads. It goes on voting and following.
    ///
    /// # Errors
    ///
    /// When the node does not lead.
    pub fn resign(&self) -> Result<(), NotLeader> {
        let (done, resigned) = crossbeam_channel::bounded(1);
        let led = self
            .inbox
            .send(Mail::Resign {
                hold_off: Duration::ZERO,
                done,
            })
            .is_ok()
            && resigned.recv().unwrap_or(false);
        if led { Ok(()) } else { Err(NotLeader) }
    }

    /// Stops the node, in order: leadership is handed over as by [`Node::resign`], connections are closed, and every
    /// thread ends, but for a look-up of a peer's name that no name server answers. A second call waits for the first.
    ///
    /// Takes as long as the work guarded by a [`Lease`], at most the election timeout, and then up to `rpc_timeout`
    /// for the last words to arrive.
    pub fn shutdown(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        // Stopped already.
        let _ = self.inbox.send(Mail::Stop);
        if let Some(Err(_)) = thread.take().map(JoinHandle::join) {
            log::error!("node {}: the election thread has panicked", self.id);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// What the node remembers.
fn recall(config: &NodeConfig) -> Result<(Memory, Recovery), StartError> {
    let id = config.id();
    let Some(folder) = config.state_dir() else {
        let wait = config.timing().election_timeout() * 2;
        log::warn!(
            "node {id}: runs without `state_dir`: it gives no vote for {wait:?} after each start, and its tokens grow \
             over a restart only if the wall clock is right"
        );
        let first_term = Term(clock::wall_seconds());
        return Ok((Memory::Nowhere, Recovery::Stateless { first_term }));
    };
    let (file, recovery) =
        VoteFile::open(folder, id, config.cluster()).map_err(StartError::state)?;
    if let Some(warning) = file.warning() {
        log::warn!("node {id}: {warning}");
    }
    Ok((Memory::File(Box::new(file)), recovery))
}

fn listen(config: &NodeConfig) -> Result<TcpListener, StartError> {
    let (host, port) = config.listen();
    TcpListener::bind((host.as_str(), port)).map_err(|error| StartError::Listen {
        at: format!("{host}:{port}"),
        error,
    })
}

fn random() -> Result<u64, StartError> {
    SysRng
        .try_next_u64()
        .map_err(|error| StartError::Random(error.to_string()))
}

/// The node does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLeader;

impl fmt::Display for NotLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this node does not lead")
    }
}

impl std::error::Error for NotLeader {}

/// Why a node does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// Its state cannot be used: see the text.
    State(String),
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
    Random(String),
}

impl StartError {
    fn state(error: StoreError) -> Self {
        StartError::State(error.to_string())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::State(problem) => f.write_str(problem),
            StartError::Listen { at, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {at}: another process does; stop it, or give this node another port"
            ),
            StartError::Listen { at, error } => write!(
                f,
                "cannot listen on {at}: {error}; expected an address of this host (set `listen` if peers use another)"
            ),
            StartError::Threads(error) => write!(f, "cannot start the node's threads: {error}"),
            StartError::Random(error) => write!(f, "the system gives no random numbers: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Listen { error, .. } | StartError::Threads(error) => Some(error),
            StartError::State(_) | StartError::Random(_) => None,
        }
    }
}
