//! Counts by group. It is told the time, and nothing here waits.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use super::Config;

/// The most records of a group that are counted. A greater number is shown as this one.
pub(super) const MOST: usize = 1000;

/// The most groups. The one that was not heard of for longest is forgotten first.
const GROUPS: usize = 10_000;

/// The most times that are kept of all groups together, eight MiB of them and twice that of room.
const TIMES: usize = 1 << 20;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stands for this many records of its group, itself included.
    Passes { count: usize },
    /// There are not enough of them, or one has passed already.
    Waits,
    /// It is not about the present.
    TooOld,
}

type Name = Option<Arc<str>>;

#[derive(Debug)]
pub(super) struct Counts {
    config: Config,
    groups: HashMap<Name, Group>,
    /// The groups in the order in which they were last heard of.
    recent: BTreeMap<u64, Name>,
    /// How many records were counted. It orders `recent`.
    counted: u64,
    /// How many times are kept.
    times: usize,
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Group {
    /// When its records happened since one passed, in order.
    times: VecDeque<Duration>,
    /// Nothing passes that happened before.
    quiet_until: Duration,
    /// Its place in `recent`.
    heard: u64,
}

impl Counts {
    pub(super) fn new(config: Config) -> Self {
        Counts { config, groups: HashMap::new(), recent: BTreeMap::new(), counted: 0, times: 0, forgotten: 0 }
    }

    /// Counts a record of `group` that happened at `time` and arrives at `now`, both since 1970.
    pub(super) fn count(&mut self, group: Option<&Arc<str>>, time: Duration, now: Duration) -> Verdict {
        let Config { every, at_least } = self.config;
        // A clock that is ahead of ours must not move the window past all others.
        let time = time.min(now);
        if time + every <= now {
            return Verdict::TooOld;
        }
        let name = group.cloned();
        self.counted += 1;
        let group = self.groups.entry(name.clone()).or_default();
        self.recent.remove(&group.heard);
        group.heard = self.counted;
        self.recent.insert(self.counted, name);
        let before = group.times.len();
        let verdict = group.add(time, every, at_least);
        self.times = self.times + group.times.len() - before;
        while self.groups.len() > GROUPS || self.times > TIMES && self.groups.len() > 1 {
            self.forget();
        }
        verdict
    }

    /// How many groups were forgotten since the last call.
    pub(super) fn take_forgotten(&mut self) -> u64 {
        mem::take(&mut self.forgotten)
    }

    fn forget(&mut self) {
        let Some((_, name)) = self.recent.pop_first() else { return };
        if let Some(group) = self.groups.remove(&name) {
            self.times -= group.times.len();
            self.forgotten += 1;
        }
    }
}

impl Group {
    fn add(&mut self, time: Duration, every: Duration, at_least: usize) -> Verdict {
        let place = self.times.iter().rposition(|earlier| *earlier <= time).map_or(0, |place| place + 1);
        self.times.insert(place, time);
        let newest = self.times.back().copied().unwrap_or(time);
        while self.times.len() > MOST || self.times.front().is_some_and(|first| *first + every <= newest) {
            self.times.pop_front();
        }
        let count = self.times.len();
        if time < self.quiet_until || count < at_least {
            return Verdict::Waits;
        }
        self.times.clear();
        self.quiet_until = newest + every;
        Verdict::Passes { count }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const RULE: Config = Config { every: Duration::from_secs(600), at_least: 3 };

    fn minutes(minutes: u32) -> Duration {
        // Not so long after 1970 that a subtraction could hide.
        MINUTE * (minutes + 100)
    }

    fn verdicts(counts: &mut Counts, times: &[u32]) -> Vec<usize> {
        let verdict = |time: &u32| match counts.count(None, minutes(*time), minutes(*time)) {
            Verdict::Passes { count } => count,
            _ => 0,
        };
        times.iter().map(verdict).collect()
    }

    #[test]
    fn the_record_that_makes_enough_passes_and_then_none_for_as_long() {
        let mut counts = Counts::new(RULE);
        assert_eq!(verdicts(&mut counts, &[0, 1, 2, 3, 4, 5, 6]), [0, 0, 3, 0, 0, 0, 0]);
        // It goes on: what came in the quiet time counts, as far as it is in the window.
        assert_eq!(verdicts(&mut counts, &[12, 13]), [5, 0]);
        assert_eq!(verdicts(&mut counts, &[30, 39, 41, 42]), [0, 0, 0, 3]);
    }

    #[test]
    fn what_is_older_than_the_window_is_not_counted() {
        let mut counts = Counts::new(RULE);
        for _ in 0..5 {
            assert_eq!(counts.count(None, minutes(0), minutes(10)), Verdict::TooOld);
        }
        assert_eq!(counts.count(None, minutes(1), minutes(10)), Verdict::Waits);
        // A clock ahead of ours counts as now.
        assert_eq!(counts.count(None, minutes(1000), minutes(10)), Verdict::Waits);
        assert_eq!(counts.count(None, minutes(10), minutes(10)), Verdict::Passes { count: 3 });
    }

    #[test]
    fn groups_are_apart_and_the_one_unheard_of_for_longest_is_forgotten() {
        let mut counts = Counts::new(RULE);
        let name = |number: usize| Arc::<str>::from(number.to_string());
        let count = |counts: &mut Counts, number| counts.count(Some(&name(number)), minutes(0), minutes(0));
        for number in 0..GROUPS {
            count(&mut counts, number);
            count(&mut counts, number);
        }
        assert_eq!(count(&mut counts, 0), Verdict::Passes { count: 3 });
        assert_eq!(count(&mut counts, GROUPS), Verdict::Waits);
        assert_eq!((counts.take_forgotten(), counts.groups.len(), counts.recent.len()), (1, GROUPS, GROUPS));
        // It was the second one.
        assert_eq!(count(&mut counts, 2), Verdict::Passes { count: 3 });
        assert_eq!(count(&mut counts, 1), Verdict::Waits);
    }

    proptest! {
        #[test]
        fn a_record_passes_exactly_when_enough_of_its_group_are_within_the_window(
            records in prop::collection::vec((0..3usize, 0..200u64, 0..900u64), 0..200),
            at_least in 1..5usize,
        ) {
            let config = Config { at_least, ..RULE };
            let mut counts = Counts::new(config);
            // What has come since one passed, and when that happened.
            let mut model = vec![(Vec::<Duration>::new(), None::<Duration>); 3];
            let mut now = minutes(0);
            for (group, passed, late) in records {
                now += Duration::from_secs(passed);
                let time = now - Duration::from_secs(late);
                let name = Arc::<str>::from(group.to_string());
                let verdict = counts.count(Some(&name), time, now);
                let (times, quiet) = &mut model[group];
                if late >= 600 {
                    prop_assert_eq!(verdict, Verdict::TooOld);
                    continue;
                }
                times.push(time);
                let newest = *times.iter().max().expect("one");
                times.retain(|time| *time + config.every > newest);
                let is_quiet = quiet.is_some_and(|from| time < from + config.every);
                if is_quiet || times.len() < at_least {
                    prop_assert_eq!(verdict, Verdict::Waits);
                } else {
                    prop_assert_eq!(verdict, Verdict::Passes { count: times.len() });
                    times.clear();
                    *quiet = Some(newest);
                }
                prop_assert_eq!(counts.times, model.iter().map(|(times, _)| times.len()).sum::<usize>());
            }
        }
    }
}
