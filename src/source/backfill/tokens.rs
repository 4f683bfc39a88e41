//! The pages that a list has had, so that one without end is noticed: a server that names a page twice would be asked
//! for ever.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

/// More pages than this no list has: fifty million objects.
const MOST_PAGES: usize = 100_000;

/// The tokens of the pages that a list has named, as hashes: 8 bytes a page.
#[derive(Debug, Default)]
pub(in crate::source) struct Tokens(HashSet<u64>);

/// A list has no end.
#[derive(Debug, thiserror::Error)]
pub(in crate::source) enum Endless {
    #[error("the list has no end: a page names one as the next that was read before; its token is {token:?}")]
    Repeats { token: String },
    #[error("the list has no end: it has more than {MOST_PAGES} pages")]
    TooMany,
}

impl Tokens {
    /// The page that was asked for with `asked` names `next` as the one behind it.
    pub(in crate::source) fn go_on(&mut self, asked: Option<&str>, next: &str) -> Result<(), Endless> {
        if asked == Some(next) || self.0.contains(&xxh3_64(next.as_bytes())) {
            return Err(Endless::Repeats { token: next.to_owned() });
        }
        if self.0.len() >= MOST_PAGES {
            return Err(Endless::TooMany);
        }
        self.0.insert(xxh3_64(next.as_bytes()));
        Ok(())
    }

    /// The list begins again.
    pub(in crate::source) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_was_named_before_is_refused() {
        let mut tokens = Tokens::default();
        tokens.go_on(None, "b").expect("it is new");
        tokens.go_on(Some("b"), "c").expect("it is new");
        for (asked, next) in [(Some("c"), "c"), (Some("c"), "b")] {
            assert!(matches!(tokens.go_on(asked, next), Err(Endless::Repeats { token }) if token == next));
        }
        // A restart goes on with a page that it did not see named.
        assert!(Tokens::default().go_on(Some("x"), "x").is_err());
        tokens.clear();
        tokens.go_on(None, "b").expect("the list begins again");
    }

    #[test]
    fn a_list_of_ever_new_pages_is_ended() {
        let mut tokens = Tokens::default();
        let last = (0..).find(|page: &usize| tokens.go_on(None, &page.to_string()).is_err());
        assert_eq!(last, Some(MOST_PAGES));
    }
}
