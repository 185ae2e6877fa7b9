//! A run to look at: one self-contained SVG, drawn from the [record](crate::harness::record) of the run and from
//! nothing else.
//!
//! Time goes to the right, and each node is a row: above, what was done to it; a band for its role and term; below it
//! a solid bar wherever its program may act as leader. Two such bars at one moment are what must never be. Messages
//! are lines between rows, steep because the network is quick. Hovering tells the details. The colours are those that
//! Okabe and Ito (2008) chose for all kinds of colour vision, and nothing is told by colour alone.

mod bands;
mod page;
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::time::Duration;

use leadelect::NodeId;

use crate::harness::clock::{Real, nanos};
use crate::harness::record::{Kind, Mark, Record, Said, Stage};
use bands::{Bar, Looks};
use page::{DEFS, LETTER, STYLE, escaped, millis, shortened, wide, wrapped};

/// What is shown of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: Real,
    pub(crate) to: Real,
}

/// How much is shown of what led to a violation, in election timeouts, and how much of the leases that follow it.
const TIMEOUTS_BEFORE: u32 = 10;
const TIMEOUTS_AFTER: u32 = 1;

/// Where time begins on the page, and how much of the page is left after it.
const LEFT: f64 = 176.0;
const RIGHT: f64 = 24.0;
/// Fits a usual screen; a long window is made wider.
const USUAL_WIDTH: f64 = 1600.0;
const LEAST_PER_TIMEOUT: f64 = 60.0;
const MOST_WIDTH: f64 = 24_000.0;

/// One row, from above: three lines of words, the band, the bar, and room for lines to be seen.
const ROW: f64 = 90.0;
const WORDS: [f64; 3] = [11.0, 23.0, 35.0];
const BAND: f64 = 44.0;
const BAND_HEIGHT: f64 = 18.0;
const BAR: f64 = BAND + BAND_HEIGHT + 1.0;
const BAR_HEIGHT: f64 = 13.0;
/// The row of the network has words only.
const NETWORK_ROW: f64 = 58.0;

/// More lines than that are not read, and make a large file: then the most common are left out.
const MOST_MESSAGES: usize = 6000;

impl Window {
    /// The end of a run that failed, or else the whole of it; unless `from` or `to`, in milliseconds, say otherwise.
    pub(crate) fn of(record: &Record, from: Option<u64>, to: Option<u64>) -> Self {
        let failed = violation(record).is_some();
        let real = |millis: u64| Real(millis.saturating_mul(1_000_000));
        let to = to.map_or_else(
            || match failed {
                true => record.end.after(record.timeout * TIMEOUTS_AFTER),
                false => record.end,
            },
            real,
        );
        let before = nanos(record.timeout * (TIMEOUTS_BEFORE + TIMEOUTS_AFTER));
        let from = from.map_or_else(
            || match failed {
                true => Real(to.0.saturating_sub(before)),
                false => Real::ZERO,
            },
            real,
        );
        // A window without width shows nothing, and cannot be drawn.
        let from = from.min(record.end);
        let to = to.max(from.after(Duration::from_millis(1)));
        Window { from, to }
    }

    fn overlaps(&self, from: Real, to: Real) -> bool {
        from < self.to && to > self.from
    }

    fn contains(&self, at: Real) -> bool {
        self.from <= at && at <= self.to
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", millis(self.from), millis(self.to))
    }
}

/// The picture of what `window` shows of a run that is called `name`.
pub(crate) fn draw(record: &Record, name: &str, window: Window) -> String {
    let mut sheet = Sheet::new(record, window);
    sheet.head(name);
    sheet.axis();
    sheet.grounds();
    sheet.messages();
    sheet.bars();
    sheet.violation();
    sheet.network();
    sheet.done();
    sheet.legend();
    sheet.finish(name)
}

/// Writes the picture where a person wants it.
pub(crate) fn write(path: &Path, record: &Record, name: &str, window: Window) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), fs::create_dir_all);
    let written = made.and_then(|()| fs::write(path, draw(record, name, window)));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

pub(super) fn violation(record: &Record) -> Option<(Real, &str)> {
    record.marks.iter().find_map(|(at, mark)| match mark {
        Mark::Violation(text) => Some((*at, text.as_str())),
        _ => None,
    })
}

struct Sheet<'a> {
    record: &'a Record,
    window: Window,
    width: f64,
    /// Where the row of the network begins, and those of the nodes.
    top: f64,
    rows: BTreeMap<NodeId, f64>,
    bottom: f64,
    leases: BTreeMap<NodeId, Vec<Bar>>,
    out: String,
}

