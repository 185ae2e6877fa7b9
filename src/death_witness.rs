//! A process that watches over the death of a node, so that a crash costs milliseconds.
//!
//! When the process of a leader dies, the others have promised to elect nobody else for a while. They need not wait for
//! that if they know that nothing of the leader can act any more. A [`DeathWitness`] knows: it waits for the lock on
//! the state of the node, which a living process holds. The kernel gives it the lock within milliseconds. Then it tells
//! all peers, and the next leader is elected at once. The argument is rule 15 of the
//! [protocol](crate::manual::protocol).
//!
//! It decides nothing, and may be killed at any time: then a crash costs as much as without it. A node that starts
//! again at once says the same of its own earlier process, without a witness.
//!
//! *Not to be confused with* a [witness](crate::config::NodeSpec::witness) of the election, a node that votes and never
//! leads.
//!
//! # Who runs it
//!
//! - [`Node::start`](crate::Node::start) starts one as a child of the program, if
//!   [`NodeConfig::death_witness`](crate::config::NodeConfig::death_witness) says which program to run for it.
//! - `leadelect run` has one.
//! - `leadelect witness` is one.
//! - Under systemd, `ExecStopPost=-leadelect bury` does it better: systemd kills what is left of a service when its
//!   main process dies, and so a child, too.
//!
//! # What must hold the lock
//!
//! What it tells must be true. The threads of a program die with it, and [`Lease`](crate::Lease) holds the lock. A
//! *child process* that acts as leader lives on when the program is killed. It must hold
//! [`Node::state_lock`](crate::Node::state_lock), or the program must do without a witness and without obituaries:
//! [`NodeConfig::without_obituary`](crate::config::NodeConfig::without_obituary).

mod child;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

pub(crate) use self::child::WitnessChild;
pub use self::child::become_one_if_asked;
use crate::clock;
use crate::config::NodeConfig;
pub use crate::config::WitnessProgram;
use crate::election::{NodeId, Term};
use crate::inbox::Inbox;
use crate::leadership::Leadership;
use crate::log_queue::LogQueue;
use crate::status::Board;
use crate::store::{self, VoteFile};
use crate::transport::{self, Complaints, Local, Protocols};

/// Waits for the death of the processes of a node, and tells the other nodes. See the [module](self).
#[derive(Debug)]
pub struct DeathWitness {
    config: NodeConfig,
    folder: PathBuf,
    log: LogQueue,
}

/// What was found when no process of the node held its lock any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Death {
    /// No process of the node that has ever run can act in this term or an earlier one.
    Proved(Term),
    /// No process of the node holds the lock, but an earlier one may live: why.
    Unproved(String),
    /// The node has no state: it has never run, or its file was removed or replaced.
    NoState,
}

/// Why a [`DeathWitness`] cannot do its work.
#[derive(Debug)]
#[non_exhaustive]
pub enum WitnessError {
    /// The node keeps no state, so there is no lock.
    Stateless,
    /// The state of the node cannot be used.
    State(Box<dyn std::error::Error + Send + Sync>),
    /// The system gives no threads, or no random numbers.
    System(io::Error),
}

impl fmt::Display for WitnessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WitnessError::Stateless => f.write_str(
                "the config has no `state_dir`, so the node has no lock by which its death is known: set one",
            ),
            WitnessError::State(error) => error.fmt(f),
            WitnessError::System(error) => write!(f, "the system gives no threads or random numbers: {error}"),
        }
    }
}

impl std::error::Error for WitnessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WitnessError::Stateless => None,
            WitnessError::State(error) => error.source(),
            WitnessError::System(error) => Some(error),
        }
    }
}

impl DeathWitness {
    /// How often it looks whether the node runs again.
    const LOOK: Duration = Duration::from_millis(20);

    /// # Errors
    ///
    /// When the node keeps no state, or the system gives no thread.
    pub fn new(config: NodeConfig) -> Result<DeathWitness, WitnessError> {
        let folder = config.state_dir.clone().ok_or(WitnessError::Stateless)?;
        let log = LogQueue::start(config.id()).map_err(WitnessError::System)?;
        Ok(DeathWitness { config, folder, log })
    }

