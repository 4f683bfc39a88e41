//! The pages that a list has named, so that a list without end is noticed: a server that names a page twice would be
//! asked forever.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

/// No list has more pages: fifty million objects.
const MOST_PAGES: usize = 100_000;

/// The tokens of the pages that a list has named, as hashes: 8 bytes a page.
#[derive(Debug, Default)]
pub(crate) struct PageTokens(HashSet<u64>);

/// The list has no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Endless {
    #[error("the list has no end: a page names one as the next that was read before; its token is {token:?}")]
    Repeats { token: String },
    #[error("the list has no end: it has more than {MOST_PAGES} pages")]
    TooMany,
}

impl PageTokens {
    /// The page asked for with `asked` names `next` as the following one.
    pub(crate) fn record_next(&mut self, asked: Option<&str>, next: &str) -> Result<(), Endless> {
        if asked == Some(next) || self.0.contains(&xxh3_64(next.as_bytes())) {
            return Err(Endless::Repeats { token: next.to_owned() });
        }
        if self.0.len() >= MOST_PAGES {
            return Err(Endless::TooMany);
        }
        self.0.insert(xxh3_64(next.as_bytes()));
        Ok(())
    }

    /// The list starts again.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_was_named_before_is_refused() {
        let mut tokens = PageTokens::default();
        tokens.record_next(None, "b").expect("it is new");
        tokens.record_next(Some("b"), "c").expect("it is new");
        for (asked, next) in [(Some("c"), "c"), (Some("c"), "b")] {
            assert!(matches!(tokens.record_next(asked, next), Err(Endless::Repeats { token }) if token == next));
        }
        // A restart continues with a page that it did not see named.
        assert!(PageTokens::default().record_next(Some("x"), "x").is_err());
        tokens.clear();
        tokens.record_next(None, "b").expect("the list starts again");
    }

    #[test]
    fn a_list_of_ever_new_pages_is_ended() {
        let mut tokens = PageTokens::default();
        let last = (0..).find(|page: &usize| tokens.record_next(None, &page.to_string()).is_err());
        assert_eq!(last, Some(MOST_PAGES));
    }
}
