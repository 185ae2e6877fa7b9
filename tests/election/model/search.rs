//! Every placement of the departures, each situation once: depth first, on all cores.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use leadelect::election::Event;

use super::cluster::Cluster;
use super::moves::{Left, Move, World, beginning};
use super::reached::Reached;
use super::visited::Visited;

/// What is searched.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) world: World,
    pub(super) left: Left,
    /// Whose clocks are fast, one bit for each node: one beginning for each.
    pub(super) clocks: Vec<u8>,
}

/// What a search has seen.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) situations: usize,
    /// Situations, counted once more for each different rest of departures that they were met with.
    pub(super) visits: u64,
    pub(super) steps: u64,
    /// What the known situations take.
    pub(super) bytes: usize,
    pub(super) beyond: u64,
    pub(super) depth: u32,
    pub(super) reached: Reached,
    /// The first thing that was found wrong, and how it came about.
    pub(super) wrong: Option<(String, Course)>,
}

/// How a situation came about: whose clocks are fast, and, by the number of the step, which of the departures was
/// taken. All other steps are the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    fast: u8,
    turns: Vec<(u32, u8)>,
}

struct Task {
    cluster: Cluster,
    left: Left,
    step: u32,
    course: Course,
    /// A letter was to arrive a second time.
    kept: bool,
}

struct Pool {
    tasks: Mutex<Vec<Task>>,
    waiting: AtomicUsize,
    news: Condvar,
    stop: AtomicBool,
    threads: usize,
}

impl Pool {
    /// The next task that another thread has given away; nothing once all have nothing to do.
    fn take(&self) -> Option<Task> {
        let mut tasks = self.tasks.lock().expect("no panic");
        loop {
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            if let Some(task) = tasks.pop() {
                return Some(task);
            }
            if self.waiting.fetch_add(1, Ordering::SeqCst) + 1 == self.threads {
                self.end();
                return None;
            }
            tasks = self.news.wait(tasks).expect("no panic");
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn give(&self, given: impl Iterator<Item = Task>) {
        self.tasks.lock().expect("no panic").extend(given);
        self.news.notify_all();
    }

    fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.news.notify_all();
    }
}

/// Stops whatever happens to the others: a panic in one thread must not leave the others waiting.
struct EndOnPanic<'a>(&'a Pool);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

impl Bounds {
    /// Searches all there is, or until something is wrong.
    pub(super) fn search(&self, threads: usize) -> Report {
        let visited = Visited::new();
        let begin = |fast: &u8| Task {
            cluster: beginning(&self.world, *fast, &mut Vec::new()),
            left: self.left,
            step: 0,
            course: Course { fast: *fast, turns: Vec::new() },
            kept: false,
        };
        let pool = Pool {
            tasks: Mutex::new(self.clocks.iter().map(begin).collect()),
            waiting: AtomicUsize::new(0),
            news: Condvar::new(),
            stop: AtomicBool::new(false),
            threads,
        };
        let mut report = Report::default();
        std::thread::scope(|scope| {
            let searchers: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.search_with(&pool, &visited))).collect();
            for searcher in searchers {
                report.add(searcher.join().expect("no panic"));
            }
        });
        report.situations = visited.len();
        report.bytes = visited.bytes();
        report
    }

    fn search_with(&self, pool: &Pool, visited: &Visited) -> Report {
        let _end = EndOnPanic(pool);
        let mut report = Report::default();
        let mut stack = Vec::new();
        let (mut moves, mut events) = (Vec::new(), Vec::new());
        while let Some(task) = stack.pop().or_else(|| pool.take()) {
            if pool.stop.load(Ordering::Relaxed) {
                break;
            }
            self.follow(task, visited, &mut stack, &mut report, (&mut moves, &mut events));
            if report.wrong.is_some() {
                pool.end();
                break;
            }
            if stack.len() > 16 && pool.waiting.load(Ordering::Relaxed) > 0 {
                let half = stack.len() / 2;
                pool.give(stack.drain(..half));
            }
        }
        report
    }

    /// Follows the default course from a situation until it meets a known one, and notes what departs from it.
    fn follow(
        &self,
        mut task: Task,
        visited: &Visited,
        stack: &mut Vec<Task>,
        report: &mut Report,
        (moves, events): (&mut Vec<Move>, &mut Vec<Event>),
    ) {
        let mut steps_at_once = 0;
        loop {
            if let Some(wrong) = &task.cluster.checker.violation {
                report.wrong.get_or_insert((wrong.clone(), task.course));
                return;
            }
            if !task.cluster.is_within(&self.world) {
                report.beyond += 1;
                return;
            }
            if !visited.claim(task.cluster.print(), task.left) {
                return;
            }
            report.visits += 1;
            report.depth = report.depth.max(task.step);
            let default = task.cluster.default();
            task.cluster.departures(default, self.world.longest_stall, moves);
            for (turn, departure) in moves.iter().enumerate() {
                let Some(left) = task.left.after(*departure) else {
                    continue;
                };
                let Some(cluster) = task.cluster.after(*departure, &self.world, events) else {
                    continue;
                };
                report.steps += 1;
                let kept = task.kept || matches!(departure, Move::DeliverAndKeep(_));
                let spent = (self.left.less(left), task.kept);
                report.reached.note(*departure, spent, &cluster, events);
                if visited.knows(cluster.print(), left) {
                    continue;
                }
                let mut course = task.course.clone();
                course.turns.push((task.step, u8::try_from(turn).unwrap()));
                let step = task.step + 1;
                stack.push(Task { cluster, left, step, course, kept });
            }
            let Some(next) = task.cluster.after(default, &self.world, events) else {
                return;
            };
            report.steps += 1;
            report.reached.note(default, (self.left.less(task.left), task.kept), &next, events);
            steps_at_once = if default == Move::TimePasses { 0 } else { steps_at_once + 1 };
            task.cluster = next;
            task.step += 1;
            if steps_at_once > 1000 {
                let wrong = "BusyLoop: time does not pass any more".to_owned();
                report.wrong.get_or_insert((wrong, task.course));
                return;
            }
        }
    }
}

