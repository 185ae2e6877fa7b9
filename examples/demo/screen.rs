//! On a terminal: a table, drawn again and again below the lines. Elsewhere: only lines.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::report::now;

const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
/// How many of the latest events stand below the table.
const MOST_EVENTS: usize = 8;

const ERASE_BELOW: &str = "\x1b[J";
/// A line must not be wrapped, however narrow the terminal is.
const CUT_LONG_LINES: &str = "\x1b[?7l";
const WRAP_LONG_LINES: &str = "\x1b[?7h";

pub(crate) struct Screen {
    terminal: bool,
    began: Duration,
    redraw_at: Duration,
    /// How many lines up the frame begins.
    height: usize,
    events: VecDeque<String>,
}

impl Screen {
    pub(crate) fn new() -> Screen {
        let events = VecDeque::new();
        Screen { terminal: io::stdout().is_terminal(), began: now(), redraw_at: now(), height: 0, events }
    }

    /// Prints a line that stays.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        let erase = self.erase();
        self.redraw_at = now();
        writeln!(io::stdout(), "{erase}{text}")
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, text: &str) -> io::Result<()> {
        let line = format!("{:7.3}s  {text}", (now() - self.began).as_secs_f64());
        if !self.terminal {
            return writeln!(io::stdout(), "{line}");
        }
        self.events.push_back(line);
        if self.events.len() > MOST_EVENTS {
            self.events.pop_front();
        }
        Ok(())
    }

    /// Draws the table, if there is a terminal and it is time to.
    pub(crate) fn draw(&mut self, rows: impl Iterator<Item = String>) -> io::Result<()> {
        if !self.terminal || now() < self.redraw_at {
            return Ok(());
        }
        self.redraw_at = now() + REDRAW_INTERVAL;
        let mut frame = self.erase() + CUT_LONG_LINES;
        let space = || std::iter::once(String::new());
        for line in space().chain(rows).chain(space()).chain(self.events.iter().cloned()) {
            frame += &line;
            frame += "\n";
            self.height += 1;
        }
        frame += WRAP_LONG_LINES;
        io::stdout().write_all(frame.as_bytes())?;
        io::stdout().flush()
    }

    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.height) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A{ERASE_BELOW}"),
        }
    }
}
