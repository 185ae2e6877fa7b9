//! Holds leadership for a command: starts it with the lease, and lets the lease go only when nothing is left of it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, never, select};
use leadelect::election::Timing;
use leadelect::{LeadOptions, Leading, Next, Node, lease_clock_nanos};
use rustix::process::Pid;
use signal_hook::consts::SIGKILL;

use super::descendants::kill_all_but;
use super::handle::Guard;
use super::orders::{End, Order, Report};
use super::signals::{Call, Reception};
use super::{Job, Restart};

/// How late a guard may be, in nanoseconds, where no lease hangs on it: then it is taken to be stopped.
const GUARD_SLACK: u64 = 2_000_000_000;

#[derive(Debug)]
pub(super) struct Supervisor<'a> {
    node: &'a Arc<Node>,
    job: Job,
    restart: Restart,
    hold_off: Duration,
    /// The guard is told the end of the lease so often.
    renewal: Duration,
    reception: &'a Reception,
    /// Something has happened to the node.
    news: Receiver<()>,
    /// A guard that waits, so that the command starts without a delay when leadership is won.
    spare: Option<Guard>,
    exit_code: Option<u8>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        node: &'a Arc<Node>,
        timing: Timing,
        job: Job,
        restart: Restart,
        hold_off: Duration,
        reception: &'a Reception,
    ) -> Self {
        Supervisor {
            node,
            job,
            restart,
            hold_off,
            renewal: timing.heartbeat_interval() / 2,
            reception,
            news: news(node),
            spare: None,
            exit_code: None,
        }
    }

    /// Runs the command once per term won. Returns when the node has stopped, or is to lead no more.
    pub(super) fn run(&mut self) {
        self.spare = self.prepare();
        let options = LeadOptions::default().drain_time(self.job.drain_time).hold_off(self.hold_off);
        let node = self.node.clone();
        node.lead_with(&options, |leading| self.lead(leading));
    }

    /// The exit code, if the command's end was to be the end of all.
    pub(super) fn exit_code(&self) -> Option<u8> {
        self.exit_code
    }

    fn lead(&mut self, leading: &Leading<'_>) -> Next {
        if !self.reception.begin_work() {
            return Next::Leave;
        }
        let report = self.work(leading);
        self.reception.end_work();
        if self.reception.was_asked_to_leave() {
            return Next::Leave;
        }
        self.next(report)
    }

    /// What comes next after this end of the command.
    fn next(&mut self, report: Report) -> Next {
        let end = match report {
            Report { end: None, .. } | Report { told: true, .. } => return Next::Rejoin,
            Report { end: Some(end), .. } => end,
        };
        let failed = end != End::Exited(0);
        let ends = match self.restart {
            Restart::Never => true,
            Restart::OnFailure => !failed,
            Restart::Always => false,
        };
        if ends {
            self.exit_code = Some(end.code());
            return Next::Leave;
        }
        if failed { Next::HoldOff(self.hold_off) } else { Next::Rejoin }
    }

    /// Runs the command, and returns when nothing is left of it.
    fn work(&mut self, leading: &Leading<'_>) -> Report {
        let (node, token) = (self.node.id(), leading.token());
        let ready = self.spare.take().filter(Guard::is_ready);
        let Some(guard) = ready.or_else(|| self.prepare()) else {
            // As a command that cannot be started.
            let end = Some(End::Exited(126));
            return Report { end, told: false };
        };
        let mut until = end_of_lease(leading);
        guard.order(Order::Start { token: token.0, until });
        log::info!("node {node}: token={token}: starts the command");
        // In the time of this command, so that the next one need not wait for it.
        self.spare = self.prepare();

        let mut lost = false;
        let mut killed = false;
        let (_, margin, stop_time) = self.job.in_nanos();
        // When the command is to be gone because this program was told to end.
        let mut gone_by = u64::MAX;
        loop {
            let calls = &self.reception.calls;
            select! {
                recv(guard.reports) -> report => {
                    return self.conclude(report.ok(), lost || killed);
                }
                recv(calls) -> call => match call {
                    Ok(Call::Leave) => {
                        guard.order(Order::Stop);
                        gone_by = lease_clock_nanos().saturating_add(stop_time).saturating_add(GUARD_SLACK);
                    }
                    Ok(Call::LeaveAtOnce) => {
                        guard.order(Order::Signal(SIGKILL));
                        // Whoever asks again and again is not to put it off.
                        gone_by = gone_by.min(lease_clock_nanos().saturating_add(GUARD_SLACK));
                    }
                    Ok(Call::Pass(signal)) => guard.order(Order::Signal(signal)),
                    Err(_) => {}
                },
                // Without news, once the node has stopped.
                recv(self.news) -> news => if news.is_err() {
                    self.news = never();
                },
                default(self.renewal) => {}
            }
            match leading.check() {
                Ok(()) => {
                    until = until.max(end_of_lease(leading));
                    guard.order(Order::Until(until));
                }
                Err(why) if !lost => {
                    lost = true;
                    log::info!("node {node}: token={token}: stops the command: {why}");
                    guard.order(Order::Stop);
                }
                Err(_) => {}
            }
            // Its guard had half of the margin, and has not. It may be stopped. The lease may well be renewed
            // meanwhile, so that is not all to look at.
            let now = lease_clock_nanos();
            let late = now + margin / 2 >= until || now >= gone_by || guard.is_deaf();
            if late && !killed {
                killed = true;
                log::warn!("node {node}: token={token}: kills the guard of the command, which is late");
                guard.kill();
            }
        }
    }

    /// Nothing is left of the command, or nothing is to be after this.
    fn conclude(&self, report: Option<Report>, told: bool) -> Report {
        let node = self.node.id();
        let Some(report) = report else {
            log::warn!("node {node}: the guard of the command has ended: kills what is left of it");
            let spared: Vec<Pid> = self.spare.iter().map(|spare| spare.id).collect();
            if let Err(error) = kill_all_but(&spared) {
                log::error!("node {node}: cannot find what is left of the command: {error}");
            }
            let end = Some(End::Killed(SIGKILL));
            return Report { end, told };
        };
        match report.end {
            Some(end) => log::info!("node {node}: the command ended: {end}"),
            None => log::info!("node {node}: was too late to start the command"),
        }
        report
    }

    fn prepare(&self) -> Option<Guard> {
        Guard::spawn(&self.job)
            .inspect_err(|error| {
                log::error!("node {}: cannot start a guard: {error}", self.node.id());
            })
            .ok()
    }
}

/// In nanoseconds on the clock of leases. Never later than it is: the clock is read first.
fn end_of_lease(leading: &Leading<'_>) -> u64 {
    let now = lease_clock_nanos();
    let left = u64::try_from(leading.remaining().as_nanos()).unwrap_or(u64::MAX);
    now.saturating_add(left)
}

/// Says that there are events, whatever they are.
fn news(node: &Node) -> Receiver<()> {
    let (tell, news) = bounded(1);
    let events = node.events();
    let forward = move || {
        for _ in events {
            // It has not heard of the last yet: then it need not hear of this.
            if tell.try_send(()).is_err_and(|error| error.is_disconnected()) {
                return;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name(format!("le{}-news", node.id())).spawn(forward) {
        log::warn!("no thread for the node's events, looks every now and then: {error}");
    }
    news
}