impl<'a> Sheet<'a> {
    fn new(record: &'a Record, window: Window) -> Self {
        let timeouts = (window.to.0 - window.from.0) as f64 / nanos(record.timeout).max(1) as f64;
        let width = (timeouts * LEAST_PER_TIMEOUT).clamp(USUAL_WIDTH, MOST_WIDTH);
        let top = match violation(record) {
            Some(_) => 88.0,
            None => 60.0,
        };
        let nodes_top = top + NETWORK_ROW;
        let place = |(count, node): (usize, &NodeId)| (*node, nodes_top + ROW * count as f64);
        let rows: BTreeMap<NodeId, f64> = record.nodes.keys().enumerate().map(place).collect();
        let leases = record.nodes.keys().map(|node| (*node, bands::leases(record, *node)));
        let leases = leases.collect();
        Sheet {
            record,
            window,
            width,
            top,
            bottom: nodes_top + ROW * rows.len() as f64,
            rows,
            leases,
            out: String::new(),
        }
    }

    /// Where a moment is on the page.
    fn x(&self, at: Real) -> f64 {
        let span = (self.window.to.0 - self.window.from.0) as f64;
        let since = at.0 as f64 - self.window.from.0 as f64;
        LEFT + since / span * (self.width - LEFT - RIGHT)
    }

    /// Where a moment is, or else the edge that is nearest.
    fn edge(&self, at: Real) -> f64 {
        self.x(at.clamp(self.window.from, self.window.to))
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a string takes all");
        self.out.push('\n');
    }

    fn head(&mut self, name: &str) {
        let text = format!(
            "{name}: {} nodes, longest election timeout {:?}, shown from {}",
            self.rows.len(),
            self.record.timeout,
            self.window
        );
        self.line(format_args!("<text x=\"12\" y=\"24\" class=\"name\">{}</text>", escaped(&text)));
        let Some((at, what)) = violation(self.record) else {
            return;
        };
        let text = format!("{}: {}", millis(at), what.replace('\n', " "));
        let text = bands::overlaps(self.record).iter().fold(text, |text, both| {
            let ([one, other], span) = (both.nodes, both.bar.to.0 - both.bar.from.0);
            format!("{text}; {one} and {other} may both act for {:.6} ms", span as f64 / 1e6)
        });
        self.line(format_args!("<g class=\"wrong\"><title>{}</title>", escaped(&text)));
        for (count, text) in wrapped(&text).into_iter().enumerate() {
            let y = 44.0 + 16.0 * count as f64;
            self.line(format_args!("<text x=\"12\" y=\"{y}\">{}</text>", escaped(&text)));
        }
        self.line(format_args!("</g>"));
    }

    /// Lines of time, about one in 110 pixels.
    fn axis(&mut self) {
        let span = self.window.to.0 - self.window.from.0;
        let wanted = (span as f64 / ((self.width - LEFT - RIGHT) / 110.0)) as u64;
        let mut step = 1_000_000;
        for factor in [2, 5, 10].iter().cycle() {
            if step >= wanted {
                break;
            }
            let decade = 10_u64.pow(step.ilog10());
            step = match factor {
                10 => decade * 10,
                factor => decade * factor,
            };
        }
        let mut at = self.window.from.0.div_ceil(step) * step;
        let (top, bottom) = (self.top, self.bottom);
        while at <= self.window.to.0 {
            let x = self.x(Real(at));
            self.line(format_args!("<path class=\"axis\" d=\"M{x:.1} {top}V{bottom}\"/>"));
            for y in [top - 5.0, bottom + 13.0] {
                let text = at / 1_000_000;
                self.line(format_args!("<text class=\"axis\" x=\"{x:.1}\" y=\"{y}\">{text} ms</text>"));
            }
            at += step;
        }
    }

    /// What lies under everything: names of the rows, and where the run has not gone.
    fn grounds(&mut self) {
        let ended = self.edge(self.record.end);
        let edge = self.width - RIGHT;
        let (top, height) = (self.top, self.bottom - self.top);
        if ended < edge {
            let width = edge - ended;
            self.line(format_args!(
                "<rect class=\"unseen\" x=\"{ended:.2}\" y=\"{top}\" width=\"{width:.2}\" height=\"{height}\">\
                 <title>the run ends before</title></rect>"
            ));
        }
        for (node, y) in self.rows.clone() {
            let about = self.record.nodes[&node].split_once(", ");
            let (timing, rest) = about.unwrap_or((&self.record.nodes[&node], ""));
            let (name, low, lower) = (y + BAND + 4.0, y + BAND + 19.0, y + BAND + 32.0);
            let (timing, rest) = (escaped(timing), escaped(rest));
            self.line(format_args!(
                "<g class=\"row\"><path d=\"M8 {y}H{edge}\"/>\
                 <text x=\"12\" y=\"{name}\" class=\"node\">node {node}</text>\
                 <text x=\"12\" y=\"{low}\" class=\"about\">{timing}</text>\
                 <text x=\"12\" y=\"{lower}\" class=\"about\">{rest}</text></g>"
            ));
        }
    }