    /// Waits until no process holds the lock of the node, however long that takes.
    ///
    /// # Errors
    ///
    /// When the state of the node cannot be read.
    pub fn wait(&self) -> Result<Death, WitnessError> {
        self.death(VoteFile::wait_for_death)
    }

    /// Whether no process holds the lock of the node. One that just ends gets a moment for it.
    ///
    /// # Errors
    ///
    /// When a process holds it, or the state of the node cannot be read.
    pub fn look(&self) -> Result<Death, WitnessError> {
        self.death(VoteFile::look_for_death)
    }

    fn death(
        &self,
        find: fn(&Path, NodeId, &str) -> Result<store::Death, store::StoreError>,
    ) -> Result<Death, WitnessError> {
        let found = find(&self.folder, self.config.id(), &self.config.cluster);
        Ok(match found.map_err(|error| WitnessError::State(Box::new(error)))? {
            store::Death::Proved(term) => Death::Proved(term),
            store::Death::Unproved(why) => Death::Unproved(why.to_string()),
            store::Death::NoFile => Death::NoState,
        })
    }

    /// Tells all peers that no process of the node can act in a term up to `up_to`. Tries for one election timeout at
    /// those that cannot be reached: then every promise to the node has run out.
    ///
    /// # Errors
    ///
    /// When the system gives no threads or random numbers. For each peer that was not told there is a reason.
    pub fn tell(&self, up_to: Term) -> Result<BTreeMap<NodeId, Result<(), String>>, WitnessError> {
        let config = &self.config;
        let random = SysRng.try_next_u64();
        let give_up_at = clock::now() + config.timing().election_timeout();
        let local = Local {
            cluster: config.cluster.clone(),
            members: config.members.clone(),
            timing: config.timing(),
            rpc_timeout: config.rpc_timeout,
            identity: config.identity.clone(),
            instance: random.map_err(|error| WitnessError::System(io::Error::other(error.to_string())))?,
            speaks: Protocols::of_this_build(),
            obituary: Some(up_to),
            silent_from: give_up_at,
            last_problem: Mutex::default(),
            complaints: Complaints::default(),
            board: Arc::new(Board::new(config.id(), [])),
            leadership: Arc::new(Leadership::new(Duration::ZERO, |_| {})),
            started_at: clock::now(),
            inbox: Inbox::new().0,
            log: self.log.clone(),
        };
        transport::announce(local, give_up_at).map_err(WitnessError::System)
    }

    /// Watches until the process dies that holds the lock now, and tells all peers. Says in the log what it does.
    fn watch_once(&self) -> Result<(), WitnessError> {
        let death = self.wait()?;
        self.act_on(&death)
    }

    /// Watches over every life of the node, for ever.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](DeathWitness::wait) and [`tell`](DeathWitness::tell).
    pub fn watch(&self) -> Result<std::convert::Infallible, WitnessError> {
        loop {
            self.wait_for_life();
            self.watch_once()?;
        }
    }

    /// Does what follows from a death.
    fn act_on(&self, death: &Death) -> Result<(), WitnessError> {
        let id = self.config.id();
        match death {
            Death::Proved(term) => {
                let began = clock::now();
                let told = self.tell(*term)?;
                let took = clock::now().since(began);
                let (heard, peers) = (told.values().filter(|told| told.is_ok()).count(), told.len());
                log::info!(
                    logger: self.log,
                    "node {id}: no process of it is left that can act in a term up to {term}; told {heard} of {peers} \
                     peers in {took:.1?}"
                );
                for (peer, why) in told.iter().filter_map(|(peer, told)| Some((peer, told.as_ref().err()?))) {
                    log::info!(logger: self.log, "node {id}: peer {peer} was not told: {why}");
                }
            }
            Death::Unproved(why) => log::warn!(
                logger: self.log,
                "node {id}: its process is gone, and the others are not told: {why}"
            ),
            Death::NoState => {}
        }
        Ok(())
    }

    /// Waits until a process holds the lock.
    fn wait_for_life(&self) {
        while !VoteFile::is_locked(&self.folder, self.config.id()) {
            std::thread::park_timeout(Self::LOOK);
        }
    }
}

impl Drop for DeathWitness {
    fn drop(&mut self) {
        self.log.end();
    }
}
