//! Text that must never be shown.

use std::fmt;

use crate::redact;

/// A token or a password. `Debug` and `Display` show nothing of it, and `redact` removes it from every text that comes from outside.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Box<str>);

impl Secret {
    /// Makes a secret, and registers it for redaction.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        redact::keep(&text);
        Secret(text)
    }

    /// Makes a secret that others can replace, such as one that stands in a file, and registers it for redaction.
    pub(crate) fn renewed(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        redact::renew(&text);
        Secret(text)
    }

    /// The text itself, for the code that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(redact::REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(redact::REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_shown_nowhere() {
        let secret = Secret::new("hush");
        assert_eq!(secret.expose(), "hush");
        assert!(!format!("{secret:?} {secret}").contains("hush"));
    }
}

/// The user and the password of basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// The user's name.
    pub user: String,
    /// The password; empty if there is none.
    pub password: Secret,
}

impl fmt::Debug for BasicAuth {
    /// Hides the user as well: a token that was given without a colon is read as the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