    fn messages(&mut self) {
        let window = self.window;
        let shown = |at: Real, arrives: &[Real]| {
            let last = arrives.iter().max().copied().unwrap_or(at);
            window.contains(at) || window.overlaps(at, last)
        };
        let mut chosen: Vec<Line> = Vec::new();
        for (at, mark) in &self.record.marks {
            if let Mark::Message { from, to, said, arrives } = mark {
                if shown(*at, arrives) {
                    chosen.push(Line { from: *from, to: *to, at: *at, said, arrives });
                }
            }
        }
        let mut left_out = Vec::new();
        for common in [Common::PlainHeartbeats, Common::OtherHeartbeats, Common::PreVotes] {
            if chosen.len() > MOST_MESSAGES {
                chosen.retain(|line| line.is_common() != Some(common));
                left_out.push(common.name());
            }
        }
        // What is rare lies above what is common.
        chosen.sort_by_key(|line| (!line.is_plain(), line.said.kind));
        self.line(format_args!("<g clip-path=\"url(#time)\">"));
        for line in &chosen {
            self.message(line);
        }
        self.line(format_args!("</g>"));
        if !left_out.is_empty() {
            let (y, what) = (self.bottom + 30.0, left_out.join(", "));
            self.line(format_args!(
                "<text x=\"{LEFT}\" y=\"{y}\" class=\"about\">left out of so long a window: {what}</text>"
            ));
        }
    }

    /// Where a line leaves or meets a node: at its band, or at the bar below, if there is one at the moment.
    fn rim(&self, node: NodeId, below: bool, at: Real) -> f64 {
        let has_bar = self.leases[&node].iter().any(|bar| bar.from <= at && at <= bar.to);
        self.rows[&node]
            + match (below, has_bar) {
                (false, _) => BAND,
                (true, false) => BAND + BAND_HEIGHT,
                (true, true) => BAR + BAR_HEIGHT,
            }
    }

    fn message(&mut self, line: &Line<'_>) {
        let down = self.rows[&line.to] > self.rows[&line.from];
        let y1 = self.rim(line.from, down, line.at);
        let x1 = self.x(line.at);
        let back = if down { -5.0 } else { 5.0 };
        let mut path = String::new();
        for at in line.arrives {
            let (x2, y2) = (self.x(*at), self.rim(line.to, !down, *at));
            write!(path, "M{x1:.1} {y1}L{x2:.1} {y2}").expect("a string takes all");
            if !line.is_plain() {
                let y = y2 + back;
                let (a, b) = (x2 - 3.0, x2 + 3.0);
                match line.said.stage {
                    Stage::Asks | Stage::Grants => {
                        write!(path, "M{a:.1} {y}L{x2:.1} {y2}L{b:.1} {y}")
                    }
                    Stage::Refuses => write!(path, "M{a:.1} {y2}H{b:.1}"),
                }
                .expect("a string takes all");
            }
        }
        let mut text = format!("{} -> {} {}\nsent {}", line.from, line.to, line.said.text, millis(line.at));
        if line.arrives.is_empty() {
            let y = if down { y1 + 15.0 } else { y1 - 15.0 };
            let (left, right, up, low) = (x1 - 3.0, x1 + 3.0, y - 3.0, y + 3.0);
            write!(path, "M{x1:.1} {y1}V{y}M{left:.1} {up}L{right:.1} {low}M{left:.1} {low}L{right:.1} {up}")
                .expect("a string takes all");
            text += ", lost";
        }
        for at in line.arrives {
            text += &format!(", arrives {}", millis(*at));
        }
        let class = line.class();
        let text = escaped(&text);
        self.line(format_args!("<path class=\"{class}\" d=\"{path}\"><title>{text}</title></path>"));
    }

    fn bars(&mut self) {
        for (node, y) in self.rows.clone() {
            for band in bands::roles(self.record, node) {
                self.bar(&band, y + BAND, BAND_HEIGHT);
            }
            for lease in self.leases[&node].clone() {
                self.bar(&lease, y + BAR, BAR_HEIGHT);
            }
        }
    }

