//! How the work of a leader is stopped and watched.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::lease::LeaseState;
use crate::election::{EndReason, Instant, NodeId, Term, Timing};

/// How work under [`Node::lead_with`](crate::Node::lead_with) is stopped and watched.
///
/// ```
/// use leadelect::{LeadOptions, OnOverrun};
/// use std::time::Duration;
///
/// let options = LeadOptions::default()
///     .drain_time(Duration::from_millis(50))
///     .max_silence(Duration::from_secs(2))
///     .on_overrun(OnOverrun::Abort);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
pub struct LeadOptions {
    drain_time: Option<Duration>,
    max_silence: Option<Duration>,
    hold_off: Option<Duration>,
    on_overrun: OnOverrun,
    time_limit: Option<Duration>,
    pub(super) health_check: Option<HealthCheck>,
}

impl LeadOptions {
    /// How many election timeouts a node stays behind after its work was silent, failed or unhealthy. Long enough for
    /// another node to have led for a while, short enough that a fault which has passed is forgotten.
    const HOLD_OFF_TIMEOUTS: u32 = 10;

    /// Sets how long the work takes to stop. [`Leading::check`](crate::Leading::check) and
    /// [`Leading::wait`](crate::Leading::wait) tell it to stop this long before the lease ends. Default: a fifth of the
    /// election timeout.
    ///
    /// At most the length of a lease less two and a half heartbeat intervals, so that one lost heartbeat ends no
    /// leadership. A longer time is cut to that, and logged.
    #[must_use]
    pub fn drain_time(mut self, span: Duration) -> Self {
        self.drain_time = Some(span);
        self
    }

    /// Sets a dead-man switch: work that does not call [`Leading::alive`](crate::Leading::alive) for longer than this
    /// loses leadership, and the node holds off. Default: none. At least one heartbeat interval; a shorter time is made
    /// that long, and logged.
    #[must_use]
    pub fn max_silence(mut self, span: Duration) -> Self {
        self.max_silence = Some(span);
        self
    }

    /// Sets how long the node leads only if no other node can, after its work was silent, has failed or panicked, or
    /// did not pass its health check. Default: ten election timeouts.
    #[must_use]
    pub fn hold_off(mut self, span: Duration) -> Self {
        self.hold_off = Some(span);
        self
    }

    /// Sets what is done when the work still runs at the hard deadline. Default: [`OnOverrun::Log`].
    #[must_use]
    pub fn on_overrun(mut self, action: OnOverrun) -> Self {
        self.on_overrun = action;
        self
    }

    /// Lets the call of [`Node::lead_with`](crate::Node::lead_with) return after this time, also if this node never
    /// leads. Work that runs then has to stop first, with [`EndReason::Resigned`]. Default: no limit. See also
    /// [`Node::recall`](crate::Node::recall).
    #[must_use]
    pub fn time_limit(mut self, span: Duration) -> Self {
        self.time_limit = Some(span);
        self
    }

    /// Has the health of this program checked while the call of [`Node::lead_with`](crate::Node::lead_with) runs.
    /// Default: none.
    #[must_use]
    pub fn health_check(mut self, check: HealthCheck) -> Self {
        self.health_check = Some(check);
        self
    }

    pub(crate) fn policy(&self, id: NodeId, timing: Timing, now: Instant, log: &impl log::Log) -> WorkPolicy {
        let (heartbeat, timeout) = (timing.heartbeat_interval(), timing.election_timeout());
        // The heartbeat after a lost one goes out two intervals after the last that was answered, and has half of one
        // to be answered itself.
        let longest_drain = timing.lease(timeout).saturating_sub(heartbeat * 5 / 2);
        let drain = self.drain_time.unwrap_or(timeout / 5);
        if self.drain_time.is_some() && drain > longest_drain {
            log::warn!(
                logger: log,
                "node {id}: a drain time of {drain:?} leaves no time to work: expected at most {longest_drain:?} with \
                 this timing, and uses that"
            );
        }
        if let Some(silence) = self.max_silence.filter(|silence| *silence < heartbeat) {
            log::warn!(
                logger: log,
                "node {id}: a max_silence of {silence:?} is too short: expected at least {heartbeat:?}, the heartbeat \
                 interval, and uses that"
            );
        }
        WorkPolicy {
            drain: drain.min(longest_drain),
            max_silence: self.max_silence.map(|silence| silence.max(heartbeat)),
            hold_off: self.hold_off.unwrap_or(timeout * Self::HOLD_OFF_TIMEOUTS),
            on_overrun: self.on_overrun.clone(),
            leave_at: self.time_limit.map_or(Instant::NEVER, |limit| now + limit),
        }
    }
}

