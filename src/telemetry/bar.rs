//! One line at the foot of a terminal that tells how far lists are read.
//!
//! The terminal is the process's own, so the line is, too. Log lines take its place and it comes back below them. Where
//! stderr is no terminal, or the log is for machines, or records go to a terminal, there is none.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::{
    config::{LogFormat, Sink},
    redact::shown,
};

/// How often it is drawn at most.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Longer, it would wrap on a narrow terminal, and could not be taken away again.
const COLUMNS: usize = 79;
/// Characters that are filled as a share grows.
const CELLS: usize = 20;

static BAR: Mutex<Bar> = Mutex::new(Bar { wanted: false, lists: Vec::new(), drawn_at: None, drawn: String::new() });

struct Bar {
    wanted: bool,
    /// Of which kind, in which namespace.
    lists: Vec<(&'static str, Box<str>, Progress)>,
    drawn_at: Option<Instant>,
    /// What stands there now; empty where nothing does.
    drawn: String,
}

/// Where the process writes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// To its standard output.
    Stdout,
    /// Elsewhere, or none.
    Elsewhere,
}

impl From<&Sink> for Records {
    fn from(sink: &Sink) -> Self {
        if matches!(sink, Sink::Stdout) { Records::Stdout } else { Records::Elsewhere }
    }
}

/// How far a list is read.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Objects that were looked at.
    pub walked: u64,
    /// Objects that were owed.
    pub delivered: u64,
    /// From 0 to 1, where it can be told.
    pub share: Option<f64>,
}

/// Whether the log shares its terminal with the line.
pub(super) fn is_wanted(format: LogFormat, records: Records) -> bool {
    has_room(format, records, io::stderr().is_terminal(), io::stdout().is_terminal())
}

/// Records on a terminal would be written into the line.
fn has_room(format: LogFormat, records: Records, stderr_is_terminal: bool, stdout_is_terminal: bool) -> bool {
    let is_for_records = records == Records::Stdout && stdout_is_terminal;
    matches!(format, LogFormat::Text) && stderr_is_terminal && !is_for_records
}

pub(super) fn enable(wanted: bool) {
    lock().wanted = wanted;
}

/// Shows how far the list of `kind` in `namespace` is read. Cheap where there is no line.
pub fn show(kind: &'static str, namespace: &str, progress: impl FnOnce() -> Progress) {
    let mut bar = lock();
    if !bar.wanted {
        return;
    }
    let progress = progress();
    match bar.lists.iter_mut().find(|(its, where_, _)| *its == kind && **where_ == *namespace) {
        Some((.., known)) => *known = progress,
        None => bar.lists.push((kind, namespace.into(), progress)),
    }
    if bar.drawn_at.is_none_or(|at| at.elapsed() >= DRAW_EVERY) {
        bar.drawn_at = Some(Instant::now());
        let text = text(&bar.lists);
        bar.draw(&text);
    }
}

/// The list is read, or given up.
pub fn hide(kind: &'static str, namespace: &str) {
    let mut bar = lock();
    bar.lists.retain(|(its, where_, _)| *its != kind || **where_ != *namespace);
    if bar.lists.is_empty() {
        bar.draw("");
    }
}

fn lock() -> MutexGuard<'static, Bar> {
    // A panic elsewhere leaves plain data behind.
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bar {
    fn draw(&mut self, text: &str) {
        if self.drawn == text {
            return;
        }
        // A terminal that is gone is no reason for anything to end.
        io::stderr().lock().write_all(format!("{}{text}", self.erase()).as_bytes()).ok();
        text.clone_into(&mut self.drawn);
    }

    /// Back to the start of the line, and nothing left of it.
    fn erase(&self) -> &'static str {
        if self.drawn.is_empty() { "" } else { "\r\x1b[K" }
    }
}

/// `allocations [########------------] 42% 210,000 read, 35 new`
fn text(lists: &[(&'static str, Box<str>, Progress)]) -> String {
    let mut text = String::new();
    for (kind, namespace, Progress { walked, delivered, share }) in lists {
        let before = if text.is_empty() { "" } else { "  " };
        let namespace = if &**namespace == "*" { String::new() } else { format!("@{}", shown(&**namespace, COLUMNS)) };
        let share = share.map_or_else(String::new, |share| {
            let filled = ((share * CELLS as f64) as usize).min(CELLS);
            format!(" [{}{}] {:.0}%", "#".repeat(filled), "-".repeat(CELLS - filled), 100.0 * share)
        });
        // A write to a String cannot fail.
        write!(text, "{before}{kind}{namespace}{share} {} read, {} new", grouped(*walked), grouped(*delivered)).ok();
    }
    text.chars().take(COLUMNS).collect()
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Stderr for a log that shares its terminal with the line.
#[derive(Clone, Copy, Debug)]
pub(super) struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bar = lock();
        // In one piece, so that nothing comes between.
        let whole = [bar.erase().as_bytes(), line, bar.drawn.as_bytes()].concat();
        io::stderr().lock().write_all(&whole).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for AboveBar {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shares_no_terminal_with_records() {
        let text = |records, stderr, stdout| has_room(LogFormat::Text, records, stderr, stdout);
        assert!(!text(Records::Stdout, true, true));
        assert!(text(Records::Stdout, true, false));
        assert!(text(Records::Elsewhere, true, true));
        assert!(!text(Records::Elsewhere, false, true));
        assert!(!has_room(LogFormat::Json, Records::Elsewhere, true, true));
    }

    #[test]
    fn it_is_one_short_line() {
        let list = |kind, namespace: &str, walked, share| {
            (kind, Box::from(namespace), Progress { walked, delivered: 35, share })
        };
        let one = text(&[list("allocations", "*", 210_000, Some(0.42))]);
        assert_eq!(one, "allocations [########------------] 42% 210,000 read, 35 new");
        let named = text(&[list("nodes", "team-a", 999, None)]);
        assert_eq!(named, "nodes@team-a 999 read, 35 new");
        let many = vec![list("evaluations", "a-name-of-a-namespace", 1_234_567, Some(1.0)); 3];
        assert_eq!(text(&many).chars().count(), COLUMNS);
        assert_eq!(text(&[]), "");
    }
}
