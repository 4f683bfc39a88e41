//! The settings that all clients take, and what each calls them.

use std::path::PathBuf;

use super::Secret;
use crate::tls::Variables;

/// The variables of one product, for messages.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) address: &'static str,
    pub(crate) token: &'static str,
    pub(crate) token_file: &'static str,
    pub(crate) tls: Variables,
}

/// Where the ACL token comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// No token: the anonymous policy applies.
    #[default]
    None,
    /// The token itself: `NOMAD_TOKEN`, `CONSUL_HTTP_TOKEN`.
    Fixed(Secret),
    /// A file that holds the token, read before each request: workload identities rotate.
    File(PathBuf),
    /// The token, and a file that may hold its successor: `NOMAD_TOKEN` beside Nomad's own file for a workload identity.
    /// The file is followed where it holds the same token at the start, and once the token is refused.
    Both {
        /// The token that was given.
        token: Secret,
        /// The file, read before each request that uses it.
        file: PathBuf,
    },
}
