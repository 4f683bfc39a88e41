//! What arrived at the far side from all replicas, in the order of its arrival, held to what had to come.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{BufRead, BufReader, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::common::truth::{ALL, Seen, expected, expected_by_line, seen};

/// One record as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Instant,
    /// The replica that sent it.
    pub replica: usize,
    pub record: String,
}

/// What arrived from all replicas. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<Arrival>>>);

/// A record that had arrived before.
#[derive(Debug)]
pub struct Repeat {
    /// Where in the journal it stands.
    pub number: usize,
    pub kind: &'static str,
    /// The raft index of its line.
    pub index: u64,
}

impl Journal {
    /// Reads the output of a replica until it ends. A half line is none.
    pub fn read(&self, replica: usize, pipe: impl Read) {
        let mut pipe = BufReader::with_capacity(1 << 16, pipe);
        let mut line = Vec::new();
        while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
            let at = Instant::now();
            if line.pop() == Some(b'\n') {
                let record = String::from_utf8(std::mem::take(&mut line)).expect("it prints UTF-8");
                self.lock().push(Arrival { at, replica, record });
            }
            line.clear();
        }
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// The first record from any replica but `other` that arrived after `since`.
    pub fn first_of_another(&self, other: usize, since: Instant) -> Option<Arrival> {
        self.lock().iter().find(|arrival| arrival.replica != other && arrival.at > since).cloned()
    }

    /// The last record of a replica.
    pub fn last_of(&self, replica: usize) -> Option<Arrival> {
        self.lock().iter().rfind(|arrival| arrival.replica == replica).cloned()
    }

    /// How many records of a replica arrived after a moment.
    pub fn count_after(&self, replica: usize, since: Instant) -> usize {
        self.lock().iter().filter(|arrival| arrival.replica == replica && arrival.at > since).count()
    }

    pub fn all(&self) -> Vec<Arrival> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What must come for one key, and how far it has come.
#[derive(Default)]
struct Key {
    /// The place of each version in the order of the key, and the raft index of its line.
    places: HashMap<String, (usize, u64)>,
    /// How many have come.
    come: usize,
    /// The place of the last one, and who sent it.
    last: Option<(usize, usize)>,
}

/// Holds what arrived to what all these lines must bring, for every kind: each at least once, and of each key in order,
/// but for stretches that another replica sends again, which are in order themselves. Gives what came again.
///
/// With `complete` false the end may be missing: it is on its way.
pub fn check(arrivals: &[Arrival], lines: &[String], complete: bool) -> Vec<Repeat> {
    let mut keys: BTreeMap<(&str, String), Key> = BTreeMap::new();
    for kind in ALL {
        for (line, seen) in lines.iter().zip(expected_by_line(kind, lines)) {
            let index = index_of(line);
            for Seen { kind, key, version } in seen {
                let places = &mut keys.entry((kind, key)).or_default().places;
                let place = places.len();
                assert_eq!(places.insert(version, (place, index)), None, "two versions alike");
            }
        }
    }
    let mut repeats = Vec::new();
    for (number, Arrival { replica, record, .. }) in arrivals.iter().enumerate() {
        let Seen { kind, key: name, version } = seen(record);
        let key = keys.get_mut(&(kind, name.clone())).unwrap_or_else(|| panic!("nobody expects {kind} {name}"));
        let (place, index) =
            *key.places.get(&version).unwrap_or_else(|| panic!("nobody expects {kind} {name} {version}"));
        let before = key.last.replace((place, *replica));
        if place == key.come {
            key.come += 1;
            continue;
        }
        assert!(place < key.come, "{kind} {name}: number {place} came, after {} of {}", key.come, key.places.len());
        let goes_on = before.is_some_and(|(last, _)| place == last + 1);
        let another = before.is_none_or(|(_, sender)| sender != *replica);
        assert!(goes_on || another, "{kind} {name}: number {place} came again out of order, after {before:?}");
        repeats.push(Repeat { number, kind, index });
    }
    if complete {
        let missing: Vec<_> = keys.iter().filter(|(_, key)| key.come < key.places.len()).collect();
        let missing: Vec<_> = missing.iter().map(|(name, key)| (name, key.come, key.places.len())).collect();
        assert!(missing.is_empty(), "{} keys are not whole: {:?}", missing.len(), &missing[..missing.len().min(20)]);
    }
    repeats
}

/// What all these lines must bring and has not arrived yet, for any kind.
pub fn missing(arrivals: &[Arrival], lines: &[String]) -> usize {
    let come: BTreeSet<Seen> = arrivals.iter().map(|arrival| seen(&arrival.record)).collect();
    let expected = ALL.into_iter().flat_map(|kind| expected(kind, lines));
    expected.filter(|expected| !come.contains(expected)).count()
}

/// Of each kind, no replica sends anything between the records of another: each leads it for a stretch of its own.
pub fn assert_one_at_a_time(arrivals: &[Arrival]) {
    for (kind, spans) in spans(arrivals) {
        // A replica that leads again has stood by in between, for longer than any two threads of this test can differ.
        for three in spans.windows(3) {
            let [Span { replica: first, end, .. }, _, Span { replica: third, begin, .. }] = three else { continue };
            let pause = begin.duration_since(*end);
            assert!(first != third || pause.as_millis() > 500, "{kind}: taking turns within {pause:?}: {spans:?}");
        }
    }
}

/// A stretch in which one replica sent all records of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub replica: usize,
    pub begin: Instant,
    pub end: Instant,
}

/// Who sent each kind, and from when to when.
pub fn spans(arrivals: &[Arrival]) -> BTreeMap<&'static str, Vec<Span>> {
    let mut kinds: BTreeMap<_, Vec<Span>> = BTreeMap::new();
    for Arrival { at, replica, record } in arrivals {
        let spans = kinds.entry(seen(record).kind).or_default();
        match spans.last_mut() {
            Some(last) if last.replica == *replica => last.end = *at,
            _ => spans.push(Span { replica: *replica, begin: *at, end: *at }),
        }
    }
    kinds
}

fn index_of(line: &str) -> u64 {
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of the stream is JSON");
    line["Index"].as_u64().expect("an index")
}
