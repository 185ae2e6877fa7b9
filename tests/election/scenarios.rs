//! Stories: what a cluster does in a situation that has a name, in the machine's own words.
//!
//! Each file in `scenarios/` holds blocks: a comment that tells what happens and why it matters, commands, a line
//! `----`, and what the cluster says to that, up to an empty line. `SCENARIOS=write cargo test --test election` writes
//! what it says now. Read the difference afterwards. The form is that of etcd's `testdata`.
//!
//! One line is one word: `12.0  1 -> 2 Vote term=1` was said at 12 ms; `-x` says that it is lost on the way. Of the
//! heartbeats only the first of a term on each way is shown, and those that are rejected.
//!
//! | command | what it does |
//! |---|---|
//! | `nodes 3 [timeout=D] [heartbeat=D] [drift=PPM] [seed=N] [witness=ID] [first=ID]` | a cluster, not yet started |
//! | `stateless [without_clock]` | its nodes have no place to remember things, and perhaps no wall clock |
//! | `clock ID PPM` | the rate of a node's clock |
//! | `settle` | all start, and a second passes of which nothing is told: a usual cluster, led by the first in line |
//! | `start [ID ..]`, `crash ID ..`, `pause ID`, `resume ID` | processes; all nodes if none is named |
//! | `reboot ID` | the host goes down; `start` it later |
//! | `disk ID works`, `fails`, `slow D`, `lost`, `rots`; `half ID old`, `new`, `torn` | disks; what a crash leaves of a write |
//! | `cut A B`, `cut A > B`, `cut A` | cuts both directions, one direction, or all links of a node |
//! | `heal`, `heal A B` | mends all links, or those between two |
//! | `delay A B D`, `delay A > B D`, `delay D` | how long a message takes, between two nodes or everywhere |
//! | `resign ID [to=ID] [hold_off=D]`, `work ID D` | the leader steps down; its work goes on for D when told to stop |
//! | `hang ID D` | the work that runs there does not return for D, even if it is told to stop |
//! | `eligible ID yes`, `eligible ID no` | whether a node is eligible |
//! | `lie A B N` | A sends B heartbeats of terms that it has not won: N of them, each 2^32 further |
//! | `obituaries` | from now on a process that is started says that the earlier ones of its node are dead |
//! | `watcher ID` | a process that waits for the lock of a node gets it, and says so |
//! | `advance D` | time passes |
//! | `until lease [ID]`, `until no lease`, `until says ID WORD` | time passes until then, at most a minute |
//! | `heartbeats on`, `heartbeats off` | whether every heartbeat is shown |
//! | `show` | what each node is now |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Request, Setup, Term, Timing, TimingSpec, Voter};
use leadelect::engine::Call;

use crate::harness::disk::{Half, Mood};
use crate::harness::world::{Wall, WindUp, World};

#[test]
fn every_story_goes_as_it_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/election/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no stories in {}", folder.display());
    let write = std::env::var_os("SCENARIOS").is_some_and(|what| what == "write");
    let mut wrong = String::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let told = fs::read_to_string(&path).unwrap();
        match replay(&told) {
            Err(trouble) => writeln!(wrong, "{name}: {trouble}\n").unwrap(),
            Ok(goes) if write => fs::write(&path, goes).unwrap(),
            Ok(goes) if goes == told => {}
            Ok(goes) => {
                writeln!(wrong, "{name} goes otherwise:\n{}", difference(&told, &goes)).unwrap();
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{wrong}SCENARIOS=write cargo test --test election -- scenarios writes what happens now; read it before you \
         keep it"
    );
}

/// The story as it goes: its own comments and commands, and what the cluster says.
fn replay(told: &str) -> Result<String, String> {
    let mut goes = String::new();
    let mut stage = Stage { world: None };
    let mut said_anything = false;
    let mut lines = told.lines();
    while let Some(line) = lines.next() {
        writeln!(goes, "{line}").unwrap();
        let line = line.trim();
        if line == "----" {
            // What it said when the file was written.
            for old in lines.by_ref() {
                if old.trim().is_empty() {
                    break;
                }
            }
            let said = stage.said()?;
            said_anything |= !said.is_empty();
            for word in &said {
                writeln!(goes, "{word}").unwrap();
            }
            if said.is_empty() {
                goes.push_str("(silence)\n");
            }
            goes.push('\n');
        } else if !line.is_empty() && !line.starts_with('#') {
            stage.command(line).map_err(|why| format!("`{line}`: {why}"))?;
        }
    }
    let unsaid = stage.said()?;
    if !said_anything || !unsaid.is_empty() {
        return Err("a story ends with `----` and what the cluster says".to_owned());
    }
    Ok(format!("{}\n", goes.trim_end()))
}

struct Stage {
    world: Option<World>,
}

