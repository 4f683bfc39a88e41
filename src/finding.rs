//! What a check found, for an operator: see [`crate::check`].

use std::{fmt::Display, time::Duration};

use crate::redact::{LINE, shown};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All right.
    Ok,
    /// Not checked.
    Skipped,
    /// It works, and can be better.
    Warning,
    /// A run would not work.
    Failed,
}

impl State {
    /// Its name, in the table and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Skipped => "skipped",
            State::Warning => "warning",
            State::Failed => "failed",
        }
    }
}

/// What one check found. Its texts are safe to show, and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked: `nomad token`.
    pub what: String,
    /// How the check ended.
    pub state: State,
    /// How long it took.
    pub took: Duration,
    /// What was found; of a failure, the cause.
    pub text: String,
    /// What to do about it.
    pub fix: Option<String>,
    /// The cause is a setting that no run would start with, such as a certificate that cannot be read.
    pub is_of_setting: bool,
}

impl Finding {
    fn new(what: impl Display, state: State, text: impl Display, fix: Option<String>) -> Self {
        let shown = |text: String| shown(text, LINE);
        Finding {
            what: shown(what.to_string()),
            state,
            took: Duration::ZERO,
            text: shown(text.to_string()),
            fix: fix.map(shown).filter(|fix| !fix.is_empty()),
            is_of_setting: false,
        }
    }

    /// All right.
    pub fn ok(what: impl Display, text: impl Display) -> Self {
        Finding::new(what, State::Ok, text, None)
    }

    /// Not checked, and why.
    pub fn skipped(what: impl Display, text: impl Display) -> Self {
        Finding::new(what, State::Skipped, text, None)
    }

    /// It works, and `fix` would make it better.
    pub fn warning(what: impl Display, text: impl Display, fix: impl Display) -> Self {
        Finding::new(what, State::Warning, text, Some(fix.to_string()))
    }

    /// A run would not work.
    pub fn failed(what: impl Display, text: impl Display, fix: impl Display) -> Self {
        Finding::new(what, State::Failed, text, Some(fix.to_string()))
    }

    /// A failure in the words of an error. Errors end with what to do, after their last semicolon.
    pub fn of_error(what: impl Display, error: impl Display) -> Self {
        let text = error.to_string();
        match text.rsplit_once("; ") {
            Some((cause, fix)) => Finding::failed(what, cause, fix),
            None => Finding::new(what, State::Failed, text, None),
        }
    }

    /// The same, with this fix if the error has none.
    pub fn of_error_or(what: impl Display, error: impl Display, fix: impl Display) -> Self {
        let found = Finding::of_error(what, error);
        Finding { fix: found.fix.or_else(|| Some(shown(fix.to_string(), LINE))), ..found }
    }

    /// The same for a setting that no run would start with.
    pub fn of_setting(what: impl Display, error: impl Display) -> Self {
        Finding { is_of_setting: true, ..Finding::of_error(what, error) }
    }

    /// The same finding with what stands in brackets at the end of its fix, the words of a server, behind its cause.
    #[must_use]
    pub fn with_words_behind_cause(self) -> Self {
        let Some((fix, words)) = self.fix.as_ref().and_then(|fix| fix.strip_suffix(')')?.split_once(" (")) else {
            return self;
        };
        Finding { text: format!("{} ({words})", self.text), fix: Some(fix.to_owned()), ..self }
    }

    /// The same finding after this time.
    #[must_use]
    pub fn after(self, took: Duration) -> Self {
        Finding { took, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_error_is_its_fix() {
        let found = Finding::of_error("x", "cannot read a; b: no such file; set A to a file");
        assert_eq!(
            (found.text.as_str(), found.fix.as_deref()),
            ("cannot read a; b: no such file", Some("set A to a file"))
        );
        assert_eq!(Finding::of_error("x", "broken").fix, None);
        assert_eq!(Finding::of_error_or("x", "broken", "mend it").fix.as_deref(), Some("mend it"));
        let found = Finding::of_error("x", "no exchange; declare it (a:1 says: NOT_FOUND)").with_words_behind_cause();
        let (text, fix) = (found.text.as_str(), found.fix.as_deref());
        assert_eq!((text, fix), ("no exchange (a:1 says: NOT_FOUND)", Some("declare it")));
    }

    #[test]
    fn no_text_from_outside_reaches_a_terminal_as_it_is() {
        let found = Finding::failed("a\u{1b}[2J", "b\nc", "d\u{7}");
        assert!(
            [&found.what, &found.text, found.fix.as_ref().expect("a fix")]
                .iter()
                .all(|text| crate::redact::is_plain(text))
        );
    }
}
