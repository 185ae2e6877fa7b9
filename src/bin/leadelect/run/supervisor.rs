//! Holds leadership for a command: starts the command when the node leads, and releases the lease only when no process
//! of the command is left.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, never, select};
use leadelect::election::Timing;
use leadelect::{LeadOptions, Leading, Next, Node, lease_clock_nanos};
use rustix::process::{Pid, getpid};
use signal_hook::consts::SIGKILL;

use super::backoff::Backoff;
use super::descendants::{children, end_all_but, is_or_has_stopped, kill_all_but};
use super::guard_handle::GuardHandle;
use super::guard_protocol::{CommandEnd, FromGuard, GuardReport, ToGuard};
use super::leftovers::{RunId, listed};
use super::signals::{SignalReceiver, SignalRequest};
use super::spare::{NoGuard, Spare};
use super::worker::Workers;
use super::{Args, CommandSpec, GUARD, Restart, nanos};

/// When no lease is at risk, a guard that is later than this, in nanoseconds, counts as stopped.
const GUARD_SLACK: u64 = 2_000_000_000;
/// What does not die within this time after SIGKILL waits for a device, or is another user's.
const DEATH_TIME: Duration = Duration::from_secs(5);

/// What came of an attempt to run the command.
#[derive(Debug)]
enum Attempt {
    /// No process of the command is left, except as the report says.
    Over(GuardReport),
    /// The guard has not started the command in time, and is killed.
    NotStarted,
    /// The host is too busy to make a guard.
    NoGuard,
}

/// Whether the command gets a control group of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    Made,
    Impossible,
}