    /// What was done to each node.
    fn done(&mut self) {
        for (node, y) in self.rows.clone() {
            let done = self.record.marks.iter().filter_map(|(at, mark)| match mark {
                Mark::Fault { node: to, text } if *to == node => Some((*at, text.as_str(), text.as_str())),
                _ => None,
            });
            let done: Vec<_> = done.filter(|(at, ..)| self.window.contains(*at)).collect();
            self.words(&done, y, y + BAND);
        }
    }

    /// A stretch of time with its text, as much of it as there is room for.
    fn bar(&mut self, bar: &Bar, y: f64, height: f64) {
        if !self.window.overlaps(bar.from, bar.to) {
            return;
        }
        let (left, right) = (self.edge(bar.from), self.edge(bar.to));
        let width = right - left;
        let class = match bar.looks {
            Looks::Follower => "follower",
            Looks::Candidate => "candidate",
            Looks::Leader => "leader",
            Looks::Paused => "paused",
            Looks::Starting => "starting",
            Looks::Down => "down",
            Looks::Lease => "lease",
            Looks::Ending => "ending",
            Looks::Both => "both",
        };
        let title = format!("{}\n{} to {}", bar.title, millis(bar.from), millis(bar.to));
        let title = escaped(&title);
        self.line(format_args!(
            "<g class=\"{class}\"><title>{title}</title>\
             <rect x=\"{left:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{height}\"/>"
        ));
        let fits = |label: &&String| wide(label) + 6.0 <= width;
        if let Some(label) = bar.labels.iter().find(fits) {
            let (x, y) = (left + 3.0, y + height / 2.0 + 4.0);
            let label = escaped(label);
            self.line(format_args!("<text x=\"{x:.1}\" y=\"{y}\">{label}</text>"));
        }
        self.line(format_args!("</g>"));
    }

    fn network(&mut self) {
        let mut before = None;
        let mut done = Vec::new();
        for (at, mark) in &self.record.marks {
            if let Mark::Network { change, state } = mark {
                if *at < self.window.from {
                    before = Some((at, state));
                } else if *at <= self.window.to {
                    done.push((*at, change.as_str(), state.as_str()));
                }
            }
        }
        let was;
        if let Some((at, state)) = before.filter(|(_, state)| !state.is_empty()) {
            was = format!("since {}: {}", millis(*at), state.replace('\n', "; "));
            done.insert(0, (self.window.from, was.as_str(), state.as_str()));
        }
        let (top, y) = (self.top, self.top + 26.0);
        self.line(format_args!("<text x=\"12\" y=\"{y}\" class=\"node\">links</text>"));
        self.words(&done, top + 4.0, top + NETWORK_ROW - 6.0);
    }

    /// Words with their marks at `foot`, in lines of which each is tried; those for which there is no room are told on
    /// hovering only.
    fn words(&mut self, done: &[(Real, &str, &str)], top: f64, foot: f64) {
        let edge = self.width - RIGHT;
        let mut free = [0.0; WORDS.len()];
        for (count, (at, text, title)) in done.iter().enumerate() {
            let x = self.edge(*at);
            // A long one may not keep out the next.
            let next = done.get(count + WORDS.len()).map_or(edge, |next| self.edge(next.0));
            let text = shortened(text, ((next - x).max(200.0) / LETTER) as usize);
            let width = wide(&text);
            let left = (x + 2.0).min(edge - width);
            let title = escaped(&format!("{}\n{text}\n{title}", millis(*at)));
            let (a, b, up) = (x - 3.5, x + 3.5, foot - 6.0);
            self.line(format_args!(
                "<g class=\"done\"><title>{title}</title>\
                 <path d=\"M{a:.1} {up}H{b:.1}L{x:.1} {foot}Z\"/>"
            ));
            if let Some(line) = free.iter().position(|free| *free <= left) {
                free[line] = left + width + 8.0;
                let y = top + WORDS[line];
                let text = escaped(&text);
                self.line(format_args!(
                    "<path class=\"stem\" d=\"M{x:.1} {y}V{foot}\"/><text x=\"{left:.1}\" y=\"{y}\">{text}</text>"
                ));
            }
            self.line(format_args!("</g>"));
        }
    }

    /// The moment of it, and wherever two programs may act at once.
    fn violation(&mut self) {
        let (top, bottom) = (self.top - 18.0, self.bottom);
        for both in bands::overlaps(self.record) {
            for node in both.nodes {
                let y = self.rows[&node] + BAR;
                self.bar(&both.bar, y, BAR_HEIGHT);
            }
        }
        let Some((at, text)) = violation(self.record).filter(|(at, _)| self.window.contains(*at)) else {
            return;
        };
        let (x, text) = (self.x(at), escaped(text));
        let name = text.split(':').next().unwrap_or_default();
        let y = top + 1.0;
        self.line(format_args!(
            "<g class=\"wrong\"><title>{text}</title><path d=\"M{x:.2} {top}V{bottom}\"/>\
             <text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{name}</text></g>"
        ));
    }

