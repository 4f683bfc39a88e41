//! What was read, within bounds: what was not used for longest leaves first.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::Hash,
};

/// The most that a cache holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) entries: usize,
    /// Of keys and values together, as [`Cache::insert`] is told.
    pub(super) bytes: usize,
}

pub(super) struct Cache<K, V> {
    bounds: Bounds,
    entries: HashMap<K, Entry<V>>,
    /// The keys in the order of their last use.
    used: BTreeMap<u64, K>,
    /// Counts uses.
    clock: u64,
    bytes: usize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Cache { bounds, entries: HashMap::new(), used: BTreeMap::new(), clock: 0, bytes: 0 }
    }

    /// What is held of `key`, which counts as a use.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        self.clock += 1;
        if let Some(key) = self.used.remove(&entry.used) {
            self.used.insert(self.clock, key);
        }
        entry.used = self.clock;
        Some(&mut entry.value)
    }

    /// Holds `value`, of this size, in place of the one before. A value above the bound is not held.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: usize) {
        self.remove(&key);
        if bytes > self.bounds.bytes || self.bounds.entries == 0 {
            return;
        }
        self.clock += 1;
        self.bytes += bytes;
        self.used.insert(self.clock, key.clone());
        self.entries.insert(key, Entry { value, bytes, used: self.clock });
        while (self.bytes > self.bounds.bytes || self.entries.len() > self.bounds.entries)
            && let Some((_, oldest)) = self.used.first_key_value()
        {
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.used.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("entries", &self.entries.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_not_used_for_longest_leaves_first() {
        let mut cache = Cache::new(Bounds { entries: 2, bytes: 100 });
        cache.insert("a", 1, 10);
        cache.insert("b", 2, 10);
        assert_eq!(cache.get(&"a"), Some(&mut 1));
        cache.insert("c", 3, 10);
        assert_eq!(cache.get(&"b"), None);
        assert_eq!(cache.get(&"a"), Some(&mut 1));
        cache.insert("large", 4, 101);
        assert_eq!(cache.get(&"large"), None);
        assert_eq!(cache.get(&"c"), Some(&mut 3));
    }

    proptest! {
        #[test]
        fn it_never_exceeds_its_bounds_and_never_mixes_up_values(
            steps in prop::collection::vec((0..12_u8, 0..40_usize, any::<bool>()), 0..200),
        ) {
            let bounds = Bounds { entries: 5, bytes: 90 };
            let mut cache = Cache::new(bounds);
            for (step, (key, bytes, is_read)) in steps.into_iter().enumerate() {
                if is_read {
                    if let Some((of, _)) = cache.get(&key) {
                        prop_assert_eq!(*of, key);
                    }
                    continue;
                }
                cache.insert(key, (key, step), bytes);
                prop_assert_eq!(cache.get(&key), Some(&mut (key, step)));
                let held: usize = cache.entries.values().map(|entry| entry.bytes).sum();
                prop_assert!(held == cache.bytes && held <= bounds.bytes && cache.entries.len() <= bounds.entries);
                prop_assert_eq!(cache.used.len(), cache.entries.len());
            }
        }
    }
}