#[derive(Debug)]
pub(super) struct Supervisor<'a> {
    node: &'a Arc<Node>,
    spec: CommandSpec,
    restart: Restart,
    hold_off: Duration,
    max_silence: Option<Duration>,
    backoff: Backoff,
    /// Processes of the command may live on, because they could not be killed.
    leftovers: bool,
    /// How often the guard is told the end of the lease.
    renewal: Duration,
    signals: &'a SignalReceiver,
    /// Wakes the supervisor when something has happened to the node.
    node_events: Receiver<()>,
    /// A guard that waits, so that the command starts without delay when the node wins.
    spare: Spare,
    exit_code: Option<u8>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        args: &Args,
        node: &'a Arc<Node>,
        timing: Timing,
        spec: CommandSpec,
        (run, groups): (RunId, Groups),
        workers: Workers,
        signals: &'a SignalReceiver,
    ) -> Self {
        let hold_off = args.hold_off.unwrap_or(timing.election_timeout() * 10);
        Supervisor {
            node,
            spare: Spare::new(spec.clone(), run, groups, workers),
            spec,
            restart: args.restart,
            hold_off,
            max_silence: args.max_silence,
            backoff: Backoff::new(timing.election_timeout(), args.longest_pause, hold_off),
            leftovers: false,
            renewal: timing.heartbeat_interval() / 2,
            signals,
            node_events: wake_on_events(node),
            exit_code: None,
        }
    }

    /// Runs the command once per term that the node wins. Returns when the node has stopped, or when no command is to
    /// run any more. Returns the exit code, if it ends because its command ended.
    pub(super) fn run(mut self) -> Option<u8> {
        self.spare.prepare();
        let mut options =
            LeadOptions::default().drain_time(Duration::from_nanos(self.spec.drain_time)).hold_off(self.hold_off);
        if let Some(silence) = self.max_silence {
            options = options.max_silence(silence);
        }
        let node = self.node.clone();
        node.lead_with(&options, |leading| self.lead(leading));
        self.exit_code
    }

    fn lead(&mut self, leading: &Leading<'_>) -> Next {
        if !self.pause(leading) {
            return Next::Rejoin;
        }
        if !self.signals.command_may_start() {
            return Next::Leave;
        }
        if self.leftovers && !self.end_leftovers(None, Duration::ZERO) {
            log::error!("node {}: does not start the command beside what is left of the last one", self.node.id());
            self.signals.command_ended();
            self.backoff.ran(Duration::ZERO);
            return Next::HoldOff(self.hold_off);
        }
        let began = lease_clock_nanos();
        let report = loop {
            match self.run_command(leading) {
                Attempt::Over(report) => break report,
                Attempt::NotStarted if leading.check().is_ok() && !self.signals.stop_requested() && !self.leftovers => {
                }
                Attempt::NotStarted => break GuardReport { end: None, told: true, left: 0 },
                Attempt::NoGuard => {
                    self.signals.command_ended();
                    return Next::HoldOff(self.hold_off);
                }
            }
        };
        self.signals.command_ended();
        if self.signals.stop_requested() {
            return Next::Leave;
        }
        if report.end.is_some() && !report.told {
            self.backoff.ran(Duration::from_nanos(lease_clock_nanos().saturating_sub(began)));
        }
        self.next(report)
    }

    /// Waits before a command starts again that has ended at once. Returns whether this node still leads.
    fn pause(&self, leading: &Leading<'_>) -> bool {
        let mut left = self.backoff.pause();
        if !left.is_zero() {
            log::warn!("node {}: the command has ended at once again: starts it in {left:?}", self.node.id());
        }
        while !left.is_zero() {
            let step = left.min(self.renewal);
            leading.alive();
            if leading.wait(step).is_err() {
                return false;
            }
            left -= step;
        }
        leading.alive();
        true
    }

    /// What the node does after this end of the command.
    fn next(&mut self, report: GuardReport) -> Next {
        let GuardReport { end: Some(end), told: false, .. } = report else {
            return Next::Rejoin;
        };
        let failed = end != CommandEnd::Exited(0);
        let is_last = match self.restart {
            Restart::Never => true,
            Restart::OnFailure => !failed,
            Restart::Always => false,
        };
        if is_last {
            self.exit_code = Some(end.code());
            return Next::Leave;
        }
        if failed { Next::HoldOff(self.hold_off) } else { Next::Rejoin }
    }

    /// Takes the guard that waits, or another one if that has ended or stopped. Waits for at most an election timeout.
    fn take_guard(&mut self, leading: &Leading<'_>) -> Result<GuardHandle, NoGuard> {
        let (node, token) = (self.node.id(), leading.token());
        // The margin is a tenth of the election timeout.
        let give_up_at = lease_clock_nanos().saturating_add(10 * self.spec.margin);
        let mut is_first = true;
        loop {
            match self.spare.take(self.renewal) {
                Ok(guard) if guard.is_ready() || !is_first => return Ok(guard),
                Ok(_) => {
                    is_first = false;
                    log::warn!(
                        "node {node}: token={token}: the guard that waited has ended or stopped: takes another guard"
                    );
                }
                Err(NoGuard::NotYet) if leading.check().is_err() || self.signals.stop_requested() => {
                    return Err(NoGuard::NotYet);
                }
                Err(NoGuard::NotYet) if lease_clock_nanos() < give_up_at => leading.alive(),
                Err(NoGuard::NotYet) => {
                    log::error!("node {node}: token={token}: this host is too busy to start a process: holds off");
                    return Err(NoGuard::NotYet);
                }
                Err(NoGuard::Impossible) => return Err(NoGuard::Impossible),
            }
        }
    }

    /// Runs the command. Returns when no process of it is left.
    fn run_command(&mut self, leading: &Leading<'_>) -> Attempt {
        let (node, token) = (self.node.id(), leading.token());
        let guard = match self.take_guard(leading) {
            Ok(guard) if !self.signals.stop_requested() => guard,
            Ok(_) => return Attempt::NotStarted,
            Err(NoGuard::NotYet) if leading.check().is_err() || self.signals.stop_requested() => {
                return Attempt::NotStarted;
            }
            Err(NoGuard::NotYet) => return Attempt::NoGuard,
            // The same report as for a command that cannot be executed.
            Err(NoGuard::Impossible) => {
                return Attempt::Over(GuardReport { end: Some(CommandEnd::Exited(126)), told: false, left: 0 });
            }
        };
        let mut until = end_of_lease(leading);
        guard.tell(ToGuard::Start { token: token.0, until });
        log::info!("node {node}: token={token}: starts the command");
        // `None` once the guard has confirmed the start.
        let mut start_by = Some(lease_clock_nanos().saturating_add(self.spec.margin));
        let start_look = Duration::from_nanos(self.spec.margin / 4);
        // Prepared while this command runs, so that the next command need not wait.
        self.spare.prepare();

        let mut lost = false;
        let mut killed = false;
        let mut suspended = false;
        // When the command must have ended because this program was told to stop.
        let mut gone_by = u64::MAX;
        loop {
            let requests = &self.signals.requests;
            select! {
                recv(guard.reports) -> report => match report {
                    Ok(FromGuard::Started) => start_by = None,
                    Ok(FromGuard::Suspended(signal)) => {
                        suspended = true;
                        log::warn!(
                            "node {node}: token={token}: signal {signal} has stopped the command. It does not run, \
                             and this node still leads. SIGCONT lets it go on"
                        );
                    }
                    Ok(FromGuard::Resumed) => {
                        suspended = false;
                        log::info!("node {node}: token={token}: the command goes on after a signal had stopped it");
                    }
                    Ok(FromGuard::Ended(report)) => return Attempt::Over(self.conclude(report, &guard)),
                    Err(_) => {
                        let end = self.conclude_without_report(&guard);
                        if start_by.is_some() && killed {
                            return Attempt::NotStarted;
                        }
                        return Attempt::Over(GuardReport { end: Some(end), told: lost || killed, left: 0 });
                    }
                },
                recv(requests) -> request => if let Ok(request) = request {
                    gone_by = self.pass_on(request, &guard, gone_by);
                },
                // Disconnected once the node has stopped.
                recv(self.node_events) -> event => if event.is_err() {
                    self.node_events = never();
                },
                default(if start_by.is_some() { self.renewal.min(start_look) } else { self.renewal }) => {}
            }
            if !suspended {
                leading.alive();
            }
            match leading.check() {
                Ok(()) => {
                    until = until.max(end_of_lease(leading));
                    guard.tell(ToGuard::Until(until));
                }
                Err(why) if !lost => {
                    lost = true;
                    log::info!("node {node}: token={token}: stops the command: {why}");
                    guard.tell(ToGuard::Stop);
                }
                Err(_) => {}
            }
            // The guard had half of the margin to kill the command. If it has not, it may be stopped. That can also
            // happen while the lease is renewed: `gone_by`, `start_by` and `is_deaf` find it then.
            let now = lease_clock_nanos();
            let not_started = start_by.is_some_and(|start_by| self.is_not_starting(&guard, start_by, now));
            let late = now + self.spec.margin / 2 >= until || now >= gone_by || guard.is_deaf() || not_started;
            if late && !killed {
                killed = true;
                // First the kill, then the word: the lease ends soon.
                kill_all_but(&self.spared(Some(guard.id)), guard.group());
                guard.kill();
                if not_started {
                    log::warn!("node {node}: token={token}: the guard does not start the command: takes another guard");
                }
                log::warn!("node {node}: token={token}: kills the guard of the command, which is late");
            }
        }
    }

    /// Whether the guard, or the process that becomes the command, is stopped when the command should have started. A
    /// start may take longer on a busy host, but not as long as an election timeout.
    fn is_not_starting(&self, guard: &GuardHandle, start_by: u64, now: u64) -> bool {
        let too_late = start_by.saturating_add(9 * self.spec.margin);
        now >= too_late || (now >= start_by && is_or_has_stopped(guard.id))
    }

    /// Tells the guard what a signal asks for. Returns when the command must have ended; `gone_by` is what held before.
    fn pass_on(&self, request: SignalRequest, guard: &GuardHandle, gone_by: u64) -> u64 {
        match request {
            SignalRequest::Stop => {
                guard.tell(ToGuard::Stop);
                lease_clock_nanos().saturating_add(self.spec.stop_time).saturating_add(GUARD_SLACK)
            }
            SignalRequest::Kill => {
                guard.tell(ToGuard::Signal(SIGKILL));
                // Only the first of these requests counts. Others cannot delay the end.
                gone_by.min(lease_clock_nanos().saturating_add(GUARD_SLACK))
            }
            SignalRequest::PassOn(signal) => {
                guard.tell(ToGuard::Signal(signal));
                gone_by
            }
        }
    }

    fn conclude(&mut self, report: GuardReport, guard: &GuardHandle) -> GuardReport {
        let node = self.node.id();
        match report.end {
            Some(end) => log::info!("node {node}: the command ended: {end}"),
            None if report.left > 0 => {}
            None => log::info!("node {node}: it was too late to start the command"),
        }
        if report.left > 0 {
            // The guard has tried for long enough. They are children of this process now.
            self.end_leftovers(Some(guard), Duration::ZERO);
        }
        report
    }

    /// The guard has ended without a report: kills all processes of the command.
    fn conclude_without_report(&mut self, guard: &GuardHandle) -> CommandEnd {
        let node = self.node.id();
        log::warn!("node {node}: the guard of the command has ended: kills what is left of the command");
        self.end_leftovers(Some(guard), DEATH_TIME);
        CommandEnd::Killed(SIGKILL)
    }

    /// The children of this process that belong to no command that runs, and are not `guard`: the death witness, a
    /// guard that waits, one that is just being started, and those that have reported and have not quite ended.
    fn spared(&self, guard: Option<Pid>) -> Vec<Pid> {
        let own = fs::read("/proc/self/cmdline").unwrap_or_default();
        let witness = self.node.death_witness_id();
        let is_spared = |process: &Pid| {
            // Empty if it has ended. Until it has become a guard, it looks like this process.
            let id = process.as_raw_nonzero().get();
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let is_guard = line == own || line.split(|byte| *byte == 0).nth(1) == Some(GUARD.as_bytes());
            is_guard || u32::try_from(id).ok() == witness
        };
        let children = children(getpid()).unwrap_or_default();
        children.into_iter().filter(|child| Some(*child) != guard && is_spared(child)).collect()
    }

    /// Kills what is left of the last command. Returns whether that has ended.
    fn end_leftovers(&mut self, guard: Option<&GuardHandle>, limit: Duration) -> bool {
        let spared = || self.spared(guard.map(|guard| guard.id));
        let ended = end_all_but(spared, guard.and_then(GuardHandle::group), limit);
        if let Err(left) = &ended {
            log::error!(
                "node {}: {} of the command cannot be ended, and may act beside the next leader: only a resource that \
                 refuses old tokens is safe. Kill it as root",
                self.node.id(),
                listed(left)
            );
        }
        self.leftovers = ended.is_err();
        ended.is_ok()
    }
}

/// The end of the lease in nanoseconds on the clock of leases. Never later than the real end, because the clock is read
/// before the remaining time.
fn end_of_lease(leading: &Leading<'_>) -> u64 {
    let now = lease_clock_nanos();
    now.saturating_add(nanos(leading.remaining().at_most(Duration::MAX)))
}

/// Receives a message after each event of the node, whatever the event is.
fn wake_on_events(node: &Node) -> Receiver<()> {
    let (wake, woken) = bounded(1);
    let events = node.events();
    let forward = move || {
        for _ in events {
            // If the channel is full, the supervisor wakes up anyway.
            if wake.try_send(()).is_err_and(|error| error.is_disconnected()) {
                return;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name(format!("le{}-events", node.id())).spawn(forward) {
        log::warn!("cannot start a thread for the events of the node, checks the node at intervals instead: {error}");
    }
    woken
}