/// What is agreed about the work.
#[derive(Debug, Clone)]
pub(crate) struct WorkPolicy {
    /// How long before the hard deadline it is told to stop.
    pub(crate) drain: Duration,
    pub(crate) max_silence: Option<Duration>,
    /// How long the node stays behind when the work was silent or has failed.
    pub(crate) hold_off: Duration,
    pub(crate) on_overrun: OnOverrun,
    /// When the call that does the work returns.
    pub(crate) leave_at: Instant,
}

impl WorkPolicy {
    /// Until when the work may go on, or why it has to stop now.
    pub(crate) fn soft_deadline(&self, lease: &LeaseState, now: Instant) -> Result<Instant, EndReason> {
        let soft = lease.soft_deadline(now, self.drain)?;
        if now >= self.leave_at { Err(EndReason::Resigned) } else { Ok(soft.min(self.leave_at)) }
    }
}

/// What is done when the work of a leader still runs at its hard deadline, from when on another node may lead.
///
/// The overrun is logged and told as an event in any case. Until the work has ended, this node does not campaign.
#[derive(Clone, Default)]
pub enum OnOverrun {
    /// Nothing more.
    #[default]
    Log,
    /// This is called with the token of the lease, on a thread of its own.
    Call(Arc<dyn Fn(Term) + Send + Sync>),
    /// The process is aborted: better no process than two leaders at work. The log gets 5 ms to say so.
    Abort,
}

impl fmt::Debug for OnOverrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnOverrun::Log => "Log",
            OnOverrun::Call(_) => "Call(..)",
            OnOverrun::Abort => "Abort",
        })
    }
}

/// How the health of a program is checked, for [`LeadOptions::health_check`].
///
/// The check runs on a thread of its own: once when [`Node::lead_with`](crate::Node::lead_with) begins, and then again
/// and again. An error, a panic, or no answer in time is a bad answer. Until a check is passed again, the node leads
/// only if no other node can. A node that leads hands over and holds off.
///
/// The thread ends with the call of `lead_with`. A check that hangs is left behind with its thread.
///
/// ```
/// use leadelect::{HealthCheck, LeadOptions};
/// use std::time::Duration;
///
/// let disk = HealthCheck::new(|| std::fs::metadata("/").map(drop).map_err(|error| error.to_string()))
///     .every(Duration::from_secs(5))
///     .timeout(Duration::from_secs(1));
/// let options = LeadOptions::default().health_check(disk);
/// # let _ = options;
/// ```
#[derive(Clone)]
pub struct HealthCheck {
    pub(super) every: Duration,
    pub(super) timeout: Duration,
    pub(super) check: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl HealthCheck {
    /// A check is neither begun more often, nor given less time.
    const SHORTEST: Duration = Duration::from_millis(1);
    const DEFAULT: Duration = Duration::from_secs(1);

    /// Asks `check` whether this program is able to do the work of a leader. The text of its error goes to the log.
    #[must_use]
    pub fn new(check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        HealthCheck { every: Self::DEFAULT, timeout: Self::DEFAULT, check: Arc::new(check) }
    }

    /// Sets the pause between the end of a check and the next one. Default: 1 s. At least 1 ms.
    #[must_use]
    pub fn every(mut self, span: Duration) -> Self {
        self.every = span.max(Self::SHORTEST);
        self
    }

    /// Sets how long a check may take. Default: 1 s. At least 1 ms.
    #[must_use]
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout = span.max(Self::SHORTEST);
        self
    }
}

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheck")
            .field("every", &self.every)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
