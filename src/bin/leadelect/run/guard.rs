//! The process between the supervisor and its command: it sees to it that the command does not outlive the lease.
//!
//! The supervisor could do that itself, but for the two cases that matter most: it was killed, or it was stopped. So
//! the command is started, and killed, by a process that does nothing else. It knows the end of the lease, which its
//! supervisor tells it again and again, and it reads the clock of leases itself:
//!
//! - Some time before the end (`--drain-time`), or when told to, it has the command end by a signal.
//! - A tenth of the election timeout before the end it kills it.
//! - If the supervisor is gone (its end of the socket is closed, which the kernel does for it), it kills at once.
//!
//! Signals go to the command's whole process group. Whatever has left the group is killed one by one, see
//! [`descendants`]. The guard reports when it has no child any more, and so no descendant: only then may the supervisor
//! release leadership.
//!
//! The command dies with its guard, too: it is executed by a process of this program, [`become_command`], which first
//! has the kernel kill it when the guard ends. What the command has started itself is then adopted by the supervisor,
//! and killed by that.
//!
//! Guard and that process wait for their order before leadership is won, so that nothing but an `execve` is left to do.
//!
//! What is left: if supervisor *and* guard are stopped, or both are killed at once, nobody is there to kill what the
//! command has started. Only a resource that refuses old tokens stops that.
//!
//! One thread. A guard sleeps on `poll`, with a timer that counts the time in which the host is suspended.

