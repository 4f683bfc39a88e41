//! Whether records came whole, and in order per key.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::truth::{expected, seen};

/// Whether a record may come in front of an earlier one of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaps {
    /// Never: a failure stops all that follows it.
    Never,
    /// Where the earlier one failed alone; both are sent again behind it.
    SentAgain,
}

/// Holds the bodies of evaluations to what must come of `lines`: all of it, and of each key in order but for stretches that
/// were sent again, which are in order themselves. Returns how many were repeats.
///
/// Bodies of different keys may come in any order.
pub fn assert_order<'a>(bodies: impl IntoIterator<Item = &'a str>, lines: &[String], leaps: Leaps) -> usize {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let due = expected("evaluations", lines);
    for seen in &due {
        keys.entry(seen.key.clone()).or_default().push(seen.version.clone());
    }
    let places: HashMap<(&str, &str), usize> = keys
        .iter()
        .flat_map(|(key, versions)| versions.iter().enumerate().map(|(n, it)| ((key.as_str(), it.as_str()), n)))
        .collect();
    let mut came: HashMap<String, Vec<usize>> = HashMap::new();
    let mut count = 0;
    for body in bodies {
        let seen = seen(body);
        let place = places[&(seen.key.as_str(), seen.version.as_str())];
        came.entry(seen.key).or_default().push(place);
        count += 1;
    }
    for (key, versions) in &keys {
        let came = came.get(key).map_or(&[][..], Vec::as_slice);
        // What stands last of each record is what a consumer that goes by the newest is left with.
        let (mut met, mut last) = (HashSet::new(), Vec::<usize>::new());
        last.extend(came.iter().rev().filter(|place| met.insert(**place)));
        last.reverse();
        assert!(last.iter().copied().eq(0..versions.len()), "{key} is not whole or not in order: {came:?}");
        if leaps == Leaps::Never {
            let mut before = None;
            for place in came {
                assert!(*place <= before.map_or(0, |before| before + 1), "{key}: {place} after {before:?}");
                before = Some(*place);
            }
        }
    }
    count - due.len()
}