impl World {
    /// The story of a course, up to what goes wrong in it.
    pub(super) fn replay(&self, course: &Course) -> (String, Option<String>) {
        let (mut moves, mut events) = (Vec::new(), Vec::new());
        let mut story = String::new();
        let mut cluster = beginning(self, course.fast, &mut events);
        let last = course.turns.last().map_or(0, |(step, _)| *step);
        // By default nothing new happens after some rounds of heartbeats.
        for step in 0..last + 2000 {
            let default = cluster.default();
            cluster.departures(default, self.longest_stall, &mut moves);
            let turn = course.turns.iter().find(|(at, _)| *at == step);
            let next = turn.map_or(default, |(_, turn)| moves[usize::from(*turn)]);
            writeln!(story, "{step:>8}  {}", cluster.tell(next)).unwrap();
            cluster = cluster.after(next, self, &mut events).expect("it was possible");
            for event in events.drain(..) {
                writeln!(story, "              {event}").unwrap();
            }
            if let Some(wrong) = &cluster.checker.violation {
                return (story, Some(wrong.clone()));
            }
        }
        (story, None)
    }
}

impl Left {
    /// What is gone when `left` is left.
    fn less(self, left: Left) -> Left {
        Left {
            crashes: self.crashes - left.crashes,
            orders: self.orders - left.orders,
            others: self.others - left.others,
            together: self.together - left.together,
        }
    }
}

impl Report {
    pub(super) fn add(&mut self, other: Report) {
        self.situations += other.situations;
        self.bytes = self.bytes.max(other.bytes);
        self.visits += other.visits;
        self.steps += other.steps;
        self.beyond += other.beyond;
        self.depth = self.depth.max(other.depth);
        self.reached.add(&other.reached);
        self.wrong = self.wrong.take().or(other.wrong);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} situations, {} steps, depth {}, {} beyond the last term, {} MB",
            self.situations,
            self.steps,
            self.depth,
            self.beyond,
            self.bytes / 1_000_000
        )
    }
}

/// As in `3:17.2,40.0`: clocks, then step and departure.
impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turns: Vec<String> = self.turns.iter().map(|(step, turn)| format!("{step}.{turn}")).collect();
        write!(f, "{}:{}", self.fast, turns.join(","))
    }
}

impl std::str::FromStr for Course {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (fast, turns) = text.split_once(':').unwrap_or((text, ""));
        let turn = |turn: &str| {
            let (step, which) = turn.split_once('.').unwrap_or((turn, ""));
            Ok((step.parse()?, which.parse()?))
        };
        let turns = turns.split(',').filter(|turn| !turn.is_empty());
        Ok(Course { fast: fast.parse()?, turns: turns.map(turn).collect::<Result<_, _>>()? })
    }
}