impl Stage {
    fn world(&mut self) -> Result<&mut World, String> {
        self.world.as_mut().ok_or("there are no nodes yet".to_owned())
    }

    /// What was said since the last time, if it was safe.
    fn said(&mut self) -> Result<Vec<String>, String> {
        let Some(world) = &mut self.world else {
            return Ok(Vec::new());
        };
        let said = world.story.replace(Vec::new()).unwrap_or_default();
        match &world.checker.violation {
            Some(violation) => Err(format!("{}\n{violation}", said.join("\n"))),
            None => Ok(said),
        }
    }

    fn command(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (plain, named) = arguments(&words[1..]);
        if words[0] == "nodes" {
            self.world = Some(cluster(&plain, &named)?);
            return Ok(());
        }
        let world = self.world()?;
        let all = world.ids();
        let ids = || -> Result<Vec<NodeId>, String> {
            match plain.is_empty() {
                true => Ok(all.clone()),
                false => plain.iter().map(|word| node(word)).collect(),
            }
        };
        match (words[0], plain.as_slice()) {
            ("stateless", []) => {
                for id in all {
                    world.node_mut(id).stateless = Some(Wall::Runs(1_700_000_000));
                }
            }
            ("stateless", ["without_clock"]) => {
                for id in all {
                    world.node_mut(id).stateless = Some(Wall::Stands(100));
                }
            }
            ("clock", [id, ppm]) => {
                world.node_mut(node(id)?).clock.ppm = ppm.parse().map_err(|_| "not a rate")?;
            }
            ("settle", []) => {
                all.into_iter().for_each(|id| world.start(id));
                wait(world, |world| world.acting().is_some())?;
                world.run_until(world.now.after(Duration::from_secs(1)));
                world.story = Some(Vec::new());
            }
            ("start", _) => ids()?.into_iter().for_each(|id| world.start(id)),
            ("crash", _) => ids()?.into_iter().for_each(|id| world.crash(id)),
            ("pause", [id]) => world.pause(node(id)?),
            ("resume", [id]) => world.resume(node(id)?),
            ("reboot", [id]) => world.reboot(node(id)?),
            ("disk", [id, "works"]) => world.node_mut(node(id)?).disk.mood = Mood::Works,
            ("disk", [id, "fails"]) => world.node_mut(node(id)?).disk.mood = Mood::Fails,
            ("disk", [id, "slow", span]) => {
                world.node_mut(node(id)?).disk.mood = Mood::Slow(duration(span)?);
            }
            ("disk", [id, "lost"]) => world.lose_disk(node(id)?),
            ("disk", [id, "rots"]) => world.rot_disk(node(id)?),
            ("half", [id, what]) => {
                world.node_mut(node(id)?).disk.half = Some(match *what {
                    "old" => Half::Old,
                    "new" => Half::New,
                    "torn" => Half::Torn,
                    _ => return Err("old, new or torn".to_owned()),
                });
            }
            ("cut", [from, ">", to]) => world.network.link(node(from)?, node(to)?).cut = true,
            ("cut", [one, other]) => {
                world.network.link(node(one)?, node(other)?).cut = true;
                world.network.link(node(other)?, node(one)?).cut = true;
            }
            ("cut", [one]) => {
                let one = node(one)?;
                for other in all.into_iter().filter(|other| *other != one) {
                    world.network.link(one, other).cut = true;
                    world.network.link(other, one).cut = true;
                }
            }
            ("heal", []) => world.network.links().for_each(|link| link.cut = false),
            ("heal", [one, other]) => {
                world.network.link(node(one)?, node(other)?).cut = false;
                world.network.link(node(other)?, node(one)?).cut = false;
            }
            ("delay", [span]) => {
                let delay = duration(span)?;
                world.network.links().for_each(|link| link.delay = delay);
            }
            ("delay", [from, ">", to, span]) => {
                world.network.link(node(from)?, node(to)?).delay = duration(span)?;
            }
            ("delay", [one, other, span]) => {
                let delay = duration(span)?;
                world.network.link(node(one)?, node(other)?).delay = delay;
                world.network.link(node(other)?, node(one)?).delay = delay;
            }
            ("lie", [from, to, jumps]) => {
                let (from, to) = (node(from)?, node(to)?);
                let own = world.node(from).term().0;
                world.checker.distrusts();
                for jump in 1..=jumps.parse::<u64>().map_err(|_| "expected a number".to_owned())? {
                    let term = Term(own + jump * Term::LARGEST_JUMP);
                    let promise = Duration::from_millis(500);
                    world.says(from, to, Request::Heartbeat { term, seq: 1, promise, succession: Vec::new() });
                }
            }
            ("resign", [id]) => {
                let successor = named.get("to").map(|word| node(word)).transpose()?;
                let hold_off = named.get("hold_off").map(|word| duration(word)).transpose()?;
                let hold_off = hold_off.unwrap_or(Duration::ZERO);
                world.call(node(id)?, Call::HandOver { successor, hold_off });
            }
            ("work", [id, span]) => {
                world.node_mut(node(id)?).winds_up_in = WindUp::After(duration(span)?);
            }
            ("hang", [id, span]) => {
                let until = world.now.after(duration(span)?);
                world.hang(node(id)?, until);
            }
            ("obituaries", []) => world.tell_obituaries(1, None),
            ("watcher", [id]) => world.watcher_speaks(node(id)?),
            ("eligible", [id, what]) => world.set_eligible(node(id)?, *what == "yes"),
            ("advance", [span]) => world.run_until(world.now.after(duration(span)?)),
            ("until", ["lease"]) => wait(world, |world| world.acting().is_some())?,
            ("until", ["lease", id]) => {
                let id = node(id)?;
                wait(world, |world| world.acting().is_some_and(|(node, _)| node == id))?;
            }
            ("until", ["no", "lease"]) => wait(world, |world| world.acting().is_none())?,
            ("until", ["says", id, word]) => {
                let (id, word) = (format!("  {id} "), (*word).to_owned());
                let done = world.story.as_ref().map_or(0, Vec::len);
                wait(world, |world| {
                    let said = world.story.as_ref().map_or(&[][..], |story| &story[done..]);
                    said.iter().any(|line| line.contains(&id) && line.contains(&word))
                })?;
            }
            ("heartbeats", [what]) => world.every_heartbeat = *what == "on",
            ("show", []) => {
                for id in all {
                    let status = world.node(id).status(world.now);
                    world.narrate(|| format!("{id} is {status}"));
                }
            }
            _ => return Err("no such command".to_owned()),
        }
        Ok(())
    }
}