use std::ffi::OsString;
use std::io::{Read, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use leadelect::lease_clock_nanos;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal, wait,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use super::super::{Failure, complain};
use super::descendants;
use super::orders::{End, Heard, Order, Report, hear, pair, say, say_with};

/// The name of this program when it is started again by itself. A link to the very same file, also after an upgrade.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";
/// What `ps` shows instead.
pub(super) const OWN_NAME: &str = "leadelect";
/// The first argument of a guard.
pub(super) const GUARD: &str = "guard";
/// The first argument of what is to become a command.
pub(super) const EXEC: &str = "guard-exec";

/// Between two looks for what is left of a command that was killed: new orphans come without a signal.
const KILL_INTERVAL: u64 = 5_000_000;

/// Run a command for a supervisor, which is the other end of stdin
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `LEADELECT_NODE`
    #[arg(long)]
    node: String,
    #[arg(long, value_name = "NANOSECONDS")]
    drain: u64,
    #[arg(long, value_name = "NANOSECONDS")]
    margin: u64,
    #[arg(long, value_name = "NANOSECONDS")]
    patience: u64,
    #[arg(long, value_name = "NUMBER")]
    signal: i32,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Become the command when the guard says so, which is the other end of stdin and the parent
#[derive(Debug, clap::Args)]
pub(super) struct ExecArgs {
    /// `LEADELECT_NODE`
    #[arg(long)]
    node: String,
    #[arg(long, value_name = "PID")]
    guard: i32,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// When what is left of a command is to end, and when it is killed.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    /// The end of the lease.
    until: u64,
    /// The command is told to end so long before.
    drain: u64,
    /// It is killed so long before.
    margin: u64,
    /// It is killed so long after it was told to end, or after it ended and left something behind.
    patience: u64,
    /// When that was.
    ending_since: Option<u64>,
}

impl Schedule {
    fn soft(&self) -> u64 {
        self.until.saturating_sub(self.drain)
    }

    fn kill_at(&self) -> u64 {
        let hard = self.until.saturating_sub(self.margin);
        let lost_patience = self.ending_since.map_or(u64::MAX, |since| since.saturating_add(self.patience));
        hard.min(lost_patience)
    }

    /// When there is something to do next.
    fn next(&self) -> u64 {
        match self.ending_since {
            None => self.soft().min(self.kill_at()),
            Some(_) => self.kill_at(),
        }
    }
}

/// A command that waits to be started, runs, or has left something behind.
#[derive(Debug)]
struct Running {
    /// Its process, and its process group.
    id: Pid,
    /// Where it hears that it is to start. Nothing once it did.
    waits: Option<OwnedFd>,
    /// How it ended.
    end: Option<End>,
    /// Whether it had been told to.
    told: bool,
    /// Its process group was found empty: from now on the id may be another's.
    dispersed: bool,
}

impl Running {
    fn signal(&mut self, signal: Signal) {
        if !self.dispersed && kill_process_group(self.id, signal) == Err(Errno::SRCH) {
            self.dispersed = true;
        }
    }
}

#[derive(Debug)]
struct Guard {
    args: Args,
    stop_signal: Signal,
    schedule: Schedule,
    supervisor: OwnedFd,
    /// Becomes readable when a child ends.
    ended: UnixStream,
    timer: OwnedFd,
    running: Option<Running>,
    /// The supervisor is gone.
    orphaned: bool,
    /// It was too late to start.
    refused: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut guard = Guard::new(args).map_err(|error| Failure::of(format!("guard: {error}")))?;
    if let Some(report) = guard.watch() {
        // The supervisor is gone: then nobody has to be told.
        let _ = say(&guard.supervisor, &report);
    }
    Ok(ExitCode::SUCCESS)
}

impl Guard {
    fn new(args: Args) -> std::io::Result<Guard> {
        let supervisor = stdin().as_fd().try_clone_to_owned()?;
        set_child_subreaper(Some(getpid()))?;
        let (ended, end) = UnixStream::pair()?;
        ended.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, end)?;
        // It ends when its supervisor does or when its command has, and by no signal that can be caught: somebody who
        // ends every process of a service is not to take the guard away before the command.
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Guard {
            stop_signal: Signal::from_named_raw(args.signal).unwrap_or(Signal::TERM),
            schedule: Schedule {
                until: 0,
                drain: args.drain,
                margin: args.margin,
                patience: args.patience,
                ending_since: None,
            },
            supervisor,
            ended,
            timer,
            running: None,
            orphaned: false,
            refused: false,
            args,
        })
    }

    /// Returns when nothing is left of the command, with what there is to report.
    fn watch(&mut self) -> Option<Report> {
        loop {
            self.obey();
            if self.refused {
                return Some(Report { end: None, told: true });
            }
            let waits = match &self.running {
                None if self.orphaned => return None,
                None => true,
                Some(running) => running.waits.is_some(),
            };
            if let Some(report) = self.reap() {
                // If it never started the supervisor finds its guard gone, and starts another one.
                return Some(report).filter(|_| !waits);
            }
            let next = if waits && !self.orphaned { u64::MAX } else { self.act(lease_clock_nanos()) };
            self.sleep_until(next);
        }
    }

    /// Carries out what the supervisor has said by now.
    fn obey(&mut self) {
        while !self.orphaned {
            match hear(&self.supervisor, RecvFlags::DONTWAIT) {
                Heard::Nothing => return,
                Heard::End => self.orphaned = true,
                Heard::Message(text, file) => match Order::parse(&text) {
                    Some(Order::Input) => self.prepare(file),
                    Some(order) => self.carry_out(order),
                    None => complain(&format!("guard: no such order: {text:?}")),
                },
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Input => {}
            Order::Start { token, until } => self.start(token, until),
            // An older end of the lease never comes later, but nothing rests on that.
            Order::Until(until) => self.schedule.until = self.schedule.until.max(until),
            Order::Stop => self.tell_to_end(lease_clock_nanos()),
            Order::Signal(number) => {
                let signal = Signal::from_named_raw(number);
                if let (Some(signal), Some(running)) = (signal, &mut self.running) {
                    running.signal(signal);
                }
            }
        }
    }

    /// Starts the process that is to become the command, with this input.
    fn prepare(&mut self, input: Option<OwnedFd>) {
        match self.spawn(input) {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                complain(&format!("cannot start a process: {error}"));
                // The supervisor will find it gone.
                std::process::exit(1);
            }
        }
    }

    fn spawn(&self, input: Option<OwnedFd>) -> std::io::Result<Running> {
        let (ours, theirs) = pair()?;
        let child = Command::new(OWN_PROGRAM)
            .arg0(OWN_NAME)
            .arg(EXEC)
            .args(["--node", &self.args.node])
            .args(["--guard", &getpid().as_raw_nonzero().to_string(), "--"])
            .args(&self.args.command)
            .stdin(Stdio::from(theirs))
            .process_group(0)
            .spawn()?;
        let input = input.ok_or(Errno::BADF)?;
        say_with(&ours, &Order::Input, input.as_fd())?;
        // Reaped with all others.
        Ok(Running { id: Pid::from_child(&child), waits: Some(ours), end: None, told: false, dispersed: false })
    }

    fn start(&mut self, token: u64, until: u64) {
        self.schedule.until = until;
        // The supervisor may have been stopped since it sent this.
        let soft = self.schedule.soft();
        self.refused = lease_clock_nanos() >= soft;
        let waits = self.running.as_mut().map(|running| running.waits.take());
        if let (Some(Some(command)), false) = (waits, self.refused) {
            let order = Order::Start { token, until: soft };
            // It is gone, which will be seen.
            let _ = say(&command, &order);
        }
    }

    fn tell_to_end(&mut self, now: u64) {
        if let (Some(running), None) = (&mut self.running, self.schedule.ending_since) {
            self.schedule.ending_since = Some(now);
            running.signal(self.stop_signal);
            // A process that is stopped would not hear of it.
            running.signal(Signal::CONT);
        }
    }

    /// Does what is due, and returns when to look again.
    fn act(&mut self, now: u64) -> u64 {
        if now >= self.schedule.soft() {
            self.tell_to_end(now);
        }
        if !self.orphaned && now < self.schedule.kill_at() {
            return self.schedule.next();
        }
        if let Some(running) = &mut self.running {
            running.signal(Signal::KILL);
        }
        // Without /proc whoever has left the group cannot be found.
        for child in descendants::children().unwrap_or_default() {
            // It is a zombie: that is what is wanted.
            let _ = kill_process(child, Signal::KILL);
        }
        now + KILL_INTERVAL
    }

    /// Reaps whatever has ended. Reports once nothing is left.
    fn reap(&mut self) -> Option<Report> {
        let running = self.running.as_mut()?;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((id, status))) if id == running.id => {
                    let killed = status.terminating_signal().map(End::Killed);
                    let exited = status.exit_status().map(End::Exited);
                    running.end = killed.or(exited);
                    let now = lease_clock_nanos();
                    running.told = self.schedule.ending_since.is_some() || now >= self.schedule.soft();
                    self.schedule.ending_since.get_or_insert(now);
                    // What it has left behind, if anything.
                    running.signal(self.stop_signal);
                    running.signal(Signal::CONT);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return None,
                Err(_) => {
                    let (end, told) = (running.end, running.told);
                    return Some(Report { end, told });
                }
            }
        }
    }

    /// Sleeps until then, or until a child has ended or the supervisor has something to say.
    fn sleep_until(&mut self, next: u64) {
        let nanos = next.saturating_sub(lease_clock_nanos()).max(1);
        let span = Timespec::try_from(Duration::from_nanos(nanos));
        let it_interval = Timespec::default();
        if let Ok(it_value) = span {
            let timer = Itimerspec { it_interval, it_value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer).expect("a span is no bad time");
        }
        let mut awaited = vec![PollFd::new(&self.ended, PollFlags::IN), PollFd::new(&self.timer, PollFlags::IN)];
        if !self.orphaned {
            awaited.push(PollFd::new(&self.supervisor, PollFlags::IN));
        }
        // Interrupted by a signal: the caller looks at everything anyway.
        let _ = poll(&mut awaited, None);
        let mut bytes = [0; 64];
        while matches!((&self.ended).read(&mut bytes), Ok(1..)) {}
    }
}

