//! Histories, servers and restarts against a model of the gap proof: every event is delivered, owed by the list, or
//! still to come, and nothing is both or twice.

#![no_main]

use std::collections::HashSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nomad_firehose::{
    checkpoint::Gap,
    position::{Identity, Position, RaftIndex},
    source::resume::proof::{LineVerdict, StreamCursor, TableVerdict},
};

#[derive(Arbitrary, Debug)]
enum Step {
    /// The cluster publishes lines of one index, each with some events.
    Publish { skipped: u8, lines: [u8; 3] },
    /// The table moves without an event.
    Silent(u8),
    /// The server's buffer loses its oldest lines.
    Forget(u8),
    /// So many lines of the connection are read.
    Read(u8),
    /// The connection breaks, and the next server is behind by so many lines for now.
    Reconnect { lag: u8 },
    /// The server catches up.
    CatchUp(u8),
    /// Nothing came for a while: the table is asked.
    AskTable,
    /// The connection was quiet behind the last line that it has.
    Quiet,
    /// The list is read for all that is owed.
    ReadList,
    /// The checkpoint is stored.
    Save,
    /// The program dies.
    Crash,
    /// It is stopped.
    Stop,
}

#[derive(Clone)]
struct Event {
    index: u64,
    identity: Identity,
}

/// What the program has: its cursor, what it stored, and what became of each event.
struct Model {
    history: Vec<Vec<Event>>,
    /// The table's index, and the first line that the buffer still holds.
    index: u64,
    table: u64,
    oldest: usize,
    /// The next line of the connection, and how many lines the server has.
    next: usize,
    visible: usize,
    connected: bool,
    cursor: StreamCursor,
    gap: Vec<Gap>,
    delivered: HashSet<Identity>,
    listed: HashSet<Identity>,
    /// Events that the list gave while their index was still coming in: these may come again.
    overtaken: HashSet<Identity>,
    /// As the ledger keeps it, from what it is told.
    position: Position,
    saved: (Position, Vec<Gap>, HashSet<Identity>, HashSet<Identity>),
}

fuzz_target!(|steps: Vec<Step>| {
    let mut model = Model::new();
    for step in steps.iter().take(200) {
        model.step(step);
        model.check();
    }
    model.settle();
});

impl Model {
    fn new() -> Self {
        // A first line, delivered: a first start is another matter.
        let first = vec![event(10, 0)];
        let position = Position { index: RaftIndex(10), seen: vec![first[0].identity].into(), ..Position::default() };
        let delivered = HashSet::from([first[0].identity]);
        Model {
            history: vec![first],
            index: 10,
            table: 10,
            oldest: 0,
            next: 1,
            visible: 1,
            connected: false,
            cursor: StreamCursor::new(position.clone()),
            gap: Vec::new(),
            delivered: delivered.clone(),
            listed: HashSet::new(),
            overtaken: HashSet::new(),
            saved: (position.clone(), Vec::new(), delivered, HashSet::new()),
            position,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish { skipped, lines } => {
                self.index += 1 + u64::from(skipped % 3);
                let mut occurrence = 0;
                for events in &lines[..1 + usize::from(lines[0] / 86)] {
                    let line = (0..1 + events % 3).map(|_| {
                        occurrence += 1;
                        event(self.index, occurrence - 1)
                    });
                    self.history.push(line.collect());
                }
                self.table = self.index;
            }
            Step::Silent(by) => {
                self.index += u64::from(by % 4);
                self.table = self.index;
            }
            Step::Forget(lines) => self.oldest = (self.oldest + usize::from(*lines)).min(self.history.len()),
            Step::CatchUp(lines) => self.visible = (self.visible + usize::from(*lines)).min(self.history.len()),
            Step::Reconnect { lag } => self.connect(usize::from(*lag)),
            Step::Read(lines) if self.connected => (0..*lines).for_each(|_| self.read()),
            Step::AskTable if self.connected && !self.cursor.is_proven() => self.ask_table(),
            Step::Quiet if self.connected && self.next >= self.visible && self.visible == self.history.len() => {
                self.position.whole |= self.cursor.settle();
            }
            Step::ReadList => self.read_list(),
            Step::Save => {
                self.saved = (self.position.clone(), self.gap.clone(), self.delivered.clone(), self.listed.clone());
            }
            Step::Crash => {
                (self.position, self.gap, self.delivered, self.listed) = self.saved.clone();
                self.restart();
            }
            Step::Stop => self.restart(),
            _ => {}
        }
    }

