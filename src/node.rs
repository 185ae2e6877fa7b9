//! What a program holds: one running node.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rand::TryRng;
use rand::rngs::SysRng;

use crate::clock;
use crate::config::NodeConfig;
use crate::driver::{Driver, Storage};
use crate::election::{Election, EndReason, NodeId, NodeIdError, Recovery, Setup, Term};
use crate::error::{NotLeader, TransferError};
use crate::inbox::Mail;
use crate::leadership::{self, LeadOptions, Leadership, Leading, Lease, Next, NodeHandle};
use crate::members::Members;
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
/// That is for programs that have a loop already; [`Node::lead`] is the loop.
///
/// Dropping a node is [`Node::shutdown`].
#[derive(Debug)]
pub struct Node {
    handle: NodeHandle,
    members: Members,
    board: Arc<Board>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Ends with the election thread.
    stopped: Receiver<()>,
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
        let (storage, recovery) = recall(&config)?;
        let listener = listen(&config)?;
        let (seed, instance) = (random()?, random()?);

        let (inbox, mail) = crossbeam_channel::unbounded();
        let on_idle = inbox.clone();
        // The node is stopped: nobody waits for the work to end.
        let leadership = Arc::new(Leadership::new(config.timing().election_timeout(), move || {
            drop(on_idle.send(Mail::WorkEnded));
        }));
        let peers = config.members().peers().map(|(peer, member)| (peer, member.to_string()));
        let board = Arc::new(Board::new(id, peers));
        let local = Local {
            cluster: config.cluster().to_owned(),
            members: config.members().clone(),
            timing: config.timing(),
            rpc_timeout: config.rpc_timeout(),
            identity: config.identity().cloned(),
            instance,
            last_problem: Mutex::default(),
            board: board.clone(),
            leadership: leadership.clone(),
            started_at: clock::now(),
            inbox: inbox.clone(),
        };
        let transport = Transport::start(local, listener).map_err(StartError::Threads)?;
        let setup = Setup { me: id, voters: config.members().voters(), timing: config.timing() };
        let driver = Driver {
            election: Election::new(setup, recovery, clock::now(), seed),
            storage,
            inbox: mail,
            leadership: leadership.clone(),
            board: board.clone(),
            transport,
            rpc_timeout: config.rpc_timeout(),
            timing: config.timing(),
        };
        let name = format!("le{id}-election");
        let (ends, stopped) = crossbeam_channel::bounded(0);
        let body = move || {
            let _ends: Sender<()> = ends;
            driver.run();
        };
        let thread = transport::spawn(&name, body).map_err(StartError::Threads)?;
        Ok(Node {
            handle: NodeHandle { id, inbox, leadership, timing: config.timing() },
            members: config.members().clone(),
            board,
            thread: Mutex::new(Some(thread)),
            stopped,
        })
    }

    /// This node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.handle.id
    }

    /// The right to act as leader, if this node has it now. Reads the clock; asks no other thread.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.handle.leadership.lease()
    }

    /// What the node sees now of itself and its peers.
    #[must_use]
    pub fn status(&self) -> Status {
        self.board.status(self.lease().map(|lease| lease.shown()))
    }

    /// The changes from now on. Ends when the node stops.
    pub fn events(&self) -> Events {
        self.board.events()
    }

    /// The present state, as a first event of [`Cause::Present`](crate::Cause::Present), and then the changes. No
    /// change is lost between the two.
    pub fn events_with_present(&self) -> Events {
        self.board.events_with_present()
    }

    /// Runs `work` whenever this node leads, as [`Node::lead_with`] with the default options.
    ///
    /// ```no_run
    /// # use leadelect::{Config, Node};
    /// # use std::time::Duration;
    /// # let node = Node::start(Config::from_yaml_file("cfg.yaml")?.for_node("1")?)?;
    /// # let clean_up = |_token: u64| ();
    /// node.lead(|leading| -> Result<(), Box<dyn std::error::Error>> {
    ///     while leading.wait(Duration::from_secs(1)).is_ok() {
    ///         clean_up(leading.token()); // on one node of the cluster only
    ///     }
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Node::lead_with`].
    ///
    /// # Panics
    ///
    /// As [`Node::lead_with`].
    pub fn lead<T, E>(&self, work: impl FnMut(&Leading<'_>) -> Result<T, E>) -> Result<(), E>
    where
        T: Into<Next>,
        E: fmt::Display,
    {
        self.lead_with(&LeadOptions::default(), work)
    }

    /// Runs `work` on the calling thread, once per term in which this node leads, until the node stops or `work` says
    /// [`Next::Leave`].
    ///
    /// `work` runs until it is done, or until [`Leading::check`] or [`Leading::wait`] tell it to stop. Only when it has
    /// returned, and every [`Lease`] is dropped, another node may lead; or when the lease has run out. Until then this
    /// node is no candidate either. What comes next is up to what `work` returns:
    ///
    /// - `Ok(())` or another [`Next`]: leadership is released if it is still held, and see there.
    /// - An error, after `work` had to stop: taken for a consequence of that, and logged. The node contends again.
    /// - Any other error: leadership is released, the node holds off, and the error is returned.
    /// - A panic: likewise, and goes on in the caller.
    ///
    /// Call it soon: a node contends from its start on. After `lead_with` has returned, nobody is there to do the work:
    /// the node leads only if nobody else can, until this is called again, or [`Node::set_eligible`].
    ///
    /// `work` may call whatever it likes of this node but `lead` itself. [`Node::resign`], [`Node::transfer_to`] and
    /// [`Node::shutdown`] then only begin what they do, for `work` still has to stop; called from *another* thread,
    /// which `work` waits for, they wait for `work` in turn, until the hard deadline.
    ///
    /// The handle cannot outlive the call:
    ///
    /// ```compile_fail,E0521
    /// # fn escape(node: &leadelect::Node) {
    /// let mut kept = None;
    /// let _ = node.lead(|leading| {
    ///     kept = Some(leading);
    ///     Ok::<(), String>(())
    /// });
    /// # }
    /// ```
    ///
    /// Threads that end before it may share it:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn share(node: &leadelect::Node) -> Result<(), String> {
    /// node.lead(|leading| {
    ///     std::thread::scope(|scope| {
    ///         for part in 0..4 {
    ///             scope.spawn(move || {
    ///                 while leading.check().is_ok() {
    ///                     println!("part {part} with token {}", leading.token());
    ///                     let _ = leading.wait(Duration::from_millis(100));
    ///                 }
    ///             });
    ///         }
    ///     });
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// That of `work`, if it came before `work` had to stop.
    ///
    /// # Panics
    ///
    /// If `work` does, or if a call is running already: one at a time, and not from inside `work`.
    pub fn lead_with<T, E>(
        &self,
        options: &LeadOptions,
        work: impl FnMut(&Leading<'_>) -> Result<T, E>,
    ) -> Result<(), E>
    where
        T: Into<Next>,
        E: fmt::Display,
    {
        leadership::lead(&self.handle, options, work)
    }

    /// Hands leadership over: takes the lease away, waits until every [`Lease`] is dropped and the closure of
    /// [`Node::lead`] has returned, or their time is up, then tells the other nodes, of which the best campaigns at
    /// once. For one election timeout this node leads only if nobody else can.
    ///
    /// Returns when the node no longer leads; called from inside the closure, at once. It goes on voting and following.
    ///
    /// # Errors
    ///
    /// When the node does not lead.
    pub fn resign(&self) -> Result<(), NotLeader> {
        self.resign_for(Duration::ZERO)
    }

    /// As [`Node::resign`], but this node holds off for so long, if that is longer than the election timeout.
    ///
    /// # Errors
    ///
    /// When the node does not lead.
    pub fn resign_for(&self, hold_off: Duration) -> Result<(), NotLeader> {
        self.hand_over(None, hold_off).map_err(|_| NotLeader)
    }

    /// Hands leadership over to the node `id`, as [`Node::resign`] does to the best. That node campaigns at once; but
    /// it leads only if a majority votes for it, and if not, any other may win.
    ///
    /// # Errors
    ///
    /// When this node does not lead or is handing over already, and when `id` could not follow now: see
    /// [`TransferError`].
    pub fn transfer_to(&self, id: impl TryInto<NodeId, Error: Into<NodeIdError>>) -> Result<(), TransferError> {
        let successor = self.members.successor(id)?;
        self.hand_over(Some(successor), Duration::ZERO)
    }

    fn hand_over(&self, successor: Option<NodeId>, hold_off: Duration) -> Result<(), TransferError> {
        let (answer, answers) = crossbeam_channel::bounded(1);
        self.handle.tell(Mail::HandOver { successor, hold_off, answer });
        // No answer: the node has stopped.
        answers.recv().unwrap_or(Err(TransferError::NotLeader))?;
        if !self.handle.leadership.is_worker() {
            // Ends when the node no longer leads.
            while answers.recv().is_ok() {}
        }
        Ok(())
    }

    /// Whether this node is able to lead, as the program sees it: true at the start. A node that is not leads only if
    /// nobody else can; so this never means that nobody may. A leader hands over once another node was able to lead
    /// for a while; to end its leadership at once there is [`Node::resign`].
    pub fn set_eligible(&self, eligible: bool) {
        self.handle.leadership.set_eligible(eligible);
        self.handle.tell(Mail::Nudge);
    }

    /// Stops the node, in order: leadership is handed over as by [`Node::resign`], connections are closed, and every
    /// thread ends, but for a look-up of a peer's name that no name server answers, and for what hangs in code of the
    /// program's. A second call waits for the first; one from inside the closure of [`Node::lead`] waits for nothing.
    ///
    /// Takes as long as the work guarded by a [`Lease`] or done by [`Node::lead`], at most the election timeout, and
    /// then up to `rpc_timeout` for the last words to arrive.
    pub fn shutdown(&self) {
        self.shutdown_within(Duration::MAX);
    }

    /// As [`Node::shutdown`], but waits for no longer than `limit`, and says whether the node has stopped. If not, it
    /// goes on to stop, as far as the process lives; dropping the node then waits no more.
    pub fn shutdown_within(&self, limit: Duration) -> bool {
        let inside = self.handle.leadership.stop_own_work(EndReason::Stopped);
        self.handle.tell(Mail::Stop);
        if inside {
            return false;
        }
        let ended = self.stopped.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = thread.take();
        if !ended {
            log::warn!("node {}: has not stopped within {limit:?}, and is left to it", self.id());
        } else if let Some(Err(_)) = thread.map(JoinHandle::join) {
            log::error!("node {}: the election thread has panicked", self.id());
        }
        ended
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let left = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if left.is_some() {
            self.shutdown();
        }
    }
}