/// Plain words, and those with a name.
fn arguments<'a>(words: &[&'a str]) -> (Vec<&'a str>, BTreeMap<&'a str, &'a str>) {
    let named = words.iter().filter_map(|word| word.split_once('='));
    let plain = words.iter().filter(|word| !word.contains('='));
    (plain.copied().collect(), named.collect())
}

fn cluster(plain: &[&str], named: &BTreeMap<&str, &str>) -> Result<World, String> {
    let [count] = plain else {
        return Err("how many?".to_owned());
    };
    let count: u16 = count.parse().map_err(|_| "not a number")?;
    let span = |name, usual| named.get(name).map_or(Ok(usual), |word| duration(word));
    let number = |name, usual: u64| {
        let word = named.get(name);
        word.map_or(Ok(usual), |word| word.parse().map_err(|_| format!("{name}?")))
    };
    let timing = Timing::new(TimingSpec {
        heartbeat_interval: span("heartbeat", Timing::DEFAULT_HEARTBEAT_INTERVAL)?,
        election_timeout: span("timeout", Timing::DEFAULT_ELECTION_TIMEOUT)?,
        clock_drift_ppm: u32::try_from(number("drift", 1000)?).map_err(|_| "drift?")?,
    })
    .map_err(|error| error.to_string())?;
    let voters: BTreeMap<NodeId, Voter> = (1..=count)
        .map(|id| {
            let name = id.to_string();
            let voter = Voter {
                priority: i32::from(named.get("first").is_some_and(|first| *first == name)),
                witness: named.get("witness").is_some_and(|witness| *witness == name),
            };
            (NodeId::from(id), voter)
        })
        .collect();
    let setups = voters.keys().map(|me| Setup { me: *me, voters: voters.clone(), timing });
    let mut world = World::new(setups.collect(), number("seed", 1)?);
    world.story = Some(Vec::new());
    Ok(world)
}

fn node(word: &str) -> Result<NodeId, String> {
    word.parse().map_err(|error| format!("{error}"))
}

fn duration(word: &str) -> Result<Duration, String> {
    let digits = word.trim_end_matches(|letter: char| letter.is_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{word} is not a time"))?;
    match &word[digits.len()..] {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("{word} is not a time in us, ms or s")),
    }
}

fn wait(world: &mut World, enough: impl Fn(&World) -> bool) -> Result<(), String> {
    let end = world.now.after(Duration::from_secs(60));
    let came = world.run_to(end, enough);
    if came || world.checker.violation.is_some() {
        return Ok(());
    }
    Err(format!("it has not come within a minute:\n{}", world.story.as_ref().unwrap().join("\n")))
}

/// Lines that are gone and lines that are new, by the longest common subsequence.
fn difference(told: &str, goes: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (told.lines().collect(), goes.lines().collect());
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i] == new[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let mut text = String::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            writeln!(text, "{:>4} - {}", i + 1, old[i]).unwrap();
            i += 1;
        } else {
            writeln!(text, "{:>4} + {}", j + 1, new[j]).unwrap();
            j += 1;
        }
    }
    text
}