    fn restart(&mut self) {
        self.connected = false;
        let text = serde_json::to_vec(&self.position).expect("a position is plain data");
        self.cursor = StreamCursor::new(serde_json::from_slice(&text).expect("just written"));
    }

    /// As Nomad does: the first kept line of the index, else the first after it, else the newest one.
    fn connect(&mut self, lag: usize) {
        self.connected = true;
        self.cursor.reconnected();
        self.visible = self.history.len().saturating_sub(lag).max(self.oldest);
        let kept = &self.history[self.oldest..self.visible];
        let ask = self.cursor.position().index.0;
        let found = kept.iter().position(|line| line[0].index >= ask);
        self.next = self.oldest + found.unwrap_or(kept.len().saturating_sub(1));
    }

    fn read(&mut self) {
        if self.next < self.oldest {
            // Cut off: it reads slower than the buffer turns over.
            return self.connect(0);
        }
        if self.next >= self.visible {
            return;
        }
        let line = self.history[self.next].clone();
        self.next += 1;
        let index = RaftIndex(line[0].index);
        let events: Vec<Identity> = line.iter().map(|event| event.identity).collect();
        let verdict = self.cursor.observe(index, &events);
        match &verdict {
            LineVerdict::Nothing => {}
            LineVerdict::Deliver => know(&self.cursor, index, &events, &mut self.gap),
            LineVerdict::DeliverAfterGap(gap) => self.gap.push(gap.clone()),
        }
        if verdict != LineVerdict::Nothing {
            for event in &events {
                if self.cursor.is_new(index, *event) {
                    assert!(self.delivered.insert(*event), "{index} comes twice");
                    assert!(
                        !self.listed.contains(event) || self.overtaken.contains(event),
                        "{index} came from the list already"
                    );
                }
            }
            self.position.advance(index, &events);
        }
        self.cursor.advance(index, &events);
    }

    fn ask_table(&mut self) {
        if let TableVerdict::Gap(gap) = self.cursor.observe_table(RaftIndex(self.table)) {
            self.gap.push(gap);
            self.position.advance(RaftIndex(self.table), &[]);
        }
    }

    /// The list is at least as new as what was delivered, and here as new as the cluster.
    fn read_list(&mut self) {
        for event in self.history.iter().flatten() {
            if self.gap.iter().any(|gap| gap.contains(RaftIndex(event.index), event.identity)) {
                assert!(!self.delivered.contains(&event.identity), "{} came from the stream already", event.index);
                self.listed.insert(event.identity);
                if self.position.index.0 == event.index {
                    self.overtaken.insert(event.identity);
                }
            }
        }
        self.gap.clear();
    }

    /// In the end, with a server that has caught up, nothing is still to come.
    fn settle(&mut self) {
        self.connect(0);
        self.read_all();
        if !self.cursor.is_proven() {
            self.ask_table();
        }
        self.step(&Step::Publish { skipped: 0, lines: [0; 3] });
        self.read_all();
        self.read_list();
        self.check();
        for event in self.history.iter().flatten() {
            let done = self.delivered.contains(&event.identity) || self.listed.contains(&event.identity);
            assert!(done, "{} never came", event.index);
        }
    }

    fn read_all(&mut self) {
        self.visible = self.history.len();
        while self.next < self.visible {
            self.read();
        }
    }

    /// What lies behind the position is delivered or owed; what is at it is that, or can still come.
    fn check(&self) {
        let position = self.cursor.position();
        assert_eq!(position, &self.position, "what is stored is what was read");
        for event in self.history.iter().flatten() {
            let (index, identity) = (RaftIndex(event.index), event.identity);
            let gap = self.gap.iter().any(|gap| gap.contains(index, identity));
            let delivered = self.delivered.contains(&identity);
            let listed = self.listed.contains(&identity);
            assert!(!(gap && delivered), "{index} will come from the list again");
            let to_come = index > position.index || self.cursor.is_new(index, identity);
            assert!(delivered || listed || gap || to_come, "{index} is lost");
        }
    }
}

/// As a member does it: lines of the index that a gap ends with need not come from the list as well.
fn know(cursor: &StreamCursor, index: RaftIndex, events: &[Identity], gap: &mut [Gap]) {
    if index == cursor.position().index {
        for gap in gap.iter_mut().filter(|gap| gap.until.0 == index.0 + 1) {
            gap.known.extend(events.iter().copied().filter(|event| cursor.is_new(index, *event)));
        }
    }
}

fn event(index: u64, occurrence: u32) -> Event {
    Event { index, identity: Identity::new("Job", "default", "web", RaftIndex(index), occurrence) }
}
