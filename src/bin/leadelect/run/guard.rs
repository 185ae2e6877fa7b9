//! The guard: a process between the supervisor and the command. It ends the command before the lease ends.
//!
//! The supervisor could not do that when it is killed or stopped. So a process that does nothing else starts the
//! command and kills it. The supervisor keeps telling it the end of the lease. It reads the clock of leases itself:
//!
//! - It sends the stop signal `--drain-time` before the lease ends, or when the supervisor says so.
//! - It kills the command a tenth of the election timeout before the lease ends.
//! - It kills the command at once if the supervisor is gone. Then the kernel has closed the supervisor's socket.
//!
//! What has to stop is asked at once: the process group of the command, and one by one the processes that left it, see
//! [`descendants`]. What has to die is killed in the same order. Where there is a control group, the kernel kills that,
//! too, see [`cgroup`](super::cgroup), but the guard never waits for it. It walks over its descendants until none is
//! left. The guard reports to the supervisor when it has no descendant any more. Only then may the supervisor release
//! leadership. If the guard ends, the kernel kills the command, see [`exec`](super::exec). The supervisor then becomes
//! the parent of the processes that the command had started, and kills them.
//!
//! One case is left: supervisor *and* guard are both stopped, or both killed at once. Then nothing kills the processes
//! that the command had started. Only a resource that refuses old tokens is safe from them. The next start of the node
//! ends them, see [`leftovers`](super::leftovers).
//!
//! One thread does all that matters. Another one writes the log, so a log that nobody reads stops nothing; and one
//! kills the control group. The guard sleeps in `poll`, with a timer that also counts the time while the host is
//! suspended. On a busy host it has to get a processor in time. So it takes the highest of the ordinary priorities
//! where it may, and no other process gets that.

use std::io::{Read, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use leadelect::lease_clock_nanos;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpgid, getpid, getpriority_process, kill_process, kill_process_group,
    set_child_subreaper, setpriority_process, wait,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use super::super::{Failure, error_output};
use super::cgroup::Cgroup;
use super::guard_protocol::{
    CommandEnd, FromGuard, GuardReport, Received, ToGuard, receive, send, send_with_files, socket_pair,
};
use super::leftovers::listed;
use super::schedule::Schedule;
use super::worker::Worker;
use super::{CommandSpec, EXEC, descendants, own_program};

/// How soon the guard looks again for processes to kill, in nanoseconds. No signal tells it of a new orphan. The time
/// doubles from look to look: up to the second figure while processes are left that may fork, and to the third while
/// only such are left that it may not kill.
const FIRST_LOOK: u64 = 1_000_000;
const LONGER_LOOK: u64 = 5_000_000;
const LONGEST_LOOK: u64 = 100_000_000;
/// The guard leaves a process that it may not kill to its fate this long after the first attempt, in nanoseconds.
const GIVE_UP: u64 = 1_000_000_000;

/// The nice value of a guard that may choose it. A guard sleeps, except in the moments that count.
const FIRST_OF_ALL: i32 = -20;

/// The arguments of a guard.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spec: CommandSpec,
    /// The control group for the command
    #[arg(long)]
    cgroup: Option<PathBuf>,
}

/// A command that waits to be started, runs, or has left processes behind.
#[derive(Debug)]
struct CommandProcess {
    /// The id of its process, and of its process group.
    id: Pid,
    /// The socket on which the process waits for the message to start. `None` after the start.
    start_socket: Option<OwnedFd>,
    /// The same socket, from the message to start until the process has become the command: that closes its end.
    starting: Option<OwnedFd>,
    end: Option<CommandEnd>,
    /// Whether it had been told to stop before it ended.
    told: bool,
    /// Its process group was found empty. From now on, another group may get the same id.
    group_gone: bool,
}

impl CommandProcess {
    fn signal(&mut self, signal: Signal) {
        if !self.group_gone && kill_process_group(self.id, signal) == Err(Errno::SRCH) {
            self.group_gone = true;
        }
    }