/// What the node remembers.
fn recall(config: &NodeConfig) -> Result<(Storage, Recovery), StartError> {
    let id = config.id();
    let Some(folder) = config.state_dir() else {
        let wait = config.timing().election_timeout() * 2;
        log::warn!(
            "node {id}: runs without `state_dir`: it gives no vote for {wait:?} after each start, and its tokens grow \
             over a restart only if the wall clock is right"
        );
        let first_term = Term(clock::wall_seconds());
        return Ok((Storage::Nowhere, Recovery::Stateless { first_term }));
    };
    let (file, recovery) = VoteFile::open(folder, id, config.cluster()).map_err(StartError::state)?;
    if let Some(warning) = file.warning() {
        log::warn!("node {id}: {warning}");
    }
    Ok((Storage::File(Box::new(file)), recovery))
}

fn listen(config: &NodeConfig) -> Result<TcpListener, StartError> {
    let (host, port) = config.listen();
    TcpListener::bind((host.as_str(), port)).map_err(|error| StartError::Listen { at: format!("{host}:{port}"), error })
}

fn random() -> Result<u64, StartError> {
    SysRng.try_next_u64().map_err(|error| StartError::Random(error.to_string()))
}

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
            StartError::Listen { at, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {at}: another process does; stop it, or give this node another port")
            }
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
