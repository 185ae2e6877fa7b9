//! Holds leadership for a command: starts the command when the node leads, and releases the lease only when no process
//! of the command is left.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, never, select};
use leadelect::election::Timing;
use leadelect::{LeadOptions, Leading, Next, Node, lease_clock_nanos};
use rustix::process::Pid;
use signal_hook::consts::SIGKILL;

use super::descendants::kill_all_but;
use super::guard_handle::GuardHandle;
use super::guard_protocol::{CommandEnd, GuardReport, ToGuard};
use super::signals::{SignalReceiver, SignalRequest};
use super::{Args, CommandSpec, Restart, nanos};

/// When no lease is at risk, a guard that is later than this, in nanoseconds, counts as stopped.
const GUARD_SLACK: u64 = 2_000_000_000;

#[derive(Debug)]
pub(super) struct Supervisor<'a> {
    node: &'a Arc<Node>,
    spec: CommandSpec,
    restart: Restart,
    hold_off: Duration,
    /// How often the guard is told the end of the lease.
    renewal: Duration,
    signals: &'a SignalReceiver,
    /// Wakes the supervisor when something has happened to the node.
    node_events: Receiver<()>,
    /// A guard that waits, so that the command starts without delay when the node wins.
    spare: Option<GuardHandle>,
    exit_code: Option<u8>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        args: &Args,
        node: &'a Arc<Node>,
        timing: Timing,
        spec: CommandSpec,
        signals: &'a SignalReceiver,
    ) -> Self {
        Supervisor {
            node,
            spec,
            restart: args.restart,
            hold_off: args.hold_off.unwrap_or(timing.election_timeout() * 10),
            renewal: timing.heartbeat_interval() / 2,
            signals,
            node_events: wake_on_events(node),
            spare: None,
            exit_code: None,
        }
    }

    /// Runs the command once per term that the node wins. Returns when the node has stopped, or when no command is to
    /// run any more. Returns the exit code, if it ends because its command ended.
    pub(super) fn run(mut self) -> Option<u8> {
        self.spare = self.prepare();
        let options =
            LeadOptions::default().drain_time(Duration::from_nanos(self.spec.drain_time)).hold_off(self.hold_off);
        let node = self.node.clone();
        node.lead_with(&options, |leading| self.lead(leading));
        self.exit_code
    }

    fn lead(&mut self, leading: &Leading<'_>) -> Next {
        if !self.signals.command_may_start() {
            return Next::Leave;
        }
        let report = self.run_command(leading);
        self.signals.command_ended();
        if self.signals.stop_requested() {
            return Next::Leave;
        }
        self.next(report)
    }

    /// What the node does after this end of the command.
    fn next(&mut self, report: GuardReport) -> Next {
        let GuardReport { end: Some(end), told: false } = report else {
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

    /// Runs the command. Returns when no process of it is left.
    fn run_command(&mut self, leading: &Leading<'_>) -> GuardReport {
        let (node, token) = (self.node.id(), leading.token());
        let ready = self.spare.take().filter(GuardHandle::is_ready);
        let Some(guard) = ready.or_else(|| self.prepare()) else {
            // The same report as for a command that cannot be executed.
            return GuardReport { end: Some(CommandEnd::Exited(126)), told: false };
        };
        let mut until = end_of_lease(leading);
        guard.tell(ToGuard::Start { token: token.0, until });
        log::info!("node {node}: token={token}: starts the command");
        // Prepared while this command runs, so that the next command need not wait.
        self.spare = self.prepare();

        let mut lost = false;
        let mut killed = false;
        // When the command must have ended because this program was told to stop.
        let mut gone_by = u64::MAX;
        loop {
            let requests = &self.signals.requests;
            select! {
                recv(guard.reports) -> report => {
                    return self.conclude(report.ok(), lost || killed);
                }
                recv(requests) -> request => if let Ok(request) = request {
                    gone_by = self.pass_on(request, &guard, gone_by);
                },
                // Disconnected once the node has stopped.
                recv(self.node_events) -> event => if event.is_err() {
                    self.node_events = never();
                },
                default(self.renewal) => {}
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
            // happen while the lease is renewed: `gone_by` and `is_deaf` find it then.
            let now = lease_clock_nanos();
            let late = now + self.spec.margin / 2 >= until || now >= gone_by || guard.is_deaf();
            if late && !killed {
                killed = true;
                log::warn!("node {node}: token={token}: kills the guard of the command, which is late");
                guard.kill();
            }
        }
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

    /// Returns the report of the guard. If the guard ended without one, kills all processes of the command.
    fn conclude(&self, report: Option<GuardReport>, told: bool) -> GuardReport {
        let node = self.node.id();
        let Some(report) = report else {
            log::warn!("node {node}: the guard of the command has ended: kills what is left of the command");
            let spared: Vec<Pid> = self.spare.iter().map(|spare| spare.id).collect();
            if let Err(error) = kill_all_but(&spared) {
                log::error!("node {node}: cannot find what is left of the command: {error}");
            }
            return GuardReport { end: Some(CommandEnd::Killed(SIGKILL)), told };
        };
        match report.end {
            Some(end) => log::info!("node {node}: the command ended: {end}"),
            None => log::info!("node {node}: it was too late to start the command"),
        }
        report
    }

    fn prepare(&self) -> Option<GuardHandle> {
        let log = |error: &std::io::Error| log::error!("node {}: cannot start a guard: {error}", self.node.id());
        GuardHandle::spawn(&self.spec).inspect_err(log).ok()
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