    /// Asks the group and all that left it to stop.
    fn ask_to_stop(&mut self, stop_signal: Signal) {
        // A process that is stopped does not see the signal before it continues.
        for signal in [stop_signal, Signal::CONT] {
            self.signal(signal);
        }
        for process in descendants::all_but(&[]) {
            if getpgid(Some(process)) != Ok(self.id) {
                // Fails if it has ended, or is another user's. Then it is killed later, or found to live on.
                let _ = kill_process(process, stop_signal);
                let _ = kill_process(process, Signal::CONT);
            }
        }
    }
}

#[derive(Debug)]
struct Guard {
    spec: CommandSpec,
    stop_signal: Signal,
    schedule: Schedule,
    supervisor: OwnedFd,
    /// Becomes readable when a child ends.
    child_ended: UnixStream,
    timer: OwnedFd,
    command: Option<CommandProcess>,
    group: Option<(Cgroup, Worker)>,
    supervisor_gone: bool,
    /// The token of the command that is to be started.
    starts: Option<u64>,
    too_late: bool,
    kills: Option<Kills>,
    /// The nice value for what this guard starts.
    nice: i32,
}

/// The attempts to kill what is left of the command.
#[derive(Debug)]
struct Kills {
    since: u64,
    pause: u64,
    /// The processes that this guard is not allowed to kill.
    refused: Vec<Pid>,
}

pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    error_output::start_logger();
    let mut guard = Guard::new(args).map_err(|error| Failure::of(format!("guard: {error}")))?;
    if let Some(report) = guard.watch() {
        // Fails if the supervisor is gone. Then no process needs the report.
        let _ = send(&guard.supervisor, &FromGuard::Ended(report));
    }
    // The supervisor does that, unless it is gone. It may take seconds, and this process should be gone by then.
    if let Some((group, _)) = guard.group.as_ref().filter(|_| guard.supervisor_gone) {
        group.remove();
    }
    Ok(ExitCode::SUCCESS)
}

