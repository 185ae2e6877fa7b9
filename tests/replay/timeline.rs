//! Recordings of real processes, replayed through the shipped engine and judged on one time line.
//!
//! Each recording is stepped again. The engine has to want just what its driver has done, and the driver has to have
//! looked at its clock and its program as the loop asks. All nodes are on one host and share one clock, so their steps
//! have one order. In that order they go through the [`Checker`] of the simulation, which judges what was said and who
//! may act. And what a node has heard, another one must have said.
//!
//! A process that was killed has not recorded its last moments. So what it has said or done there is not asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use leadelect::NodeId;
use leadelect::election::{Deadline, HardState, Instant, Request, Store, Term};
use leadelect::engine::{Effects, Engine, Mail, Undone};
use leadelect::recording::{Done, RecordedEntry as Entry, RecordedReading as Reading, Recording, read};

use super::harness::checker::{Checker, Step, Work};
use super::harness::clock::{Clock, Real};

/// The clock that all processes of a host share.
const SHARED: Clock = Clock { set_at: Real::ZERO, showed: Instant::ZERO, ppm: 0 };

/// What was replayed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) processes: usize,
    /// How many of them have ended in order.
    pub(crate) stopped: usize,
    pub(crate) steps: usize,
    /// Places where steps are missing: the disk was too slow, or the first parts were removed.
    pub(crate) gaps: usize,
    /// Files that are no recording of this version, or of which only the beginning was written.
    pub(crate) skipped: usize,
    pub(crate) leases_won: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        let Summary { processes, stopped, steps, gaps, skipped, leases_won } = other;
        self.processes += processes;
        self.stopped += stopped;
        self.steps += steps;
        self.gaps += gaps;
        self.skipped += skipped;
        self.leases_won += leases_won;
    }
}

/// A file of a process: its number, its path and what is in it.
type Part = (u64, PathBuf, Recording);

/// What one process has recorded.
struct Life {
    node: NodeId,
    process: u64,
    steps: Vec<Recorded>,
    stopped: bool,
    gaps: usize,
}

/// One step of a process.
struct Recorded {
    at: Instant,
    reading: Reading,
    mail: Mail<u64>,
    /// What was done about it, and whether a write failed. Nothing if the process ended before that was written.
    done: Option<(u32, bool)>,
    /// The engine before it, if a part begins with it.
    begins: Option<Begins>,
    file: PathBuf,
}

struct Begins {
    engine: Engine<u64>,
    continues: bool,
}

impl Life {
    fn of(parts: Vec<Part>) -> Option<Life> {
        let (node, process) = parts.first().map(|(.., part)| (part.node, part.process))?;
        let mut life = Life { node, process, steps: Vec::new(), stopped: false, gaps: 0 };
        let mut number_before = None;
        for (number, file, recording) in parts {
            let follows = number_before.is_some_and(|before| before + 1 == number);
            let continues = recording.continues && follows;
            // The first part of a process continues none.
            life.gaps += usize::from(!continues && (number_before.is_some() || recording.continues));
            number_before = Some(number);
            let mut begins = Some(Begins { engine: recording.engine, continues });
            for entry in recording.entries {
                match entry {
                    Entry::Steps { at, reading, mail } => {
                        let (begins, file) = (begins.take(), file.clone());
                        life.steps.push(Recorded { at, reading, mail, done: None, begins, file });
                    }
                    Entry::Done { digest, failed } => life.steps.last_mut()?.done = Some((digest, failed)),
                    Entry::Stopped => life.stopped = true,
                }
            }
        }
        Some(life).filter(|life| !life.steps.is_empty())
    }

    fn first(&self) -> Instant {
        self.steps[0].at
    }

    fn last(&self) -> Instant {
        self.steps[self.steps.len() - 1].at
    }
}

/// One step of a life, at its moment.
#[derive(Clone, Copy)]
struct Place {
    at: Instant,
    life: usize,
    step: usize,
}

/// Replays every recording in `folder`. Those of one run of a host's kernel have one time line.
///
/// # Errors
///
/// The first thing that is wrong, with its place.
pub(crate) fn replay(folder: &Path) -> Result<Summary, String> {
    let mut total = Summary::default();
    for lives in boots(folder, &mut total.skipped)?.into_values() {
        total += replay_boot(&lives, total.skipped > 0)?;
    }
    Ok(total)
}

