//! What a program holds: one running node.

mod start;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

pub use self::start::StartError;
use crate::clock;
use crate::death_witness::WitnessChild;
use crate::election::{EndReason, NodeId, NodeIdError};
use crate::engine::{Answer, Call, Mail};
use crate::error::{NotLeader, TransferError};
use crate::leadership::{self, LeadOptions, Leading, Lease, NodeHandle, WorkResult};
use crate::members::Members;
use crate::state_lock::StateLock;
use crate::status::{Board, Events, Status};
use crate::sync::lock;

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
/// That is for programs that have a loop already. [`Node::lead`] is the loop.
///
/// Dropping a node stops it, as [`Node::shutdown`] does.
#[must_use = "dropping a node stops it"]
pub struct Node {
    handle: NodeHandle,
    members: Members,
    board: Arc<Board>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Ends with the election thread.
    stopped: Receiver<()>,
    /// The election thread was told to stop.
    stops: AtomicBool,
    death_witness: Mutex<Option<WitnessChild>>,
}

impl Node {
    /// This node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.handle.id
    }

    /// The right to act as leader, if this node has it now. Reads the clock; asks no other thread.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.handle.leadership.lease(clock::now())
    }

    /// The lock on the state of this node. A child process that acts as leader must hold a copy of it for as long as it
    /// can act, for example as its standard input, and pass it on to its own children. Otherwise the other nodes may
    /// take this node for dead when this process dies, and elect another leader beside the child. See
    /// [`death_witness`](crate::death_witness). None if the node keeps no state, or has stopped.
    #[must_use]
    pub fn state_lock(&self) -> Option<StateLock> {
        self.handle.leadership.lock()
    }

    /// The process id of the [death witness](crate::config::NodeConfig::death_witness), if the node has one.
    #[must_use]
    pub fn death_witness_id(&self) -> Option<u32> {
        lock(&self.death_witness).as_ref().map(WitnessChild::id)
    }

    /// What the node sees now of itself and its peers.
    #[must_use]
    pub fn status(&self) -> Status {
        self.board.status(self.lease().map(|lease| (lease.token(), lease.remaining())))
    }

    /// The changes from now on. The stream ends when the node stops.
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
    /// # let clean_up = |_token| ();
    /// node.lead(|leading| {
    ///     while leading.wait(Duration::from_secs(1)).is_ok() {
    ///         clean_up(leading.token()); // on one node of the cluster only
    ///     }
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Its errors and panics are those of [`Node::lead_with`].
    pub fn lead<R: WorkResult>(&self, work: impl FnMut(&Leading<'_>) -> R) -> R::Ended {
        self.lead_with(&LeadOptions::default(), work)
    }

    /// Runs `work` on the calling thread, once per term in which this node leads. Returns when the node stops, when
    /// `work` returns [`Next::Leave`](crate::Next::Leave), after [`LeadOptions::time_limit`], or after
    /// [`Node::recall`].
    ///
    /// `work` runs until it is done, or until [`Leading::check`] or [`Leading::wait`] tell it to stop. Another node may
    /// lead only when `work` has returned and every [`Lease`] is dropped, or when the lease has run out. Until then
    /// this node does not campaign either. What `work` returns decides what comes next:
    ///
    /// - `()`, a [`Next`](crate::Next) or `Ok` of one of them: leadership is released if the node still holds it.
    /// - An error after `work` had to stop: it counts as a consequence of that, and is logged. The node contends again.
    /// - Any other error: leadership is released, the node holds off, and the error is returned.
    /// - A panic: likewise, and it goes on in the caller.
    ///
    /// Call it soon: a node contends from its start on. After `lead_with` has returned, nobody is there to do the work.
    /// Then the node leads only if no other node can, until this is called again, or [`Node::set_eligible`].
    ///
    /// `work` may call every function of this node except `lead` itself. [`Node::resign`], [`Node::transfer_to`] and
    /// [`Node::shutdown`] then only begin what they do, because `work` still has to stop. If `work` waits for *another*
    /// thread that calls them, that thread waits for `work` in turn, until the hard deadline.
    ///
    /// The handle cannot outlive the call:
    ///
    /// ```compile_fail,E0521
    /// # fn escape(node: &leadelect::Node) {
    /// let mut kept = None;
    /// node.lead(|leading| {
    ///     kept = Some(leading);
    /// });
    /// # }
    /// ```
    ///
    /// Threads that end before it may share it:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn share(node: &leadelect::Node) {
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
    /// });
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// That of `work`, if it came before `work` had to stop. A `work` that cannot fail returns `()` or a
    /// [`Next`](crate::Next), and then `lead_with` returns `()`.
    ///
    /// # Panics
    ///
    /// If `work` does, or if a call is running already: one at a time, and not from inside `work`.
    pub fn lead_with<R: WorkResult>(&self, options: &LeadOptions, work: impl FnMut(&Leading<'_>) -> R) -> R::Ended {
        leadership::lead(&self.handle, options, work)
    }

    /// Has the running call of [`Node::lead`] return, from any thread, and returns whether there was one. Work that
    /// runs has to stop first, with [`EndReason::Resigned`]. The node goes on, and leads only if no other node can.
    ///
    /// Does not wait. A call that begins later is not affected.
    pub fn recall(&self) -> bool {
        let (attended, ended) = self.handle.leadership.recall(clock::now());
        if let Some(term) = ended {
            drop(self.handle.work_ends(term, EndReason::Resigned, Duration::ZERO));
        }
        attended
    }

    /// Hands leadership over to the best node. Takes the lease away, and waits until every [`Lease`] is dropped and the
    /// closure of [`Node::lead`] has returned, or until their time is up. Then it tells the other nodes, and the best
    /// of them campaigns at once. For one election timeout this node leads only if no other node can.
    ///
    /// Returns when the node does not lead any more, or at once if the closure itself calls it. The node goes on voting
    /// and following.
    ///
    /// # Errors
    ///
    /// When the node does not lead.
    pub fn resign(&self) -> Result<(), NotLeader> {
        self.resign_for(Duration::ZERO)
    }

    /// As [`Node::resign`], but this node holds off for `hold_off`, if that is longer than the election timeout.
    pub fn resign_for(&self, hold_off: Duration) -> Result<(), NotLeader> {
        match self.hand_over(None, hold_off) {
            Ok(()) | Err(TransferError::UnderWay) => Ok(()),
            Err(_) => Err(NotLeader),
        }
    }

    /// Hands leadership over to the node `id`, as [`Node::resign`] does to the best one. That node campaigns at once.
    /// It leads only if a majority votes for it; if not, any other node may win, such as when `id` has stopped within
    /// the last heartbeat interval. [`Node::transfer_and_wait`] tells who leads in the end.
    ///
    /// # Errors
    ///
    /// When this node does not lead or is handing over already, and when `id` could not follow now: see
    /// [`TransferError`].
    pub fn transfer_to(&self, id: impl TryInto<NodeId, Error: Into<NodeIdError>>) -> Result<(), TransferError> {
        let successor = self.members.successor(id)?;
        self.hand_over(Some(successor), Duration::ZERO)
    }

    /// As [`Node::transfer_to`], and then waits until this node knows the next leader: usually `id`, but another node
    /// may win. Returns that leader, or `None` if no leader is known within `limit` after the hand-over. Fails as
    /// [`Node::transfer_to`].
    pub fn transfer_and_wait(
        &self,
        id: impl TryInto<NodeId, Error: Into<NodeIdError>>,
        limit: Duration,
    ) -> Result<Option<NodeId>, TransferError> {
        let mut events = self.events();
        self.transfer_to(id)?;
        let until = clock::now() + limit;
        loop {
            let status = self.status();
            if let Some(leader) = status.leader.filter(|leader| *leader != self.id() || status.token.is_some()) {
                return Ok(Some(leader));
            }
            let left = until.since(clock::now());
            if left.is_zero() || events.has_ended() {
                return Ok(None);
            }
            let _ = events.next_within(left);
        }
    }

    fn hand_over(&self, successor: Option<NodeId>, hold_off: Duration) -> Result<(), TransferError> {
        let answers = self.handle.inbox.call(Call::HandOver { successor, hold_off });
        match answers.recv() {
            Ok(Answer::Refused(refusal)) => return Err(refusal),
            Ok(Answer::Begun | Answer::Done) => {}
            // The node has stopped.
            Err(_) => return Err(TransferError::NotLeader),
        }
        if !self.handle.leadership.is_worker() {
            leadership::wait(&answers);
        }
        Ok(())
    }

    /// Says whether the program is eligible: whether this node should lead. True at the start. A node that is not
    /// eligible leads only if no other node can, so there is a leader in any case. A leader that becomes ineligible
    /// hands over once another node was eligible for a while. To end its leadership at once there is [`Node::resign`].
    pub fn set_eligible(&self, eligible: bool) {
        self.handle.leadership.set_eligible(eligible);
    }

    /// Stops the node, in order: leadership is handed over as by [`Node::resign`], connections are closed, and every
    /// thread ends. Two kinds of threads may be left: one that waits for a name server, and one that hangs in code of
    /// the program, such as its logger. A second call waits for the first. A call from inside the closure of
    /// [`Node::lead`] does not wait.
    ///
    /// It takes until the work has ended that a [`Lease`] guards or [`Node::lead`] runs, at most the election timeout;
    /// and then up to `rpc_timeout` for the last words to arrive.
    pub fn shutdown(&self) {
        self.shutdown_within(Duration::MAX);
    }

    /// As [`Node::shutdown`], but waits no longer than `limit`. Returns whether the node has stopped. If it has not, it
    /// goes on to stop while the process lives, and dropping the node does not wait any more.
    pub fn shutdown_within(&self, limit: Duration) -> bool {
        let inside = self.handle.leadership.stop_own_work(EndReason::Stopped, clock::now());
        if !self.stops.swap(true, Ordering::SeqCst) {
            self.handle.inbox.mail(Mail::Stop);
        }
        if inside {
            return false;
        }
        let ended = self.stopped.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected);
        let thread = lock(&self.thread).take();
        if !ended {
            let what = "it goes on to stop";
            log::warn!(logger: self.handle.log, "node {}: has not stopped within {limit:?}; {what}", self.id());
        } else if let Some(Err(_)) = thread.map(JoinHandle::join) {
            log::error!(logger: self.handle.log, "node {}: the election thread has panicked", self.id());
        } else {
            // There is no death to be told of any more.
            drop(lock(&self.death_witness).take());
        }
        ended
    }
}

/// Locks nothing: who formats it may wait for a terminal, and the threads of the node do not.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.handle.id).finish_non_exhaustive()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if lock(&self.thread).is_some() {
            self.shutdown();
        }
    }
}