impl Guard {
    fn new(Args { spec, cgroup }: Args) -> std::io::Result<Guard> {
        let supervisor = stdin().as_fd().try_clone_to_owned()?;
        set_child_subreaper(Some(getpid()))?;
        let nice = getpriority_process(None)?;
        // Fails without the privilege. Then the guard is as important as its supervisor.
        let _ = setpriority_process(None, FIRST_OF_ALL);
        // As important as the guard, and there before it is needed.
        let worker = || Worker::start(format!("le{}-group", spec.node));
        let group = cgroup.map(|folder| Ok::<_, std::io::Error>((Cgroup::at(folder), worker()?))).transpose()?;
        let (child_ended, sender) = UnixStream::pair()?;
        child_ended.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, sender)?;
        // The guard ends when its supervisor or its command has ended, and ignores the signals that usually end a
        // process. If somebody sends one to all processes of a service, the guard must not end before the command.
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Guard {
            stop_signal: Signal::from_named_raw(spec.stop_signal).unwrap_or(Signal::TERM),
            schedule: Schedule {
                lease_end: 0,
                drain_time: spec.drain_time,
                margin: spec.margin,
                stop_time: spec.stop_time,
                stopping_since: None,
            },
            supervisor,
            child_ended,
            timer,
            command: None,
            group,
            supervisor_gone: false,
            starts: None,
            too_late: false,
            kills: None,
            nice,
            spec,
        })
    }

    /// Watches the command until no process of it is left. Returns the report to the supervisor, if there is one.
    fn watch(&mut self) -> Option<GuardReport> {
        loop {
            self.read_messages();
            self.start_if_asked();
            if self.too_late {
                return Some(GuardReport { end: None, told: true, left: 0 });
            }
            self.confirm_start();
            let waits = match &self.command {
                None if self.supervisor_gone => return None,
                None => true,
                Some(command) => command.start_socket.is_some(),
            };
            if let Some(report) = self.reap() {
                // No report if the command never started. The supervisor sees that the guard ended, and starts another.
                return Some(report).filter(|_| !waits);
            }
            let next = if waits && !self.supervisor_gone { Some(u64::MAX) } else { self.act(lease_clock_nanos()) };
            let Some(next) = next else {
                return self.gives_up();
            };
            self.sleep_until(next);
        }
    }

    /// Reads what the supervisor has sent, and carries it out.
    fn read_messages(&mut self) {
        while !self.supervisor_gone {
            match receive(&self.supervisor, RecvFlags::DONTWAIT) {
                Received::Nothing => return,
                Received::Closed => self.supervisor_gone = true,
                Received::Message(message, file) => self.carry_out(message, file),
            }
        }
    }

    /// Starts the command, if that was asked for. After all messages were read: the lease may have been renewed since.
    fn start_if_asked(&mut self) {
        if let Some(token) = self.starts.take() {
            self.start(token);
        }
    }

    fn carry_out(&mut self, message: ToGuard, file: Option<OwnedFd>) {
        match message {
            ToGuard::Input => self.prepare(file),
            ToGuard::Start { token, until } => {
                self.starts = Some(token);
                self.schedule.lease_end = until;
            }
            // The supervisor never sends an earlier end. `max` makes sure.
            ToGuard::Until(until) => self.schedule.lease_end = self.schedule.lease_end.max(until),
            ToGuard::Stop => self.tell_to_stop(lease_clock_nanos()),
            ToGuard::Signal(number) => {
                let signal = Signal::from_named_raw(number);
                if let (Some(signal), Some(command)) = (signal, &mut self.command) {
                    command.signal(signal);
                }
            }
        }
    }

    /// Starts the process that becomes the command, with this input.
    fn prepare(&mut self, input: Option<OwnedFd>) {
        match self.spawn(input) {
            Ok(command) => self.command = Some(command),
            Err(error) => {
                log::error!("cannot start a process: {error}");
                error_output::finish();
                // The supervisor sees that the guard ended.
                std::process::exit(1);
            }
        }
    }

    fn spawn(&self, input: Option<OwnedFd>) -> std::io::Result<CommandProcess> {
        let (ours, theirs) = socket_pair()?;
        let mut program = own_program(EXEC);
        if self.spec.allow_privilege_gain {
            program.arg("--allow-privilege-gain");
        }
        let child = program
            .args(["--node", &self.spec.node])
            .args(["--guard", &getpid().as_raw_nonzero().to_string()])
            .args([&format!("--nice={}", self.nice), "--"])
            .args(&self.spec.command)
            .stdin(Stdio::from(theirs))
            .process_group(0)
            .spawn()?;
        let input = input.ok_or(Errno::BADF)?;
        send_with_files(&ours, &ToGuard::Input, &[input.as_fd()])?;
        // `reap` waits for it, and for all other children.
        let id = Pid::from_child(&child);
        if let Some(Err(error)) = self.group.as_ref().map(|(group, _)| group.add(id)) {
            log::warn!("cannot put the command into its control group, does without: {error}");
        }
        Ok(CommandProcess { id, start_socket: Some(ours), starting: None, end: None, told: false, group_gone: false })
    }

    fn start(&mut self, token: u64) {
        // The supervisor may have been stopped since it sent this message.
        let soft_deadline = self.schedule.soft_deadline();
        self.too_late = lease_clock_nanos() >= soft_deadline;
        let Some(command) = &mut self.command else { return };
        if let (Some(socket), false) = (command.start_socket.take(), self.too_late) {
            // Fails if the process has ended. `reap` finds that.
            let _ = send(&socket, &ToGuard::Start { token, until: soft_deadline });
            command.starting = Some(socket);
        }
    }

    /// Tells the supervisor once the command has started.
    fn confirm_start(&mut self) {
        let Some(command) = &mut self.command else { return };
        let started = |socket: &OwnedFd| matches!(receive::<ToGuard>(socket, RecvFlags::DONTWAIT), Received::Closed);
        if command.starting.as_ref().is_some_and(started) {
            command.starting = None;
            // Fails if the supervisor is gone, which `read_messages` finds, or if it does not read.
            let _ = send(&self.supervisor, &FromGuard::Started);
        }
    }

    fn tell_to_stop(&mut self, now: u64) {
        if let (Some(command), None) = (&mut self.command, self.schedule.stopping_since) {
            self.schedule.stopping_since = Some(now);
            command.ask_to_stop(self.stop_signal);
        }
    }

    /// Does what is due, and returns when to call this again. `None` if nothing more can be done.
    fn act(&mut self, now: u64) -> Option<u64> {
        if now >= self.schedule.soft_deadline() {
            self.tell_to_stop(now);
        }
        if !self.supervisor_gone && now < self.schedule.kill_at() {
            return Some(self.schedule.next());
        }
        self.kill(now)
    }

    /// Kills all that is left. Returns when to look again, or `None` if nothing more can be done.
    fn kill(&mut self, now: u64) -> Option<u64> {
        // First all that one call reaches.
        if let Some(command) = &mut self.command {
            command.signal(Signal::KILL);
        }
        let group = self.group.as_ref().map(|(group, worker)| (group, worker));
        let refused = descendants::kill_all_but(&[], group);
        let kills = self.kills.get_or_insert(Kills { since: now, pause: FIRST_LOOK, refused: Vec::new() });
        let news: Vec<Pid> = refused.iter().copied().filter(|process| !kills.refused.contains(process)).collect();
        if !news.is_empty() {
            log::error!(
                "may not kill {} of the command: started with --allow-privilege-gain, or another user by now",
                listed(&news)
            );
            kills.refused.extend(news);
        }
        if !refused.is_empty() && now >= kills.since.saturating_add(GIVE_UP) {
            return None;
        }
        let others_left = descendants::all_but(&[]).len() > refused.len();
        let pause = kills.pause;
        kills.pause = (pause * 2).min(if others_left { LONGER_LOOK } else { LONGEST_LOOK });
        Some(now + pause)
    }

    /// The report if processes live on that this guard may not kill. From the end of the guard on they are children of
    /// the supervisor.
    fn gives_up(&self) -> Option<GuardReport> {
        let left = descendants::all_but(&[]);
        log::error!("gives up: {} may act beside the next leader", listed(&left));
        let command = self.command.as_ref()?;
        Some(GuardReport { end: command.end, told: true, left: left.len() })
    }

    /// Reaps all children that have ended. Returns a report once there is no child left.
    fn reap(&mut self) -> Option<GuardReport> {
        let command = self.command.as_mut()?;
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED) {
                Ok(Some((id, status))) if id == command.id => {
                    if let Some(change) = suspension(status) {
                        // Fails if the supervisor is gone, or does not read.
                        let _ = send(&self.supervisor, &change);
                        continue;
                    }
                    let killed = status.terminating_signal().map(CommandEnd::Killed);
                    let exited = status.exit_status().map(CommandEnd::Exited);
                    command.end = killed.or(exited);
                    let now = lease_clock_nanos();
                    command.told = self.schedule.stopping_since.is_some() || now >= self.schedule.soft_deadline();
                    self.schedule.stopping_since.get_or_insert(now);
                    // For the processes that it left behind.
                    command.ask_to_stop(self.stop_signal);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return None,
                Err(_) => return Some(GuardReport { end: command.end, told: command.told, left: 0 }),
            }
        }
    }

    /// Sleeps until that time, until a child ends, or until a message comes from the supervisor.
    fn sleep_until(&mut self, next: u64) {
        let nanos = next.saturating_sub(lease_clock_nanos()).max(1);
        let span = Timespec::try_from(Duration::from_nanos(nanos));
        let it_interval = Timespec::default();
        if let Ok(it_value) = span {
            let timer = Itimerspec { it_interval, it_value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer).expect("the span is a valid time");
        }
        let mut awaited = vec![PollFd::new(&self.child_ended, PollFlags::IN), PollFd::new(&self.timer, PollFlags::IN)];
        if !self.supervisor_gone {
            awaited.push(PollFd::new(&self.supervisor, PollFlags::IN));
        }
        let starting = self.command.as_ref().and_then(|command| command.starting.as_ref());
        awaited.extend(starting.map(|socket| PollFd::new(socket, PollFlags::IN)));
        // Fails if a signal came. The caller checks everything anyway.
        let _ = poll(&mut awaited, None);
        let mut bytes = [0; 64];
        while matches!((&self.child_ended).read(&mut bytes), Ok(1..)) {}
    }
}

/// Whether the command was stopped by a signal, or goes on after that. `None` if it has ended.
fn suspension(status: WaitStatus) -> Option<FromGuard> {
    let suspended = status.stopping_signal().map(FromGuard::Suspended);
    suspended.or(status.continued().then_some(FromGuard::Resumed))
}