/// `incomplete`: there were processes of which nothing is known.
fn replay_boot(lives: &[Life], incomplete: bool) -> Result<Summary, String> {
    let mut places = Vec::new();
    for (life, Life { steps, .. }) in lives.iter().enumerate() {
        places.extend(steps.iter().enumerate().map(|(step, recorded)| Place { at: recorded.at, life, step }));
    }
    // What one process did at one moment stays in its order.
    places.sort_by_key(|place| place.at);
    let players = lives.iter().map(|_| None).collect();
    let mut replay = Replay { players, lives, incomplete, ..Replay::default() };
    for place in &places {
        replay.play(*place).map_err(|fault| replay.tell(*place, &fault))?;
    }
    Ok(Summary {
        processes: lives.len(),
        stopped: lives.iter().filter(|life| life.stopped).count(),
        steps: places.len(),
        gaps: lives.iter().map(|life| life.gaps).sum(),
        skipped: 0,
        leases_won: replay.checker.leases_won,
    })
}

/// The processes of each run of a kernel.
fn boots(folder: &Path, skipped: &mut usize) -> Result<BTreeMap<Option<u128>, Vec<Life>>, String> {
    let mut processes: BTreeMap<(Option<u128>, NodeId, u64), Vec<Part>> = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.unwrap().path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let number = stem.rsplit('-').next().and_then(|number| number.parse().ok());
        let recording = read(&fs::read(&path).unwrap());
        match (number, recording) {
            (Some(number), Ok(recording)) if recording.version == env!("CARGO_PKG_VERSION") => {
                let process = (recording.boot, recording.node, recording.process);
                processes.entry(process).or_default().push((number, path, recording));
            }
            (_, recording) => {
                let why = recording.map_or_else(|fault| fault, |found| format!("of version {}", found.version));
                println!("skips {}: {why}", path.display());
                *skipped += 1;
            }
        }
    }
    let mut boots: BTreeMap<Option<u128>, Vec<Life>> = BTreeMap::new();
    for ((boot, ..), mut parts) in processes {
        parts.sort_by_key(|(number, ..)| *number);
        match Life::of(parts) {
            Some(life) => boots.entry(boot).or_default().push(life),
            None => *skipped += 1,
        }
    }
    boots.values_mut().for_each(|lives| lives.sort_by_key(Life::first));
    Ok(boots)
}

/// A process, as far as it was replayed.
struct Player {
    engine: Engine<u64>,
    /// Counts the processes of this node.
    number: u64,
    durable: HardState,
    storage_failed: bool,
    work: Option<Work>,
    /// What a failed write has held back.
    undone: Undone<u64>,
    /// The step before was [`Mail::Late`].
    was_late: bool,
}

#[derive(Default)]
struct Replay<'a> {
    lives: &'a [Life],
    players: Vec<Option<Player>>,
    /// The newest process of each node.
    newest: BTreeMap<NodeId, usize>,
    checker: Checker,
    /// All that was said so far.
    said: BTreeSet<String>,
    /// There were processes of which nothing is known.
    incomplete: bool,
}

fn saying(from: NodeId, to: NodeId, message: &impl Debug) -> String {
    format!("{from} {to} {message:?}")
}

/// Does what the disk of the recorded process did.
struct Disk<'a> {
    works: bool,
    done: &'a mut Done,
    saved: &'a mut HardState,
}

impl Store for Disk<'_> {
    type Error = ();

    fn save(&mut self, state: &HardState) -> Result<(), ()> {
        self.done.wrote(state, self.works);
        if !self.works {
            return Err(());
        }
        *self.saved = *state;
        Ok(())
    }
}