    fn legend(&mut self) {
        let y = self.bottom + 46.0;
        let mut x = LEFT;
        for (class, text) in [
            ("follower", "follower"),
            ("candidate", "candidate"),
            ("leader", "leader"),
            ("paused", "paused"),
            ("down", "down"),
            ("lease", "may act as leader"),
            ("ending", "told to stop, ends its work"),
            ("both", "two may act at once"),
        ] {
            let (up, beside, low) = (y - 10.0, x + 30.0, y);
            self.line(format_args!(
                "<g class=\"{class}\"><rect x=\"{x}\" y=\"{up}\" width=\"24\" height=\"13\"/></g>\
                 <text x=\"{beside}\" y=\"{low}\">{text}</text>"
            ));
            x += 30.0 + wide(text) + 22.0;
        }
        let y = y + 24.0;
        x = LEFT;
        for (class, text, end) in [
            ("Heartbeat", "plain heartbeat and its promise", ""),
            ("Heartbeat news", "heartbeat refused or lost", "h4v-8"),
            ("PreVote", "pre-vote", "m-5 -3l5 3l-5 3"),
            ("Vote", "vote", "m-5 -3l5 3l-5 3"),
            ("Release", "release", "m-5 -3l5 3l-5 3"),
            ("key", "asked", "m-5 -3l5 3l-5 3"),
            ("key reply", "reply: granted", "m-5 -3l5 3l-5 3"),
            ("key reply", "reply: refused", "m0 -4v8"),
            ("key", "lost", "m-3 -3l6 6m-6 0l6 -6"),
        ] {
            let (middle, beside) = (y - 4.0, x + 34.0);
            let end = if class == "Heartbeat news" { "m0 -4v8" } else { end };
            self.line(format_args!(
                "<path class=\"{class}\" d=\"M{x} {middle}h26{end}\"/><text x=\"{beside}\" y=\"{y}\">{text}</text>"
            ));
            x += 34.0 + wide(text) + 22.0;
        }
        let y = y + 22.0;
        self.line(format_args!(
            "<text x=\"{LEFT}\" y=\"{y}\" class=\"about\">T7 is term 7, and a token is the term of a lease. Under a \
             node: its election timeout / heartbeat interval, the error of its clock. Hover for details.</text>"
        ));
    }

    fn finish(self, name: &str) -> String {
        let (width, height) = (self.width, self.bottom + 106.0);
        let (top, depth) = (self.top, self.bottom - self.top);
        let room = width - LEFT - RIGHT;
        let (name, body) = (escaped(name), self.out);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<title>{name}</title>\n<style>{STYLE}</style>\n<defs>{DEFS}\
             <clipPath id=\"time\"><rect x=\"{LEFT}\" y=\"{top}\" width=\"{room}\" height=\"{depth}\"/></clipPath>\
             </defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }
}

struct Line<'a> {
    from: NodeId,
    to: NodeId,
    at: Real,
    said: &'a Said,
    arrives: &'a [Real],
}

/// What is left out first of a window that is too long for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Common {
    PlainHeartbeats,
    OtherHeartbeats,
    PreVotes,
}

impl Common {
    fn name(self) -> &'static str {
        match self {
            Common::PlainHeartbeats => "plain heartbeats",
            Common::OtherHeartbeats => "other heartbeats",
            Common::PreVotes => "pre-votes",
        }
    }
}

impl Line<'_> {
    /// A heartbeat that is as heartbeats should be.
    fn is_plain(&self) -> bool {
        let as_usual = self.said.stage != Stage::Refuses && !self.arrives.is_empty();
        self.said.kind == Kind::Heartbeat && as_usual
    }

    fn is_common(&self) -> Option<Common> {
        match self.said.kind {
            Kind::Heartbeat if self.is_plain() => Some(Common::PlainHeartbeats),
            Kind::Heartbeat => Some(Common::OtherHeartbeats),
            Kind::PreVote => Some(Common::PreVotes),
            Kind::Vote | Kind::Release => None,
        }
    }

    fn class(&self) -> String {
        let mut class = format!("{:?}", self.said.kind);
        if self.said.stage != Stage::Asks {
            class += " reply";
        }
        if self.said.kind == Kind::Heartbeat && !self.is_plain() {
            class += " news";
        }
        class
    }
}
