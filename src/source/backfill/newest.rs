//! The newest versions that the stream has delivered while a page is under way: older versions on the page are dropped.

use std::collections::HashMap;

use crate::position::{Identity, RaftIndex};

/// The newest delivered version of each object; bounded in bytes.
#[derive(Debug)]
pub(crate) struct NewestVersions {
    versions: HashMap<Identity, RaftIndex>,
    most: usize,
}

impl NewestVersions {
    /// What one object costs in a table that has just doubled, in bytes.
    const BYTES: usize = 48;
    /// So many objects are remembered even in the smallest window.
    const LEAST: usize = 1024;

    /// Remembers as many objects as fit in these bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        NewestVersions { versions: HashMap::new(), most: (bytes / Self::BYTES).max(Self::LEAST) }
    }

    /// The stream has delivered this version of an object.
    pub(crate) fn note(&mut self, object: Identity, version: RaftIndex) {
        let newest = self.versions.entry(object).or_default();
        *newest = version.max(*newest);
    }

    /// Whether this version of an object, or a newer one, was delivered.
    pub(crate) fn has(&self, object: Identity, version: RaftIndex) -> bool {
        self.versions.get(&object).is_some_and(|newest| *newest >= version)
    }

    /// Whether the stream has to wait for the end of the page.
    pub(crate) fn is_full(&self) -> bool {
        self.versions.len() >= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_version_of_an_object_counts() {
        let (mut newest, object) = (NewestVersions::new(0), Identity(7));
        assert!(!newest.has(object, RaftIndex(1)));
        newest.note(object, RaftIndex(5));
        newest.note(object, RaftIndex(3));
        assert!(newest.has(object, RaftIndex(5)) && !newest.has(object, RaftIndex(6)));
        assert!(!newest.has(Identity(8), RaftIndex(1)));
    }

    #[test]
    fn it_is_full_at_its_bound_and_not_for_one_object_that_changes_all_the_time() {
        let mut newest = NewestVersions::new(0);
        (0..10_000).for_each(|version| newest.note(Identity(1), RaftIndex(version)));
        assert!(!newest.is_full());
        (0..1024).for_each(|object| newest.note(Identity(object), RaftIndex(1)));
        assert!(newest.is_full());
    }
}