impl Replay<'_> {
    fn tell(&self, Place { at, life, step }: Place, fault: &str) -> String {
        let Life { node, process, steps, .. } = &self.lives[life];
        let Recorded { file, mail, .. } = &steps[step];
        format!("{fault}\n  node {node} process {process:x} at {at:?}, step {step}, {}: {mail:?}", file.display())
    }

    fn play(&mut self, Place { at, life, step }: Place) -> Result<(), String> {
        let lives = self.lives;
        let Life { node, steps, stopped, .. } = &lives[life];
        let Recorded { reading, mail, done, begins, .. } = &steps[step];
        if let Some(begins) = begins {
            self.begin_part(at, life, begins)?;
        }
        let is_last = step + 1 == steps.len();
        let Some((digest, failed)) = *done else {
            // The end of what a killed process has recorded, or a panic of the node, which its log has.
            return if is_last { Ok(()) } else { Err("SameDone: nothing was noted of what was done".to_owned()) };
        };
        self.reads_its_clock(at, life, *reading, mail)?;
        self.hears(at, *node, mail)?;
        let (wanted, effects) = self.step(at, life, mail.clone(), !failed)?;
        if wanted != digest {
            return Err(format!("SameDone: the engine wanted {effects:?}, and the driver has done something else"));
        }
        if let Some(effects) = effects {
            self.carries_out(at, life, mail, &effects);
        }
        if is_last && *stopped {
            self.ends(at, life);
        }
        self.checker.violation.clone().map_or(Ok(()), Err)
    }

    /// The engine at the start of a part is the one that was replayed up to there.
    fn begin_part(&mut self, at: Instant, life: usize, begins: &Begins) -> Result<(), String> {
        let node = self.lives[life].node;
        let Begins { engine, continues } = begins;
        if let (Some(player), true) = (&self.players[life], continues) {
            let same = player.engine == *engine;
            return if same { Ok(()) } else { Err("SameEngine: this part begins with another engine".to_owned()) };
        }
        let found = engine.election().hard_state();
        if self.players[life].is_some() {
            // Steps are missing: what is open, and whether its work has ended, nobody knows.
            self.checker.calls_end(node);
            self.stops_work(life);
            let player = self.players[life].as_mut().unwrap();
            (player.engine, player.durable) = (engine.clone(), found);
            (player.undone, player.was_late) = (Undone::default(), false);
            return Ok(());
        }
        let before = self.newest.insert(node, life);
        if let Some(before) = before {
            self.ends(at, before);
        }
        let before = before.and_then(|before| self.players[before].as_ref());
        let remembers = !found.in_doubt
            && before.is_none_or(|Player { durable: old, .. }| {
                let same_vote = old.voted_for.is_none() || found.voted_for == old.voted_for;
                found.term > old.term || (found.term == old.term && same_vote)
            });
        let number = before.map_or(1, |before| before.number + 1);
        if !remembers {
            self.checker.forgot(node);
        }
        self.checker.started(node, remembers);
        self.players[life] = Some(Player {
            engine: engine.clone(),
            number,
            durable: found,
            storage_failed: false,
            work: None,
            undone: Undone::default(),
            was_late: false,
        });
        Ok(())
    }

    /// A process has ended, and what it did with it.
    fn ends(&mut self, at: Instant, life: usize) {
        let node = self.lives[life].node;
        let step = self.step_of(at, life);
        self.checker.calls_end(node);
        self.checker.published(&step, None);
        self.stops_work(life);
    }

    fn stops_work(&mut self, life: usize) {
        self.players[life].as_mut().unwrap().work = None;
        self.checker.stops(self.lives[life].node);
    }

    /// The loop around an engine first says that it is late, and then shows the program.
    fn reads_its_clock(&mut self, at: Instant, life: usize, reading: Reading, mail: &Mail<u64>) -> Result<(), String> {
        let player = self.players[life].as_mut().unwrap();
        let (is_late, is_program) = (matches!(mail, Mail::Late), matches!(mail, Mail::Program(_)));
        let looks = player.engine.looks_at_program(at) && !is_program;
        let missed = match reading {
            Reading::First if player.engine.is_late(at) != is_late => Some("Mail::Late"),
            Reading::First if looks && !is_late => Some("Mail::Program"),
            Reading::Next if looks && player.was_late => Some("Mail::Program"),
            Reading::First | Reading::Next | Reading::Inner => None,
        };
        player.was_late = is_late || reading == Reading::Inner && player.was_late;
        missed.map_or(Ok(()), |what| Err(format!("InOrder: {what} was due before, or stepped without need")))
    }

    /// What is heard was said.
    fn hears(&mut self, at: Instant, node: NodeId, mail: &Mail<u64>) -> Result<(), String> {
        let (from, said) = match mail {
            Mail::Request { from, request } => (*from, saying(*from, node, request)),
            Mail::Reply { from, reply } => (*from, saying(*from, node, reply)),
            Mail::Obituary { of, up_to } => {
                self.hears_obituary(at, node, (*of, *up_to));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let was_said = self.said.contains(&said);
        if !was_said && self.has_recorded_all(at, from) {
            return Err(format!("HeardWasSaid: node {from} has not said this"));
        }
        if let (Mail::Request { request, .. }, Some(speaker)) = (mail, self.newest.get(&from).copied()) {
            let number = self.players[speaker].as_ref().map_or(0, |speaker| speaker.number);
            self.checker.hears(node, (from, number), request);
            // What a process that was killed has not recorded any more: that its work had ended before it said so.
            let working = self.players[speaker].as_ref().and_then(|player| player.work);
            let released =
                matches!(request, Request::Release { term, .. } if working.is_some_and(|work| work.token == *term));
            if released && !was_said {
                self.stops_work(speaker);
            }
        }
        Ok(())
    }

    /// A process that was killed has recorded nothing more, not even its end. One that goes on is not dead.
    fn hears_obituary(&mut self, at: Instant, node: NodeId, (of, up_to): (NodeId, Term)) {
        if let Some(dead) = self.newest.get(&of).copied().filter(|dead| self.lives[*dead].last() <= at) {
            let working = self.players[dead].as_ref().and_then(|player| player.work);
            if working.is_some_and(|work| work.token <= up_to) {
                self.stops_work(dead);
            }
        }
        self.checker.obituary_true(Real(at.as_nanos()), of, up_to);
        self.checker.buries(node, (of, None), up_to);
    }

    /// Whether nothing is missing of what this node has said up to `at`.
    fn has_recorded_all(&self, at: Instant, node: NodeId) -> bool {
        let mut own = self.lives.iter().filter(|life| life.node == node && life.first() <= at).peekable();
        let is_whole = |life: &Life| life.gaps == 0 && (life.stopped || life.last() > at);
        !self.incomplete && own.peek().is_some() && own.all(is_whole)
    }

    /// Steps the engine again. Returns what has to be done, as a number, and the effects unless a write failed.
    fn step(
        &mut self,
        at: Instant,
        life: usize,
        mail: Mail<u64>,
        works: bool,
    ) -> Result<(u32, Option<Effects<u64>>), String> {
        let player = self.players[life].as_mut().unwrap();
        let mail = match mail {
            Mail::StorageFailed { problem, .. } => {
                player.storage_failed = true;
                Mail::StorageFailed { problem, undone: std::mem::take(&mut player.undone) }
            }
            mail => mail,
        };
        let stepped = catch_unwind(AssertUnwindSafe(|| player.engine.step(at, mail)));
        let output = stepped.map_err(|_| "the engine panicked")?;
        let mut done = Done::default();
        match output.store(&mut Disk { works, done: &mut done, saved: &mut player.durable }) {
            Ok(effects) => Ok((done.number(Some(&effects)), Some(effects))),
            Err(((), undone)) => {
                player.undone = undone;
                Ok((done.number(None), None))
            }
        }
    }

    fn step_of(&self, at: Instant, life: usize) -> Step {
        let node = self.lives[life].node;
        let player = self.players[life].as_ref().unwrap();
        let election = player.engine.election();
        Step {
            node,
            life: player.number,
            at: Real(at.as_nanos()),
            clock: SHARED,
            durable: Some(player.durable),
            storage_failed: player.storage_failed,
            settling: election.timing().settling(),
            leads: election.leader() == Some(node),
            term: election.term(),
        }
    }

    /// As the simulation judges it.
    fn carries_out(&mut self, at: Instant, life: usize, mail: &Mail<u64>, effects: &Effects<u64>) {
        let (node, now) = (self.lives[life].node, Real(at.as_nanos()));
        let step = self.step_of(at, life);
        let player = self.players[life].as_mut().unwrap();
        // Callers of one process have small numbers.
        let named = |caller: u64| ((life as u64) << 32) + caller;
        if let Mail::Call { call, caller } = mail {
            self.checker.calls(named(*caller), node, call);
        }
        self.checker.published(&step, effects.lease);
        // A deadline that has passed says nothing to a program. The election takes it away in its next step, which
        // it has taken if a peer spoke.
        let elects = matches!(mail, Mail::Request { .. } | Mail::Reply { .. });
        if let Some(Deadline { token, until }) = effects.lease.filter(|lease| elects || at < lease.until) {
            let work = Work { token, until: SHARED.reaches(until) };
            player.work = Some(work);
            self.checker.acts(&step, now, work);
        }
        let is_free = |term: Term| matches!(mail, Mail::LeaseFree { term: free } if *free == term);
        if player.work.is_some_and(|work| is_free(work.token)) && effects.lease.is_none() {
            self.stops_work(life);
        }
        for told in effects.overran.iter().chain(&effects.told) {
            self.checker.tells(&step, &told.event);
        }
        if let (Some(reply), Mail::Request { from, .. }) = (&effects.reply, mail) {
            let asker = self.newest.get(from).and_then(|asker| self.players[*asker].as_ref());
            self.checker.answers(&step, (*from, asker.map_or(0, |asker| asker.number)), reply);
            self.said.insert(saying(node, *from, reply));
        }
        for (to, request) in &effects.messages {
            self.checker.asks(&step, request);
            if let Request::Release { term, .. } = request {
                let player = self.players[life].as_ref().unwrap();
                let working = player.work.filter(|work| work.token == *term && now < work.until);
                self.checker.releases(&step, *term, working.map(|work| work.until));
            }
            self.said.insert(saying(node, *to, request));
        }
        for (caller, answer) in &effects.answers {
            self.checker.answered(&step, named(*caller), answer);
        }
    }
}