/// The exit code of a command that cannot be executed, as shells have it.
const CANNOT_RUN: u8 = 126;
/// The exit code of a command that is not found.
const NOT_FOUND: u8 = 127;

/// Waits for the order to start, and becomes the command. Returns only if that cannot be.
pub(super) fn become_command(args: &ExecArgs) -> Result<ExitCode, Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::of)?;
    let mut input = None;
    let (token, until) = loop {
        let Heard::Message(text, file) = hear(stdin(), RecvFlags::empty()) else {
            // The guard is gone, or had no use for it.
            return Ok(ExitCode::SUCCESS);
        };
        input = file.or(input);
        if let Some(Order::Start { token, until }) = Order::parse(&text) {
            break (token, until);
        }
    };
    // The guard may have ended before it was said what is to happen then.
    let guarded = getppid().map(Pid::as_raw_pid) == Some(args.guard);
    if !guarded || lease_clock_nanos() >= until {
        return Err(Failure::of("too late to start the command"));
    }
    let (program, arguments) = args.command.split_first().expect("clap asks for one");
    let error = Command::new(program)
        .args(arguments)
        .env("LEADELECT_TOKEN", token.to_string())
        .env("LEADELECT_TERM", token.to_string())
        .env("LEADELECT_NODE", &args.node)
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .exec();
    complain(&format!("cannot run {program:?}: {error}"));
    Ok(ExitCode::from(match error.kind() {
        std::io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_RUN,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule { until: 1000, drain: 300, margin: 100, patience: 5000, ending_since: None }
    }

    #[test]
    fn a_command_is_told_to_end_before_it_is_killed_and_killed_before_the_lease_ends() {
        let mut schedule = schedule();
        assert_eq!(schedule.next(), 700);
        schedule.ending_since = Some(700);
        assert_eq!(schedule.next(), 900);
    }

    #[test]
    fn a_lease_that_is_extended_gives_a_command_that_ends_no_more_than_its_time() {
        let mut schedule = schedule();
        schedule.ending_since = Some(500);
        schedule.until = 1_000_000;
        assert_eq!(schedule.kill_at(), 5500);
    }

    #[test]
    fn a_margin_that_is_larger_than_the_drain_time_kills_without_a_word() {
        let mut schedule = schedule();
        schedule.margin = 400;
        assert_eq!(schedule.next(), 600);
    }
}
