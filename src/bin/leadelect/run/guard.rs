//! The guard: a process between the supervisor and the command. It ends the command before the lease ends.
//!
//! The supervisor could not do that when it is killed or stopped. So a process that does nothing else starts the
//! command and kills it. The supervisor keeps telling it the end of the lease. It reads the clock of leases itself:
//!
//! - It sends the stop signal `--drain-time` before the lease ends, or when the supervisor says so.
//! - It kills the command a tenth of the election timeout before the lease ends.
//! - It kills the command at once if the supervisor is gone. Then the kernel has closed the supervisor's socket.
//!
//! Signals go to the whole process group of the command. Processes that left the group are killed one by one, see
//! [`descendants`]. The guard reports to the supervisor when it has no descendant any more. Only then may the
//! supervisor release leadership. If the guard ends, the kernel kills the command, see [`exec`](super::exec). The
//! supervisor then becomes the parent of the processes that the command had started, and kills them.
//!
//! One case is left: supervisor *and* guard are both stopped, or both killed at once. Then nothing kills the processes
//! that the command had started. Only a resource that refuses old tokens is safe from them.
//!
//! The guard has one thread. It sleeps in `poll`, with a timer that also counts the time while the host is suspended.

use std::io::{Read, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use leadelect::lease_clock_nanos;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper, wait};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use super::super::{Failure, complain};
use super::guard_protocol::{CommandEnd, GuardReport, Received, ToGuard, receive, send, send_with_files, socket_pair};
use super::schedule::Schedule;
use super::{CommandSpec, EXEC, descendants, own_program};

/// How often the guard looks for processes to kill, in nanoseconds. No signal tells it of a new orphan.
const KILL_INTERVAL: u64 = 5_000_000;

/// A command that waits to be started, runs, or has left processes behind.
#[derive(Debug)]
struct CommandProcess {
    /// The id of its process, and of its process group.
    id: Pid,
    /// The socket on which the process waits for the message to start. `None` after the start.
    start_socket: Option<OwnedFd>,
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

    fn signal_stop(&mut self, stop_signal: Signal) {
        self.signal(stop_signal);
        // A process that is stopped does not see the signal before it continues.
        self.signal(Signal::CONT);
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
    supervisor_gone: bool,
    too_late: bool,
}

pub(super) fn run(spec: CommandSpec) -> Result<ExitCode, Failure> {
    let mut guard = Guard::new(spec).map_err(|error| Failure::of(format!("guard: {error}")))?;
    if let Some(report) = guard.watch() {
        // Fails if the supervisor is gone. Then no process needs the report.
        let _ = send(&guard.supervisor, &report);
    }
    Ok(ExitCode::SUCCESS)
}

impl Guard {
    fn new(spec: CommandSpec) -> std::io::Result<Guard> {
        let supervisor = stdin().as_fd().try_clone_to_owned()?;
        set_child_subreaper(Some(getpid()))?;
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
            supervisor_gone: false,
            too_late: false,
            spec,
        })
    }

    /// Watches the command until no process of it is left. Returns the report to the supervisor, if there is one.
    fn watch(&mut self) -> Option<GuardReport> {
        loop {
            self.read_messages();
            if self.too_late {
                return Some(GuardReport { end: None, told: true });
            }
            let waits = match &self.command {
                None if self.supervisor_gone => return None,
                None => true,
                Some(command) => command.start_socket.is_some(),
            };
            if let Some(report) = self.reap() {
                // No report if the command never started. The supervisor sees that the guard ended, and starts another.
                return Some(report).filter(|_| !waits);
            }
            let next = if waits && !self.supervisor_gone { u64::MAX } else { self.act(lease_clock_nanos()) };
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

    fn carry_out(&mut self, message: ToGuard, file: Option<OwnedFd>) {
        match message {
            ToGuard::Input => self.prepare(file),
            ToGuard::Start { token, until } => self.start(token, until),
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
                complain(&format!("cannot start a process: {error}"));
                // The supervisor sees that the guard ended.
                std::process::exit(1);
            }
        }
    }

    fn spawn(&self, input: Option<OwnedFd>) -> std::io::Result<CommandProcess> {
        let (ours, theirs) = socket_pair()?;
        let child = own_program(EXEC)
            .args(["--node", &self.spec.node])
            .args(["--guard", &getpid().as_raw_nonzero().to_string(), "--"])
            .args(&self.spec.command)
            .stdin(Stdio::from(theirs))
            .process_group(0)
            .spawn()?;
        let input = input.ok_or(Errno::BADF)?;
        send_with_files(&ours, &ToGuard::Input, &[input.as_fd()])?;
        // `reap` waits for it, and for all other children.
        let id = Pid::from_child(&child);
        Ok(CommandProcess { id, start_socket: Some(ours), end: None, told: false, group_gone: false })
    }

    fn start(&mut self, token: u64, lease_end: u64) {
        self.schedule.lease_end = lease_end;
        // The supervisor may have been stopped since it sent this message.
        let soft_deadline = self.schedule.soft_deadline();
        self.too_late = lease_clock_nanos() >= soft_deadline;
        let socket = self.command.as_mut().map(|command| command.start_socket.take());
        if let (Some(Some(socket)), false) = (socket, self.too_late) {
            // Fails if the process has ended. `reap` finds that.
            let _ = send(&socket, &ToGuard::Start { token, until: soft_deadline });
        }
    }

    fn tell_to_stop(&mut self, now: u64) {
        if let (Some(command), None) = (&mut self.command, self.schedule.stopping_since) {
            self.schedule.stopping_since = Some(now);
            command.signal_stop(self.stop_signal);
        }
    }

    /// Does what is due, and returns when to call this again.
    fn act(&mut self, now: u64) -> u64 {
        if now >= self.schedule.soft_deadline() {
            self.tell_to_stop(now);
        }
        if !self.supervisor_gone && now < self.schedule.kill_at() {
            return self.schedule.next();
        }
        if let Some(command) = &mut self.command {
            command.signal(Signal::KILL);
        }
        // Without /proc, processes that left the group cannot be found.
        for child in descendants::children().unwrap_or_default() {
            // Fails if the child is a zombie, which is as good.
            let _ = kill_process(child, Signal::KILL);
        }
        now + KILL_INTERVAL
    }

    /// Reaps all children that have ended. Returns a report once there is no child left.
    fn reap(&mut self) -> Option<GuardReport> {
        let command = self.command.as_mut()?;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((id, status))) if id == command.id => {
                    let killed = status.terminating_signal().map(CommandEnd::Killed);
                    let exited = status.exit_status().map(CommandEnd::Exited);
                    command.end = killed.or(exited);
                    let now = lease_clock_nanos();
                    command.told = self.schedule.stopping_since.is_some() || now >= self.schedule.soft_deadline();
                    self.schedule.stopping_since.get_or_insert(now);
                    // For the processes that it left behind in its group.
                    command.signal_stop(self.stop_signal);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return None,
                Err(_) => return Some(GuardReport { end: command.end, told: command.told }),
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
        // Fails if a signal came. The caller checks everything anyway.
        let _ = poll(&mut awaited, None);
        let mut bytes = [0; 64];
        while matches!((&self.child_ended).read(&mut bytes), Ok(1..)) {}
    }
}
